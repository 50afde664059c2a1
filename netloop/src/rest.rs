//! When a worker that waits takes its rests: as long as it may, and over in time for the other side's next look.
//!
//! A wake-up costs more than a packet, so packets are best taken together; yet a record that reaches its ring just after
//! the tick thread has looked waits a whole period longer. A [`Rest`] learns how late this thread wakes and how long it
//! takes to move what has arrived, and ends each rest so that both are over when the other side looks. It reads no clock.

use std::time::Duration;

use crate::{Due, quantile::Quantile};

/// The rests of one worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    longest_ns: u64,
    /// From the moment that a rest was to end until what arrived has been moved: how late the thread runs, and its work.
    lead: Quantile,
    /// When the present rest, or the one before the present turn, was to end, in unix nanoseconds; 0 for neither.
    until_ns: u64,
}

/// The lead before any was seen.
const LEAD_NS: u64 = 60_000;
/// A longer lead would leave no time to take packets together.
const LEAD_NS_MAX: u64 = 500_000;
/// Of 64 rests, so many are over in time. One that is not costs its records a period; one that is too early costs all
/// records the difference: with a period of 1 ms and what virtual machines do, less than this misses more than it gains.
const IN_TIME: u64 = 62;
/// A rest that would be shorter is not worth its wake-up: what comes so late goes with the next period.
const SHORTEST_NS: u64 = 50_000;

impl Rest {
    /// Rests of at most `longest`; zero never rests.
    pub(crate) fn new(longest: Duration) -> Self {
        let longest_ns = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let lead = Quantile::new(LEAD_NS, IN_TIME, LEAD_NS_MAX);
        Self { longest_ns, lead, until_ns: 0 }
    }

    /// False when this worker never rests.
    pub(crate) const fn is_allowed(&self) -> bool {
        self.longest_ns > 0
    }

    /// Begins a rest at `now_ns`, and says how long it is to be; `due` is when the other side looks.
    pub(crate) fn begin(&mut self, now_ns: u64, due: Option<&Due>) -> Duration {
        let lead_ns = self.lead.ns();
        let room_ns = match due.map_or(0, |due| due.next_ns(now_ns + lead_ns + SHORTEST_NS)) {
            0 => u64::MAX,
            due_ns => due_ns - lead_ns - now_ns,
        };
        let length_ns = self.longest_ns.min(room_ns);
        self.until_ns = now_ns + length_ns;
        Duration::from_nanos(length_ns)
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

    /// A worker that always wakes `late_ns` late and needs `intake_ns`, beside a tick of one millisecond.
    fn periods(rest: &mut Rest, due: &Due, count: u64, late_ns: u64, intake_ns: u64) -> Vec<u64> {
        let mut now_ns = 5 * MS;
        let mut ends = Vec::new();
        for _ in 0..count {
            due.set(now_ns.next_multiple_of(MS));
            now_ns += u64::try_from(rest.begin(now_ns, Some(due)).as_nanos()).unwrap() + late_ns;
            rest.end(now_ns);
            now_ns += intake_ns;
            rest.learn(Some(now_ns));
            ends.push(now_ns);
        }
        ends
    }

    #[test]
    fn intake_ends_shortly_before_the_other_side_looks() {
        let due = Due::every(Duration::from_millis(1));
        let mut rest = Rest::new(Duration::from_millis(1));
        let ends = periods(&mut rest, &due, 2_000, 20_000, 100_000);
        for end in &ends[1_000..] {
            let spare_ns = end.next_multiple_of(MS) - end;
            assert!(spare_ns < 5_000, "{spare_ns} ns of records wait for a whole period more");
        }
        let looks = ends[1_000..].windows(2).filter(|pair| pair[1] - pair[0] > MS * 3 / 2).count();
        assert_eq!(looks, 0, "every period is met, and by one rest");
    }

    #[test]
    fn rest_is_no_longer_than_allowed() {
        let mut rest = Rest::new(Duration::from_micros(200));
        assert_eq!(rest.begin(MS, None), Duration::from_micros(200));
        let due = Due::every(Duration::from_millis(1));
        due.set(9 * MS);
        assert_eq!(rest.begin(8 * MS + 1, Some(&due)), Duration::from_micros(200));
        assert!(!Rest::new(Duration::ZERO).is_allowed());
    }

    #[test]
    fn moment_too_close_gives_way_to_the_next_one() {
        let due = Due::every(Duration::from_millis(1));
        due.set(3 * MS);
        let mut rest = Rest::new(Duration::from_millis(10));
        let now_ns = 3 * MS - LEAD_NS - SHORTEST_NS / 2;
        let length_ns = rest.begin(now_ns, Some(&due)).as_nanos() as u64;
        assert_eq!(now_ns + length_ns, 4 * MS - LEAD_NS);
    }

    #[test]
    fn rest_cut_short_or_without_records_teaches_nothing() {
        let mut rest = Rest::new(Duration::from_millis(1));
        let before_ns = rest.lead.ns();
        rest.begin(MS, None);
        rest.end(MS + 10);
        rest.learn(Some(MS + 20));
        rest.begin(5 * MS, None);
        rest.end(6 * MS + 10);
        rest.learn(None);
        rest.learn(Some(40 * MS));
        assert_eq!(rest.lead.ns(), before_ns);
    }
}
