//! One bit for each place of a table that waits for its turn.
//!
//! Places are taken in rounds, so that none waits for ever behind those before it.

/// Marked places.
#[derive(Debug, Default)]
pub(super) struct Marks {
    words: Vec<u64>,
    /// Bits that are set.
    count: usize,
    /// The word that is looked at next. It goes round, so that no place waits for ever behind those before it.
    at: usize,
}

impl Marks {
    /// Makes room for the places `0..rows`.
    pub(super) fn grow(&mut self, rows: usize) {
        let words = rows.div_ceil(64);
        if words > self.words.len() {
            // In steps of an eighth, as the columns grow.
            self.words.resize(words + words / 8, 0);
        }
    }

    /// Marks a place; true when it was not marked before.
    pub(super) fn set(&mut self, row: usize) -> bool {
        self.grow(row + 1);
        let (word, bit) = (row / 64, 1 << (row % 64));
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(new);
        new
    }

    /// The next marked place below `end`; it is marked no more.
    pub(super) fn pop_below(&mut self, end: usize) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        for _ in 0..=self.words.len() {
            let word = self.words[self.at];
            let row = self.at * 64 + word.trailing_zeros() as usize;
            if word != 0 && row < end {
                self.words[self.at] = word & (word - 1);
                self.count -= 1;
                return Some(row);
            }
            self.at = (self.at + 1) % self.words.len();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_rows_come_once_and_in_turn_and_those_without_a_name_wait() {
        let mut marks = Marks::default();
        marks.grow(300);
        let set: Vec<bool> = [130, 5, 64, 5, 299].map(|row| marks.set(row)).to_vec();
        assert_eq!(set, [true, true, true, false, true]);
        assert_eq!([marks.pop_below(131), marks.pop_below(131)], [Some(5), Some(64)]);
        assert!(marks.set(1), "a row before those that come next waits for the next round");
        let below: Vec<usize> = std::iter::from_fn(|| marks.pop_below(131)).collect();
        assert_eq!(below, [130, 1]);
        let rest: Vec<usize> = std::iter::from_fn(|| marks.pop_below(300)).collect();
        assert_eq!((rest, marks.count), (vec![299], 0));
    }
}
