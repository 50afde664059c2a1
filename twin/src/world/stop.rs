//! The stop of the plant: every session that answers commands is told, and asked again until it has answered.
//!
//! It goes ahead of all other work of a tick, through rings that carry nothing else. A session that comes back, or comes
//! new, is told what holds. What is told counts as [`Stops::tally`] says; a session that closes before it has answered is
//! counted as gone. It is a command over a network, never a safety function.

use netloop::{Outbound, SessionEvent, SessionId, Slot, slot};
use serde::{Deserialize, Serialize};
use wire::{Command, DeviceId, Operation, Reading, Record, SensorType, Status, capability};

use crate::interval::Latency;
use crate::order::{StopSource, StopWord};

use super::marks::Marks;
use super::{Lanes, Plant};

/// Set in the tag of a stop command and in no other.
pub(super) const STOP_TAG: u32 = 1 << 31;

/// Sessions told in one tick at most: a thousand sessions know within four.
const TOLD_MAX: usize = 256;

/// The stop as it stands.
#[derive(Debug)]
pub(super) struct Stops {
    word: StopWord,
    asked_ns: u64,
    places: Vec<Place>,
    /// Places that shall be told.
    marks: Marks,
    /// Places that were told, by the tick at which they are told again, the earliest first.
    asked_again: std::collections::VecDeque<(u64, u32)>,
    again_ticks: u64,
    /// Places whose worker takes no more in this tick.
    waiting: Vec<u32>,
    tally: StopTally,
}

/// What became of telling the sessions, for the request in force, in sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopTally {
    /// Shall be told.
    pub concerned: u64,
    /// Have answered that it is done.
    pub acknowledged: u64,
    /// Have answered with another status.
    pub refused: u64,
    /// Closed before they answered.
    pub gone: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    session: SessionId,
    device: DeviceId,
    told: Told,
}

/// How far a session is with the request in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    /// It does not answer commands, or is no more.
    Aside,
    /// It has answered, or was never to be told.
    Settled,
    Waiting,
    /// The same of one that came after it was asked for: when it answers says nothing of how soon a stop is told.
    WaitingLate,
}

impl Told {
    const fn waits(self) -> bool {
        matches!(self, Self::Waiting | Self::WaitingLate)
    }
}

/// The stop, saved. Whom it has to tell next is not: a replay tells nobody, and has every answer in its capture.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedStops {
    word: u64,
    asked_ns: u64,
    /// Of each place that concerns a session: its number, the session, its device, and how far it is.
    places: Vec<(usize, u32, [u8; 16], Told)>,
    tally: StopTally,
}

impl Stops {
    /// Nothing was asked for; a session that does not answer is asked again after `again_ticks`.
    pub(super) fn new(sessions_max: usize, again_ticks: u64) -> Self {
        let mut marks = Marks::default();
        marks.grow(sessions_max);
        let (session, device) = (SessionId(0), DeviceId([0; 16]));
        Self {
            word: StopWord::default(),
            asked_ns: 0,
            places: vec![Place { session, device, told: Told::Aside }; sessions_max],
            marks,
            // Each place stands here twice at most: once for each of two requests within the same stretch.
            asked_again: std::collections::VecDeque::with_capacity(sessions_max * 2),
            again_ticks: again_ticks.max(1),
            waiting: Vec::with_capacity(TOLD_MAX),
            tally: StopTally::default(),
        }
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.word.is_stopped()
    }

    pub(super) const fn word(&self) -> StopWord {
        self.word
    }

    pub(super) const fn tally(&self) -> StopTally {
        self.tally
    }

    /// Takes a step of a session's life.
    pub(super) fn handle_event(&mut self, event: &SessionEvent) {
        match *event {
            SessionEvent::Hello { session, hello, .. } => {
                let at = session.place();
                let Some(place) = self.places.get_mut(at) else { return };
                *place = Place { session, device: hello.device, told: Told::Aside };
                if hello.capabilities & capability::COMMANDS != 0 {
                    place.told = Told::Settled;
                    // Whoever was stopped in an earlier session learns that it is over, too.
                    if self.word != StopWord::default() {
                        self.concern(at, Told::WaitingLate);
                    }
                }
            }
            SessionEvent::Closed { session, .. } => {
                let place = self.places.get_mut(session.place());
                if let Some(place) = place.filter(|place| place.session == session) {
                    self.tally.gone += u64::from(place.told.waits());
                    place.told = Told::Aside;
                }
            }
            SessionEvent::Opened { .. } | SessionEvent::Failed { .. } => {}
        }
    }

    fn concern(&mut self, at: usize, told: Told) {
        self.places[at].told = told;
        self.tally.concerned += 1;
        self.marks.set(at);
    }

    /// Takes a new request: everybody shall be told.
    pub(super) fn set(&mut self, word: StopWord, asked_ns: u64) {
        if word == self.word {
            return;
        }
        (self.word, self.asked_ns, self.tally) = (word, asked_ns, StopTally::default());
        for at in 0..self.places.len() {
            if self.places[at].told != Told::Aside {
                self.concern(at, Told::Waiting);
            }
        }
    }

