//! Checksums of worlds: each row is hashed, and the rows are added, so that the order of the rows does not matter.

/// The sum of the hashes of rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digest(u64);

impl Digest {
    /// A digest of no rows.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds a row, given as its values in a fixed order.
    pub fn add(&mut self, row: impl IntoIterator<Item = u64>) {
        let hash = row.into_iter().fold(0x9e37_79b9_7f4a_7c15, mix);
        self.0 = self.0.wrapping_add(hash);
    }

    /// Adds a row of floats.
    pub fn add_f32(&mut self, row: &[&[f32]]) {
        self.add(row.iter().copied().flatten().map(|value| u64::from(value.to_bits())));
    }

    /// The checksum.
    #[must_use]
    pub const fn finish(self) -> u64 {
        self.0
    }
}

/// Mixes `value` into `hash`: a multiplication of 64 by 64 bits, folded.
const fn mix(hash: u64, value: u64) -> u64 {
    let product = ((hash ^ value) as u128).wrapping_mul(0xa076_1d64_78bd_642f_e703_7ed1_a0b4_28db);
    (product as u64) ^ (product >> 64) as u64 ^ hash.rotate_left(23)
}
