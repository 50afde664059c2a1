//! The running twin: workers, tick thread and cold side put together, and taken apart in order.
//!
//! [`Twin::start`] binds everything that can fail before any thread runs. [`Twin::finish`] ends the workers first, then
//! the tick thread, which drains what they left in the rings, and then closes the report: nothing that QUIC
//! acknowledged is left behind. Threads that a disk holds are waited for last, and with a bound.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow, bail};
use netloop::{
    Clock, Counter, Due, IdleStrategy, Now, PathLane, Renewer, RingPort, Stop, Waker, Worker,
    confine, keep_off, lock_memory, pin, ring, set_niceness, set_slice, sharpen_timers,
};

use crate::capture::{Allowance, Ended as CaptureEnded, Header, Writer, Written, tap};
use crate::cold::{Cold, Ended};
use crate::config::{Config, Priority};
use crate::credentials::{CredentialFiles, Credentials};
use crate::degraded::{Teller, Wish, lacks};
use crate::host;
use crate::http::{self, Door, DoorTls, Surface, SurfaceOptions};
use crate::interval::exchange;
use crate::order::{OrderDesk, OrderPort, StopRequest, StopSource, StopWord, orders_after};
use crate::parting::{Left, Patience};
use crate::path_log::{Logging, PathLog, Reports};
use crate::picture::pictures;
use crate::report::{Report, Summary, Usage};
use crate::stats::TwinStats;
use crate::stop_file::{self, StopKeeper};
use crate::tick::{TickOptions, TickThread};
use crate::watchdog::Watchdog;
use crate::world::{LaneCapacities, Lanes, Watch, World, WorldOptions, lanes};

mod workers;

use workers::{Shared, Workers};

/// Steps in the life of sessions that may wait for the tick thread; a storm of them waits in the engine.
const EVENTS_MAX: usize = 4096;
/// Stack of a hot thread, all of it in place where memory is locked: at least four times what the tests need without
/// optimisation.
const STACK_BYTES: usize = 1 << 20;

/// How long a worker may take to its end: it drains for a second. With [`DISK_WAIT`] it is less than a supervisor waits, ten
/// seconds.
const WORKER_WAIT: Duration = Duration::from_secs(5);
/// How long threads with a disk below them may take: one that works needs some milliseconds for what a ring holds.
const DISK_WAIT: Duration = Duration::from_secs(3);

/// A twin whose threads run.
pub struct Twin {
    workers: Vec<Hot<RingPort>>,
    tick: Hot<()>,
    capture: Option<Writer>,
    path_log: Option<Logging>,
    wakers: Vec<Waker>,
    renewers: Vec<Renewer>,
    cold: Cold,
    surface: Arc<Surface>,
    http: Option<Door>,
    started: Instant,
    clock: Clock,
    quic_addr: SocketAddr,
    http_addr: Option<SocketAddr>,
    idle: IdleStrategy,
    priority: Priority,
    /// Open sessions and resident memory in bytes, as they were when the devices began to leave.
    full: Option<(u64, u64)>,
}

/// Where and how a hot thread runs.
#[derive(Debug, Clone)]
struct Place {
    core: Option<usize>,
    slice: Duration,
    priority: Priority,
    confine: bool,
    /// Where it tells what it does not get.
    teller: Teller,
}

/// The niceness of hot threads, where the host's scheduler is asked at all.
pub const HOT_NICENESS: i32 = -10;
const CAPTURE_NICENESS: i32 = -5;
/// The niceness of the cold thread.
pub const COLD_NICENESS: i32 = 5;
/// Slices of the tick thread: longer than its work in a tick, which would be interrupted otherwise, and shorter than those
/// of a worker, so that it goes before it.
pub const TICK_SLICE: Duration = Duration::from_micros(200);
/// Slices of a worker. At full load it uses all that it gets, and shorter ones would only make it change places with its
/// neighbours more often.
pub const WORKER_SLICE: Duration = Duration::from_millis(1);

/// One of the hot threads.
struct Hot<T> {
    stop: Stop,
    thread: JoinHandle<T>,
}

