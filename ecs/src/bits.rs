//! One bit for each row, with a summary above: which rows were written.
//!
//! Rows come in groups of 4,096, whose words and summary lie together: setting a bit costs two ORs and one check of
//! bounds. Draining visits set words only, through the summaries, and yields rows in ascending order; its cost follows
//! the number of written rows, and one word for each group.
//! Between calls a summary bit is set exactly where its word holds a bit.

use std::ops::Range;

const WORD_BITS: usize = u64::BITS as usize;

/// Rows of a group: where a set can be cut in two.
pub(crate) const GROUP_ROWS: usize = WORD_BITS * WORD_BITS;

/// A set of rows in two levels.
#[derive(Clone, Debug, Default)]
pub struct Bits {
    groups: Vec<Group>,
}

/// The bits of [`GROUP_ROWS`] rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    summary: u64,
    words: [u64; WORD_BITS],
}

impl Group {
    const EMPTY: Self = Self { summary: 0, words: [0; WORD_BITS] };

    /// Adds `bits` to the word of this number.
    #[inline]
    fn add(&mut self, word: usize, bits: u64) {
        self.words[word % WORD_BITS] |= bits;
        self.summary |= 1 << (word % WORD_BITS);
    }

    /// Keeps the bits that `other` has too.
    fn keep(&mut self, other: &Self) {
        for word in SetBits(self.summary) {
            self.words[word] &= other.words[word];
            self.summary ^= u64::from(self.words[word] == 0) << word;
        }
    }

    /// The set rows, ascending, counted from the first of the group.
    #[inline]
    pub(crate) fn rows(&self) -> GroupRows<'_> {
        GroupRows { group: self, words: SetBits(self.summary), base: 0, bits: SetBits(0) }
    }
}

impl Bits {
    /// Makes room for the rows `0..rows`; new rows are unset.
    pub(crate) fn grow(&mut self, rows: usize) {
        let groups = rows.div_ceil(GROUP_ROWS);
        if groups > self.groups.len() {
            self.groups.reserve_exact(groups - self.groups.len());
            self.groups.resize(groups, Group::EMPTY);
        }
    }

    /// The set, to write.
    #[inline]
    pub(crate) fn as_mut(&mut self) -> BitsMut<'_> {
        BitsMut { groups: &mut self.groups }
    }

    /// Sets the bit of `row`, which lies below the row count given to [`Bits::grow`].
    #[inline]
    pub(crate) fn set(&mut self, row: usize) {
        self.as_mut().set(row);
    }

    /// Adds the rows of `other`, which has no more of them; visits only its set words.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (group, other) in self.groups.iter_mut().zip(&other.groups) {
            SetBits(other.summary).for_each(|word| group.add(word, other.words[word]));
        }
    }

    /// Clears the bit of `row`, and says whether it was set.
    fn unset(&mut self, row: usize) -> bool {
        let set = self.contains(row);
        if set {
            let group = &mut self.groups[row / GROUP_ROWS];
            let word = row / WORD_BITS % WORD_BITS;
            group.words[word] &= !(1 << (row % WORD_BITS));
            group.summary &= !(u64::from(group.words[word] == 0) << word);
        }
        set
    }

    /// Whether the bit of `row` is set. Rows beyond the capacity are not.
    #[must_use]
    #[inline]
    pub fn contains(&self, row: usize) -> bool {
        let group = self.groups.get(row / GROUP_ROWS);
        group.is_some_and(|group| {
            group.words[row / WORD_BITS % WORD_BITS] >> (row % WORD_BITS) & 1 == 1
        })
    }

    /// The last row takes the place of `row`, and its bit comes along.
    pub(crate) fn swap_remove(&mut self, row: usize, last: usize) {
        let moved = self.unset(last);
        if row != last && !moved {
            self.unset(row);
        } else if row != last {
            self.set(row);
        }
    }

    /// The rows that are set here and in all of `others`, by group, each with its first row.
    pub(crate) fn common<'b>(
        &self,
        others: impl Iterator<Item = &'b Self> + Clone,
    ) -> impl Iterator<Item = (usize, Group)> {
        let set = self.groups.iter().enumerate().filter(|(_, group)| group.summary != 0);
        let common = set.map(move |(number, group)| {
            let mut group = *group;
            others.clone().for_each(|other| group.keep(&other.groups[number]));
            (number * GROUP_ROWS, group)
        });
        common.filter(|(_, group)| group.summary != 0)
    }

    /// The set rows, ascending.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        let groups = (0..).step_by(GROUP_ROWS).zip(&self.groups);
        groups.flat_map(|(first, group)| group.rows().map(move |row| first + row))
    }

    /// Calls `visit` with each set row, ascending, and clears it. As in [`Bits::drain_words`], a panic repeats up to 64 rows.
    pub(crate) fn drain(&mut self, mut visit: impl FnMut(usize)) {
        self.drain_words(|first, bits| SetBits(bits).for_each(|bit| visit(first + bit)));
    }

    /// Calls `visit` with the first row and the bits of each 64 rows that have any, ascending, and clears them when it
    /// returns: a visit that panics is made again, and none is lost.
    pub(crate) fn drain_words(&mut self, mut visit: impl FnMut(usize, u64)) {
        for (first, group) in (0..).step_by(GROUP_ROWS).zip(&mut self.groups) {
            for word in SetBits(group.summary) {
                visit(first + word * WORD_BITS, group.words[word]);
                group.words[word] = 0;
                group.summary ^= 1 << word;
            }
        }
    }

    /// Number of set rows.
    #[must_use]
    pub fn count(&self) -> usize {
        let words = self.groups.iter().flat_map(|group| &group.words);
        words.map(|word| word.count_ones() as usize).sum()
    }

    /// Memory held, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group>()
    }
}

