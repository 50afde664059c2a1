//! Who is due, and the way of a due record to its carrier.
//!
//! T1 that finds no room waits for it up to one period, then it is shed and counted: a newer value is due. T2 and T3 wait
//! as long as it takes, as due times, up to a bound. With random sampling a sensor drawn from the same session reports on T1 in
//! place of the one that is due, so that rates and sessions stay what they are.

use std::ops::Range;

use netloop::Engine;
use wire::{Command, Operation, Tier};

use super::{
    carrier::{Account, Carrier, Deferred, Link, Road},
    commands::Sent,
    device::Population,
    fleet::{Fleet, Moment, Outcome},
    lateness::Lateness,
    plan::Plan,
    schedule::Schedule,
    seeded::Seeded,
};
use crate::args::{Rate, Sampling};

/// The schedules of all tiers, and what is left of the plan's count.
#[derive(Debug)]
pub(super) struct Traffic {
    schedules: [Option<Schedule>; Tier::COUNT],
    /// T1 without a schedule: as fast as the sessions take it.
    flat_out: bool,
    /// Draws the sensors of T1 where they are sampled at random.
    drawn: Option<Seeded>,
    sensors_per_device: u32,
    /// Records that may still be numbered.
    left: u64,
    /// Carriers that have something to settle.
    active: Vec<u32>,
    /// The carrier that goes first in the next turn, for fairness when all send as fast as they can.
    first: usize,
    /// The worst lateness of T1 so far, in nanoseconds.
    pub(super) late_ns_max: u64,
    /// Carriers with T1 that waits for room.
    pub(super) blocked: u64,
    /// The earliest end of a linger, in nanoseconds since the first turn.
    linger_until_ns: u64,
}

/// What the records of one carrier need beside it.
pub(super) struct Load<'a> {
    pub(super) road: Road<'a>,
    population: &'a mut Population,
    drawn: Option<&'a mut Seeded>,
    left: u64,
    at: Moment,
}

/// Due devices taken in one turn: more would keep the worker from its socket.
const DUES_MAX: usize = 4_096;
/// Records of one carrier in one turn when it sends as fast as it can: 64 full frames.
const BURST_RECORDS: usize = 64 * 36;
/// Carriers in one turn when they send as fast as they can.
const BURST_CARRIERS: usize = 8;
/// T1 waits for room for one period, but not less than this: a period may be shorter than a turn.
const PATIENCE_NS_MIN: u64 = 100_000_000;
/// Due times that wait on one tier of one carrier.
const DEFERRED_MAX: usize = 1 << 14;

impl Traffic {
    pub(super) fn new(plan: &Plan, sensors_per_device: usize) -> Self {
        let mut seeded = Seeded::new(plan.seed, 2);
        let sensors = sensors_per_device as f64;
        let rate_hz = match plan.rate {
            Rate::Hz(hz) => hz,
            Rate::Max => 0.0,
        };
        // On T1 all sensors of a device are due together; on T2 and T3 they take turns.
        let rates_hz = [rate_hz, plan.t2_rate_hz * sensors, plan.t3_rate_hz * sensors];
        Self {
            schedules: rates_hz.map(|hz| Schedule::new(hz, plan.devices, &mut seeded)),
            flat_out: plan.rate == Rate::Max,
            drawn: (plan.sampling == Sampling::Random).then(|| Seeded::new(plan.seed, 5)),
            sensors_per_device: sensors_per_device as u32,
            left: plan.count.unwrap_or(u64::MAX),
            active: Vec::new(),
            first: 0,
            late_ns_max: 0,
            blocked: 0,
            linger_until_ns: u64::MAX,
        }
    }

    /// True when every record of the plan's count has its number.
    pub(super) const fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// When something is due next, in nanoseconds since the first turn.
    pub(super) fn next_ns(&self, since_ns: u64) -> u64 {
        let due_ns = self.schedules.iter().flatten().map(Schedule::next_due_ns).min();
        let due_ns = due_ns.map_or(u64::MAX, |due_ns| due_ns.saturating_add(since_ns));
        due_ns.min(self.linger_until_ns)
    }