impl Twin {
    /// Binds the sockets and starts the threads.
    ///
    /// # Errors
    /// An address is taken, the report folder cannot be written, or the system gives no thread.
    pub fn start(
        config: &Config,
        credentials: &Credentials,
        report: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let clock = Clock::new();
        let now = clock.now();
        let (teller, lacks) = lacks();
        let sockets = workers::bind(config, &teller)?;
        let door = door(config)?;
        let http_addr = door.as_ref().and_then(Door::addr);
        // Before the tables are made that will grow.
        netloop::map_large_blocks();
        let stats = Arc::new(TwinStats::new(config.net.workers));
        credentials.publish(&stats);
        let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(now.unix_ns);
        let report = Report::create(report, began)?;
        let (desk, orders, keeper) = plant_stop(config, now, &stats, &teller)?;
        let options = SurfaceOptions::new(config, token(config)?);
        let surface =
            Surface::with_options(Arc::clone(&stats), report, rss_bytes, options, Some(desk));
        let (producer, consumer, interval) = exchange(0);
        let died = Arc::new(AtomicBool::new(false));
        let cold = Cold::new(Arc::clone(&surface), vec![consumer], Arc::clone(&died), usage);

        let due = Due::every(Duration::from_secs(1) / config.tick.hz);
        let (mut ports, mut tick_lanes) = lanes(&capacities(config), stats.workers(), due);
        let path_log = start_path_log(config, &mut ports)?;
        let secrets = secrets()?;
        let shared = Shared { config, renewal: credentials.renewal(), now, seed: secrets.engine };
        let made = Workers::new(&shared, sockets, ports, stats.workers())?;
        let capture = start_capture(config, now, &stats, &mut tick_lanes)?;
        let Workers { workers, wakers, renewers, desks, posts, addr: quic_addr, idle } = made;
        surface.browsers().open(quic_addr.port(), desks, credentials.browsers());
        let _ = stats.quic_addr.set(quic_addr);
        let mut cold = cold.watching(Watchdog::new(Arc::clone(&stats), posts));
        let options = WorldOptions::new(config, secrets.index);
        let mut world = World::new(options, Arc::clone(&stats), interval);
        show(config, &mut world, orders, &mut cold, keeper)?;
        let started = now.instant;
        let (gauges, also, pace) = (Arc::clone(&stats), wakers.clone(), tick_options(config));
        let tick = TickThread::new(world, tick_lanes, producer, stats, also, pace, started);
        // Before the threads, so that their stacks are filled too, and after what the start alone needed.
        prepare_host(config, &teller);
        let (workers, tick) = start_threads(config, workers, tick, died, &teller)?;
        // After them, because they would have inherited it.
        keep_off(&config.hot_cores());
        drop(teller);
        if let Some(degraded) = lacks.settle(&gauges.degraded) {
            tracing::warn!(degraded, "the host gives less than was asked for");
        }
        Ok(Self {
            workers,
            capture,
            path_log,
            tick,
            wakers,
            renewers,
            cold,
            surface,
            http: door,
            started,
            clock,
            quic_addr,
            http_addr,
            idle,
            priority: config.host.priority,
            full: None,
        })
    }

