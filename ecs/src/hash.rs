//! One number for many bytes: checksums of snapshots, and the hash by which two worlds are compared.
//!
//! Four chains of folded products run side by side, so that the bytes come in at the speed of memory. It guards against
//! accidents, not against people: who can choose the bytes can choose the number.

use crate::world::World;

/// Odd numbers without a pattern, one for each chain (the fractional parts of the golden ratio and of the roots of 2, 3 and
/// 5).
const SEEDS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b];

/// Bytes that go into the chains at once.
const BLOCK_BYTES: usize = 64;

/// The state of a hash over bytes that come in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Fold([u64; 4]);

impl Default for Fold {
    fn default() -> Self {
        Self::new()
    }
}

impl Fold {
    /// The hash of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(SEEDS)
    }

    /// Takes bytes in. Pieces that end within a block are padded with zeros, so cuts must be part of the protocol.
    pub fn write(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        for block in blocks {
            self.write_block(block);
        }
        if !rest.is_empty() {
            let mut block = [0; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            self.write_block(&block);
        }
    }

    #[inline]
    fn write_block(&mut self, block: &[u8; BLOCK_BYTES]) {
        for (chain, half) in block.as_chunks::<16>().0.iter().enumerate() {
            let half = u128::from_le_bytes(*half);
            self.add(chain, half as u64, (half >> 64) as u64);
        }
    }

    /// Takes a number in.
    pub fn write_u64(&mut self, value: u64) {
        self.add(0, value, 0);
    }

    /// The rotation keeps the order of the blocks in the chain, and is all that a block waits for.
    #[inline]
    fn add(&mut self, chain: usize, low: u64, high: u64) {
        let product = fold(low ^ SEEDS[chain], high ^ SEEDS[(chain + 1) % 4]);
        self.0[chain] = self.0[chain].rotate_left(29).wrapping_add(product);
    }

    /// The hash of all that came in.
    #[must_use]
    pub fn finish(self) -> u64 {
        let chains = self.0.iter().zip(SEEDS);
        chains.fold(0, |sum, (&chain, seed)| fold(sum ^ chain, seed).wrapping_add(seed))
    }
}

/// The halves of a product, folded.
#[inline]
pub(crate) const fn fold(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    (product >> 64) as u64 ^ product as u64
}

/// The hash of a world, kept up to date: columns whose version stands still are not read again.
///
/// Equal worlds have equal hashes; versions and bits of written rows play no part. A column under
/// [`Track::None`](crate::Track::None) tells nobody of writes and is always read.
#[derive(Clone, Debug, Default)]
pub struct WorldHash {
    world_id: u64,
    /// For each column of each archetype in turn: the version that was hashed, and the hash.
    columns: Vec<(u64, u64)>,
}

impl WorldHash {
    /// The hash of all entities and components of `world`.
    pub fn of(&mut self, world: &World) -> u64 {
        if self.world_id != world.id() {
            (self.world_id, self.columns) = (world.id(), Vec::new());
        }
        let mut hash = Fold::new();
        let mut at = 0;
        for archetype in world.archetypes() {
            hash.write_u64(archetype.len() as u64);
            hash.write(bytemuck::cast_slice(archetype.entities()));
            for column in archetype.columns() {
                hash.write_u64(u64::from(column.id()));
                if at == self.columns.len() {
                    self.columns.push((0, 0));
                }
                let (version, known) = &mut self.columns[at];
                // Version 0 is an empty column, one that is not tracked, or one that was not hashed yet.
                if *version != column.version() || *version == 0 {
                    let mut hash = Fold::new();
                    hash.write(column.bytes());
                    (*version, *known) = (column.version(), hash.finish());
                }
                hash.write_u64(*known);
                at += 1;
            }
        }
        hash.finish()
    }
}
