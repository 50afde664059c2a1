//! Who sends next: answers to commands first, then every session in turn, then answers to strangers.
//!
//! Sessions that may have something to send stand in line; what is idle costs nothing. Within a session QUIC sends
//! acknowledgements, then DATAGRAM frames, then streams by their [`StreamPriority`]; how much of T1 can be in front of a command is
//! bounded by `SessionLimits::datagram_send_bytes`.

use std::collections::VecDeque;

use quinn_proto::{ConnectionHandle, Transmit};
use wire::CloseCode;

use crate::{CloseReason, Engine, Now, session::Phase};

/// Which stream of a session goes first when it cannot send everything at once. Streams of one priority take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum StreamPriority {
    /// Bulk that may wait for everything else.
    Background,
    /// After ordinary events.
    Low,
    /// Events: T2.
    #[default]
    Normal,
    /// Commands and their acks: T3.
    High,
    /// The hello and the totals, without which records cannot be understood; whatever has to stop a plant.
    Critical,
}

impl StreamPriority {
    /// As QUIC counts: what is larger goes first, 0 is a stream of which nothing was said.
    pub(crate) const fn of_stream(self) -> i32 {
        self as i32 - Self::Normal as i32
    }
}

/// In which line a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// It has a command, or the answer to one.
    Urgent,
    Usual,
}

/// Sessions that may have something to send, each at most once in either line.
#[derive(Default)]
pub(crate) struct Outgoing {
    urgent: VecDeque<u32>,
    usual: VecDeque<u32>,
    /// Datagrams that the first in line has sent in its turn.
    sent: usize,
    /// Answers that belong to no session, such as a Retry; bounded.
    responses: VecDeque<(Transmit, Vec<u8>)>,
}

/// More answers to strangers than this wait for nobody.
const RESPONSES_MAX: usize = 256;
/// Datagrams that a session sends before the next one has its turn: one full transmit.
const TURN_DATAGRAMS: usize = 44;
/// Bytes that the kernel takes in one call, whatever datagrams it shall make of them: what IPv4 holds. With more it takes none.
const TRANSMIT_BYTES_MAX: usize = 65_507;

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.usual.is_empty() && self.responses.is_empty()
    }

    pub(crate) fn respond(&mut self, transmit: Transmit, contents: &[u8]) {
        if self.responses.len() < RESPONSES_MAX {
            self.responses.push_back((transmit, contents.to_vec()));
        }
    }

    /// The session whose turn it is.
    fn first(&self) -> Option<(Rank, u32)> {
        let urgent = self.urgent.front().map(|place| (Rank::Urgent, *place));
        urgent.or_else(|| self.usual.front().map(|place| (Rank::Usual, *place)))
    }

    fn line(&mut self, rank: Rank) -> &mut VecDeque<u32> {
        match rank {
            Rank::Urgent => &mut self.urgent,
            Rank::Usual => &mut self.usual,
        }
    }
}

impl Engine {
    /// Writes the next transmit into `buffer`, which is cleared first: at most `segments_max` datagrams, and no more than the
    /// kernel takes in one call. Call until `None`.
    pub fn poll_transmit(
        &mut self,
        now: Now,
        segments_max: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        buffer.clear();
        while let Some((rank, place)) = self.outgoing.first() {
            if self.outgoing.sent >= TURN_DATAGRAMS {
                self.outgoing.sent = 0;
                self.outgoing.line(rank).pop_front();
                // Whoever had a command has sent it by now; what is left waits like that of others.
                self.leave_line(rank, place);
                self.mark_dirty(place);
                continue;
            }
            if let Some(transmit) = self.transmit_of(now, place, segments_max, buffer) {
                let segment_bytes = transmit.segment_size.unwrap_or(transmit.size).max(1);
                self.outgoing.sent += transmit.size.div_ceil(segment_bytes);
                return Some(transmit);
            }
            self.outgoing.sent = 0;
            self.outgoing.line(rank).pop_front();
            self.leave_line(rank, place);
            self.settle(place);
        }
        let (transmit, contents) = self.outgoing.responses.pop_front()?;
        buffer.extend_from_slice(&contents);
        Some(transmit)
    }

    fn transmit_of(
        &mut self,
        now: Now,
        place: u32,
        segments_max: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let session = self.sessions[place as usize].as_mut()?;
        if session.phase == Phase::Finishing && session.poll_finish(now.instant) {
            self.handle_closed(now, place, CloseReason::Local(CloseCode::Done));
        }
        let session = self.sessions[place as usize].as_mut()?;
        // The last of these events frees the place of the session, which is still in use while it has ended with a rest.
        while session.ended.is_none()
            && let Some(event) = session.connection.poll_endpoint_events()
        {
            let handle = ConnectionHandle(place as usize);
            if let Some(event) = self.endpoint.handle_event(handle, event) {
                session.connection.handle_event(event);
            }
        }
        let fitting = TRANSMIT_BYTES_MAX / usize::from(session.connection.current_mtu());
        let segments = segments_max.min(fitting).max(1);
        session.connection.poll_transmit(now.instant, segments, buffer)
    }

    fn leave_line(&mut self, rank: Rank, place: u32) {
        if let Some(session) = self.session_at(place) {
            match rank {
                Rank::Urgent => session.urgent = false,
                Rank::Usual => session.dirty = false,
            }
        }
    }

    /// Nothing more to send for now: arms the timer, or frees the place of a session that is gone.
    fn settle(&mut self, place: u32) {
        let Some(session) = self.sessions[place as usize].as_mut() else { return };
        if session.connection.is_drained() {
            if session.ended.is_some() {
                return;
            }
            self.sessions[place as usize] = None;
            self.arrivals.forget(place);
        } else if let Some(deadline) = session.poll_timeout() {
            self.wheel.arm(place, deadline);
        }
    }

    /// Puts a session in line.
    pub(crate) fn mark_dirty(&mut self, place: u32) {
        if let Some(session) = self.sessions[place as usize].as_mut()
            && !session.dirty
        {
            session.dirty = true;
            self.outgoing.usual.push_back(place);
        }
    }

    /// Puts a session in line that has a command or the answer to one.
    pub(crate) fn mark_urgent(&mut self, place: u32) {
        if let Some(session) = self.sessions[place as usize].as_mut()
            && !session.urgent
        {
            session.urgent = true;
            self.outgoing.urgent.push_back(place);
        }
    }
}
