//! Reproducible chance: SplitMix64, so that one seed names a whole fleet.
//!
//! Good enough to spread phases and jitter; never used where a peer could gain by guessing it.

/// A sequence of numbers that its seed determines.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

/// 2^64 divided by the golden ratio, the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Seeded {
    /// The sequence of `seed` for one purpose; different purposes of one seed share no numbers in practice.
    #[must_use]
    pub const fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(purpose.wrapping_mul(GOLDEN))))
    }

    /// The next number, all 64 bits equally likely.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// The next number from 0 up to but not including `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // Multiply and keep the upper half: the bias is below 2^-32 for every bound used here.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// The next number from 0.0 up to but not including 1.0.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
