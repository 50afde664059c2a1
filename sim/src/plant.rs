//! One run: devices, network, workers and world, from event to event in virtual time.
//!
//! Whatever is due at a moment happens in one order: datagrams arrive, devices take their turns by number, workers by
//! index, then the tick. So the order of everything is a function of the scenario.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netloop::{Consumer, Due, Now, Slot, Steering};
use twin::capture::{
    Header, Mark, MarkKind, Reader, Replay, SEGMENT_CELLS_MAX, Segments, State, Step, Tap, tap,
};
use twin::config::{Config, Keep};
use twin::interval::{IntervalConsumer, IntervalProducer, exchange};
use twin::order::orders;
use twin::stats::TwinStats;
use twin::world::{ACTUATOR_ID, LaneCapacities, Lanes, Limits, Rule, World, WorldOptions, lanes};
use wire::SensorType;

use crate::cells::unpack;
use crate::chance::Chance;
use crate::check::Check;
use crate::crypto;
use crate::device::Device;
use crate::flood::Flood;
use crate::network::{Network, Way};
use crate::operator::Operator;
use crate::queues::Queues;
use crate::sabotage::Sabotage;
use crate::samples::Timing;
use crate::scenario::{Kind, Runs, Scenario};
use crate::worker::{SESSIONS_MAX, Worker};

/// Something that may not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When, in microseconds since the start.
    pub at_us: u64,
    /// In which tick.
    pub tick: u64,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} us, tick {}: {}", self.at_us, self.tick, self.what)
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The first thing that may not be, if there was one.
    pub violation: Option<Violation>,
    /// Hash of the world after every tick.
    pub hashes: Vec<u64>,
    /// A number that every byte on the wire has decided.
    pub wire_hash: u64,
    /// Datagrams sent, and those that the network lost.
    pub datagrams: [u64; 2],
    /// Records that the ticks took, of all tiers.
    pub records: u64,
    /// Sessions that devices opened.
    pub sessions: u64,
    /// Orders of the operator that ended, by [`twin::order::Outcome::index`].
    pub orders: [u64; twin::order::Outcome::NAMES.len()],
    /// What faults lost by chance, by the number of the fault.
    pub losses: Vec<(u64, Runs)>,
    /// How long things took.
    pub timing: Timing,
    /// Virtual time of the run, in microseconds.
    pub simulated_us: u64,
}

/// Slots of the ring through which the checks see what a tick took.
const TAP_CELLS: usize = SEGMENT_CELLS_MAX;
/// Time moves on by as much at least.
const STEP_NS: u64 = 5_000;
/// How long devices may take to leave.
const LEAVE_US: u64 = 3_000_000;
/// Latencies of the twin itself are nobody's here: they are thrown away so often, in ticks.
const FORGET_EVERY: u64 = 1 << 12;
/// The pace of the checks between twin and devices, in ticks.
const DEVICES_EVERY: u64 = 50;

/// Runs a scenario to its end, or to the first violation.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    run_sabotaged(scenario, None)
}

/// Runs a scenario whose checks are shown something else than what was, once.
#[must_use]
pub fn run_sabotaged(scenario: &Scenario, sabotage: Option<Sabotage>) -> Outcome {
    let mut plant = Plant::new(scenario);
    plant.sabotage = sabotage;
    let violation = plant.run().or_else(|| plant.replay());
    let mut timing = Timing {
        to_world: std::mem::take(&mut plant.check.to_world),
        age: std::mem::take(&mut plant.check.age),
        ..Timing::default()
    };
    plant.devices.iter().for_each(|device| timing.reads.add(&device.done.read_us));
    let sessions = plant.devices.iter().map(|device| device.done.sessions).sum();
    Outcome {
        violation,
        hashes: plant.hashes,
        wire_hash: plant.network.wire_hash,
        datagrams: [plant.network.sent, plant.network.lost],
        records: plant.check.records,
        sessions,
        orders: plant.operator.ended,
        losses: plant.network.losses(),
        timing,
        simulated_us: plant.at_ns / 1_000,
    }
}

struct Plant<'a> {
    scenario: &'a Scenario,
    base: Now,
    at_ns: u64,
    /// How far the twin's wall clock has jumped ahead.
    jumped_ns: i64,
    network: Network,
    devices: Vec<Device>,
    /// When the first of them has something to do.
    devices_ns: u64,
    /// Faults that strike once, and have.
    struck: BTreeSet<u64>,
    moves: u32,
    floods: Vec<Flood>,
    operator: Operator,
    workers: Vec<Worker>,
    steering: Steering,
    world: World,
    lanes: Lanes,
    consumed: Consumer<Slot>,
    cells: Vec<Slot>,
    /// Everything that was consumed, as a capture.
    captured: Vec<u8>,
    segments: Segments,
    producer: IntervalProducer,
    consumer: IntervalConsumer,
    tick: u64,
    check: Check,
    queues: Queues,
    sabotage: Option<Sabotage>,
    hashes: Vec<u64>,
}

