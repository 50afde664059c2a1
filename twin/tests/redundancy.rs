//! A device with two sessions, over a path each, in virtual time: its records reach the world once, and either path may go.
//!
//! Each path ends at a worker of its own, as with two network cards. The oracle is what the device sent.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

#[path = "../../netloop/tests/link/mod.rs"]
mod link;
mod rig;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use link::{DEVICE, Pair, Weather, hello, numbered, payload, record};
use netloop::{
    Answer, Due, Engine, Naming, Now, Outbound, Phase, SendStream, ServerTls, SessionId,
    SessionLimits, Slot, StreamPriority, WorkerNumber, client_tls,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use twin::interval::{IntervalConsumer, IntervalProducer, exchange};
use twin::stats::{TierTotals, TwinStats};
use twin::world::{ACTUATOR_ID, ActuatorStatus, Lanes, Rule, World, WorldOptions, lanes};
use wire::{Command, Operation, Record, SensorType, Status, Tier};

const PERIOD: Duration = Duration::from_millis(1);
const IDLE: Duration = Duration::from_millis(300);
/// A device that lost a session calls again after this.
const AGAIN: Duration = Duration::from_millis(20);

fn limits() -> SessionLimits {
    let keep_alive = Some(Duration::from_millis(100));
    SessionLimits { idle_timeout: IDLE, keep_alive, ..SessionLimits::default() }
}

/// Events that a device repeats on a path that it has just opened.
const REPEATED: u32 = 64;

/// One of the two paths: the device's engine, the link, and the worker's engine.
struct Path {
    pair: Pair,
    session: Option<SessionId>,
    stream: Option<SendStream>,
    call_at: Instant,
    /// T2 that QUIC has not taken, from the middle of a record perhaps.
    waiting: Vec<u8>,
    /// Slots of each tier that the world has, and ends of commands.
    taken: [usize; 3],
    acks: usize,
    sessions: u32,
}

impl Path {
    fn new(seed: u64, index: u8, weather: Weather) -> Self {
        let now = Now::simulated();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let chain = vec![made.cert.der().clone()];
        let tls = ServerTls::from_der(chain.clone(), PrivateKeyDer::from(key));
        let naming = Naming { seed: [9; 32], worker: WorkerNumber::new(index, 2) };
        let server = Engine::server(tls.into_quic().unwrap(), limits(), now, naming);
        let client = client_tls(chain, wire::ALPN).unwrap();
        let client = Engine::client(client, Some(hello()), limits(), now, [index + 2; 32]);
        let seed = seed << 1 | u64::from(index);
        let mut pair = Pair::of_engines(seed, weather, now, (server, client), true);
        pair.client.sink.answer = |slot| {
            let request = record(slot);
            Answer::Ack(Command::ack(request, Status::Ok, request.value()))
        };
        // The world answers, not the sink.
        pair.server.sink.answer = |_| Answer::Later;
        Self {
            call_at: now.instant,
            pair,
            session: None,
            stream: None,
            waiting: Vec::new(),
            taken: [0; 3],
            acks: 0,
            sessions: 0,
        }
    }

    /// Keeps a session open as far as the path allows.
    fn call(&mut self) {
        let pair = &mut self.pair;
        if let Some(session) = self.session {
            if pair.client.engine.phase(session).is_none_or(|phase| phase == Phase::Closed) {
                (self.session, self.stream) = (None, None);
                self.waiting.clear();
                self.call_at = pair.now.instant + AGAIN;
            }
        } else if pair.now.instant >= self.call_at {
            let address = pair.server.address;
            self.session = pair.client.engine.connect(pair.now, address, "localhost").ok();
            self.sessions += 1;
        }
    }

    /// The session that the device writes to now.
    fn open(&mut self) -> Option<SessionId> {
        let engine = &self.pair.client.engine;
        self.session.filter(|&session| engine.phase(session) == Some(Phase::Open))
    }

    fn send(&mut self, seq: u32) {
        let Some(session) = self.open() else { return };
        let batch = Bytes::from(payload(&[numbered(seq)]));
        let engine = &mut self.pair.client.engine;
        // A path that stands still takes no more: the other one does.
        let _ = engine.send_datagram(session, batch);
        let stream = *self.stream.get_or_insert_with(|| {
            // A path begins with what the other one may not have brought yet.
            let repeated = seq.saturating_sub(REPEATED)..seq;
            repeated.for_each(|seq| self.waiting.extend_from_slice(event(seq).as_bytes()));
            engine.open_stream(session, StreamPriority::Normal).unwrap()
        });
        self.waiting.extend_from_slice(event(seq).as_bytes());
        if let Ok(written) = engine.write_stream(session, stream, &self.waiting) {
            self.waiting.drain(..written);
        }
    }
}

/// The event with this number: a record of another sensor than [`numbered`]'s.
fn event(seq: u32) -> Record {
    let reading = numbered(seq).decode().unwrap();
    Record::encode(&wire::Reading { sensor_id: 2, ..reading })
}

/// The device, its paths, and the world behind them.
struct Plant {
    begin: Instant,
    paths: [Path; 2],
    ports: Vec<netloop::RingPort>,
    lanes: Lanes,
    world: World,
    stats: Arc<TwinStats>,
    _histograms: (IntervalProducer, IntervalConsumer),
    /// Numbers of T1 that reached a worker on either path.
    arrived: BTreeSet<u32>,
    sent: u32,
}

impl Plant {
    fn new(seed: u64, weathers: [Weather; 2], options: WorldOptions) -> Self {
        let stats = Arc::new(TwinStats::new(2));
        let (ports, lanes) = lanes(&rig::CAPACITIES, stats.workers(), Due::default());
        let (producer, consumer, interval) = exchange(0);
        let paths = [0, 1].map(|index| Path::new(seed, index, weathers[usize::from(index)]));
        Self {
            begin: paths[0].pair.now.instant,
            paths,
            ports,
            lanes,
            world: World::new(options, Arc::clone(&stats), interval),
            stats,
            _histograms: (producer, consumer),
            arrived: BTreeSet::new(),
            sent: 0,
        }
    }

    /// One millisecond: the device sends one record of each tier over both paths, and the world ticks.
    fn period(&mut self, number: u32) {
        for path in &mut self.paths {
            path.call();
        }
        let sends = self.sent > 0 || self.paths.iter_mut().any(|path| path.open().is_some());
        if sends {
            let seq = self.sent;
            self.paths.iter_mut().for_each(|path| path.send(seq));
            self.sent += 1;
        }
        for path in &mut self.paths {
            let offset = path.pair.now.instant.saturating_duration_since(self.begin);
            let passed = (PERIOD * (number + 1)).saturating_sub(offset);
            path.pair.run_to(path.pair.now.instant + passed);
        }
        self.deliver();
        let now_ns = self.paths[0].pair.now.unix_ns;
        self.world.tick(&mut self.lanes, u64::from(number), &mut || now_ns);
        self.command();
    }

    /// What the workers received, as they push it.
    fn deliver(&mut self) {
        for (path, (port, stats)) in
            self.paths.iter_mut().zip(self.ports.iter_mut().zip(self.stats.workers()))
        {
            let sink = &mut path.pair.server.sink;
            for event in sink.events.drain(..) {
                port.events.push(event).unwrap();
            }
            self.arrived.extend(sink.t1[path.taken[0]..].iter().map(|slot| record(slot).seq()));
            let tiers = [(&sink.t1, &mut port.t1), (&sink.t2, &mut port.t2)];
            for ((slots, ring), taken) in tiers.into_iter().zip(&mut path.taken) {
                slots[*taken..].iter().for_each(|&slot: &Slot| ring.push(slot).unwrap());
                *taken = slots.len();
            }
            for &end in &sink.acks[path.acks..] {
                port.t3.push(end).unwrap();
            }
            path.acks = sink.acks.len();
            stats.t1.received.set(sink.t1.len() as u64);
            stats.t2.received.set(sink.t2.len() as u64);
        }
    }

    /// What the world asks the workers to send.
    fn command(&mut self) {
        for (path, port) in self.paths.iter_mut().zip(&mut self.ports) {
            while let Some(outbound) = port.outbound.pop() {
                let Outbound::Command { session, request, tag } = outbound else {
                    panic!("nobody asked for an answer");
                };
                // A session that is gone ends the command; the world hears it from the port.
                let engine = &mut path.pair.server.engine;
                if engine.open_command(session, request, tag).is_err() {
                    let now_ns = path.pair.now.unix_ns;
                    port.t3.push(Slot::failed(&request, session, tag, now_ns)).unwrap();
                }
            }
        }
    }

    fn run(&mut self, periods: std::ops::Range<u32>) {
        periods.for_each(|number| self.period(number));
    }

    /// Runs from a period on until the device holds both sessions, and says in which period that is.
    fn run_until_redundant(&mut self, from: u32, seed: u64) -> u32 {
        let until = (from..from + 5_000).find(|&number| {
            self.period(number);
            self.stats.tick.redundant_sessions.value() == 2
        });
        until.unwrap_or_else(|| panic!("seed {seed}: two sessions from period {from} on")) + 1
    }

    fn totals(&self, tier: Tier) -> TierTotals {
        self.world.totals(tier, &self.lanes)
    }

    /// What the sensor of the events holds, and that none was left out or taken twice.
    fn assert_events_are_whole(&self, seed: u64) {
        let totals = self.totals(Tier::T2);
        let sensor = self.world.sensor(DEVICE, 2).unwrap();
        assert_eq!(totals.applied, u64::from(self.sent), "seed {seed}: {totals:?}");
        assert_eq!(sensor.live.value, f64::from(self.sent - 1), "seed {seed}");
        assert_eq!((totals.lost, totals.residual), (0, 0), "seed {seed}: {totals:?}");
    }
}

const DARK: Weather = Weather { loss: 1.0, ..Weather::CALM };

#[test]
fn records_of_two_sessions_are_applied_once() {
    for seed in 1..=8 {
        let mut plant = Plant::new(seed, [Weather::CALM; 2], rig::options());
        let number = plant.run_until_redundant(0, seed);
        let weather = Weather { loss: 0.1, ..Weather::CALM };
        plant.paths.iter_mut().for_each(|path| path.pair.weather = weather);
        let first = plant.sent;
        plant.run(number..number + 1_200);
        plant.paths.iter_mut().for_each(|path| path.pair.weather = Weather::CALM);
        plant.run(number + 1_200..number + 1_500);
        plant.assert_events_are_whole(seed);
        let duplicates = plant.totals(Tier::T2).duplicate;
        assert!(duplicates > 1_000, "seed {seed}: the second path carried {duplicates} copies");
        // T1 comes as fast on both paths, so that what either carries is in order.
        let t1 = plant.totals(Tier::T1);
        assert_eq!(t1.applied, plant.arrived.len() as u64, "seed {seed}: {t1:?}");
        let (both, came) = (plant.sent - first, plant.arrived.range(first..).count());
        assert!(came * 100 > both as usize * 97, "seed {seed}: {came} of {both} by either path");
        assert_eq!(t1.residual, 0, "seed {seed}: {t1:?}");
    }
}

#[test]
fn either_path_may_go_and_come_back_without_a_loss_of_t2() {
    for seed in 1..=8 {
        let slower = Weather { delay: Duration::from_millis(3), ..Weather::lossy(0.02) };
        let weathers = [Weather::lossy(0.02), slower];
        let mut plant = Plant::new(seed, weathers, rig::options());
        let mut number = 0;
        for dark in [0, 1, 0] {
            // What the path that goes had taken alone has to be there before it goes.
            number = plant.run_until_redundant(number, seed) + 400;
            plant.run(number - 400..number);
            plant.paths[dark].pair.weather = DARK;
            plant.run(number..number + 600);
            assert_eq!(plant.stats.tick.redundant_sessions.value(), 0, "seed {seed}");
            plant.paths[dark].pair.weather = weathers[dark];
            number += 600;
        }
        number = plant.run_until_redundant(number, seed);
        plant.paths.iter_mut().for_each(|path| path.pair.weather = Weather::CALM);
        plant.run(number..number + 300);
        plant.assert_events_are_whole(seed);
        assert_eq!(plant.totals(Tier::T1).residual, 0, "seed {seed}");
        let sessions = plant.paths.each_ref().map(|path| path.sessions);
        assert!(sessions[0] >= 3 && sessions[1] >= 2, "seed {seed}: {sessions:?}");
    }
}

#[test]
fn a_command_finds_the_path_that_is_left_before_the_other_is_given_up() {
    const RULE: Rule = Rule {
        sensor_type: SensorType::Temperature,
        above: 500.0,
        actuator_id: ACTUATOR_ID,
        setpoint: 20.0,
    };
    for dark in [0, 1] {
        let options = WorldOptions { rules: vec![RULE], hz: 50, ..rig::options() };
        // A command has a second, which is 50 of these ticks.
        let mut plant = Plant::new(1, [Weather::CALM; 2], options);
        plant.run(0..480);
        plant.paths[dark].pair.weather = DARK;
        // The value crosses now. The idle timeout of the dark path ends 300 ms after its last packet.
        plant.run(480..780 - AGAIN.as_millis() as u32);
        assert_eq!(plant.paths[dark].pair.server.engine.open_sessions(), 1);
        let state = plant.world.actuator(DEVICE, ACTUATOR_ID).unwrap();
        assert_eq!(state.status, ActuatorStatus::Acknowledged as u32, "{dark}: {state:?}");
        let heard = &plant.paths[1 - dark].pair.client.sink.t3;
        assert!(heard.iter().any(|slot| {
            Command::decode(&record(slot)).unwrap().operation() == Some(Operation::Setpoint)
        }));
    }
}
