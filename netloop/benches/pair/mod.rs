//! Two engines in virtual time, for benchmarks of this crate and of those above it: no kernel, no clock, no allocation that
//! differs from run to run.

use std::time::Duration;

use bytes::BytesMut;
use netloop::{
    Answer, Consumer, Datagram, Engine, Now, Phase, Producer, Run, Runs, ServerTls, SessionId,
    SessionLimits, Sink, Slot, client_tls, ring,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::ALPN;

/// Room for what a turn brings.
const RING_LINES: usize = 1024;

/// The ring of T1, emptied behind each turn.
pub(crate) struct Drained {
    t1: Producer<Slot>,
    out: Consumer<Slot>,
}

impl Drained {
    pub(crate) fn new() -> Self {
        let (t1, out) = ring(RING_LINES);
        Self { t1, out }
    }

    /// Empties the ring; says how many records were in it.
    pub(crate) fn empty(&mut self) -> usize {
        let mut records = 0;
        while self.out.pop_runs(|lines| {
            let count = Runs::new(lines).map(|run| run.records.len()).sum();
            records += count;
            (lines.len(), count)
        }) > 0
        {}
        records
    }
}

impl Sink for Drained {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        self.t1.push_run(run)
    }
    fn free_t2(&self) -> usize {
        0
    }
    fn push_t2(&mut self, _: &Run<'_>) {}
    fn free_t3(&self) -> usize {
        0
    }
    fn handle_command(&mut self, _: Slot) -> Answer {
        Answer::Later
    }
    fn handle_ack(&mut self, _: Slot) {}
}

/// One side, at a port of its own.
pub(crate) struct End {
    pub(crate) engine: Engine,
    pub(crate) sink: Drained,
    pub(crate) port: u16,
}

impl End {
    fn new(engine: Engine, port: u16) -> Self {
        Self { engine, sink: Drained::new(), port }
    }

    /// Gives the packets to the engine and collects what it answers. Records stay in the sink.
    pub(crate) fn turn(&mut self, now: Now, from: u16, packets: Vec<BytesMut>) -> Vec<BytesMut> {
        for payload in packets {
            let remote = ([10, 0, 0, 1], from).into();
            let datagram = Datagram { remote, local_ip: None, ecn: None, payload, recv_ns: 1 };
            self.engine.handle_datagram(now, datagram);
        }
        self.engine.poll(now, &mut self.sink);
        self.engine.handle_timeouts(now, &mut self.sink);
        let (mut buffer, mut sent) = (Vec::new(), Vec::new());
        while let Some(transmit) = self.engine.poll_transmit(now, 1, &mut buffer) {
            sent.push(BytesMut::from(&buffer[..transmit.size]));
        }
        sent
    }
}

/// A client and a server with a session between them, and the moment at which it is ready for full packets.
pub(crate) fn pair() -> (End, End, SessionId, Now) {
    // Signatures of one size: those of ECDSA differ by a byte or two, after which the heap lies otherwise in each run.
    let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let request = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = request.self_signed(&made).unwrap().into();
    let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(made.serialize_der()).into();
    let tls = ServerTls::from_der(vec![certificate.clone()], key).into_quic().unwrap();
    let client_tls = client_tls([certificate], ALPN).unwrap();
    let limits = SessionLimits { ack_every: Some(4), ..SessionLimits::default() };
    let mut now = Now::simulated();
    let mut server = End::new(Engine::server(tls, limits.clone(), now, [1; 32]), 4433);
    let mut client = End::new(Engine::client(client_tls, None, limits, now, [2; 32]), 9000);
    let session = client.engine.connect(now, ([10, 0, 0, 1], 4433).into(), "localhost").unwrap();
    // Time for the search of the path's MTU, so that 36 records fit.
    let mut to_client = Vec::new();
    for _ in 0..2000 {
        now = now.plus(Duration::from_millis(1));
        let to_server = client.turn(now, server.port, to_client);
        to_client = server.turn(now, client.port, to_server);
    }
    assert_eq!(client.engine.phase(session), Some(Phase::Open));
    (client, server, session, now)
}
