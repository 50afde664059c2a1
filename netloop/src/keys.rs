//! The session's own small table of sensors: key to a dense number, so that the tick thread need not hash.
//!
//! Devices report their sensors in a stable order, so the table first predicts that the next record is of the next
//! sensor and compares 18 bytes. Only a miss hashes, and where misses follow one another, as behind a gateway that reports
//! changes, some records are looked up together, so that their cache misses overlap. The table is bounded: a session with
//! more sensors than its limit gets [`NO_HINT`] for the further ones, and the tick thread looks those up by their key.
//!
//! A key of a device that the session may not write for never gets into the table: a record of it finds nothing, asks the
//! session's scope and is refused, while a record whose key is known costs no question.

use wire::Record;

use crate::{NO_HINT, RUN_RECORDS_MAX, identity::Scope, prefetch::prefetch_write};

/// Device and sensor id, as they lie at the front of a record.
type Key = [u8; 18];

/// Sensors in the order in which the session first named them.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    keys: Vec<Key>,
    /// The hint that the next record is expected to have.
    predicted: usize,
    /// Open addressing over `keys`, at most seven eighths full; [`EMPTY`] marks a free place. The upper byte is of the
    /// hash: a search passes a neighbour without a look at its key, so that the table may be that full.
    places: Vec<u32>,
}

const EMPTY: u32 = u32::MAX;
const PLACES_MIN: usize = 16;
/// Least room for keys that a table grows by.
const KEYS_MIN: usize = 8;
/// Records that are looked up together: few enough that what was asked for is not evicted before its use.
const BLOCK_RECORDS: usize = 18;
const _: () = assert!(BLOCK_RECORDS <= RUN_RECORDS_MAX, "a block may be one run");
/// Bits of a place that number its key.
const NUMBER_BITS: u32 = 24;
const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;

impl KeyTable {
    /// The hint of `key`: its number in this session, or [`NO_HINT`] when the table is at `keys_max`. Nothing when
    /// `scope` does not allow its device.
    #[inline]
    pub(crate) fn hint(
        &mut self,
        key: &Key,
        seed: u64,
        keys_max: usize,
        scope: &Scope,
    ) -> Option<u32> {
        let at = self.predicted;
        if self.keys.get(at).is_some_and(|known| known == key) {
            self.predicted = if at + 1 == self.keys.len() { 0 } else { at + 1 };
            return Some(at as u32);
        }
        self.find_or_insert(key, seed, keys_max, scope)
    }

    /// Gives `push` these records in runs, each with the hint of its first record and those of the others if they do not count
    /// up from it; says how many were left out, because `scope` does not allow their devices.
    #[inline]
    pub(crate) fn each_run<'a>(
        &mut self,
        mut records: &'a [Record],
        limits: (u64, usize),
        scope: &Scope,
        mut push: impl FnMut(u32, &[u32], &'a [Record]),
    ) -> usize {
        let mut foreign = 0;
        // Whether the sensor of the record before was not the predicted one. Forgotten with the call: records of another tier,
        // which come between two batches of one tier, lead the first prediction astray and none behind it.
        let mut strayed = false;
        while let [first, rest @ ..] = records {
            let strays = self.keys.get(self.predicted).is_none_or(|known| known != first.key());
            if std::mem::replace(&mut strayed, strays) && strays {
                let (block, behind) = records.split_at(records.len().min(BLOCK_RECORDS));
                foreign += self.each_of_block(block, limits, scope, &mut push);
                records = behind;
                continue;
            }
            let Some(hint) = self.hint(first.key(), limits.0, limits.1, scope) else {
                foreign += 1;
                records = rest;
                continue;
            };
            let (run, behind) = records.split_at(1 + self.follow(hint, rest));
            push(hint, &[], run);
            records = behind;
        }
        foreign
    }

    /// The same of a few records that are looked up together. The memory that a step of a search needs was asked for one step
    /// before; a write is what is asked for, which costs the same where no other core has the line.
    #[inline(never)]
    fn each_of_block<'a>(
        &mut self,
        records: &'a [Record],
        (seed, keys_max): (u64, usize),
        scope: &Scope,
        push: &mut impl FnMut(u32, &[u32], &'a [Record]),
    ) -> usize {
        let mut places = [(0, 0); BLOCK_RECORDS];
        for (place, record) in places.iter_mut().zip(records) {
            *place = self.place_and_tag(hash(record.key(), seed));
            prefetch_write(&self.places, place.0);
        }
        let mut guesses = [0; BLOCK_RECORDS];
        for (guess, &(place, tag)) in guesses.iter_mut().zip(&places[..records.len()]) {
            *guess = self.guess(place, tag);
            // A key may end in the next line.
            prefetch_write(&self.keys, *guess);
            prefetch_write(&self.keys, *guess + 1);
        }
        let mut hints = [NO_HINT; BLOCK_RECORDS];
        let (mut foreign, mut begin) = (0, 0);
        for ((at, record), &guess) in records.iter().enumerate().zip(&guesses) {
            let hint = match self.keys.get(guess) {
                Some(known) if known == record.key() => Some(guess as u32),
                _ => self.find_or_insert(record.key(), seed, keys_max, scope),
            };
            if let Some(hint) = hint {
                hints[at] = hint;
                continue;
            }
            push_block(&hints[begin..at], &records[begin..at], push);
            foreign += 1;
            begin = at + 1;
        }
        let hints = &hints[begin..records.len()];
        if let Some(&last) = hints.last()
            && last != NO_HINT
        {
            self.predicted = (last as usize + 1) % self.keys.len();
        }
        push_block(hints, &records[begin..], push);
        foreign
    }

