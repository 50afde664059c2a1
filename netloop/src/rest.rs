//! When a worker that waits takes its rests: as long as it may, and over in time for the other side's next look.
//!
//! A wake-up costs more than a packet, so packets are best taken together; yet a record that reaches its ring just after
//! the tick thread has looked waits a whole period longer. A [`Rest`] learns how late this thread wakes and how long it
//! takes to move what has arrived, and ends each rest so that both are over when the other side looks. It reads no clock.

use std::time::Duration;

use crate::Due;

/// A quantity that varies, known by the value that about [`RARE`] samples in [`RARE`] + 1 do not exceed.
///
/// It goes up [`RARE`] steps when a sample exceeds it, and down one when none does (stochastic approximation of a
/// quantile, Robbins and Monro 1951).
#[derive(Debug, Clone, Copy)]
struct Usual {
    ns: u64,
}

/// How many ordinary samples go with one that is larger.
const RARE: u64 = 31;
/// A step is this part of the value, and at least [`STEP_NS_MIN`].
const STEP_PART: u64 = 256;
const STEP_NS_MIN: u64 = 32;
/// A larger sample was preempted: it is no measure of anything, and planning for it would not help.
const SAMPLE_NS_MAX: u64 = 300_000;

impl Usual {
    fn learn(&mut self, sample_ns: u64) {
        let step_ns = (self.ns / STEP_PART).max(STEP_NS_MIN);
        if sample_ns > self.ns {
            self.ns = (self.ns + RARE * step_ns).min(SAMPLE_NS_MAX);
        } else {
            self.ns -= step_ns.min(self.ns - sample_ns);
        }
    }
}

/// The rests of one worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    longest_ns: u64,
    /// How late the thread runs again after a rest.
    wake: Usual,
    /// How long a turn takes from its start until what arrived has been moved.
    intake: Usual,
    /// When the present rest ends, in unix nanoseconds; 0 outside a rest.
    until_ns: u64,
}

/// What a wake-up is taken to need before any was seen.
const WAKE_NS: u64 = 60_000;
/// A rest that would be shorter is not worth its wake-up: what comes so late goes with the next period.
const SHORTEST_NS: u64 = 50_000;

impl Rest {
    /// Rests of at most `longest`; zero never rests.
    pub(crate) fn new(longest: Duration) -> Self {
        let longest_ns = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Self { longest_ns, wake: Usual { ns: WAKE_NS }, intake: Usual { ns: 0 }, until_ns: 0 }
    }

    /// False when this worker never rests.
    pub(crate) const fn is_allowed(&self) -> bool {
        self.longest_ns > 0
    }

    /// Begins a rest at `now_ns`, and says how long it is to be; `due` is when the other side looks.
    pub(crate) fn begin(&mut self, now_ns: u64, due: Option<&Due>) -> Duration {
        let lead_ns = self.wake.ns + self.intake.ns;
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
        let until_ns = std::mem::take(&mut self.until_ns);
        if until_ns > 0 && now_ns >= until_ns {
            self.wake.learn(now_ns - until_ns);
        }
    }

    /// Learns from a turn that received something how long its intake took.
    pub(crate) fn learn_intake(&mut self, intake_ns: u64) {
        self.intake.learn(intake_ns);
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
            rest.learn_intake(intake_ns);
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
        let now_ns = 3 * MS - WAKE_NS - SHORTEST_NS / 2;
        let length_ns = rest.begin(now_ns, Some(&due)).as_nanos() as u64;
        assert_eq!(now_ns + length_ns, 4 * MS - WAKE_NS);
    }

    #[test]
    fn rest_cut_short_teaches_nothing() {
        let mut rest = Rest::new(Duration::from_millis(1));
        let before = rest.wake.ns;
        rest.begin(MS, None);
        rest.end(MS + 10);
        assert_eq!(rest.wake.ns, before);
    }

    #[test]
    fn usual_value_lies_above_most_samples_and_below_the_rare_ones() {
        let mut usual = Usual { ns: 0 };
        let mut state = 7_u64;
        let mut below = 0;
        for n in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let sample_ns = (state >> 33) % 100_000;
            below += u64::from(n >= 100_000 && sample_ns <= usual.ns);
            usual.learn(sample_ns);
        }
        assert!((95_000..=98_500).contains(&below), "{below} of 100,000 samples lie below");
        for _ in 0..10 {
            usual.learn(40 * MS);
        }
        assert!(usual.ns <= SAMPLE_NS_MAX, "a preempted sample does not count in full");
    }
}
