//! What each limit answers: the handshake is refused, retried or ignored, the stream is stopped, the session is closed,
//! the datagram is ignored; and whoever keeps to the limits notices nothing.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod forge;
mod link;

use std::{net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use forge::Forge;
use link::{Pair, Weather, numbered, payload, values};
use netloop::{
    AddressLimits, CloseReason, Datagram, HandshakeLimits, Limit, Phase, SendError, SessionEvent,
    SessionId, SessionLimits, StreamPriority,
};
use wire::{CloseCode, Command, Operation};

const LIMIT: Duration = Duration::from_secs(60);

fn pair(server: SessionLimits) -> Pair {
    Pair::with_limits(1, Weather::CALM, server, SessionLimits::default())
}

fn handshakes(handshakes: HandshakeLimits) -> SessionLimits {
    SessionLimits { handshakes, ..SessionLimits::default() }
}

fn address(address: AddressLimits) -> SessionLimits {
    SessionLimits { address, ..SessionLimits::default() }
}

fn call(pair: &mut Pair) -> SessionId {
    pair.client.engine.connect(pair.now, pair.server.address, "localhost").unwrap()
}

fn limited(pair: &Pair, limit: Limit) -> u64 {
    pair.server.engine.tally().limited(limit)
}

/// Of these sessions of the client: open, and over.
fn states(pair: &Pair, sessions: &[SessionId]) -> (usize, usize) {
    let phase = |session: &&SessionId| pair.client.engine.phase(**session);
    let open = sessions.iter().filter(|id| phase(id) == Some(Phase::Open)).count();
    let over = sessions.iter().filter(|id| matches!(phase(id), None | Some(Phase::Closed))).count();
    (open, over)
}

#[test]
fn an_address_that_proves_itself_is_let_in_after_a_retry() {
    let mut pair = pair(handshakes(HandshakeLimits { retry_from: 0, ..Default::default() }));
    let session = pair.connect();
    assert_eq!(limited(&pair, Limit::Unproven), 1);
    pair.client.engine.send_datagram(session, Bytes::from(payload(&[numbered(5)]))).unwrap();
    pair.run_until("a record", LIMIT, |pair| values(&pair.server.sink.t1) == [5]);
}

#[test]
fn handshakes_begin_at_the_configured_rate_and_all_get_in() {
    let limits = HandshakeLimits { per_s: 100, ..HandshakeLimits::default() };
    let mut pair = pair(handshakes(limits));
    let begin = pair.now.instant;
    let sessions: Vec<SessionId> = (0..200).map(|_| call(&mut pair)).collect();
    for ms in 1..=3000 {
        pair.run_to(begin + Duration::from_millis(ms));
        let opened = pair.server.engine.tally().opened;
        assert!(opened <= 6 + ms / 10, "{opened} opened after {ms} ms at 100 a second");
    }
    assert_eq!(states(&pair, &sessions), (200, 0));
    assert!(pair.server.engine.tally().handshakes_waited > 0);
}

#[test]
fn sessions_of_an_address_beyond_its_limit_are_refused() {
    let mut pair = pair(address(AddressLimits { sessions_max: 3, ..Default::default() }));
    for count in 1..=3 {
        let session = call(&mut pair);
        pair.run_for(Duration::from_millis(50));
        assert_eq!(states(&pair, &[session]), (1, 0), "session {count}");
    }
    let fourth = call(&mut pair);
    pair.run_for(Duration::from_millis(50));
    assert_eq!(states(&pair, &[fourth]), (0, 1));
    // Anybody can write an address into a packet: it was asked to prove itself, and refused only then.
    assert_eq!((limited(&pair, Limit::Unproven), limited(&pair, Limit::AddressSessions)), (1, 1));
    let first = pair.server_session();
    pair.server.engine.close(pair.now, first, CloseCode::Done);
    let fifth = call(&mut pair);
    pair.run_for(Duration::from_millis(50));
    assert_eq!(states(&pair, &[fifth]), (1, 0), "the place of the first is free again");
}

#[test]
fn sessions_that_open_beyond_the_limit_of_their_address_are_closed() {
    let mut pair = pair(address(AddressLimits { sessions_max: 3, ..Default::default() }));
    // All begin before any has proved its address, so that only the end of the handshake tells.
    let sessions: Vec<SessionId> = (0..8).map(|_| call(&mut pair)).collect();
    pair.run_for(Duration::from_millis(100));
    assert_eq!(states(&pair, &sessions), (3, 5));
    assert_eq!(limited(&pair, Limit::AddressSessionsOpened), 5);
    let told = CloseReason::Peer(Some(CloseCode::Limit));
    let closed = pair.client.sink.events.iter();
    let closed = closed
        .filter(|event| matches!(event, SessionEvent::Closed { reason, .. } if *reason == told));
    assert_eq!(closed.count(), 5);
}

#[test]
fn handshakes_of_an_address_beyond_its_limit_are_refused() {
    let limits = SessionLimits {
        handshakes: HandshakeLimits { retry_from: 0, per_s: 10, ..HandshakeLimits::default() },
        ..address(AddressLimits { handshakes_max: 4, ..Default::default() })
    };
    let mut pair = pair(limits);
    let sessions: Vec<SessionId> = (0..10).map(|_| call(&mut pair)).collect();
    pair.run_for(Duration::from_secs(2));
    assert_eq!(states(&pair, &sessions), (4, 6));
    assert_eq!(limited(&pair, Limit::AddressHandshakes), 6);
}

#[test]
fn first_packets_beyond_the_queue_are_ignored_and_come_again() {
    let mut pair = pair(SessionLimits::default());
    let mut other = Pair::new(77, Weather::CALM);
    call(&mut other);
    let mut buffer = Vec::new();
    let transmit = other.client.engine.poll_transmit(other.now, 1, &mut buffer).unwrap();
    let forge = Forge::new(&buffer[..transmit.size]);
    for id in 0..1000_u64 {
        let remote = SocketAddr::from(((id as u32).to_be_bytes(), 9));
        let payload = BytesMut::from(&forge.initial(id)[..]);
        let datagram = Datagram { remote, local_ip: None, ecn: None, payload, recv_ns: 1 };
        pair.server.engine.handle_datagram(pair.now, datagram);
    }
    assert_eq!(limited(&pair, Limit::Initials), 1000 - 256);
    let before = pair.now.instant;
    let session = call(&mut pair);
    pair.run_until("the session", LIMIT, |pair| states(pair, &[session]) == (1, 0));
    assert!(pair.now.instant - before < Duration::from_secs(3));
}

#[test]
fn streams_beyond_the_limit_are_stopped_and_the_others_go_on() {
    for (limits, limit) in [
        (SessionLimits { streams_max: 3, ..SessionLimits::default() }, Limit::Streams),
        (address(AddressLimits { streams_max: 3, ..Default::default() }), Limit::AddressStreams),
    ] {
        let mut pair = pair(limits);
        let session = pair.connect();
        // The control stream is one of the three.
        let bytes = payload(&[numbered(1)]);
        let streams: Vec<_> = (0..4)
            .map(|_| {
                let stream =
                    pair.client.engine.open_stream(session, StreamPriority::Normal).unwrap();
                pair.client.engine.write_stream(session, stream, &bytes).unwrap();
                stream
            })
            .collect();
        pair.run_for(Duration::from_millis(20));
        assert_eq!((limited(&pair, limit), pair.server.sink.t2.len()), (2, 2));
        for (at, stream) in streams.iter().enumerate() {
            let written = pair.client.engine.write_stream(session, *stream, &bytes);
            let expected = if at < 2 { Ok(bytes.len()) } else { Err(SendError::StreamClosed) };
            assert_eq!(written, expected, "stream {at}");
        }
        let read = Command::request(numbered(8), Operation::Read);
        pair.client.engine.open_command(session, read, 1).unwrap();
        pair.run_until("the refusal", LIMIT, |pair| pair.client.sink.acks.len() == 1);
        assert_eq!(pair.client.sink.acks[0].flags, netloop::slot::FAILED);
        pair.client.engine.finish_stream(session, streams[0]);
        pair.run_for(Duration::from_millis(20));
        pair.client.engine.open_command(session, read, 2).unwrap();
        pair.run_until("the ack", LIMIT, |pair| pair.client.sink.acks.len() == 2);
        assert_eq!(pair.client.sink.acks[1].flags, netloop::slot::ACK, "a stream has ended");
    }
}

#[test]
fn datagrams_beyond_the_rate_of_their_address_are_ignored_and_events_arrive_all_the_same() {
    for limits in [
        AddressLimits { datagrams_per_s: 1000, ..AddressLimits::default() },
        AddressLimits { bytes_per_s: 100_000, ..AddressLimits::default() },
    ] {
        let mut pair = pair(address(limits));
        let session = pair.connect();
        let stream = pair.client.engine.open_stream(session, StreamPriority::Normal).unwrap();
        let begin = pair.now.instant;
        for period in 0..1000 {
            for n in 0..4 {
                let batch = payload(&[numbered(period * 4 + n)]);
                // Blocked once the sender has understood that it loses.
                let _ = pair.client.engine.send_datagram(session, Bytes::from(batch));
                pair.run_to(begin + Duration::from_micros(u64::from(period * 4 + n) * 250));
            }
            let event = payload(&[numbered(period)]);
            assert_eq!(pair.client.engine.write_stream(session, stream, &event), Ok(event.len()));
        }
        assert!(limited(&pair, Limit::AddressDatagrams) > 100, "{:?}", pair.server.engine.tally());
        pair.run_until("the events", LIMIT, |pair| pair.server.sink.t2.len() == 1000);
        assert_eq!(values(&pair.server.sink.t2), (0..1000).collect::<Vec<_>>());
        let t1 = values(&pair.server.sink.t1);
        assert!(t1.len() < 3000, "{} of 4000 came through", t1.len());
    }
}

#[test]
fn handshakes_that_wait_are_refused_at_the_end() {
    let limits = HandshakeLimits { per_s: 1, ..HandshakeLimits::default() };
    let mut pair = pair(handshakes(limits));
    let sessions: Vec<SessionId> = (0..5).map(|_| call(&mut pair)).collect();
    pair.run_for(Duration::from_millis(50));
    pair.server.engine.close_all(pair.now, CloseCode::Shutdown);
    pair.run_for(Duration::from_millis(50));
    assert_eq!(states(&pair, &sessions), (0, 5));
    assert_eq!(limited(&pair, Limit::Sessions), 4);
}
