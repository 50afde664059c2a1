//! What an engine tells about its sessions, in values that fit into a ring.

use std::fmt;
use std::net::SocketAddr;

use wire::{CloseCode, Hello, Totals};

use crate::TierTally;

/// Names a session for its whole life: a place in the engine's table and the generation of that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

impl SessionId {
    const PLACE_BITS: u32 = 20;
    /// Most sessions that the workers of a port can tell apart.
    pub const PLACES_MAX: usize = 1 << Self::PLACE_BITS;

    pub(crate) const fn new(place: usize, generation: u16) -> Self {
        Self((generation as u32) << Self::PLACE_BITS | place as u32)
    }

    /// The place in a table of all workers' sessions, reused after the session is gone.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 as usize & (Self::PLACES_MAX - 1)
    }

    /// Which of `workers` workers has it.
    #[must_use]
    pub const fn worker(self, workers: usize) -> usize {
        self.place() % workers
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it, with a code of the protocol or an unknown one.
    Peer(Option<CloseCode>),
    /// Closed here.
    Local(CloseCode),
    /// Nothing was heard for the idle timeout, or a call did not become a session in time.
    Idle,
    /// The peer no longer knows the session.
    Reset,
    /// TLS was broken off with this alert (RFC 8446, section 6), by either end: 48 is an unknown authority.
    Tls(u8),
    /// QUIC broke.
    Transport,
}

/// Words for people and machines, which stay as they are: the end that closed and its code, or what else came of it.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(Some(code)) => write!(f, "peer:{code}"),
            Self::Peer(None) => f.write_str("peer:unknown"),
            Self::Local(code) => write!(f, "local:{code}"),
            Self::Idle => f.write_str("idle"),
            Self::Reset => f.write_str("reset"),
            Self::Tls(alert) => write!(f, "tls:{alert}"),
            Self::Transport => f.write_str("transport"),
        }
    }
}

/// A step in a session's life.
#[derive(Debug, Clone, Copy)]
pub enum SessionEvent {
    /// The handshake is done.
    Opened {
        /// Which session.
        session: SessionId,
        /// The address of the peer.
        remote: SocketAddr,
    },
    /// The hello arrived; never before the session was opened.
    Hello {
        /// Which session.
        session: SessionId,
        /// What it says.
        hello: Hello,
        /// Whether the session may write for the device that it names. Gateways may have a name of their own, which proves
        /// nothing.
        proven: bool,
    },
    /// The session is over; no record of it follows, but earlier ones may still wait in the rings.
    Closed {
        /// Which session.
        session: SessionId,
        /// Why.
        reason: CloseReason,
        /// What was received, for each tier.
        tally: [TierTally; 3],
        /// What the device says it has offered, after an orderly close.
        totals: Option<Totals>,
    },
    /// The handshake failed: there was never a session.
    Failed {
        /// Which session would have been.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_close_name_the_end_and_its_code() {
        for (reason, words) in [
            (CloseReason::Peer(Some(CloseCode::Done)), "peer:done"),
            (CloseReason::Peer(None), "peer:unknown"),
            (CloseReason::Local(CloseCode::BadVersion), "local:bad_version"),
            (CloseReason::Idle, "idle"),
            (CloseReason::Reset, "reset"),
            (CloseReason::Tls(48), "tls:48"),
            (CloseReason::Transport, "transport"),
        ] {
            assert_eq!(reason.to_string(), words);
        }
    }
}