    /// Marks those again that have not answered for too long.
    fn handle_timeouts(&mut self, tick: u64) {
        while let Some(&(due_tick, at)) = self.asked_again.front()
            && due_tick <= tick
        {
            self.asked_again.pop_front();
            if self.places[at as usize].told.waits() {
                self.marks.set(at as usize);
            }
        }
    }

    /// The next place of a session that shall be told.
    fn poll(&mut self) -> Option<usize> {
        if self.asked_again.len() == self.asked_again.capacity() {
            return None;
        }
        let end = self.places.len();
        loop {
            let at = self.marks.pop_below(end)?;
            if self.places[at].told.waits() {
                return Some(at);
            }
        }
    }

    /// The request that tells the session of a place, which is asked again if it does not answer.
    fn tell(&mut self, at: usize, tick: u64, now_ns: u64) -> Outbound {
        self.asked_again.push_back((tick + self.again_ticks, at as u32));
        let Place { session, device, .. } = self.places[at];
        let operation = if self.is_stopped() { Operation::Stop } else { Operation::Clear };
        let reading = Reading {
            device,
            sensor_id: 0,
            value: 0.0,
            ts_us: now_ns / 1000,
            seq: self.word.0 as u32,
            sensor_type: SensorType::Generic,
        };
        let request = Command::request(Record::encode(&reading), operation);
        Outbound::Command { session, request, tag: STOP_TAG | at as u32 }
    }

    pub(super) fn save(&self) -> SavedStops {
        let places = self.places.iter().enumerate().filter(|(_, of)| of.told != Told::Aside);
        SavedStops {
            word: self.word.0,
            asked_ns: self.asked_ns,
            places: places.map(|(at, of)| (at, of.session.0, of.device.0, of.told)).collect(),
            tally: self.tally,
        }
    }

    /// Takes the place of what was saved. False where there is no such place.
    pub(super) fn restore(&mut self, saved: &SavedStops) -> bool {
        self.word = StopWord(saved.word);
        (self.asked_ns, self.tally) = (saved.asked_ns, saved.tally);
        saved.places.iter().all(|&(at, session, device, told)| {
            let place = Place { session: SessionId(session), device: DeviceId(device), told };
            self.places.get_mut(at).map(|to| *to = place).is_some()
        })
    }

    /// Takes an answer, and gives the time from the request to it, in nanoseconds, when it is the one waited for, of a session that
    /// was there when it was asked for.
    pub(super) fn handle_end(&mut self, end: &Slot) -> Option<u64> {
        let place = self.places.get_mut((end.hint & !STOP_TAG) as usize)?;
        let record = Record::from_bytes(end.record);
        let mine = place.session.0 == end.session && record.seq() == self.word.0 as u32;
        if !mine || !place.told.waits() || end.flags & slot::FAILED != 0 {
            return None;
        }
        let told = std::mem::replace(&mut place.told, Told::Settled);
        let status = Command::decode(&record).ok().and_then(|ack| ack.status());
        if status == Some(Status::Ok) {
            self.tally.acknowledged += 1;
        } else {
            self.tally.refused += 1;
        }
        (told == Told::Waiting).then(|| end.recv_ns.saturating_sub(self.asked_ns))
    }
}

impl Plant {
    /// Looks at the switch, and tells those who have to be told.
    pub(super) fn serve_stop(
        &mut self,
        lanes: &mut Lanes,
        tick: u64,
        clock: &mut dyn FnMut() -> u64,
    ) {
        let Some(port) = &self.orders_port else { return };
        let (word, asked_ns) = port.stop();
        if word != self.stops.word()
            && let Some(tap) = &mut lanes.tap
        {
            tap.push_stop(word, asked_ns);
        }
        self.stops.set(word, asked_ns);
        self.stops.handle_timeouts(tick);
        for _ in 0..TOLD_MAX {
            let Some(at) = self.stops.poll() else { break };
            let lane = lanes.lane_of(self.stops.places[at].session);
            // A worker that stands still is in the way of its own sessions only.
            if lane.stops_free() == 0 {
                self.stops.waiting.push(at as u32);
                continue;
            }
            lane.push_stop(self.stops.tell(at, tick, clock()));
        }
        while let Some(at) = self.stops.waiting.pop() {
            self.stops.marks.set(at as usize);
        }
    }

    /// Asks for a stop, which the next tick begins with. One that holds already stays as it is.
    pub(super) fn request_stop(&self, source: StopSource, now_ns: u64) {
        // In a replay nobody can be asked: the stop stands in the capture.
        if let Some(port) = &self.orders_port {
            port.request_stop(source, now_ns);
        }
    }

    pub(super) fn end_stop(&mut self, end: &Slot) {
        if let Some(ns) = self.stops.handle_end(end) {
            self.interval.record(Latency::StopToAck, ns);
        }
    }
}