    /// The number of the first key behind `place` that may be the one with this tag, or of no key.
    #[inline]
    fn guess(&self, mut place: usize, tag: u32) -> usize {
        loop {
            let entry = self.places[place];
            if entry == EMPTY || entry >> NUMBER_BITS == tag {
                return (entry & NUMBER_MASK) as usize;
            }
            place = (place + 1) & (self.places.len() - 1);
        }
    }

    /// How many of these records are of the sensors that follow `hint`, as far as a run may reach.
    #[inline]
    fn follow(&mut self, hint: u32, records: &[Record]) -> usize {
        let from = self.predicted;
        if from != hint as usize + 1 {
            return 0;
        }
        let known = self.keys[from..].iter().zip(records).take(RUN_RECORDS_MAX - 1);
        let count = known.take_while(|(known, record)| *known == record.key()).count();
        self.predicted = if from + count == self.keys.len() { 0 } else { from + count };
        count
    }

    #[cold]
    #[inline(never)]
    fn find_or_insert(
        &mut self,
        key: &Key,
        seed: u64,
        keys_max: usize,
        scope: &Scope,
    ) -> Option<u32> {
        if self.places.len() * 7 < (self.keys.len() + 1) * 8 {
            self.grow(seed);
        }
        let (mut place, tag) = self.place_and_tag(hash(key, seed));
        loop {
            let entry = self.places[place];
            if entry == EMPTY {
                break;
            }
            let at = (entry & NUMBER_MASK) as usize;
            if entry >> NUMBER_BITS == tag && self.keys[at] == *key {
                self.predicted = (at + 1) % self.keys.len();
                return Some(at as u32);
            }
            place = (place + 1) & (self.places.len() - 1);
        }
        let device = key.first_chunk().expect("16 of 18 bytes");
        if !scope.allows(device) {
            return None;
        }
        // The last number of all would read as an empty place.
        if self.keys.len() >= keys_max.min(NUMBER_MASK as usize) {
            return Some(NO_HINT);
        }
        let at = self.keys.len() as u32;
        if self.keys.len() == self.keys.capacity() {
            // By an eighth: twice the keys of a gateway with a plant behind it would be much that nothing is in.
            self.keys.reserve_exact((self.keys.len() / 8).max(KEYS_MIN));
        }
        self.keys.push(*key);
        self.places[place] = tag << NUMBER_BITS | at;
        self.predicted = 0;
        Some(at)
    }

    fn grow(&mut self, seed: u64) {
        // The old places go first, so that both are never held at once.
        let size = (2 * std::mem::take(&mut self.places).len()).max(PLACES_MIN);
        self.places = vec![EMPTY; size];
        for (at, key) in self.keys.iter().enumerate() {
            let (mut place, tag) = self.place_and_tag(hash(key, seed));
            while self.places[place] != EMPTY {
                place = (place + 1) & (size - 1);
            }
            self.places[place] = tag << NUMBER_BITS | at as u32;
        }
    }

    /// Where a search begins, and what it looks for there.
    fn place_and_tag(&self, hash: u64) -> (usize, u32) {
        (hash as usize & (self.places.len() - 1), (hash >> 56) as u32)
    }
}

/// Gives `push` the run of these records, if it has any.
fn push_block<'a>(
    hints: &[u32],
    records: &'a [Record],
    push: &mut impl FnMut(u32, &[u32], &'a [Record]),
) {
    let [first, listed @ ..] = hints else { return };
    let step = u32::from(*first != NO_HINT);
    let counted = listed.iter().zip(1..).all(|(&hint, at)| hint == first.wrapping_add(step * at));
    push(*first, if counted { &[] } else { listed }, records);
}

