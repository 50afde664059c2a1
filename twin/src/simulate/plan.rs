//! What a fleet is to do, checked before anything starts.

use std::{net::SocketAddr, time::Duration};

use netloop::SessionLimits;
use thiserror::Error;

use super::coalesce::Packing;
use crate::args::{Batch, FramesPerPacket, Profile, Rate, Sampling};

/// The load to offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The twin.
    pub remote: SocketAddr,
    /// The name that the twin's certificate must have.
    pub server_name: String,
    /// Devices.
    pub devices: u32,
    /// QUIC sessions that carry them.
    pub sessions: u32,
    /// Sensors of each device.
    pub profile: Profile,
    /// T1 records per sensor and second.
    pub rate: Rate,
    /// T2 records per sensor and second.
    pub t2_rate_hz: f64,
    /// T3 commands per sensor and second.
    pub t3_rate_hz: f64,
    /// Ends after so many records, on all tiers together.
    pub count: Option<u64>,
    /// Ends after so long, from the first due record on.
    pub duration: Option<Duration>,
    /// Which sensor of a session reports next on T1.
    pub sampling: Sampling,
    /// Records in a DATAGRAM frame.
    pub batch: Batch,
    /// DATAGRAM frames in a packet.
    pub frames_per_packet: FramesPerPacket,
    /// How long a record may wait for company.
    pub linger: Duration,
    /// With the congestion control of most other QUIC clients.
    pub stock_congestion: bool,
    /// Largest UDP payload that paths are searched for.
    pub mtu_bytes: u16,
    /// Reproduces devices, curves, phases and jitter.
    pub seed: u64,
}

/// Why a plan cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Nothing would be sent.
    #[error("all rates are 0: nothing would be sent")]
    NoLoad,
}

/// Devices share sessions beyond so many, as behind gateways.
const SESSIONS_DEFAULT_MAX: u32 = 1_000;
/// DATAGRAM bytes that may wait in QUIC for one session that sends as fast as it can: six full GSO transmits, so that
/// the path never runs dry between two turns, and still small enough to stay in the cache until they are sent.
const BUFFER_MAX_RATE_BYTES: usize = 384 << 10;

impl Plan {
    /// The sessions of so many devices when nobody states a number.
    #[must_use]
    pub fn default_sessions(devices: u32) -> u32 {
        devices.min(SESSIONS_DEFAULT_MAX)
    }

    /// Checks what no single option can.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn check(&self) -> Result<(), PlanError> {
        let silent = self.rate == Rate::Hz(0.0) && self.t2_rate_hz == 0.0 && self.t3_rate_hz == 0.0;
        if silent { Err(PlanError::NoLoad) } else { Ok(()) }
    }

    /// Sessions that carry at least one device.
    #[must_use]
    pub fn carriers(&self) -> u32 {
        self.sessions.min(self.devices).max(1)
    }

    /// The end of the schedule, in nanoseconds since it began.
    pub(super) fn limit_ns(&self) -> u64 {
        self.duration.map_or(u64::MAX, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How records become frames.
    #[must_use]
    pub fn packing(&self) -> Packing {
        Packing {
            records_max: match self.batch {
                Batch::Auto => usize::MAX,
                Batch::Records(records) => usize::from(records),
            },
            one_frame: self.frames_per_packet == FramesPerPacket::One,
            linger_ns: u64::try_from(self.linger.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Packets of a session in a second, as far as they are planned.
    fn packets_hz(&self) -> f64 {
        let Rate::Hz(hz) = self.rate else { return f64::INFINITY };
        let devices = f64::from(self.devices) / f64::from(self.carriers());
        devices * (hz + self.t2_rate_hz + self.t3_rate_hz)
    }

    /// What the sessions of this fleet may cost.
    #[must_use]
    pub fn limits(&self) -> SessionLimits {
        let mut limits = SessionLimits {
            // Sessions that were lost linger in QUIC for a while beside their successors.
            sessions_max: 2 * self.carriers() as usize + 16,
            send_window_bytes: 8 << 20,
            mtu_bytes: self.mtu_bytes,
            ..SessionLimits::default().sending_at(self.packets_hz())
        };
        if self.rate == Rate::Max {
            limits.datagram_send_bytes =
                BUFFER_MAX_RATE_BYTES.max(16 * usize::from(self.mtu_bytes));
        }
        if self.stock_congestion { limits.with_stock_congestion() } else { limits }
    }

    /// How long the load waits for its sessions' paths, once all have connected.
    pub(super) fn pause(&self) -> Duration {
        match self.rate {
            Rate::Max => self.limits().search_pause(),
            Rate::Hz(_) => Duration::ZERO,
        }
    }
}