    /// Gives up what is due at `running_ns` and no turn had time for, and says how many records that are, for each tier.
    pub(super) fn skip_due(&mut self, running_ns: u64) -> [u64; Tier::COUNT] {
        let records = [u64::from(self.sensors_per_device), 1, 1];
        let mut skipped = [0; Tier::COUNT];
        for (tier, schedule) in self.schedules.iter_mut().enumerate() {
            let dues = schedule.as_mut().map_or(0, |schedule| schedule.skip(running_ns));
            skipped[tier] = dues * records[tier];
        }
        skipped
    }

    fn patience_ns(&self, tier: Tier) -> u64 {
        match &self.schedules[tier.index()] {
            Some(schedule) if tier == Tier::T1 => schedule.period_ns().max(PATIENCE_NS_MIN),
            _ => u64::MAX,
        }
    }
}

impl Load<'_> {
    /// The sensor that reports on T1 when it is the turn of `turn`, one of these.
    #[inline]
    fn reporting(&mut self, turn: usize, sensors: &Range<usize>) -> usize {
        match &mut self.drawn {
            None => turn,
            Some(drawn) => sensors.start + drawn.below(sensors.len() as u64) as usize,
        }
    }
}

impl Fleet {
    /// Sends what is due at `running_ns` since the schedule began. True when anything was.
    pub(super) fn poll_traffic(
        &mut self,
        engine: &mut Engine,
        since_ns: u64,
        running_ns: u64,
    ) -> bool {
        let mut busy = self.retry_deferred(engine, since_ns);
        for tier in Tier::ALL {
            busy |= self.poll_schedule(engine, tier, since_ns, running_ns);
        }
        if self.traffic.flat_out {
            busy |= self.burst(engine);
        }
        self.settle_active(engine) || busy
    }

    fn poll_schedule(
        &mut self,
        engine: &mut Engine,
        tier: Tier,
        since_ns: u64,
        running_ns: u64,
    ) -> bool {
        let per_device = self.traffic.sensors_per_device;
        for taken in 0..DUES_MAX {
            let schedule = self.traffic.schedules[tier.index()].as_mut();
            let Some(due) = schedule.and_then(|schedule| schedule.poll(running_ns)) else {
                return taken > 0;
            };
            let (turn, sensors) = match tier {
                Tier::T1 => (0, per_device),
                Tier::T2 | Tier::T3 => ((due.round % u64::from(per_device)) as u32, 1),
            };
            let sensor = due.device * per_device + turn;
            let due_ns = due.due_ns + since_ns;
            self.handle_due(engine, tier, Deferred { sensor, sensors, due_ns });
            if self.traffic.is_spent() {
                return true;
            }
        }
        true
    }

    /// Sends what is due, or keeps it behind what its carrier keeps already.
    fn handle_due(&mut self, engine: &mut Engine, tier: Tier, due: Deferred) {
        let number = self.number_of(due.sensor);
        self.activate(number);
        let first = self.carriers[number as usize].deferred[tier.index()].is_empty();
        let rest = if first { self.send(engine, tier, number, due) } else { Some(due) };
        let Some(rest) = rest else { return };
        let deferred = &mut self.carriers[number as usize].deferred[tier.index()];
        if deferred.len() < DEFERRED_MAX {
            deferred.push_back(rest);
        } else {
            self.outcome.shed[tier.index()] += u64::from(rest.sensors);
        }
    }

    /// The carrier of a sensor; the inverse of how carriers share the devices.
    fn number_of(&self, sensor: u32) -> u32 {
        let device = u64::from(sensor / self.traffic.sensors_per_device);
        (device * self.carriers.len() as u64 / u64::from(self.plan.devices)) as u32
    }

