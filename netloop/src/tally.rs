//! What became of a session's input, for each tier. Plain numbers, owned by the thread that counts.

use bytemuck::{Pod, Zeroable};

use crate::Refusal;

/// Counts of one tier, in records unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TierTally {
    /// Taken out of QUIC as whole records, whatever became of them.
    pub received: u64,
    /// Broke a rule of the record's layout.
    pub rejected: u64,
    /// Discarded because the ring of the tier was full.
    pub shed: u64,
    /// Payloads (T1) or streams (T2, T3) that broke the form of their tier.
    pub decode_errors: u64,
}

impl TierTally {
    /// Adds `other` to these counts.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.rejected += other.rejected;
        self.shed += other.shed;
        self.decode_errors += other.decode_errors;
    }
}

/// Counts of an engine that belong to no tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineTally {
    /// Sum over all sessions that ever were, for each tier.
    pub tiers: [TierTally; 3],
    /// UDP payloads given to the engine.
    pub datagrams: u64,
    /// UDP payloads that belong to no session and open none.
    pub garbage: u64,
    /// Sessions established.
    pub opened: u64,
    /// Established sessions that ended.
    pub closed: u64,
    /// Handshakes that were begun and failed, for whatever reason.
    pub handshakes_failed: u64,
    /// Of those: broken off by a TLS alert, such as that of a certificate that is not trusted.
    pub handshakes_tls: u64,
    /// Of those: given up after silence.
    pub handshakes_timeout: u64,
    /// Handshakes refused because the sessions were at their limit.
    pub handshakes_refused: u64,
    /// Commands reset because nobody handles them.
    pub no_handler: u64,
    /// Commands reset because the ring was full.
    pub busy: u64,
    /// DATAGRAM frames that QUIC discarded because its own queue was full.
    pub shed_quic_datagrams: u64,
    /// Services of a session that left something in QUIC, because the sink was full or a budget used up.
    pub unfinished: u64,
    /// Control streams that broke their form.
    pub bad_control: u64,
    /// Records rejected because their session may not write for their device, by tier.
    pub forbidden: [u64; 3],
    /// Handshakes broken off by an alert of our own TLS because of who the peer is, by [`Refusal`].
    pub handshakes_turned_away: [u64; Refusal::COUNT],
    /// Established sessions closed because of who the peer is, by [`Refusal`].
    pub sessions_refused: [u64; Refusal::COUNT],
}
