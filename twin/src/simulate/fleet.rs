//! The fleet: all devices behind one engine, as the port of its worker.
//!
//! A life has four stages. Sessions connect, a bounded number at a time; once each had its chance the schedule begins;
//! at the end everything that was numbered is flushed and the sessions close in order with their totals; then the
//! worker may leave. Every stage is bounded in time, and what did not go as planned is in the [`Outcome`].

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use netloop::{
    Answer, CloseReason, ConnectError, Engine, Now, Port, Run, SendStream, SessionEvent, SessionId,
    Sink, Slot, Stop, slot,
};
use wire::{CloseCode, Command, Record, Status, Tier};

use crate::exchange::{ColdEnd, HotEnd};

use super::{
    carrier::{Carrier, Link},
    coalesce::{Chunks, WireForm},
    commands::Waiting,
    device::Population,
    plan::Plan,
    progress::{self, LoadInterval, LoadLatency, Progress},
    sessions::Calls,
    traffic::Traffic,
};

/// What a fleet came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records handed to QUIC, for each tier.
    pub sent: [u64; Tier::COUNT],
    /// Records that were due and not sent in time, for each tier; without a number on the wire, but for those of T1 that
    /// were packed when their session was lost.
    pub shed: [u64; Tier::COUNT],
    /// T2 records in sessions that closed in order, on streams that the twin did not stop, and T3 commands with an ack; T1
    /// has none.
    pub acknowledged: [u64; Tier::COUNT],
    /// Commands that ended without an ack.
    pub commands_failed: u64,
    /// Acks whose status was not ok.
    pub commands_refused: u64,
    /// Commands of the twin that were answered here.
    pub commands_answered: u64,
    /// Records of the twin that no fleet expects.
    pub unexpected: u64,
    /// Sessions that the twin admitted.
    pub sessions_opened: u64,
    /// Sessions that replaced a lost one.
    pub sessions_reopened: u64,
    /// Sessions that ended before they were finished.
    pub sessions_lost: u64,
    /// Sessions that closed in order, with their totals.
    pub sessions_finished: u64,
    /// Handshakes that failed, or whose certificate the twin refused.
    pub handshakes_failed: u64,
    /// The form in which T1 left.
    pub form: WireForm,
    /// From the beginning of the schedule to the beginning of the end, in nanoseconds.
    pub active_ns: u64,
    /// From the first turn to the last, in nanoseconds.
    pub duration_ns: u64,
}

/// Why a fleet did nothing at all.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Nothing came back.
    #[error("no answer: nothing listens there, or the way is blocked")]
    NoAnswer,
    /// The twin closed the handshake.
    #[error("the twin refused the session{}", .0.map(|code| format!(": {code}")).unwrap_or_default())]
    Refused(Option<CloseCode>),
    /// TLS broke off with this alert.
    #[error("TLS broke off (alert {alert}): {}", alert_meaning(*alert))]
    Tls {
        /// The number of the alert.
        alert: u8,
    },
    /// QUIC broke off.
    #[error("the handshake broke off: the twin accepts no further session, or is no twin")]
    Handshake,
    /// The engine could not even begin.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Simulated devices, their sessions and their load.
pub struct Fleet {
    pub(super) plan: Plan,
    pub(super) population: Population,
    pub(super) carriers: Vec<Carrier>,
    pub(super) calls: Calls,
    pub(super) traffic: Traffic,
    pub(super) chunks: Chunks,
    pub(super) waiting: Waiting,
    pub(super) outcome: Outcome,
    pub(super) failure: Option<FleetError>,
    pub(super) interval: Box<LoadInterval>,
    pub(super) stage: Stage,
    /// The way of the intervals of latencies.
    intervals: (HotEnd<LoadInterval>, ColdEnd<LoadInterval>),
    progress: Arc<Progress>,
    pub(super) stop: Stop,
    events: VecDeque<SessionEvent>,
    begun: Option<Instant>,
    /// When the load begins, once every session has been tried, in nanoseconds since the first turn.
    begins_ns: Option<u64>,
    pub(super) at: Moment,
    published_ns: u64,
    swapped_ns: u64,
}

