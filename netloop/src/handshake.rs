//! The server's half of TLS below QUIC, given up once it has nothing more to say.
//!
//! After the handshake, and the tickets that follow it, a server's TLS connection only holds memory: no message of the peer may
//! follow, and keys are replaced from a secret (RFC 9001, section 6). So it goes, and what stays are that secret and the
//! peer's certificates, by which it is judged again when trust changes. That is a sixth of what an idle session costs.

use std::{any::Any, io::Cursor, sync::Arc};

use quinn_proto::{
    ConnectionId, Side, TransportError, TransportErrorCode,
    crypto::{
        ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
        UnsupportedVersion,
        rustls::{HandshakeData, QuicServerConfig},
    },
    transport_parameters::TransportParameters,
};
use rustls::{
    AlertDescription,
    quic::{KeyChange, Secrets, ServerConnection, Version},
};
use rustls_pki_types::CertificateDer;

/// How a server makes handshakes.
pub(crate) struct Handshakes {
    tls: Arc<rustls::ServerConfig>,
    /// What concerns the packets before a handshake: the first keys, and Retry.
    quic: Arc<QuicServerConfig>,
}

impl Handshakes {
    pub(crate) fn new(tls: Arc<rustls::ServerConfig>, quic: QuicServerConfig) -> Self {
        Self { tls, quic: Arc::new(quic) }
    }
}

impl ServerConfig for Handshakes {
    fn initial_keys(&self, version: u32, to: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.quic.initial_keys(version, to)
    }

    fn retry_tag(&self, version: u32, to: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.quic.retry_tag(version, to, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        parameters: &TransportParameters,
    ) -> Box<dyn Session> {
        let mut bytes = Vec::new();
        parameters.write(&mut bytes);
        // The drafts from 29 to 32 have salts and keys of their own; the endpoint speaks no other version.
        let tls_version = if version == 1 { Version::V1 } else { Version::V1Draft };
        let tls = ServerConnection::new(Arc::clone(&self.tls), tls_version, bytes)
            .expect("QUIC is possible because the configuration has TLS 1.3 alone");
        Box::new(Handshake {
            quic: Arc::clone(&self.quic),
            version,
            tls: Some(Box::new(tls)),
            agreed: false,
            certificates: None,
            next: None,
        })
    }
}

/// One session's handshake, and what is left of it.
struct Handshake {
    quic: Arc<QuicServerConfig>,
    version: u32,
    /// Gone once it has nothing more to say.
    tls: Option<Box<ServerConnection>>,
    /// The protocol is agreed on, and QUIC knows.
    agreed: bool,
    /// The peer's, its own first; taken from the connection when that goes.
    certificates: Option<Box<[CertificateDer<'static>]>>,
    /// What further keys come from.
    next: Option<Box<Secrets>>,
}

impl Handshake {
    fn certificates(&self) -> Option<Box<[CertificateDer<'static>]>> {
        let chain = self.tls.as_ref()?.peer_certificates()?;
        Some(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
    }
}

/// A message of the peer that may not come, or one that TLS does not accept.
fn refusal(alert: AlertDescription, reason: String) -> TransportError {
    TransportError { code: TransportErrorCode::crypto(alert.into()), frame: None, reason }
}

fn boxed<T, U: ?Sized>(pair: KeyPair<T>, of: impl Fn(T) -> Box<U>) -> KeyPair<Box<U>> {
    KeyPair { local: of(pair.local), remote: of(pair.remote) }
}

impl Session for Handshake {
    fn initial_keys(&self, to: &ConnectionId, _: Side) -> Keys {
        let keys = self.quic.initial_keys(self.version, to);
        keys.expect("the version is spoken because the session was begun with it")
    }

    /// The protocol, as long as the handshake runs.
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let protocol = Some(self.tls.as_ref()?.alpn_protocol()?.to_vec());
        Some(Box::new(HandshakeData { protocol, server_name: None }))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let kept = self.certificates.clone().or_else(|| self.certificates());
        kept.map(|chain| -> Box<dyn Any> { Box::new(chain.into_vec()) })
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        let keys = self.tls.as_ref()?.zero_rtt_keys()?;
        Some((Box::new(keys.header), Box::new(keys.packet)))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let Some(tls) = &mut self.tls else {
            let reason = "a message of TLS after the handshake".to_owned();
            return Err(refusal(AlertDescription::UnexpectedMessage, reason));
        };
        tls.read_hs(bytes).map_err(|error| match tls.alert() {
            Some(alert) => refusal(alert, error.to_string()),
            None => TransportError {
                code: TransportErrorCode::PROTOCOL_VIOLATION,
                frame: None,
                reason: format!("TLS: {error}"),
            },
        })?;
        let agreed = std::mem::replace(&mut self.agreed, tls.alpn_protocol().is_some());
        Ok(self.agreed && !agreed)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let bytes = self.tls.as_ref().and_then(|tls| tls.quic_transport_parameters());
        let read =
            bytes.map(|bytes| TransportParameters::read(Side::Server, &mut Cursor::new(bytes)));
        Ok(read.transpose()?)
    }

    fn write_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<Keys> {
        let tls = self.tls.as_mut()?;
        let before = bytes.len();
        let change = tls.write_hs(bytes);
        let over = change.is_none() && bytes.len() == before && !tls.is_handshaking();
        if over {
            self.certificates = self.certificates();
            self.tls = None;
        }
        let keys = match change? {
            KeyChange::Handshake { keys } => keys,
            KeyChange::OneRtt { keys, next } => {
                self.next = Some(Box::new(next));
                keys
            }
        };
        let (local, remote) = (keys.local, keys.remote);
        let header = KeyPair { local: local.header, remote: remote.header };
        let packet = KeyPair { local: local.packet, remote: remote.packet };
        Some(Keys {
            header: boxed(header, |key| -> Box<dyn HeaderKey> { Box::new(key) }),
            packet: boxed(packet, |key| -> Box<dyn PacketKey> { Box::new(key) }),
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        let pair = KeyPair { local: keys.local, remote: keys.remote };
        Some(boxed(pair, |key| -> Box<dyn PacketKey> { Box::new(key) }))
    }

    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        // A server gets none.
        false
    }

    fn export_keying_material(
        &self,
        _: &mut [u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        // Nobody here binds anything else to a session.
        Err(ExportKeyingMaterialError)
    }
}
