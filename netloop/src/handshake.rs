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
    quic::{self, KeyChange, Secrets, ServerConnection, Version},
};
use rustls_pki_types::CertificateDer;

use crate::padding::Unpadded;

/// How a server makes handshakes.
pub(crate) struct Handshakes {
    tls: Arc<rustls::ServerConfig>,
    /// The cipher of the first packets, before one is agreed on.
    first: quic::Suite,
    /// Answers with Retry.
    quic: QuicServerConfig,
}

/// The version of TLS below a version of QUIC; the drafts from 29 to 32 have salts and keys of their own.
const fn tls_version(version: u32) -> Option<Version> {
    match version {
        1 | 0xff00_0021..=0xff00_0022 => Some(Version::V1),
        0xff00_001d..=0xff00_0020 => Some(Version::V1Draft),
        _ => None,
    }
}

const SPOKEN: &str = "the version is spoken because the first keys were made for it";

impl Handshakes {
    pub(crate) fn new(
        tls: Arc<rustls::ServerConfig>,
        first: quic::Suite,
        quic: QuicServerConfig,
    ) -> Self {
        Self { tls, first, quic }
    }
}

impl ServerConfig for Handshakes {
    fn initial_keys(&self, version: u32, to: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        let version = tls_version(version).ok_or(UnsupportedVersion)?;
        Ok(keys_of(self.first.keys(to, rustls::Side::Server, version)))
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
        let version = tls_version(version).expect(SPOKEN);
        let tls = ServerConnection::new(Arc::clone(&self.tls), version, bytes)
            .expect("QUIC is possible because the configuration has TLS 1.3 alone");
        Box::new(Handshake {
            first: self.first,
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
    first: quic::Suite,
    version: Version,
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

/// The keys of a level as QUIC uses them.
fn keys_of(keys: quic::Keys) -> Keys {
    let (local, remote) = (keys.local, keys.remote);
    Keys {
        header: KeyPair { local: Box::new(local.header), remote: Box::new(remote.header) },
        packet: packet_keys(local.packet, remote.packet),
    }
}

fn packet_keys(
    local: Box<dyn quic::PacketKey>,
    remote: Box<dyn quic::PacketKey>,
) -> KeyPair<Box<dyn PacketKey>> {
    KeyPair { local: Box::new(local), remote: Box::new(Unpadded(remote)) }
}

impl Session for Handshake {
    fn initial_keys(&self, to: &ConnectionId, _: Side) -> Keys {
        keys_of(self.first.keys(to, rustls::Side::Server, self.version))
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
        Some((Box::new(keys.header), Box::new(Unpadded(keys.packet))))
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
        Some(keys_of(keys))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(packet_keys(keys.local, keys.remote))
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
