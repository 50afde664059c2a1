//! The hot end of a capture: copies what a tick takes into a ring, and never waits, allocates or blocks.
//!
//! A tick is captured whole or not at all. When the ring is full the rest of the tick is shed, and so is what follows until
//! half of the ring is free again; a mark then says how much is missing.

use std::sync::Arc;

use netloop::{Consumer, Producer, SessionEvent, Slot, ring};
use wire::Tier;

use super::cell::{EVENT_CELLS_MAX, Mark, MarkKind, encode_event, encode_order};
use crate::order::{Order, StopWord};
use crate::stats::TwinStats;

/// The end that the tick thread holds.
pub struct Tap {
    ring: Producer<Slot>,
    stats: Arc<TwinStats>,
    /// Ticks captured so far.
    ticks: u64,
    gap: Option<Gap>,
}

/// What is missing since the last tick that was captured.
#[derive(Debug, Clone, Copy, Default)]
struct Gap {
    cells: u64,
    ticks: u64,
}

/// Cells of the end: what is missing, and the mark.
const END_CELLS: usize = 2;

/// A tap and the ring of `capacity_cells` that it fills. The memory is written once here, so that no tick waits for a page.
#[must_use]
pub fn tap(capacity_cells: usize, stats: Arc<TwinStats>) -> (Tap, Consumer<Slot>) {
    let (mut producer, mut consumer) = ring(capacity_cells);
    let empty = Mark::new(MarkKind::Gap, 0, 0, [0; 7]).cell();
    producer.push_iter(capacity_cells, std::iter::repeat_n(empty, capacity_cells));
    consumer.pop_chunk(capacity_cells, |_, _| {});
    (Tap { ring: producer, stats, ticks: 0, gap: None }, consumer)
}

impl Tap {
    /// Takes a step of a session's life.
    pub fn push_event(&mut self, event: &SessionEvent) {
        let mut cells = [Slot::new([0; wire::RECORD_BYTES]); EVENT_CELLS_MAX];
        let count = encode_event(event, &mut cells);
        self.push(None, &cells[..count]);
    }

    /// Takes an order of an operator, and whether a full ring refused it.
    pub fn push_order(&mut self, order: &Order, was_busy: bool) {
        self.push(None, &[encode_order(order, was_busy).cell()]);
    }

    /// Takes a change of the stop of the plant, asked for at `asked_ns` since the Unix epoch.
    pub fn push_stop(&mut self, word: StopWord, asked_ns: u64) {
        let words = [word.0, asked_ns, 0, 0, 0, 0, 0];
        self.push(None, &[Mark::new(MarkKind::Stop, 0, 0, words).cell()]);
    }

    /// Takes the lines of whole runs that a tick took from a ring at once.
    pub fn push_chunk(&mut self, tier: Tier, lines: &[Slot]) {
        if !lines.is_empty() {
            let mark =
                Mark::new(MarkKind::Chunk, tier.index() as u8, lines.len() as u32, [0; 7]).cell();
            self.push(Some(mark), lines);
        }
    }

    /// Ends a tick: its number, the moment at which it began in unix nanoseconds, the digest of the world after it, and the
    /// commands that its rules had room for.
    pub fn end_tick(&mut self, tick: u64, began_ns: u64, digest: u64, room: u64) {
        let mark = Mark::new(MarkKind::Tick, 0, 0, [tick, began_ns, digest, room, 0, 0, 0]);
        self.push(None, &[mark.cell()]);
        match &mut self.gap {
            None => {
                self.ticks += 1;
                self.stats.capture.ticks.add(1);
            }
            Some(gap) => {
                gap.ticks += 1;
                self.stats.capture.shed_ticks.add(1);
                self.close_gap(self.ring.capacity() / 2);
            }
        }
    }

    /// Whether the end has room. Where it has none, it is shed as well, and what is missing before it is not told either.
    #[must_use]
    pub fn can_finish(&self) -> bool {
        self.ring.free() >= END_CELLS
    }

    /// Ends the capture with the hash of the world as it stands.
    pub fn finish(mut self, state_hash: u64) {
        self.close_gap(END_CELLS);
        let mark = Mark::new(MarkKind::End, 0, 0, [state_hash, self.ticks, 0, 0, 0, 0, 0]);
        self.push(None, &[mark.cell()]);
    }

    fn push(&mut self, mark: Option<Slot>, cells: &[Slot]) {
        let needed = cells.len() + usize::from(mark.is_some());
        if let Some(gap) = &mut self.gap {
            gap.cells += needed as u64;
            return;
        }
        if self.ring.free() < needed {
            self.gap = Some(Gap { cells: needed as u64, ticks: 0 });
            return;
        }
        if let Some(mark) = mark {
            self.ring.push_slice(&[mark]);
        }
        self.ring.push_slice(cells);
    }

    /// Says what is missing and goes on, once so many cells are free.
    fn close_gap(&mut self, free: usize) {
        if self.gap.is_some() && self.ring.free() >= free {
            let Gap { cells, ticks } = self.gap.take().unwrap_or_default();
            self.push(
                None,
                &[Mark::new(MarkKind::Gap, 0, 0, [cells, ticks, 0, 0, 0, 0, 0]).cell()],
            );
        }
    }
}