impl<'a> Plant<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        crypto::reseed(scenario.seed);
        let base = Now::simulated();
        let stats = Arc::new(TwinStats::new(scenario.workers.into()));
        let capacities =
            LaneCapacities { tiers: scenario.rings, events: 64, outbound: scenario.rings[2] };
        let (ports, mut lanes) = lanes(&capacities, stats.workers(), Due::default());
        let seed = Chance::new(scenario.seed, 0x5e71).bytes();
        let (workers, steering) =
            Worker::share(ports, stats.workers(), seed, scenario.rest_us, base);
        let (tap, consumed): (Tap, _) = tap(TAP_CELLS, Arc::clone(&stats));
        lanes.tap = Some(tap);
        let (producer, consumer, interval) = exchange(0);
        let devices = scenario.devices.iter().map(|plan| Device::new(*plan, scenario.seed, base));
        let floods = scenario.faults.iter().filter_map(|of| Flood::of(of, scenario.seed, base));
        let (desk, orders) = orders();
        let mut world = World::new(options(scenario), stats, interval);
        world.command(orders);
        Self {
            scenario,
            base,
            at_ns: 0,
            jumped_ns: 0,
            network: Network::new(scenario),
            devices: devices.collect(),
            devices_ns: 0,
            struck: BTreeSet::new(),
            moves: 0,
            floods: floods.collect(),
            operator: Operator::new(scenario, desk),
            workers,
            steering,
            world,
            lanes,
            consumed,
            cells: Vec::new(),
            captured: header(),
            segments: Segments::default(),
            producer,
            consumer,
            tick: 0,
            check: Check::default(),
            queues: Queues::new(scenario),
            sabotage: None,
            hashes: Vec::new(),
        }
    }

    fn run(&mut self) -> Option<Violation> {
        let until_ns = self.scenario.until_us() * 1_000;
        if let Some(violation) = self.run_to(until_ns, |_| false) {
            return Some(violation);
        }
        let (unix_ns, tick_us) = (self.now().unix_ns, 1_000_000 / u64::from(self.scenario.hz));
        self.check.healed(&self.devices, &self.world, unix_ns, tick_us);
        self.check.wrong = self.check.wrong.take().or_else(|| self.operator.healed());
        self.check.devices(&self.devices, &self.world, &self.lanes);
        self.devices.iter_mut().for_each(Device::leave);
        self.devices_ns = 0;
        self.check.leaving = true;
        let left = |plant: &Self| plant.workers.iter().all(|of| of.engine.open_sessions() == 0);
        let violation = self.run_to(until_ns + LEAVE_US * 1_000, left);
        if violation.is_some() || self.check.wrong.is_some() {
            return violation.or_else(|| self.violation());
        }
        if !left(self) {
            self.check.wrong = Some("devices cannot leave in order".to_owned());
        }
        // The tick that takes what came with the end.
        let last_ns = self.tick_ns(self.tick + 2);
        self.run_to(last_ns, |_| false).or_else(|| {
            self.check.left(&self.devices, &self.lanes);
            self.check.devices(&self.devices, &self.world, &self.lanes);
            self.violation()
        })
    }

    /// What was captured makes the same world, tick by tick; halfway another one takes over, from a state of the first.
    fn replay(&mut self) -> Option<Violation> {
        let mut reader =
            Reader::open(Cursor::new(&self.captured)).expect("its header was just written");
        let mut replay = Replay::with_options(options(self.scenario));
        let mut hashes = self.hashes.iter();
        let halfway = self.hashes.len() / 2;
        loop {
            if hashes.len() == halfway {
                replay = self.resumed(&replay);
            }
            let step = reader.next_step();
            let Ok(Some(Step::Tick(frame))) = step else {
                if !matches!(step, Ok(None)) || hashes.next().is_some() {
                    self.check.wrong = Some(format!("the capture ends with {step:?}"));
                }
                return self.violation();
            };
            replay.apply(&frame);
            if replay.difference().is_some() || hashes.next() != Some(&replay.world().state_hash())
            {
                let tick = frame.tick;
                self.check.wrong = Some(format!("the replay of tick {tick} has another world"));
                return self.violation();
            }
        }
    }

    /// A replay that begins with the state of this one.
    fn resumed(&self, from: &Replay) -> Replay {
        let mut replay = Replay::with_options(options(self.scenario));
        let restored = from.world().with_saved(|saved| replay.restore(&State { tick: 0, saved }));
        restored.expect("a state that was just saved is one of the same options");
        replay
    }

    fn violation(&self) -> Option<Violation> {
        let what = self.check.wrong.clone()?;
        Some(Violation { at_us: self.at_ns / 1_000, tick: self.tick, what })
    }

    /// Goes from event to event until the time, the end or a violation.
    fn run_to(&mut self, until_ns: u64, ended: impl Fn(&Self) -> bool) -> Option<Violation> {
        while self.at_ns < until_ns && !ended(self) {
            self.step();
            if self.check.wrong.is_some() {
                return self.violation();
            }
        }
        None
    }

    fn step(&mut self) {
        let workers = self.workers.iter().map(|worker| self.wake_ns(worker)).min();
        let floods = self.floods.iter().map(|flood| flood.next_ns).min();
        let (ordered, tick) = (Some(self.operator.next_ns), Some(self.tick_ns(self.tick)));
        let devices = Some(self.devices_ns);
        let next = [self.network.next_ns(), devices, workers, floods, ordered, tick];
        let next_ns = next.into_iter().flatten().min().unwrap_or(u64::MAX);
        // A timer may be due already when it is armed, and a wheel tells its slot and not the moment in it.
        self.at_ns = next_ns.max(self.at_ns + STEP_NS);
        self.strike();
        let now = self.now();
        let scenario = self.scenario;
        self.operator.turn(scenario, &self.devices, &self.world, now, self.at_ns);
        self.flood();
        let mut heard = BTreeSet::new();
        while let Some(arrival) = self.network.poll(self.at_ns) {
            match arrival.way {
                Way::ToTwin => self.receive(arrival.from, &arrival.payload),
                Way::ToDevice => {
                    let (at, now) = (self.place(arrival.device), self.now());
                    self.devices[at].receive(now, &arrival.payload);
                    heard.insert(arrival.device);
                }
            }
        }
        self.turn_devices(&heard);
        self.turn_workers();
        if self.tick_ns(self.tick) <= self.at_ns {
            self.tick();
        }
    }

    /// The device's place in the list: numbers stay when others are cut out.
    fn place(&self, number: u32) -> usize {
        let place = self.devices.iter().position(|device| device.plan.number == number);
        place.expect("paths lead to devices of the scenario")
    }

    fn now(&self) -> Now {
        self.base.plus(Duration::from_nanos(self.at_ns))
    }

    /// The moment as the twin has it.
    fn twin_now(&self) -> Now {
        let now = self.now();
        Now { unix_ns: now.unix_ns.saturating_add_signed(self.jumped_ns), ..now }
    }

    fn tick_ns(&self, tick: u64) -> u64 {
        (tick + 1) * 1_000_000_000 / u64::from(self.scenario.hz)
    }

    fn wake_ns(&self, worker: &Worker) -> u64 {
        let timeout = worker.engine.poll_timeout();
        let timeout =
            timeout.map(|at| at.saturating_duration_since(self.base.instant).as_nanos() as u64);
        let wake_ns = [timeout, worker.wake_ns].into_iter().flatten().min().unwrap_or(u64::MAX);
        wake_ns.max(self.stalled_until_ns(|kind| kind == Kind::StallWorkers))
    }

    /// When the last of these faults that strike now ends; 0 when none does.
    fn stalled_until_ns(&self, of: impl Fn(Kind) -> bool) -> u64 {
        let at_us = self.at_ns / 1_000;
        let faults = self.scenario.faults.iter().filter(|fault| of(fault.kind));
        let strike = faults.filter(|fault| (fault.from_us..fault.until_us).contains(&at_us));
        strike.map(|fault| fault.until_us * 1_000).max().unwrap_or(0)
    }

    /// What faults do at their beginning.
    fn strike(&mut self) {
        let now = self.now();
        for fault in &self.scenario.faults {
            let once = matches!(fault.kind, Kind::Address | Kind::Reboot | Kind::ClockJump(_));
            if !once || fault.from_us * 1_000 > self.at_ns || !self.struck.insert(fault.number) {
                continue;
            }
            if let Kind::ClockJump(us) = fault.kind {
                self.jumped_ns += us * 1_000;
            }
            let is_struck = |number: u32| fault.device.is_none_or(|of| of == number);
            for device in self.devices.iter_mut().filter(|of| is_struck(of.plan.number)) {
                match fault.kind {
                    Kind::Address => {
                        self.moves += 1;
                        self.network.move_device(device.plan.number, self.moves);
                    }
                    Kind::Reboot => {
                        device.reboot(now, self.at_ns);
                        self.devices_ns = 0;
                    }
                    _ => {}
                }
            }
        }
    }

    /// What floods send is there at once: it has no path of its own.
    fn flood(&mut self) {
        let now = self.now();
        for at in 0..self.floods.len() {
            let mut sent = Vec::new();
            let send = &mut |from, payload: &[u8]| sent.push((from, payload.to_vec()));
            self.floods[at].turn(now, self.at_ns, send);
            for (from, payload) in sent {
                self.receive(from, &payload);
            }
        }
    }

    /// Gives a datagram to the worker to which the kernel would, and from there to the one that knows its session.
    fn receive(&mut self, from: SocketAddr, payload: &[u8]) {
        let arrived = usize::from(from.port()) % self.workers.len();
        let owner = self.steering.owner(payload).filter(|owner| *owner < self.workers.len());
        let now = self.twin_now();
        self.workers[owner.unwrap_or(arrived)].receive(now, self.at_ns, from, payload);
    }

    fn turn_devices(&mut self, heard: &BTreeSet<u32>) {
        if heard.is_empty() && self.devices_ns > self.at_ns {
            return;
        }
        let now = self.now();
        self.devices_ns = u64::MAX;
        for device in &mut self.devices {
            let number = device.plan.number;
            if heard.contains(&number) || device.next_ns <= self.at_ns {
                let (network, at_ns) = (&mut self.network, self.at_ns);
                device.turn(now, at_ns, &mut |_, payload| {
                    network.send(at_ns, number, Way::ToTwin, payload);
                });
            }
            self.devices_ns = self.devices_ns.min(device.next_ns);
        }
    }

    fn turn_workers(&mut self) {
        let now = self.twin_now();
        for at in 0..self.workers.len() {
            if self.wake_ns(&self.workers[at]) <= self.at_ns {
                let (network, at_ns) = (&mut self.network, self.at_ns);
                self.workers[at].turn(now, at_ns, &mut |to, payload| {
                    // An address that no device has any more leads nowhere.
                    if let Some(device) = network.device_at(to) {
                        network.send(at_ns, device, Way::ToDevice, payload);
                    }
                });
            }
        }
    }

    fn tick(&mut self) {
        let resumes_ns = self.stalled_until_ns(|kind| kind == Kind::StallTicks);
        if resumes_ns > self.at_ns {
            // These are missed, and never run.
            self.tick += 1;
            return;
        }
        let unix_ns = self.twin_now().unix_ns;
        self.queues.before(&mut self.lanes);
        self.world.tick(&mut self.lanes, self.tick, &mut || unix_ns);
        let starved = self.queues.after(&mut self.lanes);
        self.tick += 1;
        self.hashes.push(self.world.state_hash());
        for (lane, worker) in self.lanes.workers_mut().iter_mut().zip(&mut self.workers) {
            if lane.take_asked() {
                worker.wake(self.at_ns);
            }
        }
        self.cells.clear();
        let cells = &mut self.cells;
        self.consumed.pop_chunk(TAP_CELLS, |front, back| {
            cells.extend_from_slice(front);
            cells.extend_from_slice(back);
        });
        self.segments.write(&mut self.captured, cells, &[]).expect(MEMORY);
        unpack(cells);
        let ended = cells.last().is_some_and(|cell| Mark::of(cell).kind() == Some(MarkKind::Tick));
        assert!(ended, "the tap has room for a tick because the budgets are below it");
        if self.sabotage.is_some_and(|sabotage| sabotage.strike(&mut self.cells)) {
            self.sabotage = None;
        }
        let now_us = self.now().unix_ns / 1_000;
        self.check.tick(&self.cells, &self.world, &self.lanes, now_us);
        self.check.sessions(&mut self.workers, &self.lanes);
        let wrong = self.check.wrong.take();
        self.check.wrong = wrong.or(starved).or_else(|| self.operator.wrong.take());
        if self.tick.is_multiple_of(DEVICES_EVERY) {
            self.check.devices(&self.devices, &self.world, &self.lanes);
            self.check.bounds(self.scenario, &self.workers, &self.world);
        }
        if self.tick.is_multiple_of(FORGET_EVERY) {
            self.producer.swap(self.world.interval_mut(), self.at_ns);
            while let Some(interval) = self.consumer.poll() {
                self.consumer.recycle(interval);
            }
        }
    }
}

const MEMORY: &str = "memory takes all of it";

fn header() -> Vec<u8> {
    let mut bytes = Vec::new();
    Header::of_this_build(0, Keep::First, String::new()).write(&mut bytes).expect(MEMORY);
    bytes
}

fn options(scenario: &Scenario) -> WorldOptions {
    let mut options = WorldOptions::new(&Config::default(), [11, 13]);
    options.hz = scenario.hz;
    options.entities_max = 1 << 12;
    options.sessions_max = SESSIONS_MAX;
    options.drain = scenario.drain;
    options.outlier_us = 10_000;
    options.limits = [Limits::new(80.0, 0.0, 2.0); SensorType::COUNT];
    let rule = Rule {
        sensor_type: SensorType::Temperature,
        above: 70.0,
        actuator_id: ACTUATOR_ID,
        setpoint: 20.0,
    };
    options.rules = if scenario.rule { vec![rule] } else { Vec::new() };
    options
}
