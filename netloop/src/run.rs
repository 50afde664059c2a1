//! Runs: records of one session that came together, packed end to end into lines of a ring.
//!
//! ```text
//! bytes 0..24    what all of them share, and the hint of the first: see [`Slot`]
//! byte  24       how many records lie behind the first, whether their hints are listed, and the flags of T3
//! bytes 25..     the records, 39 bytes each, without a gap from line to line
//! then, if so    to the next multiple of 4, and the hints of the records behind the first, 4 bytes each
//! ```
//!
//! A run of one is a [`Slot`]. One of `n` takes `(25 + 39 n) / 64` lines, rounded up: never more than `n`, and 23 instead of 36
//! for a full datagram. What is written by one core and read by another is a line, so that fewer of them is what a batch costs
//! less. Where the numbers of its records in the session's key table follow one another, as those of a device that reports its
//! sensors in order do, the first one tells the others; a list of them is two lines more for a full datagram.
//!
//! Lines that claim more records than there are bytes, as those of a damaged file may, hold as many as there are bytes.

use bytemuck::Zeroable;
use wire::{RECORD_BYTES, Record};

use crate::slot::{BEHIND, LISTED};
use crate::{NO_HINT, Slot};

/// Records of a run, at most: what [`Slot::flags`] can tell of.
pub const RUN_RECORDS_MAX: usize = BEHIND as usize + 1;

/// Bytes of a line.
const LINE_BYTES: usize = size_of::<Slot>();
/// What comes before the first record.
const HEAD_BYTES: usize = LINE_BYTES - RECORD_BYTES;
/// Bytes of a hint, and what a list of them lies at a multiple of.
const HINT_BYTES: usize = size_of::<u32>();
/// Hints of a line.
const LINE_HINTS: usize = LINE_BYTES / HINT_BYTES;

/// Records of one session that share all but their bytes and their hints.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// As [`Slot::recv_ns`].
    pub recv_ns: u64,
    /// The first record's, as [`Slot::hint`].
    pub hint: u32,
    /// Those of the records behind the first; empty where they count up from it, or are [`NO_HINT`] as well.
    pub listed: &'a [u32],
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
        let hint = if count < self.records.len() { self.hint_of(count) } else { NO_HINT };
        let listed = self.listed.get(count..).unwrap_or_default();
        Self { hint, listed, records: &self.records[count..], ..*self }
    }

    /// The first `count` records of the run.
    #[inline]
    #[must_use]
    pub fn front(&self, count: usize) -> Self {
        let listed = &self.listed[..self.listed.len().min(count.saturating_sub(1))];
        Self { listed, records: &self.records[..count], ..*self }
    }

    /// The hint of a record.
    #[inline]
    fn hint_of(&self, at: usize) -> u32 {
        match (at.checked_sub(1), self.listed) {
            (Some(behind), [_, ..]) => self.listed[behind],
            _ if self.hint == NO_HINT => NO_HINT,
            _ => self.hint.wrapping_add(at as u32),
        }
    }

    /// The hints of its records.
    #[inline]
    pub fn hints(&self) -> impl Iterator<Item = u32> + use<'a> {
        let run = *self;
        (0..run.records.len()).map(move |at| run.hint_of(at))
    }

    /// The lines that it takes, at most as many as it has records.
    #[inline]
    #[must_use]
    pub const fn lines_len(&self) -> usize {
        lines_of(self.records.len(), !self.listed.is_empty())
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

    /// Its lines.
    #[must_use]
    pub fn lines(&self) -> Vec<Slot> {
        let mut lines = vec![Slot::zeroed(); self.lines_len()];
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

    /// Writes the run into lines of zeros, [`Run::lines_len`] of them; says how many it took.
    ///
    /// Records go from where they lie straight to where they stay. Put together elsewhere first, a line would be read back
    /// across the writes that made it, which has to wait until all writes before them have reached the cache.
    ///
    /// # Panics
    /// It has no record, or more than [`RUN_RECORDS_MAX`], or there are too few lines, or the list is not of all records behind
    /// the first.
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
        let mut last = Default::default();
        if !rest.is_empty() {
            last = bytemuck::bytes_of_mut(lines.next().expect(ENOUGH));
            last[..rest.len()].copy_from_slice(rest);
        }
        if !self.listed.is_empty() {
            assert_eq!(self.listed.len(), behind.len(), "each record has a hint");
            head.flags |= LISTED;
            let free = last.get_mut(rest.len().next_multiple_of(HINT_BYTES)..);
            write_hints(self.listed, free.unwrap_or_default(), lines);
        }
        self.lines_len()
    }
}

/// Writes hints into what is free of a line, and into those behind it.
fn write_hints<'l>(hints: &[u32], free: &mut [u8], lines: impl Iterator<Item = &'l mut Slot>) {
    let (first, rest) = hints.split_at(hints.len().min(free.len() / HINT_BYTES));
    free[..first.len() * HINT_BYTES].copy_from_slice(bytemuck::cast_slice(first));
    let mut lines = lines;
    for hints in rest.chunks(LINE_HINTS) {
        let line: &mut [u32; LINE_HINTS] = bytemuck::cast_mut(lines.next().expect(ENOUGH));
        line[..hints.len()].copy_from_slice(hints);
    }
}

const ENOUGH: &str = "there are lines because the caller has counted them";

/// Lines that a run of so many records takes, their hints `listed` or not.
#[inline]
#[must_use]
pub const fn lines_of(records: usize, listed: bool) -> usize {
    let bytes = HEAD_BYTES + records * RECORD_BYTES;
    let hints = if listed { records - 1 } else { 0 };
    (bytes.next_multiple_of(HINT_BYTES) + hints * HINT_BYTES).div_ceil(LINE_BYTES)
}

