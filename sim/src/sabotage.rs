//! Faults planted behind the twin's back, to see that the checks see them.

use netloop::Slot;
use twin::capture::{Mark, MarkKind};
use wire::{Record, Tier};

/// What is done to what a tick took, once, when there is something to do it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A record is lost between ring and world.
    Lose(Tier),
    /// A record is taken twice.
    Repeat(Tier),
    /// A bit of a value is turned.
    Turn(Tier),
    /// Two records of a chunk change places.
    Swap(Tier),
}

impl Sabotage {
    const fn tier(self) -> Tier {
        match self {
            Self::Lose(tier) | Self::Repeat(tier) | Self::Turn(tier) | Self::Swap(tier) => tier,
        }
    }

    /// Does it to these cells of a tick, if they hold what it needs; says whether they did.
    pub(crate) fn strike(self, cells: &mut Vec<Slot>) -> bool {
        let mut at = 0;
        while at < cells.len() {
            let mark = *Mark::of(&cells[at]);
            let (first, count) = (at + 1, mark.count as usize);
            at = first + count;
            let is_chunk = mark.kind() == Some(MarkKind::Chunk) && mark.tier() == Some(self.tier());
            // A command alone fills its chunk.
            if !is_chunk || (count < 2 && matches!(self, Self::Swap(_))) || cells[first].flags != 0
            {
                continue;
            }
            let chunk =
                |count: usize| Mark::new(MarkKind::Chunk, mark.sub, count as u32, mark.words);
            match self {
                Self::Lose(_) => {
                    cells.remove(first);
                    cells[first - 1] = chunk(count - 1).cell();
                }
                Self::Repeat(_) => {
                    cells.insert(first, cells[first]);
                    cells[first - 1] = chunk(count + 1).cell();
                }
                Self::Turn(_) => {
                    let record = Record::from_bytes(cells[at - 1].record);
                    let turned = f64::from_bits(record.value().to_bits() ^ 1 << 40);
                    cells[at - 1].record = *record.with_value(turned).as_bytes();
                }
                Self::Swap(_) => {
                    let same =
                        (first + 1..at).find(|other| key(&cells[*other]) == key(&cells[first]));
                    let Some(other) = same else { continue };
                    cells.swap(first, other);
                }
            }
            return true;
        }
        false
    }
}

fn key(slot: &Slot) -> [u8; 18] {
    *Record::from_bytes(slot.record).key()
}
