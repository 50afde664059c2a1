//! Runs: records of one session that came together, packed end to end into lines of a ring.
//!
//! ```text
//! bytes 0..24    what all of them share: see [`Slot`]
//! byte  24       how many records lie behind the first, and the flags of T3
//! bytes 25..     the records, 39 bytes each, without a gap from line to line
//! ```
//!
//! A run of one is a [`Slot`]. One of `n` takes `(25 + 39 n) / 64` lines, rounded up: never more than `n`, and 23 instead of 36
//! for a full datagram. What is written by one core and read by another is a line, so that fewer of them is what a batch costs
//! less. Records go together when their numbers in the session's key table follow one another, as those of a device that
//! reports its sensors in order do.
//!
//! Lines that claim more records than there are bytes, as those of a damaged file may, hold as many as there are bytes.

use bytemuck::Zeroable;
use wire::{RECORD_BYTES, Record};

use crate::slot::BEHIND;
use crate::{NO_HINT, Slot};

/// Records of a run, at most: what [`Slot::flags`] can tell of.
pub const RUN_RECORDS_MAX: usize = BEHIND as usize + 1;

/// Bytes of a line.
const LINE_BYTES: usize = size_of::<Slot>();
/// What comes before the first record.
const HEAD_BYTES: usize = LINE_BYTES - RECORD_BYTES;

/// Records of one session that share all but their bytes and their hints.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// As [`Slot::recv_ns`].
    pub recv_ns: u64,
    /// The first record's, as [`Slot::hint`]. Those of the others count up from it, or are [`NO_HINT`] as well.
    pub hint: u32,
    /// As [`Slot::session`].
    pub session: u32,
    /// As [`Slot::epoch`].
    pub epoch: u32,
    /// As [`Slot::lag_ns`].
    pub lag_ns: u32,
    /// T3, where a run is of one record: as [`Slot::flags`]. Zero on T1 and T2.
    pub flags: u8,
    /// At least one.
    pub records: &'a [Record],
}

impl<'a> Run<'a> {
    /// The run without its first `count` records.
    #[inline]
    #[must_use]
    pub fn behind(&self, count: usize) -> Self {
        let hint = self.hint_of(count);
        Self { hint, records: &self.records[count..], ..*self }
    }

    /// The first `count` records of the run.
    #[inline]
    #[must_use]
    pub fn front(&self, count: usize) -> Self {
        Self { records: &self.records[..count], ..*self }
    }

    /// The hint of a record.
    #[inline]
    fn hint_of(&self, at: usize) -> u32 {
        if self.hint == NO_HINT { NO_HINT } else { self.hint.wrapping_add(at as u32) }
    }

    /// The slot of a record.
    ///
    /// # Panics
    /// The run has no such record.
    #[inline]
    #[must_use]
    pub fn slot(&self, at: usize) -> Slot {
        Slot {
            recv_ns: self.recv_ns,
            hint: self.hint_of(at),
            session: self.session,
            epoch: self.epoch,
            lag_ns: self.lag_ns,
            flags: self.flags,
            record: *self.records[at].as_bytes(),
        }
    }

    /// The slots of its records.
    pub fn slots(self) -> impl Iterator<Item = Slot> + use<'a> {
        (0..self.records.len()).map(move |at| self.slot(at))
    }

    /// The lines that it takes.
    #[must_use]
    pub fn lines(&self) -> Vec<Slot> {
        let mut lines = vec![Slot::zeroed(); lines_of(self.records.len())];
        self.write(lines.iter_mut());
        lines
    }

    /// Writes the slot of its first record.
    ///
    /// # Panics
    /// It has no record.
    #[inline(always)]
    pub(crate) fn write_first(&self, slot: &mut Slot) {
        slot.recv_ns = self.recv_ns;
        slot.hint = self.hint;
        slot.session = self.session;
        slot.epoch = self.epoch;
        slot.lag_ns = self.lag_ns;
        slot.flags = self.flags;
        slot.record.copy_from_slice(self.records[0].as_bytes());
    }

    /// Writes the run into lines of zeros, [`lines_of`] its records; says how many it took.
    ///
    /// Records go from where they lie straight to where they stay. Put together elsewhere first, a line would be read back
    /// across the writes that made it, which has to wait until all writes before them have reached the cache.
    ///
    /// # Panics
    /// It has no record, or more than [`RUN_RECORDS_MAX`], or there are too few lines.
    #[inline]
    pub fn write<'l>(&self, mut lines: impl Iterator<Item = &'l mut Slot>) -> usize {
        assert!(self.records.len() <= RUN_RECORDS_MAX, "a run is no longer than its head can tell");
        let [_, behind @ ..] = self.records else { panic!("a run has a record") };
        let head = lines.next().expect(ENOUGH);
        self.write_first(head);
        head.flags |= behind.len() as u8;
        let bytes: &[u8] = bytemuck::cast_slice(behind);
        let (whole, rest) = bytes.as_chunks::<LINE_BYTES>();
        for bytes in whole {
            *lines.next().expect(ENOUGH) = bytemuck::cast(*bytes);
        }
        if !rest.is_empty() {
            let line = bytemuck::bytes_of_mut(lines.next().expect(ENOUGH));
            line[..rest.len()].copy_from_slice(rest);
        }
        lines_of(self.records.len())
    }
}

const ENOUGH: &str = "there are lines because the caller has counted them";

