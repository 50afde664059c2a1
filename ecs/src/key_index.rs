//! The key index: from the name of a sensor on the wire, (device, sensor id), to a value of the caller, such as a row.
//!
//! Eleven neighbouring sensor ids of a device share a run: one cache line with the device's name, so that the sensors of a
//! device lie together and a hit costs two lines, one of the hash table and one of the runs. Keys come from outside: the
//! hash is keyed by two secrets of the caller, the length of a search is bounded, and keys that were chosen against the hash
//! cost a rebuild with new secrets, never slow searches. It refuses to grow beyond the limit that it was made with.

mod slots;

use bytemuck::cast;

use self::slots::{RunKey, Slots, next_secrets};
use crate::buffer::grown;
use crate::hint::{prefer_large_pages, prefetch_read};

/// The name of a sensor: its device, and its number within the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SensorKey {
    /// The sixteen bytes that name the device.
    pub device: [u8; 16],
    /// The number of the sensor within its device.
    pub sensor: u16,
}

/// Why a key was not entered. The index is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The limit given to [`KeyIndex::new`] is reached.
    #[error("the key index is full: {runs_max} runs")]
    Full {
        /// The limit, in runs.
        runs_max: usize,
    },
    /// No choice of secrets and size that was tried keeps all searches short. Honest keys never meet this.
    #[error("the keys collide under {tried} choices of secrets")]
    Crowded {
        /// Choices that were tried.
        tried: u32,
    },
}

/// A map from [`SensorKey`] to values `V` of 4 bytes; wider ones are served, at more than one cache line a run.
///
/// ```
/// use ecs::{KeyIndex, SensorKey};
///
/// let mut index = KeyIndex::new([0x5eed, 0xfeed], 1_000);
/// let key = SensorKey { device: [7; 16], sensor: 3 };
/// assert_eq!(index.insert(key, 41_u32)?, None);
/// assert_eq!(index.insert(key, 42)?, Some(41));
/// assert_eq!(index.find(key), Some(42));
/// assert_eq!(index.remove(key), Some(42));
/// assert!(index.is_empty());
/// # Ok::<(), ecs::IndexError>(())
/// ```
pub struct KeyIndex<V> {
    slots: Slots,
    runs: Vec<Run<V>>,
    runs_max: usize,
    len: usize,
    reseeds: u32,
}

/// Sensor ids that share a run: with values of 4 bytes and the head, exactly one cache line.
const RUN_SENSORS: u16 = 11;

const _: () = assert!(size_of::<Run<u32>>() == 64, "a run of 4-byte values is one cache line");

/// Records that take a step of their search together. Each asks for the memory of its next step, which comes while the other
/// blocks take theirs; loops of one step over a block are short enough for the processor to run several rounds of them at once.
const BLOCK_RECORDS: usize = 16;

/// Blocks that are under way, one at each of the four steps.
const BLOCKS: usize = 4;

/// Largest index that is searched without prefetching, in bytes: it lies in the first-level cache, and asking ahead costs more
/// than it saves.
const DIRECT_BYTES_MAX: usize = 16 << 10;

/// A search that is under way.
#[derive(Clone, Copy)]
struct Step<V> {
    hash: u64,
    guess: usize,
    found: Option<V>,
}

/// Choices of secrets that a rebuild tries at each size, and sizes that it tries.
const RESEEDS_MAX: u32 = 8;
const SIZES_MAX: u32 = 2;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Run<V> {
    device: [u64; 2],
    number: u16,
    /// Bit i is set when `values[i]` belongs to a key.
    used: u16,
    values: [V; RUN_SENSORS as usize],
}

impl<V: Copy> KeyIndex<V> {
    /// An empty index of at most `runs_max` runs (never more than 2^24 - 1). `secrets` are two numbers from a random source
    /// that no device can know; a fixed choice makes a run repeatable, and no result depends on it.
    #[must_use]
    pub fn new(secrets: [u64; 2], runs_max: usize) -> Self {
        Self {
            slots: Slots::with_room(secrets, 0),
            runs: Vec::new(),
            runs_max: runs_max.min(slots::RUNS_MAX),
            len: 0,
            reseeds: 0,
        }
    }

