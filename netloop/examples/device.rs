//! A device in one file: a heated tank. It reports its temperature ten times a second (T1), each whole degree that it passes as an
//! event (T2), and has a heater whose setpoint the twin commands, stops and asks for (T3).
//!
//! ```sh
//! target/release/pollux certs init --device 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10
//! target/release/pollux serve
//! cargo run -p netloop --example device -- 127.0.0.1:4433 certs 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10 60
//! target/release/pollux ctl setpoint 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10 100 70 --type temperature
//! ```
//!
//! It gives its session up when that breaks; a device that has to last would call again, with the same epoch, and go on counting.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks")]

use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use netloop::{
    Answer, ClientIdentity, Clock, CloseReason, Engine, Idle, IdleStrategy, Now, Port, Run,
    SendStream, SessionEvent, SessionId, SessionLimits, Sink, Slot, Socket, SocketOptions, Stop,
    StreamPriority, Worker, WorkerConfig, WorkerStats, certificates_from_pem_file, client_tls_as,
};
use wire::{
    CloseCode, Command, DeviceId, Hello, Operation, Reading, Record, SensorType, Status, Tier,
    Totals, capability,
};

/// The thermometer, and the heater's own number.
const TEMPERATURE: u16 = 0;
const HEATER: u16 = 100;
const PERIOD: Duration = Duration::from_millis(100);
/// Degrees Celsius: of the room, and of what the heater can do at most.
const ROOM: f64 = 20.0;
const HOTTEST: f64 = 90.0;

/// The tank, and what the worker asks of it.
struct Device {
    id: DeviceId,
    temperature: f64,
    /// What the heater heats to; the room's own temperature is off.
    setpoint: f64,
    stopped: bool,
    /// The numbers of the last stop or clear and of the last setpoint that were obeyed: streams overtake each other.
    obeyed: [Option<u32>; 2],
    session: Option<SessionId>,
    /// When the next reading is due, once there is a session, and how many are left.
    due: Option<Instant>,
    left: u64,
    /// Somebody wants it to end sooner.
    enough: Arc<AtomicBool>,
    /// Records that were given a number, by tier.
    offered: [u64; Tier::COUNT],
    /// The stream of events, and what it has not taken yet.
    events: Option<SendStream>,
    unsent: Vec<u8>,
    ended: Option<CloseReason>,
    stop: Stop,
}

impl Device {
    fn new(id: DeviceId, readings: u64, enough: Arc<AtomicBool>, stop: Stop) -> Self {
        Self {
            id,
            temperature: ROOM,
            setpoint: ROOM,
            stopped: false,
            obeyed: [None; 2],
            session: None,
            due: None,
            left: readings,
            enough,
            offered: [0; Tier::COUNT],
            events: None,
            unsent: Vec::new(),
            ended: None,
            stop,
        }
    }

    /// The next record of a tier, of the moment at which it was due: lateness of ours is latency, and no later reading.
    fn record(&mut self, tier: Tier, due_us: u64) -> Record {
        Record::encode(&Reading {
            device: self.id,
            sensor_id: TEMPERATURE,
            value: self.temperature,
            ts_us: due_us,
            seq: self.offered[tier.index()] as u32,
            sensor_type: SensorType::Temperature,
        })
    }

    /// Measures, and sends what came of it.
    fn report(&mut self, engine: &mut Engine, session: SessionId, due_us: u64) {
        let before = self.temperature;
        self.temperature += (self.setpoint - self.temperature) / 100.0;
        let reading = self.record(Tier::T1, due_us);
        let payload = Bytes::copy_from_slice(reading.as_bytes());
        // A reading for which there is no room is left out, and gets no number: the next one tells more than this one.
        if engine.send_datagram(session, payload).is_ok() {
            self.offered[Tier::T1.index()] += 1;
        }
        if before.floor() != self.temperature.floor() {
            let event = self.record(Tier::T2, due_us);
            self.unsent.extend_from_slice(event.as_bytes());
            self.offered[Tier::T2.index()] += 1;
        }
    }

    /// Writes events as far as the twin lets it. False while some are left.
    fn write_events(&mut self, engine: &mut Engine, session: SessionId) -> bool {
        while !self.unsent.is_empty() {
            if self.events.is_none() {
                self.events = engine.open_stream(session, StreamPriority::Normal).ok();
            }
            let Some(stream) = self.events else { return false };
            match engine.write_stream(session, stream, &self.unsent) {
                Ok(taken) => drop(self.unsent.drain(..taken)),
                Err(_) => return false,
            }
        }
        true
    }

    /// Ends in order: the events, then the totals, by which the twin knows what was lost on the way.
    fn finish(&mut self, engine: &mut Engine, session: SessionId) {
        if let Some(stream) = self.events.take() {
            engine.finish_stream(session, stream);
        }
        engine.finish(session, Totals { offered: self.offered });
    }

    /// Does what a command asks for; the status and the value that holds then.
    fn obey(&mut self, command: &Command) -> Option<(Status, f64)> {
        let (sensor, value) = (command.record.sensor_id(), command.record.value());
        let operation = command.operation()?;
        let last = &mut self.obeyed[usize::from(operation == Operation::Setpoint)];
        let is_late = last.is_some_and(|last| command.record.seq().wrapping_sub(last) >= 1 << 31);
        Some(match operation {
            Operation::Read if sensor == TEMPERATURE => (Status::Ok, self.temperature),
            Operation::Read if sensor == HEATER => (Status::Ok, self.setpoint),
            Operation::Stop | Operation::Clear => {
                if !is_late {
                    *last = Some(command.record.seq());
                    self.stopped = operation == Operation::Stop;
                    // What is safe for a heater is to be off, and after a clear it stays so until somebody asks for heat.
                    self.setpoint = ROOM;
                }
                (Status::Ok, value)
            }
            Operation::Setpoint if sensor == HEATER && is_late => (Status::Ok, self.setpoint),
            Operation::Setpoint if sensor == HEATER && self.stopped => {
                (Status::Refused, self.setpoint)
            }
            Operation::Setpoint if sensor == HEATER && !(ROOM..=HOTTEST).contains(&value) => {
                (Status::OutOfRange, self.setpoint)
            }
            Operation::Setpoint if sensor == HEATER => {
                *last = Some(command.record.seq());
                self.setpoint = value;
                (Status::Ok, value)
            }
            Operation::Read | Operation::Setpoint => (Status::Unknown, 0.0),
        })
    }
}

