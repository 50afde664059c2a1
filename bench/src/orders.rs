//! A desk that is full: setpoints as fast as there is room for them, and beside them the stop and its end, from the same
//! place.
//!
//! HTTP brings fewer orders than a tick takes, so that over it the lane of orders is never full for long. Here the desk is
//! held in process; behind it are the world, the tick thread and the worker of the product, and simulated devices over real
//! QUIC that send telemetry meanwhile. Measured is what the twin measures: from the request to the receipt of a device's
//! acknowledgement. Orders that a stop refuses are in no histogram, and none is given in while a stop holds.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use netloop::{
    Clock, Due, Engine, Idle, IdleStrategy, RingPort, SessionLimits, Socket, SocketOptions, Stop,
    Waker, Worker, WorkerConfig, set_niceness, set_slice, sharpen_timers, wait_until, wake_line,
};
use twin::args::{Batch, FramesPerPacket, Profile, Rate, Sampling};
use twin::config::Effective;
use twin::interval::{IntervalConsumer, Latency, exchange, histogram};
use twin::order::{ORDERS_MAX, Order, OrderDesk, Outcome, orders};
use twin::runtime::{COLD_NICENESS, HOT_NICENESS, TICK_SLICE, WORKER_SLICE, usage};
use twin::simulate::{Generator, LoadTls, Plan, Population};
use twin::stats::TwinStats;
use twin::tick::{TickOptions, TickThread};
use twin::world::{ACTUATOR_ID, LaneCapacities, World, WorldOptions, lanes};
use wire::{DeviceId, SensorType, Tier};

use crate::trust::Trust;

/// Arguments of the experiment.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Devices, of five sensors and an actuator.
    #[arg(long, default_value_t = 1000)]
    devices: u32,
    /// Sessions that carry them.
    #[arg(long, default_value_t = 8)]
    sessions: u32,
    /// Records of each sensor in a second.
    #[arg(long, default_value_t = 20.0)]
    rate_hz: f64,
    /// Orders on their way at the same time, up to the size of the lane.
    #[arg(long, default_value_t = ORDERS_MAX)]
    at_once: usize,
    /// How long the lane is full between the end of a stop and the next one.
    #[arg(long, default_value_t = 50)]
    between_ms: u64,
    /// How long it is measured.
    #[arg(long, default_value_t = 5)]
    duration_s: u64,
}

/// Ticks in a second.
const HZ: u32 = 1000;
/// What is not measured at the beginning.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often it is looked whether all sessions have answered a stop.
const LOOK: Duration = Duration::from_micros(100);
/// Everything that is waited for comes within this.
const PATIENCE: Duration = Duration::from_secs(30);
const SEED: u64 = 1;
/// As `pollux simulate` has it.
const MTU_BYTES: u16 = 1452;

/// The threads of a twin.
struct Twin {
    worker: (Stop, JoinHandle<()>),
    waker: Waker,
    tick: (Stop, JoinHandle<()>),
}

/// The desk, and what is known there.
struct Operator {
    desk: OrderDesk,
    bell: UnixStream,
    stats: Arc<TwinStats>,
    intervals: IntervalConsumer,
    clock: Clock,
    devices: Vec<DeviceId>,
    at_once: usize,
    pushed: u64,
    ended: [u64; Outcome::NAMES.len()],
    measured: Option<Measured>,
}

/// What happened since the warm-up.
struct Measured {
    order_ns: Histogram<u64>,
    stop_ns: Histogram<u64>,
    /// From a stop, and not its end, to the moment when all sessions were seen to have answered.
    all_ns: Histogram<u64>,
    /// Orders on their way whenever some had ended, before others took their place.
    waiting: Histogram<u64>,
    since: Instant,
    ended_before: [u64; Outcome::NAMES.len()],
}

/// Runs the experiment and prints its result.
#[expect(clippy::print_stdout, reason = "the object is the result")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let trust = Trust::new()?;
    let (twin, operator, addr) = start(args, &trust)?;
    let load = Generator::start(plan(args, addr), LoadTls::from(vec![trust.certificate]), None)?;
    // The desk is where the cold thread is.
    set_niceness(COLD_NICENESS);
    let told = operator.work(args);
    load.stop();
    let load = load.finish(usage)?;
    twin.end()?;
    anyhow::ensure!(load.sessions.lost == 0, "{} sessions were lost", load.sessions.lost);
    println!("{}", told?);
    Ok(())
}

