//! Who is let in, how fast, and what the others are told. PROTOCOL.md#admission.
//!
//! Established sessions come first: a packet that may begin a handshake waits in a bounded queue until the records of the
//! turn have moved, and then only so many are looked at, because each costs the derivation of keys; and only so many
//! handshakes take a step in a turn, because a step costs a signature or the verification of a certificate. Under load an address
//! has to prove that it is there before anything is kept for it, so that invented sources fill no table. What passes waits
//! for its turn at a configured rate.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;
use quinn_proto::{ConnectionId, DatagramEvent, Incoming, ServerConfig, crypto};
use wire::CloseCode;

use crate::{
    CloseReason, Datagram, Engine, HandshakeLimits, Limit, Now, Sink,
    addresses::{AddressId, Held},
    fairness::Arrived,
    rate::{Rate, RateLimit},
    session::{Phase, Session, close_reason},
};

/// Handshakes from the first packet to the last, before there is a session.
pub(crate) struct Admission {
    limits: HandshakeLimits,
    accepting: bool,
    /// Packets that may begin a handshake, not looked at yet.
    initials: VecDeque<Datagram>,
    /// Handshakes that may begin, in the order in which they came.
    waiting: VecDeque<Waiting>,
    /// The ids by which their peers call.
    called: HashSet<ConnectionId>,
    rate: Rate,
    limit: RateLimit,
    /// Begun, and neither done nor failed.
    pub(crate) under_way: usize,
    pub(crate) begin: Instant,
    /// A client has none.
    doors: Option<Doors>,
}

/// The same configuration twice: `closed` lets nobody in.
struct Doors {
    open: Arc<ServerConfig>,
    closed: Arc<ServerConfig>,
}

/// Where a datagram went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Connection,
    /// It belongs to no connection, and whoever sent it is answered or let in.
    Answered,
    /// It belongs to nobody, or to a handshake that waits.
    Nowhere,
}

struct Waiting {
    incoming: Incoming,
    /// By which its peer calls.
    id: Option<ConnectionId>,
    address: Option<AddressId>,
}

/// Packets that wait to be looked at: what comes between two turns of a busy worker at fifty thousand a second, twice.
const INITIALS_MAX: usize = 256;
/// Packets looked at in one turn that belong to no handshake under way: about 5 us each.
const LOOKS_MAX: usize = 32;
/// Handshakes that wait for the rate: a second at the default rate, with 2 KiB each.
const WAITING_MAX: usize = 2048;
/// QUIC keeps further packets of handshakes that wait, within this for each and for all.
const EARLY_BYTES: (u64, u64) = (4 << 10, 1 << 20);
/// The longest id (RFC 9000, section 17.2).
const ID_BYTES_MAX: usize = 20;
/// Handshakes that QUIC has to remember because nobody has decided about them.
const UNDECIDED_MAX: usize = WAITING_MAX + LOOKS_MAX;

/// What becomes of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    Retry,
    Refuse(Limit),
    Ignore(Limit),
}

impl Admission {
    pub(crate) fn new(limits: HandshakeLimits, now: Instant, server: Option<ServerConfig>) -> Self {
        // A burst of a twentieth of a second: a few devices that boot together need not wait.
        let limit = RateLimit::new(limits.per_s.into(), u64::from(limits.per_s.div_ceil(20)));
        Self {
            limits,
            accepting: true,
            initials: VecDeque::new(),
            waiting: VecDeque::new(),
            called: HashSet::new(),
            rate: Rate::new(now),
            limit,
            under_way: 0,
            begin: now,
            doors: server.map(Doors::new),
        }
    }

    /// What an endpoint begins with.
    pub(crate) fn closed(&self) -> Option<Arc<ServerConfig>> {
        self.doors.as_ref().map(|doors| Arc::clone(&doors.closed))
    }

    /// False once no further session is wanted.
    pub(crate) const fn is_accepting(&self) -> bool {
        self.accepting
    }

    /// Lets a handshake wait.
    fn push(&mut self, waiting: Waiting) {
        self.called.extend(waiting.id);
        self.waiting.push_back(waiting);
    }

    /// The next handshake that waits.
    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        if let Some(id) = waiting.id {
            self.called.remove(&id);
        }
        Some(waiting)
    }

    /// When there is something to do; in the past when it is now.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if !self.initials.is_empty() {
            return Some(self.begin);
        }
        let may_begin = !self.waiting.is_empty() && self.under_way < self.limits.at_once_max;
        may_begin.then(|| self.rate.next(&self.limit).unwrap_or(self.begin))
    }
}