/// Where a fleet is in its life; times in nanoseconds since its first turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Running { since_ns: u64 },
    Draining { until_ns: u64 },
    Done,
}

/// The time of a turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment {
    /// Since the first turn, in nanoseconds.
    pub(super) ns: u64,
    /// Since the Unix epoch, in nanoseconds.
    pub(super) unix_ns: u64,
}

impl Moment {
    /// The wall time of something that was due at `due_ns` since the first turn, and is not in the future.
    pub(super) const fn unix_ns_of(&self, due_ns: u64) -> u64 {
        self.unix_ns.saturating_sub(self.ns.saturating_sub(due_ns))
    }
}

/// The schedule waits for slow handshakes at most so long; longer than the idle timeout that ends an unanswered one.
const CONNECT_NS_MAX: u64 = 12_000_000_000;
/// Counters are published so often.
const PUBLISH_NS: u64 = 100_000_000;
/// Latencies are handed over so often.
const INTERVAL_NS: u64 = 1_000_000_000;

impl Fleet {
    /// A fleet that begins with its first turn. It drains when `stop` asks it to, and asks `stop` itself when its plan is
    /// fulfilled; give the same to [`netloop::Worker::run`].
    #[must_use]
    pub fn new(plan: Plan, stop: Stop) -> Self {
        let population = Population::new(plan.profile, plan.devices, plan.seed);
        let carriers = u64::from(plan.carriers());
        let first = |carrier: u64| (carrier * u64::from(plan.devices)).div_ceil(carriers) as u32;
        let packing = plan.packing();
        let carriers: Vec<_> = (0..carriers)
            .map(|carrier| Carrier::new(first(carrier)..first(carrier + 1), packing))
            .collect();
        let (hot, cold, interval) = progress::exchange();
        Self {
            calls: Calls::new(carriers.len(), plan.seed),
            traffic: Traffic::new(&plan, population.sensors_per_device()),
            population,
            carriers,
            chunks: Chunks::default(),
            waiting: Waiting::default(),
            outcome: Outcome::default(),
            failure: None,
            interval,
            stage: Stage::Connecting,
            intervals: (hot, cold),
            progress: Arc::default(),
            stop,
            events: VecDeque::new(),
            begun: None,
            begins_ns: None,
            at: Moment::default(),
            published_ns: 0,
            swapped_ns: 0,
            plan,
        }
    }

    /// What another thread may watch.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// What another thread drains about once a second, giving each interval of latencies to a closure.
    pub fn intervals(&self) -> impl FnMut(&mut dyn FnMut(&LoadInterval)) + Send + use<> {
        let cold = self.intervals.1.clone();
        move |read| progress::drain(&cold, read)
    }

    /// The outcome and the last interval, after the worker has given the fleet back.
    ///
    /// # Errors
    /// No session was ever opened, and nobody asked to stop before that.
    pub fn finish(mut self) -> Result<(Outcome, Box<LoadInterval>), FleetError> {
        self.interval.until_ns = self.at.ns;
        match self.failure {
            Some(failure) if self.outcome.sessions_opened == 0 => Err(failure),
            _ => Ok((self.outcome, self.interval)),
        }
    }

