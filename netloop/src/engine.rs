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
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    ClientConfig, ConnectionHandle, EcnCodepoint, Endpoint, EndpointConfig, ServerConfig, Transmit,
    VarInt, crypto,
};
use wire::{CloseCode, Hello, Record, Token};

use crate::prefetch::prefetch_whole;
use crate::{
    Answer, CloseReason, EngineTally, Limit, Naming, Now, Refusal, SessionEvent, SessionId,
    SessionLimits, Sink, TierTally, WorkerNumber,
    addresses::Addresses,
    admission::{Admission, NO_ROOM, Route},
    audit::Audit,
    backlog::Backlog,
    command::Commands,
    fairness::Arrivals,
    health::Looks,
    naming::Purpose,
    path::{PathStep, Reports},
    sending::Outgoing,
    session::{Outcome, Phase, Service, Session},
    tokens::{WallTime, token_key},
    viewer::ViewerEvent,
    wheel::Wheel,
};

/// Sans-IO QUIC with the sessions of one role.
pub struct Engine {
    worker: WorkerNumber,
    pub(crate) endpoint: Endpoint,
    pub(crate) client: Option<Client>,
    wall: WallTime,
    pub(crate) limits: SessionLimits,
    pub(crate) sessions: Vec<Option<Box<Session>>>,
    generations: Vec<u16>,
    /// What paths do, if anybody asked for it.
    pub(crate) reports: Option<Reports>,
    pub(crate) arrivals: Arrivals,
    pub(crate) admission: Admission,
    pub(crate) addresses: Addresses,
    /// Streams that peers hold open, in all sessions.
    pub(crate) streams: usize,
    pub(crate) outgoing: Outgoing,
    pub(crate) backlog: Backlog,
    pub(crate) wheel: Wheel,
    pub(crate) looks: Looks,
    /// Kept between turns so that firing timers allocates nothing.
    due: Vec<u32>,
    commands: Commands,
    pub(crate) scratch: Vec<u8>,
    events: VecDeque<SessionEvent>,
    pub(crate) viewer_events: VecDeque<ViewerEvent>,
    pub(crate) tally: EngineTally,
    pub(crate) audit: Audit,
    keys_seed: u64,
}

