//! A state of the world in a capture: where the replay of a file can begin whose own beginning is gone.
//!
//! It is a mark and three parts behind it, each with zeros to whole cells: what of the plant is not a row, as JSON; the
//! slots that fault injection held back; and the rows, as [`ecs::Snapshot`] has them.

use netloop::Slot;

use super::cell::{Mark, MarkKind};
use crate::world::Saved;

/// The form of the parts.
const FORM: u8 = 1;

/// A state in a capture.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// The tick after which it held.
    pub tick: u64,
    /// What it is made of.
    pub saved: Saved<'a>,
}

impl<'a> State<'a> {
    /// The mark of a state.
    pub(super) fn mark(&self) -> Mark {
        let Saved { plant, held, rows } = self.saved;
        let parts = [plant.len(), size_of_val(held), rows.len()];
        let cells: usize = parts.iter().map(|bytes| bytes.div_ceil(CELL_BYTES)).sum();
        let [plant, held, rows] = parts.map(|bytes| bytes as u64);
        Mark::new(MarkKind::State, FORM, cells as u32, [self.tick, plant, held, rows, 0, 0, 0])
    }

    /// Its parts, in the order in which they lie in the file.
    pub(super) fn parts(&self) -> [&'a [u8]; 3] {
        let Saved { plant, held, rows } = self.saved;
        [plant, bytemuck::cast_slice(held), rows]
    }

    /// The state of a mark and the cells that belong to it; none if they are no state of this form.
    pub(super) fn decode(mark: &Mark, cells: &'a [Slot]) -> Option<Self> {
        let [tick, plant, held, rows, ..] = mark.words;
        let (plant_cells, cells) = split(cells, plant)?;
        let (held_cells, cells) = split(cells, held)?;
        let (rows_cells, rest) = split(cells, rows)?;
        let is_whole = mark.sub == FORM && rest.is_empty() && held % CELL_BYTES as u64 == 0;
        let bytes = |cells: &'a [Slot], bytes: u64| &bytemuck::cast_slice(cells)[..bytes as usize];
        let saved = Saved {
            plant: bytes(plant_cells, plant),
            held: held_cells,
            rows: bytes(rows_cells, rows),
        };
        is_whole.then_some(Self { tick, saved })
    }
}

const CELL_BYTES: usize = size_of::<Slot>();

/// The cells that hold so many bytes, and those behind them.
fn split(cells: &[Slot], bytes: u64) -> Option<(&[Slot], &[Slot])> {
    cells.split_at_checked(usize::try_from(bytes).ok()?.div_ceil(CELL_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_from_its_mark_and_cells() {
        let held = [Slot::new([7; 39]); 3];
        for (plant, rows) in [(0, 0), (1, 64), (63, 65), (64, 1000)] {
            let (plant, rows) = (vec![b'p'; plant], vec![b'r'; rows]);
            let state = State { tick: 9, saved: Saved { plant: &plant, held: &held, rows: &rows } };
            let mark = state.mark();
            let mut cells = Vec::new();
            for part in state.parts() {
                for bytes in part.chunks(CELL_BYTES) {
                    let mut cell = [0; CELL_BYTES];
                    cell[..bytes.len()].copy_from_slice(bytes);
                    cells.push(bytemuck::must_cast(cell));
                }
            }
            assert_eq!(mark.count as usize, cells.len());
            let back = State::decode(&mark, &cells).unwrap();
            assert_eq!((back.tick, back.parts()), (9, state.parts()));
            assert!(State::decode(&mark, &cells[1..]).is_none(), "a cell is missing");
            cells.push(held[0]);
            assert!(State::decode(&mark, &cells).is_none(), "a cell too many");
        }
    }
}
