//! Browsers beside devices on one port: a client of HTTP/3 that is written here, byte by byte, against an engine.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use link::Collector;
use netloop::{
    ClientAuth, Datagram, Engine, Now, ServerTls, SessionId, SessionLimits, TICKET_BYTES, Tokens,
    Trust, ViewerEvent, ViewerOrder, certificate_sha256, client_tls,
};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, ReadError, StreamId,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::CloseCode;

const TICKET: [u8; TICKET_BYTES] = *b"a ticket of ours";
/// HEADERS with a field section that nobody reads, and the front of a stream of the session that it begins.
const CONNECT: &[u8] = &[0x01, 0x03, 0x00, 0x00, 0xcf];
const FRONT: &[u8] = &[0x40, 0x41, 0x00];

type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

fn certificate() -> Pair {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    (made.cert.der().clone(), key.into())
}

/// A server that demands a certificate of devices and lets browsers in, and a browser without one.
struct Rig {
    now: Now,
    server: Engine,
    sink: Collector,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    browser: Connection,
    /// What the browser learned: whether it is connected, and the code that it was closed with.
    connected: bool,
    closed: Option<u64>,
}

const AT: [([u8; 4], u16); 2] = [([10, 0, 0, 1], 4433), ([10, 0, 0, 2], 50_000)];

impl Rig {
    fn new(alpn: &[u8]) -> Self {
        let now = Now::simulated();
        let (devices, key) = certificate();
        let (browsers, browsers_key) = certificate();
        let authorities = [devices.clone()];
        let trust = Trust::new(ClientAuth::Required, &authorities, &[], Tokens::default()).unwrap();
        let tls = ServerTls::from_der(vec![devices.clone()], key)
            .with_trust(Arc::new(trust))
            .with_browsers(vec![browsers.clone()], browsers_key);
        let renewal = tls.into_renewal().unwrap();
        let crypto = Arc::clone(&renewal.crypto);
        let mut server = Engine::server(crypto, SessionLimits::default(), now, [1; 32]);
        server.renew(now, renewal);
        let shown = if alpn == b"h3" { browsers } else { devices };
        assert_ne!(certificate_sha256(&shown), [0; 32]);
        let client = ClientConfig::new(client_tls([shown], alpn).unwrap());
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        let remote = SocketAddr::from(AT[0]);
        let (handle, browser) = endpoint.connect(now.instant, client, remote, "localhost").unwrap();
        let sink = Collector::default();
        Self { now, server, sink, endpoint, handle, browser, connected: false, closed: None }
    }

    /// Both sides take turns, a millisecond apart.
    fn run(&mut self, turns: u32) {
        for _ in 0..turns {
            self.now.instant += Duration::from_millis(1);
            self.now.unix_ns += 1_000_000;
            self.send();
            self.server.poll(self.now, &mut self.sink);
            self.server.handle_timeouts(self.now, &mut self.sink);
            while let Some(event) = self.server.poll_event() {
                self.sink.events.push(event);
            }
            self.receive();
        }
    }

    fn send(&mut self) {
        if self.browser.poll_timeout().is_some_and(|deadline| deadline <= self.now.instant) {
            self.browser.handle_timeout(self.now.instant);
        }
        let mut buffer = Vec::new();
        while let Some(transmit) = self.browser.poll_transmit(self.now.instant, 1, &mut buffer) {
            let datagram = Datagram {
                remote: SocketAddr::from(AT[1]),
                local_ip: None,
                ecn: None,
                payload: BytesMut::from(&buffer[..transmit.size]),
                recv_ns: self.now.unix_ns,
            };
            self.server.handle_datagram(self.now, datagram);
            buffer.clear();
        }
    }

    fn receive(&mut self) {
        let (mut buffer, mut answer) = (Vec::new(), Vec::new());
        while let Some(transmit) = self.server.poll_transmit(self.now, 1, &mut buffer) {
            let payload = BytesMut::from(&buffer[..transmit.size]);
            let from = SocketAddr::from(AT[0]);
            let event =
                self.endpoint.handle(self.now.instant, from, None, None, payload, &mut answer);
            if let Some(DatagramEvent::ConnectionEvent(handle, event)) = event {
                assert_eq!(handle, self.handle);
                self.browser.handle_event(event);
            }
        }
        while let Some(event) = self.browser.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.browser.handle_event(event);
            }
        }
        while let Some(event) = self.browser.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost {
                    reason: quinn_proto::ConnectionError::ApplicationClosed(close),
                } => self.closed = Some(close.error_code.into_inner()),
                _ => {}
            }
        }
    }

    fn open(&mut self, dir: Dir, bytes: &[u8]) -> StreamId {
        let stream = self.browser.streams().open(dir).unwrap();
        assert_eq!(self.browser.send_stream(stream).write(bytes), Ok(bytes.len()));
        stream
    }

    fn read(&mut self, stream: StreamId) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut receive = self.browser.recv_stream(stream);
        let mut chunks = receive.read(true).unwrap();
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
                Ok(None) | Err(ReadError::Blocked) => break,
                Err(ReadError::Reset(code)) => panic!("reset with {code}"),
            }
        }
        let _ = chunks.finalize();
        bytes
    }

    fn events(&mut self) -> Vec<ViewerEvent> {
        std::iter::from_fn(|| self.server.poll_viewer_event()).collect()
    }

    /// A browser that has shown its ticket: its session, the request and the stream of the ticket.
    fn ask(&mut self) -> (SessionId, StreamId, StreamId) {
        self.run(20);
        assert!(self.connected, "a browser needs no certificate");
        let connect = self.open(Dir::Bi, CONNECT);
        let talk = self.open(Dir::Bi, &[FRONT, &TICKET].concat());
        self.run(5);
        let Some(&ViewerEvent::Asked { session, ticket }) = self.events().first() else {
            panic!("nobody asked");
        };
        assert_eq!(ticket, TICKET);
        (session, connect, talk)
    }

    fn send_message(&mut self, session: SessionId, message: &Bytes) {
        let order = ViewerOrder::Send { session, message: message.clone() };
        self.server.handle_viewer_order(self.now, order);
    }
}

