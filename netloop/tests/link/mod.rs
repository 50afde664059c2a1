//! Two engines and a seeded link between them, in virtual time: no socket, no clock, no thread.
//!
//! The link loses, delays, reorders and duplicates by one seed, which every failing test prints. Time advances straight
//! to the next thing that can happen, so that minutes of traffic take milliseconds.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of the link")]
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use netloop::{
    Answer, Datagram, Engine, Now, Phase, Run, ServerTls, SessionEvent, SessionId, SessionLimits,
    Sink, Slot, client_tls,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::{CloseCode, DeviceId, Hello, Reading, Record, SensorType, capability};

/// What the link does to datagrams; probabilities in 0..1.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub loss: f64,
    pub reorder: f64,
    pub duplicate: f64,
    pub delay: Duration,
}

impl Weather {
    pub const CALM: Self =
        Self { loss: 0.0, reorder: 0.0, duplicate: 0.0, delay: Duration::from_micros(200) };

    pub fn lossy(loss: f64) -> Self {
        Self { loss, reorder: loss, ..Self::CALM }
    }
}

/// SplitMix64: a seed gives the same weather for ever.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 * 1.0 < probability
    }
}

/// Collects what an engine receives, with room that a test sets.
pub struct Collector {
    pub t1: Vec<Slot>,
    pub t2: Vec<Slot>,
    pub t3: Vec<Slot>,
    pub acks: Vec<Slot>,
    pub room_t1: usize,
    /// Of that: what is kept for sessions that send moderately.
    pub kept_t1: usize,
    pub room_t2: usize,
    pub room_t3: usize,
    /// How commands are answered.
    pub answer: fn(&Slot) -> Answer,
    pub events: Vec<SessionEvent>,
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            t1: Vec::new(),
            t2: Vec::new(),
            t3: Vec::new(),
            acks: Vec::new(),
            room_t1: usize::MAX,
            kept_t1: 0,
            room_t2: 1 << 20,
            room_t3: 1 << 20,
            answer: |slot| Answer::Ack(wire::Command::ack(record(slot), wire::Status::Ok, 42.0)),
            events: Vec::new(),
        }
    }
}

pub fn record(slot: &Slot) -> Record {
    Record::from_bytes(slot.record)
}

impl Sink for Collector {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        let taken = run.records.len().min(self.room_t1);
        self.t1.extend(run.slots().take(taken));
        self.room_t1 -= taken;
        taken
    }
    fn room_t1(&self, wish: usize) -> usize {
        self.room_t1.saturating_sub(self.kept_t1).min(wish)
    }
    fn free_t2(&self) -> usize {
        self.room_t2
    }
    fn push_t2(&mut self, run: &Run<'_>) {
        let count = run.records.len();
        assert!(count <= self.room_t2, "the engine keeps to the room it was told");
        self.room_t2 -= count;
        self.t2.extend(run.slots());
    }
    fn free_t3(&self) -> usize {
        self.room_t3
    }
    fn handle_command(&mut self, slot: Slot) -> Answer {
        self.room_t3 -= 1;
        self.t3.push(slot);
        (self.answer)(&slot)
    }
    fn handle_ack(&mut self, slot: Slot) {
        self.room_t3 -= 1;
        self.acks.push(slot);
    }
}

pub struct End {
    pub engine: Engine,
    pub sink: Collector,
    pub address: SocketAddr,
}

