//! What the operator's surface knows: counters of the hot threads, the mirror of the plant, the report, and the orders.
//!
//! The cold thread writes it and the handlers on that same thread read it; the locks are never contended.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use netloop::{Clock, Now};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::config::{Commands, Config, Threshold};
use crate::metrics::{Sources, exposition};
use crate::mirror::Mirror;
use crate::order::{Order, OrderDesk, OrderEnd, Outcome, StopRequest, StopSource, StopWord};
use crate::rates::Sampler;
use crate::report::Report;
use crate::stats::TwinStats;

use super::browsers::Browsers;
use super::guard::{Policy, Refusals};
use super::live::Live;
use super::looks::Looks;

/// Orders remembered, the latest ones.
const ORDERS_KEPT: usize = 1024;

/// What of the configuration the surface shows or keeps to.
#[derive(Clone, Debug)]
pub struct SurfaceOptions {
    /// Ticks a second that the twin was asked for.
    pub hz: u32,
    /// Thresholds by sensor type.
    pub thresholds: [Threshold; wire::SensorType::COUNT],
    /// Who may do what.
    pub policy: Policy,
}

impl SurfaceOptions {
    /// What a configuration asks for. The token is read elsewhere.
    #[must_use]
    pub fn new(config: &Config, token: Option<String>) -> Self {
        let loopback = config.http.addr.ip().is_loopback();
        let policy = Policy { token, commands: config.http.commands, loopback };
        Self { hz: config.tick.hz, thresholds: config.thresholds, policy }
    }
}

impl Default for SurfaceOptions {
    fn default() -> Self {
        let policy = Policy { token: None, commands: Commands::All, loopback: false };
        Self { hz: 1000, thresholds: Default::default(), policy }
    }
}

/// What the surface shows.
pub struct Surface {
    stats: Arc<TwinStats>,
    options: SurfaceOptions,
    // Only the cold thread takes these; axum asks for a type that could be shared.
    report: Mutex<Report>,
    mirror: Mutex<Mirror>,
    sampler: Mutex<Sampler>,
    desk: Mutex<Desk>,
    refusals: Refusals,
    live: Live,
    looks: Looks,
    browsers: Browsers,
    rss_bytes: fn() -> u64,
    alive: AtomicBool,
    /// Set by the cold thread once a second, after which all say the same time as the hot threads.
    clock: Mutex<Clock>,
    began: Instant,
    /// Told whenever an order has ended.
    pub(super) ended: Notify,
}

/// Where orders are given in: the way to the plant, if there is one, and what was given in so far.
#[derive(Debug, Default)]
struct Desk {
    plant: Option<OrderDesk>,
    orders: VecDeque<GivenOrder>,
}

/// An order and how far it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenOrder {
    pub(super) order: Order,
    pub(super) end: Option<OrderEnd>,
}

const TAKEN: &str = "because the cold thread has not panicked";

impl Surface {
    /// A surface over the counters, the report, and a reading of resident memory in bytes.
    #[must_use]
    pub fn new(stats: Arc<TwinStats>, report: Report, rss_bytes: fn() -> u64) -> Arc<Self> {
        Self::with_options(stats, report, rss_bytes, SurfaceOptions::default(), None)
    }

    /// The same with options, and with the desk that takes orders.
    #[must_use]
    pub fn with_options(
        stats: Arc<TwinStats>,
        report: Report,
        rss_bytes: fn() -> u64,
        options: SurfaceOptions,
        desk: Option<OrderDesk>,
    ) -> Arc<Self> {
        let clock = Clock::new();
        Arc::new(Self {
            stats,
            options,
            report: Mutex::new(report),
            mirror: Mutex::default(),
            sampler: Mutex::default(),
            desk: Mutex::new(Desk { plant: desk, orders: VecDeque::new() }),
            refusals: Refusals::default(),
            live: Live::default(),
            looks: Looks::default(),
            browsers: Browsers::default(),
            rss_bytes,
            alive: AtomicBool::new(true),
            began: clock.now().instant,
            clock: Mutex::new(clock),
            ended: Notify::new(),
        })
    }

    /// The counters of the hot threads.
    #[must_use]
    pub fn stats(&self) -> &TwinStats {
        &self.stats
    }

