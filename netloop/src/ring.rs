//! A single-producer single-consumer ring of plain values.
//!
//! One allocation, made in [`ring()`]. Pushing and popping never block, never allocate and never overwrite: a full ring
//! gives the value back, and the caller decides what to shed. Each end is owned by one thread; a [`Gauge`] lets any
//! third thread read the depth. Values move in chunks, because one publication per chunk is one cache-line transfer
//! per chunk. A ring of lines carries runs of records, which may be more than it has lines; what it counts is records. The
//! ring refuses to grow and to be shared by two producers or two consumers.

#![allow(unsafe_code, reason = "lines are written where they stay; the proof stands beside it")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Zeroable;
use rtrb::RingBuffer;

use crate::Slot;
use crate::prefetch::prefetch_write;
use crate::run::{Run, lines_of, records_in};

/// Makes a ring of `capacity` slots and returns its two ends.
///
/// # Panics
///
/// When `capacity` is zero: such a ring could never carry anything.
#[must_use]
pub fn ring<T: Copy>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring needs at least one slot");
    let (producer, consumer) = RingBuffer::new(capacity);
    let depth = Arc::new(Depth::default());
    let gauge = Gauge { depth, capacity };
    (
        Producer { slots: producer, pushed: 0, gauge: gauge.clone() },
        Consumer { slots: consumer, popped: 0, gauge },
    )
}

/// The end that pushes. It may move to another thread, and is used by one thread at a time.
#[derive(Debug)]
pub struct Producer<T> {
    slots: rtrb::Producer<T>,
    pushed: u64,
    gauge: Gauge,
}

impl<T: Copy> Producer<T> {
    /// Pushes one value.
    ///
    /// # Errors
    ///
    /// A full ring returns the value.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        match self.slots.push(value) {
            Ok(()) => {
                self.publish(1);
                Ok(())
            }
            Err(rtrb::PushError::Full(value)) => Err(value),
        }
    }

    /// Pushes the longest prefix of `values` that fits, as one publication, and returns its length.
    #[inline]
    pub fn push_slice(&mut self, values: &[T]) -> usize {
        let (pushed, _) = self.slots.push_partial_slice(values);
        let pushed = pushed.len();
        self.publish(pushed);
        pushed
    }

    /// Pushes up to `count` values of `values` as one publication, and returns how many went in.
    ///
    /// The iterator is advanced only for values that fit, so that what it still holds is what was not pushed.
    #[inline]
    pub fn push_iter(&mut self, count: usize, values: impl IntoIterator<Item = T>) -> usize {
        let fitting = self.fitting(count);
        let reach = (2 * fitting).min(self.slots.cached_slots());
        let Ok(mut chunk) = self.slots.write_chunk_uninit(reach) else { return 0 };
        fetch(chunk.as_mut_slices(), fitting..reach);
        let pushed = chunk.fill_from_iter(values.into_iter().take(fitting));
        self.publish(pushed);
        pushed
    }

    /// Slots that are free now. Reads the consumer's position, which costs a cache-line transfer under load.
    #[inline]
    #[must_use]
    pub fn free(&self) -> usize {
        self.slots.slots()
    }

    /// Slots of the ring.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.gauge.capacity
    }

    /// Values in the ring, as this end sees it: never less than what is really there.
    #[inline]
    #[must_use]
    pub fn depth(&self) -> usize {
        (self.pushed - self.gauge.depth.popped.0.load(Ordering::Acquire)) as usize
    }

    /// A handle through which any thread reads the depth.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    /// How many of `count` values fit now. The consumer's position is looked at only when the one seen last does not suffice.
    #[inline]
    #[must_use]
    pub fn fitting(&self, count: usize) -> usize {
        if self.slots.cached_slots() >= count { count } else { self.slots.slots().min(count) }
    }

    #[inline]
    fn publish(&mut self, pushed: usize) {
        self.pushed += pushed as u64;
        // Release: whoever counts a value by this finds it in the ring.
        self.gauge.depth.pushed.0.store(self.pushed, Ordering::Release);
    }
}

impl Producer<Slot> {
    /// Pushes the records of a run from its first on, as far as there are free lines for them, and returns how many. There is
    /// room for as many records as lines are free, and often for more.
    #[inline]
    pub fn push_run(&mut self, run: &Run<'_>) -> usize {
        let mut rest = *run;
        while !rest.records.is_empty() {
            let pushed = self.push_front(&rest);
            if pushed == 0 {
                break;
            }
            rest = rest.behind(pushed);
        }
        run.records.len() - rest.records.len()
    }

    /// Pushes what of a run has room before the end of the memory: no run lies on both sides of it.
    #[inline]
    fn push_front(&mut self, run: &Run<'_>) -> usize {
        if let [_] = run.records {
            return self.push_one(run);
        }
        let wish = run.lines_len();
        let fitting = self.fitting(wish);
        let reach = (fitting + wish.max(AHEAD_LINES)).min(self.slots.cached_slots());
        let Ok(mut chunk) = self.slots.write_chunk_uninit(reach) else { return 0 };
        let (free, _) = chunk.as_mut_slices();
        let lines = free.len().min(fitting);
        if lines == 0 {
            return 0;
        }
        let front = match lines {
            part if part < wish => run.front(records_in(part, !run.listed.is_empty())),
            _ => *run,
        };
        let written = front.write(free.iter_mut().map(|line| line.write(Slot::zeroed())));
        fetch(chunk.as_mut_slices(), fitting.max(reach.saturating_sub(wish))..reach);
        // SAFETY: the lines in front of this number were just written, one by one.
        unsafe { chunk.commit(written) };
        self.publish(front.records.len());
        front.records.len()
    }

