//! One component of all rows of an archetype: contiguous bytes that start on a cache line.
//!
//! Memory is a vector of whole lines, zeroed when it grows, never shrunk. Typed slices are checked casts of it, and a
//! cast to a type other than the column's own is refused with a panic. Every byte of a row is initialised.

use std::any::TypeId;

use bytemuck::{Pod, Zeroable};

use crate::bits::Bits;
use crate::component::{Component, ComponentKind, Track};

/// One cache line of column memory.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Line([u8; 64]);

const LINE_BYTES: usize = size_of::<Line>();

/// The values of one component in the rows of one archetype.
pub struct Column {
    kind: ComponentKind,
    len: usize,
    version: u64,
    lines: Vec<Line>,
    dirty: Bits,
}

impl Column {
    pub(crate) fn new(kind: ComponentKind) -> Self {
        Self { kind, len: 0, version: 0, lines: Vec::new(), dirty: Bits::default() }
    }

    /// Id of the component.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.kind.id
    }

    /// Name of the component.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.name
    }

    /// Size of one row, in bytes. Zero for a tag.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.kind.row_bytes
    }

    /// How many times the column was opened for writing. Stays zero under [`Track::None`].
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The rows written since they were last drained. `None` unless the component asks for [`Track::Rows`].
    #[must_use]
    pub fn dirty(&self) -> Option<&Bits> {
        (self.kind.track == Track::Rows).then_some(&self.dirty)
    }

    pub(crate) fn dirty_mut(&mut self) -> Option<&mut Bits> {
        (self.kind.track == Track::Rows).then_some(&mut self.dirty)
    }

    /// The rows as bytes, end to end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len * self.kind.row_bytes]
    }

    /// The rows as values. Empty for a tag.
    ///
    /// # Panics
    /// If `T` is not the component of this column.
    #[must_use]
    pub fn values<T: Component>(&self) -> &[T] {
        self.assert_holds::<T>();
        if size_of::<T>() == 0 { &[] } else { bytemuck::cast_slice(self.bytes()) }
    }

    /// The rows as values to write, and the bits that say which were written. Raises the version, marks nothing.
    pub(crate) fn values_mut<T: Component>(&mut self) -> (&mut [T], &mut Bits) {
        self.assert_holds::<T>();
        self.touch();
        if size_of::<T>() == 0 {
            return (&mut [], &mut self.dirty);
        }
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        let bytes = &mut bytes[..self.len * size_of::<T>()];
        (bytemuck::cast_slice_mut(bytes), &mut self.dirty)
    }

    /// The rows behind the last one, up to the reserved capacity, to be written before [`Column::commit`].
    pub(crate) fn spare_mut<T: Component>(&mut self) -> &mut [T] {
        self.assert_holds::<T>();
        if size_of::<T>() == 0 {
            return &mut [];
        }
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
        let end = bytes.len() / size_of::<T>() * size_of::<T>();
        bytemuck::cast_slice_mut(&mut bytes[self.len * size_of::<T>()..end])
    }

    /// Makes `rows` spare rows part of the column. New rows count as written.
    pub(crate) fn commit(&mut self, rows: usize) {
        self.touch();
        if self.kind.track == Track::Rows {
            self.dirty.set_range(self.len..self.len + rows);
        }
        self.len += rows;
    }

    /// Writes one row and marks it.
    pub(crate) fn set<T: Component>(&mut self, row: usize, value: T) {
        let (values, dirty) = self.values_mut::<T>();
        if size_of::<T>() != 0 {
            values[row] = value;
        }
        if T::TRACK == Track::Rows {
            dirty.set(row);
        }
    }

    /// Appends a copy of a row of `source`, with its bit. Both columns hold the same component.
    pub(crate) fn push_from(&mut self, source: &Self, row: usize) {
        debug_assert_eq!(self.kind.type_id, source.kind.type_id);
        let size = self.kind.row_bytes;
        let start = self.len * size;
        bytemuck::cast_slice_mut(&mut self.lines)[start..start + size]
            .copy_from_slice(&source.bytes()[row * size..(row + 1) * size]);
        self.touch();
        if source.dirty.contains(row) {
            self.dirty.set(self.len);
        }
        self.len += 1;
    }

    /// Appends a zeroed row, which counts as written.
    pub(crate) fn push_zeroed(&mut self) {
        let size = self.kind.row_bytes;
        let start = self.len * size;
        bytemuck::cast_slice_mut::<_, u8>(&mut self.lines)[start..start + size].fill(0);
        self.commit(1);
    }

    /// Removes a row; the last one takes its place, and so does its bit.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        let size = self.kind.row_bytes;
        let last = self.len - 1;
        if row != last {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.lines);
            bytes.copy_within(last * size..(last + 1) * size, row * size);
        }
        self.touch();
        if self.kind.track == Track::Rows {
            self.dirty.swap_remove(row, last);
        }
        self.len = last;
    }

    /// Makes room for `rows` rows in all. Memory is written here, so that the tick meets no page fault later.
    pub(crate) fn grow(&mut self, rows: usize) {
        let lines = (rows * self.kind.row_bytes).div_ceil(LINE_BYTES);
        if lines > self.lines.len() {
            self.lines.reserve_exact(lines - self.lines.len());
            self.lines.resize(lines, Line::zeroed());
        }
        if self.kind.track == Track::Rows {
            self.dirty.grow(rows);
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.capacity() * LINE_BYTES + self.dirty.memory_bytes()
    }

    fn touch(&mut self) {
        self.version += u64::from(self.kind.track != Track::None);
    }

    #[inline]
    fn assert_holds<T: Component>(&self) {
        assert!(
            self.kind.type_id == TypeId::of::<T>(),
            "component id {} is {} and was asked for as {}",
            self.kind.id,
            self.kind.name,
            T::NAME
        );
    }
}
