//! The hash table below the key index: open addressing over 4-byte slots, each an 8-bit tag and the index of a run.
//!
//! At most half of the slots are in use and no entry lies farther than [`PROBE_SLOTS_MAX`] from its home, whatever the keys
//! are: what cannot be placed within that is handed back, and the caller chooses new secrets. Keys are not kept here; the
//! caller says which run is the right one.

use crate::hash::fold;
use crate::hint::{prefer_large_pages, prefetch_read};

/// Farthest that an entry may lie from its home, in slots: 512 bytes, which the processor streams.
///
/// At half load 65 thousand random keys reach about 31, and each further slot is rarer by a constant factor, so that no plant
/// reaches 128; keys that do were chosen against the hash.
pub(super) const PROBE_SLOTS_MAX: usize = 128;

/// Most runs that a slot can name: 24 bits, with 0 for an empty slot.
pub(super) const RUNS_MAX: usize = (1 << INDEX_BITS) - 1;

/// Slots that a guess looks at. At half load 97 of 100 entries lie there.
const GUESS_SLOTS: usize = 4;

const INDEX_BITS: u32 = 24;
const BITS_MIN: u32 = 4;

/// What is hashed: the device, and which run of its sensors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct RunKey {
    pub(super) device: [u64; 2],
    pub(super) number: u16,
}

/// A table that can hold `slots / 2` entries.
pub(super) struct Slots {
    secrets: [u64; 2],
    words: Vec<u32>,
    bits: u32,
}

impl Slots {
    /// An empty table with room for `entries`.
    pub(super) fn with_room(secrets: [u64; 2], entries: usize) -> Self {
        let bits = (entries * 2).next_power_of_two().trailing_zeros().max(BITS_MIN);
        let mut words = vec![0; 1 << bits];
        prefer_large_pages(&mut words);
        Self { secrets, words, bits }
    }

    /// Entries that fit.
    pub(super) const fn room(&self) -> usize {
        self.words.len() / 2
    }

    pub(super) const fn secrets(&self) -> [u64; 2] {
        self.secrets
    }

    pub(super) const fn memory_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u32>()
    }

    /// Two folded multiplications. The first is keyed by the secrets; the second spreads the runs of one device.
    #[inline]
    pub(super) const fn hash(&self, key: RunKey) -> u64 {
        let device = fold(key.device[0] ^ self.secrets[0], key.device[1] ^ self.secrets[1]);
        fold(device ^ key.number as u64, GOLDEN)
    }

    /// Asks the cache for the home slot of `hash`.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch_read(&self.words, self.home(hash));
    }

    /// The position and the run of the first entry that has the tag of `hash` and that `matches`.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        mut matches: impl FnMut(usize) -> bool,
    ) -> Option<(usize, usize)> {
        let mut at = self.home(hash);
        for _ in 0..PROBE_SLOTS_MAX {
            let word = self.words[at];
            if word == 0 {
                return None;
            }
            if word >> INDEX_BITS == tag(hash) && matches(run_of(word)) {
                return Some((at, run_of(word)));
            }
            at = self.after(at);
        }
        None
    }

    /// The run that the entry of `hash` most likely names, found without a branch: whether a slot is taken or has the right
    /// tag cannot be predicted, and a wrong prediction costs more than these slots. The caller compares the key.
    #[inline]
    pub(super) fn guess(&self, hash: u64) -> usize {
        let mut guess = 0;
        // Where the table ends there is none: the search proper begins again at its other end.
        if let Some(words) = self.words[self.home(hash)..].first_chunk::<GUESS_SLOTS>() {
            for &word in words.iter().rev() {
                guess = if word >> INDEX_BITS == tag(hash) { word } else { guess };
            }
        }
        run_of(guess)
    }

    /// Enters `run` under `hash`; false when all places that it may take are in use. The caller has checked for room.
    #[must_use]
    pub(super) fn place(&mut self, hash: u64, run: usize) -> bool {
        debug_assert!(run < RUNS_MAX, "the caller bounds the number of runs");
        let mut at = self.home(hash);
        for _ in 0..PROBE_SLOTS_MAX {
            if self.words[at] == 0 {
                self.words[at] = tag(hash) << INDEX_BITS | (run as u32 + 1);
                return true;
            }
            at = self.after(at);
        }
        false
    }

    /// Lets the entry at position `at` name `run` from now on.
    pub(super) fn rename(&mut self, at: usize, run: usize) {
        self.words[at] = self.words[at] >> INDEX_BITS << INDEX_BITS | (run as u32 + 1);
    }

    /// Empties position `at` and moves later entries back, so that every search still ends at its first empty slot.
    /// `hash_of` gives the hash of a run.
    pub(super) fn clear(&mut self, at: usize, hash_of: impl Fn(&Self, usize) -> u64) {
        let mut hole = at;
        let mut next = self.after(at);
        while self.words[next] != 0 {
            let home = self.home(hash_of(self, run_of(self.words[next])));
            if self.distance(home, next) >= self.distance(hole, next) {
                self.words[hole] = self.words[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.words[hole] = 0;
    }

    /// Farthest that any entry lies from its home, in slots.
    pub(super) fn probe_slots_max(&self, hash_of: impl Fn(&Self, usize) -> u64) -> usize {
        let used = self.words.iter().enumerate().filter(|&(_, &word)| word != 0);
        used.map(|(at, &word)| self.distance(self.home(hash_of(self, run_of(word))), at))
            .max()
            .unwrap_or(0)
    }

    #[inline]
    const fn home(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.bits)) as usize
    }

    #[inline]
    const fn after(&self, at: usize) -> usize {
        (at + 1) & (self.words.len() - 1)
    }

    const fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.words.len() - 1)
    }
}

/// The secrets that follow `secrets`: what a rebuild takes when keys were chosen against the present ones.
pub(super) const fn next_secrets(secrets: [u64; 2]) -> [u64; 2] {
    let first = mix(secrets[0].wrapping_add(GOLDEN) ^ mix(secrets[1]));
    [first, mix(first.wrapping_add(secrets[1]).wrapping_add(GOLDEN))]
}

/// 2^64 divided by the golden ratio, made odd: neighbouring numbers land far apart in the upper bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: a bijection in which each bit depends on all bits.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[inline]
const fn tag(hash: u64) -> u32 {
    (hash as u32) & 0xff
}

/// The run that a slot names. Of an empty slot it is an index that no run has.
#[inline]
const fn run_of(word: u32) -> usize {
    ((word & (RUNS_MAX as u32)) as usize).wrapping_sub(1)
}