    /// Gives what is due to the carrier, and returns what found no room.
    fn send(
        &mut self,
        engine: &mut Engine,
        tier: Tier,
        number: u32,
        due: Deferred,
    ) -> Option<Deferred> {
        if self.traffic.is_spent() {
            return None;
        }
        match tier {
            Tier::T1 => self.send_t1(engine, number, due),
            Tier::T2 => self.send_t2(number, due),
            Tier::T3 => self.send_t3(engine, number, due),
        }
    }

    fn send_t1(&mut self, engine: &mut Engine, number: u32, mut due: Deferred) -> Option<Deferred> {
        let ts_us = self.at.unix_ns_of(due.due_ns) / 1_000;
        let per_device = self.traffic.sensors_per_device as usize;
        let (carrier, mut load) = self.carrier_and_load(engine, number);
        let sensors = carrier.sensors(per_device);
        // Entered before they are packed: the first of them may leave before the last one is.
        carrier.dues.push(due.due_ns, due.sensors.into());
        while due.sensors > 0 && load.left > 0 && carrier.make_room(&mut load.road) {
            let sensor = load.reporting(due.sensor as usize, &sensors);
            let record = load.population.next_record(sensor, Tier::T1, ts_us);
            carrier.coalescer.push(&record, load.at.ns);
            load.left -= 1;
            due.sensor += 1;
            due.sensors -= 1;
        }
        carrier.dues.take_back(due.sensors.into());
        self.traffic.left = load.left;
        (due.sensors > 0 && !self.traffic.is_spent()).then_some(due)
    }

    fn send_t2(&mut self, number: u32, due: Deferred) -> Option<Deferred> {
        let carrier = &mut self.carriers[number as usize];
        if !carrier.events.has_room() {
            return Some(due);
        }
        let ts_us = self.at.unix_ns_of(due.due_ns) / 1_000;
        let record = self.population.next_record(due.sensor as usize, Tier::T2, ts_us);
        carrier.events.push(&record);
        self.traffic.left -= 1;
        None
    }

    fn send_t3(&mut self, engine: &mut Engine, number: u32, due: Deferred) -> Option<Deferred> {
        let carrier = &mut self.carriers[number as usize];
        if carrier.command.is_some() || !matches!(carrier.link, Link::Open(_)) {
            return Some(due);
        }
        let due_unix_ns = self.at.unix_ns_of(due.due_ns);
        let record =
            self.population.next_record(due.sensor as usize, Tier::T3, due_unix_ns / 1_000);
        carrier.command = Some((Command::request(record, Operation::Read), due_unix_ns));
        self.traffic.left -= 1;
        self.open_command(engine, number);
        None
    }

    /// Opens the numbered command of a carrier, if its session has a stream for it now.
    pub(super) fn open_command(&mut self, engine: &mut Engine, number: u32) -> bool {
        let carrier = &mut self.carriers[number as usize];
        let (Some((request, due_ns)), Link::Open(session)) = (carrier.command, carrier.link) else {
            return false;
        };
        let Some(tag) = self.waiting.next_tag() else { return false };
        if engine.open_command(session, request, tag).is_err() {
            return false;
        }
        let sent = Sent { due_ns, sent_ns: self.at.unix_ns, carrier: number };
        self.waiting.insert(tag, sent);
        carrier.command = None;
        carrier.commands_open += 1;
        carrier.offered[Tier::T3.index()] += 1;
        self.outcome.sent[Tier::T3.index()] += 1;
        true
    }

    /// Gives every carrier that keeps due records another chance. True when any of it was sent or shed.
    fn retry_deferred(&mut self, engine: &mut Engine, since_ns: u64) -> bool {
        let mut busy = false;
        for at in 0..self.traffic.active.len() {
            let number = self.traffic.active[at];
            busy |= self.open_command(engine, number);
            for tier in Tier::ALL {
                let oldest_ns = self.at.ns.saturating_sub(self.traffic.patience_ns(tier));
                let oldest_ns = oldest_ns.max(since_ns);
                busy |= self.retry(engine, tier, number, oldest_ns);
            }
        }
        busy
    }