    /// Reads the files of its certificates again when they change, from now on.
    ///
    /// # Errors
    /// The system refuses the signal that asks for it.
    pub fn watch(&mut self, config: &Config) -> std::io::Result<()> {
        let renewers = std::mem::take(&mut self.renewers);
        let workers = renewers.into_iter().zip(self.wakers.iter().cloned()).collect();
        let (files, surface) = (&config.tls, Arc::clone(&self.surface));
        let browsers = config.admits_browsers();
        self.cold.renewing(CredentialFiles::new(files, browsers, workers, surface)?);
        Ok(())
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

    /// Serves the cold side on this thread until a signal comes, `limit` is over, a hot thread has died, or
    /// `each_second` wants no more.
    ///
    /// # Errors
    /// The cold side cannot start.
    pub fn run(
        &mut self,
        limit: Option<Duration>,
        each_second: &mut dyn FnMut(&Surface) -> ControlFlow<()>,
    ) -> anyhow::Result<Ended> {
        if self.priority == Priority::Hot {
            set_niceness(COLD_NICENESS);
        }
        Ok(self.cold.run(self.http.take(), limit, each_second)?)
    }

    /// Remembers sessions and memory for the account of the run, because the devices leave first.
    pub fn note_full(&mut self) {
        self.full = Some((self.surface.stats().worker().sessions_open(), rss_bytes()));
    }

    /// Ends the threads in order and gives the account of the run, beside the first thing that went wrong on the way: a thread
    /// has panicked or does not end, or the report or the capture cannot be written. The account is of what is there.
    #[must_use = "what went wrong is told nowhere else"]
    pub fn finish(mut self) -> (Summary, anyhow::Result<()>) {
        // Before the threads end, because they take sessions and rows with them.
        if self.full.is_none() {
            self.note_full();
        }
        let full = self.full.unwrap_or_default();
        for (worker, waker) in self.workers.iter().zip(&self.wakers) {
            worker.stop.drain();
            waker.wake();
        }
        let Self { workers, tick, capture, path_log, mut cold, surface, .. } = self;
        let mut wrong = Wrong(Ok(()));
        let patience = Patience::of(WORKER_WAIT);
        for worker in workers {
            wrong.note("a worker thread", patience.join(worker.thread));
        }
        tick.stop.drain();
        // Its own bounds are in ticks, and no disk is below it.
        wrong.note("the tick thread", tick.thread.join().map_err(|_| Left::Panicked));
        capture.iter().for_each(Writer::drain);
        let patience = Patience::of(DISK_WAIT);
        let duration = self.clock.now().instant.saturating_duration_since(self.started);
        let (summary, reported) = report(&mut cold, &surface, full, duration, self.idle);
        wrong.0 = wrong.0.and(reported);
        wrong.note("the thread of automation.stop_file", cold.finish_stop(patience));
        let written = capture.map(|writer| writer.finish(patience));
        if let Some(written) = written.and_then(|written| wrong.note("the capture", written)) {
            say_captured(written, surface.stats());
        }
        if let Some(Err(left)) = path_log.map(|log| log.finish(patience)) {
            // It costs the log alone, as everything that goes wrong with it does.
            tracing::warn!("the log of paths is not whole: its thread {left}");
        }
        (summary, wrong.0)
    }
}

/// The account of a run, which goes into its report. `full` are the sessions and the resident memory before its end.
fn report(
    cold: &mut Cold,
    surface: &Surface,
    full: (u64, u64),
    duration: Duration,
    idle: IdleStrategy,
) -> (Summary, anyhow::Result<()>) {
    cold.collect();
    let mut report = surface.report();
    let used = Usage { rss_bytes: full.1, ..usage() };
    let (stats, activity, idle) = (surface.stats(), cold.activity(), idle.to_string());
    let mut summary = Summary::of(&report, stats, used, activity, duration, &idle);
    summary.sessions = full.0;
    let reported = report.finish(&summary).context("the report cannot be written");
    (summary, reported)
}

/// The first thing that went wrong.
struct Wrong(anyhow::Result<()>);

impl Wrong {
    /// Notes how a thread has ended.
    fn note<T>(&mut self, thread: &str, ended: Result<T, Left>) -> Option<T> {
        let left = match ended {
            Ok(ended) => return Some(ended),
            Err(left) => left,
        };
        tracing::error!("{thread} {left}");
        if self.0.is_ok() {
            self.0 = Err(anyhow!("{thread} {left}"));
        }
        None
    }
}

/// Starts the hot threads in their places. The twin goes on while one of its workers does.
fn tick_options(config: &Config) -> TickOptions {
    TickOptions {
        hz: config.tick.hz,
        spin: Duration::from_micros(config.idle.tick_spin_us),
        catch_up: config.tick.catch_up,
    }
}

fn start_threads(
    config: &Config,
    workers: Vec<Worker<RingPort>>,
    tick: TickThread,
    died: Arc<AtomicBool>,
    teller: &Teller,
) -> std::io::Result<(Vec<Hot<RingPort>>, Hot<()>)> {
    let place = |core, slice| Place {
        core,
        slice,
        priority: config.host.priority,
        confine: config.host.confine,
        teller: teller.clone(),
    };
    let last = Arc::new(RaiseOnDrop(Arc::clone(&died)));
    let start = |(index, worker): (usize, Worker<RingPort>)| {
        let (core, last) = (config.net.core.map(|first| first + index), Arc::clone(&last));
        Hot::start(&format!("net-{index}"), place(core, WORKER_SLICE), last, move |stop| {
            worker.run(stop)
        })
    };
    let workers = workers.into_iter().enumerate().map(start).collect::<Result<_, _>>()?;
    let place = place(config.tick.core, TICK_SLICE);
    let tick = Hot::start("tick", place, RaiseOnDrop(died), move |stop| tick.run(stop))?;
    Ok((workers, tick))
}

impl<T: Send + 'static> Hot<T> {
    /// Starts a thread with a name of its own, in its place, which drops `ended` when it ends, by return or by panic.
    fn start(
        name: &str,
        place: Place,
        ended: impl Send + 'static,
        run: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Stop::new();
        let until = stop.clone();
        let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        let thread = builder.spawn(move || {
            let _ended = ended;
            place.take();
            run(&until)
        })?;
        Ok(Self { stop, thread })
    }
}

