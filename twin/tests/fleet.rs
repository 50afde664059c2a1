//! A fleet and a twin's engine over a virtual link, in virtual time: no socket, no clock, no thread.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod far;

use std::{
    collections::{BinaryHeap, HashMap, HashSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use far::Far;
use netloop::{
    AddressLimits, Datagram, Engine, Now, Outbound, Port, SessionLimits, Stop, client_tls,
};
use twin::{
    args::{Batch, FramesPerPacket, Profile, Rate, Sampling},
    simulate::{Fleet, FleetError, LoadLatency, Outcome, Plan},
    world::ACTUATOR_ID,
};
use wire::{
    ALPN, CloseCode, Command, DeviceId, Hello, Operation, Reading, Record, SensorType, Status,
    capability,
};

const DELAY: Duration = Duration::from_micros(150);

struct Flight {
    at: Instant,
    order: u64,
    to_twin: bool,
    payload: Vec<u8>,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Flight {}
impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Flight {
    /// The earliest is the greatest, so that a heap gives it first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A fleet, a twin and the link between them.
struct Plant {
    now: Now,
    fleet: Fleet,
    stop: Stop,
    fleet_engine: Engine,
    far: Far,
    far_engine: Engine,
    flights: BinaryHeap<Flight>,
    order: u64,
    /// Datagrams are thrown away while set.
    cut: bool,
    /// DATAGRAM packets that reached the twin.
    packets: u64,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn plan(devices: u32) -> Plan {
    Plan {
        remote: address(4433),
        server_name: "localhost".to_owned(),
        devices,
        sessions: devices,
        profile: Profile::Industrial,
        rate: Rate::Hz(20.0),
        t2_rate_hz: 0.0,
        t3_rate_hz: 0.0,
        count: None,
        duration: Some(Duration::from_secs(3)),
        sampling: Sampling::Cyclic,
        batch: Batch::Auto,
        frames_per_packet: FramesPerPacket::Auto,
        stock_congestion: false,
        linger: Duration::ZERO,
        mtu_bytes: 1452,
        seed: 42,
    }
}

impl Plant {
    fn new(plan: Plan) -> Self {
        Self::with_limits(plan, SessionLimits::default())
    }

    /// With a twin that has these limits, but for those that the plan sets.
    fn with_limits(plan: Plan, twin_limits: SessionLimits) -> Self {
        let now = Now::simulated();
        let (certificate, server) = far::localhost();
        let hello = Hello {
            capabilities: capability::COMMANDS | capability::TOTALS,
            epoch: 1,
            device: DeviceId([1; 16]),
        };
        let limits = plan.limits();
        let tls = client_tls([certificate], ALPN).unwrap();
        let mtu_bytes = limits.mtu_bytes;
        let twin_limits = SessionLimits { sessions_max: 4096, mtu_bytes, ..twin_limits };
        let stop = Stop::new();
        Self {
            now,
            fleet: Fleet::new(plan, stop.clone()),
            stop,
            fleet_engine: Engine::client(tls, Some(hello), limits, now, [3; 32]),
            far: Far::default(),
            far_engine: Engine::server(server.into_quic().unwrap(), twin_limits, now, [4; 32]),
            flights: BinaryHeap::new(),
            order: 0,
            cut: false,
            packets: 0,
        }
    }

    fn turn(&mut self) -> bool {
        let fleet = turn(&mut self.fleet_engine, &mut self.fleet, self.now);
        let far = turn(&mut self.far_engine, &mut self.far, self.now);
        for (to_twin, (_, payloads)) in [(true, &fleet), (false, &far)] {
            for payload in payloads {
                self.order += 1;
                let (at, order) = (self.now.instant + DELAY, self.order);
                self.flights.push(Flight { at, order, to_twin, payload: payload.clone() });
            }
        }
        fleet.0 || far.0
    }

    /// Takes turns until nothing is left to do now, then advances to whatever comes next. False when nothing will.
    fn step(&mut self) -> bool {
        while self.turn() {}
        let next = [
            self.flights.peek().map(|flight| flight.at),
            self.fleet_engine.poll_timeout(),
            self.far_engine.poll_timeout(),
            self.fleet.poll_timeout(),
        ];
        let Some(next) = next.into_iter().flatten().min() else { return false };
        let passed = next.saturating_duration_since(self.now.instant);
        self.now = self.now.plus(passed.max(Duration::from_micros(1)));
        while self.flights.peek().is_some_and(|flight| flight.at <= self.now.instant) {
            let flight = self.flights.pop().unwrap();
            if !self.cut {
                self.land(&flight);
            }
        }
        true
    }

    fn land(&mut self, flight: &Flight) {
        self.packets += u64::from(flight.to_twin);
        let (engine, remote) = if flight.to_twin {
            (&mut self.far_engine, address(9000))
        } else {
            (&mut self.fleet_engine, address(4433))
        };
        let payload = BytesMut::from(&flight.payload[..]);
        let recv_ns = self.now.unix_ns;
        engine.handle_datagram(
            self.now,
            Datagram { remote, local_ip: None, ecn: None, payload, recv_ns },
        );
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now.instant + span;
        while self.now.instant < end && !self.fleet.is_done() {
            self.step();
        }
    }

    /// Runs to the end of the plan, and a little longer so that the last packets land.
    fn finish(mut self) -> (Outcome, Far) {
        let limit = self.now.instant + Duration::from_secs(120);
        while !self.fleet.is_done() {
            let alive = self.step();
            assert!(alive && self.now.instant < limit, "the fleet never came to its end");
        }
        assert!(self.stop.is_draining());
        while self.step() {}
        (self.fleet.finish().unwrap().0, self.far)
    }
}

/// One turn of an engine and its port, as a worker takes it.
fn turn<P: Port>(engine: &mut Engine, port: &mut P, now: Now) -> (bool, Vec<Vec<u8>>) {
    engine.poll(now, port);
    engine.handle_timeouts(now, port);
    let asked = port.poll_outbound(engine, now);
    let mut payloads = Vec::new();
    let mut buffer = Vec::new();
    while let Some(transmit) = engine.poll_transmit(now, 10, &mut buffer) {
        let segment = transmit.segment_size.unwrap_or(transmit.size);
        payloads.extend(buffer[..transmit.size].chunks(segment).map(<[u8]>::to_vec));
    }
    while let Some(event) = engine.poll_event() {
        assert!(port.handle_event(event).is_ok());
    }
    (asked || !payloads.is_empty(), payloads)
}

fn offered(far: &Far) -> [u64; 3] {
    far.totals
        .iter()
        .fold([0; 3], |sum, totals| [0, 1, 2].map(|tier| sum[tier] + totals.offered[tier]))
}

#[test]
fn what_was_sent_is_what_arrived_and_what_the_totals_say() {
    let (outcome, far) = Plant::new(Plan { t2_rate_hz: 5.0, t3_rate_hz: 2.0, ..plan(40) }).finish();
    // 200 sensors for 3 s at 20, 5 and 2 Hz; a phase may put a device's last round just behind the end.
    assert_eq!(outcome.sent[0], 12_000);
    assert!(outcome.sent[1].abs_diff(3_000) <= 40, "{:?}", outcome.sent);
    assert!(outcome.sent[2].abs_diff(1_200) <= 40, "{:?}", outcome.sent);
    assert_eq!(far.records, outcome.sent);
    assert_eq!(offered(&far), outcome.sent);
    assert_eq!(far.out_of_sequence, 0);
    assert_eq!(outcome.shed, [0; 3]);
    assert_eq!(outcome.acknowledged, [0, outcome.sent[1], outcome.sent[2]]);
    assert_eq!((outcome.sessions_opened, outcome.sessions_finished), (40, 40));
    assert_eq!((outcome.sessions_lost, outcome.handshakes_failed), (0, 0));
    assert_eq!(outcome.active_ns, 3_000_000_000);
    assert_eq!(far.seen.len(), 3 * 200);
}

#[test]
fn devices_are_sent_at_their_phase_and_period_whatever_the_session() {
    let mut plant = Plant::new(Plan { sessions: 3, ..plan(10) });
    plant.far.stamps = Some(Vec::new());
    let (outcome, far) = plant.finish();
    let mut by_key: HashMap<_, Vec<u64>> = HashMap::new();
    for (key, ts_us) in far.stamps.unwrap() {
        by_key.entry(key).or_default().push(ts_us);
    }
    assert_eq!(outcome.sessions_finished, 3);
    assert_eq!(by_key.len(), 50);
    let mut phases = HashSet::new();
    for stamps in by_key.values() {
        assert_eq!(stamps.len(), 60);
        phases.insert(stamps[0]);
        for (round, ts_us) in stamps.iter().enumerate() {
            assert!(ts_us.abs_diff(stamps[0] + round as u64 * 50_000) <= 1, "round {round}");
        }
    }
    assert_eq!(phases.len(), 10, "one phase for each device, not for each sensor");
}

#[test]
fn with_random_sampling_any_sensor_of_the_session_reports_in_place_of_the_one_that_is_due() {
    for rate in [Rate::Hz(20.0), Rate::Max] {
        let pairs = |sampling| {
            let mut plant =
                Plant::new(Plan { sampling, rate, sessions: 1, count: Some(2_500), ..plan(10) });
            plant.far.stamps = Some(Vec::new());
            let (outcome, far) = plant.finish();
            assert_eq!((outcome.sent, far.records), ([2_500, 0, 0], [2_500, 0, 0]));
            assert_eq!((far.seen.len(), far.out_of_sequence), (50, 0));
            let keys: Vec<_> = far.stamps.unwrap().into_iter().map(|(key, _)| key).collect();
            keys.windows(2).map(|pair| (pair[0], pair[1])).collect::<HashSet<_>>().len()
        };
        assert_eq!(pairs(Sampling::Cyclic), 50, "the same sensor comes behind each");
        // Of the 2,500 pairs that there are, 2,499 draws meet 63 %.
        assert!((1_400..1_750).contains(&pairs(Sampling::Random)), "{rate:?}");
    }
}

#[test]
fn a_device_and_period_is_one_frame_when_nothing_is_in_its_way() {
    let (outcome, _) = Plant::new(plan(10)).finish();
    assert_eq!((outcome.form.records, outcome.form.frames), (3_000, 600));
    assert_eq!(outcome.form.records_max, 5);
}

#[test]
fn one_record_in_a_frame_and_one_frame_in_a_packet_are_kept() {
    let one = |frames_per_packet| {
        let batch = Batch::Records(1);
        let count = Some(2_000);
        let mut plant = Plant::new(Plan {
            batch,
            frames_per_packet,
            count,
            rate: Rate::Max,
            sessions: 2,
            ..plan(10)
        });
        plant.run_for(Duration::from_secs(10));
        let packets = plant.packets;
        let (outcome, far) = plant.finish();
        assert_eq!((outcome.form.records, outcome.form.frames), (2_000, 2_000));
        assert_eq!((far.records[0], far.out_of_sequence), (2_000, 0));
        packets
    };
    assert!(one(FramesPerPacket::One) >= 2_000);
    assert!(one(FramesPerPacket::Auto) < 300);
}

#[test]
fn flat_out_fills_every_frame_and_stops_at_the_count() {
    let (outcome, far) =
        Plant::new(Plan { rate: Rate::Max, sessions: 4, count: Some(400_000), ..plan(20) })
            .finish();
    assert_eq!(outcome.sent, [400_000, 0, 0]);
    assert_eq!(far.records, outcome.sent);
    assert_eq!(offered(&far), outcome.sent);
    assert_eq!(far.out_of_sequence, 0);
    assert_eq!(outcome.form.records_max, 36);
    let mean = outcome.form.records as f64 / outcome.form.frames as f64;
    // A session begins with 1,200 bytes, which hold 29 records, until it has searched its path.
    assert!(mean > 34.5, "{mean} records in a frame");
    let rounds = far.seen.values().map(|seen| seen.records);
    let (least, most) = (rounds.clone().min().unwrap(), rounds.max().unwrap());
    assert!(most <= 3 * least, "sensors take turns: {least} to {most} records");
}

#[test]
fn flat_out_waits_for_the_search_of_paths_with_large_frames() {
    let large = Plan { mtu_bytes: 9_000, count: Some(400_000), ..plan(20) };
    let (outcome, far) = Plant::new(Plan { rate: Rate::Max, sessions: 4, ..large }).finish();
    assert_eq!((outcome.sent, far.records), ([400_000, 0, 0], [400_000, 0, 0]));
    assert_eq!(outcome.form.records_max, 229, "8,960 bytes and more, less what QUIC needs");
    let mean = outcome.form.records as f64 / outcome.form.frames as f64;
    assert!(mean > 215.0, "{mean} records in a frame");
    assert!(
        outcome.active_ns < 10_000_000,
        "it sends at once when it begins: {}",
        outcome.active_ns
    );
}

#[test]
fn a_linger_packs_the_rounds_of_devices_that_share_a_session() {
    let linger = Duration::from_millis(20);
    let (outcome, far) = Plant::new(Plan { linger, sessions: 1, ..plan(40) }).finish();
    assert_eq!(far.records[0], outcome.sent[0]);
    let mean = outcome.form.records as f64 / outcome.form.frames as f64;
    assert!(mean > 30.0, "{mean} records in a frame");
}

#[test]
fn an_actuator_closes_the_loop() {
    let mut plant = Plant::new(Plan { duration: Some(Duration::from_secs(40)), ..plan(3) });
    plant.run_for(Duration::from_secs(2));
    let (&key, &session) = plant.far.sessions.iter().find(|(key, _)| key[16..] == [0, 0]).unwrap();
    plant.far.watched = Some(key);
    plant.run_for(Duration::from_secs(1));
    let before = *plant.far.values.last().unwrap();
    let request = Command::request(
        Record::encode(&Reading {
            device: DeviceId(*key.first_chunk().unwrap()),
            sensor_id: ACTUATOR_ID,
            value: 15.0,
            ts_us: 0,
            seq: 0,
            sensor_type: SensorType::Temperature,
        }),
        Operation::Setpoint,
    );
    plant.far.outbound.push(Outbound::Command { session, request, tag: 7 });
    plant.run_for(Duration::from_millis(1));
    assert_eq!(plant.far.acks, [(Status::Ok, 15.0)]);
    plant.run_for(Duration::from_secs(30));
    let after = *plant.far.values.last().unwrap();
    assert!(before > 30.0 && (15.0..16.0).contains(&after), "{before} before, {after} after");
    plant.stop.drain();
    let (outcome, _) = plant.finish();
    assert_eq!((outcome.commands_answered, outcome.sessions_finished), (1, 3));
}

#[test]
fn a_twin_that_does_not_read_t2_slows_it_and_loses_none_of_it() {
    let duration = Some(Duration::from_secs(20));
    let mut plant = Plant::new(Plan {
        t2_rate_hz: 200.0,
        rate: Rate::Hz(1.0),
        sessions: 2,
        duration,
        ..plan(20)
    });
    plant.far.deaf = true;
    plant.run_for(Duration::from_secs(10));
    let written = plant.fleet.progress().sent[1].value();
    // Two sessions with windows of 256 KiB; the rest waits as due times.
    assert!((5_000..20_000).contains(&written), "{written} written to a deaf twin");
    plant.far.deaf = false;
    let (outcome, far) = plant.finish();
    assert_eq!(far.records[1], outcome.sent[1]);
    assert_eq!(far.out_of_sequence, 0);
    assert_eq!(outcome.acknowledged[1], outcome.sent[1]);
    assert!(outcome.sent[1] > 200_000, "{} sent once the twin read", outcome.sent[1]);
}

#[test]
fn t2_on_streams_that_the_twin_stops_is_not_acknowledged() {
    // One stream is that of the hello.
    let address = AddressLimits { streams_max: 1, ..AddressLimits::default() };
    let limits = SessionLimits { address, ..SessionLimits::default() };
    let plan = Plan { t2_rate_hz: 20.0, sessions: 1, ..plan(1) };
    let (outcome, far) = Plant::with_limits(plan, limits).finish();
    assert_eq!(far.records, [300, 0, 0]);
    assert_eq!((outcome.sent, outcome.sessions_finished), ([300, 300, 0], 1));
    assert_eq!(outcome.acknowledged, [0; 3]);
}

#[test]
fn a_twin_that_falls_silent_leaves_no_session_and_no_command_without_an_end() {
    let mut plant = Plant::new(Plan { t2_rate_hz: 5.0, t3_rate_hz: 20.0, ..plan(5) });
    plant.run_for(Duration::from_secs(2));
    plant.cut = true;
    // Not a turn longer than the worker takes.
    plant.run_for(Duration::from_secs(60));
    assert!(plant.fleet.is_done());
    let (outcome, _) = plant.fleet.finish().unwrap();
    assert_eq!((outcome.sessions_opened, outcome.sessions_finished), (5, 0));
    assert_eq!(outcome.sessions_lost, 5, "{outcome:?}");
    assert!(outcome.commands_failed > 0, "{outcome:?}");
    assert_eq!(outcome.acknowledged[2] + outcome.commands_failed, outcome.sent[2]);
}

#[test]
fn a_lost_session_is_replaced_and_t1_that_found_no_session_is_shed() {
    let duration = Some(Duration::from_secs(60));
    let mut plant = Plant::new(Plan { t2_rate_hz: 2.0, duration, ..plan(5) });
    plant.run_for(Duration::from_secs(5));
    plant.cut = true;
    plant.run_for(Duration::from_secs(12));
    plant.cut = false;
    let (outcome, far) = plant.finish();
    assert_eq!(outcome.sessions_lost, 5);
    assert_eq!(outcome.sessions_reopened, 5);
    assert_eq!(outcome.sessions_finished, 5);
    assert!(outcome.shed[0] > 0 && outcome.shed[1] == 0, "{:?}", outcome.shed);
    assert!(outcome.acknowledged[1] < outcome.sent[1]);
    // What the sessions that closed in order say they offered did arrive.
    assert!(far.records[1] >= offered(&far)[1]);
    let due = 5 * 5 * 20 * 60;
    assert!((outcome.sent[0] + outcome.shed[0]).abs_diff(due) <= 25, "{outcome:?}");
}

#[test]
fn a_twin_that_never_answers_is_the_reason_given() {
    let mut plant = Plant::new(plan(3));
    plant.cut = true;
    plant.run_for(Duration::from_secs(60));
    assert!(plant.fleet.is_done());
    assert!(matches!(plant.fleet.finish(), Err(FleetError::NoAnswer)));
}

#[test]
fn a_wrong_name_ends_with_the_certificate_as_reason() {
    let mut plant = Plant::new(Plan { server_name: "elsewhere".to_owned(), ..plan(3) });
    plant.run_for(Duration::from_secs(60));
    assert!(plant.fleet.is_done());
    assert!(matches!(plant.fleet.finish(), Err(FleetError::Tls { alert: 42 | 46 | 48 })));
}

#[test]
fn the_same_seed_offers_the_same_load() {
    let run = || {
        let mut plant = Plant::new(Plan { t2_rate_hz: 3.0, ..plan(7) });
        plant.far.stamps = Some(Vec::new());
        let (outcome, far) = plant.finish();
        let mut stamps = far.stamps.unwrap();
        stamps.sort_unstable();
        let first = stamps.iter().map(|stamp| stamp.1).min().unwrap();
        stamps.iter_mut().for_each(|stamp| stamp.1 -= first);
        (outcome.sent, stamps)
    };
    assert_eq!(run(), run());
}

#[test]
fn what_was_due_and_a_late_turn_had_no_time_for_is_shed() {
    let plan = Plan { sessions: 10, profile: Profile::Single, ..plan(2_000) };
    let rates = Plan { rate: Rate::Hz(50.0), t2_rate_hz: 10.0, t3_rate_hz: 2.0, ..plan };
    let mut plant = Plant::new(Plan { duration: Some(Duration::from_secs(1)), ..rates });
    plant.run_for(Duration::from_millis(100));
    // One turn at the end of the plan: far more is due by then than a turn takes.
    plant.now = plant.now.plus(Duration::from_secs(2));
    plant.turn();
    let (outcome, _) = plant.finish();
    let accounted = [0, 1, 2].map(|tier| outcome.sent[tier] + outcome.shed[tier]);
    assert_eq!(accounted, [100_000, 20_000, 4_000], "{outcome:?}");
    assert!(outcome.shed[0] > 50_000, "{outcome:?}");
}

#[test]
fn a_stop_sheds_what_was_due_by_then() {
    let plan = Plan { sessions: 10, profile: Profile::Single, duration: None, ..plan(2_000) };
    let mut plant = Plant::new(Plan { rate: Rate::Hz(50.0), ..plan });
    plant.run_for(Duration::from_secs(1));
    let before = plant.fleet.progress().sent[0].value();
    plant.now = plant.now.plus(Duration::from_secs(1));
    plant.stop.drain();
    let (outcome, _) = plant.finish();
    let since = outcome.sent[0] + outcome.shed[0] - before;
    // Counters are published ten times a second, and 100,000 records are due in one.
    assert!((100_000..=110_100).contains(&since), "{since} due in the last second: {outcome:?}");
}

#[test]
fn sessions_that_are_closed_at_once_come_back_ever_later() {
    let mut plant = Plant::new(Plan { duration: Some(Duration::from_secs(60)), ..plan(2) });
    plant.far.turns_away = true;
    let (outcome, _) = plant.finish();
    // Pauses double from 0.1 s to 5 s, and take between half and all of that: 7 of them until then, and 22 more.
    assert!((16..=2 * 30).contains(&outcome.sessions_opened), "{outcome:?}");
    assert_eq!(outcome.sessions_reopened, outcome.sessions_opened - 2);
    assert_eq!(outcome.sessions_lost, outcome.sessions_opened);
}

/// Every lateness that a fleet has measured, ascending, in nanoseconds, and how often.
fn lateness(plant: Plant) -> (Outcome, Vec<(u64, u64)>) {
    let mut handed_over = plant.fleet.intervals();
    let (outcome, last) = plant.fleet.finish().unwrap();
    let mut all = last.histogram(LoadLatency::Lateness).clone();
    handed_over(&mut |interval| all.add(interval.histogram(LoadLatency::Lateness)).unwrap());
    let steps = all.iter_recorded();
    (outcome, steps.map(|step| (step.value_iterated_to(), step.count_at_value())).collect())
}

#[test]
fn lateness_ends_when_the_record_is_handed_over_behind_its_linger() {
    let linger = Duration::from_millis(20);
    let mut plant = Plant::new(Plan { linger, ..plan(3) });
    plant.run_for(Duration::from_secs(10));
    let (outcome, lateness) = lateness(plant);
    assert_eq!(lateness.iter().map(|(_, count)| count).sum::<u64>(), outcome.sent[0]);
    // The histogram keeps three digits; records of the last round leave with the end of the plan.
    let whole = lateness.iter().filter(|(ns, _)| *ns >= 19_900_000).map(|(_, count)| count);
    assert!(whole.sum::<u64>() >= outcome.sent[0] - 15, "{lateness:?}");
}

#[test]
fn records_that_are_lost_with_their_session_have_no_lateness() {
    let linger = Duration::from_millis(200);
    let mut plant = Plant::new(Plan { linger, ..plan(5) });
    plant.run_for(Duration::from_millis(1_510));
    let open: HashSet<_> = plant.far.sessions.values().copied().collect();
    for session in open {
        plant.far_engine.close(plant.now, session, CloseCode::Limit);
    }
    plant.run_for(Duration::from_secs(10));
    let (outcome, lateness) = lateness(plant);
    assert_eq!((outcome.sessions_lost, outcome.sessions_finished), (5, 5));
    assert_eq!(outcome.sent[0] + outcome.shed[0], 1_500);
    assert!(outcome.shed[0] > 0, "{outcome:?}");
    assert_eq!(lateness.iter().map(|(_, count)| count).sum::<u64>(), outcome.sent[0]);
}
