//! Browsers beside devices on one port: a client of HTTP/3 that is written here, byte by byte, against an engine.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;
mod peer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use link::Collector;
use netloop::{
    ClientAuth, Engine, Now, ServerTls, SessionId, SessionLimits, TICKET_BYTES, Tokens, Trust,
    ViewerEvent, ViewerOrder, certificate_sha256, client_tls,
};
use peer::Peer;
use quinn_proto::{ClientConfig, Dir, StreamId, VarInt};
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
    browser: Peer,
    /// What devices and browsers are shown.
    shown: [CertificateDer<'static>; 2],
}

impl Rig {
    fn new(alpn: &[u8]) -> Self {
        Self::with_auth(ClientAuth::Required, alpn)
    }

    fn with_auth(auth: ClientAuth, alpn: &[u8]) -> Self {
        Self::with_limits(SessionLimits::default(), auth, alpn)
    }

    fn with_limits(limits: SessionLimits, auth: ClientAuth, alpn: &[u8]) -> Self {
        let now = Now::simulated();
        let (devices, key) = certificate();
        let (browsers, browsers_key) = certificate();
        let authorities = [devices.clone()];
        let trust = Trust::new(auth, &authorities, &[], Tokens::default()).unwrap();
        let tls = ServerTls::from_der(vec![devices.clone()], key)
            .with_trust(Arc::new(trust))
            .with_browsers(vec![browsers.clone()], browsers_key);
        let renewal = tls.into_renewal().unwrap();
        let crypto = Arc::clone(&renewal.crypto);
        let mut server = Engine::server(crypto, limits, now, [1; 32]);
        server.renew(now, renewal);
        assert_ne!(certificate_sha256(&browsers), [0; 32]);
        let shown = [devices, browsers];
        let browser = Self::caller(now, &shown, alpn);
        Self { now, server, sink: Collector::default(), browser, shown }
    }

    fn caller(now: Now, [devices, browsers]: &[CertificateDer<'static>; 2], alpn: &[u8]) -> Peer {
        let shown = if alpn == b"h3" { browsers } else { devices };
        let tls = client_tls([shown.clone()], alpn).unwrap();
        Peer::call(now, 50_000, ClientConfig::new(tls))
    }

    /// Another one calls, once the first has gone.
    fn call(&mut self, alpn: &[u8]) {
        self.browser = Self::caller(self.now, &self.shown, alpn);
    }

    /// Both sides take turns, a millisecond apart.
    fn run(&mut self, turns: u32) {
        for _ in 0..turns {
            self.now.instant += Duration::from_millis(1);
            self.now.unix_ns += 1_000_000;
            self.browser.send(self.now, &mut self.server);
            self.server.poll(self.now, &mut self.sink);
            self.server.handle_timeouts(self.now, &mut self.sink);
            while let Some(event) = self.server.poll_event() {
                self.sink.events.push(event);
            }
            self.browser.receive(self.now, &mut self.server);
        }
    }

    fn open(&mut self, dir: Dir, bytes: &[u8]) -> StreamId {
        self.browser.open(dir, bytes)
    }

    fn read(&mut self, stream: StreamId) -> Vec<u8> {
        self.browser.read(stream)
    }

    fn events(&mut self) -> Vec<ViewerEvent> {
        std::iter::from_fn(|| self.server.poll_viewer_event()).collect()
    }

    /// A browser that has shown its ticket: its session, the request and the stream of the ticket.
    fn ask(&mut self) -> (SessionId, StreamId, StreamId) {
        self.run(20);
        assert!(self.browser.connected, "a browser needs no certificate");
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
    let control = rig.browser.connection.streams().accept(Dir::Uni).unwrap();
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
    rig.browser.connection.send_stream(talk).write(&[0, 0]).unwrap();
    rig.run(5);
    assert_eq!(rig.events(), [ViewerEvent::Taken { session, messages: 2 }]);

    rig.browser.connection.send_stream(connect).finish().unwrap();
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
    assert_eq!(rig.browser.closed, Some(CloseCode::Limit as u64));
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
        rig.browser.connection.ping();
    }
    assert_eq!(rig.browser.closed, Some(CloseCode::Unauthorized as u64));
}

#[test]
fn a_browser_that_does_not_trust_the_server_is_counted_by_its_reason() {
    let mut rig = Rig::new(b"h3");
    let [devices, browsers] = rig.shown.clone();
    rig.browser = Rig::caller(rig.now, &[browsers, devices], b"h3");
    rig.run(20);
    let tally = rig.server.tally();
    assert_eq!((tally.handshakes_failed, tally.handshakes_tls, tally.viewers_opened), (1, 1, 0));
    assert_eq!(rig.events(), []);
}

#[test]
fn silent_browsers_leave_most_places_to_devices() {
    let limits = SessionLimits { sessions_max: 8, ..SessionLimits::default() };
    let mut rig = Rig::with_limits(limits, ClientAuth::Off, b"h3");
    let mut ends = Vec::new();
    for _ in 0..6 {
        rig.run(50);
        ends.push((rig.browser.connected, rig.browser.closed));
        rig.call(b"h3");
    }
    let limit = Some(CloseCode::Limit as u64);
    assert_eq!(ends[..2], [(true, None); 2], "a quarter of eight");
    assert!(ends[2..].iter().all(|&(_, closed)| closed == limit), "{ends:?}");
    rig.run(500);
    rig.call(wire::ALPN);
    rig.run(50);
    assert!(rig.browser.connected && rig.browser.closed.is_none(), "a device has its place");
}

#[test]
fn what_a_browser_sends_beside_changes_nothing() {
    let mut rig = Rig::new(b"h3");
    let (session, ..) = rig.ask();
    for _ in 0..6 {
        rig.open(Dir::Uni, b"\x00\x04\x00 whatever");
        rig.open(Dir::Bi, b"\x01\x03\x00\x00\xd1");
    }
    rig.browser.connection.datagrams().send(Bytes::from(vec![1; 39]), true).unwrap();
    rig.run(20);
    assert_eq!((rig.events(), rig.browser.closed), (vec![], None));
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

#[test]
fn a_browser_in_the_place_of_a_device_is_not_looked_at_as_one() {
    let mut rig = Rig::with_auth(ClientAuth::Off, wire::ALPN);
    rig.server.report_paths();
    rig.run(20);
    assert_eq!(rig.server.tally().health, [1, 0, 0, 0]);
    let now = rig.now.instant;
    rig.browser.connection.close(now, VarInt::from_u32(0), Bytes::new());
    // Its keys are kept for some round trips, and then its place is free.
    rig.run(1_000);
    assert_eq!(rig.server.tally().health, [0; 4]);
    while rig.server.poll_report().is_some() {}
    rig.call(b"h3");
    rig.ask();
    // It falls silent for as long as a device that is asked whether it is there, and longer.
    for _ in 0..9_000 {
        rig.now.instant += Duration::from_millis(1);
        rig.now.unix_ns += 1_000_000;
        rig.server.handle_timeouts(rig.now, &mut rig.sink);
        while rig.server.poll_transmit(rig.now, 1, &mut Vec::new()).is_some() {}
    }
    assert_eq!(rig.server.tally().health, [0; 4]);
    assert!(rig.server.poll_report().is_none(), "paths of viewers are not reported");
}
