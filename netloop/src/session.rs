//! One peer's session: its connection, its hello, its streams and its counts.
//!
//! A session only reacts. [`Session::service`] drains what QUIC has for it: T1, which QUIC would discard; answers to
//! commands; control and T3; then T2. Until the hello is known, the streams come first, since it is on one of them. Each part
//! is bounded; whatever did not fit into the sink stays in QUIC and is tried again.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use quinn_proto::{
    Connection, ConnectionError, Dir, Event, StreamEvent, StreamId, TransportErrorCode, VarInt,
};
use wire::{Batch, CloseCode, Hello, Record, Tier, Totals};

use crate::{
    CloseReason, Limit, Refusal, Run, SendStream, SessionId, Sink, Slot, TierTally, Trust,
    addresses::AddressId,
    backlog::Left,
    command::{Commands, OpenCommand},
    fairness::Share,
    health::{PathCounts, Peer},
    identity::{Proof, Scope},
    inbound::StreamKind,
    keys::KeyTable,
    streams::Streams,
    viewer::{Viewer, ViewerEvent},
};

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// TLS is not done.
    Handshake,
    /// Records flow.
    Open,
    /// An orderly close is under way: DATAGRAM frames leave, then the totals, then their acknowledgement is awaited.
    Finishing,
    /// Closed; QUIC lingers for late packets.
    Closed,
}

/// What became of data that a client sent before the handshake was done (0-RTT).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyData {
    /// There was none: the client has not met this server before, or the session is a server's.
    #[default]
    None,
    /// It may be sent, or was, and the server has not said whether it takes it.
    Sent,
    /// The server took it.
    Accepted,
    /// The server has forgotten the client, and nothing of it: its streams are void, and all has to be sent again.
    Rejected,
}

/// What every record of one delivery has in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) session: u32,
    pub(crate) epoch: u32,
    pub(crate) recv_ns: u64,
    pub(crate) lag_ns: u32,
}

impl Stamp {
    pub(crate) fn slot(&self, record: &Record, hint: u32) -> Slot {
        Slot {
            record: *record.as_bytes(),
            flags: 0,
            hint,
            session: self.session,
            epoch: self.epoch,
            lag_ns: self.lag_ns,
            recv_ns: self.recv_ns,
        }
    }

    pub(crate) const fn run<'a>(
        &self,
        hint: u32,
        listed: &'a [u32],
        records: &'a [Record],
    ) -> Run<'a> {
        let Self { session, epoch, recv_ns, lag_ns } = *self;
        Run { recv_ns, hint, listed, session, epoch, lag_ns, flags: 0, records }
    }
}

/// What the engine lends to a session while it is served.
pub(crate) struct Service<'a, S> {
    pub(crate) sink: &'a mut S,
    pub(crate) commands: &'a mut Commands,
    pub(crate) keys_seed: u64,
    pub(crate) keys_max: usize,
    pub(crate) trust: &'a Trust,
    pub(crate) unix_ns: u64,
    /// The same moment, for what is counted from another one.
    pub(crate) instant: Instant,
    /// Streams that the peer may still open, and which limit says so.
    pub(crate) streams_left: (usize, Limit),
    /// Unidirectional and bidirectional streams that it may hold at the same time.
    pub(crate) streams_max: [u32; 2],
    /// Streams that were stopped because of it.
    pub(crate) streams_stopped: u64,
    /// Others wait for their turn to have T2 read.
    pub(crate) records_wait: bool,
    /// The end has begun: what a peer asks for now could not be answered in time.
    pub(crate) refuses_commands: bool,
}

/// What a service of the session brought about, for the engine to act on.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) opened: bool,
    pub(crate) hello: Option<Hello>,
    pub(crate) lost: Option<CloseReason>,
    /// The session cannot be served, and is closed with this code.
    pub(crate) refused: Option<CloseCode>,
    /// The peer is not who it has to be, and the session is closed for it.
    pub(crate) turned_away: Option<Refusal>,
    /// The handshake was broken off by this alert of our own.
    pub(crate) alert: Option<u8>,
    /// What is left in QUIC because the sink was full, a budget used up, or it was the turn of others.
    pub(crate) left: Left,
    /// What a browser asks or says.
    pub(crate) viewer: Vec<ViewerEvent>,
}

pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) connection: Connection,
    pub(crate) phase: Phase,
    pub(crate) hello: Option<Hello>,
    /// Its first stream was no control stream: it has no hello.
    pub(crate) is_plain: bool,
    /// What the peer says that it has offered; more may follow while its control stream is open.
    pub(crate) totals_told: Option<Totals>,
    /// What it has offered in all.
    pub(crate) totals: Option<Totals>,
    pub(crate) tally: [TierTally; 3],
    pub(crate) keys: KeyTable,
    pub(crate) scope: Scope,
    pub(crate) proof: Proof,
    /// The peer is a browser.
    pub(crate) viewer: Option<Box<Viewer>>,
    /// The authorities have changed since its handshake began.
    pub(crate) verifies_late: bool,
    /// When its handshake is given up, if it is not done by then.
    pub(crate) handshake_until: Instant,
    /// When the handshake was done; not by the wall clock, which may be set.
    pub(crate) opened: Option<Instant>,
    pub(crate) inbound: Streams,
    pub(crate) open_commands: Vec<OpenCommand>,
    /// Open and unused: for a stop, when the peer allows no further stream.
    pub(crate) kept_stream: Option<StreamId>,
    /// The peer allows one stream at a time.
    pub(crate) one_by_one: bool,
    /// Commands of the peer that were handed on and not yet answered.
    pub(crate) commands_waiting: u32,
    /// Acks that were written for it and are not known to have arrived.
    pub(crate) answers_out: u32,
    pub(crate) control_out: Option<StreamId>,
    /// What became of the data that this side sent before the handshake was done.
    pub(crate) early: EarlyData,
    /// What the control stream has not taken yet of the totals of this side.
    pub(crate) totals_left: Bytes,
    /// What the engine's totals already hold of the tally.
    pub(crate) counted: [TierTally; 3],
    /// Receive time of the datagram that is being served, in unix nanoseconds; 0 when none is.
    pub(crate) recv_ns: u64,
    /// Bytes given to the connection since its DATAGRAM queue was last drained.
    pub(crate) fed_bytes: usize,
    pub(crate) datagrams_drained: u64,
    /// What it has had of the T1 ring.
    pub(crate) share: Share,
    /// The DATAGRAM send buffer has this much space when it is empty, in bytes.
    pub(crate) datagram_space_max: usize,
    /// Whose session it is, once the address has proved that it is there.
    pub(crate) address: Option<AddressId>,
    pub(crate) peer: Peer,
    /// When its keys were last replaced.
    pub(crate) keys_from: Instant,
    /// Streams of the peer that the engine has counted.
    pub(crate) streams_held: u32,
    /// It stands in the line of those that may have something to send, or in that of those with commands.
    pub(crate) dirty: bool,
    pub(crate) urgent: bool,
    /// A command was answered in this service.
    pub(crate) answered: bool,
    /// What it stands in line for.
    pub(crate) waits: Left,
    /// Its handshake was broken off because of who the peer is.
    pub(crate) turned_away: bool,
    /// Why QUIC has ended it, while records that its peer has an acknowledgement for wait for room in the sink.
    pub(crate) ended: Option<CloseReason>,
    pub(crate) no_handler: u64,
    pub(crate) busy: u64,
    pub(crate) bad_control: u64,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        mut connection: Connection,
        seed: u64,
        now: Instant,
        handshake_until: Instant,
    ) -> Self {
        let datagram_space_max = connection.datagrams().send_buffer_space();
        Self {
            id,
            connection,
            phase: Phase::Handshake,
            hello: None,
            is_plain: false,
            totals_told: None,
            totals: None,
            tally: [TierTally::default(); 3],
            keys: KeyTable::default(),
            scope: Scope::default(),
            proof: Proof::default(),
            viewer: None,
            verifies_late: false,
            handshake_until,
            opened: None,
            inbound: Streams::new(seed),
            open_commands: Vec::new(),
            kept_stream: None,
            one_by_one: false,
            commands_waiting: 0,
            answers_out: 0,
            control_out: None,
            early: EarlyData::None,
            totals_left: Bytes::new(),
            counted: [TierTally::default(); 3],
            recv_ns: 0,
            fed_bytes: 0,
            datagrams_drained: 0,
            share: Share::default(),
            datagram_space_max,
            address: None,
            peer: Peer::new(now),
            keys_from: now,
            streams_held: 0,
            dirty: false,
            urgent: false,
            answered: false,
            waits: Left::default(),
            turned_away: false,
            ended: None,
            no_handler: 0,
            busy: 0,
            bad_control: 0,
        }
    }

    /// When it next has something to do by itself.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        let timeout = self.connection.poll_timeout();
        if self.phase != Phase::Handshake {
            return timeout;
        }
        Some(timeout.map_or(self.handshake_until, |timeout| timeout.min(self.handshake_until)))
    }

    /// Whether its handshake has taken too long.
    pub(crate) fn is_handshake_overdue(&self, now: Instant) -> bool {
        self.phase == Phase::Handshake && self.handshake_until <= now
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Whether the server has told this client that its handshake is done.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.connection.stats().frame_rx.handshake_done > 0
    }

    /// What its path has done.
    pub(crate) fn path_counts(&self) -> PathCounts {
        let path = self.connection.stats().path;
        PathCounts {
            sent: path.sent_packets,
            lost: path.lost_packets,
            rtt: path.rtt,
            rtt_min: path.min_rtt,
        }
    }

    /// DATAGRAM frames that QUIC received and discarded because its queue was full.
    pub(crate) fn shed_quic_datagrams(&self) -> u64 {
        self.connection.stats().frame_rx.datagram.saturating_sub(self.datagrams_drained)
    }

    pub(crate) fn stamp(&self, unix_ns: u64) -> Stamp {
        let recv_ns = if self.recv_ns == 0 { unix_ns } else { self.recv_ns };
        Stamp {
            session: self.id.0,
            epoch: self.hello.map_or(0, |hello| hello.epoch),
            recv_ns,
            lag_ns: u32::try_from(unix_ns.saturating_sub(recv_ns)).unwrap_or(u32::MAX),
        }
    }

    /// Drains the connection's events, DATAGRAM frames and streams into the sink.
    pub(crate) fn service<S: Sink>(&mut self, service: &mut Service<'_, S>) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(event) = self.connection.poll() {
            self.handle_event(event, service, &mut outcome);
        }
        match self.scope {
            Scope::Unknown | Scope::Nobody => self.service_stranger(service, &mut outcome),
            Scope::Viewer => {
                self.service_viewer(service.instant, &mut outcome);
                return outcome;
            }
            Scope::Device(_) | Scope::Many(_) | Scope::All => {}
        }
        if self.scope != Scope::Unknown && outcome.turned_away.is_none() {
            if self.hello.is_none() && self.inbound.len() > 0 {
                // A hello that came with the first records is theirs too.
                self.drain_streams(service, &mut outcome);
            }
            self.drain_datagrams(service);
            outcome.left = self.drain_streams(service, &mut outcome);
        }
        // An ack that came with the close is one, also where it has to wait for room.
        if (outcome.lost.is_some() || self.ended.is_some()) && !outcome.left.acks {
            self.fail_commands(service);
        }
        self.recv_ns = 0;
        outcome
    }

    /// Learns who the peer is: from TLS, else from its control stream, which is then read before everything else.
    #[cold]
    fn service_stranger<S: Sink>(&mut self, service: &mut Service<'_, S>, outcome: &mut Outcome) {
        if self.scope == Scope::Unknown
            && let Err(refusal) = self.identify(service.trust, service.unix_ns)
        {
            outcome.turned_away = Some(refusal);
        } else if self.scope == Scope::Nobody {
            self.drain_streams(service, outcome);
            let late = self.check_proof_time(service.instant);
            if self.scope == Scope::Nobody && outcome.turned_away.is_none() {
                outcome.turned_away = late;
            }
        }
    }

    fn handle_event<S: Sink>(
        &mut self,
        event: Event,
        service: &mut Service<'_, S>,
        outcome: &mut Outcome,
    ) {
        match event {
            Event::Connected => {
                self.phase = Phase::Open;
                self.opened = Some(service.instant);
                outcome.opened = true;
            }
            Event::ConnectionLost { reason } => {
                outcome.lost = Some(close_reason(&reason));
                if let ConnectionError::TransportError(error) = &reason
                    && let CloseReason::Tls(alert) = transport_reason(error.code)
                {
                    outcome.alert = Some(alert);
                }
            }
            Event::HandshakeDataReady => self.handle_protocol(),
            Event::Stream(StreamEvent::Opened { dir }) if self.viewer.is_some() => {
                self.accept_viewer_streams(dir);
            }
            Event::Stream(StreamEvent::Opened { dir }) => self.accept_streams(dir, service),
            Event::Stream(StreamEvent::Readable { id }) => self.mark_readable(id),
            Event::Stream(StreamEvent::Finished { id }) if Some(id) == self.control_out => {
                self.control_out = None;
            }
            Event::Stream(StreamEvent::Finished { id }) => self.end_answer(id),
            Event::Stream(StreamEvent::Stopped { id, error_code }) => {
                self.end_answer(id);
                if id.dir() == Dir::Uni {
                    service.sink.handle_stopped(self.id, SendStream(id));
                }
                // The peer refuses the stream; QUIC leaves the reset to the sender.
                let _ = self.connection.send_stream(id).reset(error_code);
            }
            Event::Stream(_) | Event::DatagramReceived | Event::DatagramsUnblocked => {}
        }
    }

    /// The peer has an answer, or wants none.
    fn end_answer(&mut self, id: StreamId) {
        if id.dir() == Dir::Bi && id.initiator() != self.connection.side() {
            self.answers_out = self.answers_out.saturating_sub(1);
        }
    }

    fn accept_streams<S>(&mut self, dir: Dir, service: &mut Service<'_, S>) {
        while let Some(id) = self.connection.streams().accept(dir) {
            let kind = match dir {
                Dir::Bi => StreamKind::Command,
                Dir::Uni if id.index() == 0 => StreamKind::Opening,
                Dir::Uni => StreamKind::Records,
            };
            let (left, _) = &mut service.streams_left;
            if *left == 0 && kind != StreamKind::Opening {
                service.streams_stopped += 1;
                self.refuse_stream(id);
                continue;
            }
            *left = left.saturating_sub(1);
            self.inbound.insert(id, kind);
            match kind {
                StreamKind::Command => self.allow_streams(dir, service.streams_max[1]),
                StreamKind::Records => self.allow_streams(dir, service.streams_max[0]),
                StreamKind::Opening | StreamKind::Control => {}
            }
        }
    }

    /// Allows the peer all the streams that it may hold, once it uses any.
    fn allow_streams(&mut self, dir: Dir, most: u32) {
        if self.connection.max_concurrent_streams(dir) < u64::from(most) {
            self.connection.set_max_concurrent_streams(dir, most.into());
        }
    }

    fn refuse_stream(&mut self, id: StreamId) {
        let limit = VarInt::from_u32(CloseCode::Limit as u32);
        // The peer may have reset it already.
        let _ = self.connection.recv_stream(id).stop(limit);
        if id.dir() == Dir::Bi {
            let _ = self.connection.send_stream(id).reset(limit);
        }
    }

    fn mark_readable(&mut self, id: StreamId) {
        if !self.inbound.mark_readable(id)
            && let Some(command) = self.open_commands.iter_mut().find(|open| open.stream == id)
        {
            command.readable = true;
        }
    }

    /// Whether its hello may be there and not be read yet.
    pub(crate) fn may_greet(&mut self) -> bool {
        let silent = self.hello.is_none() && !self.is_plain && self.viewer.is_none();
        silent && self.connection.streams().remote_open_streams(Dir::Uni) > 0
    }

    /// Takes every DATAGRAM frame out of QUIC, whose own queue overflows in silence.
    pub(crate) fn drain_datagrams<S: Sink>(&mut self, service: &mut Service<'_, S>) {
        self.fed_bytes = 0;
        if matches!(self.scope, Scope::Unknown | Scope::Viewer) || self.phase == Phase::Closed {
            return;
        }
        let mut stamp = None;
        while let Some(payload) = self.connection.datagrams().recv() {
            let stamp = *stamp.get_or_insert_with(|| self.stamp(service.unix_ns));
            self.datagrams_drained += 1;
            match Batch::decode(&payload) {
                Ok(batch) => self.push_t1(&stamp, batch.records(), service),
                Err(_) => self.tally[Tier::T1.index()].decode_errors += 1,
            }
        }
    }

    fn push_t1<S: Sink>(
        &mut self,
        stamp: &Stamp,
        records: &[Record],
        service: &mut Service<'_, S>,
    ) {
        let tally = &mut self.tally[Tier::T1.index()];
        tally.received += records.len() as u64;
        let bad = records.iter().filter(|record| record.check().is_err()).count();
        let good = records.len() - bad;
        let mut room = self.share.room(good, service.unix_ns, service.sink);
        let limits = (service.keys_seed, service.keys_max);
        let mut taken = 0;
        let mut push = |hint, listed: &[u32], records: &[Record]| {
            let run = stamp.run(hint, listed, records).front(records.len().min(room));
            let pushed = if run.records.is_empty() { 0 } else { service.sink.push_t1(&run) };
            taken += pushed;
            // Where one finds no room, those behind it are shed as well.
            room = if pushed < records.len() { 0 } else { room - pushed };
        };
        let mut forbidden = 0;
        if bad == 0 {
            forbidden = self.keys.each_run(records, limits, &self.scope, push);
        } else {
            for whole in records.split(|record| record.check().is_err()) {
                forbidden += self.keys.each_run(whole, limits, &self.scope, &mut push);
            }
        }
        tally.rejected += bad as u64;
        tally.shed += (good - forbidden - taken) as u64;
        if forbidden > 0 {
            self.count_forbidden(Tier::T1, forbidden);
        }
    }

    /// Tells the sink that every command still open on this session has failed.
    fn fail_commands<S: Sink>(&mut self, service: &mut Service<'_, S>) {
        let stamp = self.stamp(service.unix_ns);
        for command in self.open_commands.drain(..) {
            if service.sink.free_t3() > 0 {
                service.sink.handle_ack(command.failed(&stamp));
            }
        }
    }

    /// True when nothing that was sent is still waiting for its acknowledgement.
    pub(crate) fn flushed(&mut self) -> bool {
        self.connection.streams().send_streams() == usize::from(self.kept_stream.is_some())
    }
}

pub(crate) fn close_reason(error: &ConnectionError) -> CloseReason {
    match error {
        ConnectionError::ApplicationClosed(close) => CloseReason::Peer(code_of(close.error_code)),
        ConnectionError::TimedOut => CloseReason::Idle,
        ConnectionError::Reset => CloseReason::Reset,
        ConnectionError::LocallyClosed => CloseReason::Local(CloseCode::Done),
        ConnectionError::ConnectionClosed(close) => transport_reason(close.error_code),
        ConnectionError::TransportError(error) => transport_reason(error.code),
        ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => CloseReason::Transport,
    }
}

/// TLS alerts travel as transport error codes 0x100 to 0x1ff (RFC 9001, section 4.8).
fn transport_reason(code: TransportErrorCode) -> CloseReason {
    match u64::from(code) {
        code @ 0x100..=0x1ff => CloseReason::Tls((code & 0xff) as u8),
        _ => CloseReason::Transport,
    }
}

fn code_of(code: VarInt) -> Option<CloseCode> {
    CloseCode::from_u64(code.into_inner())
}
