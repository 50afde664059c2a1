//! What must hold at every tick, and what must hold once the plant has healed.

use std::collections::BTreeMap;

use netloop::{SessionEvent, Slot, TierTally, slot};
use twin::capture::{Mark, MarkKind};
use twin::world::{ACTUATOR_ID, ActuatorStatus, Lanes, World};
use wire::{Command, Operation, Record, Tier};

use crate::device::{Device, device_id, type_of};
use crate::model::{Fate, Model, Name};
use crate::samples::Samples;
use crate::scenario::Scenario;
use crate::worker::{SESSIONS_MAX, Worker};

/// The age of the world is looked at once in so many ticks.
const AGE_EVERY: u64 = 8;

/// What became of the records of one session, by tier.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// As the worker has counted them.
    tally: [TierTally; Tier::COUNT],
    /// Taken by ticks.
    taken: [u64; Tier::COUNT],
    closed: bool,
}

impl Account {
    /// Records in the rings; none where more came out than went in.
    fn in_flight(&self, tier: Tier) -> Option<u64> {
        let tally = &self.tally[tier.index()];
        let discarded = tally.rejected + tally.shed + self.taken[tier.index()];
        tally.received.checked_sub(discarded)
    }
}

/// Memory of a world without rows, which is that of its index and of the sessions it may have.
const WORLD_BYTES: usize = 1 << 20;
/// A row in columns that grow, its place in the index and in the tables of some sessions.
const ROW_BYTES: usize = 2048;
/// What a read may take beside the way and the ticks.
const READ_US: u64 = 30_000;

/// Holds the twin against the model and the devices.
#[derive(Debug, Default)]
pub(crate) struct Check {
    model: Model,
    /// The last number of T2 by session and sensor: the next one is its successor.
    t2: BTreeMap<(u32, Name), u32>,
    /// The last number of T2 by sensor, whatever the session.
    t2_last: BTreeMap<Name, u32>,
    /// How often the tick took a read of a device, by its number.
    reads: BTreeMap<(Name, u32), u32>,
    /// The account of each session that is open, or of whose records some are on their way.
    accounts: BTreeMap<u32, Account>,
    pub(crate) records: u64,
    pub(crate) wrong: Option<String>,
    /// Of T1 and T2, and the age of the world.
    pub(crate) to_world: [Samples; 2],
    pub(crate) age: Samples,
    ticks: u64,
    /// Devices have nothing more to say, so the world grows old.
    pub(crate) leaving: bool,
}