impl Doors {
    fn new(mut config: ServerConfig) -> Self {
        let (early_bytes, early_bytes_all) = EARLY_BYTES;
        config
            .max_incoming(UNDECIDED_MAX)
            .incoming_buffer_size(early_bytes)
            .incoming_buffer_size_total(early_bytes_all);
        let mut closed = config.clone();
        closed.max_incoming(0);
        Self { open: Arc::new(config), closed: Arc::new(closed) }
    }
}

/// Whether a packet may begin a handshake or carry its early data: a long header of the type Initial or 0-RTT (RFC 9000,
/// sections 17.2.2 and 17.2.3). Early data waits with its Initial, or it would come before it.
fn is_first(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| first & 0xa0 == 0x80)
}

/// The id that such a packet calls.
fn called_id(payload: &[u8]) -> Option<ConnectionId> {
    if !is_first(payload) {
        return None;
    }
    let (&length, rest) = payload.get(5..)?.split_first()?;
    let id = rest.get(..usize::from(length)).filter(|id| id.len() <= ID_BYTES_MAX)?;
    Some(ConnectionId::new(id))
}

fn is_early_data(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| first & 0xb0 == 0x90)
}

impl Engine {
    /// Keeps a packet that may begin a handshake for later, unless it belongs to one that is under way: QUIC could not read
    /// the packets behind it; or to one that waits: QUIC keeps it, once. Gives back every other.
    pub(crate) fn defer_initial(&mut self, now: Now, datagram: Datagram) -> Option<Datagram> {
        if self.client.is_some() || !is_first(&datagram.payload) {
            return Some(datagram);
        }
        let waits =
            called_id(&datagram.payload).is_some_and(|id| self.admission.called.contains(&id));
        // A copy, so that a packet that waits pins no receive buffer.
        let room = waits || self.admission.initials.len() < INITIALS_MAX;
        let kept = room.then(|| BytesMut::from(&datagram.payload[..]));
        let Datagram { remote, local_ip, ecn, recv_ns, .. } = datagram;
        if !waits && self.route(now, datagram) != Route::Nowhere {
            return None;
        }
        let kept = kept.map(|payload| Datagram { remote, local_ip, ecn, payload, recv_ns });
        match kept {
            Some(kept) if waits => drop(self.route(now, kept)),
            Some(kept) => self.admission.initials.push_back(kept),
            None => self.tally.count(Limit::Initials),
        }
        None
    }

    /// Looks at packets that wait, and begins handshakes, within the budgets of a turn.
    pub(crate) fn admit<S: Sink>(&mut self, now: Now, sink: &mut S) {
        self.open_door(true);
        let mut looks = 0;
        while looks < LOOKS_MAX
            && let Some(datagram) = self.admission.initials.pop_front()
        {
            // QUIC keeps early data of a handshake that waits, and says nothing about it.
            let early = is_early_data(&datagram.payload) && !self.admission.waiting.is_empty();
            let route = self.route(now, datagram);
            looks += usize::from(route != Route::Connection);
            self.tally.garbage += u64::from(route == Route::Nowhere && !early);
        }
        self.open_door(false);
        self.begin_waiting(now, sink);
        self.poll_handshakes(now, self.admission.limits.turn_max, sink);
        let left = !self.admission.initials.is_empty()
            || !self.admission.waiting.is_empty()
            || self.arrivals.has_handshakes();
        self.tally.handshakes_waited += u64::from(left);
        self.poll_arrived(now, sink);
    }

    /// QUIC derives no keys for a packet that is not from a connection, while it believes to have too many of them.
    fn open_door(&mut self, open: bool) {
        if let Some(doors) = &self.admission.doors {
            let config = if open { &doors.open } else { &doors.closed };
            self.endpoint.set_server_config(Some(Arc::clone(config)));
        }
    }

