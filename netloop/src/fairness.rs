//! What arrived, given to the sessions in turns: deficit round robin (Shreedhar and Varghese, 1995).
//!
//! Each session with datagrams waiting is served one quantum in each round, so that a device that sends a hundred times as
//! much as another is in front of it by one quantum at most. Datagrams of one session stay in order, and are given to it
//! together, while its state is in the cache.

use std::{collections::VecDeque, time::Instant};

use quinn_proto::ConnectionEvent;

use crate::{Engine, Limit, Now, Sink};

/// Datagrams of known sessions that were not given to them yet.
#[derive(Default)]
pub(crate) struct Arrivals {
    items: Vec<Item>,
    /// By the place of a session.
    queues: Vec<Queue>,
    /// Sessions with something waiting, in the order of their turns.
    turns: VecDeque<u32>,
}

struct Item {
    next: u32,
    bytes: u32,
    recv_ns: u64,
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

impl Arrivals {
    pub(crate) fn push(&mut self, place: u32, bytes: usize, recv_ns: u64, event: ConnectionEvent) {
        if self.queues.len() <= place as usize {
            let empty = Queue { head: NONE, tail: NONE, deficit: 0 };
            self.queues.resize(place as usize + 1, empty);
        }
        let at = self.items.len() as u32;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.items.push(Item { next: NONE, bytes, recv_ns, event: Some(event) });
        let queue = &mut self.queues[place as usize];
        if queue.head == NONE {
            *queue = Queue { head: at, tail: at, deficit: 0 };
            self.turns.push_back(place);
        } else {
            self.items[queue.tail as usize].next = at;
            queue.tail = at;
        }
    }

    /// Begins the turn of the next session.
    fn next_turn(&mut self) -> Option<u32> {
        let Some(place) = self.turns.pop_front() else {
            self.items.clear();
            return None;
        };
        self.queues[place as usize].deficit += QUANTUM;
        Some(place)
    }

    /// The next datagram of the session, as long as its turn lasts.
    fn pop(&mut self, place: u32) -> Option<Arrived> {
        let queue = &mut self.queues[place as usize];
        if queue.deficit <= 0 {
            return None;
        }
        let item = self.items.get_mut(queue.head as usize)?;
        queue.head = item.next;
        queue.deficit -= item.bytes.max(COST_MIN) as i32;
        let event = item.event.take()?;
        Some(Arrived { bytes: item.bytes as usize, recv_ns: item.recv_ns, event })
    }

    /// When the datagram was received that [`Self::pop`] would give.
    fn next_recv_ns(&self, place: u32) -> Option<u64> {
        let queue = &self.queues[place as usize];
        let item = self.items.get(queue.head as usize).filter(|_| queue.deficit > 0)?;
        Some(item.recv_ns)
    }

    /// Ends a turn. True when the session has more, and is in line again.
    fn end_turn(&mut self, place: u32) -> bool {
        let more = self.queues[place as usize].head != NONE;
        if more {
            self.turns.push_back(place);
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
    /// Gives the sessions what arrived, round by round, and moves what they received into the sink.
    pub(crate) fn poll_arrived<S: Sink>(&mut self, now: Now, sink: &mut S) {
        while let Some(place) = self.arrivals.next_turn() {
            self.feed(now, place, sink);
            self.service(now, place, sink);
            self.tally.rounds += u64::from(self.arrivals.end_turn(place));
        }
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
