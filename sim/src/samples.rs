//! How long records took, and how old the world was: in virtual time, so that a seed gives the same figures for ever.

use std::fmt;

/// Samples of one kind, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples(Vec<u64>);

impl Samples {
    /// Adds a sample, in microseconds.
    pub fn push(&mut self, us: u64) {
        self.0.push(us);
    }

    /// Adds all samples of another run.
    pub fn add(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// Half, 99 %, 99.9 % and all of the samples are not above these, in microseconds; all 0 without samples.
    #[must_use]
    pub fn percentiles(&self) -> [u64; 4] {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        [at(0.5), at(0.99), at(0.999), at(1.0)]
    }
}

/// One line of a table: count, p50, p99, p99.9, max.
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, max] = self.percentiles();
        write!(f, "{:>8} {p50:>9} {p99:>9} {p999:>9} {max:>9}", self.count())
    }
}

/// What was sampled in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timing {
    /// From the moment that a record is due to the tick that applies it, on T1 and T2.
    pub to_world: [Samples; 2],
    /// From the opening of a read to its ack at the device.
    pub reads: Samples,
    /// Age of what the world holds of a sensor, at ticks spread over the run.
    pub age: Samples,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_at_their_rank() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentiles(), [0; 4]);
        (1..=1000).rev().for_each(|us| samples.push(us));
        assert_eq!(samples.percentiles(), [500, 990, 999, 1000]);
    }
}
