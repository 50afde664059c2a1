//! Sessions that say nothing: thousands that are held open, or a storm of those that come, go and come back.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use netloop::{
    Clock, Engine, IdleStrategy, Now, Port, SessionEvent, SessionId, SessionLimits, Socket,
    SocketOptions, Stop, WorkerConfig,
};
use wire::CloseCode;

use crate::end::{Server, takes_nothing, worker};

/// Arguments of the sessions that are held.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    server: Server,
    /// Sessions.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Handshakes of this side at the same time.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// How long they are held once all are open.
    #[arg(long, default_value_t = 10)]
    duration_s: u64,
    /// Close each session as soon as it is open and call again, for the whole time: a storm of reconnects.
    #[arg(long)]
    storm: bool,
    /// Resume no session: each call is a full handshake.
    #[arg(long)]
    anew: bool,
}

/// What callers do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) remote: SocketAddr,
    /// Sessions that are wanted at the same time.
    pub(crate) count: usize,
    /// Handshakes at the same time.
    pub(crate) at_once: usize,
    /// A session is closed when it opens, and its place called for again.
    pub(crate) storm: bool,
    /// How long, from the moment when all are open; a storm counts from its begin. Nothing is until stopped.
    pub(crate) length: Option<Duration>,
}

/// What became of the calls.
pub(crate) struct Outcome {
    pub(crate) opened: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    /// From the first call to the last session that opened.
    pub(crate) opening: Duration,
    pub(crate) connect_ns: Histogram<u64>,
    /// Open at the end.
    pub(crate) open: usize,
}

/// A port that calls.
pub(crate) struct Callers {
    plan: Plan,
    /// The server, where no call may remember an earlier one.
    anew: Option<Server>,
    calling: usize,
    /// By the place of a session: when it was called for, in unix nanoseconds.
    called_ns: Vec<u64>,
    to_close: Vec<SessionId>,
    begin_ns: u64,
    now_ns: u64,
    /// The end, in unix nanoseconds, once it is known; and the same as an instant.
    end: Option<(u64, Instant)>,
    /// After a refusal nobody calls for a while.
    pause_until_ns: u64,
    retry: Option<Instant>,
    stop: Stop,
    outcome: Outcome,
}

/// How long callers pause after a failure, in nanoseconds.
const PAUSE_NS: u64 = 20_000_000;

impl Callers {
    pub(crate) fn new(plan: Plan, stop: Stop) -> anyhow::Result<Self> {
        let outcome = Outcome {
            opened: 0,
            failed: 0,
            lost: 0,
            opening: Duration::ZERO,
            connect_ns: Histogram::new_with_bounds(1, 600_000_000_000, 3)?,
            open: 0,
        };
        Ok(Self {
            plan,
            anew: None,
            calling: 0,
            called_ns: Vec::new(),
            to_close: Vec::new(),
            begin_ns: 0,
            now_ns: 0,
            end: None,
            pause_until_ns: 0,
            retry: None,
            stop,
            outcome,
        })
    }

    /// The same, each of whose calls is a full handshake.
    fn calling_anew(self, server: Server) -> Self {
        Self { anew: Some(server), ..self }
    }

    pub(crate) fn into_outcome(self) -> Outcome {
        self.outcome
    }

    fn call(&mut self, engine: &mut Engine, now: Now) -> bool {
        let mut called = false;
        while self.calling < self.plan.at_once
            && self.calling + self.outcome.open < self.plan.count
            && now.unix_ns >= self.pause_until_ns
        {
            if let Some(server) = &self.anew {
                let Ok(tls) = server.tls() else { break };
                engine.forget_servers(tls);
            }
            let Ok(session) = engine.connect(now, self.plan.remote, "localhost") else { break };
            if self.called_ns.len() <= session.place() {
                self.called_ns.resize(session.place() + 1, 0);
            }
            self.called_ns[session.place()] = now.unix_ns;
            self.calling += 1;
            called = true;
        }
        called
    }