/// Multiply and fold, keyed by a secret of the engine: a peer chooses its keys, but not where they fall. Each factor has a part
/// of the secret, because whoever can make a factor zero has made the other one meaningless.
fn hash(key: &Key, seed: u64) -> u64 {
    let word = |at: usize| u64::from_le_bytes(*key[at..].first_chunk().expect("8 of 18 bytes"));
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let sensor = u64::from(u16::from_le_bytes([key[16], key[17]]));
    let mixed =
        fold(word(0) ^ seed, word(8) ^ seed.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    fold(mixed ^ sensor, seed | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        let mut key = [0; 18];
        key[..4].copy_from_slice(&n.to_le_bytes());
        key[16..].copy_from_slice(&((n % 7) as u16).to_le_bytes());
        key
    }

    fn hint(table: &mut KeyTable, n: u32, seed: u64, keys_max: usize) -> u32 {
        table.hint(&key(n), seed, keys_max, &Scope::All).unwrap()
    }

    #[test]
    fn a_key_of_a_foreign_device_is_never_known() {
        let mut table = KeyTable::default();
        let own = Scope::Device(*key(5).first_chunk().unwrap());
        for _ in 0..3 {
            assert_eq!(table.hint(&key(5), 42, 1, &own), Some(0));
            assert_eq!(table.hint(&key(6), 42, 1, &own), None);
            // Beyond the limit it is asked for all the same.
            let mut second = key(5);
            second[17] ^= 1;
            assert_eq!(table.hint(&second, 42, 1, &own), Some(NO_HINT));
        }
        assert_eq!(table.keys, [key(5)]);
    }

    #[test]
    fn a_key_keeps_its_hint_in_any_order() {
        let mut table = KeyTable::default();
        let first: Vec<u32> = (0..1000).map(|n| hint(&mut table, n, 42, 2000)).collect();
        assert_eq!(first, (0..1000).collect::<Vec<_>>());
        for n in (0..1000).rev().chain(0..1000).chain((0..1000).map(|n| n * 37 % 1000)) {
            assert_eq!(hint(&mut table, n, 42, 2000), n);
        }
        assert_eq!(table.keys.len(), 1000);
    }

    #[test]
    fn no_choice_of_keys_makes_them_fall_together() {
        // With these as its second half, a device would make a factor of the hash zero whatever its first half is.
        for tail in [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            let of = |n: u64, seed| {
                let mut key = [0; 18];
                key[..8].copy_from_slice(&n.to_le_bytes());
                key[8..16].copy_from_slice(&tail.to_le_bytes());
                hash(&key, seed)
            };
            let mut hashes: Vec<u64> = (0..10_000).map(|n| of(n, 42)).collect();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), 10_000, "{tail:#x}");
        }
    }

    /// A small generator of numbers, the same in every run.
    fn draws(mut state: u64) -> impl FnMut(u32) -> u32 {
        move |end| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            ((state >> 33) % u64::from(end)) as u32
        }
    }

    /// The record of one of two devices.
    fn record(n: u32) -> Record {
        let mut bytes = [(n % 2) as u8; wire::RECORD_BYTES];
        bytes[16..18].copy_from_slice(&((n / 2) as u16).to_le_bytes());
        Record::from_bytes(bytes)
    }

    #[test]
    fn runs_give_each_record_the_hint_of_its_key_in_any_order() {
        for seed in 0..40 {
            let mut draw = draws(seed);
            let keys_max = [0, 5, 300, 5_000][seed as usize % 4];
            let scope = if seed % 8 < 4 { Scope::All } else { Scope::Device([1; 16]) };
            let own = |record: &&Record| scope.allows(record.key().first_chunk().unwrap());
            let mut table = KeyTable::default();
            let mut known = std::collections::BTreeMap::new();
            let mut next = 0;
            for _ in 0..400 {
                let datagram: Vec<Record> = (0..1 + draw(70))
                    .map(|_| {
                        // In turn, or anywhere; more often one than the other for a while.
                        let turn = draw(100) < if seed % 3 == 0 { 95 } else { 40 };
                        next = if turn { (next + 1) % 1_000 } else { draw(1_000) };
                        record(next)
                    })
                    .collect();
                let mut expected = datagram.iter().filter(own);
                let limits = (42, keys_max);
                let foreign = table.each_run(&datagram, limits, &scope, |hint, listed, run| {
                    assert!((1..=RUN_RECORDS_MAX).contains(&run.len()), "seed {seed}");
                    assert!(listed.is_empty() || listed.len() == run.len() - 1, "seed {seed}");
                    for (nth, record) in (0..).zip(run) {
                        assert!(Some(record) == expected.next(), "seed {seed}");
                        let room = known.len() < keys_max;
                        let number = known.len() as u32;
                        let of_key = match known.get(record.key()) {
                            Some(&number) => number,
                            None if room => *known.entry(*record.key()).or_insert(number),
                            None => NO_HINT,
                        };
                        let given = match (nth, listed) {
                            (1.., [_, ..]) => listed[nth - 1],
                            _ if hint == NO_HINT => NO_HINT,
                            _ => hint + nth as u32,
                        };
                        assert_eq!(given, of_key, "seed {seed}");
                    }
                });
                assert!(expected.next().is_none(), "seed {seed}");
                let left_out = datagram.len() - datagram.iter().filter(own).count();
                assert_eq!(foreign, left_out, "seed {seed}");
            }
            assert_eq!(table.keys.len(), known.len());
        }
    }

    #[test]
    fn a_full_table_gives_no_hint_and_forgets_nothing() {
        let mut table = KeyTable::default();
        for n in 0..8 {
            assert_eq!(hint(&mut table, n, 1, 8), n);
        }
        assert_eq!(hint(&mut table, 8, 1, 8), NO_HINT);
        assert_eq!(hint(&mut table, 3, 1, 8), 3);
        assert_eq!(table.keys.len(), 8);
    }
}
