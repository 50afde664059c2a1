//! T1 beside T2 and T3 on a link that loses: the reliable tiers arrive whole and in order, and T1 does not wait for them.
//!
//! A device sends on a schedule in virtual time; latency is from the intended send to the sink, so a datagram that waits
//! for the congestion window is late, not late to start.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::time::Duration;

use bytes::Bytes;
use link::{DEVICE, Pair, Weather, numbered, payload, record, values};
use netloop::{SendError, SendStream, SessionId, SessionLimits, StreamPriority, slot};
use wire::{Command, Operation, Reading, Record, SensorType};

/// One way: a machine hall, a site, a country.
const DELAYS: [Duration; 3] =
    [Duration::from_micros(200), Duration::from_millis(2), Duration::from_millis(10)];
const PERIOD: Duration = Duration::from_millis(1);
const PERIODS: u32 = 10_000;
/// Records of one T1 batch: the sensors of an industrial device.
const BATCH_RECORDS: u32 = 5;
/// T2 records of one period.
const EVENT_RECORDS: u32 = 5;
/// A command goes out every so many periods.
const COMMAND_PERIODS: u32 = 10;

/// A device with traffic on all tiers.
struct Device {
    pair: Pair,
    session: SessionId,
    stream: SendStream,
    /// T2 bytes that flow control has not let through.
    events: Vec<u8>,
    t1_blocked: u64,
}

impl Device {
    /// Runs the whole schedule on a link of this loss.
    fn ran(seed: u64, delay: Duration, loss: f64, limits: &SessionLimits) -> Self {
        let weather = Weather { delay, loss, ..Weather::CALM };
        let mut device = Self::new(seed, weather, limits);
        device.run();
        device
    }

    fn new(seed: u64, weather: Weather, limits: &SessionLimits) -> Self {
        let calm = Weather { loss: 0.0, ..weather };
        let mut pair = Pair::with_limits(seed, calm, limits.clone(), limits.clone());
        let session = pair.connect();
        pair.weather = weather;
        let stream = pair.client.engine.open_stream(session, StreamPriority::Normal).unwrap();
        Self { pair, session, stream, events: Vec::new(), t1_blocked: 0 }
    }

    fn run(&mut self) {
        let begin = self.pair.now.instant;
        for period in 0..PERIODS {
            self.send_t1(period);
            self.send_t2(period);
            if period % COMMAND_PERIODS == 0 {
                let read = Command::request(numbered(period), Operation::Read);
                self.pair.client.engine.open_command(self.session, read, period).unwrap();
            }
            self.pair.run_to(begin + PERIOD * (period + 1));
        }
        while !self.events.is_empty() {
            self.write_events();
            assert!(self.pair.step(), "seed {}: T2 stands still", self.pair.seed);
        }
        self.pair.client.engine.finish_stream(self.session, self.stream);
        self.pair.run_until("the reliable tiers", Duration::from_secs(60), |pair| {
            pair.server.sink.t2.len() == (PERIODS * EVENT_RECORDS) as usize
                && pair.client.sink.acks.len() == (PERIODS / COMMAND_PERIODS) as usize
        });
    }