struct Flight {
    at: Instant,
    order: u64,
    to_server: bool,
    payload: Vec<u8>,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Flight {}
impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

pub struct Pair {
    pub now: Now,
    pub client: End,
    pub server: End,
    pub weather: Weather,
    pub dice: Dice,
    pub seed: u64,
    greets: bool,
    flights: BinaryHeap<Reverse<Flight>>,
    order: u64,
    pub delivered: u64,
    pub lost: u64,
    /// What the server sent to addresses that nobody has.
    pub strayed: u64,
    /// Largest datagram that the link carries, in bytes.
    pub carries_bytes: usize,
    /// Sizes above the one that every path carries, of all that was sent.
    pub large: Vec<usize>,
    /// The server takes no turns: what arrives waits, as in the buffer of a socket.
    pub stalled: bool,
}

pub const DEVICE: DeviceId = DeviceId(*b"a device of ours");

pub fn hello() -> Hello {
    Hello { capabilities: capability::COMMANDS | capability::TOTALS, epoch: 7, device: DEVICE }
}

/// The record of sensor 1 with this sequence number, which is its value too.
pub fn numbered(seq: u32) -> Record {
    Record::encode(&Reading {
        device: DEVICE,
        sensor_id: 1,
        value: f64::from(seq),
        ts_us: u64::from(seq),
        seq,
        sensor_type: SensorType::Temperature,
    })
}

pub fn payload(records: &[Record]) -> Vec<u8> {
    records.iter().flat_map(|record| *record.as_bytes()).collect()
}

fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    (made.cert.der().clone(), key.into())
}

