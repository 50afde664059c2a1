//! Browsers that watch: WebTransport over HTTP/3 on the devices' own port. PROTOCOL.md#viewers.
//!
//! A viewer's session carries no record. It brings a ticket, which somebody else judges, and is then sent messages on the
//! stream that the ticket came on. For each message that it has taken it sends a byte back, so that whoever makes messages
//! holds the next one until then: nothing piles up here. Header fields of HTTP are not read: what they could say, the
//! ticket says. Everything but one CONNECT, one ticket and those bytes is passed over.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{
    Connection, Dir, ReadError, StreamId, VarInt, WriteError, coding::Codec,
    crypto::rustls::HandshakeData,
};
use wire::CloseCode;

use crate::{
    Engine, Now, Refusal, SessionId,
    alpn::H3,
    identity::Scope,
    session::{Outcome, Session},
};

/// Bytes of a ticket.
pub const TICKET_BYTES: usize = 16;
/// Streams of a browser that are looked at: its control stream, two of QPACK, the request and that of the ticket, and as
/// many again for what it may try.
const STREAMS_MAX: usize = 10;
/// A request of HTTP longer than this is none of ours.
const REQUEST_BYTES_MAX: u64 = 16 << 10;
/// Messages that wait for a viewer at most; whoever sends more than it takes is told so by the loss of the viewer.
const MESSAGES_MAX: usize = 4;
/// Events of viewers that wait for the port.
const EVENTS_MAX: usize = 1024;

/// Frame and stream types (RFC 9114, section 11.2; draft-ietf-webtrans-http3-02, section 8).
const FRAME_HEADERS: u64 = 0x01;
const FRAME_WEBTRANSPORT: u64 = 0x41;

/// The control stream: its type, and the settings that let a browser ask for WebTransport. They are extended CONNECT,
/// datagrams of HTTP, and WebTransport under its numbers of draft 2 and of draft 7: browsers ask for the first.
const CONTROL: [u8; 28] = [
    0x00, // the type of the stream
    0x04, 0x19, // SETTINGS of 25 bytes
    0x08, 0x01, // SETTINGS_ENABLE_CONNECT_PROTOCOL
    0x33, 0x01, // SETTINGS_H3_DATAGRAM
    0xab, 0x60, 0x37, 0x42, 0x01, // enable WebTransport, draft 2
    0xab, 0x60, 0x37, 0x43, 0x01, // one session in a connection, draft 2
    0xc0, 0x00, 0x00, 0x00, 0xc6, 0x71, 0x70, 0x6a, 0x01, // one session, draft 7
    0x21, 0x00, // a reserved one, which everybody passes over
];
/// `:status: 200`, and the draft that is spoken, without the dynamic table of QPACK (RFC 9204, appendix A).
const ACCEPTED: &[u8] = b"\x01\x29\x00\x00\xd9\x27\x15sec-webtransport-http3-draft\x07draft02";

/// What a viewer asks, or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewerEvent {
    /// It has shown a ticket, and waits for messages.
    Asked {
        /// Its session.
        session: SessionId,
        /// The ticket.
        ticket: [u8; TICKET_BYTES],
    },
    /// It has taken so many messages more.
    Taken {
        /// Its session.
        session: SessionId,
        /// How many.
        messages: u32,
    },
    /// It is gone.
    Closed {
        /// Its session.
        session: SessionId,
    },
}

/// What is done for a viewer.
#[derive(Debug, Clone)]
pub enum ViewerOrder {
    /// Sends a message.
    Send {
        /// Its session.
        session: SessionId,
        /// The message.
        message: Bytes,
    },
    /// Ends its session.
    Close {
        /// Its session.
        session: SessionId,
        /// Why.
        code: CloseCode,
    },
}

/// How far a browser is, and what waits for it.
#[derive(Debug, Default)]
pub(crate) struct Viewer {
    greeted: bool,
    streams: Vec<Reading>,
    /// The request that began the session of WebTransport.
    connect: Option<StreamId>,
    /// The stream that the ticket came on.
    talk: Option<StreamId>,
    messages: VecDeque<Bytes>,
}

/// A stream of the browser, and the bytes of it that are not understood yet.
#[derive(Debug)]
struct Reading {
    id: StreamId,
    kind: Kind,
    head: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A bidirectional one whose first bytes have not come.
    Unknown,
    /// It is read so that it does not hold others up, and nothing is made of it.
    Passed,
    /// It is no longer looked at.
    Refused,
    /// The request that holds the session.
    Connect,
    /// It brings the ticket.
    Ticket,
    /// It says how many messages were taken.
    Talk,
}

