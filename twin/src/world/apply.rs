//! Records from the rings into rows: resolve, then fold.
//!
//! A part of some hundred records is first resolved to rows, which is two array reads for a record whose session has
//! named its sensor before; the others are looked up by key together, so that their cache misses overlap. Then the rows
//! are fetched ahead of the fold. Only a sensor that is new to the world allocates.

use std::ops::Range;

use ecs::prefetch_read;
use netloop::{RUN_RECORDS_MAX, Run, Runs, Slot};
use wire::{Record, SensorType, Tier};

use super::account::{Outcomes, Reason};
use super::component::{Link, Live, SensorKey, Smoothed};
use super::fold::{Folded, fold_any};
use super::ledger::Entries;
use super::row::RowRef;
use super::sessions::Sessions;
use super::tables::{HotTables, Rows};
use super::{CROSSINGS_MAX, Crossing, Lanes, Plant, STEP_RECORDS, key_of};

/// Records resolved together and stamped with one time: at 10 ns each, 5 us.
const PART_RECORDS: usize = 512;

/// A record that spawns its sensor takes so much of the budget, about what it costs beside one that only updates: a plant
/// that comes up at once then fills the world over many ticks instead of holding up one.
const SPAWN_RECORDS: usize = 32;

/// How far ahead of the fold rows are fetched, in records of 10 ns each: the time of an access to memory, and few enough
/// lines that none is evicted before its use.
const AHEAD_RECORDS: usize = 32;

/// How far ahead of where they are looked at first lines of a ring are fetched, which are in the cache of the worker's core:
/// those of two full datagrams.
const AHEAD_LINES: usize = 46;

/// Working memory of one part, made once; an empty one stands in for it while it is used.
#[derive(Default)]
pub(super) struct Part {
    rows: Vec<RowRef>,
    /// Records whose rows are not known: where in the part they are, and what they are.
    misses: Vec<(u32, Slot)>,
    keys: Vec<ecs::SensorKey>,
    found: Vec<Option<RowRef>>,
}

