//! What became of a session's input, for each tier. Plain numbers, owned by the thread that counts.

use bytemuck::{Pod, Zeroable};

use crate::Refusal;

/// Counts of one tier, in records unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TierTally {
    /// Taken out of QUIC as whole records, whatever became of them.
    pub received: u64,
    /// Broke a rule of the record's layout, or were of a device that the session may not write for.
    pub rejected: u64,
    /// Those of them that were of such a device. They never come to its sensors, so no number of theirs is left out there.
    pub forbidden: u64,
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
        self.forbidden += other.forbidden;
        self.shed += other.shed;
        self.decode_errors += other.decode_errors;
    }

    /// Records whose numbers their sensors may show as left out, although they were received.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.shed + self.rejected.saturating_sub(self.forbidden)
    }
}

/// A limit that was reached, with the answer that the peer gets. PROTOCOL.md#admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The sessions are at their limit, or no more are wanted: the handshake is refused.
    Sessions,
    /// The sessions of the address are at their limit: the handshake is refused.
    AddressSessions,
    /// As before, but the address was proved by the handshake itself: the session is closed.
    AddressSessionsOpened,
    /// The handshakes of the address are at their limit: the handshake is refused.
    AddressHandshakes,
    /// Many handshakes are under way, and the address has not proved that it is there: it is asked to, by a Retry.
    Unproven,
    /// Too many handshakes wait: the packet is ignored, and the peer sends it again.
    Handshakes,
    /// More first packets came than can be looked at: the packet is ignored, and the peer sends it again.
    Initials,
    /// The streams of all peers together are at their limit: the stream is stopped.
    Streams,
    /// The streams of the address are at their limit: the stream is stopped.
    AddressStreams,
    /// The address sends faster than it may, in datagrams or bytes: the datagram is ignored.
    AddressDatagrams,
}

impl Limit {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 10] = [
        Self::Sessions,
        Self::AddressSessions,
        Self::AddressSessionsOpened,
        Self::AddressHandshakes,
        Self::Unproven,
        Self::Handshakes,
        Self::Initials,
        Self::Streams,
        Self::AddressStreams,
        Self::AddressDatagrams,
    ];

    /// What is limited, as in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::AddressSessions | Self::AddressSessionsOpened => "address_sessions",
            Self::AddressHandshakes => "address_handshakes",
            Self::Unproven => "unproven",
            Self::Handshakes => "handshakes",
            Self::Initials => "initials",
            Self::Streams => "streams",
            Self::AddressStreams => "address_streams",
            Self::AddressDatagrams => "address_rate",
        }
    }

    /// What the peer is answered, as in metrics.
    #[must_use]
    pub const fn answer(self) -> &'static str {
        match self {
            Self::Sessions | Self::AddressSessions | Self::AddressHandshakes => "refuse",
            Self::AddressSessionsOpened => "close",
            Self::Unproven => "retry",
            Self::Handshakes | Self::Initials | Self::AddressDatagrams => "ignore",
            Self::Streams | Self::AddressStreams => "stop",
        }
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
    /// Browsers whose handshake was done.
    pub viewers_opened: u64,
    /// Those of them that are gone.
    pub viewers_closed: u64,
    /// Handshakes that were begun and failed, for whatever reason.
    pub handshakes_failed: u64,
    /// Of those: broken off by a TLS alert that says nothing about who the peer is, such as one of the peer's own.
    pub handshakes_tls: u64,
    /// Of those: given up after silence.
    pub handshakes_timeout: u64,
    /// Of those: neither of these, nor turned away.
    pub handshakes_other: u64,
    /// How often each limit was reached, in the order of [`Limit::ALL`].
    pub limits: [u64; Limit::ALL.len()],
    /// Turns that left handshakes waiting, for their budget or their rate.
    pub handshakes_waited: u64,
    /// Turns of a session that left datagrams for its next one, because others were in line.
    pub rounds: u64,
    /// Commands reset because nobody handles them.
    pub no_handler: u64,
    /// Commands reset because the ring was full, or the end has begun.
    pub busy: u64,
    /// Commands that were handed on and whose session was over before their answer.
    pub unanswered: u64,
    /// DATAGRAM frames that QUIC discarded because its own queue was full, of sessions that have ended.
    pub shed_quic_datagrams: u64,
    /// Services of a session that left something in QUIC, because the sink was full, a budget used up or others in turn.
    pub unfinished: u64,
    /// Control streams that broke their form.
    pub bad_control: u64,
    /// Open sessions by the health of their peer, in the order of [`crate::Health::ALL`].
    pub health: [u64; 4],
    /// How often a peer came into each of these states from another.
    pub health_changes: [u64; 4],
    /// The quickest round trip of any session so far, in nanoseconds; 0 before the first was looked at.
    pub rtt_min_ns: u64,
    /// Sessions whose keys were replaced because their period was over.
    pub key_updates: u64,
    /// Reports of paths that nobody fetched in time.
    pub reports_lost: u64,
    /// Handshakes broken off by an alert of our own TLS because of who the peer is, by [`Refusal`].
    pub handshakes_turned_away: [u64; Refusal::COUNT],
    /// Established sessions closed because of who the peer is, by [`Refusal`].
    pub sessions_refused: [u64; Refusal::COUNT],
}

impl EngineTally {
    /// Records rejected because their session may not write for their device, by tier.
    #[must_use]
    pub fn forbidden(&self) -> [u64; 3] {
        self.tiers.map(|tier| tier.forbidden)
    }

    /// How often a limit was reached.
    #[must_use]
    pub const fn limited(&self, limit: Limit) -> u64 {
        self.limits[limit as usize]
    }

    pub(crate) const fn count(&mut self, limit: Limit) {
        self.limits[limit as usize] += 1;
    }
}
