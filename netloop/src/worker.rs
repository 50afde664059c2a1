//! The worker: one pinned thread that drives an engine, its socket and its port.
//!
//! A turn receives within a budget, samples the clock, moves records, fires timers, takes what is to be sent and sends
//! it. The clock is sampled after the socket was drained and before any timer fires: a stale clock beside unread
//! datagrams would make loss and idle timeouts out of mere load.

use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use quinn_proto::Transmit;
use wire::CloseCode;

use crate::{
    Clock, Datagram, Engine, Handover, Idle, IdleStrategy, Ledger, Now, Pause, Pool, Port,
    RecvDatagram, Sleeper, Socket, Stage, ThreadUsage, WorkerStats,
    handover::{Steered, Ways},
    rest::Rest,
    thread_cpu_ns, wait_until,
};

/// How a thread is told from outside to come to an orderly end.
#[derive(Debug, Default, Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A worker that runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for an orderly end: no further session, acknowledged work handed over, sessions closed with a reason.
    pub fn drain(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// True once the end was asked for.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How a worker spends its turns.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// System calls that receive, in one turn. Each brings up to 32 runs of merged datagrams.
    pub receives_max: usize,
    /// Transmits in one turn.
    pub transmits_max: usize,
    /// Datagrams that one transmit may carry (GSO).
    pub segments_max: usize,
    /// How long a worker that idles by [`IdleStrategy::Wait`] rests after its socket ran dry, before it listens to it
    /// again. What comes meanwhile is taken together: a wake-up costs more than a packet. A wake and a deadline of the
    /// port end the rest, so that answers and commands of this side do not wait for it; timers of QUIC fire after it,
    /// so this is their grain. Zero never rests.
    pub rest: Duration,
    /// Longest wait at the end for the rest to take what waits in QUIC, and to answer commands.
    pub drain_max: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            receives_max: 4,
            transmits_max: 256,
            segments_max: 44,
            rest: Duration::from_millis(1),
            drain_max: Duration::from_secs(1),
        }
    }
}

/// An engine with its socket, its port and its clock.
pub struct Worker<P> {
    engine: Engine,
    socket: Socket,
    pool: Pool,
    port: P,
    idle: Idle,
    sleeper: Option<Sleeper>,
    clock: Clock,
    config: WorkerConfig,
    stats: Arc<WorkerStats>,
    /// The contents of one transmit.
    buffer: Vec<u8>,
    /// A transmit that the socket had no room for; its contents are still in `buffer`.
    blocked: Option<Transmit>,
    /// When the tallies were last published.
    published: Instant,
    /// A busy turn has passed since the last rest.
    rest_due: bool,
    rest: Rest,
    handover: Option<Handover>,
    ledger: Ledger,
    /// What the kernel had done to the thread before its first turn.
    usage: ThreadUsage,
}

/// Tallies are published at most so often while there is work, and before every wait.
const PUBLISH: Duration = Duration::from_millis(1);
/// The clock is anchored to the wall clock anew so often.
const RESYNC: Duration = Duration::from_secs(1);
/// Records that wait in QUIC for room in a ring have no event of their own: the worker looks again after this.
const BACKLOG_RETRY: Duration = Duration::from_micros(100);
/// The socket of a worker that stands still wakes nobody: who stands in for it looks after this.
const ABSENT_RETRY: Duration = Duration::from_millis(1);
/// Datagrams of other workers taken in one turn.
const TAKEN_OVER_MAX: usize = 256;
/// A worker that ends says so to its peers for so long at most, and looks so often whether there is room for more.
const FAREWELL_MAX: Duration = Duration::from_millis(500);
const FAREWELL_RETRY: Duration = Duration::from_micros(100);
/// Receive slots, each of one slab; one system call fills at most so many.
const POOL_SLOTS: usize = 32;
/// Slabs that slow streams may pin before their bytes are copied instead.
const POOL_PINNED_MAX: usize = 256;

impl<P: Port> Worker<P> {
    /// Puts a worker together; nothing runs before [`Worker::run`].
    pub fn new(
        engine: Engine,
        socket: Socket,
        port: P,
        (idle, sleeper): (Idle, Option<Sleeper>),
        config: WorkerConfig,
        stats: Arc<WorkerStats>,
    ) -> Self {
        // The other strategies look at the socket all the time, or at least at once when something comes.
        let rests = idle.strategy() == IdleStrategy::Wait;
        let rest = if rests { config.rest } else { Duration::ZERO };
        let clock = Clock::new();
        let published = clock.now().instant;
        Self {
            engine,
            socket,
            pool: Pool::new(POOL_SLOTS, POOL_PINNED_MAX),
            port,
            idle,
            sleeper,
            clock,
            config,
            stats,
            buffer: Vec::with_capacity(64 << 10),
            blocked: None,
            published,
            rest_due: false,
            rest: Rest::new(rest),
            handover: None,
            ledger: Ledger::default(),
            usage: ThreadUsage::default(),
        }
    }

    /// Lets the worker share its port with others.
    #[must_use]
    pub fn sharing(mut self, handover: Handover) -> Self {
        self.handover = Some(handover);
        self
    }

