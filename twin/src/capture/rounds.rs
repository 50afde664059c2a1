//! What goes into a file that is written round: the cells as they come, and states of the world between them.
//!
//! A state takes longer to write than the ring lasts, so the ring is emptied into memory meanwhile. Whatever keeps the
//! follower from going on costs the states and never the cells: it is said once, and what follows can only be read.

use netloop::{Consumer, Slot};

use super::file::SEGMENT_CELLS_MAX;
use super::follower::{Follower, Kept};
use super::writer::Output;

/// The follower, and the cells that are on their way past it.
pub(super) struct Rounds {
    /// None once it follows no further.
    follower: Option<Follower>,
    /// Cells that came while a state was written.
    waiting: Vec<Slot>,
    /// Those of one segment.
    cells: Vec<Slot>,
}

impl Rounds {
    pub(super) fn new(follower: Follower) -> Self {
        Self { follower: Some(follower), waiting: Vec::new(), cells: Vec::new() }
    }

    /// Takes the cells of the next segment from the ring to the file, and gives how many they are.
    pub(super) fn pop(&mut self, ring: &mut Consumer<Slot>, output: &mut Output) -> usize {
        let cells_max = output.cells_max();
        let mut cells = std::mem::take(&mut self.cells);
        cells.clear();
        cells.extend(self.waiting.drain(..cells_max.min(self.waiting.len())));
        ring.pop_chunk(cells_max - cells.len(), |front, back| {
            cells.extend_from_slice(front);
            cells.extend_from_slice(back);
        });
        let mut rest = &cells[..];
        if let Some(tick_end) = self.follow(&cells, output) {
            output.push(&cells[..tick_end], &[]);
            self.write_state(ring, output);
            rest = &cells[tick_end..];
        }
        if !rest.is_empty() {
            output.push(rest, &[]);
        }
        let taken = cells.len();
        self.cells = cells;
        taken
    }

    /// Lets the follower see the cells. Gives the end of a tick among them behind which a state is due.
    fn follow(&mut self, cells: &[Slot], output: &Output) -> Option<usize> {
        match self.follower.as_mut()?.push(cells) {
            Ok(tick_end) => tick_end.filter(|_| output.wants_state()),
            Err(reason) => {
                self.end(output, &reason.to_string());
                None
            }
        }
    }

    fn write_state(&mut self, ring: &mut Consumer<Slot>, output: &mut Output) {
        let Self { follower, waiting, .. } = self;
        let Some(follower) = follower else { return };
        let kept = follower.save(|| empty(ring, waiting));
        let bytes = kept.bytes();
        if bytes > output.state_bytes_max() {
            let enough = output.bytes_max_for(bytes);
            return self.end(output, &format!("a state of the world takes {bytes} bytes, so that capture.max_bytes would have to be {enough} or more"));
        }
        write(&kept, output, || empty(ring, waiting));
        if output.has_ended() {
            // Nothing comes into the file any more, so nobody asks for a state.
            self.follower = None;
        } else {
            output.note_state();
        }
    }

    /// Follows no further, and says so.
    fn end(&mut self, output: &Output, reason: &str) {
        self.follower = None;
        let path = output.path().display();
        tracing::warn!(%path, %reason, "no more states of the world go into the capture: once those in the file are written over, it can be read and not replayed");
    }
}

/// Takes what waits in the ring, so that nothing is shed while a state is written.
fn empty(ring: &mut Consumer<Slot>, waiting: &mut Vec<Slot>) {
    ring.pop_chunk(SEGMENT_CELLS_MAX, |front, back| {
        waiting.extend_from_slice(front);
        waiting.extend_from_slice(back);
    });
}

/// Writes a state, a segment at a time.
fn write(kept: &Kept<'_>, output: &mut Output, mut between: impl FnMut()) {
    let state = kept.state();
    let mut cells = vec![state.mark().cell()];
    for part in state.parts() {
        for bytes in part.chunks(size_of::<Slot>()) {
            if cells.len() >= output.cells_max() {
                output.push(&cells, &[]);
                cells.clear();
                between();
            }
            let mut cell = [0; size_of::<Slot>()];
            cell[..bytes.len()].copy_from_slice(bytes);
            cells.push(bytemuck::must_cast(cell));
        }
    }
    output.push(&cells, &[]);
}
