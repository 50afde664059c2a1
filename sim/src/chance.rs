//! The only source of chance in a simulation.

use twin::simulate::Seeded;

/// Draws for one purpose of one seed.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Seeded);

impl Chance {
    pub(crate) const fn new(seed: u64, purpose: u64) -> Self {
        Self(Seeded::new(seed, purpose))
    }

    pub(crate) const fn word(&mut self) -> u64 {
        self.0.next()
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.below(of.len() as u64) as usize]
    }

    /// True with this probability.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.0.unit() < probability
    }

    /// A count with this mean, at least 1, distributed as the runs of a coin.
    pub(crate) fn run(&mut self, mean: f64) -> u32 {
        // The inverse of the distribution function of the exponential, rounded up.
        let unit = self.0.unit().max(1e-9);
        (-unit.ln() * mean).ceil().clamp(1.0, 1e6) as u32
    }

    /// 32 bytes, for the seed of an engine.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|to| to.copy_from_slice(&self.word().to_le_bytes()));
        bytes
    }
}
