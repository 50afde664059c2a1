//! The receiving side without its transport: Pollux' own world, tick thread and report, on their own threads.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use netloop::{
    Clock, Due, Stop, lock_memory, map_large_blocks, set_niceness, set_slice, sharpen_timers,
};
use twin::cold::Cold;
use twin::config::{Effective, Layers};
use twin::http::Surface;
use twin::interval::exchange;
use twin::report::{Report, Summary};
use twin::runtime::{COLD_NICENESS, HOT_NICENESS, TICK_SLICE, WORKER_SLICE, usage};
use twin::stats::TwinStats;
use twin::tick::{TickOptions, TickThread};
use twin::world::{LaneCapacities, World, WorldOptions, lanes};

use crate::inlet::Inlet;

/// Keys of the index are the load's own: nobody attacks it.
const INDEX_SECRETS: [u64; 2] = [1, 2];

/// A world that ticks.
pub struct Host {
    cold: Cold,
    surface: Arc<Surface>,
    stop: Stop,
    tick: JoinHandle<()>,
    clock: Clock,
    started: Instant,
    name: String,
    placed: bool,
}

impl Host {
    /// Starts the tick thread, with the settings that `pollux serve` has by default. A `placed` one has its place on the host
    /// as well, and threads that the caller starts from now on, whatever transport they serve, that of a worker.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn start(
        name: &str,
        tick_hz: u32,
        placed: bool,
        report: Option<&Path>,
    ) -> anyhow::Result<(Self, Inlet)> {
        if placed {
            take_place_of_worker();
        }
        let set = vec![format!("tick.hz={tick_hz}")];
        let effective = Effective::load(&Layers::of_process(None, set))?;
        let config = effective.config();
        let clock = Clock::new();
        let now = clock.now();
        let stats = Arc::new(TwinStats::new(1));
        let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(now.unix_ns);
        let surface =
            Surface::new(Arc::clone(&stats), Report::create(report, began)?, || usage().rss_bytes);
        let (producer, consumer, interval) = exchange(0);
        let died = Arc::new(AtomicBool::new(false));
        let cold = Cold::new(Arc::clone(&surface), vec![consumer], Arc::clone(&died), usage);
        let capacities =
            LaneCapacities { tiers: config.ring.tiers, events: 16, outbound: config.ring.out };
        let due = Due::every(Duration::from_secs(1) / tick_hz);
        let (mut ports, lanes) = lanes(&capacities, stats.workers(), due);
        let port = ports.pop().ok_or_else(|| anyhow!("one worker has one port"))?;
        let inlet = Inlet::new(port, Arc::clone(&stats.workers()[0]));
        let world =
            World::new(WorldOptions::new(config, INDEX_SECRETS), Arc::clone(&stats), interval);
        let options = TickOptions {
            hz: tick_hz,
            spin: Duration::from_micros(config.idle.tick_spin_us),
            catch_up: config.tick.catch_up,
        };
        let started = now.instant;
        let tick = TickThread::new(world, lanes, producer, stats, Vec::new(), options, started);
        let stop = Stop::new();
        let until = stop.clone();
        let run = move || {
            if placed {
                set_slice(TICK_SLICE);
            }
            sharpen_timers();
            tick.run(&until);
            died.store(true, Ordering::Release);
        };
        let tick = std::thread::Builder::new().name("tick".to_owned()).spawn(run)?;
        let name = name.to_owned();
        Ok((Self { cold, surface, stop, tick, clock, started, name, placed }, inlet))
    }

    /// Runs until a signal comes or the time is over, empties the ring, and gives the account of the run.
    ///
    /// # Errors
    /// The report cannot be written, or the tick thread has panicked.
    pub fn run(mut self, limit: Option<Duration>) -> anyhow::Result<Summary> {
        if self.placed {
            set_niceness(COLD_NICENESS);
        }
        self.cold.run(None, limit, &mut |_| ControlFlow::Continue(()))?;
        let resident = usage();
        self.stop.drain();
        self.tick.join().map_err(|_| anyhow!("the tick thread has panicked"))?;
        self.cold.collect();
        let duration = self.clock.now().instant.saturating_duration_since(self.started);
        let mut report = self.surface.report();
        let (stats, activity) = (self.surface.stats(), self.cold.activity());
        let summary = Summary::of(&report, stats, resident, activity, duration, &self.name);
        report.finish(&summary)?;
        drop(report);
        Ok(summary)
    }
}

/// Asks the host for what `pollux serve` asks it for. What it refuses to one side it refuses to all: they run as one user.
fn take_place_of_worker() {
    map_large_blocks();
    if let Err(error) = lock_memory() {
        eprintln!("memory is not locked: {error}");
    }
    let niceness = set_niceness(HOT_NICENESS);
    if niceness > HOT_NICENESS {
        eprintln!("niceness {niceness} instead of {HOT_NICENESS}");
    }
    set_slice(WORKER_SLICE);
}