impl Pair {
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self::with_limits(seed, weather, SessionLimits::default(), SessionLimits::default())
    }

    pub fn with_limits(
        seed: u64,
        weather: Weather,
        server_limits: SessionLimits,
        client_limits: SessionLimits,
    ) -> Self {
        Self::build(seed, weather, server_limits, client_limits, Some(hello()))
    }

    /// A client that opens no control stream.
    pub fn plain(seed: u64, weather: Weather) -> Self {
        let limits = SessionLimits::default();
        Self::build(seed, weather, limits.clone(), limits, None)
    }

    fn build(
        seed: u64,
        weather: Weather,
        server_limits: SessionLimits,
        client_limits: SessionLimits,
        hello: Option<Hello>,
    ) -> Self {
        let now = Now::simulated();
        let (certificate, key) = certificate();
        let server = ServerTls::from_der(vec![certificate.clone()], key).into_quic().unwrap();
        let client = client_tls([certificate], wire::ALPN).unwrap();
        let seed_bytes = |n: u8| [n ^ seed as u8; 32];
        let server = Engine::server(server, server_limits, now, seed_bytes(1));
        let client = Engine::client(client, hello, client_limits, now, seed_bytes(2));
        Self::of_engines(seed, weather, now, (server, client), hello.is_some())
    }

    /// Engines that a test has made at `now`; `greets` where the client has a hello.
    pub fn of_engines(
        seed: u64,
        weather: Weather,
        now: Now,
        (server, client): (Engine, Engine),
        greets: bool,
    ) -> Self {
        eprintln!("seed {seed}, {weather:?}");
        let end = |engine, port| End {
            engine,
            sink: Collector::default(),
            address: SocketAddr::from(([10, 0, 0, 1], port)),
        };
        Self {
            now,
            server: end(server, 4433),
            client: end(client, 9000),
            weather,
            dice: Dice(seed),
            seed,
            greets,
            flights: BinaryHeap::new(),
            order: 0,
            delivered: 0,
            lost: 0,
            strayed: 0,
            carries_bytes: usize::MAX,
            large: Vec::new(),
            stalled: false,
        }
    }

    /// A session that is open on both sides, as the client names it.
    pub fn connect(&mut self) -> SessionId {
        let session =
            self.client.engine.connect(self.now, self.server.address, "localhost").unwrap();
        self.run_until("the session opens", Duration::from_secs(10), |pair| {
            pair.client.engine.phase(session) == Some(Phase::Open)
                && pair.server.engine.open_sessions() == 1
                && (!pair.greets || pair.server.sink.events.iter().any(is_hello))
        });
        session
    }

    /// Both engines take one turn; what they send goes onto the link.
    pub fn turn(&mut self) {
        let client = self.client.address;
        for to_server in [true, false] {
            if self.stalled && !to_server {
                continue;
            }
            let end = if to_server { &mut self.client } else { &mut self.server };
            end.engine.poll(self.now, &mut end.sink);
            end.engine.handle_timeouts(self.now, &mut end.sink);
            while let Some(event) = end.engine.poll_event() {
                end.sink.events.push(event);
            }
            let mut buffer = Vec::new();
            let mut sent = Vec::new();
            while let Some(transmit) = end.engine.poll_transmit(self.now, 10, &mut buffer) {
                if !to_server && transmit.destination != client {
                    self.strayed += 1;
                    continue;
                }
                let segment = transmit.segment_size.unwrap_or(transmit.size);
                sent.extend(buffer[..transmit.size].chunks(segment).map(<[u8]>::to_vec));
            }
            for payload in sent {
                self.launch(to_server, &payload);
            }
        }
    }

    fn launch(&mut self, to_server: bool, payload: &[u8]) {
        self.large.extend(Some(payload.len()).filter(|&bytes| bytes > 1200));
        if self.dice.chance(self.weather.loss) || payload.len() > self.carries_bytes {
            self.lost += 1;
            return;
        }
        let copies = if self.dice.chance(self.weather.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let late = if self.dice.chance(self.weather.reorder) { 4 } else { 1 };
            let at = self.now.instant + self.weather.delay * late;
            self.order += 1;
            let payload = payload.to_vec();
            self.flights.push(Reverse(Flight { at, order: self.order, to_server, payload }));
        }
    }

    /// Takes a turn, then advances time to whatever comes next. False when nothing will ever come.
    pub fn step(&mut self) -> bool {
        self.turn();
        let Some(next) = self.next_instant() else { return false };
        let passed = next.saturating_duration_since(self.now.instant);
        self.advance(passed.max(Duration::from_micros(1)));
        true
    }

    /// Steps until exactly `end`, so that a test can send on a schedule of its own.
    pub fn run_to(&mut self, end: Instant) {
        loop {
            self.turn();
            let next = self.next_instant().filter(|next| *next < end).unwrap_or(end);
            let passed = next.saturating_duration_since(self.now.instant);
            if next == end {
                return self.advance(passed);
            }
            self.advance(passed.max(Duration::from_micros(1)));
        }
    }

    fn next_instant(&self) -> Option<Instant> {
        let landing = self.flights.peek().map(|Reverse(flight)| flight.at);
        let server = (!self.stalled).then_some(&self.server);
        let timers = [Some(&self.client), server].map(|end| end?.engine.poll_timeout());
        landing.into_iter().chain(timers.into_iter().flatten()).min()
    }

    /// Lets time pass and everything land that is due by then.
    fn advance(&mut self, passed: Duration) {
        self.now = self.now.plus(passed);
        while let Some(Reverse(flight)) = self.flights.peek() {
            if flight.at > self.now.instant {
                break;
            }
            let Some(Reverse(flight)) = self.flights.pop() else { break };
            self.land(&flight);
        }
    }

    fn land(&mut self, flight: &Flight) {
        self.delivered += 1;
        let (end, remote) = if flight.to_server {
            (&mut self.server, self.client.address)
        } else {
            (&mut self.client, self.server.address)
        };
        end.engine.handle_datagram(
            self.now,
            Datagram {
                remote,
                local_ip: None,
                ecn: None,
                payload: BytesMut::from(&flight.payload[..]),
                recv_ns: self.now.unix_ns,
            },
        );
    }

    /// Steps until `done`, and panics with the seed when `limit` of virtual time passes first.
    pub fn run_until(&mut self, what: &str, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now.instant + limit;
        loop {
            self.turn();
            if done(self) {
                return;
            }
            let alive = self.step();
            assert!(alive && self.now.instant < end, "seed {}: {what} never came", self.seed);
        }
    }

    /// Steps for a span of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now.instant + span;
        while self.now.instant < end && self.step() {}
    }

    /// Nothing that is on its way arrives.
    pub fn forget_flights(&mut self) {
        self.flights = BinaryHeap::new();
    }

    /// The server's name of the only session that it has.
    pub fn server_session(&self) -> SessionId {
        self.server.engine.ids().next().expect("the server has a session")
    }

    /// The server's last word on a session.
    pub fn closed(&self) -> Option<&SessionEvent> {
        self.server.sink.events.iter().find(|e| matches!(e, SessionEvent::Closed { .. }))
    }
}

fn is_hello(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Hello { .. })
}

pub fn values(slots: &[Slot]) -> Vec<u32> {
    slots.iter().map(|slot| record(slot).seq()).collect()
}

pub fn no_handler(_: &Slot) -> Answer {
    Answer::Reset(CloseCode::NoHandler)
}
