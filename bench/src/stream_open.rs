//! From the opening of a T2 stream to its first record at the other worker's sink, over real QUIC on loopback.
//!
//! A closed loop: the next stream is opened once the last one has been seen, so that the question is the latency of an
//! idle pair.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use netloop::{
    Answer, Clock, Engine, IdleStrategy, Now, Port, Run, SessionEvent, SessionId, SessionLimits,
    Sink, Slot, Socket, SocketOptions, Stop, StreamPriority, pin,
};
use wire::{CloseCode, DeviceId, Reading, Record, SensorType};

use crate::{
    end::{takes_nothing, worker},
    trust::Trust,
};

/// Arguments of the experiment.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Streams that are measured.
    #[arg(long, default_value_t = 20_000)]
    count: u32,
    /// How both workers idle: spin, yield, backoff, wait or auto.
    #[arg(long, default_value = "spin")]
    idle: IdleStrategy,
    /// How long a worker that waits rests.
    #[arg(long, default_value_t = 0)]
    rest_us: u64,
}

/// When the stream that is under way was opened, in unix nanoseconds; 0 once its record was seen.
type Opened = Arc<AtomicU64>;

/// Sees the records of the streams.
struct Seer {
    opened: Opened,
    clock: Clock,
    latency_ns: Histogram<u64>,
}

/// Opens one stream after the other.
struct Opener {
    opened: Opened,
    clock: Clock,
    session: Option<SessionId>,
    left: u32,
    stop: Stop,
}

/// How often the opener looks whether its record was seen.
const LOOK: Duration = Duration::from_micros(50);

impl Sink for Seer {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        run.records.len()
    }
    fn free_t2(&self) -> usize {
        1 << 20
    }
    fn push_t2(&mut self, _: &Run<'_>) {
        // Acquire and release: the two threads take turns on the word.
        let opened_ns = self.opened.load(Ordering::Acquire);
        if opened_ns > 0 {
            let took_ns = self.clock.now().unix_ns.saturating_sub(opened_ns);
            self.latency_ns.saturating_record(took_ns.max(1));
            self.opened.store(0, Ordering::Release);
        }
    }
    fn free_t3(&self) -> usize {
        1
    }
    fn handle_command(&mut self, _: Slot) -> Answer {
        Answer::Reset(CloseCode::NoHandler)
    }
    fn handle_ack(&mut self, _: Slot) {}
}

impl Port for Seer {
    fn poll_outbound(&mut self, _: &mut Engine, _: Now) -> bool {
        false
    }
    fn handle_event(&mut self, _: SessionEvent) -> Result<(), SessionEvent> {
        Ok(())
    }
}

takes_nothing!(Opener);

impl Port for Opener {
    fn poll_outbound(&mut self, engine: &mut Engine, _: Now) -> bool {
        let Some(session) = self.session else { return false };
        if self.opened.load(Ordering::Acquire) > 0 {
            return false;
        }
        if self.left == 0 {
            self.stop.drain();
            return false;
        }
        let opened_ns = self.clock.now().unix_ns;
        // A peer that allows no further stream yet has not taken note of the end of the last ones.
        let Ok(stream) = engine.open_stream(session, StreamPriority::Normal) else { return false };
        self.opened.store(opened_ns, Ordering::Release);
        let reading = Reading {
            device: DeviceId([4; 16]),
            sensor_id: 1,
            value: 1.0,
            ts_us: opened_ns / 1000,
            seq: self.left,
            sensor_type: SensorType::Temperature,
        };
        let written = engine.write_stream(session, stream, Record::encode(&reading).as_bytes());
        engine.finish_stream(session, stream);
        self.left -= 1;
        written.is_ok()
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.session.map(|_| self.clock.now().instant + LOOK)
    }
    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        match event {
            SessionEvent::Opened { session, .. } => self.session = Some(session),
            SessionEvent::Closed { .. } | SessionEvent::Failed { .. } => self.stop.drain(),
            SessionEvent::Hello { .. } => {}
        }
        Ok(())
    }
}

/// Runs the experiment and prints its result.
#[expect(clippy::print_stdout, reason = "the object is the result")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (trust, rest) = (Trust::new()?, Duration::from_micros(args.rest_us));
    let now = Clock::new().now();
    let limits = SessionLimits::default();
    let bind = || Socket::bind(([127, 0, 0, 1], 0).into(), SocketOptions::default());
    let (at_server, at_client) = (bind()?, bind()?);
    let remote = at_server.local_addr();
    let opened = Opened::default();
    let latency_ns = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    let seer = Seer { opened: Arc::clone(&opened), clock: Clock::new(), latency_ns };
    let engine = Engine::server(trust.server, limits.clone(), now, [1; 32]);
    let server = worker(engine, at_server, seer, args.idle, rest)?;
    let mut engine = Engine::client(trust.client, None, limits, now, [2; 32]);
    engine.connect(now, remote, "localhost")?;
    let (stop, until) = (Stop::new(), Stop::new());
    let clock = Clock::new();
    let opener = Opener { opened, clock, session: None, left: args.count, stop: stop.clone() };
    let client = worker(engine, at_client, opener, args.idle, rest)?;
    let ended = until.clone();
    let server = std::thread::spawn(move || {
        pin(Some(0));
        server.run(&ended)
    });
    pin(Some(1));
    client.run(&stop);
    until.drain();
    let seer = server.join().ok().context("the server has panicked")?;
    let at = |quantile| seer.latency_ns.value_at_quantile(quantile);
    println!(
        "{}",
        serde_json::json!({
            "experiment": "stream-open", "idle": args.idle.to_string(), "rest_us": args.rest_us,
            "count": seer.latency_ns.len(),
            "latency_ns": {
                "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999),
                "max": seer.latency_ns.max(),
            },
        })
    );
    Ok(())
}
