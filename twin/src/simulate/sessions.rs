//! The sessions of a fleet: bounded handshakes, and a lost session comes back after a seeded backoff.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use netloop::{CloseReason, Engine, Now, SessionEvent, SessionId};
use wire::{CloseCode, Tier};

use super::{
    carrier::Link,
    fleet::{Fleet, Stage, failure_of, is_of},
    seeded::Seeded,
};

/// Which carriers want a session, and which sessions belong to whom.
#[derive(Debug)]
pub(super) struct Calls {
    /// Carriers that may call now.
    ready: VecDeque<u32>,
    /// Carriers that may call later: when, in nanoseconds since the first turn, and who.
    later: BinaryHeap<Reverse<(u64, u32)>>,
    /// By the place of a session: its carrier.
    places: Vec<u32>,
    handshakes: usize,
    untried: usize,
    open: u64,
    seeded: Seeded,
}

/// Handshakes that run at the same time: more would only wait in the twin and time out together.
const HANDSHAKES_MAX: usize = 64;
/// The first pause after a failure; it doubles each time.
const BACKOFF_NS_MIN: u64 = 100_000_000;
/// The longest pause.
const BACKOFF_NS_MAX: u64 = 5_000_000_000;
const NOBODY: u32 = u32::MAX;

impl Calls {
    pub(super) fn new(carriers: usize, seed: u64) -> Self {
        Self {
            ready: (0..carriers as u32).collect(),
            later: BinaryHeap::new(),
            places: Vec::new(),
            handshakes: 0,
            untried: carriers,
            open: 0,
            seeded: Seeded::new(seed, 3),
        }
    }

    /// Carriers whose first handshake has not ended yet.
    pub(super) const fn untried(&self) -> usize {
        self.untried
    }

    /// Sessions that are open.
    pub(super) const fn open(&self) -> u64 {
        self.open
    }

    /// When the next carrier may call again, in nanoseconds since the first turn.
    pub(super) fn next_retry_ns(&self) -> Option<u64> {
        let free = self.handshakes < HANDSHAKES_MAX;
        self.later.peek().filter(|_| free).map(|Reverse((at_ns, _))| *at_ns)
    }

    /// Nobody calls any longer.
    pub(super) fn end(&mut self) {
        self.ready.clear();
        self.later.clear();
    }

    /// The carrier that last had this session or its place.
    pub(super) fn carrier(&self, session: SessionId) -> Option<u32> {
        self.places.get(session.place()).copied().filter(|&carrier| carrier != NOBODY)
    }

    fn insert(&mut self, session: SessionId, carrier: u32) {
        if self.places.len() <= session.place() {
            self.places.resize(session.place() + 1, NOBODY);
        }
        self.places[session.place()] = carrier;
    }

    fn call_later(&mut self, carrier: u32, attempts: u32, now_ns: u64) {
        let longest_ns = (BACKOFF_NS_MIN << attempts.min(16)).min(BACKOFF_NS_MAX);
        // Between half and all of it, so that sessions lost together do not come back together.
        let pause_ns = longest_ns / 2 + self.seeded.below(longest_ns / 2);
        self.later.push(Reverse((now_ns + pause_ns, carrier)));
    }

    fn next(&mut self, now_ns: u64) -> Option<u32> {
        if self.handshakes >= HANDSHAKES_MAX {
            return None;
        }
        while let Some(&Reverse((at_ns, carrier))) = self.later.peek() {
            if at_ns > now_ns {
                break;
            }
            self.later.pop();
            self.ready.push_back(carrier);
        }
        self.ready.pop_front()
    }
}

