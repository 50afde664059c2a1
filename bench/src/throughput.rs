//! How many bytes a second T2 carries from one worker to another: over one stream, or over many together.
//!
//! The bytes are records, and each one is checked and becomes a slot, as in a twin; only the ring and the world are missing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use netloop::{
    Answer, Clock, Engine, IdleStrategy, Now, Port, RUN_RECORDS_MAX, Run, SendStream, SessionEvent,
    SessionId, SessionLimits, Sink, Slot, Socket, SocketOptions, Stop, StreamPriority, lines_of,
    pin, wait_until,
};
use wire::{CloseCode, DeviceId, RECORD_BYTES, Reading, Record, SensorType};

use crate::{
    end::{takes_nothing, worker},
    trust::Trust,
};

/// Arguments of the experiment.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Streams together.
    #[arg(long, default_value_t = 1)]
    streams: u32,
    /// How long it is measured.
    #[arg(long, default_value_t = 4)]
    duration_s: u64,
    /// How both workers idle.
    #[arg(long, default_value = "auto")]
    idle: IdleStrategy,
    /// Largest UDP payload, in bytes.
    #[arg(long, default_value_t = 1452)]
    mtu: u16,
}

/// Counts the records that arrive.
struct Counting(Arc<AtomicU64>);

/// Writes records into its streams as fast as they are taken.
struct Source {
    streams_max: u32,
    session: Option<SessionId>,
    streams: Vec<(SendStream, usize)>,
    next: usize,
    records: Vec<u8>,
}

/// Records of one write: as much as a window takes at once, in whole records.
const WRITE_RECORDS: usize = 4096;

impl Sink for Counting {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        run.records.len()
    }
    fn free_t2(&self) -> usize {
        1 << 20
    }
    fn push_t2(&mut self, run: &Run<'_>) {
        // Each line is made, as for a ring.
        let mut lines = [Slot::new([0; RECORD_BYTES]); lines_of(RUN_RECORDS_MAX, true)];
        let count = run.write(lines.iter_mut());
        std::hint::black_box(&lines[..count]);
        let made = run.records.len() as u64;
        // Relaxed: a number with one writer, which orders no other memory.
        self.0.store(self.0.load(Ordering::Relaxed) + made, Ordering::Relaxed);
    }
    fn free_t3(&self) -> usize {
        1
    }
    fn handle_command(&mut self, _: Slot) -> Answer {
        Answer::Reset(CloseCode::NoHandler)
    }
    fn handle_ack(&mut self, _: Slot) {}
}

impl Port for Counting {
    fn poll_outbound(&mut self, _: &mut Engine, _: Now) -> bool {
        false
    }
    fn handle_event(&mut self, _: SessionEvent) -> Result<(), SessionEvent> {
        Ok(())
    }
}

takes_nothing!(Source);

impl Port for Source {
    fn poll_outbound(&mut self, engine: &mut Engine, _: Now) -> bool {
        let Some(session) = self.session else { return false };
        while self.streams.len() < self.streams_max as usize {
            let Ok(stream) = engine.open_stream(session, StreamPriority::Normal) else { break };
            self.streams.push((stream, 0));
        }
        let mut wrote = false;
        for _ in 0..self.streams.len() {
            self.next = (self.next + 1) % self.streams.len();
            let (stream, at) = &mut self.streams[self.next];
            if let Ok(written) = engine.write_stream(session, *stream, &self.records[*at..]) {
                *at = (*at + written) % self.records.len();
                wrote |= written > 0;
            }
        }
        wrote
    }
    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        if let SessionEvent::Opened { session, .. } = event {
            self.session = Some(session);
        }
        Ok(())
    }
}

fn records() -> Vec<u8> {
    let reading = |n: usize| Reading {
        device: DeviceId([3; 16]),
        sensor_id: n as u16 % 64,
        value: 1.0,
        ts_us: 0,
        seq: n as u32,
        sensor_type: SensorType::Temperature,
    };
    let mut bytes = Vec::with_capacity(WRITE_RECORDS * RECORD_BYTES);
    for n in 0..WRITE_RECORDS {
        bytes.extend_from_slice(Record::encode(&reading(n)).as_bytes());
    }
    bytes
}

/// Runs the experiment and prints its result.
#[expect(clippy::print_stdout, reason = "the object is the result")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let trust = Trust::new()?;
    let now = Clock::new().now();
    let limits = SessionLimits {
        uni_streams_max: args.streams + 8,
        stream_window_bytes: 4 << 20,
        receive_window_bytes: 16 << 20,
        send_window_bytes: 8 << 20,
        mtu_bytes: args.mtu,
        ..SessionLimits::default()
    };
    let bind = || Socket::bind(([127, 0, 0, 1], 0).into(), SocketOptions::default());
    let (at_server, at_client) = (bind()?, bind()?);
    let remote = at_server.local_addr();
    let counted = Arc::new(AtomicU64::new(0));
    let engine = Engine::server(trust.server, limits.clone(), now, [1; 32]);
    let counting = Counting(Arc::clone(&counted));
    let server = worker(engine, at_server, counting, args.idle, Duration::ZERO)?;
    let mut engine = Engine::client(trust.client, None, limits, now, [2; 32]);
    engine.connect(now, remote, "localhost")?;
    let source = Source {
        streams_max: args.streams,
        session: None,
        streams: Vec::new(),
        next: 0,
        records: records(),
    };
    let client = worker(engine, at_client, source, args.idle, Duration::ZERO)?;
    let stop = Stop::new();
    let (until, also) = (stop.clone(), stop.clone());
    let server = std::thread::spawn(move || {
        pin(Some(0));
        server.run(&until);
    });
    let client = std::thread::spawn(move || {
        pin(Some(1));
        client.run(&also);
    });
    let at = |seconds: u64| wait_until(now.instant + Duration::from_secs(seconds), Duration::ZERO);
    at(1);
    let (begin, before) = (Clock::new().now(), counted.load(Ordering::Relaxed));
    at(1 + args.duration_s);
    let (end, after) = (Clock::new().now(), counted.load(Ordering::Relaxed));
    stop.drain();
    client.join().ok().context("the client has panicked")?;
    server.join().ok().context("the server has panicked")?;
    let bytes_per_s = ((after - before) * RECORD_BYTES as u64) as f64 * 1e9
        / (end.unix_ns - begin.unix_ns) as f64;
    println!(
        "{}",
        serde_json::json!({
            "experiment": "throughput", "streams": args.streams, "mtu": args.mtu,
            "idle": args.idle.to_string(), "duration_s": args.duration_s,
            "records_per_s": bytes_per_s / RECORD_BYTES as f64, "bytes_per_s": bytes_per_s,
        })
    );
    Ok(())
}