/// A set of rows lent for writing, or the part of one that covers some rows.
#[derive(Default)]
pub(crate) struct BitsMut<'w> {
    groups: &'w mut [Group],
}

impl<'w> BitsMut<'w> {
    #[inline]
    pub(crate) fn set(&mut self, row: usize) {
        self.groups[row / GROUP_ROWS].add(row / WORD_BITS, 1 << (row % WORD_BITS));
    }

    pub(crate) fn set_range(&mut self, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        for word in rows.start / WORD_BITS..=(rows.end - 1) / WORD_BITS {
            let first = rows.start.saturating_sub(word * WORD_BITS);
            let end = (rows.end - word * WORD_BITS).min(WORD_BITS);
            let bits = (u64::MAX >> (WORD_BITS - (end - first))) << first;
            self.groups[word / WORD_BITS].add(word, bits);
        }
    }

    #[inline]
    pub(crate) fn contains(&self, row: usize) -> bool {
        let word = self.groups[row / GROUP_ROWS].words[row / WORD_BITS % WORD_BITS];
        word >> (row % WORD_BITS) & 1 == 1
    }

    /// The same bits for a shorter time.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> BitsMut<'_> {
        BitsMut { groups: self.groups }
    }

    /// Cuts the bits of the first `rows` off, which are all or a multiple of [`GROUP_ROWS`].
    pub(crate) fn split_off_front(&mut self, rows: usize) -> BitsMut<'w> {
        let groups = rows.div_ceil(GROUP_ROWS);
        BitsMut { groups: self.groups.split_off_mut(..groups).expect("groups of all rows") }
    }
}

/// The positions of the set bits of one word, ascending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetBits(pub(crate) u64);

impl Iterator for SetBits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (bit < WORD_BITS).then_some(bit)
    }
}

/// The set rows of one group, ascending.
#[derive(Clone)]
pub(crate) struct GroupRows<'b> {
    group: &'b Group,
    words: SetBits,
    /// The first row of the word at hand.
    base: usize,
    bits: SetBits,
}

impl Iterator for GroupRows<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        loop {
            if let Some(bit) = self.bits.next() {
                return Some(self.base + bit);
            }
            let word = self.words.next()?;
            (self.base, self.bits) = (word * WORD_BITS, SetBits(self.group.words[word]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(bits: &Bits, expected: &BTreeSet<usize>) {
        assert!(bits.rows().eq(expected.iter().copied()));
        assert_eq!(bits.count(), expected.len());
        for (number, group) in bits.groups.iter().enumerate() {
            for (at, &word) in group.words.iter().enumerate() {
                assert_eq!(
                    group.summary >> at & 1 == 1,
                    word != 0,
                    "summary of word {number}/{at}"
                );
            }
        }
    }

    #[test]
    fn ranges_match_rows_set_one_by_one() {
        for (start, end) in [(0, 0), (0, 1), (0, 64), (63, 65), (5, 9), (64, 128), (1, 9_000)] {
            let mut bits = Bits::default();
            bits.grow(9_000);
            bits.as_mut().set_range(start..end);
            check(&bits, &(start..end).collect());
        }
    }

    #[test]
    fn swap_remove_moves_the_bit_of_the_last_row() {
        for (row_set, last_set, same) in
            [(true, false, false), (false, true, false), (true, true, false), (true, true, true)]
        {
            let (row, last) = if same { (5_000, 5_000) } else { (3, 5_000) };
            let mut bits = Bits::default();
            bits.grow(5_001);
            let mut expected = BTreeSet::new();
            if row_set {
                bits.set(row);
            }
            if last_set {
                bits.set(last);
            }
            bits.swap_remove(row, last);
            if last_set && !same {
                expected.insert(row);
            }
            check(&bits, &expected);
        }
    }

    #[test]
    fn drain_yields_rows_in_order_and_leaves_none() {
        let mut bits = Bits::default();
        bits.grow(100_000);
        let rows = BTreeSet::from([99_999, 0, 64, 4_095, 4_096, 63]);
        rows.iter().rev().for_each(|&row| bits.set(row));
        let mut drained = Vec::new();
        bits.drain(|row| drained.push(row));
        assert!(drained.iter().eq(rows.iter()));
        check(&bits, &BTreeSet::new());
    }
}
