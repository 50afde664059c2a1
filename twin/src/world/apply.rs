//! Records from the rings into rows: resolve, then fold.
//!
//! A part of some hundred records is first resolved to rows, which is two array reads for a record whose session has
//! named its sensor before; the others are looked up by key together, so that their cache misses overlap. Then the rows
//! are fetched ahead of the fold. Only a sensor that is new to the world allocates.

use netloop::Slot;
use wire::{Record, SensorType, Tier};

use super::account::{Outcomes, Reason};
use super::component::{Link, Live, SensorKey, Smoothed};
use super::fault::Fault;
use super::fold::{Folded, fold};
use super::ledger::Entries;
use super::row::RowRef;
use super::sessions::Sessions;
use super::tables::{HotTables, Rows};
use super::threshold::Direction;
use super::{CROSSINGS_MAX, Crossing, Lanes, Plant, STEP_RECORDS, key_of};

/// Records resolved together and stamped with one time: at 10 ns each, 5 us.
const PART_RECORDS: usize = 512;

/// A record that spawns its sensor takes so much of the budget, about what it costs beside one that only updates: a plant
/// that comes up at once then fills the world over many ticks instead of holding up one.
const SPAWN_RECORDS: usize = 32;

/// How far ahead of the fold rows are fetched, in records of 10 ns each: the time of an access to memory, and few enough
/// lines that none is evicted before its use.
const AHEAD_RECORDS: usize = 32;

/// Working memory of one part, made once; an empty one stands in for it while it is used.
#[derive(Default)]
pub(super) struct Part {
    rows: Vec<RowRef>,
    misses: Vec<u32>,
    keys: Vec<ecs::SensorKey>,
    found: Vec<Option<RowRef>>,
}

impl Part {
    pub(super) fn new() -> Self {
        Self {
            rows: Vec::with_capacity(PART_RECORDS + AHEAD_RECORDS),
            misses: Vec::with_capacity(PART_RECORDS),
            keys: Vec::with_capacity(PART_RECORDS),
            found: Vec::with_capacity(PART_RECORDS),
        }
    }
}

impl Plant {
    /// Drains the rings of T1 or T2 within the budget, a step of each worker's in turn.
    pub(super) fn drain(
        &mut self,
        ecs: &mut ecs::World,
        tier: Tier,
        lanes: &mut Lanes,
        tick: u64,
        clock: &mut dyn FnMut() -> u64,
    ) {
        let (workers, tap) = lanes.parts_mut();
        // No worker is the first one in every tick: the budget may end before the last.
        let mut at = tick as usize % workers.len();
        let mut budget = self.options.drain[tier.index()];
        let mut empty = 0;
        while budget > 0 && empty < workers.len() {
            let ring = &mut workers[at].tiers[tier.index()];
            let room = self.fault.as_ref().map_or(STEP_RECORDS, Fault::free);
            let step = budget.min(STEP_RECORDS).min(room);
            let entities = ecs.len();
            let taken = ring.pop_chunk(step, |front, back| {
                for slots in [front, back] {
                    if let Some(tap) = tap {
                        tap.push_chunk(tier, slots);
                    }
                    self.take(ecs, tier, slots, tick, clock);
                }
            });
            empty = if taken == 0 { empty + 1 } else { 0 };
            let spawned = ecs.len() - entities;
            budget = budget.saturating_sub(taken + spawned * SPAWN_RECORDS);
            at = (at + 1) % workers.len();
        }
        if lanes.depth(tier) > 0 {
            self.stats.tick.budgets_spent.add(1);
        }
    }

    pub(super) fn take(
        &mut self,
        ecs: &mut ecs::World,
        tier: Tier,
        slots: &[Slot],
        tick: u64,
        clock: &mut dyn FnMut() -> u64,
    ) {
        match &mut self.fault {
            None => self.apply(ecs, tier, slots, clock),
            Some(fault) => {
                let sessions = &mut self.sessions;
                // A number that is skipped on purpose is not missing on the network.
                fault.push(tier.index(), slots, tick, |slot| {
                    sessions.add_missing(slot.session, tier.index(), -1);
                });
            }
        }
    }

    /// Applies what fault injection held back until this tick.
    pub(super) fn apply_held(
        &mut self,
        ecs: &mut ecs::World,
        tick: u64,
        clock: &mut dyn FnMut() -> u64,
    ) {
        let mut slots = std::mem::take(&mut self.faulted);
        while let Some(fault) = &mut self.fault
            && let Some(lane) = fault.pop(tick, &mut slots, STEP_RECORDS)
        {
            self.apply(ecs, Tier::ALL[lane], &slots, clock);
        }
        self.faulted = slots;
    }