    /// True once everything is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    fn begin_turn(&mut self, now: Now) -> Moment {
        let begun = *self.begun.get_or_insert(now.instant);
        let passed = now.instant.saturating_duration_since(begun);
        self.at = Moment {
            ns: u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX),
            unix_ns: now.unix_ns,
        };
        self.outcome.duration_ns = self.at.ns;
        self.at
    }

    /// Begins the schedule when it may. True when it did, or gave up: the next turn has something to do at once.
    fn poll_connecting(&mut self) -> bool {
        if self.calls.untried() > 0 && self.at.ns < CONNECT_NS_MAX {
            return false;
        }
        if self.outcome.sessions_opened == 0 {
            self.end();
            return true;
        }
        let pause_ns = || self.plan.pause().as_nanos() as u64;
        let begins_ns = *self.begins_ns.get_or_insert_with(|| self.at.ns + pause_ns());
        let begins = self.at.ns >= begins_ns;
        if begins {
            self.stage = Stage::Running { since_ns: self.at.ns };
        }
        begins
    }

    fn poll_running(&mut self, engine: &mut Engine, since_ns: u64) -> bool {
        let running_ns = self.at.ns - since_ns;
        let limit_ns = self.plan.limit_ns();
        let busy = self.poll_traffic(engine, since_ns, running_ns.min(limit_ns));
        if running_ns >= limit_ns || self.traffic.is_spent() {
            self.begin_drain();
            return true;
        }
        busy
    }

    /// When the schedule has something, or the plan ends, in nanoseconds since the first turn.
    fn next_ns(&self, since_ns: u64) -> u64 {
        self.traffic.next_ns(since_ns).min(self.plan.limit_ns().saturating_add(since_ns))
    }

    pub(super) fn end(&mut self) {
        self.stage = Stage::Done;
        self.stop.drain();
    }

    fn poll_stop(&mut self) {
        if !self.stop.is_draining() {
            return;
        }
        match self.stage {
            Stage::Connecting | Stage::Running { .. } => self.begin_drain(),
            Stage::Draining { .. } | Stage::Done => {}
        }
    }

    fn publish(&mut self) {
        if self.at.ns < self.published_ns && self.stage != Stage::Done {
            return;
        }
        self.published_ns = self.at.ns + PUBLISH_NS;
        let (progress, outcome) = (&self.progress, &self.outcome);
        progress.sessions.set(self.calls.open());
        for tier in 0..Tier::COUNT {
            progress.sent[tier].set(outcome.sent[tier]);
            progress.shed[tier].set(outcome.shed[tier]);
        }
        progress.acknowledged.set(outcome.acknowledged[Tier::T3.index()]);
        progress.late_ns_max.set(self.traffic.late_ns_max);
        progress.blocked.set(self.traffic.blocked);
        progress.lost.set(outcome.sessions_lost);
        progress.handshakes_failed.set(outcome.handshakes_failed);
        if self.at.ns >= self.swapped_ns + INTERVAL_NS {
            self.swapped_ns = self.at.ns;
            progress::swap(&self.intervals.0, &mut self.interval, self.at.ns);
        }
    }
}

impl Port for Fleet {
    fn poll_outbound(&mut self, engine: &mut Engine, now: Now) -> bool {
        self.begin_turn(now);
        self.poll_stop();
        // A session that was admitted and ended in the same turn is lost, and was no failed handshake.
        let mut busy = self.open_admitted(engine) || !self.events.is_empty();
        while let Some(event) = self.events.pop_front() {
            self.handle_session(event);
        }
        if matches!(self.stage, Stage::Connecting | Stage::Running { .. }) {
            busy |= self.connect_some(engine, now);
        }
        match self.stage {
            Stage::Connecting => busy |= self.poll_connecting(),
            Stage::Running { since_ns } => busy |= self.poll_running(engine, since_ns),
            Stage::Draining { until_ns } => busy |= self.poll_drain(engine, now, until_ns),
            Stage::Done => {}
        }
        self.publish();
        busy
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let due_ns = match self.stage {
            Stage::Running { since_ns } => self.next_ns(since_ns),
            Stage::Connecting => self.begins_ns.unwrap_or(CONNECT_NS_MAX),
            Stage::Draining { until_ns } => until_ns,
            Stage::Done => return None,
        };
        let next_ns = self.calls.next_retry_ns().map_or(due_ns, |retry_ns| retry_ns.min(due_ns));
        self.begun.map(|begun| begun + Duration::from_nanos(next_ns.min(self.at.ns + PUBLISH_NS)))
    }

