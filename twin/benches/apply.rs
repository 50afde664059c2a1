//! What a record costs between its ring and its row: one call of `World::tick` over batches of 36 that wait in the ring.
//!
//! `sequential` is a session that names its sensors in order, `random` one that names them in any order; pushing into the
//! ring is not timed. The answer is in records per second.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use netloop::{Due, RUN_RECORDS_MAX, RingPort, Run, SessionEvent, SessionId, WorkerStats};
use twin::config::Config;
use twin::interval::exchange;
use twin::picture::pictures;
use twin::stats::TwinStats;
use twin::world::{LaneCapacities, Lanes, Watch, World, WorldOptions, lanes};
use wire::{DeviceId, RECORD_BYTES, Reading, Record, SensorType};

fn main() {
    divan::main();
}

const START_NS: u64 = 1_800_000_000_000_000_000;
/// Records of one DATAGRAM frame.
const BATCH_RECORDS: usize = 36;
/// Records of one tick.
const TICK_RECORDS: usize = 400 * BATCH_RECORDS;
/// Sensors of one device.
const SENSORS: u32 = 5;

struct Plant {
    world: World,
    port: RingPort,
    lanes: Lanes,
    /// A record of each sensor, in the order in which they come, and their hints.
    records: Vec<[u8; RECORD_BYTES]>,
    hints: Vec<u32>,
    at: usize,
    tick: u64,
}

/// Sensors in an order that no prefetcher knows; every number once.
fn shuffled(sensors: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..sensors).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for at in (1..order.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(at, random as usize % (at + 1));
    }
    order
}

fn record(sensor: u32) -> [u8; RECORD_BYTES] {
    let mut device = [0xd0; 16];
    device[12..].copy_from_slice(&(sensor / SENSORS).to_be_bytes());
    let reading = Reading {
        device: DeviceId(device),
        sensor_id: (sensor % SENSORS) as u16,
        value: f64::from(sensor % 1000) / 16.0,
        ts_us: START_NS / 1000,
        seq: 0,
        sensor_type: SensorType::ALL[(sensor % SENSORS) as usize + 1],
    };
    *Record::encode(&reading).as_bytes()
}

/// Does what a worker does with the records of a packet.
fn push_runs(port: &mut RingPort, recv_ns: u64, hints: &[u32], records: &[[u8; RECORD_BYTES]]) {
    let mut records: &[Record] = bytemuck::cast_slice(records);
    let counted = hints.is_sorted_by(|one, next| one + 1 == *next);
    for hints in hints.chunks(RUN_RECORDS_MAX) {
        let (run, rest) = records.split_at(hints.len());
        records = rest;
        let (hint, listed) = (hints[0], if counted { &[] } else { &hints[1..] });
        let run =
            Run { recv_ns, hint, listed, session: 0, epoch: 0, lag_ns: 0, flags: 0, records: run };
        assert_eq!(port.t1.push_run(&run), hints.len(), "the last tick emptied the ring");
    }
}

fn options() -> WorldOptions {
    let mut options = WorldOptions::new(&Config::default(), [17, 19]);
    options.hz = 1000;
    options.entities_max = 1 << 20;
    options.sessions_max = 16;
    options.drain = [1 << 18, 64, 64];
    options
}

