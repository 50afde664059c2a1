//! The cold thread: collects intervals, serves HTTP, watches the workers and the certificates, waits for signals.
//!
//! It runs on whichever thread calls [`Cold::run`], on a runtime of that one thread. It may allocate, and writes no files
//! itself, for a disk may hang; the hot threads reach it only through counters and lock-free queues.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire};
use std::time::{Duration, Instant};

use netloop::Clock;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::args::EXIT_FAILED;
use crate::credentials::CredentialFiles;
use crate::http::{Door, DoorTls, Surface, router};
use crate::interval::{IntervalConsumer, Latency};
use crate::parting::{Left, Patience};
use crate::picture::PictureConsumer;
use crate::report::{Activity, Usage};
use crate::stop_file::StopKeeper;
use crate::turned_away::TurnedAway;
use crate::watchdog::{LOOK, Watchdog};

/// How often finished intervals are fetched: well within the second that fills the next one.
const COLLECT: Duration = Duration::from_millis(100);
/// Collections in a second.
const COLLECTS_PER_SECOND: u32 = 10;
/// How often pictures are fetched: twice as often as they come, so that none waits for long.
const PICTURES: Duration = Duration::from_millis(16);

/// Why the cold thread gave up.
#[derive(Debug, Error)]
pub enum ColdError {
    /// The runtime, a signal or the HTTP listener.
    #[error("the cold thread cannot start")]
    Start(#[from] std::io::Error),
}

/// Why the run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// SIGINT or SIGTERM.
    Signal,
    /// The given duration.
    Elapsed,
    /// Another thread raised the stop flag.
    Stopped,
    /// Whoever was called each second wants no more.
    Sufficed,
}

/// The cold thread's possessions.
pub struct Cold {
    surface: Arc<Surface>,
    consumers: Vec<IntervalConsumer>,
    pictures: Option<PictureConsumer>,
    stop: Arc<AtomicBool>,
    usage: fn() -> Usage,
    activity: Activity,
    files: Option<CredentialFiles>,
    clock: Clock,
    began: Instant,
    watchdog: Option<Watchdog>,
    bell: Option<std::os::unix::net::UnixStream>,
    door: Option<Arc<DoorTls>>,
    stop_keeper: Option<StopKeeper>,
    turned_away: TurnedAway,
    /// A signal came before [`Cold::run`] could hear it.
    signalled: Arc<AtomicBool>,
}

impl Cold {
    /// A cold thread over the intervals of all hot threads. It ends when `stop` is raised by one of them,
    /// and never raises it itself.
    #[must_use]
    pub fn new(
        surface: Arc<Surface>,
        consumers: Vec<IntervalConsumer>,
        stop: Arc<AtomicBool>,
        usage: fn() -> Usage,
    ) -> Self {
        let clock = Clock::new();
        let (activity, began) = (Activity::default(), clock.now().instant);
        Self {
            surface,
            consumers,
            pictures: None,
            stop,
            usage,
            activity,
            files: None,
            clock,
            began,
            watchdog: None,
            bell: None,
            door: None,
            stop_keeper: None,
            turned_away: TurnedAway::default(),
            signalled: Arc::default(),
        }
    }

