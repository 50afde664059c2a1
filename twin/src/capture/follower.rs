//! A second world beside a capture that is written round: it follows the captured ticks, and its states go into the file.
//!
//! So a file whose beginning is gone can be replayed from its first state on, and the tick thread pays nothing for it. The
//! price is paid on the capture's thread: the memory of a world, and a replay's time for each record. Every tick is
//! compared by its digest on the way, so that no state is written of which a replay would not come to the same end.

use ecs::{Progress, Snapshot};
use netloop::Slot;
use thiserror::Error;

use super::file::Header;
use super::frames::{Form, Frames, Step};
use super::replay::{Difference, Replay, ReplayError};
use super::state::State;
use crate::world::Saved;

/// Bytes of rows that are copied at once: about 100 us.
const SLICE_BYTES: usize = 1 << 20;

/// Why it follows no further.
#[derive(Debug, Error)]
pub(super) enum Strayed {
    #[error("the capture has shed ticks")]
    Gap,
    #[error("tick {} comes to another end in a replay", .0.tick)]
    Differs(Difference),
    #[error("the capture holds {0}")]
    Form(Form),
}

/// The world that follows.
pub(super) struct Follower {
    frames: Frames,
    replay: Replay,
    rows: Snapshot,
    tick: u64,
}

/// The state of a follower, with what it is made of.
pub(super) struct Kept<'a> {
    tick: u64,
    plant: Vec<u8>,
    held: Vec<Slot>,
    rows: &'a [u8],
}

impl Follower {
    /// An empty world of the options that a capture is made with.
    pub(super) fn new(header: &Header) -> Result<Self, ReplayError> {
        Ok(Self {
            frames: Frames::default(),
            replay: Replay::new(header)?,
            rows: Snapshot::default(),
            tick: 0,
        })
    }

    /// Follows the cells that come next. Gives how many of them lie before the end of a tick behind which no other one is
    /// whole: there a state of the world can be put. None where no tick ends among them.
    pub(super) fn push(&mut self, cells: &[Slot]) -> Result<Option<usize>, Strayed> {
        self.frames.room().extend_from_slice(cells);
        while let Some(whole) = self.frames.read().map_err(Strayed::Form)? {
            match self.frames.step(&whole).map_err(Strayed::Form)? {
                Step::Tick(frame) => {
                    self.tick = frame.tick;
                    if let Some(difference) = self.replay.apply(&frame) {
                        return Err(Strayed::Differs(difference));
                    }
                }
                Step::Gap { .. } => return Err(Strayed::Gap),
                Step::State(_) | Step::Lost { .. } | Step::End { .. } => {}
            }
        }
        Ok(cells.len().checked_sub(self.frames.waiting()).filter(|whole| *whole > 0))
    }

    /// The world after the last whole tick. `between` is called while rows are copied, every 100 us or so.
    pub(super) fn save(&mut self, mut between: impl FnMut()) -> Kept<'_> {
        let world = self.replay.world();
        while world.save_rows(&mut self.rows, SLICE_BYTES) == Progress::Working {
            between();
        }
        let (plant, held) = world.save_plant();
        let rows = self.rows.bytes().expect("a snapshot that is done has its bytes");
        Kept { tick: self.tick, plant, held, rows }
    }
}

impl Kept<'_> {
    /// Bytes that it takes in a file, about.
    pub(super) fn bytes(&self) -> u64 {
        self.state().parts().iter().map(|part| part.len() as u64).sum()
    }

    /// As it goes into the file.
    pub(super) fn state(&self) -> State<'_> {
        let Self { tick, plant, held, rows } = self;
        State { tick: *tick, saved: Saved { plant, held, rows } }
    }
}