impl Place {
    /// Takes the place, on the thread that shall run there.
    fn take(self) {
        let Self { core, slice, priority, confine: confined, teller } = self;
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let pinned = pin(core);
        if let Some(core) = core.filter(|_| !pinned.satisfied()) {
            teller.tell(Wish::Pinning, format!("{name} is not on core {core}"));
        }
        let niceness = (priority == Priority::Hot).then(|| set_niceness(HOT_NICENESS));
        if let Some(niceness) = niceness.filter(|niceness| *niceness > HOT_NICENESS) {
            let why = format!("niceness {niceness} instead of {HOT_NICENESS} (LimitNICE)");
            teller.tell(Wish::Priority, why);
        }
        if priority == Priority::Hot {
            // No wish of its own: `doctor` says where the system is too old for it.
            set_slice(slice);
        }
        if !sharpen_timers() {
            teller.tell(Wish::Timers, "sleeps end up to 50 us late".to_owned());
        }
        // Last, because what comes before it is no longer allowed after it.
        let confined = if confined { confine() } else { Ok(()) };
        if let Err(error) = confined {
            teller.tell(Wish::Confinement, error.to_string());
        }
    }
}

/// Asks the host for what concerns the whole process.
fn prepare_host(config: &Config, teller: &Teller) {
    let cores = host::cores();
    let hot = config.net.workers + 1;
    if cores < hot {
        teller.tell(Wish::Cores, format!("{hot} hot threads share {cores}"));
    }
    let locked = if config.host.lock_memory { lock_memory() } else { Ok(()) };
    if let Err(error) = locked {
        teller.tell(Wish::MemoryLock, error.to_string());
    }
}

/// Raises its flag when the last thread that holds it ends.
struct RaiseOnDrop(Arc<AtomicBool>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What the process used so far.
#[must_use]
pub fn usage() -> Usage {
    let (cpu_user_ns, cpu_system_ns) = netloop::process_cpu();
    Usage { rss_bytes: rss_bytes(), cpu_user_ns, cpu_system_ns }
}

fn rss_bytes() -> u64 {
    netloop::rss_bytes().unwrap_or_default()
}

/// The way of orders and of the stop, which begins as it was before a restart, and who keeps it. The twin goes on without: a stop
/// that cannot be kept is still one.
fn plant_stop(
    config: &Config,
    now: Now,
    stats: &Arc<TwinStats>,
    teller: &Teller,
) -> anyhow::Result<(OrderDesk, OrderPort, Option<StopKeeper>)> {
    let Some(path) = &config.automation.stop_file else {
        let (desk, orders) = orders_after(StopRequest::default());
        return Ok((desk, orders, None));
    };
    let read = stop_file::read(path);
    if let Err(error) = &read {
        tracing::error!(%error, "whether the plant was stopped is not known: it is, until it is cleared");
        teller.tell(Wish::StopFile, error.to_string());
    }
    let source = StopSource::Restart;
    let held = read.unwrap_or(StopRequest { word: StopWord(1), source, asked_ns: now.unix_ns });
    let written = stop_file::write(path, held);
    if let Err(error) = &written {
        teller.tell(Wish::StopFile, format!("{} cannot be written: {error}", path.display()));
    }
    // Its devices are told by this run, which is what the time until their answers is counted from.
    let (desk, orders) = orders_after(StopRequest { asked_ns: now.unix_ns, ..held });
    let off = config.hot_cores();
    let prepare = move || {
        keep_off(&off);
    };
    let (stats, failed) = (Arc::clone(stats), written.is_err());
    let keeper = StopKeeper::start(path.clone(), held, failed, stats, prepare);
    Ok((desk, orders, Some(keeper.context("a thread that keeps the stop")?)))
}

/// Lets operators see the world, command it and end it. Without a surface nobody looks, and nothing is shown.
fn show(
    config: &Config,
    world: &mut World,
    orders: OrderPort,
    cold: &mut Cold,
    keeper: Option<StopKeeper>,
) -> anyhow::Result<()> {
    keeper.into_iter().for_each(|keeper| cold.keeping_stop(keeper));
    let (bell, heard) = UnixStream::pair().context("a bell for orders")?;
    bell.set_nonblocking(true)?;
    heard.set_nonblocking(true)?;
    world.command(orders.ringing(bell));
    cold.hearing(heard);
    cold.heed_signals().context("the signals that end a run")?;
    if config.http.enabled {
        let (pictures, looks) = pictures();
        world.attach(Watch::new(pictures, config.tick.hz, config.net.session_places()));
        cold.mirroring(looks);
    }
    Ok(())
}

/// The door of the surface, if it is served: its address taken, and its certificate read.
fn door(config: &Config) -> anyhow::Result<Option<Door>> {
    if !config.http.enabled {
        return Ok(None);
    }
    let tls = config.http.tls().map(|files| DoorTls::load(&files)).transpose()?;
    Ok(Some(Door::new(http::bind(config.http.addr)?, tls)))
}

/// The token that operators have to know, if a file of it is named.
fn token(config: &Config) -> anyhow::Result<Option<String>> {
    let Some(path) = &config.http.token_file else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("http.token_file {}", path.display()))?;
    let token = text.lines().next().unwrap_or_default().trim().to_owned();
    if token.len() < TOKEN_BYTES_MIN || token.bytes().any(|byte| !byte.is_ascii_graphic()) {
        bail!(
            "http.token_file {}: its first line has to be at least {TOKEN_BYTES_MIN} printable characters without a space",
            path.display()
        );
    }
    Ok(Some(token))
}

