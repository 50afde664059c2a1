//! How fast a session sends: a choice of controllers, and a floor under those that take loss for congestion.
//!
//! DATAGRAM frames wait for the congestion window like everything else, and on a link that loses a few per cent Cubic keeps
//! the window at a handful of packets, so that telemetry of a constant and moderate rate would wait for round trips.
//! Below the floor a loss alone does not shrink the window. The floor begins with the initial window, which is sent before
//! anything is known of the path; beyond that it is earned: it grows with the bytes that the path has acknowledged, and it
//! is taken away by what means congestion and not weather, which is a congestion mark or a time in which nothing came
//! through at all. BBR models the path instead of counting losses, and has no floor.

use std::{any::Any, str::FromStr, sync::Arc, time::Instant};

use quinn_proto::{
    RttEstimator,
    congestion::{
        BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig, NewRenoConfig,
    },
};

/// Which algorithm decides how much may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// Cubic (RFC 9438), which fills long fat paths.
    #[default]
    Cubic,
    /// BBR, which sends at the rate that it has measured; for paths that lose without being congested.
    Bbr,
    /// New Reno (RFC 9002, section 7), the simplest.
    NewReno,
}

/// A name that no algorithm has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: not one of cubic, bbr, newreno")]
pub struct UnknownCongestion(String);

impl Congestion {
    /// All algorithms, in the order of [`Congestion::NAMES`].
    pub const ALL: [Self; 3] = [Self::Cubic, Self::Bbr, Self::NewReno];
    /// Their names.
    pub const NAMES: [&str; 3] = ["cubic", "bbr", "newreno"];

    /// What makes the controllers of sessions. They begin with a window of `initial_bytes`, and losses take them no further
    /// than `floor_bytes_max`.
    pub(crate) fn factory(
        self,
        initial_bytes: u64,
        floor_bytes_max: u64,
    ) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Cubic => {
                let mut cubic = CubicConfig::default();
                cubic.initial_window(initial_bytes);
                Arc::new(FloorConfig { inner: Arc::new(cubic), floor_bytes_max })
            }
            Self::NewReno => {
                let mut reno = NewRenoConfig::default();
                reno.initial_window(initial_bytes);
                Arc::new(FloorConfig { inner: Arc::new(reno), floor_bytes_max })
            }
            Self::Bbr => {
                let mut bbr = BbrConfig::default();
                bbr.initial_window(initial_bytes);
                Arc::new(bbr)
            }
        }
    }
}

impl FromStr for Congestion {
    type Err = UnknownCongestion;

    fn from_str(name: &str) -> Result<Self, UnknownCongestion> {
        let at = Self::NAMES.iter().position(|known| *known == name);
        at.map(|at| Self::ALL[at]).ok_or_else(|| UnknownCongestion(name.to_owned()))
    }
}

/// Makes controllers with a floor.
#[derive(Debug)]
struct FloorConfig<F> {
    inner: Arc<F>,
    floor_bytes_max: u64,
}

impl<F: ControllerFactory + Send + Sync> FloorConfig<F> {
    fn controller(&self, now: Instant, mtu_bytes: u16) -> Floor {
        let inner = Arc::clone(&self.inner).build(now, mtu_bytes);
        let floor_bytes = inner.initial_window().min(self.floor_bytes_max);
        Floor { inner, floor_bytes_max: self.floor_bytes_max, floor_bytes, congested: None }
    }
}

impl<F: ControllerFactory + Send + Sync + 'static> ControllerFactory for FloorConfig<F> {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(self.controller(now, current_mtu))
    }
}

/// A controller whose window losses do not take below the floor.
struct Floor {
    inner: Box<dyn Controller>,
    floor_bytes_max: u64,
    floor_bytes: u64,
    /// The last sign of congestion: what was sent before it earns nothing.
    congested: Option<Instant>,
}

impl Floor {
    /// Raises the floor by what a packet of so many bytes has earned by its arrival.
    fn earn(&mut self, sent: Instant, bytes: u64) {
        if self.congested.is_none_or(|congested| sent > congested) {
            self.floor_bytes = (self.floor_bytes + bytes).min(self.floor_bytes_max);
        }
    }
}

impl Controller for Floor {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.earn(sent, bytes);
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        // QUIC tells of a mark as of a loss of no bytes.
        if is_persistent_congestion || lost_bytes == 0 {
            self.floor_bytes = 0;
            self.congested = Some(now);
        }
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window().max(self.floor_bytes)
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.inner.metrics();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), ..*self })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Now;

    const INITIAL: u64 = 20_000;
    const FLOOR: u64 = 64_000;

    fn controller() -> (Floor, Instant) {
        let now = Now::simulated().instant;
        let mut cubic = CubicConfig::default();
        cubic.initial_window(INITIAL);
        let config = FloorConfig { inner: Arc::new(cubic), floor_bytes_max: FLOOR };
        (config.controller(now, 1200), now)
    }

    /// Losses, one a second, until Cubic alone would be at its least.
    fn lose(controller: &mut Floor, from: Instant) -> Instant {
        let lost = |n| from + Duration::from_secs(n);
        (1..60).for_each(|n| controller.on_congestion_event(lost(n), lost(n), false, 1200));
        lost(60)
    }

    #[test]
    fn losses_do_not_go_below_the_first_window_and_what_was_acknowledged() {
        let (mut controller, now) = controller();
        assert_eq!(controller.window(), INITIAL);
        let now = lose(&mut controller, now);
        assert_eq!(controller.window(), INITIAL);
        controller.earn(now, 30_000);
        let now = lose(&mut controller, now);
        assert_eq!(controller.window(), INITIAL + 30_000);
        controller.earn(now, 1 << 30);
        lose(&mut controller, now);
        assert_eq!(controller.window(), FLOOR);
    }

    #[test]
    fn marks_and_silence_take_the_floor_away_and_later_packets_earn_it_again() {
        for (persistent, lost_bytes) in [(false, 0), (true, 9000)] {
            let (mut controller, now) = controller();
            controller.earn(now, 1 << 20);
            let now = lose(&mut controller, now);
            controller.on_congestion_event(now, now, persistent, lost_bytes);
            assert_eq!(controller.window(), 2400, "the least of Cubic");
            controller.earn(now, 50_000);
            assert_eq!(controller.window(), 2400, "it was sent before");
            controller.earn(now + Duration::from_millis(1), 50_000);
            assert_eq!(controller.window(), 50_000);
        }
    }
}
