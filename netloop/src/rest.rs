//! When a worker that waits takes its rests: as long as it may, and over in time for the other side's next look.
//!
//! A wake-up costs more than a packet, so packets are best taken together; yet a record that reaches its ring just after
//! the tick thread has looked waits a whole period longer. A [`Rest`] learns how late this thread wakes and how long it
//! takes to move what has arrived, and ends its rests so that both are nearly always over when the other side looks. From
//! then until that look there is no rest: what comes so late is worth a wake-up of its own. It reads no clock.

use std::time::Duration;

use crate::{Due, quantile::Quantile};

/// The rests of one worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    longest_ns: u64,
    /// From the moment that a rest was to end until what arrived has been moved, how late the thread runs and its work: one
    /// that is rarely exceeded.
    lead: Quantile,
    /// When the present rest, or the one before the present turn, was to end, in unix nanoseconds; 0 for neither.
    until_ns: u64,
}

/// The lead before any was seen.
const LEAD_NS: u64 = 120_000;
/// A longer lead would leave no time to take packets together.
const LEAD_NS_MAX: u64 = 500_000;
/// Rests that are over in time, to one that is not, which costs its records a period.
const IN_TIME: [u64; 2] = [255, 1];
/// A rest that would be shorter is not worth its wake-up.
const SHORTEST_NS: u64 = 20_000;
/// What comes so shortly before a look is not moved in time for it, by a worker that listens.
const MOVING_NS: u64 = 4_000;

impl Rest {
    /// Rests of at most `longest`; zero never rests.
    pub(crate) fn new(longest: Duration) -> Self {
        let longest_ns = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Self { longest_ns, lead: Quantile::new(LEAD_NS, IN_TIME, LEAD_NS_MAX), until_ns: 0 }
    }

    /// False when this worker never rests.
    pub(crate) const fn is_allowed(&self) -> bool {
        self.longest_ns > 0
    }

    /// Begins a rest at `now_ns`, and says how long it is to be; `due` is when the other side looks. Nothing where that is so
    /// close that the worker had better listen.
    pub(crate) fn begin(&mut self, now_ns: u64, due: Option<&Due>) -> Option<Duration> {
        let room_ns = due.and_then(|due| self.room_ns(now_ns, due)).unwrap_or(u64::MAX);
        if room_ns < SHORTEST_NS {
            return None;
        }
        let length_ns = self.longest_ns.min(room_ns);
        self.until_ns = now_ns + length_ns;
        Some(Duration::from_nanos(length_ns))
    }

    /// How long a rest may be for the next look of the other side that what comes now is in time for.
    fn room_ns(&self, now_ns: u64, due: &Due) -> Option<u64> {
        let due_ns = due.next_ns(now_ns + MOVING_NS);
        Some(due_ns.checked_sub(now_ns)?.saturating_sub(self.lead.ns()))
    }

    /// Ends the rest at `now_ns`. One that was cut short tells nothing about waking.
    pub(crate) fn end(&mut self, now_ns: u64) {
        if now_ns < self.until_ns {
            self.until_ns = 0;
        }
    }

