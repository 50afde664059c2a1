//! A world with the worker's ends of its rings, driven in virtual time.
#![allow(dead_code, reason = "each test uses its own part of the rig")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netloop::slot::ACK;
use netloop::{
    CloseReason, Due, NO_HINT, Outbound, RingPort, SessionEvent, SessionId, Slot, TierTally,
    WorkerStats,
};
use twin::config::Config;
use twin::interval::{IntervalConsumer, IntervalProducer, exchange};
use twin::parting::Patience;
use twin::stats::{TierTotals, TwinStats};
use twin::world::{LaneCapacities, Lanes, World, WorldOptions, lanes};
use wire::{
    Command, DeviceId, Hello, Operation, Reading, Record, SensorType, Status, Tier, Totals,
    capability,
};

/// Where virtual time begins, in nanoseconds since the Unix epoch.
pub(crate) const START_NS: u64 = 1_800_000_000_000_000_000;
/// One tick at 1 kHz.
pub(crate) const TICK_NS: u64 = 1_000_000;

/// Why pushing an event cannot fail.
const ROOM: &str = "room because a test takes few steps between two ticks";

pub(crate) const CAPACITIES: LaneCapacities =
    LaneCapacities { tiers: [1 << 14, 1 << 12, 1 << 8], events: 1 << 8, outbound: 1 << 8 };

pub(crate) struct Rig {
    pub(crate) world: World,
    pub(crate) port: RingPort,
    /// Of the workers behind the first.
    pub(crate) others: Vec<RingPort>,
    pub(crate) lanes: Lanes,
    pub(crate) worker: Arc<WorkerStats>,
    pub(crate) stats: Arc<TwinStats>,
    pub(crate) producer: IntervalProducer,
    pub(crate) consumer: IntervalConsumer,
    pub(crate) now_ns: u64,
    pub(crate) next_tick: u64,
    tallies: HashMap<u32, [TierTally; 3]>,
    hints: HashMap<u32, HashMap<[u8; 18], u32>>,
}

/// The options of the default configuration, without thresholds.
pub(crate) fn options() -> WorldOptions {
    let mut options = WorldOptions::new(&Config::default(), [11, 13]);
    options.hz = 1000;
    options.entities_max = 1 << 20;
    options.sessions_max = 64;
    options.drain = [1 << 16, 1 << 14, 1 << 10];
    options.limits = [twin::world::Limits::NONE; SensorType::COUNT];
    options
}

/// Longer than any writer takes, whatever the machine.
pub(crate) fn patience() -> Patience {
    Patience::of(Duration::from_secs(60))
}

impl Rig {
    pub(crate) fn new(options: WorldOptions) -> Self {
        Self::with_capacities(options, &CAPACITIES)
    }

    pub(crate) fn with_capacities(options: WorldOptions, capacities: &LaneCapacities) -> Self {
        Self::with_workers(options, capacities, 1)
    }

    pub(crate) fn with_workers(
        options: WorldOptions,
        capacities: &LaneCapacities,
        workers: usize,
    ) -> Self {
        let workers: Vec<_> = (0..workers).map(|_| WorkerStats::shared()).collect();
        let worker = Arc::clone(&workers[0]);
        let stats = Arc::new(TwinStats::default());
        let (mut others, lanes) = lanes(capacities, &workers, Due::default());
        let port = others.remove(0);
        let (producer, consumer, interval) = exchange(0);
        let world = World::new(options, Arc::clone(&stats), interval);
        Self {
            world,
            port,
            others,
            lanes,
            worker,
            stats,
            producer,
            consumer,
            now_ns: START_NS,
            next_tick: 0,
            tallies: HashMap::new(),
            hints: HashMap::new(),
        }
    }

    pub(crate) fn tick(&mut self) {
        self.now_ns += TICK_NS;
        let now_ns = self.now_ns;
        self.world.tick(&mut self.lanes, self.next_tick, &mut || now_ns);
        self.next_tick += 1;
    }

    pub(crate) fn ticks(&mut self, count: u64) {
        (0..count).for_each(|_| self.tick());
    }

    /// The rings of the worker that has a session.
    pub(crate) fn port_of(&mut self, session: u32) -> &mut RingPort {
        match SessionId(session).worker(1 + self.others.len()) {
            0 => &mut self.port,
            other => &mut self.others[other - 1],
        }
    }

    pub(crate) fn open(&mut self, session: u32) {
        let remote = SocketAddr::from(([127, 0, 0, 1], 4433));
        let event = SessionEvent::Opened { session: SessionId(session), remote };
        self.port_of(session).events.push(event).expect(ROOM);
        self.tallies.insert(session, [TierTally::default(); 3]);
        self.hints.insert(session, HashMap::new());
    }

    pub(crate) fn hello(&mut self, session: u32, epoch: u32) {
        let capabilities = capability::COMMANDS | capability::TOTALS;
        let hello = Hello { capabilities, epoch, device: DeviceId([9; 16]) };
        let event = SessionEvent::Hello { session: SessionId(session), hello, proven: true };
        self.port_of(session).events.push(event).expect(ROOM);
    }