    fn set_end(&mut self, now: Now) {
        let begun = self.plan.storm || self.outcome.open >= self.plan.count;
        if let Some(length) = self.plan.length.filter(|_| begun && self.end.is_none()) {
            self.end = Some((now.unix_ns + length.as_nanos() as u64, now.instant + length));
        }
        if self.end.is_some_and(|(end_ns, _)| now.unix_ns >= end_ns) {
            self.stop.drain();
        }
    }
}

takes_nothing!(Callers);

impl Port for Callers {
    fn poll_outbound(&mut self, engine: &mut Engine, now: Now) -> bool {
        self.now_ns = now.unix_ns;
        if self.begin_ns == 0 {
            self.begin_ns = now.unix_ns;
        }
        for session in std::mem::take(&mut self.to_close) {
            engine.close(now, session, CloseCode::Done);
        }
        self.set_end(now);
        let pause_ns = self.pause_until_ns.saturating_sub(now.unix_ns);
        self.retry = (pause_ns > 0).then(|| now.instant + Duration::from_nanos(pause_ns));
        !self.stop.is_draining() && self.call(engine, now)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.retry, self.end.map(|(_, end)| end)].into_iter().flatten().min()
    }

    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        match event {
            SessionEvent::Opened { session, .. } => {
                self.calling -= 1;
                self.outcome.open += 1;
                self.outcome.opened += 1;
                let took_ns = self.now_ns - self.called_ns[session.place()];
                self.outcome.connect_ns.saturating_record(took_ns.max(1));
                self.outcome.opening = Duration::from_nanos(self.now_ns - self.begin_ns);
                if self.plan.storm {
                    self.to_close.push(session);
                }
            }
            SessionEvent::Failed { .. } => {
                self.calling -= 1;
                self.outcome.failed += 1;
                self.pause_until_ns = self.now_ns + PAUSE_NS;
            }
            SessionEvent::Closed { .. } if self.stop.is_draining() => {}
            SessionEvent::Closed { .. } => {
                self.outcome.open -= 1;
                self.outcome.lost += u64::from(!self.plan.storm);
            }
            SessionEvent::Hello { .. } => {}
        }
        Ok(())
    }
}

/// What a caller's session may hold: it sends and receives nothing.
pub(crate) fn caller_limits(count: usize) -> SessionLimits {
    SessionLimits {
        sessions_max: 2 * count + 1024,
        idle_timeout: Duration::from_secs(30),
        keep_alive: Some(Duration::from_secs(5)),
        ..SessionLimits::default()
    }
}

/// Calls, holds, and says what became of it.
#[expect(clippy::print_stdout, reason = "the object is the result")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let now = Clock::new().now();
    let seed = std::array::from_fn(|at| (now.unix_ns >> (at % 8 * 8)) as u8);
    let engine = Engine::client(args.server.tls()?, None, caller_limits(args.count), now, seed);
    let socket = Socket::bind(([0, 0, 0, 0], 0).into(), SocketOptions::default())?;
    let plan = Plan {
        remote: args.server.addr,
        count: args.count,
        at_once: args.at_once,
        storm: args.storm,
        length: Some(Duration::from_secs(args.duration_s)),
    };
    let stop = Stop::new();
    let mut callers = Callers::new(plan, stop.clone())?;
    if args.anew {
        callers = callers.calling_anew(args.server.clone());
    }
    let rest = WorkerConfig::default().rest;
    let worker = worker(engine, socket, callers, IdleStrategy::Wait, rest)?;
    let outcome = worker.run(&stop).into_outcome();
    println!("{}", summary(&outcome, args));
    Ok(())
}

fn summary(outcome: &Outcome, args: &Args) -> serde_json::Value {
    let at = |quantile| outcome.connect_ns.value_at_quantile(quantile);
    serde_json::json!({
        "experiment": if args.storm { "storm" } else { "hold" }, "count": args.count,
        "at_once": args.at_once, "held_s": args.duration_s,
        "opened": outcome.opened, "failed": outcome.failed, "lost": outcome.lost,
        "open_at_end": outcome.open, "opening_s": outcome.opening.as_secs_f64(),
        "connect_ns": { "p50": at(0.5), "p99": at(0.99), "max": outcome.connect_ns.max() },
    })
}
