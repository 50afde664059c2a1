//! The schedule of ticks: absolute, so that lateness never adds up.
//!
//! Tick n is due at `start + n / hz`, exactly. A tick that ends after its successor is due is an overrun. Successors whose
//! whole period has passed are caught up with: they run late, one after the other, up to a bound; what lies further back
//! is missed, and never runs. All of it is counted. Time is an argument.

use std::time::{Duration, Instant};

const NS_PER_S: u128 = 1_000_000_000;

/// When ticks are due, and how well that was kept.
#[derive(Debug, Clone)]
pub struct Pace {
    start: Instant,
    hz: u32,
    /// Ticks that may be behind the schedule and still run.
    catch_up: u64,
    next: u64,
    missed: u64,
    overruns: u64,
}

/// A tick that may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Its number in the schedule.
    pub tick: u64,
    /// How late it starts, in nanoseconds; if ticks are missed, counted from the first of them.
    pub late_ns: u64,
    /// Ticks before it that never ran.
    pub missed: u64,
}

impl Pace {
    /// A schedule of `hz` ticks a second whose tick 0 is due at `start`, and which runs up to `catch_up` ticks late.
    ///
    /// # Panics
    /// `hz` is 0.
    #[must_use]
    pub fn new(start: Instant, hz: u32, catch_up: u32) -> Self {
        assert!(hz > 0, "a schedule has at least one tick a second");
        Self { start, hz, catch_up: catch_up.into(), next: 0, missed: 0, overruns: 0 }
    }

    /// When the next tick is due.
    #[must_use]
    pub fn next_start(&self) -> Instant {
        self.start + Duration::from_nanos(self.offset_ns(self.next))
    }

    /// Starts the next tick, or, when it is further behind `now` than may be caught up with, the first that is not.
    pub fn begin(&mut self, now: Instant) -> Begin {
        let late_ns = saturating_ns(now.saturating_duration_since(self.next_start()));
        let missed = self.skip_to(now);
        Begin { tick: self.next, late_ns, missed }
    }

    /// Ends the tick that [`Pace::begin`] started; true when its successor was due already.
    pub fn end(&mut self, now: Instant) -> bool {
        self.next += 1;
        let overrun = now > self.next_start();
        self.overruns += u64::from(overrun);
        overrun
    }

    /// Ticks that never ran, since the start.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// Ticks that ended after their successor was due, since the start.
    #[must_use]
    pub const fn overruns(&self) -> u64 {
        self.overruns
    }

    fn skip_to(&mut self, now: Instant) -> u64 {
        let elapsed_ns = now.saturating_duration_since(self.start).as_nanos();
        let due = u64::try_from(elapsed_ns * u128::from(self.hz) / NS_PER_S).unwrap_or(u64::MAX);
        let missed = due.saturating_sub(self.next).saturating_sub(self.catch_up);
        self.next += missed;
        self.missed += missed;
        missed
    }

    fn offset_ns(&self, tick: u64) -> u64 {
        // Rounded up, so that the tick computed back from its own start is itself.
        let ns = (u128::from(tick) * NS_PER_S).div_ceil(u128::from(self.hz));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A schedule only compares instants, so any one serves as the origin.
    fn origin() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        Instant::now()
    }

    #[test]
    fn a_period_that_is_no_whole_number_does_not_drift() {
        for hz in [3, 7, 60, 1000, 1001, 20_000] {
            let start = origin();
            let mut pace = Pace::new(start, hz, 0);
            for tick in 0..u64::from(hz) * 10 {
                let now = pace.next_start();
                assert_eq!(pace.begin(now), Begin { tick, late_ns: 0, missed: 0 }, "{hz} Hz");
                assert!(!pace.end(now));
            }
            assert_eq!(pace.next_start(), start + Duration::from_secs(10), "{hz} Hz");
        }
    }

    #[test]
    fn a_long_tick_is_an_overrun_and_its_missed_successors_are_counted() {
        let start = origin();
        let mut pace = Pace::new(start, 1000, 0);
        assert_eq!(pace.begin(start).tick, 0);
        let end = start + Duration::from_micros(3_400);
        assert!(pace.end(end));
        let begin = pace.begin(end);
        assert_eq!(begin, Begin { tick: 3, late_ns: 2_400_000, missed: 2 });
        assert!(!pace.end(start + Duration::from_micros(3_900)));
        assert_eq!(pace.next_start(), start + Duration::from_millis(4));
        assert_eq!((pace.overruns(), pace.missed()), (1, 2));
    }

    #[test]
    fn late_ticks_run_one_after_the_other_and_only_those_beyond_the_bound_are_missed() {
        let start = origin();
        let mut pace = Pace::new(start, 1000, 3);
        let late = start + Duration::from_micros(5_200);
        let begin = |tick, late_us: u64, missed| Begin { tick, late_ns: late_us * 1_000, missed };
        assert_eq!(pace.begin(late), begin(2, 5_200, 2));
        assert!(pace.end(late));
        assert_eq!(pace.begin(late), begin(3, 2_200, 0));
        assert!(pace.end(late));
        assert_eq!(pace.begin(late), begin(4, 1_200, 0));
        assert!(pace.end(late));
        assert_eq!(pace.begin(late), begin(5, 200, 0));
        assert!(!pace.end(late));
        assert_eq!((pace.overruns(), pace.missed()), (3, 2));
        assert_eq!(pace.next_start(), start + Duration::from_millis(6));
    }

    #[test]
    fn a_tick_that_ends_within_its_period_leaves_the_schedule_as_it_was() {
        let start = origin();
        let mut pace = Pace::new(start, 1000, 0);
        let late = start + Duration::from_micros(700);
        assert_eq!(pace.begin(late), Begin { tick: 0, late_ns: 700_000, missed: 0 });
        assert!(!pace.end(start + Duration::from_micros(999)));
        assert_eq!(pace.next_start(), start + Duration::from_millis(1));
    }
}
