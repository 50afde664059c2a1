//! Handshakes that never end, and what comes with them before they do: neither holds a place, nor keeps a worker awake.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;
mod peer;

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use link::{Collector, numbered};
use netloop::{Datagram, Engine, HandshakeLimits, Now, ServerTls, SessionLimits, client_tls};
use peer::Peer;
use quinn_proto::{ClientConfig, Dir, TransportConfig, VarInt};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::{Command, Operation};

/// A server, and peers that are no engines.
struct Rig {
    now: Now,
    server: Engine,
    sink: Collector,
    client: ClientConfig,
}

impl Rig {
    fn new() -> Self {
        Self::with_limits(SessionLimits::default())
    }

    fn with_limits(limits: SessionLimits) -> Self {
        Self::build(limits, wire::ALPN)
    }

    fn build(limits: SessionLimits, alpn: &[u8]) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key: PrivateKeyDer<'static> =
            PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let tls = ServerTls::from_der(vec![certificate.clone()], key).into_quic().unwrap();
        let now = Now::simulated();
        let server = Engine::server(tls, limits, now, [1; 32]);
        let mut client = ClientConfig::new(client_tls([certificate], alpn).unwrap());
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(None);
        client.transport_config(Arc::new(transport));
        Self { now, server, sink: Collector::default(), client }
    }

    fn call(&self) -> Peer {
        self.call_from(50_000)
    }

    fn call_from(&self, port: u16) -> Peer {
        Peer::call(self.now, port, self.client.clone())
    }

    fn turn(&mut self, passed: Duration) {
        self.now.instant += passed;
        self.now.unix_ns += passed.as_nanos() as u64;
        self.server.poll(self.now, &mut self.sink);
        self.server.handle_timeouts(self.now, &mut self.sink);
        while self.server.poll_event().is_some() {}
    }

    /// What the server sends is lost.
    fn deaf(&mut self) {
        while self.server.poll_transmit(self.now, 1, &mut Vec::new()).is_some() {}
    }

    fn exchange(&mut self, peer: &mut Peer, turns: u32) {
        for _ in 0..turns {
            peer.send(self.now, &mut self.server);
            self.turn(Duration::from_millis(1));
            peer.receive(self.now, &mut self.server);
        }
    }
}

/// The answer to a packet of `bytes` that belongs to no session.
fn reset_of(rig: &mut Rig, bytes: usize) -> Vec<u8> {
    let mut answer = Vec::new();
    // Of ids that nobody gave out, one in 256 passes for one of the server's.
    for id in 0_u64.. {
        let packet = [&[0x40][..], &id.to_be_bytes(), &[0; 64]].concat();
        let datagram = Datagram {
            remote: ([10, 0, 0, 9], 50_009).into(),
            local_ip: None,
            ecn: None,
            payload: BytesMut::from(&packet[..bytes]),
            recv_ns: rig.now.unix_ns,
        };
        rig.server.handle_datagram(rig.now, datagram);
        if rig.server.poll_transmit(rig.now, 1, &mut answer).is_some() {
            break;
        }
    }
    answer
}

#[test]
fn an_answer_to_a_stranger_tells_no_id_of_a_session_to_come() {
    let mut rig = Rig::new();
    let reset = reset_of(&mut rig, 40);
    assert!(reset.len() > 32, "padding in front of the token of 16 bytes");
    let mut peer = rig.call();
    peer.send(rig.now, &mut rig.server);
    rig.turn(Duration::from_millis(1));
    let mut first = Vec::new();
    assert!(rig.server.poll_transmit(rig.now, 1, &mut first).is_some());
    // A long header: the length of the peer's id, the id, the length of the server's, and that one (RFC 9000, section 17.2).
    let own_at = 6 + usize::from(first[5]) + 1;
    let id = &first[own_at..][..8];
    // Its first byte tells the worker; the others are drawn.
    assert!(reset.windows(7).all(|part| *part != id[1..]), "{id:x?} in {reset:x?}");
}

#[test]
fn a_handshake_that_is_kept_alive_and_never_finished_ends_in_time() {
    let mut rig = Rig::new();
    let mut peer = rig.call();
    for second in 0..12 {
        // Every packet that proves to be of the peer begins the idle timeout anew.
        peer.connection.ping();
        peer.send(rig.now, &mut rig.server);
        assert_eq!(rig.server.tally().handshakes_failed, u64::from(second > 10), "{second} s");
        rig.turn(Duration::from_secs(1));
        rig.deaf();
    }
    let tally = rig.server.tally();
    assert_eq!((tally.handshakes_failed, tally.handshakes_timeout, tally.opened), (1, 1, 0));
}

/// Three datagrams of 1,200 bytes fit into what is kept of a handshake that waits, when each is kept once.
#[test]
fn early_data_of_a_handshake_that_waits_is_kept_once() {
    let handshakes = HandshakeLimits { per_s: 1, ..HandshakeLimits::default() };
    let mut rig = Rig::with_limits(SessionLimits { handshakes, ..SessionLimits::default() });
    let mut first = rig.call();
    rig.exchange(&mut first, 20);
    assert!(first.connected);

    let mut peer = rig.call_from(50_001);
    assert!(peer.connection.has_0rtt(), "the server remembers it");
    peer.send(rig.now, &mut rig.server);
    rig.turn(Duration::from_millis(1));
    for seq in 0..3 {
        let batch = link::payload(&[numbered(seq); 28]);
        peer.connection.datagrams().send(batch.into(), false).unwrap();
        peer.send(rig.now, &mut rig.server);
        rig.turn(Duration::from_millis(1));
    }
    assert!(rig.sink.t1.is_empty(), "the rate lets one begin in a second");
    rig.turn(Duration::from_secs(1));
    rig.turn(Duration::from_millis(1));
    let taken = link::values(&rig.sink.t1);
    assert_eq!(taken, [[0; 28], [1; 28], [2; 28]].concat());
}

#[test]
fn an_early_command_waits_for_its_handshake_without_work() {
    let mut rig = Rig::new();
    let mut first = rig.call();
    rig.exchange(&mut first, 20);
    assert!(first.connected);
    first.connection.close(rig.now.instant, VarInt::from_u32(0), bytes::Bytes::new());
    rig.exchange(&mut first, 1_000);

    let mut peer = rig.call();
    assert!(peer.connection.has_0rtt(), "the server remembers it");
    let request = Command::request(numbered(1), Operation::Read);
    let stream = peer.open(Dir::Bi, request.as_bytes());
    peer.connection.send_stream(stream).finish().unwrap();
    peer.send(rig.now, &mut rig.server);
    rig.turn(Duration::from_micros(100));
    rig.turn(Duration::from_micros(100));
    assert!(rig.sink.t3.is_empty(), "anybody may have sent it");
    assert!(!rig.server.is_backlogged(), "the next turn could do nothing for it");
    rig.exchange(&mut peer, 20);
    assert_eq!(rig.sink.t3.len(), 1);
}

#[test]
fn a_handshake_that_fails_in_its_first_packet_is_counted_by_its_reason() {
    let mut rig = Rig::build(SessionLimits::default(), b"pollux/2");
    let mut peer = rig.call();
    rig.exchange(&mut peer, 5);
    let tally = rig.server.tally();
    assert_eq!((tally.handshakes_failed, tally.handshakes_tls, tally.opened), (1, 1, 0));
}
