//! Bytes of one column: initialised, starting on an even cache line, growing in small steps.
//!
//! The vector asks for the alignment that every allocator gives for free, and the first row is placed on a cache line
//! by hand. So a large column grows through the allocator's own `realloc`, which moves pages and copies nothing, and
//! steps of a sixteenth cost no more than doubling; an aligned allocation would be copied at each step.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::component::COLUMN_ALIGN_BYTES;
use crate::hint::prefer_large_pages;

/// The unit of allocation, at the alignment of `malloc`.
#[repr(C, align(16))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Block([u8; 16]);

const BLOCK_BYTES: usize = size_of::<Block>();

/// What the place of the first row is counted in: the size of the usual numbers, for which it is taken as it is.
const WORD_BYTES: usize = 4;

/// Blocks that may lie before the first row.
const PAD_BLOCKS: usize = COLUMN_ALIGN_BYTES / BLOCK_BYTES - 1;

/// Rows up to which a table doubles: below, its columns are small enough for `realloc` to copy them.
const DOUBLED_ROWS_MAX: usize = 1 << 14;

/// How many rows a full table of `rows` should hold next: twice as many, or a sixteenth more of a large one, so that
/// unused memory stays a small part of what is used.
pub(crate) const fn grown(rows: usize) -> usize {
    /// A cache line of `f32`.
    const ROWS_MIN: usize = 16;
    match rows {
        0..ROWS_MIN => ROWS_MIN,
        ROWS_MIN..DOUBLED_ROWS_MAX => 2 * rows,
        _ => rows + rows / 16,
    }
}

/// From this size on a buffer lies in pages of its own.
const STAGGERED_BYTES_MIN: usize = 1 << 16;

#[derive(Default)]
pub(crate) struct Buffer {
    blocks: Vec<Block>,
    /// Where the first row begins: on an even cache line, and for a large buffer some lines further.
    start_words: u32,
    /// How far a large buffer is shifted against others, in cache lines.
    stagger: usize,
}

impl Buffer {
    /// An empty buffer. Buffers of different `stagger` do not begin at the same place in their pages when they are large:
    /// a row would meet the same row of its neighbours in one set of the cache, and its loads would wait for stores that look
    /// alike by their lower address. It holds two cache lines from the start, so that its slices are aligned when they are
    /// empty too.
    pub(crate) fn new(stagger: usize) -> Self {
        let mut buffer = Self { blocks: Vec::new(), start_words: 0, stagger: stagger % 16 };
        buffer.grow(COLUMN_ALIGN_BYTES, 0);
        buffer
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[self.start_bytes()..]
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.start_bytes();
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[start..]
    }

    /// The first `rows` rows of `T`, whose alignment is at most that of a column. Where it is that of the usual numbers, the
    /// bounds are all that is checked.
    #[inline]
    pub(crate) fn values<T: Pod>(&self, rows: u32) -> &[T] {
        match align_of::<T>() {
            4 => self.values_of::<u32, T>(rows),
            8 => self.values_of::<u64, T>(rows),
            _ => self.values_of::<u8, T>(rows),
        }
    }

    /// The first `rows` rows of `T`, to write.
    #[inline]
    pub(crate) fn values_mut<T: Pod>(&mut self, rows: u32) -> &mut [T] {
        match align_of::<T>() {
            4 => self.values_of_mut::<u32, T>(rows),
            8 => self.values_of_mut::<u64, T>(rows),
            _ => self.values_of_mut::<u8, T>(rows),
        }
    }

    /// Values by way of units `U` that divide them.
    #[inline]
    fn values_of<U: Pod, T: Pod>(&self, rows: u32) -> &[T] {
        let units: &[U] = bytemuck::cast_slice(&self.blocks);
        bytemuck::cast_slice(&units[self.units::<U, T>(rows)])
    }