/// What reading a stream came to.
enum Said {
    Nothing,
    Ticket([u8; TICKET_BYTES]),
    Taken(u32),
    /// The browser has ended the session, or does what it must not.
    Over,
}

impl Session {
    /// Learns from the handshake whether the peer is a browser.
    #[cold]
    pub(crate) fn handle_protocol(&mut self) {
        if self.connection.side().is_client() {
            return;
        }
        let data = self.connection.crypto_session().handshake_data();
        let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
        if data.is_some_and(|data| data.protocol.as_deref() == Some(H3)) {
            self.viewer = Some(Box::default());
            self.scope = Scope::Viewer;
            // A device is allowed its streams when it uses any; a browser opens several at once.
            for dir in [Dir::Uni, Dir::Bi] {
                self.connection.set_max_concurrent_streams(dir, (STREAMS_MAX as u32).into());
            }
        }
    }

    /// Takes the streams that a browser has opened.
    pub(crate) fn accept_viewer_streams(&mut self, dir: Dir) {
        let Some(viewer) = &mut self.viewer else { return };
        while let Some(id) = self.connection.streams().accept(dir) {
            let kind = if dir == Dir::Bi { Kind::Unknown } else { Kind::Passed };
            if viewer.streams.len() < STREAMS_MAX {
                viewer.streams.push(Reading { id, kind, head: Vec::new() });
            } else {
                refuse(&mut self.connection, id);
            }
        }
    }

    /// Greets, reads and writes.
    #[cold]
    pub(crate) fn service_viewer(&mut self, now: Instant, outcome: &mut Outcome) {
        if self.opened.is_none() {
            return;
        }
        let Some(viewer) = &mut self.viewer else { return };
        if !viewer.greeted
            && let Some(control) = self.connection.streams().open(Dir::Uni)
        {
            viewer.greeted = self.connection.send_stream(control).write(&CONTROL).is_ok();
        }
        for at in 0..viewer.streams.len() {
            let (connection, session) = (&mut self.connection, self.id);
            match viewer.read(at, connection) {
                Said::Nothing => {}
                Said::Ticket(ticket) => {
                    outcome.viewer.push(ViewerEvent::Asked { session, ticket });
                }
                Said::Taken(messages) => {
                    outcome.viewer.push(ViewerEvent::Taken { session, messages });
                }
                Said::Over => outcome.refused = Some(CloseCode::Done),
            }
        }
        viewer.streams.retain(|stream| stream.kind != Kind::Refused);
        viewer.write(&mut self.connection);
        let silent = viewer.talk.is_none();
        if silent && let Some(refusal) = self.check_proof_time(now) {
            outcome.turned_away = Some(refusal);
        }
    }
}

impl Viewer {
    fn read(&mut self, at: usize, connection: &mut Connection) -> Said {
        let stream = &mut self.streams[at];
        let (bytes, ended) = drain(connection, stream.id);
        match stream.kind {
            Kind::Passed | Kind::Refused => return Said::Nothing,
            Kind::Connect => return if ended { Said::Over } else { Said::Nothing },
            Kind::Talk if ended => return Said::Over,
            Kind::Talk if bytes.is_empty() => return Said::Nothing,
            Kind::Talk => return Said::Taken(bytes.len() as u32),
            Kind::Unknown | Kind::Ticket => stream.head.extend_from_slice(&bytes),
        }
        let (id, head) = (stream.id, stream.head.clone());
        if stream.kind == Kind::Unknown {
            match self.begin(&head) {
                Begun::Open => {}
                Begun::Accepted => {
                    // What does not fit into the first window of a stream fits into none.
                    let _ = connection.send_stream(id).write(ACCEPTED);
                    self.connect = Some(id);
                    (self.streams[at].kind, self.streams[at].head) = (Kind::Connect, Vec::new());
                }
                Begun::Data(skip) => {
                    self.streams[at].kind = Kind::Ticket;
                    self.streams[at].head.drain(..skip);
                }
                Begun::Refused => {
                    refuse(connection, id);
                    self.streams[at].kind = Kind::Refused;
                }
            }
        }
        let stream = &mut self.streams[at];
        if stream.kind == Kind::Ticket
            && let Some(ticket) = stream.head.first_chunk()
        {
            let ticket = *ticket;
            if self.talk.is_some() || stream.head.len() > TICKET_BYTES {
                return Said::Over;
            }
            (stream.kind, stream.head) = (Kind::Talk, Vec::new());
            self.talk = Some(id);
            return Said::Ticket(ticket);
        }
        Said::Nothing
    }

