//! What a disturbance costs the sessions that are there: a worker, a calm fleet, and beside it a loud session, a flood or a
//! storm of handshakes, over real UDP on loopback.
//!
//! The same program with `--disturb none`, and with the same flood at a socket that nobody reads, tells what of a change
//! is the worker's and what is the host's.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use netloop::{
    AddressLimits, Clock, Engine, HandshakeLimits, Idle, IdleStrategy, Limit, Port, SessionLimits,
    Socket, SocketOptions, Stop, Worker, WorkerConfig, WorkerStats, pin, rss_bytes, set_niceness,
    set_slice, socket_drops, wait_until, wake_line,
};
use twin::runtime::{HOT_NICENESS, WORKER_SLICE};

use crate::{
    callers::{self, Callers, caller_limits},
    fleet::{self, Fleet},
    flood::{Contents, Flood},
    meter::{Meter, Window},
    trust::Trust,
};

/// What happens beside the calm fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Disturbance {
    /// Nothing.
    None,
    /// One session that sends `--times` as often as a calm one.
    Loud,
    /// First packets of handshakes from invented addresses.
    Initials,
    /// Datagrams that belong to nobody.
    Garbage,
    /// The flood of first packets, at a socket that nobody reads.
    Elsewhere,
    /// Devices that connect, close and connect again.
    Storm,
    /// Sessions that are open and say nothing.
    Idle,
}

/// Arguments of the experiment.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// What happens beside the calm fleet.
    #[arg(long, value_enum, default_value = "none")]
    disturb: Disturbance,
    /// Calm sessions.
    #[arg(long, default_value_t = 50)]
    sessions: u32,
    /// Datagrams of a calm session in a second, of five records each.
    #[arg(long, default_value_t = 20.0)]
    hz: f64,
    /// How much more often the loud session sends.
    #[arg(long, default_value_t = 100.0)]
    times: f64,
    /// Datagrams of a flood in a second.
    #[arg(long, default_value_t = 50_000)]
    rate: u32,
    /// Sessions of a storm at the same time, or idle ones.
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// Handshakes that the server begins in a second.
    #[arg(long, default_value_t = 2000)]
    accept_rate: u32,
    /// How long it is measured.
    #[arg(long, default_value_t = 5)]
    duration_s: u64,
    /// How the worker idles: spin, yield, backoff, wait or auto.
    #[arg(long, default_value = "auto")]
    idle: IdleStrategy,
    /// How long a worker that waits rests.
    #[arg(long, default_value_t = 1000)]
    rest_us: u64,
}

/// A worker on a thread of its own.
struct Running<P> {
    stop: Stop,
    stats: Arc<WorkerStats>,
    thread: JoinHandle<P>,
}

impl<P: Port + Send + 'static> Running<P> {
    fn start(
        (core, niceness): (usize, i32),
        (engine, socket, port): (Engine, Socket, P),
        (idle, rest): (IdleStrategy, Duration),
        stop: Stop,
    ) -> anyhow::Result<Self> {
        let stats = WorkerStats::shared();
        let (_, sleeper) = wake_line()?;
        let idle = (Idle::new(idle), Some(sleeper));
        let config = WorkerConfig { rest, ..WorkerConfig::default() };
        let worker = Worker::new(engine, socket, port, idle, config, Arc::clone(&stats));
        let until = stop.clone();
        let thread = std::thread::Builder::new().spawn(move || {
            pin(Some(core));
            set_niceness(niceness);
            if niceness == CALM_FIRST {
                set_slice(WORKER_SLICE);
            }
            worker.run(&until)
        })?;
        Ok(Self { stop, stats, thread })
    }

    fn join(self) -> anyhow::Result<P> {
        self.thread.join().ok().context("a thread has panicked")
    }
}

/// The disturbance, until it is told to stop.
enum Beside {
    Nothing,
    Loud(Running<Fleet>),
    Callers(Running<Callers>),
    Flood(Stop, JoinHandle<u64>),
}

const CALM: u8 = 1;
const LOUD: u8 = 2;
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// Calm devices and what disturbs them share a core, which would be other machines: those that disturb go last there, so
/// that what a calm record loses it loses at the server.
const CALM_FIRST: i32 = HOT_NICENESS;
const DISTURBED: i32 = 19;
const RECORDS: u16 = 5;
const WARM_UP: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(10);

fn bind() -> anyhow::Result<Socket> {
    Ok(Socket::bind(([127, 0, 0, 1], 0).into(), SocketOptions::default())?)
}

