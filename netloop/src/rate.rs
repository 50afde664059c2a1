//! A rate with a burst, kept as one instant: the generic cell rate algorithm (ITU-T I.371).
//!
//! An empty bucket costs nothing to keep, nothing runs by itself, and time is an argument. Nothing is saved up beyond the
//! burst.

use std::time::{Duration, Instant};

/// So many units a second, and so many at once after a silence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// When everything that was let through would have been due at an even pace.
    due: Instant,
}

/// What a [`Rate`] keeps to. Shared by all that have the same limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimit {
    /// Units a second; 0 is no limit.
    units_per_s: u64,
    /// How far ahead of an even pace a burst may run.
    ahead: Duration,
}

impl RateLimit {
    /// A limit that lets `burst` units through at once. No `units_per_s` is no limit.
    pub(crate) fn new(units_per_s: u64, burst: u64) -> Self {
        let ahead = if units_per_s == 0 { Duration::ZERO } else { span(burst, units_per_s) };
        Self { units_per_s, ahead }
    }

    /// True when there is a limit at all.
    pub(crate) const fn is_set(&self) -> bool {
        self.units_per_s > 0
    }
}

impl Rate {
    /// Nothing was let through yet.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// When at least one unit may pass; in the past when it may pass now. `None` is always.
    pub(crate) fn next(&self, limit: &RateLimit) -> Option<Instant> {
        let unit = span(1, if limit.is_set() { limit.units_per_s } else { return None });
        Some((self.due + unit).checked_sub(limit.ahead.max(unit)).unwrap_or(self.due))
    }

    /// Lets `units` pass and says so, or leaves all as it is.
    pub(crate) fn take(&mut self, now: Instant, units: u64, limit: &RateLimit) -> bool {
        if !limit.is_set() {
            return true;
        }
        if self.next(limit).is_some_and(|next| next > now) {
            return false;
        }
        self.due = self.due.max(now) + span(units, limit.units_per_s);
        true
    }
}

/// How long so many units take at an even pace.
fn span(units: u64, units_per_s: u64) -> Duration {
    let ns = u128::from(units) * 1_000_000_000 / u128::from(units_per_s);
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Now;

    #[test]
    fn over_any_span_no_more_passes_than_the_rate_and_one_burst() {
        let begin = Now::simulated().instant;
        let limit = RateLimit::new(1000, 50);
        let mut rate = Rate::new(begin);
        let mut passed = 0_u64;
        for us in 0..1_000_000_u64 {
            if us.is_multiple_of(17) && rate.take(begin + Duration::from_micros(us), 1, &limit) {
                passed += 1;
                assert!(passed <= us / 1000 + 51, "{passed} after {us} us");
            }
        }
        assert!((1040..=1051).contains(&passed), "{passed}");
    }

    #[test]
    fn what_is_refused_may_pass_at_the_instant_that_was_told() {
        let now = Now::simulated().instant;
        let limit = RateLimit::new(10, 1);
        let mut rate = Rate::new(now);
        assert!(rate.take(now, 1, &limit));
        assert!(!rate.take(now, 1, &limit));
        let next = rate.next(&limit).unwrap();
        assert_eq!(next, now + Duration::from_millis(100));
        assert!(!rate.take(next - Duration::from_nanos(1), 1, &limit));
        assert!(rate.take(next, 1, &limit));
    }

    #[test]
    fn no_limit_lets_everything_pass() {
        let now = Now::simulated().instant;
        let limit = RateLimit::new(0, 0);
        let mut rate = Rate::new(now);
        assert!((0..1000).all(|_| rate.take(now, 1 << 40, &limit)));
        assert_eq!(rate.next(&limit), None);
    }
}