    fn send_t1(&mut self, period: u32) {
        let ts_us = self.pair.now.unix_ns / 1000;
        let batch: Vec<Record> = (0..BATCH_RECORDS)
            .map(|sensor| {
                Record::encode(&Reading {
                    device: DEVICE,
                    sensor_id: sensor as u16,
                    value: 1.0,
                    ts_us,
                    seq: period,
                    sensor_type: SensorType::Generic,
                })
            })
            .collect();
        match self.pair.client.engine.send_datagram(self.session, Bytes::from(payload(&batch))) {
            Ok(()) => {}
            Err(SendError::Blocked) => self.t1_blocked += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn send_t2(&mut self, period: u32) {
        let first = period * EVENT_RECORDS;
        let records: Vec<Record> = (first..first + EVENT_RECORDS).map(numbered).collect();
        self.events.extend(payload(&records));
        self.write_events();
    }

    fn write_events(&mut self) {
        let engine = &mut self.pair.client.engine;
        match engine.write_stream(self.session, self.stream, &self.events) {
            Ok(written) => drop(self.events.drain(..written)),
            Err(SendError::Blocked) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// 99 of 100 T1 records that arrived took at most so long one way, in nanoseconds.
    fn t1_p99_ns(&self) -> u64 {
        let slots = self.pair.server.sink.t1.iter();
        let mut ascending: Vec<u64> =
            slots.map(|slot| slot.recv_ns - record(slot).ts_us() * 1000).collect();
        ascending.sort_unstable();
        ascending[ascending.len() * 99 / 100]
    }
}

fn assert_reliable_tiers_are_whole(device: &Device) {
    let (seed, sink) = (device.pair.seed, &device.pair.server.sink);
    assert_eq!(values(&sink.t2), (0..PERIODS * EVENT_RECORDS).collect::<Vec<_>>(), "seed {seed}");
    let acks = &device.pair.client.sink.acks;
    assert!(acks.iter().all(|ack| ack.flags == slot::ACK), "seed {seed}: a command failed");
    let mut asked: Vec<u32> = acks.iter().map(|ack| ack.hint).collect();
    asked.sort_unstable();
    let all: Vec<u32> = (0..PERIODS).step_by(COMMAND_PERIODS as usize).collect();
    assert_eq!(asked, all, "seed {seed}");
}

#[test]
fn loss_does_not_delay_t1_beside_the_reliable_tiers() {
    let limits = SessionLimits::default();
    for delay in DELAYS {
        for seed in 1..=3 {
            let calm = Device::ran(seed, delay, 0.0, &limits);
            let lossy = Device::ran(seed, delay, 0.05, &limits);
            assert_reliable_tiers_are_whole(&calm);
            assert_reliable_tiers_are_whole(&lossy);
            let (lost, delivered) = (lossy.pair.lost, lossy.pair.delivered);
            assert!(lost * 25 > delivered, "the link lost {lost} and delivered {delivered}");
            assert_eq!((calm.t1_blocked, lossy.t1_blocked), (0, 0));
            let (without_ns, with_ns) = (calm.t1_p99_ns(), lossy.t1_p99_ns());
            let told = format!("seed {seed} delay {delay:?}: p99 {without_ns} ns, {with_ns} ns");
            assert!(with_ns * 10 <= without_ns * 11, "{told} with loss");
        }
    }
}

/// 99 of 100 T1 records take at most so long one way, in nanoseconds, where a device sends 20,000 a second in packets of 1 ms
/// and asks for acknowledgements as devices do, from its first record on.
fn telemetry_p99_ns(seed: u64, weather: Weather, limits: &SessionLimits) -> u64 {
    let calm = Weather { loss: 0.0, ..weather };
    let asked = limits.clone().sending_at(1_000.0);
    let mut pair = Pair::with_limits(seed, calm, limits.clone(), asked);
    let session = pair.connect();
    pair.weather = weather;
    let begin = pair.now.instant;
    for period in 0..2_000 {
        let ts_us = pair.now.unix_ns / 1000;
        for sensor_id in 0..20 {
            let (device, value, sensor_type) = (DEVICE, 1.0, SensorType::Generic);
            let reading = Reading { device, sensor_id, value, ts_us, seq: period, sensor_type };
            let record = Bytes::from(payload(&[Record::encode(&reading)]));
            // What the window does not let through in time is shed by the device.
            let _ = pair.client.engine.send_datagram(session, record);
        }
        pair.run_to(begin + PERIOD * (period + 1));
    }
    let slots = pair.server.sink.t1.iter().map(record);
    let arrived = pair.server.sink.t1.iter().zip(slots);
    let mut ascending: Vec<u64> =
        arrived.map(|(slot, record)| slot.recv_ns - record.ts_us() * 1000).collect();
    assert!(ascending.len() > 36_000, "seed {seed}: {} of 40,000 arrived", ascending.len());
    ascending.sort_unstable();
    ascending[ascending.len() * 99 / 100]
}

#[test]
fn loss_does_not_delay_steady_telemetry_over_a_country() {
    let limits = SessionLimits::default();
    for delay in [5, 25].map(Duration::from_millis) {
        for seed in 1..=3 {
            let p99_ns =
                |loss| telemetry_p99_ns(seed, Weather { delay, loss, ..Weather::CALM }, &limits);
            let (calm_ns, lossy_ns) = (p99_ns(0.0), p99_ns(0.05));
            let told = format!("seed {seed} delay {delay:?}: p99 {calm_ns} ns, {lossy_ns} ns");
            assert!(lossy_ns * 10 <= calm_ns * 11, "{told} with loss");
            // A first window that is smaller than the flight would show here, with loss and without.
            let path_ns = u64::try_from(delay.as_nanos()).unwrap();
            assert!(lossy_ns <= path_ns + 2_000_000, "{told}: records wait at the device");
        }
    }
}

#[test]
fn without_the_floor_t1_would_wait_for_the_window() {
    let limits = SessionLimits { congestion_floor_bytes: 0, ..SessionLimits::default() };
    for delay in DELAYS {
        let calm_ns = Device::ran(1, delay, 0.0, &limits).t1_p99_ns();
        let lossy = Device::ran(1, delay, 0.05, &limits);
        assert_reliable_tiers_are_whole(&lossy);
        assert!(lossy.t1_p99_ns() > 2 * calm_ns, "delay {delay:?}: nothing waits any more");
    }
}