impl Part {
    pub(super) fn new() -> Self {
        Self {
            rows: Vec::with_capacity(PART_RECORDS + RUN_RECORDS_MAX + AHEAD_RECORDS),
            misses: Vec::with_capacity(PART_RECORDS + RUN_RECORDS_MAX),
            keys: Vec::with_capacity(PART_RECORDS + RUN_RECORDS_MAX),
            found: Vec::with_capacity(PART_RECORDS + RUN_RECORDS_MAX),
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
            if self.fault.as_ref().is_some_and(|fault| fault.free() < STEP_RECORDS) {
                break;
            }
            let entities = ecs.len();
            let taken = ring.pop_runs(|lines| {
                // A run that was begun is taken whole, so the budget is kept but for some records.
                let (lines, records) = fetch(lines, budget.min(STEP_RECORDS));
                if let Some(tap) = tap {
                    tap.push_chunk(tier, lines);
                }
                self.take(ecs, tier, lines, tick, clock);
                (lines.len(), records)
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

    /// Applies the records of these lines, or gives them to fault injection.
    pub(super) fn take(
        &mut self,
        ecs: &mut ecs::World,
        tier: Tier,
        lines: &[Slot],
        tick: u64,
        clock: &mut dyn FnMut() -> u64,
    ) {
        match &mut self.fault {
            None => self.apply(ecs, tier, lines, clock),
            Some(fault) => {
                let sessions = &mut self.sessions;
                // A number that is skipped on purpose is not missing on the network.
                fault.push(tier.index(), Runs::new(lines).slots(), tick, |slot| {
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
            && let Some(at) = fault.pop(tick, &mut slots, STEP_RECORDS)
        {
            self.apply(ecs, Tier::ALL[at], &slots, clock);
        }
        self.faulted = slots;
    }

    fn apply(
        &mut self,
        ecs: &mut ecs::World,
        tier: Tier,
        lines: &[Slot],
        clock: &mut dyn FnMut() -> u64,
    ) {
        let mut runs = Runs::new(lines);
        while !runs.is_empty() {
            let part = runs;
            let mut count = self.resolve(&mut runs);
            if !self.part.misses.is_empty() {
                let resolved = self.resolve_misses(ecs, tier, count);
                if resolved < count {
                    runs = part;
                    runs.skip_records(resolved);
                    count = resolved;
                }
            }
            match tier {
                Tier::T1 => self.fold_part::<0>(ecs, part, count, clock()),
                Tier::T2 => self.fold_part::<1>(ecs, part, count, clock()),
                Tier::T3 => unreachable!("commands do not go into rows by this way"),
            }
        }
    }

    /// Takes the runs of one part; finds the rows that the sessions' own tables know, and lists the records whose rows they do
    /// not. Says how many records these are.
    fn resolve(&mut self, runs: &mut Runs<'_>) -> usize {
        let Part { rows, misses, .. } = &mut self.part;
        rows.clear();
        misses.clear();
        let mut of_session: Option<(u32, &[RowRef])> = None;
        while rows.len() < PART_RECORDS
            && let Some(run) = runs.next()
        {
            let table = match of_session {
                Some((session, table)) if session == run.session => table,
                _ => self.sessions.rows(run.session),
            };
            of_session = Some((run.session, table));
            let (from, at) = (run.hint as usize, rows.len());
            if let [_] = run.records
                && let Some(&known) = table.get(from)
                && known != RowRef::NONE
            {
                rows.push(known);
                continue;
            }
            let row = |hint: u32| table.get(hint as usize).copied().unwrap_or(RowRef::NONE);
            if let [_, ..] = run.listed {
                rows.push(row(run.hint));
                rows.extend(run.listed.iter().map(|&hint| row(hint)));
            } else if let Some(known) = table.get(from..from + run.records.len()) {
                rows.extend_from_slice(known);
            } else {
                rows.extend(run.hints().map(row));
            }
            let unknown = |row: &RowRef| *row == RowRef::NONE;
            if rows[at..].iter().fold(false, |any, row| any | unknown(row)) {
                let missing = (at..).zip(&rows[at..]).filter(|(_, row)| unknown(row));
                misses.extend(missing.map(|(nth, _)| (nth as u32, run.slot(nth - at))));
            }
        }
        rows.len()
    }

    /// Looks the listed records up by key, spawns sensors that are new, and teaches the sessions' tables. Says how many of the
    /// records have their rows now: it ends before one that begins its sensor's numbering anew, if another of that sensor is
    /// ahead of it, which has to be folded first.
    #[cold]
    fn resolve_misses(&mut self, ecs: &mut ecs::World, tier: Tier, count: usize) -> usize {
        let mut part = std::mem::take(&mut self.part);
        part.keys.clear();
        part.keys.extend(part.misses.iter().map(|(_, slot)| name_of(slot)));
        part.found.clear();
        part.found.resize(part.keys.len(), None);
        self.index.find_batch(&part.keys, &mut part.found);
        for ((at, slot), &found) in part.misses.iter().zip(&part.found) {
            let at = *at as usize;
            if let Some(row) = self.begins_anew(ecs, slot, found)
                && part.rows[..at].contains(&row)
            {
                self.part = part;
                return at;
            }
            match self.resolve_miss(ecs, slot, found) {
                Ok(row) => {
                    self.sessions.insert(slot.session, slot.hint, row);
                    part.rows[at] = row;
                }
                Err(reason) => self.reject(tier, slot, reason),
            }
        }
        self.part = part;
        count
    }

    /// The row of a sensor that a session without a hello names and another one without named last: no epoch tells whether the device
    /// has booted since, so its numbers may have begun anew. PROTOCOL.md#sequence.
    fn begins_anew(&self, ecs: &ecs::World, slot: &Slot, found: Option<RowRef>) -> Option<RowRef> {
        if slot.epoch != 0 {
            return None;
        }
        found.or_else(|| self.index.find(name_of(slot))).filter(|&row| {
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
        if self.begins_anew(ecs, slot, Some(row)).is_some() {
            ecs.value_mut::<Live>(row).restart(slot.epoch, slot.recv_ns);
        }
        // The way to an actuator is the one that its last command took, whoever uses its name for a sensor.
        if !row.is_actuator() {
            *ecs.value_mut(row) = Link(slot.session);
        }
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
        ecs.spawn_sensor(key, sensor_type, slot.epoch, slot.session);
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
    fn fold_part<const TIER: usize>(
        &mut self,
        ecs: &mut ecs::World,
        runs: Runs<'_>,
        count: usize,
        now_ns: u64,
    ) {
        let tier = Tier::ALL[TIER];
        let mut entries = Entries::new(tier, now_ns);
        let Self { hot, part, .. } = self;
        let mut hot = hot.view(ecs);
        let mut tally = Tally {
            tier: TIER,
            failed: 0,
            outcomes: &mut self.outcomes[tier.index()],
            sessions: &mut self.sessions,
            crossings: &mut self.crossings,
            crossing_counts: &mut self.crossing_counts,
        };
        let tables = &mut HotTables::new(hot.all_slices(), &self.options.limits);
        // Behind the last row stand some of nothing, so that there always is one to fetch.
        part.rows.truncate(count);
        part.rows.resize(count + AHEAD_RECORDS, RowRef::NONE);
        let mut rows = part.rows.as_slice();
        rows[..AHEAD_RECORDS].iter().for_each(|&row| tables.prefetch(row));
        for run in runs {
            let left = rows.len() - AHEAD_RECORDS;
            let mut records = &run.records[..run.records.len().min(left)];
            while let Some(first) = records.first() {
                let (own, ahead) = (rows, &rows[AHEAD_RECORDS..]);
                let (sent_us, mut count) = (first.ts_us(), 0);
                for ((record, &row), &next) in records.iter().zip(own).zip(ahead) {
                    if record.ts_us() != sent_us {
                        break;
                    }
                    tables.prefetch(next);
                    fold_record(tables, &run, record, row, TIER, &mut tally);
                    count += 1;
                }
                let applied = count as u64 - std::mem::take(&mut tally.failed);
                tally.outcomes.applied += applied;
                let times = (run.recv_ns, run.lag_ns, sent_us);
                entries.push(times, applied, &mut self.ledger, &mut self.interval);
                (records, rows) = (&records[count..], &rows[count..]);
            }
            if rows.len() == AHEAD_RECORDS {
                break;
            }
        }
        entries.flush(&mut self.ledger, &mut self.interval);
    }
}

/// The front of these lines that holds whole runs of at most `records_max` records together, and at least one run. All of it is on
/// its way to this core's cache then.
fn fetch(lines: &[Slot], records_max: usize) -> (&[Slot], usize) {
    // Lines behind the last one are the worker's, which is about to write them.
    let prefetch = |at: Range<usize>| {
        (at.start.min(lines.len())..at.end.min(lines.len()))
            .for_each(|at| prefetch_read(lines, at));
    };
    prefetch(0..AHEAD_LINES);
    let (mut end, mut records) = (0, 0);
    let mut runs = Runs::new(lines);
    while let Some(run) = runs.next() {
        if records > 0 && records + run.records.len() > records_max {
            break;
        }
        let begin = std::mem::replace(&mut end, lines.len() - runs.lines().len());
        prefetch(begin + AHEAD_LINES..end + AHEAD_LINES);
        records += run.records.len();
    }
    (&lines[..end], records)
}

/// Folds one record, and counts what became of it unless it was applied and did no more than follow the one before it.
#[inline(always)]
fn fold_record(
    tables: &mut HotTables<'_>,
    run: &Run<'_>,
    record: &Record,
    row: RowRef,
    tier: usize,
    tally: &mut Tally<'_>,
) {
    let table = tables.of(row);
    if row.table() == usize::from(record.kind())
        && let Some((mut own, limits)) = table.row_mut(row.row())
    {
        if !own.follow(run, record, tier, limits) {
            fold_uncommon(tables, run, record, row, tally);
        }
    } else {
        count_mismatch(tables, run, record, row, tally);
    }
}

/// Counts a record whose row is of another type; one without a row was counted when it was not found.
#[cold]
#[inline(never)]
fn count_mismatch(
    tables: &mut HotTables<'_>,
    run: &Run<'_>,
    record: &Record,
    row: RowRef,
    tally: &mut Tally<'_>,
) {
    tally.failed += 1;
    if row == RowRef::NONE {
        return;
    }
    tally.outcomes.rejected[Reason::Type as usize] += 1;
    let live = row.sensor_type().and_then(|_| tables.of(row).live.get_mut(row.row()));
    if live.is_some_and(|live| live.pass_over(run.epoch, tally.tier, record.seq())) {
        tally.sessions.add_missing(run.session, tally.tier, -1);
    }
}

/// Folds a record that does more than follow the one before it, and counts what became of it.
#[inline(never)]
fn fold_uncommon(
    tables: &mut HotTables<'_>,
    run: &Run<'_>,
    record: &Record,
    row: RowRef,
    tally: &mut Tally<'_>,
) {
    let table = tables.of(row);
    let (own, limits) =
        table.row_mut(row.row()).expect("the row is there because it was just looked at");
    let folded = fold_any(own, run, record, tally.tier, limits);
    let smoothed = table.smoothed[row.row()];
    tally.count(run.session, record.ts_us(), row, smoothed, folded);
}

/// Where the outcomes of a part are counted.
struct Tally<'a> {
    tier: usize,
    /// Records that were not applied, of those that were entered together.
    failed: u64,
    outcomes: &'a mut Outcomes,
    sessions: &'a mut Sessions,
    crossings: &'a mut Vec<Crossing>,
    crossing_counts: &'a mut [[u64; 2]; SensorType::COUNT],
}

impl Tally<'_> {
    /// Counts what became of a record.
    fn count(&mut self, session: u32, ts_us: u64, row: RowRef, smoothed: Smoothed, folded: Folded) {
        match folded {
            Folded::Applied { skipped, crossing } => {
                if skipped > 0 {
                    self.sessions.add_missing(session, self.tier, i64::from(skipped));
                }
                if let Some(direction) = crossing {
                    let smoothed = smoothed.0;
                    self.count_crossing(Crossing { sensor: row, direction, smoothed, ts_us });
                }
                return;
            }
            Folded::Duplicate => self.outcomes.duplicate += 1,
            Folded::Stale { filled } => {
                self.outcomes.stale += 1;
                if filled {
                    self.sessions.add_missing(session, self.tier, -1);
                }
            }
        }
        self.failed += 1;
    }

    fn count_crossing(&mut self, crossing: Crossing) {
        self.crossing_counts[crossing.sensor.table()][crossing.direction as usize] += 1;
        if self.crossings.len() < CROSSINGS_MAX {
            self.crossings.push(crossing);
        }
    }
}

/// The key of the sensor that a record is of.
fn name_of(slot: &Slot) -> ecs::SensorKey {
    let record: &Record = bytemuck::cast_ref(&slot.record);
    key_of(record.device(), record.sensor_id())
}
