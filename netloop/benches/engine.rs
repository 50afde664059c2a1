//! A turn of the server's engine, in memory: what QUIC, decoding and the slots cost, without a kernel.
//!
//! A client engine makes the packets and takes the acknowledgements, outside the measured time.
#![allow(clippy::unwrap_used, reason = "a benchmark panics where its set-up fails")]

use std::{cell::RefCell, time::Duration};

use bytes::{Bytes, BytesMut};
use divan::{Bencher, counter::ItemsCount};
use netloop::{
    Answer, Consumer, Datagram, Engine, Now, Phase, Producer, Run, Runs, ServerTls, SessionId,
    SessionLimits, Sink, Slot, client_tls, ring,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::{ALPN, DeviceId, Reading, Record, SensorType};

fn main() {
    divan::main();
}

/// Room for what a turn brings.
const RING_LINES: usize = 1024;

/// The ring of T1, emptied behind each turn.
struct Drained {
    t1: Producer<Slot>,
    out: Consumer<Slot>,
}

impl Drained {
    fn new() -> Self {
        let (t1, out) = ring(RING_LINES);
        Self { t1, out }
    }

    /// Empties the ring; says how many records were in it.
    fn empty(&mut self) -> usize {
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

struct End {
    engine: Engine,
    sink: Drained,
    port: u16,
}

impl End {
    fn new(engine: Engine, port: u16) -> Self {
        Self { engine, sink: Drained::new(), port }
    }

    /// Gives the packets to the engine and collects what it answers.
    fn turn(&mut self, now: Now, from: u16, packets: Vec<BytesMut>) -> Vec<BytesMut> {
        for payload in packets {
            let remote = ([10, 0, 0, 1], from).into();
            let datagram = Datagram { remote, local_ip: None, ecn: None, payload, recv_ns: 1 };
            self.engine.handle_datagram(now, datagram);
        }
        self.engine.poll(now, &mut self.sink);
        self.engine.handle_timeouts(now, &mut self.sink);
        self.sink.empty();
        let (mut buffer, mut sent) = (Vec::new(), Vec::new());
        while let Some(transmit) = self.engine.poll_transmit(now, 1, &mut buffer) {
            sent.push(BytesMut::from(&buffer[..transmit.size]));
        }
        sent
    }
}

fn pair() -> (End, End, SessionId, Now) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key: PrivateKeyDer<'static> =
        PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let server = ServerTls::from_der(vec![certificate.clone()], key).into_quic().unwrap();
    let client = client_tls([certificate], ALPN).unwrap();
    let limits = SessionLimits { ack_every: Some(4), ..SessionLimits::default() };
    let mut now = Now::simulated();
    let mut server = End::new(Engine::server(server, limits.clone(), now, [1; 32]), 4433);
    let mut client = End::new(Engine::client(client, None, limits, now, [2; 32]), 9000);
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

fn batch(records: usize) -> Bytes {
    let reading = |n: usize| Reading {
        device: DeviceId([n as u8; 16]),
        sensor_id: n as u16,
        value: n as f64,
        ts_us: 0,
        seq: 0,
        sensor_type: SensorType::Temperature,
    };
    (0..records).flat_map(|n| *Record::encode(&reading(n)).as_bytes()).collect()
}

/// Packets in a turn, few enough for the congestion window that a session begins with.
const PACKETS: usize = 12;

/// One turn with 12 packets of one DATAGRAM frame each; the figure is for a record.
#[divan::bench(args = [1, 5, 36], sample_size = 1, sample_count = 2000)]
fn turn(bencher: Bencher<'_, '_>, records: usize) {
    let (client, server, session, now) = pair();
    let (client, server) = (RefCell::new(client), RefCell::new(server));
    let (now, answers) = (RefCell::new(now), RefCell::new(Vec::new()));
    let payload = batch(records);
    bencher
        .counter(ItemsCount::new(PACKETS * records))
        .with_inputs(|| {
            let mut now = now.borrow_mut();
            let mut client = client.borrow_mut();
            let mut packets = client.turn(*now, 4433, answers.take());
            while packets.len() < PACKETS {
                // Time for the sender's pacing.
                *now = now.plus(Duration::from_millis(1));
                client.engine.send_datagram(session, payload.clone()).unwrap();
                packets.extend(client.turn(*now, 4433, Vec::new()));
            }
            (*now, packets)
        })
        .bench_local_values(|(now, packets)| {
            let sent = server.borrow_mut().turn(now, 9000, packets);
            answers.borrow_mut().extend(sent);
        });
}
