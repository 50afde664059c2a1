//! Cubic with a floor: single losses slow the reliable tiers down, but do not starve T1.
//!
//! DATAGRAM frames wait for the congestion window like everything else, and on a link that loses a few per cent Cubic keeps
//! the window at a handful of packets, so that telemetry of a constant and moderate rate would wait for round trips.
//! Below the floor a loss alone does not shrink the window. The floor is earned: it grows with the bytes that the path has
//! acknowledged, and it is taken away by what means congestion and not weather, which is a congestion mark or a time in
//! which nothing came through at all.

use std::{any::Any, sync::Arc, time::Instant};

use quinn_proto::{
    RttEstimator,
    congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig},
};

/// Makes the controllers of sessions.
#[derive(Debug, Clone)]
pub(crate) struct FloorCubicConfig {
    cubic: Arc<CubicConfig>,
    floor_bytes_max: u64,
}

impl FloorCubicConfig {
    /// Cubic that begins with a window of `initial_bytes`, and that losses take no further than `floor_bytes_max`.
    pub(crate) fn new(initial_bytes: u64, floor_bytes_max: u64) -> Self {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(initial_bytes);
        Self { cubic: Arc::new(cubic), floor_bytes_max }
    }

    fn controller(&self, now: Instant, mtu_bytes: u16) -> FloorCubic {
        FloorCubic {
            cubic: Cubic::new(Arc::clone(&self.cubic), now, mtu_bytes),
            floor_bytes_max: self.floor_bytes_max,
            floor_bytes: 0,
            congested: None,
        }
    }
}

impl ControllerFactory for FloorCubicConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(self.controller(now, current_mtu))
    }
}

#[derive(Debug, Clone)]
struct FloorCubic {
    cubic: Cubic,
    floor_bytes_max: u64,
    floor_bytes: u64,
    /// The last sign of congestion: what was sent before it earns nothing.
    congested: Option<Instant>,
}

impl FloorCubic {
    /// Raises the floor by what a packet of so many bytes has earned by its arrival.
    fn earn(&mut self, sent: Instant, bytes: u64) {
        if self.congested.is_none_or(|congested| sent > congested) {
            self.floor_bytes = (self.floor_bytes + bytes).min(self.floor_bytes_max);
        }
    }
}

impl Controller for FloorCubic {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.earn(sent, bytes);
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
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
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window().max(self.floor_bytes)
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.cubic.metrics();
        metrics.congestion_window = self.window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
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

    fn controller() -> (FloorCubic, Instant) {
        let now = Now::simulated().instant;
        (FloorCubicConfig::new(INITIAL, FLOOR).controller(now, 1200), now)
    }

    /// Losses, one a second, until Cubic alone would be at its least.
    fn lose(controller: &mut FloorCubic, from: Instant) -> Instant {
        let lost = |n| from + Duration::from_secs(n);
        (1..60).for_each(|n| controller.on_congestion_event(lost(n), lost(n), false, 1200));
        lost(60)
    }

    #[test]
    fn losses_do_not_go_below_what_was_acknowledged() {
        let (mut controller, now) = controller();
        assert_eq!(controller.window(), INITIAL);
        controller.earn(now, 30_000);
        let now = lose(&mut controller, now);
        assert_eq!(controller.window(), 30_000);
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
