//! Padding, taken off a packet before QUIC reads it.
//!
//! A peer fills its first datagrams, and those by which it tries how large one may be, up to their size with frames of one
//! zero byte (RFC 9000, section 14). They say nothing, and quinn-proto reads each as a frame of its own: a thousand of them
//! cost more than to decrypt the packet. So the frames in front are walked here by their lengths alone, and what follows them
//! goes if it is padding to the end. What cannot be walked is left as it is, for QUIC to refuse.

use bytes::BytesMut;
use quinn_proto::{
    VarInt,
    coding::Codec,
    crypto::{CryptoError, PacketKey},
};

/// A key whose packets come without their padding.
pub(crate) struct Unpadded<K>(pub(crate) K);

impl<K: PacketKey> PacketKey for Unpadded<K> {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        self.0.encrypt(packet, buf, header_len);
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.0.decrypt(packet, header, payload)?;
        if let Some(kept_bytes) = unpadded_bytes(payload) {
            payload.truncate(kept_bytes);
        }
        Ok(())
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.0.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.0.integrity_limit()
    }
}

/// The one byte of a frame of padding.
const PADDING: u8 = 0;

/// Less padding than this costs less than to look for it.
const PADDING_BYTES_MIN: usize = 16;

/// How long a payload is without its padding, if it ends with much of it. A packet of nothing else keeps one byte, since
/// an empty one is an error.
fn unpadded_bytes(payload: &[u8]) -> Option<usize> {
    let tail = payload.last_chunk::<PADDING_BYTES_MIN>()?;
    if u128::from_ne_bytes(*tail) != 0 {
        return None;
    }
    let mut rest = Frames(payload);
    while let Some(zeros) = rest.0.iter().position(|&byte| byte != PADDING) {
        rest.bytes(zeros)?;
        rest.frame()?;
    }
    Some((payload.len() - rest.0.len()).max(1))
}

/// The frames of a packet (RFC 9000, section 19; RFC 9221; the extension for the frequency of acknowledgements).
struct Frames<'a>(&'a [u8]);

