//! First packets of QUIC handshakes that nobody will go on with, as an attacker makes them: a flood of one's own.
//!
//! The keys of an Initial follow from its destination connection id (RFC 9001, section 5.2), so that anybody can take one
//! real packet and encrypt its contents again under any number of other ids.

use rustls::{
    Side,
    crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
    quic::{DirectionalKeys, Keys, Version},
};

/// Makes Initials with the contents of one, each under a connection id of its own.
pub(crate) struct Forge {
    /// Everything after the destination id and before the packet number, with the length of the rest.
    middle: Vec<u8>,
    /// The decrypted frames.
    frames: Vec<u8>,
}

/// Length of the destination connection ids, as quinn-proto chooses it; nothing needs another one.
const ID_BYTES: usize = 8;
/// Version and form of the header before the destination id.
const FRONT: [u8; 6] = [0xc3, 0, 0, 0, 1, ID_BYTES as u8];
/// Forged packets carry a packet number of four bytes, which is 0.
const NUMBER_BYTES: usize = 4;
const TAG_BYTES: usize = 16;

impl Forge {
    /// Takes a real Initial of a client apart. Panics when it is none: the caller has just had it made.
    pub(crate) fn new(initial: &[u8]) -> Self {
        let mut packet = initial.to_vec();
        let id_end = 6 + usize::from(packet[5]);
        let source_end = id_end + 1 + usize::from(packet[id_end]);
        assert_eq!(packet[source_end], 0, "a first Initial has no token");
        let (length, length_bytes) = varint(&packet[source_end + 1..]);
        let number_at = source_end + 1 + length_bytes;
        let keys = client_keys(&packet[6..id_end], Side::Server);
        let sample = packet[number_at + 4..number_at + 20].to_vec();
        let (head, rest) = packet.split_at_mut(number_at);
        keys.header.decrypt_in_place(&sample, &mut head[0], &mut rest[..4]).expect("a sample");
        let number_bytes = usize::from(head[0] & 3) + 1;
        let number = rest[..number_bytes].iter().fold(0, |high, byte| high << 8 | u64::from(*byte));
        let (header, payload) = packet.split_at_mut(number_at + number_bytes);
        let payload = &mut payload[..length as usize - number_bytes];
        let frames = keys.packet.decrypt_in_place(number, header, payload).expect("a real Initial");
        // Shorter ids leave room, which PADDING frames fill: a first packet has at least 1,200 bytes.
        let mut frames = frames.to_vec();
        frames.resize(frames.len().max(initial.len()), 0);
        let mut middle = initial[id_end..=source_end].to_vec();
        let length = NUMBER_BYTES + frames.len() + TAG_BYTES;
        middle.extend((length as u16 | 0x4000).to_be_bytes());
        Self { middle, frames }
    }

    /// The same contents under another destination id.
    pub(crate) fn initial(&self, id: u64) -> Vec<u8> {
        let id = id.to_be_bytes();
        let mut packet = [&FRONT[..], &id, &self.middle, &[0; NUMBER_BYTES]].concat();
        let payload_at = packet.len();
        let keys = client_keys(&id, Side::Client);
        let mut payload = self.frames.clone();
        let tag = keys.packet.encrypt_in_place(0, &packet, &mut payload).expect("it fits");
        packet.extend_from_slice(&payload);
        packet.extend_from_slice(tag.as_ref());
        let (head, number) = packet.split_at_mut(payload_at - NUMBER_BYTES);
        let (number, sample) = number.split_at_mut(NUMBER_BYTES);
        keys.header.encrypt_in_place(&sample[..16], &mut head[0], number).expect("a sample");
        packet
    }
}

/// What the client of a connection with this id encrypts with, seen from one side.
fn client_keys(id: &[u8], side: Side) -> DirectionalKeys {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    let quic = suite.quic.expect("a suite with QUIC");
    let keys = Keys::initial(Version::V1, suite, quic, id, side);
    match side {
        Side::Client => keys.local,
        Side::Server => keys.remote,
    }
}

/// A variable-length integer and its own length (RFC 9000, section 16).
fn varint(bytes: &[u8]) -> (u64, usize) {
    let length = 1 << (bytes[0] >> 6);
    let front = u64::from(bytes[0] & 0x3f);
    (bytes[1..length].iter().fold(front, |high, byte| high << 8 | u64::from(*byte)), length)
}
