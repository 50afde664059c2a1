//! The engine: QUIC and the sessions as a pure state machine, for the server's and the client's role.
//!
//! Datagrams and `now` go in; transmits, records and events come out. There is no clock, no socket and no thread inside:
//! the same inputs in the same order give the same outputs, as far as the provider of TLS draws the same numbers. The
//! order of one turn is [`Engine::handle_datagram`] for all that arrived, [`Engine::poll`], [`Engine::handle_timeouts`], then
//! [`Engine::poll_transmit`] until it is empty.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    ClientConfig, ConnectionEvent, ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint,
    EndpointConfig, Incoming, ServerConfig, Transmit, VarInt, crypto,
};
use wire::{CloseCode, Hello, Record, Token};

use crate::{
    Answer, CloseReason, EngineTally, Naming, Now, Refusal, SessionEvent, SessionId, SessionLimits,
    Sink, WorkerNumber,
    audit::Audit,
    command::Commands,
    session::{Outcome, Phase, Service, Session},
    tokens::{WallTime, token_key},
    wheel::Wheel,
};

/// Sans-IO QUIC with the sessions of one role.
pub struct Engine {
    worker: WorkerNumber,
    pub(crate) endpoint: Endpoint,
    client: Option<Client>,
    wall: WallTime,
    limits: SessionLimits,
    pub(crate) sessions: Vec<Option<Box<Session>>>,
    generations: Vec<u16>,
    /// Datagrams of known sessions that were not given to them yet.
    arrived: Vec<Arrived>,
    /// Sessions that may have something to send, in no order; each at most once.
    dirty: Vec<u32>,
    /// Sessions that left something in QUIC because the sink was full.
    unfinished: VecDeque<u32>,
    wheel: Wheel,
    /// Kept between turns so that firing timers allocates nothing.
    due: Vec<u32>,
    commands: Commands,
    /// Answers that belong to no session, such as version negotiation; bounded.
    responses: VecDeque<(Transmit, Vec<u8>)>,
    scratch: Vec<u8>,
    events: VecDeque<SessionEvent>,
    pub(crate) tally: EngineTally,
    pub(crate) audit: Audit,
    keys_seed: u64,
    accepting: bool,
}

struct Client {
    config: ClientConfig,
    hello: Option<Hello>,
    token: Option<Token>,
}

struct Arrived {
    place: u32,
    bytes: usize,
    recv_ns: u64,
    event: ConnectionEvent,
}

/// What one received UDP payload comes with.
#[derive(Debug)]
pub struct Datagram {
    /// Who sent it.
    pub remote: SocketAddr,
    /// The local address that it was sent to, where the socket tells.
    pub local_ip: Option<IpAddr>,
    /// Its congestion mark.
    pub ecn: Option<EcnCodepoint>,
    /// The payload.
    pub payload: BytesMut,
    /// When the kernel received it, in unix nanoseconds.
    pub recv_ns: u64,
}

/// Why a client could not begin a session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The engine has the server's role.
    #[error("only a client engine connects")]
    NotAClient,
    /// The sessions are at their limit.
    #[error("the sessions are at their limit of {0}")]
    Limit(usize),
    /// QUIC refuses, for instance because the name of the server is not valid.
    #[error(transparent)]
    Quic(#[from] quinn_proto::ConnectError),
}

/// More stateless answers than this wait for nobody: they are answers to strangers.
const RESPONSES_MAX: usize = 256;
/// Commands of peers that may wait for their answer.
const COMMANDS_WAITING_MAX: usize = 4096;
/// Deadlines are kept to this grain.
const WHEEL_SLOT_NS: u64 = 50_000;

impl Engine {
    /// An engine that accepts sessions. `naming` makes its connection ids and key tables; the same one
    /// makes the same.
    #[must_use]
    pub fn server(
        crypto: Arc<dyn crypto::ServerConfig>,
        limits: SessionLimits,
        now: Now,
        naming: impl Into<Naming>,
    ) -> Self {
        let mut server = ServerConfig::with_crypto(crypto);
        server.transport_config(limits.transport()).max_incoming(limits.sessions_max.min(256));
        Self::new(Some(server), None, limits, now, naming.into())
    }

    /// An engine that opens sessions, each with `hello` if there is one.
    #[must_use]
    pub fn client(
        crypto: Arc<dyn crypto::ClientConfig>,
        hello: Option<Hello>,
        limits: SessionLimits,
        now: Now,
        naming: impl Into<Naming>,
    ) -> Self {
        let mut config = ClientConfig::new(crypto);
        config.transport_config(limits.transport());
        Self::new(None, Some(Client { config, hello, token: None }), limits, now, naming.into())
    }

