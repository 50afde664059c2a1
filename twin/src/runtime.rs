//! The running twin: worker, tick thread and cold side put together, and taken apart in order.
//!
//! [`Twin::start`] binds everything that can fail before any thread runs. [`Twin::finish`] ends the worker first, then
//! the tick thread, which drains what the worker left in the rings, and then closes the report: nothing that QUIC
//! acknowledged is left behind.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow};
use netloop::{
    AddressLimits, Clock, Due, Engine, HandshakeLimits, Idle, IdleStrategy, RingPort, ServerTls,
    SessionLimits, Socket, SocketOptions, Stop, Waker, Worker, WorkerConfig, pin, set_niceness,
    sharpen_timers, wake_line,
};

use crate::cold::{Cold, Ended};
use crate::config::{Config, Priority};
use crate::http::{self, Surface};
use crate::interval::exchange;
use crate::report::{Report, Summary, Usage};
use crate::stats::TwinStats;
use crate::tick::{TickOptions, TickThread};
use crate::world::{LaneCapacities, World, WorldOptions, lanes};

/// Steps in the life of sessions that may wait for the tick thread; a storm of them waits in the engine.
const EVENTS_MAX: usize = 4096;

/// A twin whose threads run.
pub struct Twin {
    worker: Hot<RingPort>,
    tick: Hot<()>,
    waker: Waker,
    cold: Cold,
    surface: Arc<Surface>,
    http: Option<TcpListener>,
    started: Instant,
    clock: Clock,
    quic_addr: SocketAddr,
    http_addr: Option<SocketAddr>,
    idle: IdleStrategy,
    priority: Priority,
}

/// Where a hot thread runs.
#[derive(Debug, Clone, Copy)]
struct Place {
    core: Option<usize>,
    priority: Priority,
}

/// Hot threads are ranked so, and the cold one so, where the host's scheduler is asked at all.
const HOT_NICENESS: i32 = -10;
const COLD_NICENESS: i32 = 5;

/// One of the hot threads.
struct Hot<T> {
    stop: Stop,
    thread: JoinHandle<T>,
}

impl Twin {
    /// Binds the sockets and starts the threads.
    ///
    /// # Errors
    /// An address is taken, the certificate does not fit its key, the report folder cannot be written, or the system
    /// gives no thread.
    pub fn start(config: &Config, tls: ServerTls, report: Option<&Path>) -> anyhow::Result<Self> {
        let clock = Clock::new();
        let now = clock.now();
        let socket = bind(config)?;
        let quic_addr = socket.local_addr();
        let listener = config.http.enabled.then(|| http::bind(config.http.addr)).transpose()?;
        let http_addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let stats = Arc::new(TwinStats::default());
        let worker_stats = Arc::clone(&stats.worker);
        let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(now.unix_ns);
        let report = Report::create(report, began)?;
        let surface = Surface::new(Arc::clone(&stats), report, rss_bytes);
        let (producer, consumer, interval) = exchange(0);
        let died = Arc::new(AtomicBool::new(false));
        let cold = Cold::new(Arc::clone(&surface), vec![consumer], Arc::clone(&died), usage);

        let due = Due::every(Duration::from_secs(1) / config.tick.hz);
        let (port, tick_lanes) = lanes(&capacities(config), Arc::clone(&worker_stats), due);
        let (waker, sleeper) = wake_line()?;
        let idle = Idle::new(strategy(config));
        let (idle_strategy, secrets) = (idle.strategy(), secrets()?);
        let engine = Engine::server(tls.into_quic()?, limits(config), now, secrets.engine);
        let rest = Duration::from_micros(config.idle.rest_us);
        let worker_config = WorkerConfig { rest, ..WorkerConfig::default() };
        let worker =
            Worker::new(engine, socket, port, (idle, Some(sleeper)), worker_config, worker_stats);
        let options = WorldOptions::new(config, secrets.index);
        let world = World::new(options, Arc::clone(&stats), interval);
        let tick = TickOptions {
            hz: config.tick.hz,
            spin: Duration::from_micros(config.idle.tick_spin_us),
            catch_up: config.tick.catch_up,
        };
        let started = now.instant;
        let place = |core| Place { core, priority: config.host.priority };
        let tick =
            TickThread::new(world, tick_lanes, producer, stats, waker.clone(), tick, started);
        Ok(Self {
            worker: Hot::start("net-0", place(config.net.core), &died, move |stop| {
                worker.run(stop)
            })?,
            tick: Hot::start("tick", place(config.tick.core), &died, move |stop| tick.run(stop))?,
            waker,
            cold,
            surface,
            http: listener,
            started,
            clock,
            quic_addr,
            http_addr,
            idle: idle_strategy,
            priority: config.host.priority,
        })
    }

    /// Where devices connect.
    #[must_use]
    pub const fn quic_addr(&self) -> SocketAddr {
        self.quic_addr
    }