impl Fleet {
    /// Begins handshakes for carriers without a session. True when any was begun.
    pub(super) fn connect_some(&mut self, engine: &mut Engine, now: Now) -> bool {
        let now_ns = self.at.ns;
        let mut begun = false;
        while let Some(carrier) = self.calls.next(now_ns) {
            match engine.connect(now, self.plan.remote, &self.plan.server_name) {
                Ok(session) => {
                    self.calls.handshakes += 1;
                    self.calls.insert(session, carrier);
                    self.carriers[carrier as usize].link = Link::Connecting(session);
                    begun = true;
                }
                Err(error) => {
                    self.failure = Some(error.into());
                    self.handle_failure(carrier);
                    break;
                }
            }
        }
        begun
    }

    /// Acts on a step in the life of a session.
    pub(super) fn handle_session(&mut self, engine: &mut Engine, event: SessionEvent) {
        match event {
            SessionEvent::Opened { session, .. } => self.handle_opened(engine, session),
            SessionEvent::Hello { .. } => {}
            SessionEvent::Failed { session, reason } => {
                let Some(carrier) = self.carrier_number(session) else { return };
                self.calls.handshakes -= 1;
                self.failure = Some(failure_of(reason));
                self.handle_failure(carrier);
            }
            SessionEvent::Closed { session, reason, .. } => self.handle_closed(session, reason),
        }
    }

    fn carrier_number(&mut self, session: SessionId) -> Option<u32> {
        let carrier = self.calls.carrier(session)?;
        is_of(self.carriers[carrier as usize].link, session).then_some(carrier)
    }

    fn handle_opened(&mut self, engine: &mut Engine, session: SessionId) {
        let Some(carrier) = self.carrier_number(session) else { return };
        self.calls.handshakes -= 1;
        self.calls.open += 1;
        self.end_first_try(carrier);
        let opened = &mut self.carriers[carrier as usize];
        self.outcome.sessions_opened += 1;
        self.outcome.sessions_reopened += u64::from(opened.was_open);
        opened.open(engine, session);
        self.population.begin_session(opened.devices.clone());
        self.activate(carrier);
    }

    fn end_first_try(&mut self, carrier: u32) {
        let tried = std::mem::replace(&mut self.carriers[carrier as usize].tried, true);
        self.calls.untried -= usize::from(!tried);
    }

    fn handle_failure(&mut self, carrier: u32) {
        self.outcome.handshakes_failed += 1;
        self.end_first_try(carrier);
        let attempts = self.carriers[carrier as usize].attempts;
        self.carriers[carrier as usize].attempts += 1;
        self.carriers[carrier as usize].link = Link::Apart;
        self.call_again(carrier, attempts);
    }

    fn handle_closed(&mut self, session: SessionId, reason: CloseReason) {
        let Some(carrier) = self.carrier_number(session) else { return };
        self.calls.open -= 1;
        if matches!(reason, CloseReason::Tls(_)) {
            return self.handle_turned_away(carrier, reason);
        }
        let ended = &mut self.carriers[carrier as usize];
        let finishing = matches!(ended.link, Link::Finishing(_));
        if finishing && reason == CloseReason::Local(CloseCode::Done) {
            ended.link = Link::Over;
            self.outcome.sessions_finished += 1;
            self.outcome.acknowledged[Tier::T2.index()] += ended.offered[Tier::T2.index()];
            return;
        }
        self.outcome.sessions_lost += 1;
        self.outcome.shed[Tier::T1.index()] += ended.part();
        self.call_again(carrier, 0);
    }

    /// A handshake of TLS 1.3 ends on this side before the twin has judged the certificate: this was never a session.
    fn handle_turned_away(&mut self, carrier: u32, reason: CloseReason) {
        self.outcome.sessions_opened -= 1;
        self.failure = Some(failure_of(reason));
        self.handle_failure(carrier);
        if self.outcome.sessions_opened == 0 && self.calls.untried() == 0 {
            self.end();
        }
    }

    fn call_again(&mut self, carrier: u32, attempts: u32) {
        if matches!(self.stage, Stage::Connecting | Stage::Running { .. }) {
            let now_ns = self.at.ns;
            self.calls.call_later(carrier, attempts, now_ns);
        } else {
            self.carriers[carrier as usize].link = Link::Over;
        }
    }
}
