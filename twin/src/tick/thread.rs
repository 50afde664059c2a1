//! The loop around [`World::tick`]: wait, tick, measure, hand the latencies over once a second.
//!
//! It is the only part of the tick thread that reads a clock and waits. It neither allocates nor takes a lock, and it
//! never waits for the cold thread: latencies that nobody has fetched are recorded further into the same interval. At the
//! end it drains what the worker has left in the rings and what fault injection holds back, so that the account closes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use netloop::{Clock, Now, Punctual, Stop, ThreadUsage, Waker, thread_cpu_ns, wait_until};

use crate::interval::{IntervalProducer, Latency};
use crate::stats::TwinStats;
use crate::world::{Lanes, World};

use super::pace::Pace;

/// How the tick thread spends its time.
#[derive(Debug, Clone, Copy)]
pub struct TickOptions {
    /// Ticks a second.
    pub hz: u32,
    /// How long it spins before each tick instead of sleeping.
    pub spin: Duration,
    /// Ticks that may be behind the schedule and still run.
    pub catch_up: u32,
}

/// Ticks at the end that may find the rings not yet empty: a bound, should a worker never stop pushing.
const DRAIN_TICKS_MAX: u32 = 10_000;

/// Ticks at the end for what fault injection holds back: as long as `fault.delay_ticks` can be, and a tenth for what waits
/// behind a full injector.
const HELD_TICKS_MAX: u32 = 66_000;
/// How long the end of a capture waits for room in its ring, and how often it looks: a disk that works empties it at once.
const TAP_WAIT: Duration = Duration::from_secs(1);
const TAP_LOOK: Duration = Duration::from_millis(1);

/// A world with everything that makes it tick.
pub struct TickThread {
    world: World,
    lanes: Lanes,
    producer: IntervalProducer,
    stats: Arc<TwinStats>,
    /// Wake a worker that sleeps while answers wait for it.
    wakers: Vec<Waker>,
    clock: Clock,
    options: TickOptions,
    started: Instant,
    second: Second,
    activity: Activity,
    /// What the kernel had done to the thread before its first tick.
    usage: ThreadUsage,
}

/// When records were applied. It leaves out the wait for the first device and the end, so that a short run and a long one say
/// the same of a rate.
#[derive(Debug, Clone, Copy)]
struct Activity {
    applied: u64,
    /// The end of the last tick before the first applied record.
    since: Instant,
}

impl Activity {
    /// Notes at the end of a tick that so many records are applied. Says how long records have been applied now, if this tick
    /// has applied any.
    fn note(&mut self, applied: u64, end: Instant) -> Option<Duration> {
        if applied == 0 {
            self.since = end;
        }
        let before = std::mem::replace(&mut self.applied, applied);
        (applied != before).then(|| end.saturating_duration_since(self.since))
    }
}

/// The second that is being measured.
#[derive(Debug, Clone, Copy)]
struct Second {
    since: Instant,
    ticks: u64,
}

impl TickThread {
    /// Puts the thread together; nothing runs before [`TickThread::run`]. `wakers` are of the workers, in order;
    /// `started` is where the intervals of `producer` count from.
    #[must_use]
    pub fn new(
        world: World,
        lanes: Lanes,
        producer: IntervalProducer,
        stats: Arc<TwinStats>,
        wakers: Vec<Waker>,
        options: TickOptions,
        started: Instant,
    ) -> Self {
        let clock = Clock::new();
        let second = Second { since: started, ticks: 0 };
        let activity = Activity { applied: 0, since: started };
        let usage = ThreadUsage::default();
        Self {
            world,
            lanes,
            producer,
            stats,
            wakers,
            clock,
            options,
            started,
            second,
            activity,
            usage,
        }
    }