    /// Runs on the calling thread until `stop` asks for the end and the end is done. Gives the port back.
    pub fn run(mut self, stop: &Stop) -> P {
        LastWord(&mut self).0.run_until(stop);
        self.port
    }

    fn run_until(&mut self, stop: &Stop) {
        let mut resync = self.clock.now().instant;
        self.usage = ThreadUsage::of_this_thread();
        while !stop.is_draining() {
            let now = self.turn_or_idle();
            if now.instant >= resync {
                resync = now.instant + RESYNC;
                self.clock.resync();
                self.publish_usage();
            }
        }
        self.drain();
    }

    fn publish_usage(&mut self) {
        self.stats.cpu_ns.set(thread_cpu_ns());
        let usage = ThreadUsage::of_this_thread();
        let [minor, major] = &self.stats.page_faults;
        minor.set(usage.minor_faults - self.usage.minor_faults);
        major.set(usage.major_faults - self.usage.major_faults);
        self.ledger.set_usage(usage);
    }

    /// One turn, and a wait when it found nothing to do.
    fn turn_or_idle(&mut self) -> Now {
        let start = self.clock.now();
        self.rest.end(start.unix_ns);
        let busy = self.turn(start);
        let end = self.clock.now();
        self.stats.turns.add(1);
        self.ledger.end_turn(end.instant, busy, ThreadUsage::of_this_thread);
        if !busy {
            self.publish(end);
            self.wait(end, None);
            return end;
        }
        self.stats.busy_turns.add(1);
        self.stats.busy_ns.add(end.unix_ns - start.unix_ns);
        self.idle.busy();
        self.rest_due = true;
        if end.instant > self.published + PUBLISH {
            self.publish(end);
        }
        end
    }

    /// Waits for something to do, until `latest` at most.
    fn wait(&mut self, now: Now, latest: Option<Instant>) {
        // A turn takes one step of a handshake; a rest in front of the next one would make a storm of them endless.
        if self.engine.has_handshakes_due(now) {
            return;
        }
        self.stats.stage.set(Stage::Waiting);
        let backlog = (self.engine.is_backlogged() || self.blocked.is_some())
            .then(|| now.instant + BACKLOG_RETRY);
        let absent = self.handover.as_ref().is_some_and(Handover::stands_in);
        let backlog = backlog.or(absent.then(|| now.instant + ABSENT_RETRY));
        let port = [self.port.poll_timeout(), backlog, latest].into_iter().flatten().min();
        let rests = self.rest.is_allowed() && !self.port.is_awaited();
        let rest = (std::mem::take(&mut self.rest_due) && rests)
            .then(|| self.rest.begin(now.unix_ns, self.port.due()))
            .flatten();
        let pause = if let Some(length) = rest {
            let until = now.instant + length;
            let until = port.map_or(until, |deadline| deadline.min(until));
            self.idle.idle(None, self.sleeper.as_ref(), Some(until), now.instant)
        } else {
            let deadline = [port, self.engine.poll_timeout()].into_iter().flatten().min();
            let socket = Some(self.socket.as_fd());
            self.idle.idle(socket, self.sleeper.as_ref(), deadline, now.instant)
        };
        if pause != Pause::Short {
            self.ledger.sleep();
        }
    }

    /// Receive, move, fire, send. True when anything was done.
    fn turn(&mut self, start: Now) -> bool {
        self.stats.stage.set(Stage::Receiving);
        let received = self.receive(start) | self.take_over(start) | self.stand_in(start);
        let now = self.clock.now();
        self.stats.stage.set(Stage::Moving);
        self.engine.poll(now, &mut self.port);
        self.rest.learn(received.then(|| self.clock.now().unix_ns));
        self.stats.stage.set(Stage::Timers);
        self.engine.handle_timeouts(now, &mut self.port);
        self.stats.stage.set(Stage::Commands);
        let asked = self.port.poll_outbound(&mut self.engine, now);
        self.pass_events();
        self.stats.stage.set(Stage::Sending);
        let sent = self.transmit(now);
        received || asked || sent
    }

    fn receive(&mut self, now: Now) -> bool {
        let before = self.socket.counts().datagrams_in;
        for _ in 0..self.config.receives_max {
            let (engine, handover, stats) = (&mut self.engine, &self.handover, &self.stats);
            let clock = &self.clock;
            let drained = self.socket.recv(&mut self.pool, 1, &mut |datagram: RecvDatagram| {
                let datagram = owned(datagram, clock, now);
                match handover {
                    None => engine.handle_datagram(now, datagram),
                    Some(handover) => steer(engine, handover.ways(), stats, now, datagram),
                }
            });
            if drained {
                return self.socket.counts().datagrams_in > before;
            }
            // The records of this call move on while their slabs and sessions are hot, and the slabs come back.
            self.engine.poll(self.clock.now(), &mut self.port);
        }
        self.stats.budget_exhausted.recv.add(1);
        true
    }