pub(crate) struct Client {
    config: ClientConfig,
    pub(crate) hello: Option<Hello>,
    pub(crate) token: Option<Token>,
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

/// Commands of peers that may wait for their answer.
const COMMANDS_WAITING_MAX: usize = 4096;
/// Browsers may hold so great a part of the sessions: one of so many.
const VIEWERS_SHARE: usize = 4;
/// Deadlines are kept to this grain.
const WHEEL_SLOT_NS: u64 = 50_000;
/// Devices of a worker that has forgotten them are told at once, each by the first packet that it sends. What that costs is
/// bounded otherwise: of ids that nobody gave out, hardly any passes for one of ours, an answer is shorter than what it
/// answers, and no more of them wait than [`Engine::poll_transmit`] keeps.
const RESET_INTERVAL_MIN: Duration = Duration::ZERO;

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
        server.transport_config(limits.server_transport());
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
        config.transport_config(limits.client_transport());
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
        let wall = WallTime::default();
        wall.set(now.unix_ns);
        if let Some(server) = &mut server {
            server
                .token_key(token_key(&naming.shared_secret(Purpose::Tokens)))
                .time_source(Arc::new(wall.clone()));
        }
        if let Some(client) = &mut client {
            client.config.initial_dst_cid_provider(naming.first_ids());
        }
        let reset_secret = naming.shared_secret(Purpose::Resets);
        let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &reset_secret);
        let mut config = EndpointConfig::new(Arc::new(reset_key));
        config
            .rng_seed(Some(naming.own_secret(Purpose::Endpoint)))
            .cid_generator(move || Box::new(naming.generator()))
            .min_reset_interval(RESET_INTERVAL_MIN);
        config
            .max_udp_payload_size(limits.mtu_bytes.max(1472))
            .expect("at least 1200 bytes because of the maximum");
        let tables = naming.own_secret(Purpose::Tables);
        let keys_seed = u64::from_le_bytes(*tables.first_chunk().expect("8 of 32 bytes"));
        let hash_seed = u64::from_le_bytes(*tables.last_chunk().expect("8 of 32 bytes"));
        let admission = Admission::new(limits.handshakes.clone(), now.instant, server);
        Self {
            worker: naming.worker,
            endpoint: Endpoint::new(Arc::new(config), admission.closed(), true, None),
            audit: Audit::new(),
            client,
            wall,
            sessions: Vec::new(),
            generations: Vec::new(),
            reports: None,
            arrivals: Arrivals::default(),
            admission,
            addresses: Addresses::new(&limits.address, limits.sessions_max, hash_seed, now.instant),
            streams: 0,
            outgoing: Outgoing::default(),
            backlog: Backlog::default(),
            wheel: Wheel::new(now.instant, WHEEL_SLOT_NS),
            looks: Looks::new(now.instant, limits.idle_timeout),
            due: Vec::new(),
            commands: Commands::new(COMMANDS_WAITING_MAX),
            scratch: Vec::new(),
            events: VecDeque::new(),
            viewer_events: VecDeque::new(),
            tally: EngineTally::default(),
            keys_seed,
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
        let id = self.insert(now, handle, connection);
        self.begin_early(id);
        Ok(id)
    }

    /// From now on a client calls with `crypto`, which remembers no server: its next session resumes none.
    pub fn forget_servers(&mut self, crypto: Arc<dyn crypto::ClientConfig>) {
        if let Some(client) = &mut self.client {
            let mut config = ClientConfig::new(crypto);
            config.transport_config(self.limits.client_transport());
            client.config = config;
        }
    }

    /// Takes one received UDP payload. Nothing reaches a session before [`Engine::poll`].
    pub fn handle_datagram(&mut self, now: Now, datagram: Datagram) {
        self.wall.set(now.unix_ns);
        self.tally.datagrams += 1;
        if let Some(datagram) = self.defer_initial(now, datagram)
            && self.route(now, datagram) == Route::Nowhere
        {
            self.tally.garbage += 1;
        }
    }

    pub(crate) fn respond(&mut self, transmit: Transmit) {
        let size = transmit.size;
        self.outgoing.respond(transmit, &self.scratch[..size]);
    }

    pub(crate) fn insert(
        &mut self,
        now: Now,
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
        let until = now.instant + self.limits.handshake_timeout;
        let session = Session::new(id, connection, self.keys_seed, now.instant, until);
        self.sessions[place] = Some(Box::new(session));
        self.mark_dirty(place as u32);
        id
    }

    /// Gives the sessions what arrived, and moves what they received into the sink.
    pub fn poll<S: Sink>(&mut self, now: Now, sink: &mut S) {
        self.poll_arrived(now, sink);
        self.poll_backlog(now, sink);
    }

    /// Takes the T1 of a session that has more coming in this turn; all that it has when its hello may be there as well, which
    /// says of which epoch the records behind it are.
    pub(crate) fn drain_datagrams<S: Sink>(&mut self, now: Now, place: u32, sink: &mut S) {
        let Some((session, mut service)) = self.service_of(now, place, sink) else { return };
        if session.may_greet() {
            self.service(now, place, sink);
        } else {
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
        let streams_left = self.streams_left(self.sessions.get(place as usize)?.as_ref()?);
        let session = self.sessions.get_mut(place as usize)?.as_deref_mut()?;
        let service = Service {
            sink,
            commands: &mut self.commands,
            keys_seed: self.keys_seed,
            keys_max: self.limits.keys_max,
            trust: &self.audit.trust,
            unix_ns: now.unix_ns,
            instant: now.instant,
            streams_left,
            streams_max: [self.limits.uni_streams_max, self.limits.bi_streams_max],
            streams_stopped: 0,
            records_wait: self.backlog.has_records(),
            refuses_commands: self.client.is_none() && !self.admission.is_accepting(),
        };
        Some((session, service))
    }

    /// Moves what a session has received into the sink, but for T2 while others are in line for that.
    pub(crate) fn service<S: Sink>(&mut self, now: Now, place: u32, sink: &mut S) {
        self.service_session(now, place, sink, false);
    }

    /// Moves all that a session has received, whose turn it is.
    pub(crate) fn service_in_turn<S: Sink>(&mut self, now: Now, place: u32, sink: &mut S) {
        self.service_session(now, place, sink, true);
    }

    fn service_session<S: Sink>(&mut self, now: Now, place: u32, sink: &mut S, in_turn: bool) {
        let Some((session, mut service)) = self.service_of(now, place, sink) else { return };
        if session.phase == Phase::Closed {
            // Its end was told, and nothing of it is taken behind that; QUIC may still have something to send.
            return self.mark_dirty(place);
        }
        service.records_wait &= !in_turn;
        let mut outcome = session.service(&mut service);
        let (limit, stopped) = (service.streams_left.1, service.streams_stopped);
        self.tally.limits[limit as usize] += stopped;
        let Some(session) = self.sessions[place as usize].as_deref_mut() else { return };
        let counted = std::mem::replace(&mut session.counted, session.tally);
        for ((total, after), before) in
            self.tally.tiers.iter_mut().zip(&session.tally).zip(&counted)
        {
            total.received += after.received - before.received;
            total.rejected += after.rejected - before.rejected;
            total.forbidden += after.forbidden - before.forbidden;
            total.shed += after.shed - before.shed;
            total.decode_errors += after.decode_errors - before.decode_errors;
        }
        self.tally.no_handler += std::mem::take(&mut session.no_handler);
        self.tally.busy += std::mem::take(&mut session.busy);
        self.tally.bad_control += std::mem::take(&mut session.bad_control);
        // It is over when everything was taken that its peer has an acknowledgement for.
        let ended = outcome.lost.or(session.ended);
        let left = outcome.left;
        session.ended = ended.filter(|_| left.any());
        outcome.lost = ended.filter(|_| !left.any());
        if left.any() {
            self.tally.unfinished += 1;
            self.backlog.push(place, &mut session.waits, left);
        }
        let id = session.id;
        if !outcome.viewer.is_empty() {
            self.push_viewer_events(now, id, &outcome.viewer);
        }
        let Some(session) = self.sessions[place as usize].as_deref_mut() else { return };
        if std::mem::take(&mut session.answered) {
            self.mark_urgent(place);
        } else {
            self.mark_dirty(place);
        }
        self.handle_outcome(now, place, &mut outcome);
        self.count_streams(place);
        if let Some(code) = outcome.refused {
            self.close(now, id, code);
        }
        if let Some(refusal) = outcome.turned_away {
            self.turn_away(now, id, refusal);
        }
    }

    fn handle_outcome(&mut self, now: Now, place: u32, outcome: &mut Outcome) {
        let Some(session) = self.sessions[place as usize].as_mut() else { return };
        let (id, in_handshake) = (session.id, session.phase == Phase::Handshake);
        // A hello that came early is told of behind its session, and of no handshake that fails: anybody can replay it.
        let hello = if outcome.opened { session.hello } else { outcome.hello };
        let proven = hello.is_some_and(|hello| session.scope.allows(&hello.device.0));
        if outcome.opened && session.viewer.is_some() {
            self.tally.viewers_opened += 1;
            let viewers = self.tally.viewers_opened - self.tally.viewers_closed;
            // They prove nothing before their ticket, and may not take the places of devices.
            let crowded = viewers as usize > self.limits.sessions_max / VIEWERS_SHARE;
            if crowded {
                self.tally.count(Limit::Sessions);
            }
            if !self.admit_session(place) || crowded {
                outcome.refused = Some(NO_ROOM);
            }
        } else if outcome.opened {
            self.tally.opened += 1;
            self.audit.watch(session);
            let remote = session.remote();
            if let Some(client) = &self.client {
                session.begin_client(client.hello.as_ref(), client.token.as_ref());
            }
            self.events.push_back(SessionEvent::Opened { session: id, remote });
            self.begin_looks(now, place);
            self.report_path(now, place, PathStep::Opened);
            if !self.admit_session(place) {
                outcome.refused = Some(NO_ROOM);
            }
        }
        if let Some(hello) = hello.filter(|_| !in_handshake) {
            self.events.push_back(SessionEvent::Hello { session: id, hello, proven });
        }
        if let Some(refusal) = outcome.alert.and_then(Refusal::of_alert)
            && in_handshake
        {
            self.tally.handshakes_turned_away[refusal as usize] += 1;
            if let Some(session) = self.sessions[place as usize].as_mut() {
                session.turned_away = true;
            }
        }
        if let Some(reason) = outcome.lost {
            self.handle_closed(now, place, reason);
        }
    }

    /// Tells that a session is over, once.
    pub(crate) fn handle_closed(&mut self, now: Now, place: u32, reason: CloseReason) {
        let Some(session) = self.sessions[place as usize].as_mut() else { return };
        let id = session.id;
        session.ended = None;
        self.backlog.forget(place, &mut session.waits);
        let was = std::mem::replace(&mut session.phase, Phase::Closed);
        if was == Phase::Closed {
            return;
        }
        if session.viewer.is_some() {
            let turned_away = session.turned_away;
            self.release(place, was);
            match was {
                Phase::Handshake => self.count_failed_handshake(reason, turned_away),
                _ => self.forget_viewer(id),
            }
            return;
        }
        self.tally.shed_quic_datagrams += session.shed_quic_datagrams();
        if session.commands_waiting > 0 {
            self.tally.unanswered += u64::from(session.commands_waiting);
            self.commands.forget(id);
        }
        let (tally, totals, turned_away) = (session.tally, session.totals, session.turned_away);
        self.release(place, was);
        if was == Phase::Handshake {
            self.count_failed_handshake(reason, turned_away);
            self.events.push_back(SessionEvent::Failed { session: id, reason });
        } else {
            self.end_looks(place);
            self.report_path(now, place, PathStep::Closed(reason));
            self.tally.closed += 1;
            self.events.push_back(SessionEvent::Closed { session: id, reason, tally, totals });
        }
    }

    /// Fires the timers that are due, then lets handshakes in, within the budgets of a turn. Call it after [`Engine::poll`],
    /// with a `now` taken after the socket was drained.
    pub fn handle_timeouts<S: Sink>(&mut self, now: Now, sink: &mut S) {
        self.audit(now);
        let mut due = std::mem::take(&mut self.due);
        self.wheel.poll(now.instant, &mut |place| due.push(place));
        for (nth, &place) in due.iter().enumerate() {
            if let Some(&next) = due.get(nth + 1) {
                self.prefetch_session(next);
            }
            let Some(session) = self.session_at(place) else { continue };
            match session.poll_timeout() {
                // The wheel keeps the earliest deadline ever asked for; the true one may have moved on since.
                Some(deadline) if deadline > now.instant => self.wheel.arm(place, deadline),
                Some(_) if session.is_handshake_overdue(now.instant) => {
                    let id = session.id;
                    self.end(now, id, CloseCode::Done, CloseReason::Idle);
                }
                Some(_) => {
                    session.connection.handle_timeout(now.instant);
                    self.service(now, place, sink);
                }
                None => {}
            }
        }
        due.clear();
        self.due = due;
        self.poll_looks(now);
        self.admit(now, sink);
    }

    /// One of thousands of sessions is in no cache: the next one is fetched while another one is served.
    pub(crate) fn prefetch_session(&self, place: u32) {
        if let Some(Some(session)) = self.sessions.get(place as usize) {
            prefetch_whole(&**session);
        }
    }

    /// The next instant at which [`Engine::handle_timeouts`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let looks = self.looks.wheel.next_deadline();
        if self.arrivals.has_handshakes() {
            return Some(self.admission.begin);
        }
        [self.wheel.next_deadline(), looks, self.admission.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// True when handshakes wait for nothing but a further turn.
    #[must_use]
    pub fn has_handshakes_due(&self, now: Now) -> bool {
        let begins = self.admission.poll_timeout().is_some_and(|at| at <= now.instant);
        begins || self.arrivals.has_handshakes()
    }

    /// The next step in a session's life.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Whether steps, of sessions or viewers, were not told yet.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty() || !self.viewer_events.is_empty()
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
        !self.outgoing.is_empty()
    }

    /// True when records wait in QUIC for room in the sink, or sessions to be verified again.
    #[must_use]
    pub fn is_backlogged(&self) -> bool {
        !self.backlog.is_empty() || self.audit.is_running()
    }

    /// True while a peer waits for the answer to a command: it was handed on and not answered, or the answer is not known to have
    /// arrived.
    #[must_use]
    pub fn owes_answers(&self) -> bool {
        let mut open = self.sessions.iter().flatten().filter(|open| open.phase != Phase::Closed);
        open.any(|open| open.ended.is_none() && open.commands_waiting + open.answers_out > 0)
    }

    /// Answers a command of the peer by its token. One whose session is over was counted as unanswered then.
    pub fn answer(&mut self, session: SessionId, token: u32, answer: Answer) {
        let Some(stream) = self.commands.remove(token, session) else { return };
        let Some(open) = self.session(session) else { return };
        open.commands_waiting -= 1;
        match answer {
            Answer::Ack(ack) => open.write_ack(stream, &ack),
            Answer::Reset(code) => open.reset_command(stream, code),
            Answer::Later => return,
        }
        if matches!(answer, Answer::Reset(CloseCode::NoHandler)) {
            self.tally.no_handler += 1;
        }
        self.mark_urgent(self.own_place(session));
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
        self.mark_urgent(self.own_place(session));
        Ok(())
    }

    /// Where the session stands; `None` when it is gone.
    #[must_use]
    pub fn phase(&self, session: SessionId) -> Option<Phase> {
        let open = self.sessions.get(self.own_place(session) as usize)?.as_ref()?;
        (open.id == session).then_some(open.phase)
    }

    /// True once the peer is known to admit the session. A client has done its part of the handshake before the server has
    /// judged what it showed, so to a client a session is open first and confirmed a round trip later (RFC 9001, section 4.1.2).
    #[must_use]
    pub fn is_confirmed(&self, session: SessionId) -> bool {
        let open = self.sessions.get(self.own_place(session) as usize).and_then(Option::as_ref);
        open.filter(|open| open.id == session && open.phase != Phase::Handshake)
            .is_some_and(|open| self.client.is_none() || open.is_confirmed())
    }

    /// Closes a session at once with a reason that the peer is told.
    pub fn close(&mut self, now: Now, session: SessionId, code: CloseCode) {
        self.end(now, session, code, CloseReason::Local(code));
    }

    /// Ends a session: the peer is told the code, and this side the reason.
    fn end(&mut self, now: Now, session: SessionId, code: CloseCode, reason: CloseReason) {
        let Some(open) = self.session(session) else { return };
        let name = Bytes::from_static(code.name().as_bytes());
        open.connection.close(now.instant, VarInt::from_u32(code as u32), name);
        let place = self.own_place(session);
        self.handle_closed(now, place, reason);
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

    /// The sessions that are not closed, each with what became of its records, by tier.
    pub fn tallies(&self) -> impl Iterator<Item = (SessionId, [TierTally; 3])> {
        let open = self.sessions.iter().flatten().filter(|open| open.phase != Phase::Closed);
        open.map(|open| (open.id, open.tally))
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

    pub(crate) fn session_at(&mut self, place: u32) -> Option<&mut Session> {
        self.sessions.get_mut(place as usize)?.as_deref_mut()
    }
}
