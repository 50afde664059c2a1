//! What one slot of a record ring carries: the record's 39 bytes and what the worker knows about them.
//!
//! Exactly 64 bytes, a cache line, with the record at the end: records that came together lie packed behind the first one
//! ([`crate::Run`]). Plain old data: any 64 bytes are a valid slot. Whether the record itself is valid was checked by whoever
//! pushed it.

use bytemuck::{Pod, Zeroable};
use wire::{RECORD_BYTES, Record};

use crate::SessionId;

/// The [`Slot::hint`] of a record whose row the worker does not know.
pub const NO_HINT: u32 = u32::MAX;

/// [`Slot::flags`] on T3: the record is the ack of a command that this side opened.
pub const ACK: u8 = 0x40;
/// [`Slot::flags`] on T3: a command that this side opened will get no ack; the record is the request.
pub const FAILED: u8 = 0x80;
/// The part of [`Slot::flags`] that says how many records lie behind this one, in the same run.
pub const BEHIND: u8 = 0x3f;
/// [`Slot::flags`] where records lie behind this one: their hints are listed behind them.
pub const LISTED: u8 = 0x40;

/// One record on its way from the worker to the tick, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Slot {
    /// Receive time in nanoseconds since the Unix epoch: the kernel's where it gives one, else the worker's.
    pub recv_ns: u64,
    /// T1 and T2: the number of the sensor in its session's key table, or [`NO_HINT`]. T3: the token to answer with, or
    /// the tag that the command was opened with.
    pub hint: u32,
    /// The session that sent the record, as [`SessionId`] has it.
    pub session: u32,
    /// The epoch from the session's hello, or 0.
    pub epoch: u32,
    /// Nanoseconds from the kernel's receive time to the push, saturating at [`u32::MAX`] (4.3 s).
    pub lag_ns: u32,
    /// T1 and T2: how many records lie behind this one ([`BEHIND`]), and whether with a list of hints ([`LISTED`]). T3: zero for a request of the peer, else [`ACK`] or
    /// [`FAILED`].
    pub flags: u8,
    /// The record as it was on the wire, already checked.
    pub record: [u8; RECORD_BYTES],
}

const _: () =
    assert!(size_of::<Slot>() == 64 && align_of::<Slot>() == 64, "a slot is one cache line");

impl Slot {
    /// A slot that holds `record` and knows nothing else about it.
    #[must_use]
    pub const fn new(record: [u8; RECORD_BYTES]) -> Self {
        Self { record, flags: 0, hint: NO_HINT, session: 0, epoch: 0, lag_ns: 0, recv_ns: 0 }
    }

    /// The slot that ends the command `request` of `session` without an ack, at `unix_ns`.
    #[must_use]
    pub const fn failed(request: &Record, session: SessionId, tag: u32, unix_ns: u64) -> Self {
        let mut slot = Self::new(*request.as_bytes());
        slot.flags = FAILED;
        slot.hint = tag;
        slot.session = session.0;
        slot.recv_ns = unix_ns;
        slot
    }

    /// The same slot, received at `recv_ns` and pushed at `push_ns`, both in nanoseconds since the Unix epoch.
    ///
    /// A push that seems earlier than the receipt (the system clock was set back) counts as no lag.
    #[must_use]
    pub fn received(mut self, recv_ns: u64, push_ns: u64) -> Self {
        self.recv_ns = recv_ns;
        self.lag_ns = u32::try_from(push_ns.saturating_sub(recv_ns)).unwrap_or(u32::MAX);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_layout_says() {
        let slot = Slot {
            record: [7; RECORD_BYTES],
            flags: 0x5A,
            hint: 0x0102_0304,
            session: 0x1112_1314,
            epoch: 0x2122_2324,
            lag_ns: 0x3132_3334,
            recv_ns: 0x4142_4344_4546_4748,
        };
        let bytes: &[u8; 64] = bytemuck::cast_ref(&slot);
        assert_eq!(bytes[..8], 0x4142_4344_4546_4748_u64.to_ne_bytes());
        assert_eq!(bytes[8..12], 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(bytes[12..16], 0x1112_1314_u32.to_ne_bytes());
        assert_eq!(bytes[16..20], 0x2122_2324_u32.to_ne_bytes());
        assert_eq!(bytes[20..24], 0x3132_3334_u32.to_ne_bytes());
        assert_eq!(bytes[24], 0x5A);
        assert_eq!(bytes[25..], [7; 39]);
    }

    #[test]
    fn lag_saturates_at_both_ends() {
        let slot = Slot::new([0; RECORD_BYTES]);
        assert_eq!(slot.received(1_000, 1_250).lag_ns, 250);
        assert_eq!(slot.received(1_000, 900).lag_ns, 0);
        assert_eq!(slot.received(0, u64::from(u32::MAX) + 1).lag_ns, u32::MAX);
    }
}
