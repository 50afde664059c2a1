//! From cells to ticks: marks and what belongs to them, put together as they come, in pieces of any length.
//!
//! Whoever gives the cells has made sure that they are those that were written. Cells that make no sense are refused by
//! name; nothing that they say is used before all of it is there.

use std::ops::Range;

use netloop::{Run, Runs, SessionEvent, Slot};
use wire::Tier;

use super::cell::{Mark, MarkKind, decode_event, decode_order};
use super::state::State;
use crate::order::{Order, StopWord};

/// Cells of one tick, or one state, at most: more than any budget lets a tick take.
const TICK_CELLS_MAX: usize = 1 << 26;

/// One tick as it was captured.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Its number.
    pub tick: u64,
    /// When it began, in unix nanoseconds.
    pub began_ns: u64,
    /// Digest of the world after it.
    pub digest: u64,
    /// Commands that its rules had room for.
    pub room: usize,
    /// Steps of sessions, in order.
    pub events: &'a [SessionEvent],
    /// Orders of operators, and whether a full ring refused them.
    pub orders: &'a [(Order, bool)],
    /// A change of the stop of the plant: the word, and when it was asked for.
    pub stop: Option<(StopWord, u64)>,
    cells: &'a [Slot],
    chunks: &'a [(Tier, Range<usize>)],
}

impl Frame<'_> {
    /// The chunks of a tier, in the order in which the tick took them: lines of whole runs.
    pub fn chunks(&self, tier: Tier) -> impl Iterator<Item = &[Slot]> {
        let chunks = self.chunks.iter().filter(move |(of, _)| *of == tier);
        chunks.map(|(_, range)| &self.cells[range.clone()])
    }

    /// The records of a tier, in the order in which the tick took them.
    pub fn runs(&self, tier: Tier) -> impl Iterator<Item = Run<'_>> {
        self.chunks(tier).flat_map(Runs::new)
    }

    /// How many records the tick took from each tier, T1 first.
    #[must_use]
    pub fn records(&self) -> [u64; Tier::COUNT] {
        Tier::ALL.map(|tier| self.runs(tier).map(|run| run.records.len() as u64).sum())
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Step<'a> {
    /// A tick.
    Tick(Frame<'a>),
    /// The world as it stood after the tick before: where a replay can begin.
    State(State<'a>),
    /// Something is missing here.
    Gap {
        /// Cells that were shed.
        cells: u64,
        /// Ticks that were shed.
        ticks: u64,
    },
    /// Segments cannot be read here: the ticks that lay in them, or reached into them, are lost.
    Lost {
        /// Segments.
        segments: u64,
    },
    /// The orderly end.
    End {
        /// Hash of the world after the last tick.
        state_hash: u64,
        /// Ticks that were captured.
        ticks: u64,
    },
}

/// What is wrong with cells.
pub(super) type Form = &'static str;

/// A step whose cells are all there.
pub(super) enum Whole {
    Tick([u64; 7]),
    State(Mark, Range<usize>),
    Gap(u64, u64),
    End(u64, u64),
}

/// Cells that wait for the rest of their tick.
#[derive(Debug, Default)]
pub(super) struct Frames {
    cells: Vec<Slot>,
    /// Cells before it belong to ticks that were given out.
    done: usize,
    /// The mark that is read next.
    at: usize,
    events: Vec<SessionEvent>,
    orders: Vec<(Order, bool)>,
    stop: Option<(StopWord, u64)>,
    chunks: Vec<(Tier, Range<usize>)>,
}

impl Frames {
    /// Where further cells go: behind those that were not yet given out.
    pub(super) fn room(&mut self) -> &mut Vec<Slot> {
        self.cells.drain(..self.done);
        self.at -= self.done;
        for (_, range) in &mut self.chunks {
            *range = range.start - self.done..range.end - self.done;
        }
        self.done = 0;
        &mut self.cells
    }

    /// Forgets every cell before this one of [`Frames::room`]: a step begins there.
    pub(super) fn begin_at(&mut self, cell: usize) {
        (self.at, self.done) = (cell, cell);
        self.forget();
    }

    /// Cells that belong to no step yet.
    pub(super) const fn waiting(&self) -> usize {
        self.cells.len() - self.done
    }

    /// Reads marks until a step is whole; none where it takes more cells. What it gives goes into [`Frames::step`].
    pub(super) fn read(&mut self) -> Result<Option<Whole>, Form> {
        if self.done == self.at {
            self.forget();
        }
        while let Some(cell) = self.cells.get(self.at) {
            let mark = *Mark::of(cell);
            let cells = self.at + 1..self.at + 1 + mark.count as usize;
            if cells.end - self.done > TICK_CELLS_MAX {
                return Err("a tick beyond every budget");
            }
            if cells.end > self.cells.len() {
                break;
            }
            let whole = self.read_mark(&mark, cells.clone())?;
            self.at = cells.end;
            if whole.is_some() {
                self.done = self.at;
                return Ok(whole);
            }
        }
        Ok(None)
    }

    /// The step that was read last.
    pub(super) fn step(&self, whole: &Whole) -> Result<Step<'_>, Form> {
        Ok(match whole {
            Whole::Tick([tick, began_ns, digest, room, ..]) => Step::Tick(Frame {
                tick: *tick,
                began_ns: *began_ns,
                digest: *digest,
                room: usize::try_from(*room).unwrap_or(usize::MAX),
                events: &self.events,
                orders: &self.orders,
                stop: self.stop,
                cells: &self.cells,
                chunks: &self.chunks,
            }),
            Whole::State(mark, cells) => {
                let state = State::decode(mark, &self.cells[cells.clone()]);
                Step::State(state.ok_or("a state of another form")?)
            }
            &Whole::Gap(cells, ticks) => Step::Gap { cells, ticks },
            &Whole::End(state_hash, ticks) => Step::End { state_hash, ticks },
        })
    }

    /// Forgets what the tick that was given out last was made of.
    fn forget(&mut self) {
        self.events.clear();
        self.orders.clear();
        self.stop = None;
        self.chunks.clear();
    }

    fn read_mark(&mut self, mark: &Mark, cells: Range<usize>) -> Result<Option<Whole>, Form> {
        let kind = mark.kind().ok_or("an unknown mark")?;
        match kind {
            MarkKind::Chunk => {
                let tier = mark.tier().ok_or("a chunk of no tier")?;
                self.chunks.push((tier, cells));
            }
            MarkKind::Event => {
                let event = decode_event(mark, &self.cells[cells]);
                self.events.push(event.ok_or("an unknown event")?);
            }
            MarkKind::State if self.at == self.done => return Ok(Some(Whole::State(*mark, cells))),
            MarkKind::State => return Err("a state within a tick"),
            _ if mark.count != 0 => return Err("a mark with cells that it does not have"),
            MarkKind::Order => self.orders.push(decode_order(mark).ok_or("an unknown order")?),
            MarkKind::Stop => self.stop = Some((StopWord(mark.words[0]), mark.words[1])),
            MarkKind::Tick => return Ok(Some(Whole::Tick(mark.words))),
            MarkKind::Gap => return Ok(Some(Whole::Gap(mark.words[0], mark.words[1]))),
            MarkKind::End => return Ok(Some(Whole::End(mark.words[0], mark.words[1]))),
        }
        Ok(None)
    }
}