#[test]
fn a_browser_gets_messages_for_its_ticket_and_says_what_it_has_taken() {
    let mut rig = Rig::new(b"h3");
    let (session, connect, talk) = rig.ask();
    let answer = rig.read(connect);
    assert_eq!(usize::from(answer[1]), answer.len() - 2, "one whole HEADERS frame");
    assert!(answer.ends_with(b"\x07draft02"));
    let control = rig.browser.streams().accept(Dir::Uni).unwrap();
    let settings = rig.read(control);
    assert_eq!((settings[0], settings[1], usize::from(settings[2])), (0, 4, settings.len() - 3));

    // Longer than the window of a connection at its start, so that it goes in parts.
    let message = Bytes::from(vec![7; 300_000]);
    rig.send_message(session, &message);
    let mut got = Vec::new();
    for _ in 0..200 {
        rig.run(1);
        got.extend(rig.read(talk));
    }
    assert_eq!(got[..4], 300_000_u32.to_le_bytes());
    assert_eq!(got[4..], message[..]);
    rig.browser.send_stream(talk).write(&[0, 0]).unwrap();
    rig.run(5);
    assert_eq!(rig.events(), [ViewerEvent::Taken { session, messages: 2 }]);

    rig.browser.send_stream(connect).finish().unwrap();
    rig.run(5);
    assert_eq!(rig.events(), [ViewerEvent::Closed { session }]);
    let tally = rig.server.tally();
    assert_eq!((tally.viewers_opened, tally.viewers_closed), (1, 1));
    assert_eq!((tally.opened, tally.closed), (0, 0), "a viewer is no session of a device");
    assert!(rig.sink.events.is_empty() && rig.sink.t1.is_empty(), "the world never hears of it");
}

#[test]
fn a_viewer_that_is_sent_more_than_it_takes_is_given_up() {
    let mut rig = Rig::new(b"h3");
    let (session, ..) = rig.ask();
    let message = Bytes::from(vec![7; 900_000]);
    for _ in 0..8 {
        rig.send_message(session, &message);
    }
    rig.run(5);
    assert_eq!(rig.closed, Some(CloseCode::Limit as u64));
    assert_eq!(rig.events(), [ViewerEvent::Closed { session }]);
    // What comes too late is for nobody.
    rig.send_message(session, &message);
}

#[test]
fn a_browser_without_a_ticket_is_turned_away_after_five_seconds() {
    let mut rig = Rig::new(b"h3");
    rig.run(20);
    rig.open(Dir::Bi, CONNECT);
    for _ in 0..100 {
        rig.run(80);
        rig.browser.ping();
    }
    assert_eq!(rig.closed, Some(CloseCode::Unauthorized as u64));
}

#[test]
fn what_a_browser_sends_beside_changes_nothing() {
    let mut rig = Rig::new(b"h3");
    let (session, ..) = rig.ask();
    for _ in 0..6 {
        rig.open(Dir::Uni, b"\x00\x04\x00 whatever");
        rig.open(Dir::Bi, b"\x01\x03\x00\x00\xd1");
    }
    rig.browser.datagrams().send(Bytes::from(vec![1; 39]), true).unwrap();
    rig.run(20);
    assert_eq!((rig.events(), rig.closed), (vec![], None));
    assert!(rig.sink.t1.is_empty());
    assert_eq!(rig.server.tally().tiers[0].received, 0);
    // A second ticket is one too many.
    rig.open(Dir::Bi, &[FRONT, &TICKET].concat());
    rig.run(5);
    assert_eq!(rig.events(), [ViewerEvent::Closed { session }]);
}

#[test]
fn a_device_beside_browsers_is_still_asked_for_its_certificate() {
    let mut rig = Rig::new(wire::ALPN);
    rig.run(50);
    let tally = rig.server.tally();
    let refused: u64 = tally.handshakes_turned_away.iter().sum();
    assert_eq!((refused, tally.opened, tally.viewers_opened), (1, 0, 0));
}
