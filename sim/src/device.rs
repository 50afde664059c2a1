//! A device: the client's role of the engine, readings on a schedule, events, reads, and an actuator.
//!
//! It is honest and stubborn: it numbers what it has handed to QUIC, leaves out what QUIC does not take, and opens another
//! session whenever it has lost one. It remembers what it did, so that it can be held against the twin.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use netloop::{
    Answer, Datagram, Engine, Now, Phase, Run, SendStream, SessionEvent, SessionId, SessionLimits,
    Sink, Slot, slot,
};
use wire::{
    Command, DeviceId, Hello, Operation, Reading, Record, SensorType, Status, Tier, Totals,
    capability,
};

use crate::chance::Chance;
use crate::crypto;
use crate::network::TWIN;
use crate::samples::Samples;
use crate::scenario::DevicePlan;
use crate::worker;

const SEGMENTS_MAX: usize = 10;
/// A device wants fewer acknowledgements than QUIC sends by itself, as the load generator does.
const ACK_EVERY: u32 = 10;
/// A device that has lost its session waits so long before it opens another one.
const RECONNECT_NS: u64 = 20_000_000;
/// Bytes of T2 that a device keeps for a stream that takes none.
const T2_WAITING_MAX: usize = 40 * 39;

/// What a device did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Records handed to QUIC, by tier, in all sessions.
    pub(crate) offered: [u64; Tier::COUNT],
    /// Of those, in the session that is open.
    pub(crate) offered_here: [u64; Tier::COUNT],
    /// Acks of its reads, by the number of the read.
    pub(crate) acks: BTreeMap<u32, Status>,
    /// Reads of the session that is open, by number, and when they were opened, in nanoseconds since the Unix epoch.
    pub(crate) reads_open: BTreeMap<u32, u64>,
    /// Setpoints that it acknowledged, by boot and number.
    pub(crate) setpoints: BTreeSet<(u32, u32)>,
    /// Whether the twin has stopped it, since its boot.
    pub(crate) stopped: bool,
    /// What its actuator holds, if it was set since its boot.
    pub(crate) held: Option<f64>,
    /// Numbers of the latest stop or clear, and of the latest setpoint, that it obeyed in the session that is open.
    obeyed: [Option<u32>; 2],
    /// How often it was told to stop, or that the stop is over.
    pub(crate) stops: u64,
    /// What the twin did that it may not do.
    pub(crate) wrongs: Vec<String>,
    pub(crate) sessions: u64,
    /// From the opening of a read to its ack.
    pub(crate) read_us: Samples,
}

/// One device.
pub(crate) struct Device {
    pub(crate) plan: DevicePlan,
    engine: Engine,
    session: Option<SessionId>,
    stream: Option<SendStream>,
    /// T2 that the stream has not taken, from the middle of a record perhaps.
    waiting: Vec<u8>,
    numbers: [u32; 2],
    reads: u32,
    epoch: u32,
    rounds: u64,
    /// When it next has something to say.
    send_ns: u64,
    connect_ns: Option<u64>,
    /// When it next has something to do by itself.
    pub(crate) next_ns: u64,
    base: Now,
    leaving: bool,
    seed: [u8; 32],
    boots: u8,
    pub(crate) done: Done,
    buffer: Vec<u8>,
}

/// The name of a device.
pub(crate) fn device_id(number: u32) -> DeviceId {
    let mut bytes = *b"a simulated dev.";
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    DeviceId(bytes)
}

/// The type of a device's sensor.
pub(crate) fn type_of(sensor_id: u16) -> SensorType {
    SensorType::ALL[usize::from(sensor_id) % SensorType::COUNT]
}

impl Device {
    pub(crate) fn new(plan: DevicePlan, seed: u64, now: Now) -> Self {
        let mut chance = Chance::new(seed, 0xde71 ^ u64::from(plan.number) << 16);
        let bytes = chance.bytes();
        let start_ns = chance.between(0, plan.period_us * 1_000);
        Self {
            engine: client(&plan, 1, bytes, now),
            plan,
            session: None,
            stream: None,
            waiting: Vec::new(),
            numbers: [0; 2],
            reads: 0,
            epoch: 1,
            rounds: 0,
            send_ns: start_ns,
            connect_ns: Some(start_ns / 2),
            next_ns: start_ns / 2,
            base: now,
            leaving: false,
            seed: bytes,
            boots: 0,
            done: Done::default(),
            buffer: Vec::new(),
        }
    }

    fn update_next(&mut self) {
        let timeout = self.engine.poll_timeout();
        let base = self.base;
        let timeout =
            timeout.map(|at| at.saturating_duration_since(base.instant).as_nanos() as u64);
        let sends = (!self.leaving).then_some(self.send_ns);
        let connects = self.connect_ns.filter(|_| !self.leaving);
        let next = [timeout, connects, sends].into_iter().flatten().min();
        self.next_ns = next.unwrap_or(u64::MAX);
    }

    /// Takes a datagram that has arrived.
    pub(crate) fn receive(&mut self, now: Now, payload: &[u8]) {
        let payload = BytesMut::from(payload);
        let recv_ns = now.unix_ns;
        let datagram = Datagram { remote: TWIN, local_ip: None, ecn: None, payload, recv_ns };
        self.engine.handle_datagram(now, datagram);
    }

