//! A quantile of a stream of durations, in a word: what a thread learns about its own lateness.
//!
//! Each sample moves the estimate by one small step, up or down, in the proportion that leaves it where the wanted share
//! lies below (stochastic approximation, Robbins and Monro 1951). It keeps no samples and reads no clock.

/// An estimate that of `below + above` samples about `above` exceed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quantile {
    ns: u64,
    below: u64,
    above: u64,
    sample_ns_max: u64,
}

/// A step for one part of the odds is this share of the estimate, and at least [`STEP_NS_MIN`].
const STEP_SHARE: u64 = 4_096;
const STEP_NS_MIN: u64 = 4;

impl Quantile {
    /// Begins with `ns`, for odds of `below` to `above`. A sample beyond `sample_ns_max` was preempted and counts as that
    /// much: planning for it would not help.
    ///
    /// # Panics
    /// One of the odds is zero.
    pub(crate) const fn new(ns: u64, [below, above]: [u64; 2], sample_ns_max: u64) -> Self {
        assert!(below > 0 && above > 0, "a quantile has samples on both sides");
        Self { ns, below, above, sample_ns_max }
    }

    pub(crate) const fn ns(&self) -> u64 {
        self.ns
    }

    pub(crate) fn learn(&mut self, sample_ns: u64) {
        let sample_ns = sample_ns.min(self.sample_ns_max);
        let step_ns = (self.ns / STEP_SHARE).max(STEP_NS_MIN);
        // Never past the sample: an estimate that is right stays.
        if sample_ns > self.ns {
            self.ns += (self.below * step_ns).min(sample_ns - self.ns);
        } else {
            self.ns -= (self.above * step_ns).min(self.ns - sample_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of even samples below 100 us that the settled estimate is not exceeded by, in percent.
    fn percent_below(odds: [u64; 2]) -> f64 {
        let mut quantile = Quantile::new(0, odds, 300_000);
        let mut state = 7_u64;
        let mut below = 0_u32;
        for n in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let sample_ns = (state >> 33) % 100_000;
            below += u32::from(n >= 100_000 && sample_ns <= quantile.ns());
            quantile.learn(sample_ns);
        }
        f64::from(below) / 1_000.0
    }

    #[test]
    fn wanted_share_of_samples_lies_below() {
        for odds in [[8, 56], [16, 48], [32, 32], [61, 3], [255, 1]] {
            let [below, above] = odds.map(|of| of as f64);
            let (percent, wanted) = (percent_below(odds), 100.0 * below / (below + above));
            assert!(
                (percent - wanted).abs() < 2.0,
                "{percent} % of samples lie below, not {wanted}"
            );
        }
    }

    #[test]
    fn preempted_samples_count_only_up_to_their_bound() {
        let mut quantile = Quantile::new(0, [61, 3], 300_000);
        for _ in 0..1_000 {
            quantile.learn(40_000_000);
        }
        assert_eq!(quantile.ns(), 300_000);
        quantile.learn(0);
        assert!(quantile.ns() < 300_000);
    }

    #[test]
    fn constant_samples_are_found_exactly() {
        for odds in [[8, 56], [61, 3]] {
            let mut quantile = Quantile::new(60_000, odds, 300_000);
            for _ in 0..10_000 {
                quantile.learn(21_003);
            }
            assert_eq!(quantile.ns(), 21_003);
        }
    }
}
