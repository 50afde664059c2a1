//! A world as bytes, and the same world again, which goes on as the first one would have.
//!
//! Everything is kept that decides what a later tick makes of the same records: rows, sessions with their rows by hint,
//! commands on their way, the stop, what fault injection holds back, counts, and the digest so far. Times, ages, and what is
//! shown to others are not: nothing in a row comes from them. Bytes that contradict each other are refused.

use ecs::{Progress, RestoreError, Snapshot};
use netloop::Slot;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wire::{SensorType, Tier};

use super::account::Outcomes;
use super::actuator::SavedActuators;
use super::automation::SavedAutomation;
use super::command::AnswerCounts;
use super::component::SensorKey;
use super::digest::Digest;
use super::fault::SavedFault;
use super::row::RowRef;
use super::sessions::SavedSessions;
use super::stop::SavedStops;
use super::tables::Rows;
use super::{Plant, World, key_of};

/// A world in its parts, between two ticks.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// What is not a row, as JSON.
    pub plant: &'a [u8],
    /// What fault injection holds back.
    pub held: &'a [Slot],
    /// The rows, as [`ecs::Snapshot`] has them.
    pub rows: &'a [u8],
}

/// Why bytes are no world.
#[derive(Debug, Error)]
pub enum SavedError {
    /// What is not a row is not in the form of this build.
    #[error("the plant around the rows: {0}")]
    Plant(#[from] serde_json::Error),
    /// The rows are not.
    #[error("the rows: {0}")]
    Rows(#[from] RestoreError),
    /// The parts contradict each other.
    #[error("the parts contradict each other: {0}")]
    Contradiction(&'static str),
}

/// Everything of a [`Plant`] that decides what comes of later records.
#[derive(Serialize, Deserialize)]
struct SavedPlant {
    next_second_tick: u64,
    relink: bool,
    outcomes: [Outcomes; Tier::COUNT],
    answers: AnswerCounts,
    crossing_counts: [[u64; 2]; SensorType::COUNT],
    digest: Digest,
    sessions: SavedSessions,
    actuators: SavedActuators,
    stops: SavedStops,
    /// Captures of before have none: no sensor waited.
    #[serde(default)]
    automation: SavedAutomation,
    fault: Option<SavedFault>,
}

impl World {
    /// Copies about `budget_bytes` more of the rows. They are those of one moment as long as no tick runs before the end.
    pub fn save_rows(&self, to: &mut Snapshot, budget_bytes: usize) -> Progress {
        to.poll(&self.ecs, budget_bytes)
    }

    /// What is not a row, as JSON, and what fault injection holds back.
    #[must_use]
    pub fn save_plant(&self) -> (Vec<u8>, Vec<Slot>) {
        let Plant { next_second_tick, relink, outcomes, answers, crossing_counts, .. } = self.plant;
        let (fault, held) = self.plant.fault.as_ref().map(super::fault::Fault::save).unzip();
        let saved = SavedPlant {
            next_second_tick,
            relink,
            outcomes,
            answers,
            crossing_counts,
            digest: self.plant.digest,
            sessions: self.plant.sessions.save(),
            actuators: self.plant.actuators.save(),
            stops: self.plant.stops.save(),
            automation: self.plant.automation.save(),
            fault,
        };
        let json = serde_json::to_vec(&saved);
        (
            json.expect("numbers and lists because a key is never anything else"),
            held.unwrap_or_default(),
        )
    }

    /// Gives away the world as it stands, all of it at once.
    pub fn with_saved<R>(&self, take: impl FnOnce(Saved<'_>) -> R) -> R {
        let mut rows = Snapshot::default();
        let (plant, held) = self.save_plant();
        take(Saved { plant: &plant, held: &held, rows: rows.take(&self.ecs) })
    }

    /// Takes the place of a world that was saved, of the same options. This one is to be fresh; after an error it is of no use.
    ///
    /// # Errors
    /// The bytes are not those of a world of these options.
    pub fn restore(&mut self, saved: &Saved<'_>) -> Result<(), SavedError> {
        let plant: SavedPlant = serde_json::from_slice(saved.plant)?;
        self.ecs.restore(saved.rows)?;
        self.ecs.clear_changed();
        self.enter_rows()?;
        let ends = self.ecs.archetypes().iter().map(ecs::Archetype::len).collect::<Vec<_>>();
        let exists = |row: RowRef| {
            let table = if row.is_actuator() {
                Some(SensorType::COUNT)
            } else {
                row.sensor_type().map(SensorType::index)
            };
            table.is_some_and(|table| row.row() < ends[table])
        };
        let to = &mut self.plant;
        let fault = match (&mut to.fault, &plant.fault) {
            (None, None) => saved.held.is_empty(),
            (Some(fault), Some(of)) => fault.restore(of, saved.held),
            _ => false,
        };
        let good = [
            (fault, "held records and faults"),
            (to.sessions.restore(&plant.sessions, exists), "sessions and rows"),
            (to.actuators.restore(&plant.actuators, exists), "commands and rows"),
            (to.stops.restore(&plant.stops), "the stop and its sessions"),
            (to.automation.restore(&plant.automation, exists), "sensors that rules look after"),
            (plant.digest.fits(self.ecs.archetypes()), "the digest and the rows"),
        ];
        if let Some((_, what)) = good.into_iter().find(|(good, _)| !good) {
            return Err(SavedError::Contradiction(what));
        }
        (to.next_second_tick, to.relink) = (plant.next_second_tick, plant.relink);
        (to.outcomes, to.answers) = (plant.outcomes, plant.answers);
        (to.crossing_counts, to.digest) = (plant.crossing_counts, plant.digest);
        Ok(())
    }

    /// Enters the names of all rows into the index.
    fn enter_rows(&mut self) -> Result<(), SavedError> {
        let refused = SavedError::Contradiction;
        let tables = self.ecs.archetypes();
        if tables.len() != SensorType::COUNT + 1 || self.ecs.len() > self.plant.options.entities_max
        {
            return Err(refused("rows of another plant"));
        }
        for (table, archetype) in tables.iter().enumerate() {
            let of = SensorType::ALL.get(table).copied();
            let keys: &[SensorKey] = archetype.values().ok_or(refused("rows without a name"))?;
            for (row, key) in keys.iter().enumerate() {
                let named =
                    SensorType::from_u8(key.sensor_type).ok_or(refused("a name of no type"))?;
                if of.is_some_and(|of| of != named) {
                    return Err(refused("a name of another type"));
                }
                let row = of.map_or_else(|| RowRef::actuator(row), |of| RowRef::sensor(of, row));
                let entered = self.plant.index.insert(key_of(key.device, key.sensor_id), row);
                if entered.map_err(|_| refused("more rows than the index takes"))?.is_some() {
                    return Err(refused("a name twice"));
                }
            }
        }
        Ok(())
    }
}
