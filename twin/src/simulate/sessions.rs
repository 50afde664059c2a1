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
    /// Carriers whose call the twin has not admitted yet.
    connecting: Vec<u32>,
    untried: usize,
    open: u64,
    seeded: Seeded,
}

/// Handshakes that run at the same time: more would only wait in the twin and time out together.
const HANDSHAKES_MAX: usize = 64;
/// The first pause after a failure; it doubles each time, until a session has stayed.
const BACKOFF_NS_MIN: u64 = 100_000_000;
/// The longest pause, and how long a session has to be open to have stayed: calls that the twin admits and ends at once come no
/// more often than those that it refuses.
const BACKOFF_NS_MAX: u64 = 5_000_000_000;
const NOBODY: u32 = u32::MAX;

impl Calls {
    pub(super) fn new(carriers: usize, seed: u64) -> Self {
        Self {
            ready: (0..carriers as u32).collect(),
            later: BinaryHeap::new(),
            places: Vec::new(),
            connecting: Vec::new(),
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
        let free = self.connecting.len() < HANDSHAKES_MAX;
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
        if self.connecting.len() >= HANDSHAKES_MAX {
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
                    self.calls.connecting.push(carrier);
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

    /// Begins to use the sessions that the twin has admitted. True when there were any.
    ///
    /// A handshake of TLS 1.3 ends on this side before the twin has judged the certificate, so that it ended says nothing yet.
    pub(super) fn open_admitted(&mut self, engine: &mut Engine) -> bool {
        let mut connecting = std::mem::take(&mut self.calls.connecting);
        let before = connecting.len();
        connecting.retain(|&carrier| match self.carriers[carrier as usize].link {
            Link::Connecting(session) if engine.is_confirmed(session) => {
                self.handle_admitted(engine, carrier, session);
                false
            }
            _ => true,
        });
        self.calls.connecting = connecting;
        self.calls.connecting.len() < before
    }

    /// Acts on a step in the life of a session.
    pub(super) fn handle_session(&mut self, event: SessionEvent) {
        let (SessionEvent::Failed { session, reason }
        | SessionEvent::Closed { session, reason, .. }) = event
        else {
            return;
        };
        let Some(carrier) = self.carrier_number(session) else { return };
        if self.carriers[carrier as usize].link == Link::Connecting(session) {
            self.failure = Some(failure_of(reason));
            self.give_up(carrier);
        } else {
            self.handle_closed(carrier, reason);
        }
    }

    pub(super) fn carrier_number(&self, session: SessionId) -> Option<u32> {
        let carrier = self.calls.carrier(session)?;
        is_of(self.carriers[carrier as usize].link, session).then_some(carrier)
    }

    fn handle_admitted(&mut self, engine: &mut Engine, carrier: u32, session: SessionId) {
        self.calls.open += 1;
        self.end_first_try(carrier);
        let opened = &mut self.carriers[carrier as usize];
        self.outcome.sessions_opened += 1;
        self.outcome.sessions_reopened += u64::from(opened.was_open);
        opened.open(engine, session, self.at.ns);
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
        self.carriers[carrier as usize].link = Link::Apart;
        self.call_again(carrier);
    }

    fn handle_closed(&mut self, carrier: u32, reason: CloseReason) {
        self.calls.open -= 1;
        let ended = &mut self.carriers[carrier as usize];
        let finishing = matches!(ended.link, Link::Finishing(_));
        if finishing && reason == CloseReason::Local(CloseCode::Done) {
            ended.link = Link::Over;
            self.outcome.sessions_finished += 1;
            self.outcome.acknowledged[Tier::T2.index()] += ended.events.acknowledged();
            return;
        }
        self.lose(carrier);
    }

    /// Counts a session that did not close in order, or a call that was not admitted.
    pub(super) fn give_up(&mut self, carrier: u32) {
        if let Link::Connecting(_) = self.carriers[carrier as usize].link {
            self.calls.connecting.retain(|&connecting| connecting != carrier);
            self.handle_failure(carrier);
        } else {
            self.calls.open -= 1;
            self.lose(carrier);
        }
    }

    fn lose(&mut self, carrier: u32) {
        let ended = &mut self.carriers[carrier as usize];
        self.outcome.sessions_lost += 1;
        self.outcome.shed[Tier::T1.index()] += ended.part();
        if self.at.ns - ended.opened_ns >= BACKOFF_NS_MAX {
            ended.attempts = 0;
        }
        self.call_again(carrier);
    }

    fn call_again(&mut self, carrier: u32) {
        let apart = &mut self.carriers[carrier as usize];
        if matches!(self.stage, Stage::Connecting | Stage::Running { .. }) {
            self.calls.call_later(carrier, apart.attempts, self.at.ns);
            apart.attempts += 1;
        } else {
            apart.link = Link::Over;
        }
    }
}
