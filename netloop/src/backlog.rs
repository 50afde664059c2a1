//! Sessions that left something in QUIC, because the sink was full or a budget used up, in the order of their turns.
//!
//! T2 and the answers to commands have rings of their own, so they have lines of their own: room in one ring helps nobody
//! in the line of the other. While anybody stands in the line of T2, a session reads its T2 streams in its turn only, also
//! when something has just arrived for it: whoever was served is allowed to send more, and would take the room of those
//! who wait.

use std::collections::VecDeque;

use crate::{Engine, Now, Sink};

/// What a session left in QUIC; for a session in line, what it waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Answers to commands of this side.
    pub(crate) acks: bool,
    /// Records of T2.
    pub(crate) records: bool,
}

impl Left {
    pub(crate) const fn any(self) -> bool {
        self.acks || self.records
    }
}

/// The lines, each session at most once in either.
#[derive(Default)]
pub(crate) struct Backlog {
    acks: VecDeque<u32>,
    records: VecDeque<u32>,
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.acks.is_empty() && self.records.is_empty()
    }

    /// Whether sessions wait for their turn to have T2 read.
    pub(crate) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Puts a session at the end of the lines of what it has left. `waits` is what it stands in line for already.
    pub(crate) fn push(&mut self, place: u32, waits: &mut Left, left: Left) {
        if left.acks && !waits.acks {
            self.acks.push_back(place);
        }
        if left.records && !waits.records {
            self.records.push_back(place);
        }
        *waits = Left { acks: left.acks || waits.acks, records: left.records || waits.records };
    }

    /// Takes a session out of the lines that it stands in: its place is another one's next.
    pub(crate) fn forget(&mut self, place: u32, waits: &mut Left) {
        let waited = std::mem::take(waits);
        if waited.acks {
            self.acks.retain(|other| *other != place);
        }
        if waited.records {
            self.records.retain(|other| *other != place);
        }
    }
}

impl Engine {
    /// Tries again what the sink had no room for, each session once. Who finds no room keeps its place in line.
    pub(crate) fn poll_backlog<S: Sink>(&mut self, now: Now, sink: &mut S) {
        for _ in 0..self.backlog.acks.len() {
            if sink.free_t3() == 0 {
                break;
            }
            let Some(place) = self.backlog.acks.pop_front() else { break };
            if let Some(session) = self.session_at(place) {
                session.waits.acks = false;
                self.service(now, place, sink);
            }
        }
        for _ in 0..self.backlog.records.len() {
            if sink.free_t2() == 0 {
                break;
            }
            let Some(place) = self.backlog.records.pop_front() else { break };
            if let Some(session) = self.session_at(place) {
                session.waits.records = false;
                self.service_in_turn(now, place, sink);
            }
        }
    }
}