    /// Ticks on the calling thread until `stop` is told to drain, then until the rings are empty, and hands the last
    /// latencies over. The worker has to have ended before, so that nothing is pushed later.
    pub fn run(mut self, stop: &Stop) {
        self.usage = ThreadUsage::of_this_thread();
        let mut pace = Pace::new(self.clock.now().instant, self.options.hz, self.options.catch_up);
        let mut timer = Punctual::default();
        while !stop.is_draining() {
            timer.wait_until(pace.next_start(), self.options.spin);
            self.tick(&mut pace);
        }
        for _ in 0..DRAIN_TICKS_MAX {
            if self.lanes.is_empty() || self.world.holds_back() {
                break;
            }
            timer.wait_until(pace.next_start(), self.options.spin);
            self.tick(&mut pace);
        }
        // What fault injection holds back belongs to the account as well. Nobody sends any more, so the ticks that it waits for
        // need not keep their time.
        for _ in 0..HELD_TICKS_MAX {
            if self.lanes.is_empty() && !self.world.holds_back() {
                break;
            }
            self.tick(&mut pace);
        }
        self.finish();
    }

    fn tick(&mut self, pace: &mut Pace) {
        let start = self.clock.now();
        let begin = pace.begin(start.instant);
        self.world.interval_mut().record(Latency::TickJitter, begin.late_ns);
        self.world.note_late(begin.late_ns);
        let clock = &self.clock;
        self.world.tick(&mut self.lanes, begin.tick, &mut || clock.now().unix_ns);
        for (lane, waker) in self.lanes.workers_mut().iter_mut().zip(&self.wakers) {
            if lane.take_asked() {
                waker.wake();
            }
        }
        let end = self.clock.now();
        let spent_ns = duration_ns(end.instant.saturating_duration_since(start.instant));
        self.world.interval_mut().record(Latency::TickDuration, spent_ns);
        let overrun = pace.end(end.instant);
        self.second.ticks += 1;
        let tick = &self.stats.tick;
        tick.ticks.add(1);
        tick.busy_ns.add(spent_ns);
        tick.overruns.add(u64::from(overrun));
        tick.missed.set(pace.missed());
        if let Some(active) = self.activity.note(self.stats.applied(), end.instant) {
            tick.active_ns.set(duration_ns(active));
        }
        self.end_second(end);
        let until_next = pace.next_start().saturating_duration_since(end.instant);
        self.lanes.due.set(end.unix_ns + duration_ns(until_next));
    }

    /// Once a second: the rate, the clock's anchor, and an empty interval.
    fn end_second(&mut self, now: Now) {
        let elapsed = now.instant.saturating_duration_since(self.second.since);
        if elapsed < Duration::from_secs(1) {
            return;
        }
        self.stats.tick.rate_hz.set(self.second.ticks as f64 / elapsed.as_secs_f64());
        self.second = Second { since: now.instant, ticks: 0 };
        self.clock.resync();
        self.publish_usage();
        let at_ns = duration_ns(now.instant.saturating_duration_since(self.started));
        self.producer.swap(self.world.interval_mut(), at_ns);
    }

    fn publish_usage(&self) {
        self.stats.tick.cpu_ns.set(thread_cpu_ns());
        let usage = ThreadUsage::of_this_thread();
        let [minor, major] = &self.stats.tick.page_faults;
        minor.set(usage.minor_faults - self.usage.minor_faults);
        major.set(usage.major_faults - self.usage.major_faults);
    }

    fn finish(mut self) {
        self.world.settle(&self.lanes);
        if let Some(tap) = self.lanes.tap.take() {
            let end = self.clock.now().instant + TAP_WAIT;
            while !tap.can_finish() && self.clock.now().instant < end {
                wait_until(self.clock.now().instant + TAP_LOOK, Duration::ZERO);
            }
            tap.finish(self.world.state_hash());
        }
        self.publish_usage();
        let now = self.clock.now().instant;
        let at_ns = duration_ns(now.saturating_duration_since(self.started));
        self.producer.finish(self.world.into_interval(), at_ns);
    }
}

fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity_begins_before_the_first_record_and_ends_with_the_last() {
        let begin = Clock::new().now().instant;
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut activity = Activity { applied: 0, since: begin };
        let ticks = [(0, 400), (0, 500), (90, 501), (90, 502), (100, 1_400), (100, 1_900)];
        let noted = ticks.map(|(applied, ms)| activity.note(applied, at(ms)));
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(noted, [None, None, ms(1), None, ms(900), None]);
    }
}