    /// Learns from the turn behind a rest: `moved_ns` is when all that had arrived was moved, if anything had.
    pub(crate) fn learn(&mut self, moved_ns: Option<u64>) {
        let until_ns = std::mem::take(&mut self.until_ns);
        if let (1.., Some(moved_ns)) = (until_ns, moved_ns) {
            self.lead.learn(moved_ns.saturating_sub(until_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// When the intakes of a worker end that wakes so late after the n-th rest and needs 30 us for its work, beside a tick of
    /// one millisecond; with a packet every 50 us, which it takes at once where it does not rest.
    fn intakes(rest: &mut Rest, count: u64, late_ns: impl Fn(u64) -> u64) -> Vec<u64> {
        let due = Due::every(Duration::from_millis(1));
        let mut now_ns = 5 * MS;
        let mut ends = Vec::new();
        for n in 0..count {
            due.set(now_ns.next_multiple_of(MS));
            now_ns = match rest.begin(now_ns, Some(&due)) {
                Some(length) => now_ns + length.as_nanos() as u64 + late_ns(n),
                None => now_ns.next_multiple_of(50_000),
            };
            rest.end(now_ns);
            now_ns += 30_000;
            rest.learn(Some(now_ns));
            ends.push(now_ns);
        }
        ends
    }

    #[test]
    fn wake_ups_that_vary_are_in_time_and_what_comes_later_is_taken_until_the_look() {
        let mut rest = Rest::new(Duration::from_millis(1));
        // Every 24th wake-up is 270 us late, which is more than the one in 256 that may be too late.
        let ends = intakes(&mut rest, 100_000, |n| if n % 24 == 0 { 270_000 } else { 20_000 });
        let settled = &ends[50_000..];
        let (first, last) = (settled[0].div_ceil(MS) + 1, settled[settled.len() - 1].div_ceil(MS));
        let (mut met, mut fresh) = (0, 0);
        for moment in first..last {
            let looks = settled.iter().filter(|&&end| end.div_ceil(MS) == moment);
            let spare_ns = looks.map(|end| moment * MS - end).min();
            met += u64::from(spare_ns.is_some());
            fresh += u64::from(spare_ns.is_some_and(|spare_ns| spare_ns < 60_000));
        }
        let periods = last - first;
        assert!(met * 100 >= periods * 98, "{met} of {periods} periods are met");
        assert!(fresh * 100 >= periods * 95, "{fresh} of {periods} periods end with a fresh look");
    }

    #[test]
    fn most_of_a_period_is_one_rest() {
        let mut rest = Rest::new(Duration::from_millis(1));
        let ends = intakes(&mut rest, 20_000, |_| 20_000);
        let settled = &ends[10_000..];
        let periods = (settled[settled.len() - 1] - settled[0]) / MS;
        // The look that ends the rest, and no more than the packets of the lead of 50 us and of the work.
        assert!(settled.len() as u64 <= 4 * periods, "{} intakes", settled.len());
        let long = settled.windows(2).filter(|pair| pair[1] - pair[0] > 800_000).count() as u64;
        assert!(long * 100 >= periods * 99, "{long} rests in {periods} periods");
    }

    #[test]
    fn rest_is_no_longer_than_allowed() {
        let mut rest = Rest::new(Duration::from_micros(200));
        assert_eq!(rest.begin(MS, None), Some(Duration::from_micros(200)));
        let due = Due::every(Duration::from_millis(1));
        due.set(9 * MS);
        assert_eq!(rest.begin(8 * MS + 1, Some(&due)), Some(Duration::from_micros(200)));
        assert!(!Rest::new(Duration::ZERO).is_allowed());
    }

    #[test]
    fn there_is_no_rest_shortly_before_a_look() {
        let due = Due::every(Duration::from_millis(1));
        due.set(3 * MS);
        let mut rest = Rest::new(Duration::from_millis(10));
        let mut until =
            |now_ns| rest.begin(now_ns, Some(&due)).map(|length| now_ns + length.as_nanos() as u64);
        assert_eq!(until(2 * MS), Some(3 * MS - LEAD_NS));
        assert_eq!(until(3 * MS - LEAD_NS - SHORTEST_NS), Some(3 * MS - LEAD_NS));
        assert_eq!(until(3 * MS - LEAD_NS), None);
        assert_eq!(until(3 * MS - MOVING_NS), None);
        assert_eq!(until(3 * MS - MOVING_NS + 1), Some(4 * MS - LEAD_NS), "too late for that one");
    }

    #[test]
    fn rest_cut_short_or_without_records_teaches_nothing() {
        let mut rest = Rest::new(Duration::from_millis(1));
        rest.begin(MS, None);
        rest.end(MS + 10);
        rest.learn(Some(MS + 20));
        rest.begin(5 * MS, None);
        rest.end(6 * MS + 10);
        rest.learn(None);
        rest.learn(Some(40 * MS));
        assert_eq!(rest.lead.ns(), LEAD_NS);
    }
}