impl Check {
    fn say(&mut self, wrong: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(wrong());
        }
    }

    /// Takes what the tick consumed, as the capture has it, and compares the world with it.
    ///
    /// `now_us` is the moment by the clocks of the devices, in microseconds since the Unix epoch.
    pub(crate) fn tick(&mut self, cells: &[Slot], world: &World, lanes: &Lanes, now_us: u64) {
        let mut touched = Vec::new();
        let mut at = 0;
        while at < cells.len() {
            let mark = *Mark::of(&cells[at]);
            let slots = &cells[at + 1..at + 1 + mark.count as usize];
            at += 1 + slots.len();
            match (mark.kind(), mark.tier()) {
                (Some(MarkKind::Chunk), Some(tier)) => {
                    self.take(tier, slots, now_us, &mut touched);
                }
                (Some(MarkKind::Event | MarkKind::Order | MarkKind::Stop | MarkKind::Tick), _) => {}
                other => self.say(|| format!("the capture holds {other:?}")),
            }
        }
        touched.sort_unstable();
        touched.dedup();
        self.compare(&touched, world);
        self.balance(world, lanes);
        self.ticks += 1;
        if self.ticks.is_multiple_of(AGE_EVERY) && !self.leaving {
            for sensor in self.model.sensors.values() {
                self.age.push(now_us.saturating_sub(sensor.ts_us));
            }
        }
    }

    fn take(&mut self, tier: Tier, slots: &[Slot], now_us: u64, touched: &mut Vec<Name>) {
        self.records += slots.len() as u64;
        for slot in slots {
            if slot.flags & (slot::ACK | slot::FAILED) == 0 {
                self.accounts.entry(slot.session).or_default().taken[tier.index()] += 1;
            }
            let record = Record::from_bytes(slot.record);
            let name = (record.device(), record.sensor_id());
            if tier == Tier::T3 {
                self.take_command(slot, &record, name);
                continue;
            }
            if tier == Tier::T2 {
                self.follow(slot.session, name, record.seq());
            }
            if self.model.push(tier, slot) == Fate::Applied {
                self.to_world[tier.index()].push(now_us.saturating_sub(record.ts_us()));
            }
            touched.push(name);
        }
    }

    /// T2 is complete and in order within its stream, and a session has one.
    fn follow(&mut self, session: u32, name: Name, seq: u32) {
        self.t2_last.insert(name, seq);
        if let Some(last) = self.t2.insert((session, name), seq)
            && seq != last.wrapping_add(1)
        {
            self.say(|| format!("T2 of {name:?}: {seq} follows {last} in session {session:#x}"));
        }
    }

    fn take_command(&mut self, slot: &Slot, record: &Record, name: Name) {
        if slot.flags & (slot::ACK | slot::FAILED) != 0 {
            return;
        }
        let operation = Command::decode(record).ok().and_then(|command| command.operation());
        if operation != Some(Operation::Read) {
            self.say(|| format!("a command of {name:?} is {operation:?}"));
        }
        *self.reads.entry((name, record.seq())).or_default() += 1;
    }

    fn compare(&mut self, names: &[Name], world: &World) {
        for name in names {
            let expected = &self.model.sensors[name];
            let Some(found) = world.sensor(name.0, name.1) else {
                return self.say(|| format!("the world has no {name:?}"));
            };
            let live = &found.live;
            let same = live.value.to_bits() == expected.value.to_bits()
                && live.ts_us == expected.ts_us
                && live.recv_ns == expected.recv_ns
                && (f64::from(found.smoothed) - expected.mean()).abs() < 1e-3;
            if !same {
                let wrong = format!("{name:?} is {found:?} and should be {expected:?}");
                return self.say(|| wrong);
            }
        }
    }

    /// Every record has one outcome, for each tier.
    fn balance(&mut self, world: &World, lanes: &Lanes) {
        for tier in Tier::ALL {
            let totals = world.totals(tier, lanes);
            // The ends of our own commands lie in the ring of T3 and were never offered.
            if totals.residual != 0 && (tier != Tier::T3 || lanes.depth(tier) == 0) {
                self.say(|| format!("{tier:?} has a residual: {totals:?}"));
            }
            if tier == Tier::T3 {
                continue;
            }
            let (at, outcomes, model) = (tier.index(), world.outcomes(tier), &self.model);
            let found = [outcomes.applied, outcomes.duplicate, outcomes.stale];
            let expected = [model.applied[at], model.duplicate[at], model.stale[at]];
            if found != expected || outcomes.rejected_total() > 0 {
                self.say(|| format!("{tier:?} has {outcomes:?}, the model {expected:?}"));
            }
        }
    }

    /// Every record of every session has one outcome or lies in a ring, and the rings hold nothing else.
    pub(crate) fn sessions(&mut self, workers: &mut [Worker], lanes: &Lanes) {
        for worker in workers {
            for (session, tally) in worker.engine.tallies() {
                if tally != <[TierTally; Tier::COUNT]>::default() {
                    self.accounts.entry(session.0).or_default().tally = tally;
                }
            }
            for closed in worker.closed.drain(..) {
                let SessionEvent::Closed { session, tally, totals, .. } = closed else { continue };
                let account = self.accounts.entry(session.0).or_default();
                (account.tally, account.closed) = (tally, true);
                let offered = totals.map_or([u64::MAX; Tier::COUNT], |totals| totals.offered);
                if tally.iter().zip(offered).any(|(tally, offered)| tally.received > offered) {
                    self.say(|| format!("{session:?} offered {offered:?}, received {tally:?}"));
                }
            }
        }
        for tier in Tier::ALL {
            let mut sum = 0;
            for (session, account) in &self.accounts {
                let Some(in_flight) = account.in_flight(tier) else {
                    let (session, account) = (*session, *account);
                    return self.say(|| format!("{tier:?} of session {session:#x}: {account:?}"));
                };
                sum += in_flight;
            }
            // The ring of T3 also carries the ends of our own commands.
            let depth = lanes.depth(tier) as u64;
            if sum > depth || (sum < depth && tier != Tier::T3) {
                self.say(|| format!("{tier:?}: {sum} records on their way, {depth} in the rings"));
            }
        }
        self.accounts.retain(|_, account| {
            !account.closed || Tier::ALL.iter().any(|tier| account.in_flight(*tier) != Some(0))
        });
    }

    /// Nothing grows without a bound.
    pub(crate) fn bounds(&mut self, scenario: &Scenario, workers: &[Worker], world: &World) {
        let sensors: usize = scenario.devices.iter().map(|of| usize::from(of.sensors)).sum();
        let rows_max = sensors + scenario.devices.len();
        if world.entities() > rows_max {
            self.say(|| format!("{} rows of {rows_max} that there are", world.entities()));
        }
        let sessions_max = SESSIONS_MAX / workers.len();
        for worker in workers {
            let sessions = worker.engine.ids().count();
            if sessions > sessions_max {
                self.say(|| format!("a worker holds {sessions} sessions of {sessions_max}"));
            }
        }
        let (bytes, bytes_max) = (world.memory_bytes(), WORLD_BYTES + rows_max * ROW_BYTES);
        if bytes > bytes_max {
            self.say(|| format!("the world has {bytes} bytes, more than {bytes_max}"));
        }
    }

    /// What must hold between the twin and its devices at any time.
    pub(crate) fn devices(&mut self, devices: &[Device], world: &World, lanes: &Lanes) {
        for device in devices {
            if let Some(wrong) = device.done.wrongs.first() {
                self.say(|| format!("device {}: {wrong}", device.plan.number));
            }
            for &read in device.done.acks.keys() {
                let sensor_id = read as u16 % device.plan.sensors;
                let name = (device_id(device.plan.number), sensor_id);
                let taken = self.reads.get(&(name, read)).copied().unwrap_or(0);
                if taken != 1 {
                    self.say(|| {
                        format!("read {read} of {name:?} was answered, and taken {taken} times")
                    });
                }
            }
        }
        for tier in Tier::ALL {
            let offered: u64 = devices.iter().map(|device| device.done.offered[tier.index()]).sum();
            let received = lanes.tally(tier).received;
            if received > offered {
                self.say(|| format!("{tier:?}: {received} records received of {offered} offered"));
            }
        }
        let acknowledged = world.command_ends().acknowledged;
        let given: usize = devices.iter().map(|device| device.done.setpoints.len()).sum();
        if acknowledged > given as u64 {
            self.say(|| format!("{acknowledged} setpoints acknowledged of {given} that were"));
        }
    }

    /// What must hold once the plant has healed: every device speaks and is heard, nothing waits, every sensor is fresh.
    pub(crate) fn healed(&mut self, devices: &[Device], world: &World, unix_ns: u64, tick_us: u64) {
        for device in devices {
            let plan = &device.plan;
            if !device.is_open() {
                return self.say(|| format!("device {} has no session", plan.number));
            }
            if device.done.stopped {
                return self.say(|| format!("device {} is still stopped", plan.number));
            }
            if let Some(actuator) = world.actuator(device_id(plan.number), ACTUATOR_ID)
                && ActuatorStatus::of(&actuator) == ActuatorStatus::Acknowledged
                && actuator.epoch == device.epoch()
                && Some(actuator.acknowledged) != device.done.held
            {
                let held = device.done.held;
                return self
                    .say(|| format!("device {} holds {held:?} and not {actuator:?}", plan.number));
            }
            if let Some((read, opened_ns)) = device.done.reads_open.first_key_value() {
                let age_us = (unix_ns - opened_ns) / 1_000;
                // There and back, two rests and ticks, and what QUIC holds an answer back for.
                if age_us > 2 * (plan.delay_us + tick_us) + READ_US {
                    return self.say(|| {
                        format!("read {read} of device {} waits for {age_us} us", plan.number)
                    });
                }
            }
            for sensor_id in 0..plan.sensors {
                let name = (device_id(plan.number), sensor_id);
                let Some(sensor) = world.sensor(name.0, name.1) else {
                    return self.say(|| format!("the world has no {name:?}"));
                };
                if sensor.sensor_type != type_of(sensor_id) {
                    return self.say(|| format!("{name:?} has type {:?}", sensor.sensor_type));
                }
                let age_us = (unix_ns / 1_000).saturating_sub(sensor.live.ts_us);
                // Three periods, the way, a rest of the worker and a tick.
                let limit_us = 3 * plan.period_us + plan.delay_us + 1_500 + 2 * tick_us;
                if age_us > limit_us {
                    return self
                        .say(|| format!("{name:?} is {age_us} us old, more than {limit_us} us"));
                }
            }
        }
        let names: Vec<Name> = self.model.sensors.keys().copied().collect();
        self.compare(&names, world);
    }

    /// What must hold once every device has left in order.
    pub(crate) fn left(&mut self, devices: &[Device], lanes: &Lanes) {
        for device in devices.iter().filter(|device| device.waiting_bytes() > 0) {
            let (number, bytes) = (device.plan.number, device.waiting_bytes());
            self.say(|| format!("device {number} has {bytes} bytes of T2 left"));
        }
        for device in devices.iter().filter(|device| device.done.offered_here[1] > 0) {
            for sensor_id in 0..device.plan.sensors {
                let name = (device_id(device.plan.number), sensor_id);
                let (last, found) = (device.last_t2(), self.t2_last.get(&name).copied());
                if found != Some(last) {
                    self.say(|| format!("T2 of {name:?} ends with {found:?}, not {last}"));
                }
            }
        }
        if !lanes.is_empty() {
            self.say(|| "the rings are not empty".to_owned());
        }
    }
}