    /// Begins anew: nobody is told, and only the epoch tells.
    pub(crate) fn reboot(&mut self, now: Now, now_ns: u64) {
        self.boots += 1;
        self.epoch += 1;
        let mut seed = self.seed;
        seed[0] ^= self.boots;
        self.engine = client(&self.plan, self.epoch, seed, now);
        (self.session, self.stream) = (None, None);
        self.waiting.clear();
        self.numbers = [0; 2];
        self.done.offered_here = [0; 3];
        self.done.reads_open.clear();
        (self.done.stopped, self.done.held) = (false, None);
        (self.connect_ns, self.next_ns) = (Some(now_ns), now_ns);
    }

    /// Ends its work: it says what it has offered, and closes its session.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        if let Some(session) = self.session {
            if let Some(stream) = self.stream.take() {
                self.engine.finish_stream(session, stream);
            }
            self.engine.finish(session, Totals { offered: self.done.offered_here });
        }
        self.next_ns = 0;
    }

    /// Whether it has a session through which it speaks.
    pub(crate) fn is_open(&self) -> bool {
        self.session.is_some_and(|session| self.engine.phase(session) == Some(Phase::Open))
    }

    /// Bytes of T2 that no stream has taken.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    /// Its boot, as its hello says it.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The number of its last events on T2.
    pub(crate) const fn last_t2(&self) -> u32 {
        self.numbers[1].wrapping_sub(1)
    }

    /// One turn. What it sends goes to `send`.
    pub(crate) fn turn(&mut self, now: Now, now_ns: u64, send: &mut dyn FnMut(SocketAddr, &[u8])) {
        let now_us = now.unix_ns / 1_000;
        let mut sink =
            Acks { done: &mut self.done, epoch: self.epoch, heedless: self.plan.heedless, now_us };
        self.engine.poll(now, &mut sink);
        self.engine.handle_timeouts(now, &mut sink);
        while let Some(event) = self.engine.poll_event() {
            self.handle_event(&event, now_ns);
        }
        if self.connect_ns.is_some_and(|at| at <= now_ns) && !self.leaving {
            self.connect_ns = None;
            // Nothing but a limit could refuse it, and a device has one session.
            if let Err(error) = self.engine.connect(now, TWIN, crypto::SERVER_NAME) {
                self.done.wrongs.push(format!("no session can be begun: {error}"));
            }
        }
        while self.send_ns <= now_ns && !self.leaving {
            self.say(now);
            self.send_ns += self.plan.period_us * 1_000;
        }
        self.write_waiting();
        while let Some(transmit) = self.engine.poll_transmit(now, SEGMENTS_MAX, &mut self.buffer) {
            let segment = transmit.segment_size.unwrap_or(transmit.size);
            let datagrams = self.buffer[..transmit.size].chunks(segment);
            datagrams.for_each(|datagram| send(transmit.destination, datagram));
        }
        self.update_next();
    }

    fn handle_event(&mut self, event: &SessionEvent, now_ns: u64) {
        match *event {
            SessionEvent::Opened { session, .. } => {
                self.session = Some(session);
                self.done.obeyed = [None; 2];
                self.done.sessions += 1;
                self.done.offered_here = [0; 3];
            }
            SessionEvent::Closed { .. } | SessionEvent::Failed { .. } => {
                (self.session, self.stream) = (None, None);
                self.waiting.clear();
                self.done.reads_open.clear();
                self.connect_ns = Some(now_ns + RECONNECT_NS);
            }
            SessionEvent::Hello { .. } => {}
        }
    }

    /// What is due in this round.
    fn say(&mut self, now: Now) {
        let Some(session) = self.session else { return };
        self.rounds += 1;
        let due = |every: u64| every > 0 && self.rounds.is_multiple_of(every);
        let (t2, t3) = (due(self.plan.t2_every), due(self.plan.t3_every));
        let batch: Vec<u8> = self.batch(now, 0).collect();
        if self.engine.send_datagram(session, Bytes::from(batch)).is_ok() {
            self.numbers[0] = self.numbers[0].wrapping_add(1);
            self.count(Tier::T1, self.plan.sensors.into());
        }
        if t2 && self.waiting.len() < T2_WAITING_MAX {
            let batch: Vec<u8> = self.batch(now, 1).collect();
            self.waiting.extend(batch);
            self.numbers[1] = self.numbers[1].wrapping_add(1);
        }
        if t3 {
            let request = self.reading(now, self.reads as u16 % self.plan.sensors, self.reads);
            let request = Command::request(Record::encode(&request), Operation::Read);
            // A peer that allows no further stream is busy: the read is left out.
            if self.engine.open_command(session, request, self.reads).is_ok() {
                self.done.reads_open.insert(self.reads, now.unix_ns);
                self.reads += 1;
                self.count(Tier::T3, 1);
            }
        }
    }

    fn write_waiting(&mut self) {
        let Some(session) = self.session else { return };
        if self.waiting.is_empty() || !self.is_open() {
            return;
        }
        if self.stream.is_none() {
            self.stream = self.engine.open_stream(session, netloop::StreamPriority::Normal).ok();
        }
        let Some(stream) = self.stream else { return };
        if let Ok(bytes) = self.engine.write_stream(session, stream, &self.waiting) {
            // A record is offered with its last byte.
            let before = self.waiting.len().div_ceil(wire::RECORD_BYTES);
            self.waiting.drain(..bytes);
            let after = self.waiting.len().div_ceil(wire::RECORD_BYTES);
            self.count(Tier::T2, (before - after) as u64);
        }
    }

    fn count(&mut self, tier: Tier, records: u64) {
        self.done.offered[tier.index()] += records;
        self.done.offered_here[tier.index()] += records;
    }

    fn batch(&self, now: Now, tier: usize) -> impl Iterator<Item = u8> {
        let number = self.numbers[tier];
        let records = (0..self.plan.sensors).map(move |id| self.reading(now, id, number));
        records.flat_map(|reading| *Record::encode(&reading).as_bytes())
    }

    fn reading(&self, now: Now, sensor_id: u16, seq: u32) -> Reading {
        // Slow swings across the thresholds, a little different in every record.
        let swing = (self.rounds as f64 / 40.0 + f64::from(self.plan.number)).sin() * 60.0;
        Reading {
            device: device_id(self.plan.number),
            sensor_id,
            value: 40.0 + swing + f64::from(seq % 97) / 100.0,
            ts_us: now.unix_ns / 1_000,
            seq,
            sensor_type: type_of(sensor_id),
        }
    }
}

