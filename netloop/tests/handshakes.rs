//! Handshakes that never end, and what comes with them before they do: neither holds a place, nor keeps a worker awake.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;
mod peer;

use std::{sync::Arc, time::Duration};

use link::{Collector, numbered};
use netloop::{Engine, Now, ServerTls, SessionLimits, client_tls};
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
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key: PrivateKeyDer<'static> =
            PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let tls = ServerTls::from_der(vec![certificate.clone()], key).into_quic().unwrap();
        let now = Now::simulated();
        let server = Engine::server(tls, SessionLimits::default(), now, [1; 32]);
        let mut client = ClientConfig::new(client_tls([certificate], wire::ALPN).unwrap());
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(None);
        client.transport_config(Arc::new(transport));
        Self { now, server, sink: Collector::default(), client }
    }

    fn call(&self) -> Peer {
        Peer::call(self.now, 50_000, self.client.clone())
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