/// What arrives: commands of the twin, and nothing else, because a twin sends a device no records.
impl Sink for Device {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        run.records.len()
    }

    fn free_t2(&self) -> usize {
        1
    }

    fn push_t2(&mut self, _: &Run<'_>) {}

    fn free_t3(&self) -> usize {
        1
    }

    fn handle_command(&mut self, slot: Slot) -> Answer {
        let request = Record::from_bytes(slot.record);
        match Command::decode(&request).ok().and_then(|command| self.obey(&command)) {
            Some((status, value)) => Answer::Ack(Command::ack(request, status, value)),
            None => Answer::Reset(CloseCode::NoHandler),
        }
    }

    fn handle_ack(&mut self, _: Slot) {}
}

/// What leaves, once a turn and when it is due.
impl Port for Device {
    fn poll_outbound(&mut self, engine: &mut Engine, now: Now) -> bool {
        let Some(session) = self.session else { return false };
        if self.enough.load(Ordering::Relaxed) {
            self.left = 0;
        }
        let mut due = *self.due.get_or_insert(now.instant);
        let mut any = false;
        while due <= now.instant && self.left > 0 {
            let late = now.instant.saturating_duration_since(due);
            let due_us = now.unix_ns / 1000 - late.as_micros() as u64;
            self.report(engine, session, due_us);
            self.left -= 1;
            due += PERIOD;
            any = true;
        }
        self.due = Some(due);
        if self.write_events(engine, session) && self.left == 0 {
            self.finish(engine, session);
            self.session = None;
            return true;
        }
        any
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.session.and(self.due)
    }

    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        match event {
            SessionEvent::Opened { session, .. } => self.session = Some(session),
            SessionEvent::Closed { reason, .. } | SessionEvent::Failed { reason, .. } => {
                self.session = None;
                self.ended = Some(reason);
                self.stop.drain();
            }
            SessionEvent::Hello { .. } => {}
        }
        Ok(())
    }
}

/// What a device has offered, by tier, and its temperature in the end.
pub(crate) type Offered = ([u64; Tier::COUNT], f64);

/// Runs a device with its certificate in a folder of `pollux certs`, for so many seconds or until it is `enough`.
pub(crate) fn run(
    twin: SocketAddr,
    certs: &Path,
    id: DeviceId,
    seconds: u64,
    enough: Arc<AtomicBool>,
) -> Result<Offered, Box<dyn Error>> {
    let own = |end: &str| certs.join(format!("device-{id}.{end}"));
    let identity = ClientIdentity::from_pem_files(&own("pem"), &own("key"))?;
    let authorities = certificates_from_pem_file(&certs.join("ca.pem"))?;
    let tls = client_tls_as(Some(identity), authorities, wire::ALPN)?;
    let now = Clock::new().now();
    let capabilities = capability::COMMANDS | capability::TOTALS;
    // Numbers begin anew with each boot, and so does the epoch: here the second in which it began.
    let hello = Hello { capabilities, epoch: (now.unix_ns / 1_000_000_000) as u32, device: id };
    let limits = SessionLimits::default();
    let mut engine = Engine::client(tls, Some(hello), limits, now, seed());
    // The name that the certificate of the twin has to be for.
    engine.connect(now, twin, &twin.ip().to_string())?;
    let any: SocketAddr =
        if twin.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
    let socket = Socket::bind(any, SocketOptions::default())?;
    let stop = Stop::new();
    let readings = seconds * 1000 / PERIOD.as_millis() as u64;
    let device = Device::new(id, readings, enough, stop.clone());
    let idle = (Idle::new(IdleStrategy::Wait), None);
    // It has little to send and nothing to gain by waiting for more.
    let config = WorkerConfig { rest: Duration::ZERO, ..WorkerConfig::default() };
    let stats = WorkerStats::shared();
    let device = Worker::new(engine, socket, device, idle, config, stats).run(&stop);
    match device.ended {
        Some(CloseReason::Local(CloseCode::Done)) => Ok((device.offered, device.temperature)),
        Some(reason) => Err(format!("the session has ended: {reason}").into()),
        None => Err("the worker has ended without its session".into()),
    }
}

/// Random numbers, from which connection ids are drawn.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for part in seed.chunks_exact_mut(8) {
        part.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    seed
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [twin, certs, device, seconds] = &arguments[..] else {
        eprintln!("usage: device ADDRESS:PORT CERTS DEVICE SECONDS");
        return ExitCode::from(2);
    };
    match parse_and_run([twin, certs, device, seconds]) {
        Ok(([readings, events, _], temperature)) => {
            println!(
                "{readings} readings and {events} events offered; {temperature:.1} degrees in the end"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("device: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse_and_run([twin, certs, device, seconds]: [&str; 4]) -> Result<Offered, Box<dyn Error>> {
    let (twin, device, seconds) = (twin.parse()?, device.parse()?, seconds.parse()?);
    run(twin, Path::new(certs), device, seconds, Arc::default())
}