    /// Takes the memory for `runs` more runs now, so that entering them allocates nothing unless the keys are hostile. A
    /// device takes one run for each group of eleven ids (0 to 10, 11 to 21, and so on) in which it has a sensor.
    ///
    /// # Errors
    /// The runs would pass the limit, or the present keys collide at the new size.
    pub fn reserve(&mut self, runs: usize) -> Result<(), IndexError> {
        let wanted = self.runs.len().saturating_add(runs);
        if wanted > self.runs_max {
            return Err(IndexError::Full { runs_max: self.runs_max });
        }
        self.runs.reserve_exact(runs);
        prefer_large_pages(&mut self.runs);
        if wanted > self.slots.room() { self.rebuild(self.slots.secrets(), wanted) } else { Ok(()) }
    }

    /// The value of `key`.
    #[inline]
    #[must_use]
    pub fn find(&self, key: SensorKey) -> Option<V> {
        let (run_key, place) = split(key);
        let hash = self.slots.hash(run_key);
        self.find_guessed(hash, self.slots.guess(hash), run_key, place)
    }

    /// The values of `keys`, in their order, into `found`. Searches of a large index wait for memory together.
    ///
    /// # Panics
    /// The two slices differ in length.
    pub fn find_batch(&self, keys: &[SensorKey], found: &mut [Option<V>]) {
        assert_eq!(keys.len(), found.len(), "each key has one place for its value");
        let store = |found: &mut std::slice::IterMut<'_, Option<V>>, _: &SensorKey, value| {
            *found.next().expect("one place for each key") = value;
        };
        self.find_each(keys, |key| *key, &mut found.iter_mut(), |_, _| {}, store);
    }

    /// Visits `records` in their order, each with the value of the key that `key` reads off it. `ahead` sees a value some
    /// records before its visit, to ask for the memory that it names; both see `context`.
    ///
    /// Searches wait for memory together, and while records are visited. Of an index that the nearest cache holds nothing is
    /// asked for ahead.
    #[inline]
    pub fn find_each<R, C: ?Sized>(
        &self,
        records: &[R],
        key: impl Fn(&R) -> SensorKey,
        context: &mut C,
        ahead: impl Fn(&C, V),
        mut visit: impl FnMut(&mut C, &R, Option<V>),
    ) {
        if self.memory_bytes() <= DIRECT_BYTES_MAX {
            return records
                .iter()
                .for_each(|record| visit(context, record, self.find(key(record))));
        }
        let mut steps = [[Step { hash: 0, guess: 0, found: None }; BLOCK_RECORDS]; BLOCKS];
        for at in 0..records.len().div_ceil(BLOCK_RECORDS) + BLOCKS - 1 {
            for (step, record) in steps[at % BLOCKS].iter_mut().zip(block(records, at)) {
                step.hash = self.slots.hash(split(key(record)).0);
                self.slots.prefetch(step.hash);
            }
            prefetch_block(records, at + BLOCKS);
            let at = at.wrapping_sub(1);
            for (step, _) in steps[at % BLOCKS].iter_mut().zip(block(records, at)) {
                step.guess = self.slots.guess(step.hash);
                prefetch_read(&self.runs, step.guess);
            }
            let at = at.wrapping_sub(1);
            for (step, record) in steps[at % BLOCKS].iter_mut().zip(block(records, at)) {
                let (run_key, place) = split(key(record));
                step.found = self.find_guessed(step.hash, step.guess, run_key, place);
                step.found.into_iter().for_each(|value| ahead(context, value));
            }
            let at = at.wrapping_sub(1);
            for (step, record) in steps[at % BLOCKS].iter().zip(block(records, at)) {
                visit(context, record, step.found);
            }
        }
    }

    /// Enters `value` under `key` and returns the value that it replaces.
    ///
    /// # Errors
    /// The key needs a new run, and there is no room for it; see [`IndexError`].
    pub fn insert(&mut self, key: SensorKey, value: V) -> Result<Option<V>, IndexError> {
        let (run_key, place) = split(key);
        let hash = self.slots.hash(run_key);
        let old = if let Some((_, run)) = self.locate(hash, run_key) {
            self.runs[run].set(place, value)
        } else {
            self.push_run(hash, Run::new(run_key, place, value))?;
            None
        };
        self.len += usize::from(old.is_none());
        Ok(old)
    }

    /// Removes `key` and returns its value. The memory stays for later keys.
    pub fn remove(&mut self, key: SensorKey) -> Option<V> {
        let (run_key, place) = split(key);
        let (at, run) = self.locate(self.slots.hash(run_key), run_key)?;
        let value = self.runs[run].take(place)?;
        self.len -= 1;
        if self.runs[run].used == 0 {
            self.remove_run(at, run);
        }
        Some(value)
    }

    /// Keys in the index.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True without keys.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Runs in use: what [`KeyIndex::new`] limits.
    #[must_use]
    pub const fn runs(&self) -> usize {
        self.runs.len()
    }

    /// All keys with their values. The order depends on the operations alone, never on the secrets.
    pub fn iter(&self) -> impl Iterator<Item = (SensorKey, V)> {
        self.runs.iter().flat_map(|run| {
            (0..RUN_SENSORS).filter_map(|place| {
                // A place in use has an id that fits; the last run of a device is not a whole one.
                let value = run.value(place)?;
                let sensor = run.number * RUN_SENSORS + place;
                Some((SensorKey { device: cast(run.device), sensor }, value))
            })
        })
    }

    /// Memory that the index holds, in bytes.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes() + self.runs.capacity() * size_of::<Run<V>>()
    }

    /// Times that new secrets had to be chosen. More than one or two mean that somebody chooses keys against the hash.
    #[must_use]
    pub const fn reseeds(&self) -> u32 {
        self.reseeds
    }

    /// Longest search for a present key, in slots beyond the first. Walks the whole table: a diagnosis, not for each tick.
    #[must_use]
    pub fn probe_slots_max(&self) -> usize {
        self.slots.probe_slots_max(|slots, run| slots.hash(self.runs[run].key()))
    }

    /// Position and run of `run_key`.
    #[inline]
    fn locate(&self, hash: u64, run_key: RunKey) -> Option<(usize, usize)> {
        self.slots.find(hash, |run| self.runs[run].key() == run_key)
    }

    #[inline]
    fn find_guessed(&self, hash: u64, guess: usize, run_key: RunKey, place: u16) -> Option<V> {
        let run = match self.runs.get(guess) {
            Some(run) if run.key() == run_key => run,
            _ => &self.runs[self.locate(hash, run_key)?.1],
        };
        run.value(place)
    }

    fn push_run(&mut self, hash: u64, run: Run<V>) -> Result<(), IndexError> {
        if self.runs.len() == self.runs_max {
            return Err(IndexError::Full { runs_max: self.runs_max });
        }
        let secrets = self.slots.secrets();
        let number = self.runs.len();
        if number == self.runs.capacity() {
            self.runs.reserve_exact(grown(number) - number);
            prefer_large_pages(&mut self.runs);
        }
        self.runs.push(run);
        let placed = if number == self.slots.room() {
            self.rebuild(secrets, number + 1)
        } else if self.slots.place(hash, number) {
            Ok(())
        } else {
            self.reseeds += 1;
            self.rebuild(next_secrets(secrets), self.slots.room())
        };
        placed.inspect_err(|_| {
            self.runs.pop();
        })
    }

    /// Makes a table for `room` runs, beginning with `secrets`. On an error the old table stands, without the last run.
    fn rebuild(&mut self, mut secrets: [u64; 2], room: usize) -> Result<(), IndexError> {
        for size in 0..SIZES_MAX {
            for _ in 0..RESEEDS_MAX {
                let mut slots = Slots::with_room(secrets, room << size);
                if self.place_all(&mut slots) {
                    self.slots = slots;
                    return Ok(());
                }
                secrets = next_secrets(secrets);
                self.reseeds += 1;
            }
        }
        Err(IndexError::Crowded { tried: SIZES_MAX * RESEEDS_MAX })
    }

    fn place_all(&self, slots: &mut Slots) -> bool {
        self.runs.iter().enumerate().all(|(number, run)| slots.place(slots.hash(run.key()), number))
    }

    /// Takes an empty run out; the last run moves into its place.
    fn remove_run(&mut self, at: usize, run: usize) {
        self.slots.clear(at, |slots, run| slots.hash(self.runs[run].key()));
        let last = self.runs.len() - 1;
        if run != last {
            let key = self.runs[last].key();
            let (at, _) = self
                .slots
                .find(self.slots.hash(key), |run| run == last)
                .expect("the last run has a slot because every run has one");
            self.slots.rename(at, run);
        }
        self.runs.swap_remove(run);
    }
}

