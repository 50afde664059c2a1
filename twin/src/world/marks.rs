//! One bit for each place of a table that waits for its turn, with a summary above, so that what is empty costs nothing.
//!
//! Places are taken in rounds, so that none waits for ever behind those before it.

const WORD_BITS: usize = u64::BITS as usize;

/// Marked places.
#[derive(Debug, Default)]
pub(super) struct Marks {
    words: Vec<u64>,
    /// One bit for each word that holds one.
    summary: Vec<u64>,
    /// Words that hold a bit.
    held: usize,
    /// The word that is looked at next.
    at: usize,
}

impl Marks {
    /// Makes room for the places `0..rows`.
    pub(super) fn grow(&mut self, rows: usize) {
        let words = rows.div_ceil(WORD_BITS);
        if words > self.words.len() {
            // In steps of an eighth, as the columns grow.
            let words = words + words / 8;
            self.words.resize(words, 0);
            self.summary.resize(words.div_ceil(WORD_BITS), 0);
        }
    }

    /// Marks the places `0..rows` and no other, and begins a round.
    pub(super) fn set_all(&mut self, rows: usize) {
        self.grow(rows);
        self.words.fill(0);
        self.summary.fill(0);
        (self.held, self.at) = (0, 0);
        for first in (0..rows).step_by(WORD_BITS) {
            self.merge(first, u64::MAX >> (WORD_BITS - (rows - first).min(WORD_BITS)));
        }
    }

    /// Marks a place.
    pub(super) fn set(&mut self, row: usize) {
        self.merge(row - row % WORD_BITS, 1 << (row % WORD_BITS));
    }

    /// Marks the places of `bits`, the lowest of which is that of `first`, a multiple of 64.
    #[inline]
    pub(super) fn merge(&mut self, first: usize, bits: u64) {
        let word = first / WORD_BITS;
        if word >= self.words.len() {
            self.grow(first + WORD_BITS);
        }
        self.held += usize::from(self.words[word] == 0 && bits != 0);
        self.words[word] |= bits;
        self.summary[word / WORD_BITS] |= u64::from(bits != 0) << (word % WORD_BITS);
    }

    /// True between two rounds of [`Marks::take`].
    pub(super) const fn is_at_start(&self) -> bool {
        self.at == 0
    }

    /// True when no place is marked.
    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// How many are marked.
    pub(super) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// All marked places, the lowest first.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let bits = |word: u64| (0..WORD_BITS).filter(move |bit| word >> bit & 1 == 1);
        let words = self.words.iter().enumerate();
        words.flat_map(move |(at, &word)| bits(word).map(move |bit| at * WORD_BITS + bit))
    }

    /// Where the round stands, for [`Marks::go_to`].
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Goes on with the round from there.
    pub(super) const fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// The next 64 places with a mark below `end`, as [`Marks::merge`] takes them; they are marked no more. Nothing at the
    /// end of the table, and the next round begins.
    pub(super) fn take(&mut self, end: usize) -> Option<(usize, u64)> {
        let word = self.next_word().filter(|word| word * WORD_BITS < end);
        let Some(word) = word else {
            self.at = 0;
            return None;
        };
        let first = word * WORD_BITS;
        let below = u64::MAX >> (WORD_BITS - (end - first).min(WORD_BITS));
        let bits = self.words[word] & below;
        self.words[word] &= !below;
        if self.words[word] == 0 {
            self.held -= 1;
            self.summary[word / WORD_BITS] &= !(1 << (word % WORD_BITS));
        }
        self.at = word + 1;
        if bits == 0 {
            self.at = 0;
            return None;
        }
        Some((first, bits))
    }

    /// Marks places again that [`Marks::take`] just gave, to be the next ones.
    pub(super) fn put_back(&mut self, first: usize, bits: u64) {
        self.merge(first, bits);
        self.at = first / WORD_BITS;
    }

    /// The next marked place below `end`, in rounds; it is marked no more.
    pub(super) fn pop_below(&mut self, end: usize) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        let (first, bits) = self.take(end).or_else(|| self.take(end))?;
        let rest = bits & (bits - 1);
        if rest != 0 {
            self.put_back(first, rest);
        }
        Some(first + bits.trailing_zeros() as usize)
    }

    /// The first word from `at` on that holds a bit.
    fn next_word(&self) -> Option<usize> {
        let (at, first) = (self.at / WORD_BITS, self.at % WORD_BITS);
        let rest = self.summary.get(at)? & (u64::MAX << first);
        if rest != 0 {
            return Some(at * WORD_BITS + rest.trailing_zeros() as usize);
        }
        let next = self.summary[at + 1..].iter().position(|&word| word != 0)? + at + 1;
        Some(next * WORD_BITS + self.summary[next].trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_rows_come_once_and_in_turn_and_those_without_a_name_wait() {
        let mut marks = Marks::default();
        marks.grow(300);
        [130, 5, 64, 5, 299].into_iter().for_each(|row| marks.set(row));
        assert_eq!(marks.count(), 4, "a mark that is set twice is one");
        assert_eq!([marks.pop_below(131), marks.pop_below(131)], [Some(5), Some(64)]);
        marks.set(1);
        let below: Vec<usize> = std::iter::from_fn(|| marks.pop_below(131)).collect();
        assert_eq!(below, [130, 1], "a row before those that come next waits for the next round");
        let rest: Vec<usize> = std::iter::from_fn(|| marks.pop_below(300)).collect();
        assert_eq!((rest, marks.count(), marks.is_empty()), (vec![299], 0, true));
    }

    #[test]
    fn a_round_gives_every_mark_once_and_what_comes_meanwhile_waits_for_the_next() {
        let mut marks = Marks::default();
        for first in (0..20_000).step_by(640) {
            marks.merge(first, 0b1011);
        }
        let mut round = Vec::new();
        while let Some((first, bits)) = marks.take(19_201) {
            round.push((first, bits));
            marks.merge(0, 1);
        }
        let mut expected: Vec<_> = (0..19_200).step_by(640).map(|first| (first, 0b1011)).collect();
        expected.push((19_200, 1));
        assert_eq!(round, expected, "and of the last ones only that below the end");
        assert_eq!(marks.take(19_201), Some((0, 1)));
        marks.put_back(0, 1);
        assert_eq!(marks.take(20_000), Some((0, 1)));
        assert_eq!(marks.take(20_000), Some((19_200, 0b1010)));
        assert_eq!(marks.take(20_000), Some((19_840, 0b1011)));
        assert_eq!((marks.take(20_000), marks.is_empty()), (None, true));
    }
}