    fn retry(&mut self, engine: &mut Engine, tier: Tier, number: u32, oldest_ns: u64) -> bool {
        let mut busy = false;
        loop {
            let deferred = &mut self.carriers[number as usize].deferred[tier.index()];
            let Some(due) = deferred.pop_front() else { return busy };
            if due.due_ns < oldest_ns {
                self.outcome.shed[tier.index()] += u64::from(due.sensors);
            } else if let Some(rest) = self.send(engine, tier, number, due) {
                self.carriers[number as usize].deferred[tier.index()].push_front(rest);
                return busy || rest != due;
            }
            busy = true;
        }
    }

    /// Fills the sessions, each in its turn, as far as they take it.
    fn burst(&mut self, engine: &mut Engine) -> bool {
        let carriers = self.carriers.len();
        let mut busy = false;
        for _ in 0..carriers.min(BURST_CARRIERS) {
            let number = self.traffic.first as u32;
            self.traffic.first = (self.traffic.first + 1) % carriers;
            busy |= self.burst_of(engine, number);
        }
        busy
    }

    fn burst_of(&mut self, engine: &mut Engine, number: u32) -> bool {
        let per_device = self.traffic.sensors_per_device as usize;
        let ts_us = self.at.unix_ns / 1_000;
        let (carrier, mut load) = self.carrier_and_load(engine, number);
        let sensors = carrier.sensors(per_device);
        let mut turn = carrier.cursor.max(sensors.start);
        let mut pushed = 0;
        while pushed < BURST_RECORDS && load.left > 0 && carrier.make_room(&mut load.road) {
            let sensor = load.reporting(turn, &sensors);
            let record = load.population.next_record(sensor, Tier::T1, ts_us);
            carrier.coalescer.push(&record, load.at.ns);
            turn = if turn + 1 == sensors.end { sensors.start } else { turn + 1 };
            load.left -= 1;
            pushed += 1;
        }
        carrier.cursor = turn;
        self.traffic.left = load.left;
        if pushed > 0 {
            self.activate(number);
        }
        pushed > 0
    }

    /// Sends what carriers packed, and forgets those with nothing left. True when anything left.
    fn settle_active(&mut self, engine: &mut Engine) -> bool {
        let mut active = std::mem::take(&mut self.traffic.active);
        let (mut busy, mut blocked, mut linger_until_ns) = (false, 0, u64::MAX);
        active.retain(|&number| {
            let now_ns = self.at.ns;
            let (carrier, mut load) = self.carrier_and_load(engine, number);
            busy |= carrier.settle(&mut load.road, now_ns);
            blocked += u64::from(!carrier.deferred[Tier::T1.index()].is_empty());
            if let Some(until_ns) = carrier.coalescer.deadline_ns() {
                linger_until_ns = linger_until_ns.min(until_ns);
            }
            carrier.active = carrier.is_waiting();
            carrier.active
        });
        self.traffic.active = active;
        self.traffic.blocked = blocked;
        self.traffic.linger_until_ns = linger_until_ns;
        busy
    }

    /// Puts a carrier on the list of those with something to settle, once.
    pub(super) fn activate(&mut self, number: u32) {
        if !std::mem::replace(&mut self.carriers[number as usize].active, true) {
            self.traffic.active.push(number);
        }
    }

    /// A carrier, and apart from it everything that its records need.
    pub(super) fn carrier_and_load<'a>(
        &'a mut self,
        engine: &'a mut Engine,
        number: u32,
    ) -> (&'a mut Carrier, Load<'a>) {
        let Self { carriers, chunks, outcome, population, traffic, interval, at, .. } = self;
        let Outcome { form, sent, shed, .. } = outcome;
        let lateness = Lateness { interval, ns_max: &mut traffic.late_ns_max, now_ns: at.ns };
        let road = Road { engine, chunks, account: Account { form, sent, shed, lateness } };
        let (drawn, left) = (traffic.drawn.as_mut(), traffic.left);
        (&mut carriers[number as usize], Load { road, population, drawn, left, at: *at })
    }
}