    /// The report, for as long as the guard lives. A hot thread never asks for it.
    ///
    /// # Panics
    /// The cold thread has panicked while it held the report.
    pub fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().expect(TAKEN)
    }

    /// The mirror of the plant, for as long as the guard lives.
    ///
    /// # Panics
    /// The cold thread has panicked while it held the mirror.
    pub fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().expect(TAKEN)
    }

    /// Rates and ages, for as long as the guard lives.
    ///
    /// # Panics
    /// The cold thread has panicked while it held them.
    pub fn sampler(&self) -> MutexGuard<'_, Sampler> {
        self.sampler.lock().expect(TAKEN)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect(TAKEN)
    }

    /// What of the configuration is shown.
    #[must_use]
    pub const fn options(&self) -> &SurfaceOptions {
        &self.options
    }

    /// Who may do what.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.options.policy
    }

    /// What was refused.
    #[must_use]
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What goes out to those who watch.
    #[must_use]
    pub const fn live(&self) -> &Live {
        &self.live
    }

    /// Who looks at the plant.
    #[must_use]
    pub const fn looks(&self) -> &Looks {
        &self.looks
    }

    /// The mirror with the plant in it: asks for the plant and waits until it is there, some tens of milliseconds after
    /// nobody has looked for a while, or a second where it is large.
    pub async fn see_plant(&self) {
        self.looks.see(self.elapsed_ns(), || self.mirror().is_complete()).await;
    }

    /// The way to browsers that watch over WebTransport.
    #[must_use]
    pub const fn browsers(&self) -> &Browsers {
        &self.browsers
    }

    /// Now, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now().unix_ns
    }

    /// Nanoseconds since the beginning, which no set clock changes.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        let elapsed = self.now().instant.saturating_duration_since(self.began);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> Now {
        self.clock.lock().expect(TAKEN).now()
    }

    /// Follows the system clock, and says so where that was set. Called once a second, as by the hot threads, of which each
    /// follows it on its own.
    ///
    /// # Panics
    /// The cold thread has panicked.
    pub fn resync(&self) {
        let set_ns = self.clock.lock().expect(TAKEN).resync();
        if let Some(set_ns) = set_ns {
            let set_s = set_ns as f64 / 1e9;
            tracing::warn!(
                "the system clock was set by {set_s:+.1} s: dates from before are off by that"
            );
        }
    }

    /// Resident memory, in bytes.
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        (self.rss_bytes)()
    }

    /// States whether the tick has advanced since the last time it was asked.
    pub fn set_live(&self, live: bool) {
        self.alive.store(live, Relaxed);
    }

    /// Whether the tick advances.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive.load(Relaxed)
    }

    pub(super) fn exposition(&self) -> String {
        let (report, sampler) = (self.report(), self.sampler());
        exposition(&Sources {
            stats: &self.stats,
            worker: &self.stats.worker(),
            total: &|latency| report.total(latency),
            sampler: &sampler,
            refusals: &self.refusals,
            viewers: self.live.viewers(),
            rss_bytes: (self.rss_bytes)(),
        })
    }

    /// What is missing before all devices can be served, if anything is.
    pub(super) fn missing(&self) -> Option<&'static str> {
        if self.stats.watch.still.value() > 0 {
            Some("a worker stands still\n")
        } else if self.stats.workers().iter().any(|worker| worker.turns.value() == 0) {
            Some("a worker does not listen yet\n")
        } else if self.stats.tick.ticks.value() == 0 {
            Some("no tick has run yet\n")
        } else {
            None
        }
    }

    /// Gives an order in, and says which it is; nothing when too many are on their way.
    pub(super) fn push_order(&self, order: Order) -> Option<u64> {
        let mut desk = self.desk();
        let id = desk.plant.as_mut()?.push(order)?;
        if desk.orders.len() == ORDERS_KEPT {
            desk.orders.pop_front();
        }
        desk.orders.push_back(GivenOrder { order: Order { id, ..order }, end: None });
        Some(id)
    }

    /// Notes the orders that have ended; true while some have not.
    pub fn poll_orders(&self) -> bool {
        let mut desk = self.desk();
        let mut any = false;
        while let Some(end) = desk.plant.as_mut().and_then(OrderDesk::poll) {
            any = true;
            let given = desk.orders.iter_mut().rev().find(|given| given.order.id == end.id);
            // One that so many others have followed is forgotten.
            if let Some(given) = given {
                given.end = Some(end);
            }
        }
        if any {
            self.ended.notify_waiters();
        }
        desk.plant.as_ref().is_some_and(OrderDesk::is_waiting)
    }

    /// Notes the ends of orders whenever the bell rings, for as long as it is polled.
    pub(crate) async fn follow_orders(&self, bell: UnixStream) {
        while bell.readable().await.is_ok() {
            let mut rings = [0; 256];
            match bell.try_read(&mut rings) {
                Ok(0) => return,
                Ok(_) => {
                    self.poll_orders();
                }
                Err(_) => {}
            }
        }
    }

    pub(super) fn order(&self, id: u64) -> Option<GivenOrder> {
        self.desk().orders.iter().rev().find(|given| given.order.id == id).copied()
    }

    /// The latest orders, the last one first.
    pub(super) fn orders(&self) -> Vec<GivenOrder> {
        self.desk().orders.iter().rev().copied().collect()
    }

    /// Asks for a stop or for its end, and gives the number of the request; nothing when there is no plant.
    pub(super) fn set_stopped(&self, stopped: bool) -> Option<u64> {
        Some(self.desk().plant.as_ref()?.set_stopped(stopped, self.now_ns()))
    }

    /// Who asked for it.
    pub(super) fn stop_source(&self) -> StopSource {
        self.desk().plant.as_ref().map_or(StopSource::default(), OrderDesk::stop_source)
    }

    /// What is to be kept of the stop over a restart.
    pub(crate) fn stop_request(&self) -> StopRequest {
        self.desk().plant.as_ref().map_or(StopRequest::default(), OrderDesk::stop_request)
    }

    /// The stop that was asked for last.
    pub(super) fn stop_asked(&self) -> StopWord {
        self.desk().plant.as_ref().map_or(StopWord::default(), OrderDesk::stop_asked)
    }
}

impl GivenOrder {
    /// The name of how it ended, or `sent` while it has not.
    pub(super) fn state(&self) -> &'static str {
        self.end.as_ref().map_or("sent", |end| Outcome::name(end.outcome))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_clock_that_began_in_1970_is_right_after_a_resync_and_lengths_do_not_notice() {
        const DAY_NS: u64 = 86_400_000_000_000;
        let report = Report::create(None, UNIX_EPOCH).unwrap();
        let surface = Surface::new(Arc::new(TwinStats::new(1)), report, || 0);
        for wrong_ns in [7_000_000_000, surface.now_ns() + 900 * DAY_NS] {
            *surface.clock.lock().unwrap() = Clock::wrong(wrong_ns);
            assert!((wrong_ns..wrong_ns + DAY_NS).contains(&surface.now_ns()));
            surface.resync();
            let right_ns = Clock::new().now().unix_ns;
            assert!(surface.now_ns().abs_diff(right_ns) < DAY_NS);
            assert!(surface.elapsed_ns() < DAY_NS);
        }
    }
}