    /// A client that proves by a token who it is, in each hello.
    ///
    /// # Panics
    /// The engine has the server's role.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.client.as_mut().expect("only clients show a token").token = Some(token);
        self
    }

    fn new(
        mut server: Option<ServerConfig>,
        mut client: Option<Client>,
        limits: SessionLimits,
        now: Now,
        naming: Naming,
    ) -> Self {
        let (seed, wall) = (naming.own_seed(), WallTime::default());
        wall.set(now.unix_ns);
        if let Some(server) = &mut server {
            server.token_key(token_key(&naming.seed)).time_source(Arc::new(wall.clone()));
        }
        if let Some(client) = &mut client {
            client.config.initial_dst_cid_provider(naming.first_ids());
        }
        let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &naming.seed);
        let mut config = EndpointConfig::new(Arc::new(reset_key));
        config.rng_seed(Some(seed)).cid_generator(move || Box::new(naming.generator()));
        config
            .max_udp_payload_size(limits.mtu_bytes.max(1472))
            .expect("at least 1200 bytes because of the maximum");
        let server = server.map(Arc::new);
        let keys_seed = u64::from_le_bytes(*seed.first_chunk().expect("8 of 32 bytes"));
        Self {
            worker: naming.worker,
            endpoint: Endpoint::new(Arc::new(config), server.clone(), true, Some(seed)),
            audit: Audit::new(server),
            client,
            wall,
            sessions: Vec::new(),
            generations: Vec::new(),
            arrived: Vec::new(),
            dirty: Vec::new(),
            unfinished: VecDeque::new(),
            wheel: Wheel::new(now.instant, WHEEL_SLOT_NS),
            due: Vec::new(),
            commands: Commands::new(COMMANDS_WAITING_MAX),
            responses: VecDeque::new(),
            scratch: Vec::new(),
            events: VecDeque::new(),
            tally: EngineTally::default(),
            keys_seed: keys_seed ^ 0x9e37_79b9_7f4a_7c15,
            accepting: true,
            limits,
        }
    }

    /// Begins a session with the server `name` at `remote`.
    ///
    /// # Errors
    /// The engine is a server, is at its limit, or QUIC refuses the name.
    pub fn connect(
        &mut self,
        now: Now,
        remote: SocketAddr,
        name: &str,
    ) -> Result<SessionId, ConnectError> {
        let client = self.client.as_ref().ok_or(ConnectError::NotAClient)?;
        if self.endpoint.open_connections() >= self.limits.sessions_max {
            return Err(ConnectError::Limit(self.limits.sessions_max));
        }
        let (handle, connection) =
            self.endpoint.connect(now.instant, client.config.clone(), remote, name)?;
        Ok(self.insert(handle, connection))
    }

    /// Takes one received UDP payload. Nothing reaches a session before [`Engine::poll`].
    pub fn handle_datagram(&mut self, now: Now, datagram: Datagram) {
        let Datagram { remote, local_ip, ecn, payload, recv_ns } = datagram;
        let bytes = payload.len();
        self.wall.set(now.unix_ns);
        self.tally.datagrams += 1;
        self.scratch.clear();
        let Some(event) =
            self.endpoint.handle(now.instant, remote, local_ip, ecn, payload, &mut self.scratch)
        else {
            self.tally.garbage += 1;
            return;
        };
        match event {
            DatagramEvent::ConnectionEvent(handle, event) => {
                let place = handle.0 as u32;
                self.arrived.push(Arrived { place, bytes, recv_ns, event });
            }
            DatagramEvent::NewConnection(incoming) => self.accept(now, incoming),
            DatagramEvent::Response(transmit) => {
                // Version negotiation or a stateless reset: it belongs to no session, and opens none.
                self.tally.garbage += 1;
                self.respond(transmit);
            }
        }
    }

    fn accept(&mut self, now: Now, incoming: Incoming) {
        let full = self.endpoint.open_connections() >= self.limits.sessions_max;
        if full || !self.accepting {
            self.tally.handshakes_refused += 1;
            let transmit = self.endpoint.refuse(incoming, &mut self.scratch);
            return self.respond(transmit);
        }
        match self.endpoint.accept(incoming, now.instant, &mut self.scratch, None) {
            Ok((handle, connection)) => {
                let id = self.insert(handle, connection);
                self.mark_dirty(self.own_place(id));
            }
            Err(error) => {
                self.tally.handshakes_failed += 1;
                if let Some(transmit) = error.response {
                    self.respond(transmit);
                }
            }
        }
    }

    fn respond(&mut self, transmit: Transmit) {
        if self.responses.len() < RESPONSES_MAX {
            let contents = self.scratch[..transmit.size].to_vec();
            self.responses.push_back((transmit, contents));
        }
    }

    fn insert(
        &mut self,
        handle: ConnectionHandle,
        connection: quinn_proto::Connection,
    ) -> SessionId {
        let place = handle.0;
        if place >= self.sessions.len() {
            self.sessions.resize_with(place + 1, || None);
            self.generations.resize(place + 1, 0);
        }
        // Twelve bits of generation: an id comes back after 4,095 sessions in the same place.
        self.generations[place] = self.generations[place] % 0xfff + 1;
        let id = SessionId::new(self.worker.shared_place(place), self.generations[place]);
        self.sessions[place] = Some(Box::new(Session::new(id, connection)));
        self.mark_dirty(place as u32);
        id
    }

    /// Gives the sessions what arrived, and moves what they received into the sink.
    pub fn poll<S: Sink>(&mut self, now: Now, sink: &mut S) {
        let mut arrived = std::mem::take(&mut self.arrived);
        let mut events = arrived.drain(..).peekable();
        while let Some(first) = events.next() {
            let place = first.place;
            let mut next = Some(first);
            // A run of datagrams of one session is given to it while its state is hot. Its DATAGRAM queue is drained
            // before the receive time changes, so that each record keeps its own, and before the queue overflows, which
            // QUIC does in silence.
            while let Some(Arrived { bytes, recv_ns, event, .. }) = next {
                let mut fed_bytes = 0;
                if let Some(session) = self.session_at(place) {
                    session.recv_ns = recv_ns;
                    session.fed_bytes += bytes;
                    fed_bytes = session.fed_bytes;
                    session.connection.handle_event(event);
                }
                next = events.next_if(|event| event.place == place);
                let changes = next.as_ref().is_some_and(|event| event.recv_ns != recv_ns);
                if changes || fed_bytes >= self.limits.datagram_buffer_bytes / 4 {
                    self.drain_datagrams(now, place, sink);
                }
            }
            self.service(now, place, sink);
        }
        drop(events);
        self.arrived = arrived;
        self.poll_unfinished(now, sink);
    }

    /// Tries again what the sink had no room for, each session once and in turn.
    fn poll_unfinished<S: Sink>(&mut self, now: Now, sink: &mut S) {
        for _ in 0..self.unfinished.len() {
            if sink.free_t2() == 0 && sink.free_t3() == 0 {
                return;
            }
            let Some(place) = self.unfinished.pop_front() else { return };
            if let Some(session) = self.session_at(place) {
                session.unfinished = false;
                self.service(now, place, sink);
            }
        }
    }

    fn drain_datagrams<S: Sink>(&mut self, now: Now, place: u32, sink: &mut S) {
        if let Some((session, mut service)) = self.service_of(now, place, sink) {
            session.drain_datagrams(&mut service);
        }
    }

    /// A session, and what it is lent while it is served.
    fn service_of<'a, S: Sink>(
        &'a mut self,
        now: Now,
        place: u32,
        sink: &'a mut S,
    ) -> Option<(&'a mut Session, Service<'a, S>)> {
        let session = self.sessions.get_mut(place as usize)?.as_deref_mut()?;
        let service = Service {
            sink,
            commands: &mut self.commands,
            keys_seed: self.keys_seed,
            keys_max: self.limits.keys_max,
            trust: &self.audit.trust,
            unix_ns: now.unix_ns,
        };
        Some((session, service))
    }

    fn service<S: Sink>(&mut self, now: Now, place: u32, sink: &mut S) {
        let Some((session, mut service)) = self.service_of(now, place, sink) else { return };
        let outcome = session.service(&mut service);
        let Some(session) = self.sessions[place as usize].as_deref_mut() else { return };
        let counted = std::mem::replace(&mut session.counted, session.tally);
        for ((total, after), before) in
            self.tally.tiers.iter_mut().zip(&session.tally).zip(&counted)
        {
            total.received += after.received - before.received;
            total.rejected += after.rejected - before.rejected;
            total.shed += after.shed - before.shed;
            total.decode_errors += after.decode_errors - before.decode_errors;
        }
        self.tally.no_handler += std::mem::take(&mut session.no_handler);
        self.tally.busy += std::mem::take(&mut session.busy);
        self.tally.bad_control += std::mem::take(&mut session.bad_control);
        for (total, forbidden) in self.tally.forbidden.iter_mut().zip(&mut session.forbidden) {
            *total += std::mem::take(forbidden);
        }
        self.tally.unfinished += u64::from(outcome.unfinished);
        if outcome.unfinished && !session.unfinished {
            session.unfinished = true;
            self.unfinished.push_back(place);
        }
        let id = session.id;
        self.mark_dirty(place);
        self.handle_outcome(place, &outcome);
        if let Some(code) = outcome.refused {
            self.close(now, id, code);
        }
        if let Some(refusal) = outcome.turned_away {
            self.turn_away(now, id, refusal);
        }
    }

    fn handle_outcome(&mut self, place: u32, outcome: &Outcome) {
        let Some(session) = self.sessions[place as usize].as_mut() else { return };
        let id = session.id;
        if outcome.opened {
            self.tally.opened += 1;
            self.audit.watch(session);
            let remote = session.remote();
            if let Some(client) = &self.client {
                session.open_control(client.hello.as_ref(), client.token.as_ref());
            }
            self.events.push_back(SessionEvent::Opened { session: id, remote });
        }
        if let Some(hello) = outcome.hello {
            self.events.push_back(SessionEvent::Hello { session: id, hello });
        }
        if let Some(refusal) = outcome.alert.and_then(Refusal::of_alert)
            && session.phase == Phase::Handshake
        {
            self.tally.handshakes_turned_away[refusal as usize] += 1;
        }
        if let Some(reason) = outcome.lost {
            self.handle_closed(place, reason);
        }
    }

    /// Tells that a session is over, once.
    fn handle_closed(&mut self, place: u32, reason: CloseReason) {
        let Some(session) = self.sessions[place as usize].as_mut() else { return };
        let id = session.id;
        let was = std::mem::replace(&mut session.phase, Phase::Closed);
        if was == Phase::Closed {
            return;
        }
        self.tally.shed_quic_datagrams += session.shed_quic_datagrams();
        self.commands.forget(id);
        if was == Phase::Handshake {
            self.tally.handshakes_failed += 1;
            self.tally.handshakes_tls += u64::from(matches!(reason, CloseReason::Tls(_)));
            self.tally.handshakes_timeout += u64::from(reason == CloseReason::Idle);
            self.events.push_back(SessionEvent::Failed { session: id, reason });
        } else {
            self.tally.closed += 1;
            let (tally, totals) = (session.tally, session.totals);
            self.events.push_back(SessionEvent::Closed { session: id, reason, tally, totals });
        }
    }

    /// Fires the timers that are due. Call it after [`Engine::poll`], with a `now` taken after the socket was drained.
    pub fn handle_timeouts<S: Sink>(&mut self, now: Now, sink: &mut S) {
        self.audit(now);
        let mut due = std::mem::take(&mut self.due);
        self.wheel.poll(now.instant, &mut |place| due.push(place));
        for place in due.drain(..) {
            let Some(session) = self.session_at(place) else { continue };
            match session.connection.poll_timeout() {
                // The wheel keeps the earliest deadline ever asked for; the true one may have moved on since.
                Some(deadline) if deadline > now.instant => self.wheel.arm(place, deadline),
                Some(_) => {
                    session.connection.handle_timeout(now.instant);
                    self.service(now, place, sink);
                }
                None => {}
            }
        }
        self.due = due;
    }

    /// The next instant at which [`Engine::handle_timeouts`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    /// Writes the next transmit into `buffer`, which is cleared first. Call until `None`.
    pub fn poll_transmit(
        &mut self,
        now: Now,
        segments_max: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Transmit> {
        buffer.clear();
        if let Some((transmit, contents)) = self.responses.pop_front() {
            buffer.extend_from_slice(&contents);
            return Some(transmit);
        }
        while let Some(&place) = self.dirty.last() {
            if let Some(transmit) = self.transmit_of(now, place, segments_max, buffer) {
                return Some(transmit);
            }
            self.dirty.pop();
            self.settle(place);
        }
        None
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
            self.handle_closed(place, CloseReason::Local(CloseCode::Done));
        }
        let session = self.sessions[place as usize].as_mut()?;
        while let Some(event) = session.connection.poll_endpoint_events() {
            let handle = ConnectionHandle(place as usize);
            if let Some(event) = self.endpoint.handle_event(handle, event) {
                session.connection.handle_event(event);
            }
        }
        session.connection.poll_transmit(now.instant, segments_max, buffer)
    }

    /// Nothing more to send for now: arms the timer, or frees the place of a session that is gone.
    fn settle(&mut self, place: u32) {
        let Some(session) = self.sessions[place as usize].as_mut() else { return };
        session.dirty = false;
        if session.connection.is_drained() {
            self.sessions[place as usize] = None;
        } else if let Some(deadline) = session.connection.poll_timeout() {
            self.wheel.arm(place, deadline);
        }
    }

    /// The next step in a session's life.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Puts back an event that its receiver had no room for.
    pub fn return_event(&mut self, event: SessionEvent) {
        self.events.push_front(event);
    }

    /// Counts since the engine began.
    #[must_use]
    pub const fn tally(&self) -> &EngineTally {
        &self.tally
    }

    /// Sessions that are established and not closed.
    #[must_use]
    pub const fn open_sessions(&self) -> u64 {
        self.tally.opened - self.tally.closed
    }

    /// True when a turn would have work even if nothing arrives.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || !self.responses.is_empty()
    }

    /// True when records wait in QUIC for room in the sink, or sessions to be verified again.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        !self.unfinished.is_empty() || self.audit.is_running()
    }

    /// Answers a command of the peer by its token.
    pub fn answer(&mut self, session: SessionId, token: u32, answer: Answer) {
        let Some(stream) = self.commands.remove(token, session) else { return };
        let Some(open) = self.session(session) else { return };
        match answer {
            Answer::Ack(ack) => open.write_ack(stream, &ack),
            Answer::Reset(code) => open.reset_command(stream, code),
            Answer::Later => return,
        }
        if matches!(answer, Answer::Reset(CloseCode::NoHandler)) {
            self.tally.no_handler += 1;
        }
        self.mark_dirty(self.own_place(session));
    }

    /// Opens a command to the peer; its end reaches the sink with `tag`.
    ///
    /// # Errors
    /// The session is not open, or the peer allows no further stream.
    pub fn open_command(
        &mut self,
        session: SessionId,
        request: Record,
        tag: u32,
    ) -> Result<(), crate::CommandError> {
        let open = self.session(session).ok_or(crate::CommandError::NotOpen)?;
        open.open_command(request, tag)?;
        self.mark_dirty(self.own_place(session));
        Ok(())
    }

    /// Where the session stands; `None` when it is gone.
    #[must_use]
    pub fn phase(&self, session: SessionId) -> Option<Phase> {
        let open = self.sessions.get(self.own_place(session) as usize)?.as_ref()?;
        (open.id == session).then_some(open.phase)
    }

    /// Closes a session at once with a reason that the peer is told.
    pub fn close(&mut self, now: Now, session: SessionId, code: CloseCode) {
        let Some(open) = self.session(session) else { return };
        let reason = Bytes::from_static(code.name().as_bytes());
        open.connection.close(now.instant, VarInt::from_u32(code as u32), reason);
        let place = self.own_place(session);
        self.handle_closed(place, CloseReason::Local(code));
        self.mark_dirty(place);
    }

    /// Accepts no further session, and closes those that are open.
    pub fn close_all(&mut self, now: Now, code: CloseCode) {
        self.stop_accepting();
        let open: Vec<SessionId> = self.ids().collect();
        for session in open {
            self.close(now, session, code);
        }
    }

    /// Refuses every further handshake.
    pub const fn stop_accepting(&mut self) {
        self.accepting = false;
    }

    /// The sessions that are not closed.
    pub fn ids(&self) -> impl Iterator<Item = SessionId> {
        let open = self.sessions.iter().flatten().filter(|open| open.phase != Phase::Closed);
        open.map(|open| open.id)
    }

    pub(crate) fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        let place = self.own_place(id) as usize;
        let session = self.sessions.get_mut(place)?.as_mut()?;
        (session.id == id).then_some(&mut **session)
    }

    /// The place of a session in this engine's own table.
    pub(crate) const fn own_place(&self, id: SessionId) -> u32 {
        self.worker.own_place(id.place()) as u32
    }

    fn session_at(&mut self, place: u32) -> Option<&mut Session> {
        self.sessions.get_mut(place as usize)?.as_deref_mut()
    }

    pub(crate) fn mark_dirty(&mut self, place: u32) {
        if let Some(session) = self.sessions[place as usize].as_mut()
            && !session.dirty
        {
            session.dirty = true;
            self.dirty.push(place);
        }
    }
}