impl<V> std::fmt::Debug for KeyIndex<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secrets stay secret.
        f.debug_struct("KeyIndex")
            .field("len", &self.len)
            .field("runs", &self.runs.len())
            .field("runs_max", &self.runs_max)
            .field("reseeds", &self.reseeds)
            .finish_non_exhaustive()
    }
}

impl<V: Copy> Run<V> {
    fn new(key: RunKey, place: u16, value: V) -> Self {
        let values = [value; RUN_SENSORS as usize];
        Self { device: key.device, number: key.number, used: 1 << place, values }
    }

    #[inline]
    const fn key(&self) -> RunKey {
        RunKey { device: self.device, number: self.number }
    }

    #[inline]
    fn value(&self, place: u16) -> Option<V> {
        (self.used >> place & 1 == 1).then(|| self.values[usize::from(place)])
    }

    fn set(&mut self, place: u16, value: V) -> Option<V> {
        let old = self.value(place);
        self.values[usize::from(place)] = value;
        self.used |= 1 << place;
        old
    }

    fn take(&mut self, place: u16) -> Option<V> {
        let old = self.value(place)?;
        self.used &= !(1 << place);
        Some(old)
    }
}

/// The records of a block; none where there is no such block.
#[inline]
fn block<R>(records: &[R], number: usize) -> &[R] {
    records.chunks(BLOCK_RECORDS).nth(number).unwrap_or_default()
}