fn server_limits(args: &Args) -> SessionLimits {
    let limits = SessionLimits {
        sessions_max: 16_384,
        handshakes: HandshakeLimits { per_s: args.accept_rate, ..HandshakeLimits::default() },
        // All of them come from one address, and at once.
        address: AddressLimits {
            handshakes_max: args.sessions as usize + args.callers,
            ..AddressLimits::default()
        },
        ..SessionLimits::default()
    };
    if args.disturb == Disturbance::Idle { silent(limits) } else { limits }
}

/// The same limits under which idle sessions say nothing for the length of a run. What their keep-alives cost is another
/// question, which sessions that are held answer; here it is what their mere presence costs the active one.
fn silent(limits: SessionLimits) -> SessionLimits {
    SessionLimits { keep_alive: None, idle_timeout: Duration::from_secs(600), ..limits }
}

fn fleet(
    trust: &Trust,
    remote: SocketAddr,
    plan: fleet::Plan,
    window: Window,
) -> anyhow::Result<Running<Fleet>> {
    let now = Clock::new().now();
    let seed = [plan.kind; 32];
    let is_calm = plan.kind == CALM;
    let limits = SessionLimits::default().sending_at(plan.hz);
    let mut engine = Engine::client(Arc::clone(&trust.client), None, limits, now, seed);
    for _ in 0..plan.sessions {
        engine.connect(now, remote, "localhost")?;
    }
    let stop = Stop::new();
    let port = Fleet::new(plan, stop.clone(), window)?;
    let idle = (IdleStrategy::Wait, Duration::ZERO);
    let niceness = if is_calm { CALM_FIRST } else { DISTURBED };
    Running::start((CLIENT_CORE, niceness), (engine, bind()?, port), idle, stop)
}

fn calm_plan(args: &Args) -> fleet::Plan {
    fleet::Plan {
        sessions: args.sessions,
        hz: args.hz,
        records: RECORDS,
        command_every: args.hz.round().max(1.0) as u32,
        kind: CALM,
        warm_up: WARM_UP,
        measured: Some(Duration::from_secs(args.duration_s)),
    }
}

fn disturb(args: &Args, trust: &Trust, remote: SocketAddr) -> anyhow::Result<Beside> {
    let flood = |contents, to: SocketAddr| -> anyhow::Result<Beside> {
        let mut flood = Flood::new(contents)?;
        let (stop, rate) = (Stop::new(), args.rate);
        let until = stop.clone();
        let thread = std::thread::Builder::new().spawn(move || {
            pin(Some(CLIENT_CORE));
            set_niceness(DISTURBED);
            flood.run(to, rate, &until);
            flood.sent
        })?;
        Ok(Beside::Flood(stop, thread))
    };
    let callers = |storm| -> anyhow::Result<Beside> {
        let now = Clock::new().now();
        let limits = caller_limits(args.callers);
        let limits = if storm { limits } else { silent(limits) };
        let engine = Engine::client(Arc::clone(&trust.client), None, limits, now, [5; 32]);
        let (count, stop) = (args.callers, Stop::new());
        let plan = callers::Plan { remote, count, at_once: 64, storm, length: None };
        let port = Callers::new(plan, stop.clone())?;
        let idle = (IdleStrategy::Wait, Duration::ZERO);
        let place = (CLIENT_CORE, DISTURBED);
        Ok(Beside::Callers(Running::start(place, (engine, bind()?, port), idle, stop)?))
    };
    Ok(match args.disturb {
        Disturbance::None => Beside::Nothing,
        Disturbance::Loud => {
            let plan = fleet::Plan {
                sessions: 1,
                hz: args.hz * args.times,
                command_every: 0,
                kind: LOUD,
                measured: None,
                ..calm_plan(args)
            };
            Beside::Loud(fleet(trust, remote, plan, Window::default())?)
        }
        Disturbance::Initials => flood(Contents::Initials, remote)?,
        Disturbance::Garbage => flood(Contents::Garbage, remote)?,
        Disturbance::Elsewhere => {
            // Its buffer fills up, and the kernel discards the rest.
            let nobody = UdpSocket::bind("127.0.0.1:0")?;
            let beside = flood(Contents::Initials, nobody.local_addr()?)?;
            std::mem::forget(nobody);
            beside
        }
        Disturbance::Storm => callers(true)?,
        Disturbance::Idle => callers(false)?,
    })
}

