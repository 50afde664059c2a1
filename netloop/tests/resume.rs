//! Sessions that resume: what a client sends before its handshake is done, and a server that has forgotten it.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use link::{Pair, Weather, hello, numbered, payload, record, values};
use netloop::{
    CloseReason, CommandError, EarlyData, Engine, Now, Phase, SendError, ServerTls, SessionEvent,
    SessionId, SessionLimits, StreamPriority, client_tls,
};
use quinn_proto::crypto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::{CloseCode, Command, Operation};

const LIMIT: Duration = Duration::from_secs(10);

/// A server's certificate, from which servers are made that remember nobody yet.
struct Host {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Host {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Self { chain: vec![made.cert.der().clone()], key: key.into() }
    }

    fn server(&self) -> Arc<dyn crypto::ServerConfig> {
        ServerTls::from_der(self.chain.clone(), self.key.clone_key()).into_quic().unwrap()
    }

    fn pair(&self) -> Pair {
        let now = Now::simulated();
        let limits = SessionLimits::default();
        let server = Engine::server(self.server(), limits.clone(), now, [1; 32]);
        let tls = client_tls(self.chain.clone(), wire::ALPN).unwrap();
        let client = Engine::client(tls, Some(hello()), limits, now, [2; 32]);
        Pair::of_engines(1, Weather::CALM, now, (server, client), true)
    }
}

/// A session that the server remembers, and that is over.
fn meet(pair: &mut Pair) {
    let session = pair.connect();
    assert_eq!(pair.client.engine.early_data(session), EarlyData::None, "they have never met");
    pair.run_for(Duration::from_millis(50));
    pair.client.engine.close(pair.now, session, CloseCode::Done);
    pair.run_until("the end", LIMIT, |pair| pair.server.engine.open_sessions() == 0);
    pair.run_for(Duration::from_secs(2));
    pair.server.sink.events.clear();
}

fn call_again(pair: &mut Pair) -> SessionId {
    pair.client.engine.connect(pair.now, pair.server.address, "localhost").unwrap()
}

fn name(event: &SessionEvent) -> &'static str {
    match event {
        SessionEvent::Opened { .. } => "opened",
        SessionEvent::Hello { .. } => "hello",
        SessionEvent::Closed { .. } => "closed",
        SessionEvent::Failed { .. } => "failed",
    }
}

/// Writes records of T2 and of T1.
fn send(pair: &mut Pair, session: SessionId, seq: u32) {
    let engine = &mut pair.client.engine;
    let stream = engine.open_stream(session, StreamPriority::Normal).unwrap();
    let bytes = payload(&[numbered(seq), numbered(seq + 1)]);
    assert_eq!(engine.write_stream(session, stream, &bytes), Ok(bytes.len()));
    engine.finish_stream(session, stream);
    engine.send_datagram(session, Bytes::from(payload(&[numbered(seq + 2)]))).unwrap();
}

#[test]
fn early_records_arrive_before_the_handshake_is_done() {
    let mut pair = Host::new().pair();
    meet(&mut pair);
    let begin = pair.now.instant;
    let session = call_again(&mut pair);
    assert_eq!(pair.client.engine.early_data(session), EarlyData::Sent);
    send(&mut pair, session, 10);
    pair.run_until("the records", LIMIT, |pair| pair.server.sink.t2.len() == 2);
    assert_eq!(pair.server.engine.open_sessions(), 0, "the handshake is not done");
    assert_eq!(pair.client.engine.phase(session), Some(Phase::Handshake));
    let took = pair.now.instant - begin;
    assert!(took < Weather::CALM.delay * 2, "less than a round trip: {took:?}");
    let slots = pair.server.sink.t2.iter().chain(&pair.server.sink.t1);
    assert!(slots.clone().all(|slot| slot.epoch == hello().epoch), "the hello came with them");
    assert_eq!(slots.map(|slot| record(slot).seq()).collect::<Vec<_>>(), [10, 11, 12]);
    assert!(pair.server.sink.events.is_empty(), "nobody has proved to be there");
    pair.run_until("the session", LIMIT, |pair| pair.server.engine.open_sessions() == 1);
    pair.run_for(Duration::from_millis(50));
    assert_eq!(pair.client.engine.early_data(session), EarlyData::Accepted);
    assert_eq!((values(&pair.server.sink.t2), pair.server.sink.t1.len()), (vec![10, 11], 1));
    assert_eq!(pair.server.engine.tally().bad_control, 0, "there is one control stream");
    let told: Vec<_> = pair.server.sink.events.iter().map(name).collect();
    assert_eq!(told, ["opened", "hello"]);
}