impl Plant {
    /// A plant whose rows lie in the order of the hints.
    fn new(sensors: u32, order: &[u32]) -> Self {
        let capacities = LaneCapacities { tiers: [1 << 18, 64, 64], events: 64, outbound: 64 };
        let (mut ports, lanes) = lanes(&capacities, &[WorkerStats::shared()], Due::default());
        let mut port = ports.remove(0);
        let (_, _, interval) = exchange(0);
        let world = World::new(options(), Arc::new(TwinStats::default()), interval);
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let opened = SessionEvent::Opened { session: SessionId(0), remote };
        port.events.push(opened).expect("an empty ring has room");
        let records = order.iter().map(|&sensor| record(sensor)).collect();
        let mut plant = Self { world, port, lanes, records, hints: order.to_vec(), at: 0, tick: 0 };
        let hints: Vec<u32> = (0..sensors).collect();
        let in_order: Vec<_> = hints.iter().map(|&sensor| record(sensor)).collect();
        for (hints, part) in hints.chunks(TICK_RECORDS).zip(in_order.chunks(TICK_RECORDS)) {
            push_runs(&mut plant.port, START_NS, hints, part);
            // A spawn counts as many records of a tick's budget, so that a plant comes up over several ticks.
            while plant.port.t1.depth() > 0 {
                plant.tick();
            }
        }
        assert_eq!(plant.world.entities(), sensors as usize);
        plant
    }

    /// Puts the next records of the round into the ring, each with the next number of its sensor.
    fn fill(&mut self, batches: usize) {
        for batch in 0..batches {
            let recv_ns = START_NS + self.tick * 1_000_000 + batch as u64 * 1000;
            let end = (self.at + BATCH_RECORDS).min(self.records.len());
            let part = self.at..end;
            for record in &mut self.records[part.clone()] {
                let seq = Record::from_bytes(*record).seq().wrapping_add(1).to_le_bytes();
                record[34..38].copy_from_slice(&seq);
            }
            push_runs(&mut self.port, recv_ns, &self.hints[part.clone()], &self.records[part]);
            self.at = if end == self.records.len() { 0 } else { end };
        }
    }

    fn tick(&mut self) {
        let now_ns = START_NS + self.tick * 1_000_000 + 900_000;
        self.world.tick(&mut self.lanes, self.tick, &mut || now_ns);
        self.tick += 1;
    }
}

fn measure(bencher: Bencher, sensors: u32, order: &[u32]) {
    let plant = RefCell::new(Plant::new(sensors, order));
    bencher
        .counter(ItemsCount::new(TICK_RECORDS))
        .with_inputs(|| plant.borrow_mut().fill(TICK_RECORDS / BATCH_RECORDS))
        .bench_local_values(|()| plant.borrow_mut().tick());
}

#[divan::bench(args = [10_000, 50_000, 200_000], sample_count = 300, sample_size = 1)]
fn sequential(bencher: Bencher, sensors: u32) {
    measure(bencher, sensors, &(0..sensors).collect::<Vec<_>>());
}

#[divan::bench(args = [10_000, 50_000, 200_000], sample_count = 300, sample_size = 1)]
fn random(bencher: Bencher, sensors: u32) {
    measure(bencher, sensors, &shuffled(sensors));
}

/// A million records a second at 1 kHz, about.
const THOUSAND: usize = 28 * BATCH_RECORDS;

/// Who looks at the rows: nobody can, somebody could and does not, or the cold thread does.
#[derive(Debug, Clone, Copy)]
enum Look {
    Never,
    Idle,
    Always,
}

/// A tick of a plant of 200,000 sensors, and what showing its rows adds to it.
#[divan::bench(args = [Look::Never, Look::Idle, Look::Always], sample_count = 4000, sample_size = 1)]
fn shown(bencher: Bencher, look: Look) {
    let mut plant = Plant::new(200_000, &shuffled(200_000));
    let (producer, mut looks) = pictures();
    looks.want(matches!(look, Look::Always));
    if !matches!(look, Look::Never) {
        plant.world.attach(Watch::new(producer, 1000, 16));
    }
    let plant = RefCell::new(plant);
    bencher
        .counter(ItemsCount::new(THOUSAND))
        .with_inputs(|| {
            plant.borrow_mut().fill(THOUSAND / BATCH_RECORDS);
            while let Some(picture) = looks.poll().filter(|_| matches!(look, Look::Always)) {
                looks.recycle(picture);
            }
        })
        .bench_local_values(|()| plant.borrow_mut().tick());
}