/// Stops it, and says how much of it there was.
fn end(beside: Beside) -> anyhow::Result<u64> {
    Ok(match beside {
        Beside::Nothing => 0,
        Beside::Loud(loud) => {
            loud.stop.drain();
            loud.join()?.into_outcome().sent
        }
        Beside::Callers(callers) => {
            callers.stop.drain();
            callers.join()?.into_outcome().opened
        }
        Beside::Flood(stop, thread) => {
            stop.drain();
            thread.join().ok().context("the flood has panicked")?
        }
    })
}

/// Runs the experiment and prints its result.
#[expect(clippy::print_stdout, reason = "the object is the result")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let trust = Trust::new()?;
    let socket = bind()?;
    let remote = socket.local_addr();
    let now = Clock::new().now();
    let server = Arc::clone(&trust.server);
    let engine = Engine::server(server, server_limits(args), now, [1; 32]);
    let meter = Meter::new(CALM)?;
    let window = meter.window();
    let idle = (args.idle, Duration::from_micros(args.rest_us));
    let server =
        Running::start((SERVER_CORE, CALM_FIRST), (engine, socket, meter), idle, Stop::new())?;
    // Idle sessions are there before anything is measured.
    let mut beside = Beside::Nothing;
    if args.disturb == Disturbance::Idle {
        beside = disturb(args, &trust, remote)?;
        await_sessions(&server.stats, args.callers as u64);
    }
    let calm = fleet(&trust, remote, calm_plan(args), window.clone())?;
    while !window.is_set() {
        anyhow::ensure!(!calm.thread.is_finished(), "a calm session could not be opened");
        wait_until(Clock::new().now().instant + SOON, Duration::ZERO);
    }
    if args.disturb != Disturbance::Idle {
        beside = disturb(args, &trust, remote)?;
    }
    wait_until(Clock::new().now().instant + WARM_UP, Duration::ZERO);
    let (rss_before, cpu_before) = (rss_bytes()?, server.stats.cpu_ns.value());
    let busy_before = (server.stats.busy_ns.value(), server.stats.datagrams_in.value());
    let calm = calm.join()?.into_outcome();
    let cpu_ns = server.stats.cpu_ns.value() - cpu_before;
    let busy_ns = server.stats.busy_ns.value() - busy_before.0;
    let datagrams_in = server.stats.datagrams_in.value() - busy_before.1;
    let socket_drops = socket_drops(remote).unwrap_or_default();
    let rss_after = rss_bytes()?;
    let disturbed = end(beside)?;
    server.stop.drain();
    let stats = Arc::clone(&server.stats);
    let meter = server.join()?;
    let limits: serde_json::Map<_, _> = Limit::ALL
        .iter()
        .map(|limit| (limit.name().to_owned(), stats.limited(*limit).into()))
        .filter(|(_, count): &(_, serde_json::Value)| *count != 0)
        .collect();
    println!(
        "{}",
        serde_json::json!({
            "experiment": "isolation", "disturb": format!("{:?}", args.disturb).to_lowercase(),
            "sessions": args.sessions, "hz": args.hz, "duration_s": args.duration_s,
            "idle": args.idle.to_string(), "rest_us": args.rest_us,
            "disturbed": disturbed, "handshakes": stats.handshakes_ok.value(),
            "calm": {
                "sent": calm.sent, "blocked": calm.blocked, "lost_sessions": calm.sessions_lost,
                "received": meter.received,
                "t1_ns": quantiles(&meter.latency_ns), "t3_rtt_ns": quantiles(&calm.rtt_ns),
                "commands": calm.commands, "commands_failed": calm.commands_failed,
            },
            "limits": limits,
            "turn_gap_ns_max": meter.gap_ns_max,
            "garbage": stats.garbage_datagrams.value(),
            "datagrams_in": datagrams_in, "busy_ns": busy_ns, "socket_drops": socket_drops,
            "worker_cpu_share": cpu_ns as f64 / (args.duration_s as f64 * 1e9),
            "rss_bytes": { "before": rss_before, "after": rss_after },
        })
    );
    Ok(())
}

fn await_sessions(stats: &WorkerStats, count: u64) {
    while stats.sessions_open() < count {
        wait_until(Clock::new().now().instant + SOON, Duration::ZERO);
    }
}

fn quantiles(histogram: &Histogram<u64>) -> serde_json::Value {
    let at = |quantile| histogram.value_at_quantile(quantile);
    serde_json::json!({
        "count": histogram.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
        "p99_9": at(0.999), "max": histogram.max(),
    })
}