fn plan(args: &Args, remote: std::net::SocketAddr) -> Plan {
    Plan {
        remote,
        server_name: "localhost".to_owned(),
        devices: args.devices,
        sessions: args.sessions,
        profile: Profile::Industrial,
        rate: Rate::Hz(args.rate_hz),
        t2_rate_hz: 0.0,
        t3_rate_hz: 0.0,
        count: None,
        duration: None,
        sampling: Sampling::Cyclic,
        batch: Batch::Auto,
        frames_per_packet: FramesPerPacket::Auto,
        stock_congestion: false,
        linger: Duration::ZERO,
        mtu_bytes: MTU_BYTES,
        seed: SEED,
    }
}

/// Starts the threads of a twin with the settings that it has by default, and gives the desk before it.
fn start(args: &Args, trust: &Trust) -> anyhow::Result<(Twin, Operator, std::net::SocketAddr)> {
    let defaults = Effective::load_text(Path::new("defaults"), "")?;
    let (config, clock) = (defaults.config(), Clock::new());
    let now = clock.now();
    let stats = Arc::new(TwinStats::new(1));
    let (producer, intervals, interval) = exchange(0);
    let due = Due::every(Duration::from_secs(1) / HZ);
    let capacities =
        LaneCapacities { tiers: config.ring.tiers, events: 4096, outbound: config.ring.out };
    let (mut ports, lanes) = lanes(&capacities, stats.workers(), due);
    let port = ports.pop().context("a worker has a port")?;

    let limits = SessionLimits {
        sessions_max: config.net.max_sessions,
        bi_streams_max: config.net.max_bi_streams,
        ..SessionLimits::default()
    };
    let engine = Engine::server(Arc::clone(&trust.server), limits, now, [1; 32]);
    let socket = Socket::bind(([127, 0, 0, 1], 0).into(), SocketOptions::default())?;
    let addr = socket.local_addr();
    let (waker, sleeper) = wake_line()?;
    let rest = Duration::from_micros(config.idle.rest_us);
    let worker_config = WorkerConfig { rest, ..WorkerConfig::default() };
    let idle = (Idle::new(IdleStrategy::Auto), Some(sleeper));
    let worker_stats = Arc::clone(&stats.workers()[0]);
    let worker: Worker<RingPort> =
        Worker::new(engine, socket, port, idle, worker_config, worker_stats);

    let (desk, port) = orders();
    let (bell, heard) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    heard.set_read_timeout(Some(Duration::from_millis(10)))?;
    let options = WorldOptions { hz: HZ, ..WorldOptions::new(config, [11, 13]) };
    let mut world = World::new(options, Arc::clone(&stats), interval);
    world.command(port.ringing(bell));
    let spin = Duration::from_micros(config.idle.tick_spin_us);
    let options = TickOptions { hz: HZ, spin, catch_up: config.tick.catch_up };
    let (shared, wakers) = (Arc::clone(&stats), vec![waker.clone()]);
    let tick = TickThread::new(world, lanes, producer, shared, wakers, options, now.instant);

    let worker = hot("net-0", WORKER_SLICE, move |stop| drop(worker.run(stop)))?;
    let tick = hot("tick", TICK_SLICE, move |stop| tick.run(stop))?;
    let mut population = Population::new(Profile::Industrial, args.devices, SEED);
    let each = population.sensors_per_device();
    let sensors = (0..population.len()).step_by(each);
    let devices = sensors.map(|at| population.next_record(at, Tier::T1, 0).device()).collect();
    let operator = Operator {
        desk,
        bell: heard,
        stats,
        intervals,
        clock,
        devices,
        at_once: args.at_once.min(ORDERS_MAX),
        pushed: 0,
        ended: [0; Outcome::NAMES.len()],
        measured: None,
    };
    Ok((Twin { worker, waker, tick }, operator, addr))
}

fn hot(
    name: &str,
    slice: Duration,
    run: impl FnOnce(&Stop) + Send + 'static,
) -> std::io::Result<(Stop, JoinHandle<()>)> {
    let stop = Stop::new();
    let until = stop.clone();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // As `host.priority = hot` ranks it.
        set_niceness(HOT_NICENESS);
        set_slice(slice);
        sharpen_timers();
        run(&until);
    })?;
    Ok((stop, thread))
}

impl Twin {
    fn end(self) -> anyhow::Result<()> {
        let (stop, worker) = self.worker;
        stop.drain();
        self.waker.wake();
        worker.join().ok().context("the worker has panicked")?;
        let (stop, tick) = self.tick;
        stop.drain();
        tick.join().ok().context("the tick thread has panicked")
    }
}