#[test]
fn no_command_is_sent_early() {
    let mut pair = Host::new().pair();
    meet(&mut pair);
    let session = call_again(&mut pair);
    let read = Command::request(numbered(1), Operation::Read);
    let refused = pair.client.engine.open_command(session, read, 7);
    assert_eq!(refused, Err(CommandError::NotOpen));
    pair.run_until("the session", LIMIT, |pair| {
        pair.client.engine.phase(session) == Some(Phase::Open)
    });
    pair.client.engine.open_command(session, read, 7).unwrap();
    pair.run_until("the ack", LIMIT, |pair| pair.client.sink.acks.len() == 1);
}

#[test]
fn a_server_that_has_forgotten_gets_everything_again_and_once() {
    let host = Host::new();
    let mut pair = host.pair();
    meet(&mut pair);
    // The twin was started anew.
    let (limits, now) = (SessionLimits::default(), pair.now);
    pair.server.engine = Engine::server(host.server(), limits, now, [3; 32]);
    pair.server.sink.t1.clear();
    let session = call_again(&mut pair);
    assert_eq!(pair.client.engine.early_data(session), EarlyData::Sent);
    send(&mut pair, session, 10);
    pair.run_until("the session", LIMIT, |pair| {
        pair.client.engine.phase(session) == Some(Phase::Open)
    });
    assert_eq!(pair.client.engine.early_data(session), EarlyData::Rejected);
    send(&mut pair, session, 10);
    pair.run_for(Duration::from_millis(100));
    let sink = &pair.server.sink;
    assert_eq!((values(&sink.t2), values(&sink.t1)), (vec![10, 11], vec![12]));
    assert!(sink.t2.iter().all(|slot| slot.epoch == hello().epoch), "the hello came again");
}

#[test]
fn a_client_that_never_met_the_server_sends_nothing_early() {
    let mut pair = Host::new().pair();
    let session = call_again(&mut pair);
    let engine = &mut pair.client.engine;
    let refused = engine.open_stream(session, StreamPriority::Normal);
    assert_eq!(refused.unwrap_err(), SendError::NotOpen);
    let bytes = Bytes::from(payload(&[numbered(1)]));
    assert_eq!(engine.send_datagram(session, bytes), Err(SendError::NotOpen));
}

#[test]
fn a_thousand_sessions_that_a_server_has_forgotten_are_told_before_they_time_out() {
    let host = Host::new();
    let mut pair = host.pair();
    let mut sessions = Vec::new();
    // One address may have so many handshakes at the same time.
    while sessions.len() < 1_000 {
        sessions.extend((0..100).map(|_| call_again(&mut pair)));
        let open = sessions.len() as u64;
        pair.run_until("sessions", LIMIT, |pair| pair.server.engine.open_sessions() == open);
    }
    pair.run_for(Duration::from_secs(1));
    let limits = SessionLimits { sessions_max: 2_000, ..SessionLimits::default() };
    pair.server.engine = Engine::server(host.server(), limits, pair.now, [1; 32]);
    for ms in 0..200 {
        for session in sessions.iter().skip(ms % 10).step_by(10) {
            let bytes = Bytes::from(payload(&[numbered(ms as u32)]));
            // Who has been told sends no more.
            let _ = pair.client.engine.send_datagram(*session, bytes);
        }
        pair.run_for(Duration::from_millis(1));
    }
    let reset = |event: &&SessionEvent| {
        matches!(event, SessionEvent::Closed { reason: CloseReason::Reset, .. })
    };
    assert_eq!(pair.client.sink.events.iter().filter(reset).count(), 1_000);
}