impl Frames<'_> {
    /// Goes behind one frame. `None` where it ends with the packet, is cut off, or is not known: all that are have a type of
    /// one byte.
    fn frame(&mut self) -> Option<()> {
        let (&kind, rest) = self.0.split_first()?;
        self.0 = rest;
        match kind {
            // PING, HANDSHAKE_DONE, IMMEDIATE_ACK.
            0x01 | 0x1e | 0x1f => Some(()),
            0x02 => self.acknowledgement(),
            0x03 => self.acknowledgement().and_then(|()| self.numbers(3)),
            // RESET_STREAM; STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED.
            0x04 => self.numbers(3),
            0x05 | 0x11 | 0x15 => self.numbers(2),
            // CRYPTO; NEW_TOKEN and DATAGRAM with a length.
            0x06 => self.numbers(1).and_then(|()| self.vector()),
            0x07 | 0x31 => self.vector(),
            // STREAM with a length, without and with an offset.
            0x0a | 0x0b => self.numbers(1).and_then(|()| self.vector()),
            0x0e | 0x0f => self.numbers(2).and_then(|()| self.vector()),
            // MAX_DATA, MAX_STREAMS, DATA_BLOCKED, STREAMS_BLOCKED, RETIRE_CONNECTION_ID.
            0x10 | 0x12..=0x14 | 0x16 | 0x17 | 0x19 => self.numbers(1),
            0x18 => self.connection_id(),
            // PATH_CHALLENGE, PATH_RESPONSE; CONNECTION_CLOSE of QUIC and of what it carries.
            0x1a | 0x1b => self.bytes(8),
            0x1c => self.numbers(2).and_then(|()| self.vector()),
            0x1d => self.numbers(1).and_then(|()| self.vector()),
            _ => None,
        }
    }

    fn bytes(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        VarInt::decode(&mut self.0).ok().map(VarInt::into_inner)
    }

    fn numbers(&mut self, count: u64) -> Option<()> {
        (0..count).try_for_each(|_| self.number().map(drop))
    }

    /// Bytes behind their length.
    fn vector(&mut self) -> Option<()> {
        let length = usize::try_from(self.number()?).ok()?;
        self.bytes(length)
    }

    /// ACK: the largest packet and the delay, how many ranges follow the first, and these.
    fn acknowledgement(&mut self) -> Option<()> {
        self.numbers(2)?;
        let further = self.number()?;
        self.numbers(1)?;
        // Each range takes two bytes at least, so more than there are bytes end the walk at once.
        self.numbers(further.checked_mul(2)?)
    }

    /// NEW_CONNECTION_ID: two numbers, the id behind its length, and a token of 16 bytes.
    fn connection_id(&mut self) -> Option<()> {
        self.numbers(2)?;
        let length = usize::from(*self.0.first()?);
        self.bytes(1 + length + 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of each kind that can stand in front of padding, with numbers of all lengths and zeros where there may be some.
    fn frames() -> Vec<Vec<u8>> {
        let data = [7, 0, 0, 0];
        let mut frames = vec![vec![0x01], vec![0x1e], vec![0x1f]];
        // Largest 70, delay 0, one range behind the first; the same with three counts of ECN.
        frames.push(vec![0x02, 0x40, 70, 0, 1, 0, 2, 0]);
        frames.push(vec![0x03, 0x80, 0, 0, 70, 0, 0, 0, 1, 0, 0]);
        frames.push([&[0x04][..], &[4, 5, 0]].concat());
        frames.extend([0x05, 0x11, 0x15].map(|kind| vec![kind, 4, 0]));
        frames.push([&[0x06, 0, 4][..], &data].concat());
        frames.extend([0x07, 0x31].map(|kind| [&[kind, 4][..], &data].concat()));
        frames.extend([0x0a, 0x0b].map(|kind| [&[kind, 8, 4][..], &data].concat()));
        let far = [0xc0, 0, 0, 0, 0, 0, 1, 0];
        frames.extend([0x0e, 0x0f].map(|kind| [&[kind, 8][..], &far, &[4], &data].concat()));
        let one = [0x10, 0x12, 0x13, 0x14, 0x16, 0x17, 0x19];
        frames.extend(one.map(|kind| vec![kind, 0x40, 0]));
        frames.push([&[0x18, 1, 0, 8][..], &[9; 8], &[0; 16]].concat());
        frames.extend([0x1a, 0x1b].map(|kind| [&[kind][..], &[0; 8]].concat()));
        frames.push([&[0x1c, 0, 0, 4][..], &data].concat());
        frames.push([&[0x1d, 0, 4][..], &data].concat());
        frames
    }

    #[test]
    fn padding_goes_and_every_frame_in_front_of_it_stays() {
        for frame in frames() {
            let padded = |zeros| [&frame[..], &vec![0; zeros]].concat();
            for zeros in [PADDING_BYTES_MIN, 100, 1200] {
                assert_eq!(unpadded_bytes(&padded(zeros)), Some(frame.len()), "{frame:x?}");
            }
            for cut in 1..frame.len() {
                // What is missing is taken from the zeros: the frame must not lose them.
                let kept = unpadded_bytes(&[&frame[..cut], &[0; 64]].concat());
                assert!(kept.is_none_or(|bytes| bytes >= cut), "{frame:x?} cut to {cut}");
            }
        }
        let all = frames().concat();
        let between: Vec<u8> =
            frames().into_iter().flat_map(|of| [&[0; 20], &of[..]].concat()).collect();
        assert_eq!(unpadded_bytes(&[&all[..], &[0; 40]].concat()), Some(all.len()));
        assert_eq!(unpadded_bytes(&[&between[..], &[0; 40]].concat()), Some(between.len()));
    }

    #[test]
    fn what_reaches_to_the_end_of_the_packet_keeps_its_zeros() {
        for kind in [0x08, 0x09, 0x0c, 0x0d, 0x30, 0x20, 0x3f, 0x40, 0xff] {
            assert_eq!(unpadded_bytes(&[&[0x01, kind, 4, 4][..], &[0; 64]].concat()), None);
        }
        let longer = [&[0x06, 0, 0x40, 200][..], &[0; 64]].concat();
        assert_eq!(unpadded_bytes(&longer), None, "the data of a message that is cut off");
        let ranges = [&[0x02, 9, 0, 0x7f, 0xff, 0][..], &[0; 64]].concat();
        assert_eq!(unpadded_bytes(&ranges), None, "more ranges than there are bytes");
    }

    #[test]
    fn only_zeros_are_taken_off_whatever_a_packet_holds() {
        // Bytes below 32 are the types of most frames, so that many of these walks go far.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut byte = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 59) as u8
        };
        let mut taken = 0;
        for round in 0..20_000 {
            let head: Vec<u8> = (0..round % 40).map(|_| byte()).collect();
            let payload = [&head[..], &[0; 50]].concat();
            if let Some(kept) = unpadded_bytes(&payload) {
                assert!(
                    (1..=payload.len()).contains(&kept)
                        && payload[kept..] == [0; 90][..payload.len() - kept]
                );
                taken += 1;
            }
        }
        assert!(taken > 1000, "{taken} walks came to the padding");
    }

    #[test]
    fn little_padding_is_left_and_nothing_else_leaves_one_byte() {
        assert_eq!(unpadded_bytes(&[]), None);
        assert_eq!(unpadded_bytes(&[&[0x01][..], &[0; PADDING_BYTES_MIN - 1]].concat()), None);
        assert_eq!(unpadded_bytes(&[0; 1200]), Some(1));
    }
}
