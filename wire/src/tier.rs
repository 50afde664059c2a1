//! The tier: what is promised to a record under loss and overload. PROTOCOL.md#tiers.

/// Delivery class of a record, and with it the QUIC primitive that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    /// Telemetry in DATAGRAM frames: may be lost or shed, is never retransmitted, is always counted.
    T1 = 0,
    /// Events on unidirectional streams: reliable and in order within the stream; overload reaches the device.
    T2 = 1,
    /// Commands on bidirectional streams: one record, one ack.
    T3 = 2,
}

impl Tier {
    /// Number of tiers.
    pub const COUNT: usize = 3;
    /// All tiers, in order.
    pub const ALL: [Self; Self::COUNT] = [Self::T1, Self::T2, Self::T3];

    /// Lower-case name, as in metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::T1 => "t1",
            Self::T2 => "t2",
            Self::T3 => "t3",
        }
    }

    /// Position in [`Tier::ALL`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
