//! One component of all rows of an archetype: contiguous bytes that start on a cache line.
//!
//! Memory is zeroed when it grows and never shrunk. Typed slices are checked casts of it, and a cast to a type other
//! than the column's own is refused with a panic. Every byte of a row is initialised. The bits of written rows, those of
//! the column and those of each cursor, follow their rows wherever these go.

use std::ops::Range;

use crate::bits::{Bits, BitsMut};
use crate::buffer::Buffer;
use crate::component::{Component, ComponentKind, Track};

/// The values of one component in the rows of one archetype.
pub struct Column {
    kind: ComponentKind,
    len: usize,
    version: u64,
    buffer: Buffer,
    dirty: Bits,
    /// For each cursor on the component: the rows that it has not yet visited, up to the last drain.
    cursors: Vec<Bits>,
}

/// The column of no component, in the place of one that is lent. It holds no memory.
impl Default for Column {
    fn default() -> Self {
        Self {
            kind: ComponentKind::NONE,
            len: 0,
            version: 0,
            buffer: Buffer::default(),
            dirty: Bits::default(),
            cursors: Vec::new(),
        }
    }
}

impl Column {
    /// An empty column that `cursors` cursors follow.
    pub(crate) fn new(kind: ComponentKind, cursors: u8) -> Self {
        Self {
            kind,
            len: 0,
            version: 0,
            buffer: Buffer::new(usize::from(kind.id)),
            dirty: Bits::default(),
            cursors: vec![Bits::default(); usize::from(cursors)],
        }
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

    /// The rows as bytes, end to end.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[..self.len * self.kind.row_bytes]
    }

    /// The rows as values. Empty for a tag.
    ///
    /// # Panics
    /// If `T` is not the component of this column.
    #[must_use]
    #[inline]
    pub fn values<T: Component>(&self) -> &[T] {
        self.assert_holds(ComponentKind::of::<T>());
        self.known_values(self.len as u32)
    }

    /// As [`Column::values`], where the caller knows that the column holds `T` and has `rows` rows.
    #[inline]
    pub(crate) fn known_values<T: Component>(&self, rows: u32) -> &[T] {
        debug_assert_eq!(rows as usize, self.len);
        if size_of::<T>() == 0 { &[] } else { self.buffer.values(rows) }
    }

    /// The rows as values to write, and the bits that say which were written. Raises the version, marks nothing.
    #[inline]
    pub(crate) fn values_mut<T: Component>(&mut self) -> (&mut [T], BitsMut<'_>) {
        self.assert_holds(ComponentKind::of::<T>());
        self.known_values_mut(self.len as u32)
    }

    /// As [`Column::values_mut`], where the caller knows that the column holds `T` and has `rows` rows.
    #[inline]
    pub(crate) fn known_values_mut<T: Component>(&mut self, rows: u32) -> (&mut [T], BitsMut<'_>) {
        debug_assert_eq!(rows as usize, self.len);
        if !matches!(T::TRACK, Track::None) {
            self.version += 1;
        }
        let values = if size_of::<T>() == 0 { &mut [] } else { self.buffer.values_mut(rows) };
        (values, self.dirty.as_mut())
    }

    /// The rows behind the last one, up to the reserved capacity, to be written before [`Column::commit`]. The caller
    /// knows that the column holds `T`.
    pub(crate) fn spare_mut<T: Component>(&mut self) -> &mut [T] {
        if size_of::<T>() == 0 {
            return &mut [];
        }
        let bytes = &mut self.buffer.bytes_mut()[self.len * size_of::<T>()..];
        let end = bytes.len() / size_of::<T>() * size_of::<T>();
        bytemuck::cast_slice_mut(&mut bytes[..end])
    }

    /// Makes `rows` spare rows part of the column. New rows count as written.
    #[inline]
    pub(crate) fn commit(&mut self, rows: usize) {
        self.touch();
        if self.kind.track == Track::Rows {
            self.mark(self.len..self.len + rows);
        }
        self.len += rows;
    }

    /// One row to write, which counts as written; `None` for a tag. The caller knows that the column holds `T`.
    #[inline]
    pub(crate) fn row_mut<T: Component>(&mut self, row: usize) -> Option<&mut T> {
        let (values, mut dirty) = self.known_values_mut::<T>(self.len as u32);
        if matches!(T::TRACK, Track::Rows) {
            dirty.set(row);
        }
        values.get_mut(row)
    }

    /// Appends a copy of a row of `source`, with its bits. Both columns hold the same component.
    #[inline]
    pub(crate) fn push_from(&mut self, source: &Self, row: usize) {
        debug_assert_eq!(self.kind.type_id, source.kind.type_id);
        let size = self.kind.row_bytes;
        copy_row(self.buffer.row_mut(self.len, size), source.buffer.row(row, size));
        self.touch();
        if self.kind.track == Track::Rows {
            self.push_bits(source, row);
        }
        self.len += 1;
    }