    fn apply(
        &mut self,
        ecs: &mut ecs::World,
        tier: Tier,
        slots: &[Slot],
        clock: &mut dyn FnMut() -> u64,
    ) {
        for mut slots in slots.chunks(PART_RECORDS) {
            while !slots.is_empty() {
                self.resolve(slots);
                let mut count = slots.len();
                if !self.part.misses.is_empty() {
                    count = self.resolve_misses(ecs, tier, slots);
                }
                match tier {
                    Tier::T1 => self.fold_part::<0>(ecs, &slots[..count], clock()),
                    Tier::T2 => self.fold_part::<1>(ecs, &slots[..count], clock()),
                    Tier::T3 => unreachable!("commands do not go into rows by this way"),
                }
                slots = &slots[count..];
            }
        }
    }

    /// Finds the rows that the sessions' own tables know, and lists the records whose rows they do not.
    fn resolve(&mut self, slots: &[Slot]) {
        let Part { rows, misses, .. } = &mut self.part;
        rows.clear();
        misses.clear();
        for run in slots.chunk_by(|a, b| a.session == b.session) {
            let table = self.sessions.rows(run[0].session);
            let row = |slot: &Slot| table.get(slot.hint as usize).copied().unwrap_or(RowRef::NONE);
            rows.extend(run.iter().map(row));
        }
        let unknown = |row: &RowRef| *row == RowRef::NONE;
        if rows.iter().fold(false, |any, row| any | unknown(row)) {
            let missing = (0..).zip(&*rows).filter(|(_, row)| unknown(row));
            misses.extend(missing.map(|(at, _)| at));
        }
    }

    /// Looks the listed records up by key, spawns sensors that are new, and teaches the sessions' tables. Says how many of the
    /// records have their rows now: it ends before one that begins its sensor's numbering anew, because those ahead of it
    /// have to be folded first.
    #[cold]
    fn resolve_misses(&mut self, ecs: &mut ecs::World, tier: Tier, slots: &[Slot]) -> usize {
        let mut part = std::mem::take(&mut self.part);
        part.keys.clear();
        part.keys.extend(part.misses.iter().map(|&at| name_of(&slots[at as usize])));
        part.found.clear();
        part.found.resize(part.keys.len(), None);
        self.index.find_batch(&part.keys, &mut part.found);
        for (&at, &found) in part.misses.iter().zip(&part.found) {
            let slot = &slots[at as usize];
            if at > 0 && self.begins_anew(ecs, slot, found) {
                self.part = part;
                return at as usize;
            }
            match self.resolve_miss(ecs, slot, found) {
                Ok(row) => {
                    self.sessions.insert(slot.session, slot.hint, row);
                    part.rows[at as usize] = row;
                }
                Err(reason) => self.reject(tier, slot, reason),
            }
        }
        self.part = part;
        slots.len()
    }

    /// Whether a session without a hello names a sensor that another one without named last: no epoch tells whether the device has
    /// booted since, so its numbers may have begun anew. PROTOCOL.md#sequence.
    fn begins_anew(&self, ecs: &ecs::World, slot: &Slot, found: Option<RowRef>) -> bool {
        slot.epoch == 0
            && found.or_else(|| self.index.find(name_of(slot))).is_some_and(|row| {
                row.sensor_type().is_some()
                    && ecs.value::<Live>(row).epoch == 0
                    && ecs.value::<Link>(row).0 != slot.session
            })
    }

    fn resolve_miss(
        &mut self,
        ecs: &mut ecs::World,
        slot: &Slot,
        found: Option<RowRef>,
    ) -> Result<RowRef, Reason> {
        let record: &Record = bytemuck::cast_ref(&slot.record);
        record.check().map_err(|_| Reason::Record)?;
        // An earlier record of this part may have spawned it.
        let row = match found.or_else(|| self.index.find(name_of(slot))) {
            Some(row) => row,
            None => self.spawn_sensor(ecs, slot, record)?,
        };
        if self.begins_anew(ecs, slot, Some(row)) {
            ecs.value_mut::<Live>(row).restart(slot);
        }
        *ecs.value_mut(row) = Link(slot.session);
        Ok(row)
    }

    fn spawn_sensor(
        &mut self,
        ecs: &mut ecs::World,
        slot: &Slot,
        record: &Record,
    ) -> Result<RowRef, Reason> {
        if ecs.len() >= self.options.entities_max {
            return Err(Reason::Limit);
        }
        let sensor_type = SensorType::from_u8(record.kind()).ok_or(Reason::Record)?;
        let key = SensorKey::new(record.device(), record.sensor_id(), sensor_type);
        let row = ecs.next_sensor(sensor_type);
        self.index.insert(name_of(slot), row).map_err(|_| Reason::Limit)?;
        ecs.spawn_sensor(key, sensor_type, slot);
        Ok(row)
    }

    /// Counts a record that the world does not take. Its number will be skipped in the row, but it is not lost.
    fn reject(&mut self, tier: Tier, slot: &Slot, reason: Reason) {
        self.outcomes[tier.index()].rejected[reason as usize] += 1;
        if reason != Reason::Limit {
            self.sessions.add_missing(slot.session, tier.index(), -1);
        }
    }