    /// Takes what other workers passed on, which came in at their sockets.
    fn take_over(&mut self, now: Now) -> bool {
        let Some(handover) = &self.handover else { return false };
        let mut taken = false;
        for _ in 0..TAKEN_OVER_MAX {
            let Some(datagram) = handover.pop() else { break };
            self.engine.handle_datagram(now, datagram);
            taken = true;
        }
        taken
    }

    /// Reads the sockets of workers that stand still.
    fn stand_in(&mut self, now: Now) -> bool {
        let Some(handover) = self.handover.as_mut().filter(|handover| handover.stands_in()) else {
            return false;
        };
        let (engine, stats, receives_max) =
            (&mut self.engine, &self.stats, self.config.receives_max);
        let clock = &self.clock;
        let (ways, sockets) = handover.absent_sockets();
        let mut received = false;
        for socket in sockets {
            socket.recv(&mut self.pool, receives_max, &mut |datagram: RecvDatagram| {
                received = true;
                steer(engine, ways, stats, now, owned(datagram, clock, now));
            });
        }
        received
    }

    fn transmit(&mut self, now: Now) -> bool {
        let segments = self.config.segments_max.min(self.socket.max_gso_segments());
        for sent in 0..self.config.transmits_max {
            let transmit = match self.blocked.take() {
                Some(transmit) => transmit,
                None => match self.engine.poll_transmit(now, segments, &mut self.buffer) {
                    Some(transmit) => transmit,
                    None => return sent > 0,
                },
            };
            if self.socket.send(&transmit, &self.buffer[..transmit.size]).is_err() {
                self.blocked = Some(transmit);
                return sent > 0;
            }
        }
        self.stats.budget_exhausted.send.add(1);
        true
    }

    fn pass_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            if let Err(event) = self.port.handle_event(event) {
                self.engine.return_event(event);
                return;
            }
        }
        while let Some(event) = self.engine.poll_viewer_event() {
            if let Err(event) = self.port.handle_viewer(event) {
                self.engine.return_viewer_event(event);
                return;
            }
        }
        while let Some(report) = self.engine.poll_report() {
            self.port.handle_path(report);
        }
    }

    /// Accepts nothing new, waits until the rest has taken what QUIC acknowledged and devices have the answers to their
    /// commands, and closes the sessions.
    fn drain(&mut self) {
        let mut now = self.clock.now();
        let end = now.instant + self.config.drain_max;
        self.engine.stop_accepting();
        loop {
            let busy = self.turn(now);
            now = self.clock.now();
            let left = self.engine.is_backlogged()
                || self.engine.owes_answers()
                || self.port.is_draining();
            if now.instant >= end || !left {
                break;
            }
            if !busy {
                self.wait(now, Some(end));
            }
        }
        self.engine.close_all(now, CloseCode::Shutdown);
        self.say_farewell(now);
    }

    /// Tells every peer that it is over, and the rest what became of its sessions: in as many transmits and hand-overs as that
    /// takes, because nobody comes after this to send what is left.
    fn say_farewell(&mut self, mut now: Now) {
        let end = now.instant + FAREWELL_MAX;
        loop {
            self.transmit(now);
            self.pass_events();
            let is_left =
                self.engine.has_work() || self.blocked.is_some() || self.engine.has_events();
            now = self.clock.now();
            if !is_left || now.instant >= end {
                return;
            }
            if self.blocked.is_some() || self.engine.has_events() {
                wait_until(now.instant + FAREWELL_RETRY, Duration::ZERO);
            }
        }
    }

    fn publish(&mut self, now: Now) {
        self.published = now.instant;
        let mut counts = self.socket.counts();
        if let Some(handover) = &self.handover {
            counts += handover.counts();
        }
        self.stats.publish(self.engine.tally(), &counts, &self.pool);
        self.stats.publish_gaps(&self.ledger);
    }
}

/// Publishes what a worker has done when it ends, however it ends: the rest takes what it pushed until then, and counts on
/// its word of it. Records of the very service of a session that panicked stay uncounted.
struct LastWord<'a, P: Port>(&'a mut Worker<P>);

impl<P: Port> Drop for LastWord<'_, P> {
    fn drop(&mut self) {
        let now = self.0.clock.now();
        self.0.publish(now);
        self.0.publish_usage();
        self.0.stats.publish_end();
    }
}

/// Gives a datagram to the worker that has its session.
#[inline]
fn steer(engine: &mut Engine, ways: &Ways, stats: &WorkerStats, now: Now, datagram: Datagram) {
    match ways.steer(datagram) {
        Steered::Own(datagram) => engine.handle_datagram(now, datagram),
        Steered::Passed => stats.datagrams_passed.add(1),
        Steered::Lost => stats.datagrams_passed_lost.add(1),
    }
}

/// What the engine takes of a received datagram.
fn owned(datagram: RecvDatagram, clock: &Clock, now: Now) -> Datagram {
    let RecvDatagram { remote, local_ip, ecn, data, kernel_unix_ns } = datagram;
    let recv_ns = kernel_unix_ns.map_or(now.unix_ns, |ns| clock.own_ns(ns, now.instant));
    Datagram { remote, local_ip, ecn, payload: data.into_bytes_mut(), recv_ns }
}