/// Records that a run surely has room for in so many lines, at least one.
#[inline]
pub(crate) const fn records_in(lines: usize, listed: bool) -> usize {
    let bytes = lines * LINE_BYTES - HEAD_BYTES;
    // What is lost before the list is less than a hint, and the first record has none.
    let records = bytes / if listed { RECORD_BYTES + HINT_BYTES } else { RECORD_BYTES };
    if records == 0 { 1 } else { records }
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
        self.lines = &self.lines[lines_of(count, false)..];
        wire::Batch::decode_prefix(&bytes[..count * RECORD_BYTES]).0
    }

    /// The same where their hints are listed, and the list.
    #[inline(never)]
    fn take_listed(&mut self, mut count: usize) -> (&'a [Record], &'a [u32]) {
        let lines = self.lines;
        if lines_of(count, true) > lines.len() {
            count = count.min(records_in(lines.len(), true));
        }
        self.lines = &lines[lines_of(count, true)..];
        let (bytes, hints): (&[u8], &[u32]) =
            (bytemuck::cast_slice(lines), bytemuck::cast_slice(lines));
        let end = HEAD_BYTES + count * RECORD_BYTES;
        let listed = &hints[end.div_ceil(HINT_BYTES)..][..count - 1];
        (wire::Batch::decode_prefix(&bytes[HEAD_BYTES..end]).0, listed)
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
        let count = usize::from(head.flags & BEHIND) + 1;
        let (records, listed): (&[Record], &[u32]) = if count == 1 {
            self.lines = behind;
            (bytemuck::cast_slice(std::slice::from_ref(&head.record)), &[])
        } else if head.flags & LISTED == 0 {
            (self.take_packed(count), &[])
        } else {
            self.take_listed(count)
        };
        let run = Run {
            recv_ns: head.recv_ns,
            hint: head.hint,
            listed,
            session: head.session,
            epoch: head.epoch,
            lag_ns: head.lag_ns,
            flags: if count == 1 { head.flags } else { 0 },
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
        Run { recv_ns: 9, hint, listed: &[], session: 3, epoch: 4, lag_ns: 5, flags: 0, records }
    }

    /// Hints of the records behind the first, in no order.
    const HINTS: [u32; RUN_RECORDS_MAX - 1] = {
        let mut hints = [NO_HINT; RUN_RECORDS_MAX - 1];
        let mut at = 1;
        while at < hints.len() {
            hints[at] = (at as u32).wrapping_mul(0x9e37_79b9) >> 8;
            at += 1;
        }
        hints
    };

    #[test]
    fn every_length_comes_out_of_its_lines_as_it_went_in() {
        for count in 1..=RUN_RECORDS_MAX {
            let records = records(count);
            for listed in [&[], &HINTS[..count - 1]] {
                let of_list = !listed.is_empty();
                let run = Run { listed, ..run(100, &records) };
                let lines: Vec<Slot> = run.lines();
                assert_eq!(lines.len(), lines_of(count, of_list));
                assert!(lines.len() <= count && records_in(lines.len(), false) >= count);
                assert!(lines_of(records_in(count, of_list), of_list) <= count);
                let slots: Vec<Slot> = Runs::new(&lines).slots().collect();
                let hint = |at: usize| match at.checked_sub(1) {
                    Some(behind) if of_list => HINTS[behind],
                    _ => 100 + at as u32,
                };
                let slot = |at: usize| Slot { hint: hint(at), ..run.slot(at) };
                assert_eq!(slots, (0..count).map(slot).collect::<Vec<_>>());
                assert_eq!(Runs::new(&lines).next().unwrap().flags, 0);
            }
        }
        assert_eq!((lines_of(36, false), lines_of(36, true)), (23, 25));
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
        let (first, second) = (run(0, &all[..7]), run(50, &all[7..12]));
        let third = Run { listed: &HINTS[..7], ..run(70, &all[12..]) };
        let lines: Vec<Slot> = [first.lines(), second.lines(), third.lines()].concat();
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
    fn front_of_a_list_keeps_the_hints_of_its_records() {
        let records = records(9);
        let run = Run { listed: &HINTS[..8], ..run(100, &records) };
        let hints: Vec<u32> = run.hints().collect();
        for at in 0..9 {
            assert_eq!(run.front(at).hints().collect::<Vec<_>>(), hints[..at]);
            assert_eq!(run.behind(at).hints().collect::<Vec<_>>(), hints[at..]);
        }
        assert!(run.behind(9).records.is_empty());
    }

    #[test]
    fn ack_is_not_read_as_a_list() {
        let records = records(2);
        let mut ack = run(1, &records[..1]).slot(0);
        ack.flags = crate::slot::ACK;
        let lines = [ack, run(2, &records[1..]).slot(0)];
        assert_eq!(Runs::new(&lines).slots().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn lines_that_claim_too_much_hold_what_is_there() {
        let records = records(1);
        let mut head = run(1, &records).slot(0);
        for listed in [false, true] {
            head.flags = BEHIND | if listed { LISTED } else { 0 };
            for count in 1..70 {
                let mut lines = vec![Slot::zeroed(); count];
                lines[0] = head;
                let held = records_in(count, listed).min(RUN_RECORDS_MAX);
                assert_eq!(Runs::new(&lines).next().unwrap().records.len(), held, "{count}");
                let mut runs = Runs::new(&lines);
                runs.skip_records(1_000);
                assert!(runs.is_empty());
            }
        }
    }
}
