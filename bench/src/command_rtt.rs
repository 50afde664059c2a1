//! The round trip of a command between two workers: stream open, one record, one ack, over real QUIC on loopback.
//!
//! One worker answers in the turn in which the command arrives; the other asks again when the ack is there. It is a
//! closed loop on purpose: the question is the latency of an idle pair, not of a loaded one.

use std::sync::Arc;

use anyhow::Context;
use hdrhistogram::Histogram;
use netloop::{
    Answer, Clock, Engine, Idle, IdleStrategy, Now, Port, Run, SessionEvent, SessionId,
    SessionLimits, Sink, Slot, Socket, SocketOptions, Stop, Worker, WorkerConfig, WorkerStats, pin,
    slot,
};

use wire::{Command, DeviceId, Operation, Reading, Record, SensorType, Status};

use crate::trust::Trust;

/// Arguments of the experiment.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Commands that are measured.
    #[arg(long, default_value_t = 100_000)]
    count: u32,
    /// Commands before them that are not.
    #[arg(long, default_value_t = 5_000)]
    warm_up: u32,
    /// How both workers idle: spin, yield, backoff, wait or auto.
    #[arg(long, default_value = "spin")]
    idle: IdleStrategy,
    /// Cores of the two workers.
    #[arg(long, value_delimiter = ',', num_args = 2, default_values_t = [0, 1])]
    cores: Vec<usize>,
}

/// Answers every command at once.
struct Echo;

/// Asks, waits for the ack, asks again.
struct Asker {
    session: Option<SessionId>,
    asked_ns: Option<u64>,
    clock: Clock,
    left: u32,
    warm_up: u32,
    failed: u32,
    latency_ns: Histogram<u64>,
    stop: Stop,
}

impl Sink for Echo {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        run.records.len()
    }
    fn free_t2(&self) -> usize {
        usize::MAX / 64
    }
    fn push_t2(&mut self, _: &Run<'_>) {}
    fn free_t3(&self) -> usize {
        1
    }
    fn handle_command(&mut self, slot: Slot) -> Answer {
        Answer::Ack(Command::ack(Record::from_bytes(slot.record), Status::Ok, 1.0))
    }
    fn handle_ack(&mut self, _: Slot) {}
}

impl Port for Echo {
    fn poll_outbound(&mut self, _: &mut Engine, _: Now) -> bool {
        false
    }
    fn handle_event(&mut self, _: SessionEvent) -> Result<(), SessionEvent> {
        Ok(())
    }
}

impl Sink for Asker {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        run.records.len()
    }
    fn free_t2(&self) -> usize {
        usize::MAX / 64
    }
    fn push_t2(&mut self, _: &Run<'_>) {}
    fn free_t3(&self) -> usize {
        1
    }
    fn handle_command(&mut self, _: Slot) -> Answer {
        Answer::Reset(wire::CloseCode::NoHandler)
    }
    fn handle_ack(&mut self, end: Slot) {
        let Some(asked_ns) = self.asked_ns.take() else { return };
        self.failed += u32::from(end.flags != slot::ACK);
        if self.warm_up > 0 {
            self.warm_up -= 1;
        } else {
            let rtt_ns = self.clock.now().unix_ns - asked_ns;
            self.latency_ns.saturating_record(rtt_ns.max(1));
            self.left -= 1;
        }
        if self.left == 0 {
            self.stop.drain();
        }
    }
}

impl Port for Asker {
    fn poll_outbound(&mut self, engine: &mut Engine, _: Now) -> bool {
        let Some(session) = self.session else { return false };
        if self.asked_ns.is_some() || self.left == 0 {
            return false;
        }
        self.asked_ns = Some(self.clock.now().unix_ns);
        engine.open_command(session, request(), 0).is_ok()
    }
    fn is_awaited(&self) -> bool {
        self.asked_ns.is_some()
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

fn request() -> Record {
    let reading = Reading {
        device: DeviceId([1; 16]),
        sensor_id: 1,
        value: 0.0,
        ts_us: 0,
        seq: 0,
        sensor_type: SensorType::Temperature,
    };
    Command::request(Record::encode(&reading), Operation::Read)
}

/// Runs the experiment and prints its result.
#[expect(clippy::print_stdout, reason = "the object is the result")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Trust { server, client, .. } = Trust::new()?;
    let (server_core, client_core) = (args.cores[0], args.cores[1]);
    let now = Clock::new().now();
    let limits = SessionLimits::default();
    let bind = || Socket::bind(([127, 0, 0, 1], 0).into(), SocketOptions::default());
    let (at_server, at_client) = (bind()?, bind()?);
    let remote = at_server.local_addr();

    let echo_stop = Stop::new();
    let engine = Engine::server(server, limits.clone(), now, [1; 32]);
    let echo = worker(engine, at_server, Echo, args.idle);
    let until = echo_stop.clone();
    let echo = std::thread::Builder::new().name("echo".to_owned()).spawn(move || {
        pin(Some(server_core));
        echo.run(&until)
    })?;

    let mut engine = Engine::client(client, None, limits, now, [2; 32]);
    engine.connect(now, remote, "localhost")?;
    let stop = Stop::new();
    let asker = Asker {
        session: None,
        asked_ns: None,
        clock: Clock::new(),
        left: args.count,
        warm_up: args.warm_up,
        failed: 0,
        latency_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        stop: stop.clone(),
    };
    pin(Some(client_core));
    let asker = worker(engine, at_client, asker, args.idle).run(&stop);
    echo_stop.drain();
    echo.join().ok().context("the echo worker has panicked")?;
    let at = |quantile| asker.latency_ns.value_at_quantile(quantile);
    println!(
        "{}",
        serde_json::json!({
            "experiment": "command-rtt", "idle": args.idle.to_string(), "cores": args.cores,
            "count": asker.latency_ns.len(), "failed": asker.failed,
            "rtt_ns": {
                "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999),
                "max": asker.latency_ns.max(),
            },
        })
    );
    Ok(())
}

fn worker<P: Port>(engine: Engine, socket: Socket, port: P, idle: IdleStrategy) -> Worker<P> {
    let stats = Arc::clone(&WorkerStats::shared());
    Worker::new(engine, socket, port, (Idle::new(idle), None), WorkerConfig::default(), stats)
}
