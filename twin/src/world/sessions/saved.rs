//! The table of sessions in the state of a world: every session with what it knows, its rows by hint included.
//!
//! The rows by hint are no mere cache: a record that finds its row through them leaves the way back to its device as it is,
//! and one that has to look it up by name does not. So a world without them would soon be another one.

use netloop::{SessionId, TierTally};
use serde::{Deserialize, Serialize};
use wire::{DeviceId, Tier, Totals};

use super::{Closed, Losses, Place, Sessions};
use crate::world::row::RowRef;

/// All sessions, saved.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::world) struct SavedSessions {
    places: Vec<SavedPlace>,
    settled: Losses,
    stray_missing: [i64; Tier::COUNT],
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedPlace {
    session: u32,
    capabilities: u32,
    boot: Option<([u8; 16], u32)>,
    /// Rows by hint, as bits.
    rows: Vec<u32>,
    missing: [i64; Tier::COUNT],
    closed: Option<SavedClosed>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct SavedClosed {
    /// By tier: received, rejected, forbidden, shed and undecodable.
    tally: [[u64; 5]; Tier::COUNT],
    /// What the session said that it offered.
    offered: Option<[u64; Tier::COUNT]>,
}

impl Sessions {
    pub(in crate::world) fn save(&self) -> SavedSessions {
        let places = self.places[..self.used].iter();
        let save = |place: &Place| {
            place.session.map(|session| place.save(session, place.structure == self.structure))
        };
        SavedSessions {
            places: places.filter_map(save).collect(),
            settled: self.settled,
            stray_missing: self.stray_missing,
        }
    }

    /// Takes the place of what was saved; the table is to be fresh. False where a session stands in no place of its own, or a
    /// row is none that `exists`. It may be that of an actuator, whose name a device has used for a sensor.
    pub(in crate::world) fn restore(
        &mut self,
        saved: &SavedSessions,
        exists: impl Fn(RowRef) -> bool,
    ) -> bool {
        (self.settled, self.stray_missing) = (saved.settled, saved.stray_missing);
        saved.places.iter().all(|of| {
            let session = SessionId(of.session);
            let at = session.place();
            if at >= self.places.len() {
                self.places.resize_with(at + 1, Place::default);
            }
            let free = self.places[at].session.is_none();
            let place = Place::restore(of, self.structure);
            let known = |row: &RowRef| *row == RowRef::NONE || exists(*row);
            let good = free && place.rows.iter().all(known);
            let (is_open, boot) = (place.closed.is_none(), place.boot);
            self.places[at] = place;
            self.used = self.used.max(at + 1);
            self.open += usize::from(is_open);
            if let Some(boot) = boot {
                self.enter(boot, session);
            }
            good
        })
    }
}

impl Place {
    fn save(&self, session: SessionId, is_current: bool) -> SavedPlace {
        let closed = self.closed.map(|Closed { tally, totals }| SavedClosed {
            tally: bytemuck::must_cast(tally),
            offered: totals.map(|totals| totals.offered),
        });
        let rows = if is_current { &self.rows[..] } else { &[] };
        SavedPlace {
            session: session.0,
            capabilities: self.capabilities,
            boot: self.boot.map(|(device, epoch)| (device.0, epoch)),
            rows: rows.iter().map(|row| row.to_bits()).collect(),
            missing: self.missing,
            closed,
        }
    }

    fn restore(saved: &SavedPlace, structure: u32) -> Self {
        let closed = saved.closed.map(|SavedClosed { tally, offered }| {
            let tally: [TierTally; Tier::COUNT] = bytemuck::must_cast(tally);
            Closed { tally, totals: offered.map(|offered| Totals { offered }) }
        });
        Self {
            session: Some(SessionId(saved.session)),
            capabilities: saved.capabilities,
            boot: saved.boot.map(|(device, epoch)| (DeviceId(device), epoch)),
            structure,
            rows: saved.rows.iter().map(|&row| RowRef::from_bits(row)).collect(),
            missing: saved.missing,
            closed,
        }
    }
}
