//! When a worker that waits takes its rests: as long as it may, and over in time for the other side's next look.
//!
//! A wake-up costs more than a packet, so packets are best taken together; yet a record that reaches its ring just after
//! the tick thread has looked waits a whole period longer. A [`Rest`] learns how late this thread wakes and how long it
//! takes to move what has arrived, and ends its rests so that both are over when the other side looks. Where wake-ups vary
//! much, it wakes twice for each of the other side's looks: early, which is nearly always in time, and for what has come since
//! once more shortly before. It reads no clock.

use std::time::Duration;

use crate::{Due, quantile::Quantile};

/// The rests of one worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    longest_ns: u64,
    /// From the moment that a rest was to end until what arrived has been moved, how late the thread runs and its work: one
    /// that is rarely exceeded, and a usual one.
    leads: [Quantile; 2],
    /// When the present rest, or the one before the present turn, was to end, in unix nanoseconds; 0 for neither.
    until_ns: u64,
}

/// The leads before any was seen.
const LEADS_NS: [u64; 2] = [120_000, 60_000];
/// A longer lead would leave no time to take packets together.
const LEAD_NS_MAX: u64 = 500_000;
/// Of 64 rests with a lead, so many are over in time. One that is not costs its records a period: those of a whole period
/// where the first is late, and the few that came since where the second is.
const IN_TIME: [u64; 2] = [63, 44];
/// A rest that would be shorter is not worth its wake-up: what comes so late goes with the next period.
const SHORTEST_NS: u64 = 20_000;

impl Rest {
    /// Rests of at most `longest`; zero never rests.
    pub(crate) fn new(longest: Duration) -> Self {
        let longest_ns = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let lead = |at: usize| Quantile::new(LEADS_NS[at], IN_TIME[at], LEAD_NS_MAX);
        Self { longest_ns, leads: [lead(0), lead(1)], until_ns: 0 }
    }

    /// False when this worker never rests.
    pub(crate) const fn is_allowed(&self) -> bool {
        self.longest_ns > 0
    }

    /// Begins a rest at `now_ns`, and says how long it is to be; `due` is when the other side looks.
    pub(crate) fn begin(&mut self, now_ns: u64, due: Option<&Due>) -> Duration {
        let room_ns = due.and_then(|due| self.room_ns(now_ns, due));
        let length_ns = self.longest_ns.min(room_ns.unwrap_or(u64::MAX));
        self.until_ns = now_ns + length_ns;
        Duration::from_nanos(length_ns)
    }

    /// How long a rest may be for the next look of the other side that it can still be in time for.
    fn room_ns(&self, now_ns: u64, due: &Due) -> Option<u64> {
        let [safe_ns, usual_ns] = self.leads.map(|lead| lead.ns());
        let usual_ns = usual_ns.min(safe_ns);
        let due_ns = due.next_ns(now_ns + usual_ns + SHORTEST_NS);
        let to_due_ns = due_ns.checked_sub(now_ns)?;
        let early_ns = to_due_ns.checked_sub(safe_ns).filter(|&rest_ns| rest_ns >= SHORTEST_NS);
        early_ns.or_else(|| to_due_ns.checked_sub(usual_ns))
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
            let lead_ns = moved_ns.saturating_sub(until_ns);
            self.leads.iter_mut().for_each(|lead| lead.learn(lead_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// When the intakes of a worker end that wakes so late after the n-th rest and needs 30 us for its work, beside a tick of
    /// one millisecond.
    fn intakes(rest: &mut Rest, count: u64, late_ns: impl Fn(u64) -> u64) -> Vec<u64> {
        let due = Due::every(Duration::from_millis(1));
        let mut now_ns = 5 * MS;
        let mut ends = Vec::new();
        for n in 0..count {
            due.set(now_ns.next_multiple_of(MS));
            now_ns += rest.begin(now_ns, Some(&due)).as_nanos() as u64 + late_ns(n);
            rest.end(now_ns);
            now_ns += 30_000;
            rest.learn(Some(now_ns));
            ends.push(now_ns);
        }
        ends
    }

    #[test]
    fn intake_ends_shortly_before_the_other_side_looks() {
        let mut rest = Rest::new(Duration::from_millis(1));
        let ends = intakes(&mut rest, 10_000, |_| 90_000);
        for pair in ends[9_000..].windows(2) {
            let spare_ns = pair[1].next_multiple_of(MS) - pair[1];
            assert!(spare_ns < 5_000, "{spare_ns} ns of records wait for a whole period more");
            assert_eq!(pair[1].div_ceil(MS) - pair[0].div_ceil(MS), 1, "one rest for each period");
        }
    }

    #[test]
    fn wake_ups_that_vary_have_a_look_that_is_in_time_and_one_shortly_before_the_other_side() {
        let mut rest = Rest::new(Duration::from_millis(1));
        // Every 24th wake-up is 270 us late, which is more than the one in 64 that may be too late.
        let ends = intakes(&mut rest, 40_000, |n| if n % 24 == 0 { 270_000 } else { 20_000 });
        let settled = &ends[20_000..];
        let (first, last) = (settled[0].div_ceil(MS) + 1, settled[settled.len() - 1].div_ceil(MS));
        let (mut met, mut fresh) = (0, 0);
        for moment in first..last {
            let looks = settled.iter().filter(|&&end| end.div_ceil(MS) == moment);
            let spare_ns = looks.map(|end| moment * MS - end).min();
            met += u64::from(spare_ns.is_some());
            fresh += u64::from(spare_ns.is_some_and(|spare_ns| spare_ns < 60_000));
        }
        let periods = last - first;
        assert!(met * 1_000 >= periods * 995, "{met} of {periods} periods are met");
        assert!(fresh * 100 >= periods * 80, "{fresh} of {periods} periods end with a fresh look");
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
        let [safe_ns, usual_ns] = LEADS_NS;
        let end_ns = |rest: &mut Rest, now_ns: u64| {
            now_ns + rest.begin(now_ns, Some(&due)).as_nanos() as u64
        };
        assert_eq!(end_ns(&mut rest, 2 * MS), 3 * MS - safe_ns);
        assert_eq!(end_ns(&mut rest, 3 * MS - safe_ns), 3 * MS - usual_ns);
        assert_eq!(end_ns(&mut rest, 3 * MS - usual_ns - SHORTEST_NS / 2), 4 * MS - safe_ns);
    }

    #[test]
    fn rest_cut_short_or_without_records_teaches_nothing() {
        let mut rest = Rest::new(Duration::from_millis(1));
        let before_ns = rest.leads.map(|lead| lead.ns());
        rest.begin(MS, None);
        rest.end(MS + 10);
        rest.learn(Some(MS + 20));
        rest.begin(5 * MS, None);
        rest.end(6 * MS + 10);
        rest.learn(None);
        rest.learn(Some(40 * MS));
        assert_eq!(rest.leads.map(|lead| lead.ns()), before_ns);
    }
}