/// Lines that a run of so many records takes.
#[inline]
#[must_use]
pub const fn lines_of(records: usize) -> usize {
    (HEAD_BYTES + records * RECORD_BYTES).div_ceil(LINE_BYTES)
}

/// Records that a run has room for in so many lines, at least one.
#[inline]
pub(crate) const fn records_in(lines: usize) -> usize {
    (lines * LINE_BYTES - HEAD_BYTES) / RECORD_BYTES
}

/// The runs that lie in lines one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    lines: &'a [Slot],
    /// Records of the first run that were taken already.
    taken: usize,
}

impl<'a> Runs<'a> {
    /// Those of lines that begin with a run.
    #[must_use]
    pub const fn new(lines: &'a [Slot]) -> Self {
        Self { lines, taken: 0 }
    }

    /// True when no record is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Leaves out the next `count` records.
    pub fn skip_records(&mut self, mut count: usize) {
        while count > 0
            && let (at, Some(run)) = (*self, self.next())
        {
            let left = run.records.len();
            if count < left {
                *self = Self { taken: at.taken + count, ..at };
            }
            count = count.saturating_sub(left);
        }
    }

    /// The lines that are left, of which the first one may have been begun.
    #[must_use]
    pub const fn lines(&self) -> &'a [Slot] {
        self.lines
    }

    /// The records of a run that says of itself that it has `count`.
    #[inline(never)]
    fn take_packed(&mut self, count: usize) -> &'a [Record] {
        let bytes: &[u8] = &bytemuck::cast_slice(self.lines)[HEAD_BYTES..];
        let count = count.min(bytes.len() / RECORD_BYTES);
        self.lines = &self.lines[lines_of(count)..];
        wire::Batch::decode_prefix(&bytes[..count * RECORD_BYTES]).0
    }

    /// The slots of all records.
    pub fn slots(self) -> impl Iterator<Item = Slot> + use<'a> {
        self.flat_map(Run::slots)
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    // Returned through memory, a run of one record would wait for its parts as long as its record takes.
    #[inline(always)]
    fn next(&mut self) -> Option<Run<'a>> {
        let (head, behind) = self.lines.split_first()?;
        let records: &[Record] = match head.flags & BEHIND {
            0 => {
                self.lines = behind;
                bytemuck::cast_slice(std::slice::from_ref(&head.record))
            }
            behind => self.take_packed(usize::from(behind) + 1),
        };
        let run = Run {
            recv_ns: head.recv_ns,
            hint: head.hint,
            session: head.session,
            epoch: head.epoch,
            lag_ns: head.lag_ns,
            flags: head.flags & !BEHIND,
            records,
        };
        match std::mem::take(&mut self.taken) {
            0 => Some(run),
            taken => Some(run.behind(taken)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize) -> Vec<Record> {
        let bytes = |n: usize| std::array::from_fn(|at| (n * 7 + at) as u8);
        (0..count).map(|n| Record::from_bytes(bytes(n))).collect()
    }

    fn run(hint: u32, records: &[Record]) -> Run<'_> {
        Run { recv_ns: 9, hint, session: 3, epoch: 4, lag_ns: 5, flags: 0, records }
    }

    #[test]
    fn every_length_comes_out_of_its_lines_as_it_went_in() {
        for count in 1..=RUN_RECORDS_MAX {
            let records = records(count);
            let lines: Vec<Slot> = run(100, &records).lines();
            assert_eq!(lines.len(), lines_of(count));
            assert!(lines.len() <= count && records_in(lines.len()) >= count);
            let slots: Vec<Slot> = Runs::new(&lines).slots().collect();
            let expected: Vec<Slot> = (0..count).map(|at| run(100, &records).slot(at)).collect();
            assert_eq!(slots, expected);
            assert_eq!(slots.last().unwrap().hint, 99 + count as u32);
        }
        assert_eq!(lines_of(36), 23);
    }

    #[test]
    fn run_of_one_is_its_slot() {
        let records = records(1);
        let slot = run(7, &records).slot(0);
        assert_eq!(run(7, &records).lines(), [slot]);
    }

    #[test]
    fn records_without_a_hint_have_none_in_any_place() {
        let records = records(5);
        assert!(run(NO_HINT, &records).slots().all(|slot| slot.hint == NO_HINT));
        assert_eq!(run(NO_HINT, &records).behind(2).hint, NO_HINT);
    }

    #[test]
    fn runs_can_be_entered_at_any_record() {
        let all = records(20);
        let (first, second) = (run(0, &all[..7]), run(50, &all[7..]));
        let lines: Vec<Slot> = [first.lines(), second.lines()].concat();
        let slots: Vec<Slot> = Runs::new(&lines).slots().collect();
        for from in 0..=20 {
            for then in 0..=20 - from {
                let mut runs = Runs::new(&lines);
                runs.skip_records(from);
                runs.skip_records(then);
                assert_eq!(runs.slots().collect::<Vec<_>>(), slots[from + then..], "{from} {then}");
            }
        }
    }

    #[test]
    fn lines_that_claim_too_much_hold_what_is_there() {
        let records = records(1);
        let mut head = run(1, &records).slot(0);
        head.flags = 63;
        let lines = [head, Slot::zeroed()];
        assert_eq!(Runs::new(&lines).slots().count(), records_in(2));
        let mut runs = Runs::new(&lines);
        runs.skip_records(1_000);
        assert!(runs.is_empty());
    }
}