/// A token that is shorter can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

fn capacities(config: &Config) -> LaneCapacities {
    LaneCapacities { tiers: config.ring.tiers, events: EVENTS_MAX, outbound: config.ring.out }
}

/// Reports of paths that may wait for the log.
const PATHS_MAX: usize = 1 << 12;

/// Begins the log of paths that the configuration asks for.
fn start_path_log(config: &Config, ports: &mut [RingPort]) -> anyhow::Result<Option<Logging>> {
    let Some(path) = &config.net.path_log else { return Ok(None) };
    let mut reports = Vec::new();
    for port in ports {
        let ((producer, ring), shed) = (ring(PATHS_MAX), Arc::new(Counter::default()));
        port.paths = Some(PathLane { reports: producer, shed: Arc::clone(&shed) });
        reports.push(Reports { ring, shed });
    }
    let log = PathLog::open(path, config.net.path_log_max_bytes, reports);
    let log = log.and_then(|log| log.start(config.hot_cores()));
    Ok(Some(log.with_context(|| format!("net.path_log {}", path.display()))?))
}

/// Begins the capture that the configuration asks for.
fn start_capture(
    config: &Config,
    now: Now,
    stats: &Arc<TwinStats>,
    lanes: &mut Lanes,
) -> anyhow::Result<Option<Writer>> {
    let options = &config.capture;
    let Some(path) = &options.file else { return Ok(None) };
    let (tap, ring) = tap(options.ring, Arc::clone(stats));
    let header = Header::of_this_build(now.unix_ns, options.keep, config.text.clone());
    let niceness = (config.host.priority == Priority::Hot).then_some(CAPTURE_NICENESS);
    let off = config.hot_cores();
    let allowance = Allowance { bytes_max: options.max_bytes, niceness, off };
    let writer = Writer::start(path, &header, allowance, ring, Arc::clone(stats))?;
    lanes.tap = Some(tap);
    Ok(Some(writer))
}

fn say_captured(written: Written, stats: &TwinStats) {
    let Written { bytes, segments, ended } = written;
    let (ticks, shed_ticks) = (stats.capture.ticks.value(), stats.capture.shed_ticks.value());
    if ended == CaptureEnded::Whole && shed_ticks == 0 {
        tracing::info!(ticks, segments, bytes, "the capture is whole");
    } else if ended == CaptureEnded::Round && shed_ticks == 0 {
        tracing::info!(ticks, segments, bytes, "the capture holds what came latest");
    } else {
        tracing::warn!(ticks, shed_ticks, segments, bytes, ?ended, "the capture is not whole");
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
