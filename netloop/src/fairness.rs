//! What arrived, given to the sessions in turns: deficit round robin (Shreedhar and Varghese, 1995).
//!
//! Each session with datagrams waiting is served one quantum in each round, so that a device that sends a hundred times as
//! much as another is in front of it by one quantum at most. Datagrams of one session stay in order, and are given to it
//! together, while its state is in the cache. Sessions whose handshake is not done stand in a line of their own, which is
//! served after the other one and in smaller portions, because a step of a handshake costs as much as a hundred records.

use std::{collections::VecDeque, time::Instant};

use quinn_proto::ConnectionEvent;

use crate::{Engine, Limit, Now, Sink, session::Phase};

/// Datagrams of known sessions that were not given to them yet.
pub(crate) struct Arrivals {
    items: Vec<Item>,
    /// The first of the items that are not used.
    free: u32,
    /// By the place of a session.
    queues: Vec<Queue>,
    /// Sessions with something waiting, in the order of their turns: those that are open, and those in their handshake.
    lines: [VecDeque<u32>; 2],
    /// Datagrams of handshakes.
    of_handshakes: usize,
}

/// In which line a session waits for what arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Open,
    Handshake,
}

struct Item {
    next: u32,
    bytes: u32,
    recv_ns: u64,
    line: Line,
    event: Option<ConnectionEvent>,
}

/// One session's datagrams, as a list of items.
#[derive(Clone, Copy)]
struct Queue {
    head: u32,
    tail: u32,
    /// What it may still take in this round; less than nothing when its last datagram was larger than what was left.
    deficit: i32,
}

/// What one datagram brings to its session.
pub(crate) struct Arrived {
    pub(crate) bytes: usize,
    pub(crate) recv_ns: u64,
    pub(crate) event: ConnectionEvent,
}

const NONE: u32 = u32::MAX;
/// What a session takes in one round: sixteen datagrams of full size.
const QUANTUM: i32 = 16 * COST_MIN as i32;
/// A datagram costs at least as much as one of this many bytes: its protocol costs more than its bytes do.
const COST_MIN: u32 = 1500;
/// Datagrams of handshakes that may wait: a client's whole flight for each that may be under way.
const HANDSHAKE_DATAGRAMS_MAX: usize = 4096;

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            free: NONE,
            queues: Vec::new(),
            lines: Default::default(),
            of_handshakes: 0,
        }
    }
}

impl Arrivals {
    /// Keeps a datagram of a session. False when it is one too many of handshakes, and forgotten.
    pub(crate) fn push(&mut self, place: u32, line: Line, arrived: Arrived) -> bool {
        if line == Line::Handshake {
            if self.of_handshakes >= HANDSHAKE_DATAGRAMS_MAX {
                return false;
            }
            self.of_handshakes += 1;
        }
        if self.queues.len() <= place as usize {
            let empty = Queue { head: NONE, tail: NONE, deficit: 0 };
            self.queues.resize(place as usize + 1, empty);
        }
        let Arrived { bytes, recv_ns, event } = arrived;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let at = self.keep(Item { next: NONE, bytes, recv_ns, line, event: Some(event) });
        let queue = &mut self.queues[place as usize];
        if queue.head == NONE {
            *queue = Queue { head: at, tail: at, deficit: 0 };
            self.lines[line as usize].push_back(place);
        } else {
            self.items[queue.tail as usize].next = at;
            queue.tail = at;
        }
        true
    }

    fn keep(&mut self, item: Item) -> u32 {
        let at = self.free;
        if let Some(free) = self.items.get_mut(at as usize) {
            self.free = free.next;
            *free = item;
            return at;
        }
        self.items.push(item);
        self.items.len() as u32 - 1
    }

    /// True while handshakes wait for their turns.
    pub(crate) fn has_handshakes(&self) -> bool {
        !self.lines[Line::Handshake as usize].is_empty()
    }

    /// Begins the turn of the next session of a line.
    fn next_turn(&mut self, line: Line) -> Option<u32> {
        let place = self.lines[line as usize].pop_front()?;
        self.queues[place as usize].deficit += QUANTUM;
        Some(place)
    }

    /// The next datagram of the session, as long as its turn lasts.
    fn pop(&mut self, place: u32) -> Option<Arrived> {
        let queue = &mut self.queues[place as usize];
        if queue.deficit <= 0 {
            return None;
        }
        let at = queue.head;
        let item = self.items.get_mut(at as usize)?;
        queue.head = std::mem::replace(&mut item.next, self.free);
        self.free = at;
        queue.deficit -= item.bytes.max(COST_MIN) as i32;
        self.of_handshakes -= usize::from(item.line == Line::Handshake);
        let event = item.event.take()?;
        Some(Arrived { bytes: item.bytes as usize, recv_ns: item.recv_ns, event })
    }

