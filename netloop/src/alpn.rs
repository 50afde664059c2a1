//! Two kinds of peers on one port: devices, and browsers that ask for HTTP/3.
//!
//! Each kind has its own half of the handshake, because a browser takes only a certificate of few days that a page names by
//! its hash, and shows none itself. Which one serves a peer follows from the protocols in its ClientHello (RFC 7301), which
//! is read here before TLS reads it. What cannot be read is left to the devices' half, which refuses it as it always does.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError};

/// The protocol of browsers: HTTP/3 (RFC 9114).
pub(crate) const H3: &[u8] = b"h3";

/// A ClientHello longer than this is not waited for: what browsers send is below 4 KiB.
const HELLO_BYTES_MAX: usize = 16 << 10;
/// The message of TLS, and the extension in it, that are looked for.
const CLIENT_HELLO: u8 = 1;
const EXTENSION_ALPN: u16 = 16;

/// The halves of the handshake of a port.
pub(crate) struct ByProtocol {
    pub(crate) devices: Arc<dyn ServerConfig>,
    pub(crate) browsers: Arc<dyn ServerConfig>,
}

impl ServerConfig for ByProtocol {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.devices.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.devices.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let chosen = Arc::clone(&self.devices).start_session(version, params);
        let open = Open {
            hello: Vec::new(),
            browsers: Arc::clone(&self.browsers),
            version,
            params: *params,
        };
        Box::new(Choosing { chosen, open: Some(Box::new(open)) })
    }
}

/// A handshake that is the devices' until its first message says otherwise.
struct Choosing {
    chosen: Box<dyn Session>,
    open: Option<Box<Open>>,
}

/// What is needed as long as the choice is open.
struct Open {
    /// The first message as far as it has come.
    hello: Vec<u8>,
    browsers: Arc<dyn ServerConfig>,
    version: u32,
    params: TransportParameters,
}

impl Session for Choosing {
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let Some(open) = &mut self.open else { return self.chosen.read_handshake(buf) };
        open.hello.extend_from_slice(buf);
        if !is_whole(&open.hello) {
            return Ok(false);
        }
        let Some(open) = self.open.take() else { unreachable!("it was there just now") };
        let Open { hello, browsers, version, params } = *open;
        if asks_for(&hello, H3) == Some(true) {
            self.chosen = browsers.start_session(version, &params);
        }
        self.chosen.read_handshake(&hello)
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.chosen.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.chosen.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.chosen.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.chosen.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.chosen.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.chosen.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.chosen.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.chosen.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.chosen.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.chosen.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.chosen.export_keying_material(output, label, context)
    }
}

/// Whether the first message of a handshake has come whole, or is none to wait for.
fn is_whole(message: &[u8]) -> bool {
    match *message {
        [CLIENT_HELLO, high, middle, low, ref body @ ..] => {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            body.len() >= length || length > HELLO_BYTES_MAX
        }
        [] | [CLIENT_HELLO, ..] => false,
        _ => true,
    }
}

/// Whether a ClientHello asks for a protocol; nothing where it cannot be read (RFC 8446, section 4.1.2).
fn asks_for(message: &[u8], protocol: &[u8]) -> Option<bool> {
    let mut rest = Reader(message.strip_prefix(&[CLIENT_HELLO])?);
    let mut body = Reader(rest.vector(3)?);
    // The old version and the random number.
    body.take(34)?;
    body.vector(1)?;
    body.vector(2)?;
    body.vector(1)?;
    let mut extensions = Reader(body.vector(2)?);
    while !extensions.0.is_empty() {
        let kind = extensions.take(2)?;
        let content = extensions.vector(2)?;
        if kind != EXTENSION_ALPN.to_be_bytes() {
            continue;
        }
        let mut names = Reader(Reader(content).vector(2)?);
        while !names.0.is_empty() {
            if names.vector(1)? == protocol {
                return Some(true);
            }
        }
    }
    Some(false)
}

/// Bytes with vectors in them, each behind its length.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn vector(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let length = self.take(length_bytes)?.iter().fold(0, |n, &byte| n << 8 | usize::from(byte));
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with these protocols behind another extension.
    fn hello(protocols: &[&[u8]]) -> Vec<u8> {
        let names: Vec<u8> =
            protocols.iter().flat_map(|name| [&[name.len() as u8], *name].concat()).collect();
        let list = [&(names.len() as u16).to_be_bytes()[..], &names].concat();
        let alpn = [&[0, 16][..], &(list.len() as u16).to_be_bytes(), &list].concat();
        let extensions = [&[0, 43, 0, 3, 2, 3, 4][..], &alpn].concat();
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let length = (body.len() as u32).to_be_bytes();
        [&[CLIENT_HELLO][..], &length[1..], &body].concat()
    }

    #[test]
    fn the_protocols_of_a_hello_are_found() {
        assert_eq!(asks_for(&hello(&[b"h3"]), H3), Some(true));
        assert_eq!(asks_for(&hello(&[b"pollux/1", b"h3"]), H3), Some(true));
        assert_eq!(asks_for(&hello(&[b"pollux/1"]), H3), Some(false));
        assert_eq!(asks_for(&hello(&[b"h3-29"]), H3), Some(false));
        assert_eq!(asks_for(&hello(&[]), H3), Some(false));
    }

    #[test]
    fn a_hello_is_waited_for_and_nothing_else_is() {
        let hello = hello(&[b"h3"]);
        for cut in 0..hello.len() {
            assert!(!is_whole(&hello[..cut]), "{cut} of {} bytes", hello.len());
            assert_eq!(asks_for(&hello[..cut], H3), None);
        }
        assert!(is_whole(&hello));
        assert!(is_whole(&[2, 0, 0, 9]), "another message");
        assert!(is_whole(&[CLIENT_HELLO, 1, 0, 0]), "longer than any that is meant");
    }
}
