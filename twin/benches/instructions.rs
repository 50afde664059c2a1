//! Fixed, seeded work whose instructions are counted: a performance test without a clock.
//!
//! `PART ITERATIONS` does a part so often; without arguments every part runs twice, which shows that it runs.
//! `scripts/instructions.sh` runs each part with two numbers of iterations under callgrind; the difference is what one
//! iteration costs, whatever start and set-up cost.
#![allow(clippy::unwrap_used, reason = "a benchmark panics where its set-up fails")]

#[path = "../../netloop/benches/pair/mod.rs"]
mod pair;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use netloop::{Due, RingPort, Run, SessionEvent, SessionId, Sink, WorkerStats};
use twin::config::Config;
use twin::interval::exchange;
use twin::stats::TwinStats;
use twin::world::{LaneCapacities, Lanes, World, WorldOptions, lanes};
use wire::{Batch, DeviceId, RECORD_BYTES, Reading, Record, SensorType};

use pair::{Drained, pair};

const START_NS: u64 = 1_800_000_000_000_000_000;
/// Records of one DATAGRAM frame.
const BATCH: usize = 36;
/// Sensors of the world: more than a cache holds, though that is not what is counted.
const SENSORS: u32 = 20_000;
/// Sensors of one device.
const OF_DEVICE: u32 = 5;

/// A part: its name and what one iteration does.
type Part = (&'static str, fn(u64));
const PARTS: [Part; 6] = [
    ("decode", decode),
    ("ring", ring_transfer),
    ("fill", |iterations| Plant::new().run(iterations, false)),
    ("apply", |iterations| Plant::new().run(iterations, true)),
    ("tick", |iterations| Plant::new().idle(iterations)),
    ("turn", turn),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [part, iterations] = words.as_slice() {
        let (_, run) = PARTS.iter().find(|(name, _)| name == part).expect("a part of the list");
        run(iterations.parse().expect("a number of iterations"));
        return;
    }
    for (_, run) in PARTS {
        run(2);
    }
}

fn record(sensor: u32, seq: u32) -> Record {
    let mut device = [0xd0; 16];
    device[12..].copy_from_slice(&(sensor / OF_DEVICE).to_be_bytes());
    Record::encode(&Reading {
        device: DeviceId(device),
        sensor_id: (sensor % OF_DEVICE) as u16,
        value: f64::from(sensor % 1000) / 16.0,
        ts_us: START_NS / 1000,
        seq,
        sensor_type: SensorType::ALL[(sensor % OF_DEVICE) as usize + 1],
    })
}

fn payload() -> Vec<u8> {
    (0..BATCH as u32).flat_map(|sensor| *record(sensor, 0).as_bytes()).collect()
}

/// A payload becomes records, each checked.
fn decode(iterations: u64) {
    let payload = payload();
    for _ in 0..iterations {
        let batch = Batch::decode(black_box(&payload)).unwrap();
        assert!(batch.records().iter().all(|record| record.check().is_ok()));
    }
}

/// A batch through a ring.
fn ring_transfer(iterations: u64) {
    let mut sink = Drained::new();
    let payload = payload();
    let records = Batch::decode(&payload).unwrap().records();
    for _ in 0..iterations {
        assert_eq!(sink.push_t1(black_box(&run_of(0, records))), BATCH);
        assert_eq!(sink.empty(), BATCH);
    }
}

/// The run of these records, whose sensors follow each other.
const fn run_of(hint: u32, records: &[Record]) -> Run<'_> {
    Run { recv_ns: START_NS, hint, listed: &[], session: 0, epoch: 0, lag_ns: 0, flags: 0, records }
}

/// A world with its ring, every sensor known.
struct Plant {
    world: World,
    port: RingPort,
    lanes: Lanes,
    /// A record of each sensor.
    records: Vec<[u8; RECORD_BYTES]>,
    tick: u64,
    seq: u32,
}

impl Plant {
    fn new() -> Self {
        let capacities = LaneCapacities { tiers: [1 << 16, 64, 64], events: 64, outbound: 64 };
        let (mut ports, lanes) = lanes(&capacities, &[WorkerStats::shared()], Due::default());
        let mut port = ports.remove(0);
        let (_, _, interval) = exchange(0);
        let mut options = WorldOptions::new(&Config::default(), [17, 19]);
        options.hz = 1000;
        options.entities_max = 1 << 20;
        options.sessions_max = 16;
        options.drain = [1 << 16, 64, 64];
        let world = World::new(options, Arc::new(TwinStats::default()), interval);
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        port.events.push(SessionEvent::Opened { session: SessionId(0), remote }).unwrap();
        let records = (0..SENSORS).map(|sensor| *record(sensor, 0).as_bytes()).collect();
        let mut plant = Self { world, port, lanes, records, tick: 0, seq: 0 };
        plant.fill();
        // A spawn counts as many records of a tick's budget, so that a plant comes up over several ticks.
        while plant.port.t1.depth() > 0 {
            plant.step();
        }
        assert_eq!(plant.world.entities(), SENSORS as usize);
        plant
    }

    /// A record of each sensor, with its next number, into the ring.
    fn fill(&mut self) {
        self.seq += 1;
        for record in &mut self.records {
            record[34..38].copy_from_slice(&self.seq.to_le_bytes());
        }
        let records: &[Record] = bytemuck::cast_slice(&self.records);
        for (nth, batch) in records.chunks(BATCH).enumerate() {
            let run = run_of((nth * BATCH) as u32, batch);
            assert_eq!(self.port.t1.push_run(&run), batch.len());
        }
    }

    fn step(&mut self) {
        let now_ns = START_NS + self.tick * 1_000_000;
        self.world.tick(&mut self.lanes, self.tick, &mut || now_ns);
        self.tick += 1;
    }

    /// Fills the ring and applies, or only fills it.
    fn run(mut self, iterations: u64, apply: bool) {
        for _ in 0..iterations {
            self.fill();
            if apply {
                self.step();
            } else {
                let ring = &mut self.lanes.workers_mut()[0].tiers[0];
                while ring.pop_runs(|lines| (lines.len(), self.records.len())) > 0 {}
            }
        }
    }

    /// Ticks with nothing to do.
    fn idle(mut self, iterations: u64) {
        for _ in 0..iterations {
            self.step();
        }
    }
}

/// Two engines in virtual time: a packet of one batch each way of the device's millisecond, and the acknowledgements.
fn turn(iterations: u64) {
    let (mut client, mut server, session, mut now) = pair();
    let payload = Bytes::from(payload());
    let (mut to_client, mut received) = (Vec::new(), 0);
    for _ in 0..iterations {
        now = now.plus(Duration::from_millis(1));
        client.engine.send_datagram(session, payload.clone()).unwrap();
        let to_server = client.turn(now, server.port, to_client);
        to_client = server.turn(now, client.port, to_server);
        received += server.sink.empty();
    }
    assert_eq!(received, iterations as usize * BATCH, "each turn brings a batch");
}