    /// Folds resolved records of a tier into their rows. A function of its own for each tier, so that its loop has all
    /// registers to itself.
    #[inline(never)]
    fn fold_part<const LANE: usize>(&mut self, ecs: &mut ecs::World, slots: &[Slot], now_ns: u64) {
        let tier = Tier::ALL[LANE];
        let mut entries = Entries::new(tier, now_ns);
        let Self { hot, part, .. } = self;
        let mut hot = hot.view(ecs);
        let mut tally = Tally {
            lane: LANE,
            outcomes: &mut self.outcomes[tier.index()],
            sessions: &mut self.sessions,
            crossings: &mut self.crossings,
            crossing_counts: &mut self.crossing_counts,
        };
        let tables = &mut HotTables::new(hot.all_slices(), &self.options.limits);
        // Behind the last row stand some of nothing, so that there always is one to fetch.
        part.rows.truncate(slots.len());
        part.rows.resize(slots.len() + AHEAD_RECORDS, RowRef::NONE);
        let mut rows = part.rows.as_slice();
        rows[..AHEAD_RECORDS].iter().for_each(|&row| tables.prefetch(row));
        for run in slots.chunk_by(Slot::came_with) {
            let (own, ahead) = (rows, &rows[AHEAD_RECORDS..]);
            let mut applied = 0;
            for ((slot, &row), &next) in run.iter().zip(own).zip(ahead) {
                tables.prefetch(next);
                applied += u64::from(fold_record(tables, slot, row, LANE, &mut tally));
            }
            tally.outcomes.applied += applied;
            entries.push(&run[0], applied, &mut self.ledger, &mut self.interval);
            rows = &rows[run.len()..];
        }
        entries.flush(&mut self.ledger, &mut self.interval);
    }
}

/// Folds one record and counts what became of it; true when it was applied.
#[inline(always)]
fn fold_record(
    tables: &mut HotTables<'_>,
    slot: &Slot,
    row: RowRef,
    lane: usize,
    tally: &mut Tally<'_>,
) -> bool {
    let record: &Record = bytemuck::cast_ref(&slot.record);
    let table = tables.of(row);
    let (Some(live), Some(window), true) = (
        table.live.get_mut(row.row()),
        table.window.get_mut(row.row()),
        row.table() == usize::from(record.kind()),
    ) else {
        tally.count_mismatch(slot, row);
        return false;
    };
    let smoothed = table.smoothed.row_mut(row.row());
    let folded = fold(live, window, smoothed, slot, lane, &table.limits);
    if let Folded::Applied { skipped: 0, crossing: None } = folded {
        return true;
    }
    tally.count_uncommon(slot, row, *smoothed, folded)
}

/// Where the outcomes of a part are counted.
struct Tally<'a> {
    lane: usize,
    outcomes: &'a mut Outcomes,
    sessions: &'a mut Sessions,
    crossings: &'a mut Vec<Crossing>,
    crossing_counts: &'a mut [[u64; 2]; SensorType::COUNT],
}

impl Tally<'_> {
    /// Counts a record whose row is of another type; one without a row was counted when it was not found.
    #[cold]
    fn count_mismatch(&mut self, slot: &Slot, row: RowRef) {
        if row != RowRef::NONE {
            self.outcomes.rejected[Reason::Type as usize] += 1;
            self.sessions.add_missing(slot.session, self.lane, -1);
        }
    }

    /// Counts anything but a plain success; true when the record was applied.
    #[inline(never)]
    fn count_uncommon(
        &mut self,
        slot: &Slot,
        row: RowRef,
        smoothed: Smoothed,
        folded: Folded,
    ) -> bool {
        match folded {
            Folded::Applied { skipped, crossing } => {
                if skipped > 0 {
                    self.sessions.add_missing(slot.session, self.lane, i64::from(skipped));
                }
                if let Some(direction) = crossing {
                    self.count_crossing(slot, row, smoothed, direction);
                }
                return true;
            }
            Folded::Duplicate => self.outcomes.duplicate += 1,
            Folded::Stale { filled } => {
                self.outcomes.stale += 1;
                if filled {
                    self.sessions.add_missing(slot.session, self.lane, -1);
                }
            }
        }
        false
    }

    fn count_crossing(&mut self, slot: &Slot, row: RowRef, smoothed: Smoothed, way: Direction) {
        self.crossing_counts[row.table()][way as usize] += 1;
        if self.crossings.len() < CROSSINGS_MAX {
            let record: &Record = bytemuck::cast_ref(&slot.record);
            let (smoothed, ts_us) = (smoothed.0, record.ts_us());
            self.crossings.push(Crossing { sensor: row, direction: way, smoothed, ts_us });
        }
    }
}

/// The key of the sensor that a record is of.
fn name_of(slot: &Slot) -> ecs::SensorKey {
    let record: &Record = bytemuck::cast_ref(&slot.record);
    key_of(record.device(), record.sensor_id())
}