fn client(plan: &DevicePlan, epoch: u32, seed: [u8; 32], now: Now) -> Engine {
    let capabilities = capability::COMMANDS | capability::TOTALS;
    let hello = Hello { capabilities, epoch, device: device_id(plan.number) };
    let hello = plan.hello.then_some(hello);
    let limits = SessionLimits { ack_every: Some(ACK_EVERY), ..worker::limits() };
    Engine::client(crypto::client(), hello, limits, now, seed)
}

/// Whether no later command was obeyed before; it is the latest then. PROTOCOL.md#t3.
fn is_latest(obeyed: &mut Option<u32>, seq: u32) -> bool {
    let latest = obeyed.is_none_or(|obeyed| obeyed.wrapping_sub(seq).cast_signed() <= 0);
    if latest {
        *obeyed = Some(seq);
    }
    latest
}

/// Takes what the twin sends.
struct Acks<'a> {
    done: &'a mut Done,
    epoch: u32,
    heedless: bool,
    now_us: u64,
}

impl Sink for Acks<'_> {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        let count = run.records.len();
        self.done.wrongs.push(format!("the twin has sent {count} records of T1"));
        count
    }

    fn free_t2(&self) -> usize {
        1
    }

    fn push_t2(&mut self, run: &Run<'_>) {
        let count = run.records.len();
        self.done.wrongs.push(format!("the twin has sent {count} records of T2"));
    }

    fn free_t3(&self) -> usize {
        1 << 10
    }

    fn handle_command(&mut self, slot: Slot) -> Answer {
        let request = Record::from_bytes(slot.record);
        let operation = Command::decode(&request).ok().and_then(|request| request.operation());
        let (seq, obeyed) = (request.seq(), &mut self.done.obeyed);
        if self.heedless {
            *obeyed = [None; 2];
        }
        let mut value = request.value();
        let status = match operation {
            Some(Operation::Stop | Operation::Clear) => {
                if is_latest(&mut obeyed[0], seq) {
                    self.done.stopped = operation == Some(Operation::Stop);
                    self.done.stops += 1;
                }
                Status::Ok
            }
            // What was sent before the stop may come behind it.
            Some(Operation::Setpoint) if self.done.stopped => Status::Refused,
            Some(Operation::Setpoint) => {
                if is_latest(&mut obeyed[1], seq) {
                    self.done.held = Some(value);
                }
                value = self.done.held.unwrap_or(value);
                if !self.done.setpoints.insert((self.epoch, seq)) {
                    let boot = self.epoch;
                    self.done.wrongs.push(format!("setpoint {seq} of boot {boot} has come twice"));
                }
                Status::Ok
            }
            other => {
                self.done.wrongs.push(format!("the twin asks for {other:?}"));
                Status::Refused
            }
        };
        Answer::Ack(Command::ack(request, status, value))
    }

    fn handle_ack(&mut self, end: Slot) {
        self.done.reads_open.remove(&end.hint);
        if end.flags & slot::ACK == 0 {
            return;
        }
        let ack = Record::from_bytes(end.record);
        match Command::decode(&ack).ok().and_then(|ack| ack.status()) {
            Some(status) if ack.seq() == end.hint => {
                self.done.read_us.push(self.now_us.saturating_sub(ack.ts_us()));
                if self.done.acks.insert(ack.seq(), status).is_some() {
                    self.done.wrongs.push(format!("read {} was answered twice", ack.seq()));
                }
            }
            _ => self.done.wrongs.push(format!("read {} got an ack of another form", end.hint)),
        }
    }
}
