//! When each device is due: an absolute, open-loop schedule with a seeded phase for each device.
//!
//! All devices of a tier share one period, so the order of one round is the order of all: the next due device is found
//! in constant time, whatever their number. A round is computed from its number and never from the one before, so no
//! rounding adds up, and lateness never moves a later due time.

use super::seeded::Seeded;

/// A device that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which device.
    pub device: u32,
    /// Which round, counted from 0.
    pub round: u64,
    /// When, in nanoseconds since the schedule began.
    pub due_ns: u64,
}

/// The due times of all devices on one tier.
#[derive(Debug)]
pub struct Schedule {
    /// The period in nanoseconds, in units of 2^-32.
    period_q32: u128,
    /// Offset inside the round, in nanoseconds, and device; ascending.
    phases: Vec<(u64, u32)>,
    at: usize,
    round: u64,
}

impl Schedule {
    /// A schedule on which each of `devices` is due `rate_hz` times a second; none for a rate of 0.
    #[must_use]
    pub fn new(rate_hz: f64, devices: u32, seeded: &mut Seeded) -> Option<Self> {
        if rate_hz <= 0.0 || devices == 0 {
            return None;
        }
        let period_q32 = (1e9 / rate_hz * 2.0_f64.powi(32)) as u128;
        let period_ns = u64::try_from(period_q32 >> 32).unwrap_or(u64::MAX);
        let mut phases: Vec<_> =
            (0..devices).map(|device| (seeded.below(period_ns), device)).collect();
        phases.sort_unstable();
        Some(Self { period_q32, phases, at: 0, round: 0 })
    }

    /// Length of a round in nanoseconds, rounded down.
    #[must_use]
    pub fn period_ns(&self) -> u64 {
        u64::try_from(self.period_q32 >> 32).unwrap_or(u64::MAX)
    }

    /// When the next device is due, in nanoseconds since the schedule began.
    #[must_use]
    pub fn next_due_ns(&self) -> u64 {
        let round_ns = (u128::from(self.round) * self.period_q32) >> 32;
        u64::try_from(round_ns).unwrap_or(u64::MAX).saturating_add(self.phases[self.at].0)
    }

    /// The next device that is due at `elapsed_ns` since the schedule began, or was before.
    pub fn poll(&mut self, elapsed_ns: u64) -> Option<Due> {
        let due_ns = self.next_due_ns();
        if due_ns > elapsed_ns {
            return None;
        }
        let due = Due { device: self.phases[self.at].1, round: self.round, due_ns };
        self.at += 1;
        if self.at == self.phases.len() {
            self.at = 0;
            self.round += 1;
        }
        Some(due)
    }

    /// Gives up what is due at `elapsed_ns` or was before and was not polled, at once, and says how many devices were due.
    pub fn skip(&mut self, elapsed_ns: u64) -> u64 {
        let devices = self.phases.len() as u64;
        // The last round that has begun: all phases of those before it are over, since none is as long as a period.
        let end_q32 = ((u128::from(elapsed_ns) + 1) << 32) - 1;
        let round = u64::try_from(end_q32 / self.period_q32).unwrap_or(u64::MAX);
        let round_ns = ((u128::from(round) * self.period_q32) >> 32) as u64;
        let at = self.phases.partition_point(|&(phase_ns, _)| round_ns + phase_ns <= elapsed_ns);
        let due = round * devices + at as u64;
        let skipped = due.saturating_sub(self.round * devices + self.at as u64);
        if skipped > 0 {
            (self.round, self.at) = (due / devices, (due % devices) as usize);
        }
        skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(schedule: &mut Schedule, elapsed_ns: u64) -> Vec<Due> {
        std::iter::from_fn(|| schedule.poll(elapsed_ns)).collect()
    }

    #[test]
    fn every_device_is_due_once_in_every_round_and_in_order_of_time() {
        let mut schedule = Schedule::new(50.0, 7, &mut Seeded::new(1, 0)).unwrap();
        let dues = drain(&mut schedule, 999_999_999);
        assert_eq!(dues.len(), 350);
        assert!(dues.is_sorted_by_key(|due| due.due_ns));
        for device in 0..7 {
            let mine: Vec<_> = dues.iter().filter(|due| due.device == device).collect();
            assert_eq!(mine.len(), 50);
            for (round, due) in mine.iter().enumerate() {
                assert_eq!(due.round, round as u64);
                assert_eq!(due.due_ns, mine[0].due_ns + round as u64 * 20_000_000);
            }
        }
    }

    #[test]
    fn looking_late_changes_no_due_time() {
        let schedule = || Schedule::new(333.3, 5, &mut Seeded::new(9, 0)).unwrap();
        let (mut prompt, mut late) = (schedule(), schedule());
        let mut prompt_dues = Vec::new();
        for step in 0..=2_000_u64 {
            prompt_dues.extend(drain(&mut prompt, step * 1_000_000));
        }
        assert_eq!(drain(&mut late, 2_000_000_000), prompt_dues);
    }

    #[test]
    fn a_period_that_is_no_whole_nanosecond_does_not_drift() {
        let mut schedule = Schedule::new(3.0, 1, &mut Seeded::new(2, 0)).unwrap();
        let first_ns = schedule.next_due_ns();
        let dues = drain(&mut schedule, 1_000_000_000_000);
        let last = dues.last().unwrap();
        // 1,000 s at 3 Hz are 3,000 rounds; the last begins 2,999 thirds of a second after the first.
        assert_eq!(dues.len(), 3_000);
        assert_eq!(last.due_ns, first_ns + 999_666_666_666);
    }

    #[test]
    fn what_is_skipped_is_what_would_have_been_polled() {
        let mut seeded = Seeded::new(11, 0);
        for (rate_hz, devices) in [(50.0, 7), (333.3, 5), (3.0, 1), (1e6, 3), (0.001, 4)] {
            let schedule = || Schedule::new(rate_hz, devices, &mut Seeded::new(5, 0)).unwrap();
            let (mut polled, mut skipping) = (schedule(), schedule());
            let mut elapsed_ns = 0;
            for step in 0..200 {
                elapsed_ns += seeded.below((3e9 / rate_hz) as u64);
                let due = drain(&mut polled, elapsed_ns).len() as u64;
                if step % 3 == 0 {
                    let first = u64::from(skipping.poll(elapsed_ns).is_some());
                    assert_eq!(skipping.skip(elapsed_ns) + first, due, "{rate_hz} Hz, {step}");
                } else {
                    assert_eq!(skipping.skip(elapsed_ns), due, "{rate_hz} Hz, step {step}");
                }
                assert_eq!(skipping.next_due_ns(), polled.next_due_ns());
            }
        }
    }

    #[test]
    fn a_rate_of_zero_has_no_schedule() {
        assert!(Schedule::new(0.0, 5, &mut Seeded::new(1, 0)).is_none());
    }
}
