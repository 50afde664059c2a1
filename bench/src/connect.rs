//! Sessions that begin, one after the other: how long until the handshake is done, and what a twin sees of it.
//!
//! Each session writes one T2 record as soon as it may, whose time stamp is the moment of the call, so that the twin's own
//! latency from the intended send to the world is that from the call to the record. Between two sessions the caller pauses.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use hdrhistogram::Histogram;
use netloop::{
    Clock, EarlyData, Engine, IdleStrategy, Now, Port, SessionEvent, SessionId, SessionLimits,
    Socket, SocketOptions, Stop, StreamPriority,
};
use wire::{CloseCode, DeviceId, Hello, Reading, Record, SensorType};

use crate::end::{Server, takes_nothing, worker};

/// When the record of a session is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Once the session is open, which resumes none.
    Full,
    /// Once the session is open, which resumes the one before.
    Resumed,
    /// At once, with the first packet (0-RTT).
    Early,
}

/// Arguments of the experiment.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: Server,
    /// When the record of a session is written.
    #[arg(long, value_enum, default_value = "full")]
    mode: Mode,
    /// Sessions.
    #[arg(long, default_value_t = 500)]
    count: u32,
    /// Time between the end of a session and the next call.
    #[arg(long, default_value_t = 5_000)]
    pause_us: u64,
}

struct Caller {
    args: Args,
    clock: Clock,
    /// The session under way, and when it was called for, in unix nanoseconds.
    call: Option<(SessionId, u64)>,
    /// When it is closed: an open session is held until its record and the server's ticket have arrived.
    close_at: Option<Instant>,
    next_at: Option<Instant>,
    done: u32,
    early: [u64; 2],
    failed: u64,
    open_ns: Histogram<u64>,
    stop: Stop,
}

/// How long an open session is held.
const HELD: Duration = Duration::from_millis(5);

impl Caller {
    fn call(&mut self, engine: &mut Engine, now: Now) -> anyhow::Result<()> {
        if self.args.mode == Mode::Full {
            engine.forget_servers(self.args.server.tls()?);
        }
        let called_ns = self.clock.now().unix_ns;
        let session = engine.connect(now, self.args.server.addr, "localhost")?;
        self.call = Some((session, called_ns));
        if self.args.mode == Mode::Early && engine.early_data(session) == EarlyData::Sent {
            self.write(engine, session, called_ns);
        }
        Ok(())
    }

    fn write(&mut self, engine: &mut Engine, session: SessionId, called_ns: u64) {
        let Ok(stream) = engine.open_stream(session, StreamPriority::Normal) else { return };
        let reading = Reading {
            device: DeviceId([6; 16]),
            sensor_id: 1,
            value: 1.0,
            ts_us: called_ns / 1000,
            seq: self.done,
            sensor_type: SensorType::Temperature,
        };
        let _ = engine.write_stream(session, stream, Record::encode(&reading).as_bytes());
        engine.finish_stream(session, stream);
    }

    fn handle_opened(&mut self, engine: &mut Engine, now: Now, session: SessionId) {
        let Some((_, called_ns)) = self.call else { return };
        match engine.early_data(session) {
            EarlyData::Accepted => self.early[0] += 1,
            EarlyData::Rejected => self.early[1] += 1,
            EarlyData::None | EarlyData::Sent => {}
        }
        let written =
            self.args.mode == Mode::Early && engine.early_data(session) == EarlyData::Accepted;
        if !written {
            self.write(engine, session, called_ns);
        }
        self.close_at = Some(now.instant + HELD);
    }
}

takes_nothing!(Caller);

impl Port for Caller {
    fn poll_outbound(&mut self, engine: &mut Engine, now: Now) -> bool {
        if let Some((session, _)) = self.call {
            if self.close_at.is_none() && engine.phase(session) == Some(netloop::Phase::Open) {
                self.handle_opened(engine, now, session);
                return true;
            }
            if self.close_at.is_some_and(|at| at <= now.instant) {
                engine.close(now, session, CloseCode::Done);
                (self.call, self.close_at) = (None, None);
                self.done += 1;
                self.next_at = Some(now.instant + Duration::from_micros(self.args.pause_us));
                return true;
            }
            return false;
        }
        if self.done >= self.args.count || self.stop.is_draining() {
            self.stop.drain();
            return false;
        }
        if self.next_at.is_some_and(|at| at > now.instant) {
            return false;
        }
        if self.call(engine, now).is_err() {
            self.failed += 1;
            self.stop.drain();
        }
        true
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.call.is_some() { self.close_at } else { self.next_at }
    }

    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        match event {
            SessionEvent::Opened { session, .. } => {
                if let Some((_, called_ns)) = self.call.filter(|(of, _)| *of == session) {
                    let took_ns = self.clock.now().unix_ns.saturating_sub(called_ns);
                    self.open_ns.saturating_record(took_ns.max(1));
                }
            }
            SessionEvent::Failed { .. } => {
                self.failed += 1;
                self.call = None;
                self.done += 1;
            }
            SessionEvent::Closed { .. } | SessionEvent::Hello { .. } => {}
        }
        Ok(())
    }
}

/// Calls, and says how it went.
#[expect(clippy::print_stdout, reason = "the object is the result")]
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let clock = Clock::new();
    let now = clock.now();
    let seed = std::array::from_fn(|at| (now.unix_ns >> (at % 8 * 8)) as u8);
    let hello = Hello { capabilities: 0, epoch: 1, device: DeviceId([6; 16]) };
    let engine =
        Engine::client(args.server.tls()?, Some(hello), SessionLimits::default(), now, seed);
    let socket = Socket::bind(([127, 0, 0, 1], 0).into(), SocketOptions::default())?;
    let stop = Stop::new();
    let caller = Caller {
        args,
        clock,
        call: None,
        close_at: None,
        next_at: None,
        done: 0,
        early: [0; 2],
        failed: 0,
        open_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        stop: stop.clone(),
    };
    let caller = worker(engine, socket, caller, IdleStrategy::Wait, Duration::ZERO)?.run(&stop);
    let at = |quantile| caller.open_ns.value_at_quantile(quantile);
    println!(
        "{}",
        serde_json::json!({
            "experiment": "connect", "mode": format!("{:?}", caller.args.mode).to_lowercase(),
            "sessions": caller.done, "failed": caller.failed,
            "early_accepted": caller.early[0], "early_rejected": caller.early[1],
            "open_ns": { "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": caller.open_ns.max() },
        })
    );
    Ok(())
}