    /// The same of a run of one record, as every run is of frames that carry one each.
    #[inline]
    fn push_one(&mut self, run: &Run<'_>) -> usize {
        let reach = (self.fitting(1) + AHEAD_LINES).min(self.slots.cached_slots());
        let Ok(mut chunk) = self.slots.write_chunk_uninit(reach) else { return 0 };
        let (first, second) = chunk.as_mut_slices();
        if first.is_empty() {
            return 0;
        }
        run.write_first(first[0].write(Slot::zeroed()));
        match reach.checked_sub(1 + first.len()) {
            None => prefetch_write(first, reach - 1),
            Some(at) => prefetch_write(second, at),
        }
        // SAFETY: there is a first line, and it was just written.
        unsafe { chunk.commit(1) };
        self.publish(1);
        1
    }
}

/// How far ahead of where they are written at least lines are asked for: as many as a full datagram takes.
const AHEAD_LINES: usize = lines_of(36, true);

/// Asks for these of a chunk's lines: what is free lies in the consumer's cache, and asked for one push ahead, it is here when it
/// is written.
#[inline]
fn fetch<T>((first, second): (&mut [T], &mut [T]), ahead: Range<usize>) {
    let end = first.len();
    (ahead.start..ahead.end.min(end)).for_each(|at| prefetch_write(first, at));
    (ahead.start.max(end)..ahead.end).for_each(|at| prefetch_write(second, at - end));
}

/// The end that pops. It may move to another thread, and is used by one thread at a time.
#[derive(Debug)]
pub struct Consumer<T> {
    slots: rtrb::Consumer<T>,
    popped: u64,
    gauge: Gauge,
}

impl<T: Copy> Consumer<T> {
    /// True when the other end is gone: what is in the ring now is all that ever comes.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.slots.is_abandoned()
    }

    /// Pops the oldest value, or nothing from an empty ring.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let value = self.slots.pop().ok()?;
        self.publish(1);
        Some(value)
    }

    /// Shows up to `max` of the oldest values to `view` where they lie, then releases them; returns how many.
    ///
    /// The second slice is empty unless the values wrap around the end of the ring. An empty ring (or `max` zero)
    /// returns 0 without calling `view`. If `view` panics, the values stay in the ring.
    #[inline]
    pub fn pop_chunk(&mut self, max: usize, view: impl FnOnce(&[T], &[T])) -> usize {
        let ready =
            if self.slots.cached_slots() >= max { max } else { self.slots.slots().min(max) };
        if ready == 0 {
            return 0;
        }
        let Ok(chunk) = self.slots.read_chunk(ready) else { return 0 };
        let (first, second) = chunk.as_slices();
        view(first, second);
        chunk.commit_all();
        self.publish(ready);
        ready
    }

    /// Values in the ring, as this end sees it: never more than what is really there.
    #[inline]
    #[must_use]
    pub fn depth(&self) -> usize {
        self.gauge.depth.pushed.0.load(Ordering::Acquire).saturating_sub(self.popped) as usize
    }

    /// Slots in use, as this end sees them: never more than really are. Records of a run share them. Reads the producer's
    /// position, which costs a cache-line transfer under load.
    #[inline]
    #[must_use]
    pub fn used(&self) -> usize {
        self.slots.slots()
    }

    /// Slots of the ring.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.gauge.capacity
    }

    /// A handle through which any thread reads the depth.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    #[inline]
    fn publish(&mut self, popped: usize) {
        self.popped += popped as u64;
        // Release, for the reason given at the producer's counter.
        self.gauge.depth.popped.0.store(self.popped, Ordering::Release);
    }
}

impl Consumer<Slot> {
    /// Shows the oldest lines to `view`, whole runs as far as they lie in one piece, and releases as many from the first on as
    /// it says it has taken, in lines and in records. Returns the records; an empty ring returns 0 without calling `view`. If
    /// `view` panics, all stay in the ring.
    #[inline]
    pub fn pop_runs(&mut self, view: impl FnOnce(&[Slot]) -> (usize, usize)) -> usize {
        let Ok(chunk) = self.slots.read_chunk(self.slots.slots()) else { return 0 };
        let (lines, _) = chunk.as_slices();
        if lines.is_empty() {
            return 0;
        }
        let (lines, records) = view(lines);
        chunk.commit(lines);
        self.publish(records);
        records
    }
}

/// Reads the depth of a ring from any thread, without touching the positions that the two ends synchronise on.
#[derive(Clone, Debug)]
pub struct Gauge {
    depth: Arc<Depth>,
    capacity: usize,
}

impl Gauge {
    /// Values in the ring, exact when both ends rest; while they move, off by at most what moved meanwhile.
    #[must_use]
    pub fn depth(&self) -> usize {
        // Popped first: read the other way round, values popped in between would make the difference negative.
        let popped = self.depth.popped.0.load(Ordering::Acquire);
        let pushed = self.depth.pushed.0.load(Ordering::Relaxed);
        pushed.saturating_sub(popped) as usize
    }

    /// Values pushed since the ring was made.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.depth.pushed.0.load(Ordering::Relaxed)
    }

    /// Slots of the ring.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

/// What each end has moved so far; a line for each, so that the two ends never write into the same one.
#[derive(Debug, Default)]
struct Depth {
    pushed: Line,
    popped: Line,
}

/// 128 bytes: x86 fetches lines in pairs, and some arm64 cores have lines of that size.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);