    /// Heeds the signals that end a run from now on: one that comes before [`Cold::run`], when others have read that the twin is
    /// ready, ends it in order too. A second one ends the process at once, whatever the end waits for.
    ///
    /// # Errors
    /// The system refuses.
    pub fn heed_signals(&self) -> std::io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            // Before the flag is raised, so that the first signal does not find it.
            flag::register_conditional_shutdown(
                signal,
                EXIT_FAILED.into(),
                Arc::clone(&self.signalled),
            )?;
            flag::register(signal, Arc::clone(&self.signalled))?;
        }
        Ok(())
    }

    /// Also has the stop of the plant kept over a restart.
    pub fn keeping_stop(&mut self, keeper: StopKeeper) {
        self.stop_keeper = Some(keeper);
    }

    /// Waits until the last request to stop or to clear is kept. Called after the tick thread has ended, it leaves none behind.
    ///
    /// # Errors
    /// The disk below it takes longer than that.
    pub fn finish_stop(&mut self, patience: Patience) -> Result<(), Left> {
        let keeper = self.stop_keeper.take();
        keeper.map_or(Ok(()), |keeper| keeper.finish(self.surface.stop_request(), patience))
    }

    /// Also mirrors the pictures of the tick thread, and its plant while somebody looks.
    pub fn mirroring(&mut self, pictures: PictureConsumer) {
        self.surface.looks().open();
        self.pictures = Some(pictures);
    }

    /// Hears from this bell that orders have ended.
    pub fn hearing(&mut self, bell: std::os::unix::net::UnixStream) {
        self.bell = Some(bell);
    }

    /// Also looks after the files of the certificates.
    pub fn renewing(&mut self, files: CredentialFiles) {
        self.files = Some(files);
    }

    /// Lets it watch the workers.
    #[must_use]
    pub fn watching(mut self, watchdog: Watchdog) -> Self {
        self.watchdog = Some(watchdog);
        self
    }

    /// Serves until a signal comes, `limit` is over or the stop flag is up. `each_second` is called with
    /// the surface once a second, for a line of progress, and may end the run.
    ///
    /// # Errors
    ///
    /// The runtime cannot start.
    pub fn run(
        &mut self,
        door: Option<Door>,
        limit: Option<Duration>,
        each_second: &mut dyn FnMut(&Surface) -> ControlFlow<()>,
    ) -> Result<Ended, ColdError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            if self.signalled.load(Acquire) {
                return Ok(Ended::Signal);
            }
            if let Some(door) = door {
                let surface = Arc::clone(&self.surface);
                self.door = door.tls();
                // The task ends with the runtime.
                drop(tokio::spawn(door.serve(router(Arc::clone(&surface)), surface)));
            }
            if let Some(bell) = self.bell.take() {
                let (orders, bell) = (Arc::clone(&self.surface), UnixStream::from_std(bell)?);
                drop(tokio::spawn(async move { orders.follow_orders(bell).await }));
            }
            if let Some(watchdog) = self.watchdog.take() {
                drop(tokio::spawn(watch(watchdog)));
            }
            let ended = ended(signals, limit);
            tokio::pin!(ended);
            let [mut collect, mut look] = [COLLECT, PICTURES].map(tokio::time::interval);
            // After a stall, what is said of a second shall be of a second, and not of rounds that were missed.
            collect.set_missed_tick_behavior(MissedTickBehavior::Delay);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut liveness = Liveness::default();
            for round in (0..COLLECTS_PER_SECOND).cycle() {
                loop {
                    tokio::select! {
                        ended = &mut ended => return Ok(ended),
                        _ = look.tick() => self.look(),
                        _ = collect.tick() => break,
                    }
                }
                self.collect();
                let now = self.clock.now().instant;
                let live = liveness.judge(now, self.surface.stats().tick.ticks.value());
                live.into_iter().for_each(|live| self.surface.set_live(live));
                if let Some(files) = &mut self.files {
                    files.poll();
                }
                if self.stop.load(Acquire) {
                    return Ok(Ended::Stopped);
                }
                if round == COLLECTS_PER_SECOND - 1 {
                    self.surface.resync();
                    self.door.iter().for_each(|tls| tls.poll());
                    self.stop_keeper.iter().for_each(|of| of.retry(self.surface.stop_request()));
                    self.tell_turned_away(now);
                    let hz = self.surface.options().hz;
                    self.surface.sampler().look(self.surface.stats(), now - self.began, hz);
                    if each_second(&self.surface).is_break() {
                        return Ok(Ended::Sufficed);
                    }
                }
            }
            unreachable!("because the rounds cycle");
        })
    }

    /// When records were applied so far.
    #[must_use]
    pub const fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Fetches what the hot threads have handed over. Called once more after they have ended, it leaves
    /// nothing behind.
    pub fn collect(&mut self) {
        self.activity.observe(self.surface.stats().applied(), (self.usage)());
        for consumer in &mut self.consumers {
            while let Some(interval) = consumer.poll() {
                self.surface.report().add(&interval);
                self.surface.sampler().note_ages(interval.histogram(Latency::Age));
                consumer.recycle(interval);
            }
        }
    }
}

impl Cold {
    /// Says in the log that devices were turned away, where that is due.
    fn tell_turned_away(&mut self, now: Instant) {
        if let Some(reasons) = self.turned_away.poll(now, &self.surface.stats().worker()) {
            tracing::warn!(reasons, "devices were turned away");
        }
    }

    /// Takes the pictures in that have come, and lets the viewers have them.
    fn look(&mut self) {
        if let Some(keeper) = &mut self.stop_keeper {
            keeper.poll(self.surface.stop_request());
        }
        self.surface.browsers().poll(&self.surface);
        let Some(pictures) = &mut self.pictures else { return };
        let wanted = self
            .surface
            .looks()
            .is_wanted(self.surface.live().viewers(), self.surface.elapsed_ns());
        if pictures.is_wanting() && !wanted {
            self.surface.mirror().forget_plant();
        }
        pictures.want(wanted);
        while let Some(picture) = pictures.poll() {
            self.surface.mirror().apply(&picture);
            pictures.recycle(picture);
            self.surface.live().publish(&self.surface);
            self.surface.looks().note_picture();
        }
    }
}

/// The ticks at the last judgement, and when that was.
#[derive(Debug, Default)]
struct Liveness(Option<(Instant, u64)>);

impl Liveness {
    /// Whether the tick has advanced since the last judgement; none before a second has passed, in which it has to.
    fn judge(&mut self, now: Instant, ticks: u64) -> Option<bool> {
        let (since, before) = *self.0.get_or_insert((now, ticks));
        (now.saturating_duration_since(since) >= Duration::from_secs(1)).then(|| {
            self.0 = Some((now, ticks));
            ticks != before
        })
    }
}

/// Looks until the runtime ends. Looks that were missed are not made up for: they would find nothing new.
async fn watch(mut watchdog: Watchdog) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        watchdog.look();
    }
}

async fn ended((mut interrupt, mut terminate): (Signal, Signal), limit: Option<Duration>) -> Ended {
    let elapsed = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => Ended::Signal,
        _ = terminate.recv() => Ended::Signal,
        () = elapsed => Ended::Elapsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_stands_still_only_where_a_second_has_passed_without_one() {
        let began = Clock::new().now().instant;
        let at = |ms: u64| began + Duration::from_millis(ms);
        let mut liveness = Liveness::default();
        let looks =
            [(0, 7), (1, 7), (999, 7), (1000, 7), (1001, 7), (1999, 8), (2000, 8), (3100, 8)];
        let judged = looks.map(|(ms, ticks)| liveness.judge(at(ms), ticks));
        let (none, lives, stands) = (None, Some(true), Some(false));
        assert_eq!(judged, [none, none, none, stands, none, none, lives, stands]);
    }
}