    /// What the first bytes of a bidirectional stream make of it.
    fn begin(&self, head: &[u8]) -> Begun {
        let mut rest = head;
        let (Ok(kind), Ok(number)) = (VarInt::decode(&mut rest), VarInt::decode(&mut rest)) else {
            return Begun::Open;
        };
        let (number, skip) = (number.into_inner(), head.len() - rest.len());
        match kind.into_inner() {
            FRAME_HEADERS if self.connect.is_some() || number > REQUEST_BYTES_MAX => Begun::Refused,
            FRAME_HEADERS if rest.len() as u64 >= number => Begun::Accepted,
            FRAME_HEADERS => Begun::Open,
            // The number is that of the request whose session it belongs to, which may come later than this.
            FRAME_WEBTRANSPORT if number == self.connect.map_or(0, stream_number) => {
                Begun::Data(skip)
            }
            _ => Begun::Refused,
        }
    }

    fn write(&mut self, connection: &mut Connection) {
        let Some(talk) = self.talk else { return };
        while let Some(message) = self.messages.front_mut() {
            let mut chunks = [std::mem::take(message)];
            let written = connection.send_stream(talk).write_chunks(&mut chunks);
            let [rest] = chunks;
            let whole = rest.is_empty();
            match written {
                Ok(_) if whole => drop(self.messages.pop_front()),
                Ok(_) => *message = rest,
                Err(WriteError::Blocked) => {
                    *message = rest;
                    return;
                }
                // The browser does not want the stream any longer; its session is about to end.
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                    self.messages.clear();
                    return;
                }
            }
        }
    }
}

/// What a bidirectional stream begins with.
enum Begun {
    /// Not enough to tell.
    Open,
    /// A whole request.
    Accepted,
    /// Data of the session, after so many bytes.
    Data(usize),
    Refused,
}

/// The number of a stream as HTTP names it.
fn stream_number(id: StreamId) -> u64 {
    // All that are named here were opened by the client, and are bidirectional.
    id.index() << 2
}

/// Reads all that is there; true when nothing follows.
fn drain(connection: &mut Connection, id: StreamId) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let mut receive = connection.recv_stream(id);
    let Ok(mut chunks) = receive.read(true) else { return (bytes, true) };
    let ended = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
            Ok(None) | Err(ReadError::Reset(_)) => break true,
            Err(ReadError::Blocked) => break false,
        }
    };
    let _ = chunks.finalize();
    (bytes, ended)
}

fn refuse(connection: &mut Connection, id: StreamId) {
    // H3_REQUEST_REJECTED (RFC 9114, section 8.1).
    let rejected = VarInt::from_u32(0x10b);
    let _ = connection.recv_stream(id).stop(rejected);
    if id.dir() == Dir::Bi {
        let _ = connection.send_stream(id).reset(rejected);
    }
}

impl Engine {
    /// Does what is to be done for a viewer. One that is gone needs nothing.
    pub fn handle_viewer_order(&mut self, now: Now, order: ViewerOrder) {
        match order {
            ViewerOrder::Close { session, code } => {
                if self.session(session).is_some_and(|open| open.viewer.is_some()) {
                    self.close(now, session, code);
                }
            }
            ViewerOrder::Send { session, message } => {
                let Some(open) = self.session(session) else { return };
                let Some(viewer) = &mut open.viewer else { return };
                // Each stands here with its length before it.
                if viewer.messages.len() >= MESSAGES_MAX * 2 {
                    return self.close(now, session, CloseCode::Limit);
                }
                let length = (message.len() as u32).to_le_bytes();
                viewer.messages.extend([Bytes::copy_from_slice(&length), message]);
                viewer.write(&mut open.connection);
                self.mark_dirty(self.own_place(session));
            }
        }
    }

    /// What a viewer asks or says.
    pub fn poll_viewer_event(&mut self) -> Option<ViewerEvent> {
        self.viewer_events.pop_front()
    }

    /// Puts back an event that its receiver had no room for.
    pub fn return_viewer_event(&mut self, event: ViewerEvent) {
        self.viewer_events.push_front(event);
    }

    /// Counts a viewer that is gone, and tells it.
    pub(crate) fn forget_viewer(&mut self, session: SessionId) {
        self.tally.viewers_closed += 1;
        // Beyond the bound nobody listens, who would have to know.
        if self.viewer_events.len() < EVENTS_MAX * 2 {
            self.viewer_events.push_back(ViewerEvent::Closed { session });
        }
    }

    pub(crate) fn push_viewer_events(&mut self, now: Now, id: SessionId, events: &[ViewerEvent]) {
        if self.viewer_events.len() + events.len() > EVENTS_MAX {
            // Nobody takes them, so that nobody would miss the viewer.
            return self.turn_away(now, id, Refusal::Token);
        }
        self.viewer_events.extend(events);
    }
}