    /// The answer to a command is read when it comes: what it took is what it is measured for.
    fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn is_draining(&self) -> bool {
        self.stage != Stage::Done
    }

    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        self.events.push_back(event);
        Ok(())
    }
}

impl Sink for Fleet {
    /// A twin sends no telemetry to devices: whatever comes is refused and counted.
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        self.outcome.unexpected += run.records.len() as u64;
        0
    }

    fn free_t2(&self) -> usize {
        usize::MAX
    }

    fn push_t2(&mut self, run: &Run<'_>) {
        self.outcome.unexpected += run.records.len() as u64;
    }

    fn free_t3(&self) -> usize {
        usize::MAX
    }

    fn handle_command(&mut self, slot: Slot) -> Answer {
        let request = Record::from_bytes(slot.record);
        let carrier = self.calls.carrier(SessionId(slot.session));
        let carried =
            carrier.map_or(0..0, |carrier| self.carriers[carrier as usize].devices.clone());
        match self.population.answer(&request, carried, slot.recv_ns / 1_000) {
            Some(ack) => {
                self.outcome.commands_answered += 1;
                Answer::Ack(ack)
            }
            None => Answer::Reset(CloseCode::NoHandler),
        }
    }

    fn handle_ack(&mut self, slot: Slot) {
        let Some(sent) = self.waiting.remove(&slot) else { return };
        let carrier = &mut self.carriers[sent.carrier as usize];
        carrier.commands_open = carrier.commands_open.saturating_sub(1);
        if slot.flags != slot::ACK {
            self.outcome.commands_failed += 1;
            return;
        }
        self.outcome.acknowledged[Tier::T3.index()] += 1;
        let ack = Record::from_bytes(slot.record);
        let status = Command::decode(&ack).ok().and_then(|command| command.status());
        if status != Some(Status::Ok) {
            self.outcome.commands_refused += 1;
        }
        let handled_ns = slot.recv_ns + u64::from(slot.lag_ns);
        let (trip, corrected) = (LoadLatency::RoundTrip, LoadLatency::RoundTripIntended);
        self.interval.record_n(trip, handled_ns.saturating_sub(sent.sent_ns), 1);
        self.interval.record_n(corrected, handled_ns.saturating_sub(sent.due_ns), 1);
    }

    fn handle_stopped(&mut self, session: SessionId, stream: SendStream) {
        if let Some(carrier) = self.carrier_number(session) {
            self.carriers[carrier as usize].events.stop(stream);
        }
    }
}

/// The reason why nothing could be opened, in words.
pub(super) const fn failure_of(reason: CloseReason) -> FleetError {
    match reason {
        CloseReason::Idle => FleetError::NoAnswer,
        CloseReason::Peer(code) => FleetError::Refused(code),
        CloseReason::Tls(alert) => FleetError::Tls { alert },
        CloseReason::Local(_) | CloseReason::Reset | CloseReason::Transport => {
            FleetError::Handshake
        }
    }
}

/// What an alert means to the one who started the load (RFC 8446, section 6.2; RFC 7301, section 3.2).
const fn alert_meaning(alert: u8) -> &'static str {
    match alert {
        42 | 43 | 46 => "the certificate is not usable, or not for this server name",
        44 => "the certificate is revoked",
        45 => "the certificate has expired, or a clock is wrong",
        // 51 when an authority of the same name, such as that of an earlier `certs init`, has another key.
        48 | 51 => {
            "the twin's certificate is not signed by --ca, or that of --cert not by an authority of the twin"
        }
        116 => "the twin asks for a device certificate",
        120 => "the other end does not speak pollux/1",
        _ => "the ends do not agree",
    }
}

/// True for a link that a session event of `session` is about.
pub(super) fn is_of(link: Link, session: SessionId) -> bool {
    match link {
        Link::Connecting(own) | Link::Open(own) | Link::Finishing(own) => own == session,
        Link::Apart | Link::Over => false,
    }
}