    /// Lets QUIC find whom a datagram belongs to.
    pub(crate) fn route(&mut self, now: Now, datagram: Datagram) -> Route {
        let Datagram { remote, local_ip, ecn, payload, recv_ns } = datagram;
        let (bytes, called) = (payload.len(), called_id(&payload));
        self.scratch.clear();
        match self.endpoint.handle(now.instant, remote, local_ip, ecn, payload, &mut self.scratch) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let place = handle.0 as u32;
                let line = self.line_of(place);
                if !self.arrivals.push(place, line, Arrived { bytes, recv_ns, event }) {
                    self.tally.count(Limit::Initials);
                }
                Route::Connection
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.judge(incoming, called);
                Route::Answered
            }
            Some(DatagramEvent::Response(transmit)) => {
                // Version negotiation or a stateless reset: it belongs to no session, and opens none.
                self.tally.garbage += 1;
                self.respond(transmit);
                Route::Answered
            }
            None => Route::Nowhere,
        }
    }

    fn judge(&mut self, incoming: Incoming, id: Option<ConnectionId>) {
        let address = incoming.remote_address().ip();
        let verdict = self.verdict(&incoming, self.addresses.held(address));
        let transmit = match verdict {
            Verdict::Wait => {
                // Only an address that is there gets an entry; the others count when their handshake has proved it.
                let address = incoming.remote_address_validated().then(|| {
                    let id = self.addresses.enter(address);
                    self.addresses.held_mut(id).handshakes += 1;
                    id
                });
                return self.admission.push(Waiting { incoming, id, address });
            }
            Verdict::Retry => {
                self.tally.count(Limit::Unproven);
                let retry = self.endpoint.retry(incoming, &mut self.scratch);
                retry.expect("it may be retried because the verdict has asked")
            }
            Verdict::Refuse(limit) => {
                self.tally.count(limit);
                self.endpoint.refuse(incoming, &mut self.scratch)
            }
            Verdict::Ignore(limit) => {
                self.tally.count(limit);
                return self.endpoint.ignore(incoming);
            }
        };
        self.respond(transmit);
    }

    fn verdict(&self, incoming: &Incoming, held: Held) -> Verdict {
        let Admission { limits, accepting, waiting, under_way, .. } = &self.admission;
        let address = &self.limits.address;
        let taken = self.endpoint.open_connections() + waiting.len();
        if !accepting || taken >= self.limits.sessions_max {
            return Verdict::Refuse(Limit::Sessions);
        }
        let sessions_full = (held.sessions + held.handshakes) as usize >= address.sessions_max;
        let handshakes_full = held.handshakes as usize >= address.handshakes_max;
        let crowded = under_way + waiting.len() >= limits.retry_from;
        let unproven = !incoming.remote_address_validated() && incoming.may_retry();
        // An address that is said to be full proves itself first: else anybody could have it refused.
        if unproven && (crowded || sessions_full || handshakes_full) {
            Verdict::Retry
        } else if sessions_full {
            Verdict::Refuse(Limit::AddressSessions)
        } else if handshakes_full {
            Verdict::Refuse(Limit::AddressHandshakes)
        } else if waiting.len() >= WAITING_MAX {
            Verdict::Ignore(Limit::Handshakes)
        } else {
            Verdict::Wait
        }
    }

    fn begin_waiting<S: Sink>(&mut self, now: Now, sink: &mut S) {
        for _ in 0..self.admission.limits.turn_max {
            let Admission { limits, rate, limit, waiting, under_way, .. } = &mut self.admission;
            let full = *under_way >= limits.at_once_max;
            if waiting.is_empty() || full || !rate.take(now.instant, 1, limit) {
                return;
            }
            if let Some(Waiting { incoming, address, .. }) = self.admission.pop() {
                self.begin(now, incoming, address, sink);
            }
        }
    }

    fn begin<S: Sink>(
        &mut self,
        now: Now,
        incoming: Incoming,
        address: Option<AddressId>,
        sink: &mut S,
    ) {
        self.scratch.clear();
        // Left alone, QUIC would judge it by what held when its first packet came.
        let config = self.admission.doors.as_ref().map(|doors| Arc::clone(&doors.open));
        match self.endpoint.accept(incoming, now.instant, &mut self.scratch, config) {
            Ok((handle, connection)) => {
                let id = self.insert(now, handle, connection);
                let place = self.own_place(id);
                self.admission.under_way += 1;
                if let Some(session) = self.session_at(place) {
                    session.address = address;
                }
                // Early data is there already.
                self.service(now, place, sink);
            }
            Err(error) => {
                self.count_failed_handshake(close_reason(&error.cause), false);
                self.forget_handshake(address);
                if let Some(transmit) = error.response {
                    self.respond(transmit);
                }
            }
        }
    }

    /// Counts a handshake that failed; one that was turned away has its reason in the counter of the refusal.
    pub(crate) const fn count_failed_handshake(&mut self, reason: CloseReason, turned_away: bool) {
        self.tally.handshakes_failed += 1;
        match reason {
            _ if turned_away => {}
            CloseReason::Tls(_) => self.tally.handshakes_tls += 1,
            CloseReason::Idle => self.tally.handshakes_timeout += 1,
            _ => self.tally.handshakes_other += 1,
        }
    }

    fn forget_handshake(&mut self, address: Option<AddressId>) {
        if let Some(id) = address {
            self.addresses.held_mut(id).handshakes -= 1;
            self.addresses.leave(id);
        }
    }

    /// A handshake is done. False when the address has more sessions than it may, and this one has to be closed.
    pub(crate) fn admit_session(&mut self, place: u32) -> bool {
        if self.client.is_some() {
            return true;
        }
        self.admission.under_way -= 1;
        let Some(session) = self.sessions[place as usize].as_mut() else { return true };
        let id = match session.address {
            Some(id) => {
                self.addresses.held_mut(id).handshakes -= 1;
                id
            }
            None => {
                let id = self.addresses.enter(session.remote().ip());
                self.addresses.held_mut(id).streams += session.streams_held;
                id
            }
        };
        session.address = Some(id);
        let held = self.addresses.held_mut(id);
        held.sessions += 1;
        let fits = held.sessions as usize <= self.limits.address.sessions_max;
        if !fits {
            self.tally.count(Limit::AddressSessionsOpened);
        }
        fits
    }

    /// A session or a handshake is over: what its address holds of it is given back.
    pub(crate) fn release(&mut self, place: u32, was: Phase) {
        if self.client.is_some() {
            return;
        }
        self.admission.under_way -= usize::from(was == Phase::Handshake);
        let Some(session) = self.sessions[place as usize].as_mut() else { return };
        self.streams -= session.streams_held as usize;
        let streams = std::mem::take(&mut session.streams_held);
        let Some(id) = session.address.take() else { return };
        let held = self.addresses.held_mut(id);
        held.streams -= streams;
        match was {
            Phase::Handshake => held.handshakes -= 1,
            _ => held.sessions -= 1,
        }
        self.addresses.leave(id);
    }

    /// Refuses every further handshake, those that wait, and commands of peers: an answer would come too late.
    pub fn stop_accepting(&mut self) {
        self.admission.accepting = false;
        while let Some(Waiting { incoming, address, .. }) = self.admission.pop() {
            self.forget_handshake(address);
            self.tally.count(Limit::Sessions);
            self.scratch.clear();
            let transmit = self.endpoint.refuse(incoming, &mut self.scratch);
            self.respond(transmit);
        }
    }

    /// From now on handshakes are made with `crypto`; sessions that are there stay.
    ///
    /// # Panics
    /// The engine has the client's role.
    pub(crate) fn replace_crypto(&mut self, crypto: Arc<dyn crypto::ServerConfig>) {
        let doors = self.admission.doors.as_mut().expect("only servers are renewed");
        let mut config = ServerConfig::clone(&doors.open);
        config.crypto = crypto;
        *doors = Doors::new(config);
        self.open_door(false);
    }

    /// Streams that a session may still open, and which limit says so.
    pub(crate) fn streams_left(&self, session: &Session) -> (usize, Limit) {
        let all = self.limits.streams_max.saturating_sub(self.streams);
        let Some(id) = session.address else { return (all, Limit::Streams) };
        let held = self.addresses.held_of(id).streams as usize;
        let own = self.limits.address.streams_max.saturating_sub(held);
        if own < all { (own, Limit::AddressStreams) } else { (all, Limit::Streams) }
    }

    /// Takes over how many streams a session holds now.
    pub(crate) fn count_streams(&mut self, place: u32) {
        let Some(session) = self.sessions[place as usize].as_mut() else { return };
        if self.client.is_some() || session.phase == Phase::Closed {
            return;
        }
        let now = session.inbound.len() as u32;
        let before = std::mem::replace(&mut session.streams_held, now);
        if now == before {
            return;
        }
        self.streams = self.streams + now as usize - before as usize;
        if let Some(id) = session.address {
            let held = self.addresses.held_mut(id);
            held.streams = held.streams + now - before;
        }
    }
}

/// What a session that does not fit is closed with.
pub(crate) const NO_ROOM: CloseCode = CloseCode::Limit;