    /// Removes a row; the last one takes its place, and so do its bits.
    #[inline]
    pub(crate) fn swap_remove(&mut self, row: usize) {
        let size = self.kind.row_bytes;
        let last = self.len - 1;
        if row != last {
            let [to, from] = self.buffer.rows_mut([row, last], size);
            copy_row(to, from);
        }
        self.touch();
        if self.kind.track == Track::Rows {
            self.remove_bits(row, last);
        }
        self.len = last;
    }

    // The bits of rows are calls of their own, so that they take no registers from rows that have none.

    #[inline(never)]
    fn mark(&mut self, rows: Range<usize>) {
        self.dirty.as_mut().set_range(rows);
    }

    #[inline(never)]
    fn push_bits(&mut self, source: &Self, row: usize) {
        let to = std::iter::once(&mut self.dirty).chain(&mut self.cursors);
        for (to, from) in to.zip(std::iter::once(&source.dirty).chain(&source.cursors)) {
            if from.contains(row) {
                to.set(self.len);
            }
        }
    }

    #[inline(never)]
    fn remove_bits(&mut self, row: usize, last: usize) {
        self.dirty.swap_remove(row, last);
        self.cursors.iter_mut().for_each(|cursor| cursor.swap_remove(row, last));
    }

    /// Makes room for `rows` rows in all.
    pub(crate) fn grow(&mut self, rows: usize) {
        self.buffer.grow(rows * self.kind.row_bytes, self.len * self.kind.row_bytes);
        if self.kind.track == Track::Rows {
            self.dirty.grow(rows);
            self.cursors.iter_mut().for_each(|cursor| cursor.grow(rows));
        }
    }

    /// Lets one more cursor follow the rows, which has visited none of them yet.
    pub(crate) fn add_cursor(&mut self, capacity_rows: usize) {
        let mut cursor = Bits::default();
        cursor.grow(capacity_rows);
        cursor.as_mut().set_range(0..self.len);
        self.cursors.push(cursor);
    }

    /// Visits and clears the written rows by 64, and leaves them to each cursor.
    pub(crate) fn drain_dirty(&mut self, visit: impl FnMut(usize, u64)) {
        for cursor in &mut self.cursors {
            cursor.merge(&self.dirty);
        }
        self.dirty.drain_words(visit);
    }

    /// Visits and clears the rows that wait for a cursor. The component is no tag.
    pub(crate) fn drain_cursor<T: Component>(
        &mut self,
        cursor: usize,
        mut visit: impl FnMut(usize, &T),
    ) {
        self.assert_holds(ComponentKind::of::<T>());
        let values = self.buffer.values(self.len as u32);
        self.cursors[cursor].drain(|row| visit(row, &values[row]));
    }

    /// The bytes of `rows`, to be replaced from outside. The rows count as written.
    pub(crate) fn rows_mut(&mut self, rows: Range<usize>) -> &mut [u8] {
        assert!(rows.end <= self.len, "rows {rows:?} of {}", self.len);
        self.touch();
        if self.kind.track == Track::Rows {
            self.mark(rows.clone());
        }
        let size = self.kind.row_bytes;
        &mut self.buffer.bytes_mut()[rows.start * size..rows.end * size]
    }

    /// Removes all rows. The memory stays.
    pub(crate) fn clear(&mut self) {
        self.touch();
        self.dirty.drain(|_| {});
        self.cursors.iter_mut().for_each(|cursor| cursor.drain(|_| {}));
        self.len = 0;
    }

    /// Appends `rows` rows from the start of `bytes`, which count as written. There is room for them.
    pub(crate) fn load(&mut self, rows: usize, bytes: &[u8]) {
        let (start, len) = (self.len * self.kind.row_bytes, rows * self.kind.row_bytes);
        self.buffer.bytes_mut()[start..start + len].copy_from_slice(&bytes[..len]);
        self.commit(rows);
    }

    /// Memory held, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let cursors: usize = self.cursors.iter().map(Bits::memory_bytes).sum();
        self.buffer.memory_bytes() + self.dirty.memory_bytes() + cursors
    }

    #[inline]
    fn touch(&mut self) {
        self.version += u64::from(self.kind.track != Track::None);
    }

    #[inline]
    pub(crate) fn assert_holds(&self, kind: ComponentKind) {
        if self.kind.type_id != kind.type_id {
            self.refuse(kind.name);
        }
    }

    #[cold]
    fn refuse(&self, name: &str) -> ! {
        panic!("component id {} is {} and was asked for as {name}", self.kind.id, self.kind.name)
    }
}

/// Copies one row. Rows of the usual sizes are moved by registers, because the call of a general copy costs more than they.
#[inline]
fn copy_row(to: &mut [u8], from: &[u8]) {
    #[inline]
    fn copy<const N: usize>(to: &mut [u8], from: &[u8]) {
        if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
            *to = *from;
        }
    }
    match from.len() {
        4 => copy::<4>(to, from),
        8 => copy::<8>(to, from),
        16 => copy::<16>(to, from),
        64 => copy::<64>(to, from),
        _ => to.copy_from_slice(from),
    }
}