    /// When the datagram was received that [`Self::pop`] would give.
    fn next_recv_ns(&self, place: u32) -> Option<u64> {
        let queue = &self.queues[place as usize];
        let item = self.items.get(queue.head as usize).filter(|_| queue.deficit > 0)?;
        Some(item.recv_ns)
    }

    /// Forgets what waits for a session that is gone: its place is another one's next.
    pub(crate) fn forget(&mut self, place: u32) {
        if let Some(queue) = self.queues.get_mut(place as usize) {
            queue.deficit = i32::MAX;
            while self.pop(place).is_some() {}
            self.queues[place as usize].deficit = 0;
        }
    }

    /// Ends a turn. True when the session has more, and is in line again.
    fn end_turn(&mut self, place: u32, line: Line) -> bool {
        let more = self.queues[place as usize].head != NONE;
        if more {
            self.lines[line as usize].push_back(place);
        }
        more
    }
}

/// What a session had of the T1 ring lately. Its last part is kept for those that send moderately, so that one session
/// that floods the ring sheds its own records and not those of others.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Share {
    /// Number of the span of time.
    span: u64,
    records: usize,
}

/// The span in which a share is counted.
const SHARE_SPAN_NS: u64 = 10_000_000;
/// Records of a session in that span that may use the whole ring: 6,400 a second.
const SHARE_RECORDS: usize = 64;

impl Share {
    /// How many of `wish` records the session may push.
    #[inline]
    pub(crate) fn room<S: Sink>(&mut self, wish: usize, unix_ns: u64, sink: &S) -> usize {
        let span = unix_ns / SHARE_SPAN_NS;
        if span != self.span {
            *self = Self { span, records: 0 };
        }
        self.records += wish;
        if self.records <= SHARE_RECORDS { wish } else { sink.room_t1(wish) }
    }
}

impl Engine {
    /// Gives the open sessions what arrived, round by round, and moves what they received into the sink.
    pub(crate) fn poll_arrived<S: Sink>(&mut self, now: Now, sink: &mut S) {
        while self.poll_line(now, Line::Open, sink) {}
    }

    /// Gives so many sessions what arrived for their handshakes.
    pub(crate) fn poll_handshakes<S: Sink>(&mut self, now: Now, turns_max: usize, sink: &mut S) {
        for _ in 0..turns_max {
            if !self.poll_line(now, Line::Handshake, sink) {
                return;
            }
        }
    }

    /// One turn of the first session of a line; false when there is none.
    fn poll_line<S: Sink>(&mut self, now: Now, line: Line, sink: &mut S) -> bool {
        let Some(place) = self.arrivals.next_turn(line) else { return false };
        if let Some(next) = self.arrivals.lines[line as usize].front() {
            self.prefetch_session(*next);
        }
        self.feed(now, place, sink);
        self.service(now, place, sink);
        let line = self.line_of(place);
        self.tally.rounds += u64::from(self.arrivals.end_turn(place, line));
        true
    }

    /// Where a session waits for its turn. A client has nobody whom its handshakes could hold up.
    pub(crate) fn line_of(&self, place: u32) -> Line {
        let session = self.sessions.get(place as usize).and_then(Option::as_ref);
        let begins = session.is_some_and(|session| session.phase == Phase::Handshake);
        if begins && self.client.is_none() { Line::Handshake } else { Line::Open }
    }

    /// Gives a session the datagrams of its turn. Its DATAGRAM queue is drained before the receive time changes, so that
    /// each record keeps its own, and before the queue overflows, which QUIC does in silence.
    fn feed<S: Sink>(&mut self, now: Now, place: u32, sink: &mut S) {
        while let Some(Arrived { bytes, recv_ns, event }) = self.arrivals.pop(place) {
            if !self.admit_datagram(now.instant, place, bytes) {
                continue;
            }
            let mut fed_bytes = 0;
            if let Some(session) = self.session_at(place) {
                session.recv_ns = recv_ns;
                session.peer.heard = now.instant;
                session.fed_bytes += bytes;
                fed_bytes = session.fed_bytes;
                session.connection.handle_event(event);
            }
            let changes = self.arrivals.next_recv_ns(place).is_some_and(|next| next != recv_ns);
            if changes || fed_bytes >= self.limits.datagram_buffer_bytes / 4 {
                self.drain_datagrams(now, place, sink);
            }
        }
    }

    /// True unless the address of the session sends faster than it may. The datagram is ignored then, unread, and QUIC takes
    /// it for lost: what is reliable comes again, and the sender slows down.
    fn admit_datagram(&mut self, now: Instant, place: u32, bytes: usize) -> bool {
        if !self.addresses.limits_rates() {
            return true;
        }
        let session = self.sessions.get(place as usize).and_then(Option::as_ref);
        let Some(id) = session.and_then(|session| session.address) else { return true };
        let admitted = self.addresses.admit_datagram(id, now, bytes);
        if !admitted {
            self.tally.count(Limit::AddressDatagrams);
        }
        admitted
    }
}