    pub(crate) fn close(&mut self, session: u32, totals: Option<Totals>) {
        let event = SessionEvent::Closed {
            session: SessionId(session),
            reason: CloseReason::Idle,
            tally: self.tallies[&session],
            totals,
        };
        self.port.events.push(event).expect(ROOM);
    }

    /// What the worker does with a record: hint, stamp, push, and shed what finds the ring full.
    pub(crate) fn receive(
        &mut self,
        tier: Tier,
        session: u32,
        epoch: u32,
        record: &Record,
    ) -> bool {
        let hint = match self.hints.get_mut(&session) {
            Some(hints) => {
                let next = hints.len() as u32;
                *hints.entry(*record.key()).or_insert(next)
            }
            None => NO_HINT,
        };
        self.push(tier, Slot { hint, session, epoch, ..self.slot(record) })
    }

    pub(crate) fn push(&mut self, tier: Tier, slot: Slot) -> bool {
        let (ring, stats) = match tier {
            Tier::T1 => (&mut self.port.t1, &self.worker.t1),
            Tier::T2 => (&mut self.port.t2, &self.worker.t2),
            Tier::T3 => (&mut self.port.t3, &self.worker.t3),
        };
        let mut none = [TierTally::default(); 3];
        let tallies = self.tallies.get_mut(&slot.session).unwrap_or(&mut none);
        tallies[tier.index()].received += 1;
        stats.received.add(1);
        let pushed = ring.push(slot).is_ok();
        if !pushed {
            tallies[tier.index()].shed += 1;
            stats.shed.add(1);
        }
        pushed
    }

    /// What the worker does with records in the name of a device that is not the session's.
    pub(crate) fn forbid(&mut self, tier: Tier, session: u32, records: u64) {
        let at = tier.index();
        let tally = &mut self.tallies.get_mut(&session).expect("it was opened")[at];
        tally.received += records;
        tally.rejected += records;
        tally.forbidden += records;
        let stats = [&self.worker.t1, &self.worker.t2, &self.worker.t3][at];
        stats.received.add(records);
        stats.rejected.add(records);
        self.worker.forbidden[at].add(records);
    }

    pub(crate) fn slot(&self, record: &Record) -> Slot {
        let recv_ns = self.now_ns + TICK_NS / 2;
        Slot { recv_ns, lag_ns: 700, ..Slot::new(*record.as_bytes()) }
    }

    pub(crate) fn totals(&self, tier: Tier) -> TierTotals {
        self.world.totals(tier, &self.lanes)
    }
}

pub(crate) fn device(number: u32) -> DeviceId {
    let mut bytes = [0xd0; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    DeviceId(bytes)
}

pub(crate) fn reading(number: u32, sensor_id: u16, seq: u32, value: f64) -> Reading {
    Reading {
        device: device(number),
        sensor_id,
        value,
        ts_us: START_NS / 1000 + u64::from(seq) * 100,
        seq,
        sensor_type: SensorType::Temperature,
    }
}

pub(crate) fn record(number: u32, sensor_id: u16, seq: u32, value: f64) -> Record {
    Record::encode(&reading(number, sensor_id, seq, value))
}

/// Small, seedable numbers for tests; the seed is printed by whoever fails.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

impl Rig {
    /// What devices do in a tick: those of six sessions come and go, stray between sessions, send everything that there is to
    /// send, and answer most commands.
    pub(crate) fn feed(&mut self, random: &mut Random, tick: u64) {
        for session in 0..6 {
            if random.below(400) == 0 {
                let totals = (random.below(2) == 0).then(Totals::default);
                self.close(session, totals);
                self.open(session);
                self.hello(session, random.below(3) as u32);
            }
            for _ in 0..random.below(60) {
                let number = (session + random.below(2) as u32) % 40 + random.below(20) as u32;
                let seq = tick as u32 * 2 + random.below(3) as u32;
                let value = random.below(100) as f64 + 0.5;
                let record = Record::encode(&reading(number, random.below(4) as u16, seq, value));
                let tier = if random.below(5) == 0 { Tier::T2 } else { Tier::T1 };
                self.receive(tier, session, session % 2, &record);
            }
        }
        let read = Record::encode(&reading(random.below(50) as u32, 1, tick as u32, 0.0));
        let read = Command::request(read, Operation::Read);
        self.push(Tier::T3, Slot { session: 1, hint: tick as u32, ..self.slot(&read) });
        while let Some(outbound) = self.port.stops.pop().or_else(|| self.port.outbound.pop()) {
            if let Outbound::Command { session, request, tag } = outbound
                && random.below(4) > 0
            {
                let ack = Command::ack(request, Status::Ok, request.value());
                let end = Slot { flags: ACK, hint: tag, session: session.0, ..self.slot(&ack) };
                self.push(Tier::T3, end);
            }
        }
    }
}
