//! Records from the rings into rows: resolve, then fold.
//!
//! A part of some hundred records is first resolved to rows, which is two array reads for a record whose session has
//! named its sensor before; the others are looked up by key together, so that their cache misses overlap. Then the rows
//! are fetched a group ahead of the fold. Only a sensor that is new to the world allocates.

use netloop::Slot;
use wire::{Record, SensorType, Tier};

use super::account::{Outcomes, Reason};
use super::component::{Link, Live, SensorKey, Smoothed};
use super::fault::Fault;
use super::fold::{Folded, fold};
use super::ledger::Entries;
use super::row::RowRef;
use super::sessions::Sessions;
use super::tables::{HotColumns, Rows, prefetch_row};
use super::threshold::{Direction, Limits};
use super::{CROSSINGS_MAX, Crossing, Lanes, Plant, STEP_RECORDS, key_of};

/// Records resolved together and stamped with one time: at 10 ns each, 5 us.
const PART_RECORDS: usize = 512;

/// A record that spawns its sensor takes so much of the budget, about what it costs beside one that only updates: a plant
/// that comes up at once then fills the world over many ticks instead of holding up one.
const SPAWN_RECORDS: usize = 32;

/// Rows fetched ahead of the fold: two lines each, a little more than a core has line fill buffers, so that they are
/// never idle and nothing is evicted before its use.
const GROUP_RECORDS: usize = 16;

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
            rows: Vec::with_capacity(PART_RECORDS),
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
                self.fold_part(ecs, tier, &slots[..count], clock());
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
            for slot in run {
                let row = table.get(slot.hint as usize).copied().unwrap_or(RowRef::NONE);
                if row == RowRef::NONE {
                    misses.push(rows.len() as u32);
                }
                rows.push(row);
            }
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

    /// Folds resolved records into their rows. A function of its own, so that its loop has all registers to itself.
    #[inline(never)]
    fn fold_part(&mut self, ecs: &mut ecs::World, tier: Tier, slots: &[Slot], now_ns: u64) {
        let mut entries = Entries::new(tier, now_ns);
        let Self { hot, part, .. } = self;
        let mut hot = hot.view(ecs);
        let mut tally = Tally {
            lane: tier.index(),
            outcomes: &mut self.outcomes[tier.index()],
            sessions: &mut self.sessions,
            crossings: &mut self.crossings,
            crossing_counts: &mut self.crossing_counts,
        };
        let columns = hot.all_slices();
        let rows = &part.rows[..slots.len()];
        let mut ahead = rows.chunks(GROUP_RECORDS);
        ahead.next().into_iter().flatten().for_each(|&row| prefetch_row(columns, row));
        for (slots, rows) in slots.chunks(GROUP_RECORDS).zip(rows.chunks(GROUP_RECORDS)) {
            ahead.next().into_iter().flatten().for_each(|&row| prefetch_row(columns, row));
            for (slot, &row) in slots.iter().zip(rows) {
                if fold_record(columns, slot, row, &self.options.limits, &mut tally) {
                    entries.push(slot, &mut self.ledger, &mut self.interval);
                }
            }
        }
        entries.flush(&mut self.ledger, &mut self.interval);
    }
}

/// Folds one record and counts what became of it; true when it was applied.
#[inline]
fn fold_record(
    columns: &mut [HotColumns<'_>],
    slot: &Slot,
    row: RowRef,
    limits: &[Limits; SensorType::COUNT],
    tally: &mut Tally<'_>,
) -> bool {
    let record: &Record = bytemuck::cast_ref(&slot.record);
    let table = usize::from(record.kind());
    if row.table() != table {
        tally.count_mismatch(slot, row);
        return false;
    }
    let (Some(Some((live, window, smoothed))), Some(limits)) =
        (columns.get_mut(table), limits.get(table))
    else {
        unreachable!("the row of a sensor lies in the table of an assigned type");
    };
    let at = row.row();
    let smoothed = smoothed.row_mut(at);
    let folded = fold(&mut live[at], &mut window[at], smoothed, slot, tally.lane, limits);
    if folded == (Folded::Applied { skipped: 0, crossing: None }) {
        tally.outcomes.applied += 1;
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
                self.outcomes.applied += 1;
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