impl Operator {
    /// Waits for the plant, fills the lane again and again, and stops and clears meanwhile.
    fn work(mut self, args: &Args) -> anyhow::Result<serde_json::Value> {
        let sensors = u64::from(args.devices) * 5;
        let came = |stats: &TwinStats| stats.ages.sensors.value() >= sensors;
        await_that("the devices are known", || came(&self.stats))?;
        let begin = moment();
        let end = begin + WARM_UP + Duration::from_secs(args.duration_s);
        let between = Duration::from_millis(args.between_ms);
        while moment() < end {
            if self.measured.is_none() && moment() - begin >= WARM_UP {
                self.begin_to_measure();
            }
            let until = moment() + between;
            while moment() < until {
                self.fill();
                self.take_ends();
            }
            for stopped in [true, false] {
                self.tell_all(stopped)?;
            }
            self.collect();
        }
        // The second that is being measured is handed over at its end.
        wait_until(moment() + Duration::from_millis(1100), Duration::ZERO);
        while self.desk.is_waiting() {
            self.take_ends();
        }
        self.collect();
        Ok(self.told(args))
    }

    /// Gives orders in, each to another device, until there is no room.
    fn fill(&mut self) {
        let waiting = self.pushed - self.ended.iter().sum::<u64>();
        if let Some(measured) = &mut self.measured {
            measured.waiting.saturating_record(waiting);
        }
        for _ in waiting..self.at_once as u64 {
            let number = self.pushed;
            let order = Order {
                id: 0,
                asked_ns: self.clock.now().unix_ns,
                device: self.devices[number as usize % self.devices.len()],
                actuator_id: ACTUATOR_ID,
                sensor_type: SensorType::Temperature,
                via: 0,
                value: 20.0 + (number % 7) as f64,
            };
            if self.desk.push(order).is_none() {
                return;
            }
            self.pushed += 1;
        }
    }

    /// Waits until orders have ended, a moment at most.
    fn take_ends(&mut self) {
        let _ = self.bell.read(&mut [0; 512]);
        while let Some(end) = self.desk.poll() {
            self.ended[end.outcome.index()] += 1;
        }
    }

    /// Stops or clears, and waits until every session has answered.
    fn tell_all(&mut self, stopped: bool) -> anyhow::Result<()> {
        let asked_ns = self.clock.now().unix_ns;
        let word = self.desk.set_stopped(stopped, asked_ns);
        let mut taken = false;
        await_that("every session has answered", || {
            let stop = &self.stats.stop;
            let answered = stop.acknowledged.value() + stop.refused.value() + stop.gone.value();
            // The counts of a request are there once its number was seen.
            std::mem::replace(&mut taken, stop.word().0 == word)
                && answered == stop.concerned.value()
        })?;
        let took_ns = self.clock.now().unix_ns.saturating_sub(asked_ns);
        if let Some(measured) = self.measured.as_mut().filter(|_| stopped) {
            measured.all_ns.saturating_record(took_ns);
        }
        self.take_ends();
        Ok(())
    }

    fn begin_to_measure(&mut self) {
        self.collect();
        self.measured = Some(Measured {
            order_ns: histogram(),
            stop_ns: histogram(),
            all_ns: histogram(),
            waiting: histogram(),
            since: moment(),
            ended_before: self.ended,
        });
    }

    /// Takes the seconds that have ended.
    fn collect(&mut self) {
        while let Some(interval) = self.intervals.poll() {
            if let Some(measured) = &mut self.measured {
                // All of them have the same bounds.
                let _ = measured.order_ns.add(interval.histogram(Latency::OrderToAck));
                let _ = measured.stop_ns.add(interval.histogram(Latency::StopToAck));
            }
            self.intervals.recycle(interval);
        }
    }

    fn told(&self, args: &Args) -> serde_json::Value {
        let Some(measured) = &self.measured else { return serde_json::Value::Null };
        let spent_s = (moment() - measured.since).as_secs_f64();
        let ended = self.ended.iter().zip(measured.ended_before).map(|(now, before)| now - before);
        let ended: serde_json::Map<_, _> = Outcome::NAMES
            .iter()
            .zip(ended)
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| ((*name).to_owned(), count.into()))
            .collect();
        let at = |of: &Histogram<u64>| {
            let at = |quantile| of.value_at_quantile(quantile);
            serde_json::json!({
                "count": of.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": of.max(),
            })
        };
        serde_json::json!({
            "experiment": "orders", "devices": args.devices, "sessions": args.sessions,
            "rate_hz": args.rate_hz, "at_once": self.at_once, "between_ms": args.between_ms,
            "spent_s": spent_s, "ended": ended, "waiting": at(&measured.waiting),
            "setpoint_ns": at(&measured.order_ns), "stop_ns": at(&measured.stop_ns),
            "stop_all_ns": at(&measured.all_ns),
        })
    }
}

fn moment() -> Instant {
    Clock::new().now().instant
}

/// Looks until something is so.
fn await_that(what: &str, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begin = moment();
    while !is_so() {
        anyhow::ensure!(moment() - begin < PATIENCE, "within {PATIENCE:?} not: {what}");
        wait_until(moment() + LOOK, Duration::ZERO);
    }
    Ok(())
}
