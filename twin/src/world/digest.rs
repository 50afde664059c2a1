//! One number for each tick of a capture, by which a replay is compared: cheap enough for the tick thread.
//!
//! It chains what the world has counted and the bytes of a few rows, others in each tick. A record that comes to another
//! end shows in its own tick; a row that holds other bytes shows when its turn comes, which is at the latest after
//! entities / 32 ticks, and in the hash of the whole world at the end.

use ecs::{Archetype, Fold};
use serde::{Deserialize, Serialize};

/// Rows whose bytes go into a tick's digest: 5 KB.
const ROWS: usize = 32;

/// The digest of the tick before, and the row that comes next.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Digest {
    value: u64,
    archetype: usize,
    row: usize,
}

impl Digest {
    /// Whether the row that comes next lies within these tables, or right behind them, where one that was written stands.
    pub(super) fn fits(&self, archetypes: &[Archetype]) -> bool {
        let end = archetypes.get(self.archetype).map_or(0, Archetype::len);
        self.archetype <= archetypes.len() && self.row <= end
    }

    /// The digest after one more tick, with these counts.
    pub(super) fn step(&mut self, ecs: &ecs::World, counts: impl IntoIterator<Item = u64>) -> u64 {
        let mut fold = Fold::new();
        fold.write_u64(self.value);
        counts.into_iter().for_each(|count| fold.write_u64(count));
        let archetypes = ecs.archetypes();
        let mut room = ROWS;
        for _ in 0..=archetypes.len() {
            let Some(archetype) = archetypes.get(self.archetype) else {
                (self.archetype, self.row) = (0, 0);
                continue;
            };
            let end = archetype.len().min(self.row + room);
            for column in archetype.columns() {
                let width = column.row_bytes();
                fold.write(&column.bytes()[self.row * width..end * width]);
            }
            room -= end - self.row;
            self.row = end;
            if room == 0 {
                break;
            }
            (self.archetype, self.row) = (self.archetype + 1, 0);
        }
        self.value = fold.finish();
        self.value
    }
}