/// Asks for the records of a block.
#[inline]
fn prefetch_block<R>(records: &[R], number: usize) {
    (0..BLOCK_RECORDS).for_each(|at| prefetch_read(records, number * BLOCK_RECORDS + at));
}

/// The run of a key, and its place there.
#[inline]
fn split(key: SensorKey) -> (RunKey, u16) {
    let number = key.sensor / RUN_SENSORS;
    (RunKey { device: cast(key.device), number }, key.sensor % RUN_SENSORS)
}

#[cfg(test)]
mod tests {
    use super::slots::{PROBE_SLOTS_MAX, next_secrets};
    use super::{IndexError, KeyIndex, RESEEDS_MAX, SIZES_MAX, SensorKey, cast};

    /// One device more than a search may pass, all with the first secret as their first half: with these secrets they all
    /// have one hash.
    fn colliding(secrets: [u64; 2]) -> impl Iterator<Item = SensorKey> {
        (0..=PROBE_SLOTS_MAX as u64)
            .map(move |at| SensorKey { device: cast([secrets[0], at]), sensor: 0 })
    }

    #[test]
    fn keys_chosen_against_every_choice_of_secrets_are_refused_and_change_nothing() {
        let tries = SIZES_MAX * RESEEDS_MAX;
        let first = [3, 5];
        let mut index = KeyIndex::new(first, 10_000);
        let mut secrets = first;
        for _ in 0..tries {
            secrets = next_secrets(secrets);
            for key in colliding(secrets) {
                assert_eq!(index.insert(key, 1_u32), Ok(None));
            }
        }
        assert_eq!(index.reseeds(), 0);

        let mut entered = index.iter().collect::<Vec<_>>();
        let mut group = colliding(first);
        let refused = loop {
            let key = group.next().expect("the whole group cannot fit because it is one too many");
            match index.insert(key, 2) {
                Ok(old) => entered.push((key, old.unwrap_or(2))),
                Err(error) => {
                    assert_eq!(error, IndexError::Crowded { tried: tries });
                    break key;
                }
            }
        };

        assert_eq!(index.find(refused), None);
        assert_eq!(index.len(), entered.len());
        assert!(index.iter().eq(entered.iter().copied()));
        assert!(entered.iter().all(|&(key, value)| index.find(key) == Some(value)));
        let honest = SensorKey { device: [9; 16], sensor: 9 };
        assert_eq!(index.insert(honest, 5), Ok(None));
        assert_eq!(index.find(honest), Some(5));
    }
}