    #[inline]
    fn values_of_mut<U: Pod, T: Pod>(&mut self, rows: u32) -> &mut [T] {
        let range = self.units::<U, T>(rows);
        let units: &mut [U] = bytemuck::cast_slice_mut(&mut self.blocks);
        bytemuck::cast_slice_mut(&mut units[range])
    }

    /// The units `U` of the first `rows` rows of `T`. Their numbers do not overflow, and the compiler sees it.
    #[inline]
    fn units<U, T>(&self, rows: u32) -> Range<usize> {
        let start = self.start_words as usize * WORD_BYTES / const { size_of::<U>() };
        start..start + rows as usize * const { size_of::<T>() / size_of::<U>() }
    }

    #[inline]
    fn start_bytes(&self) -> usize {
        self.start_words as usize * WORD_BYTES
    }

    /// One row of `size` bytes.
    #[inline]
    pub(crate) fn row(&self, row: usize, size: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[self.start_bytes() + row * size..][..size]
    }

    /// One row of `size` bytes, to write.
    #[inline]
    pub(crate) fn row_mut(&mut self, row: usize, size: usize) -> &mut [u8] {
        let start = self.start_bytes() + row * size;
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[start..][..size]
    }

    /// Two rows of `size` bytes, the former one first.
    #[inline]
    pub(crate) fn rows_mut(&mut self, [one, other]: [usize; 2], size: usize) -> [&mut [u8]; 2] {
        let (head, tail) = self.bytes_mut().split_at_mut(other * size);
        [&mut head[one * size..][..size], &mut tail[..size]]
    }

    /// Makes room for `bytes` in all, of which the first `used` are kept. New memory is written here, so that the tick
    /// meets no page fault later, and after the system was asked for large pages.
    pub(crate) fn grow(&mut self, bytes: usize, used: usize) {
        let large = bytes >= STAGGERED_BYTES_MIN;
        let lead_bytes = if large { self.stagger * 2 * COLUMN_ALIGN_BYTES } else { 0 };
        let blocks = (bytes + lead_bytes).div_ceil(BLOCK_BYTES) + PAD_BLOCKS;
        if blocks <= self.blocks.len() {
            return;
        }
        self.blocks.reserve_exact(blocks - self.blocks.len());
        prefer_large_pages(&mut self.blocks);
        self.blocks.resize(blocks, Block::zeroed());
        let aligned = self.blocks.as_ptr().addr().wrapping_neg() % COLUMN_ALIGN_BYTES;
        let start_bytes = aligned + lead_bytes;
        let old_bytes = self.start_bytes();
        self.start_words = (start_bytes / WORD_BYTES) as u32;
        if old_bytes != start_bytes {
            let all: &mut [u8] = bytemuck::cast_slice_mut(&mut self.blocks);
            all.copy_within(old_bytes..old_bytes + used, start_bytes);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.blocks.capacity() * BLOCK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_keeps_the_bytes_and_the_alignment() {
        // Neighbours make the allocator move the buffers, and so change how they lie within a cache line.
        let mut buffers: Vec<Buffer> = (0..7).map(Buffer::new).collect();
        let mut used = 0;
        for round in 1..100_usize {
            for (n, buffer) in buffers.iter_mut().enumerate() {
                buffer.grow(used + 48 * round, used);
                assert_eq!(buffer.bytes().as_ptr().addr() % COLUMN_ALIGN_BYTES, 0);
                assert!(buffer.bytes().len() >= used + 48 * round);
                assert!(buffer.bytes()[..used].iter().all(|&byte| byte == n as u8 + 1));
                buffer.bytes_mut()[..used + 48 * round].fill(n as u8 + 1);
            }
            used += 48 * round;
        }
    }

    #[test]
    fn large_tables_grow_by_a_sixteenth() {
        assert_eq!([0, 16, 8192].map(grown), [16, 32, 16_384]);
        assert_eq!(grown(1_000_000), 1_062_500);
    }
}