    /// Where the operator's surface listens, if it does.
    #[must_use]
    pub const fn http_addr(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// The idle strategy of the worker that is in force.
    #[must_use]
    pub const fn idle_strategy(&self) -> IdleStrategy {
        self.idle
    }

    /// Serves the cold side on this thread until a signal comes, `limit` is over or a hot thread has died.
    ///
    /// # Errors
    /// The cold side cannot start, or the report cannot be written.
    pub fn run(
        &mut self,
        limit: Option<Duration>,
        each_second: &mut dyn FnMut(&Surface),
    ) -> anyhow::Result<Ended> {
        if self.priority == Priority::Hot {
            set_niceness(COLD_NICENESS);
        }
        Ok(self.cold.run(self.http.take(), limit, each_second)?)
    }

    /// Ends the threads in order and gives the account of the run.
    ///
    /// # Errors
    /// A hot thread has panicked, or the report cannot be written.
    pub fn finish(mut self) -> anyhow::Result<Summary> {
        // Before the threads end, because they take sessions and rows with them.
        let (sessions, resident) = (self.surface.stats().worker.sessions_open(), rss_bytes());
        self.worker.stop.drain();
        self.waker.wake();
        let worker = self.worker.thread.join();
        self.tick.stop.drain();
        let tick = self.tick.thread.join();
        worker.map_err(|_| anyhow!("the worker thread has panicked"))?;
        tick.map_err(|_| anyhow!("the tick thread has panicked"))?;
        self.cold.collect()?;
        let duration = self.clock.now().instant.saturating_duration_since(self.started);
        let mut report = self.surface.report();
        let idle = self.idle.to_string();
        let (stats, activity) = (self.surface.stats(), self.cold.activity());
        let used = Usage { rss_bytes: resident, ..usage() };
        let mut summary = Summary::of(&report, stats, used, activity, duration, &idle);
        summary.sessions = sessions;
        report.finish(&summary)?;
        drop(report);
        Ok(summary)
    }
}

impl<T: Send + 'static> Hot<T> {
    /// Starts a thread with a name of its own, in its place. `died` is raised when it ends unasked.
    fn start(
        name: &str,
        place: Place,
        died: &Arc<AtomicBool>,
        run: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Stop::new();
        let (until, died) = (stop.clone(), RaiseOnDrop(Arc::clone(died)));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _died = died;
            pin(place.core);
            if place.priority == Priority::Hot {
                set_niceness(HOT_NICENESS);
            }
            sharpen_timers();
            run(&until)
        })?;
        Ok(Self { stop, thread })
    }
}

/// Raises its flag when the thread that holds it ends, by return or by panic.
struct RaiseOnDrop(Arc<AtomicBool>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What the process used so far.
#[must_use]
pub fn usage() -> Usage {
    let (cpu_user_ns, cpu_system_ns) = netloop::process_cpu().unwrap_or_default();
    Usage { rss_bytes: rss_bytes(), cpu_user_ns, cpu_system_ns }
}

fn rss_bytes() -> u64 {
    netloop::rss_bytes().unwrap_or_default()
}

fn bind(config: &Config) -> anyhow::Result<Socket> {
    let options = SocketOptions {
        recv_buffer_bytes: config.net.recv_buffer_bytes,
        send_buffer_bytes: config.net.send_buffer_bytes,
        ..SocketOptions::default()
    };
    let socket = Socket::bind(config.net.addr, options).context("net.addr")?;
    let (asked, granted) = (config.net.recv_buffer_bytes, socket.recv_buffer_bytes());
    if granted < asked {
        tracing::warn!(
            asked,
            granted,
            "the kernel granted a smaller receive buffer; raise net.core.rmem_max"
        );
    }
    Ok(socket)
}

fn capacities(config: &Config) -> LaneCapacities {
    LaneCapacities { tiers: config.ring.tiers, events: EVENTS_MAX, outbound: config.ring.out }
}

fn strategy(config: &Config) -> IdleStrategy {
    config
        .idle
        .strategy
        .name()
        .parse()
        .expect("both name the same strategies because the key table allows no other")
}

fn limits(config: &Config) -> SessionLimits {
    let net = &config.net;
    SessionLimits {
        sessions_max: net.max_sessions,
        handshakes: HandshakeLimits {
            at_once_max: net.max_handshakes,
            retry_from: net.retry_from,
            per_s: net.accept_rate,
            ..HandshakeLimits::default()
        },
        address: AddressLimits {
            sessions_max: config.address.max_sessions,
            handshakes_max: config.address.max_handshakes,
            streams_max: config.address.max_streams,
            datagrams_per_s: config.address.datagrams_per_s,
            bytes_per_s: config.address.bytes_per_s,
        },
        streams_max: net.max_streams,
        idle_timeout: Duration::from_millis(net.idle_timeout_ms),
        keep_alive: (net.keep_alive_ms > 0).then(|| Duration::from_millis(net.keep_alive_ms)),
        uni_streams_max: net.max_uni_streams,
        bi_streams_max: net.max_bi_streams,
        stream_window_bytes: net.stream_window_bytes,
        datagram_buffer_bytes: net.datagram_buffer_bytes,
        mtu_bytes: net.mtu_bytes,
        keys_max: net.keys_per_session,
        ..SessionLimits::default()
    }
}

/// Numbers that no peer may know: they decide where keys fall in tables and what connection ids look like.
struct Secrets {
    engine: [u8; 32],
    index: [u64; 2],
}

fn secrets() -> anyhow::Result<Secrets> {
    let mut bytes = [0; 48];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    let (engine, index) = bytes.split_at(32);
    let word = |at: usize| u64::from_le_bytes(*index[at..].first_chunk().expect("8 of 16 bytes"));
    Ok(Secrets {
        engine: *engine.first_chunk().expect("32 of 48 bytes"),
        index: [word(0), word(8)],
    })
}
