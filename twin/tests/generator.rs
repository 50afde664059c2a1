//! The load generator against a worker, over real sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod far;

use std::{net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use far::Far;
use netloop::{
    Clock, Engine, Idle, IdleStrategy, SessionLimits, Socket, SocketOptions, Stop, Worker,
    WorkerConfig, WorkerStats, wake_line,
};
use rustls::pki_types::CertificateDer;
use twin::{
    args::{Batch, FramesPerPacket, Profile, Rate, Sampling},
    report::Usage,
    simulate::{Generator, GeneratorError, Plan, Summary},
};

struct Twin {
    addr: SocketAddr,
    root: CertificateDer<'static>,
    stop: Stop,
    thread: JoinHandle<Far>,
}

impl Twin {
    fn start() -> Self {
        let (root, tls) = far::localhost();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let socket = Socket::bind(any, SocketOptions::default()).unwrap();
        let addr = socket.local_addr();
        let now = Clock::new().now();
        let engine =
            Engine::server(tls.into_quic().unwrap(), SessionLimits::default(), now, [8; 32]);
        let (_, sleeper) = wake_line().unwrap();
        let idle = (Idle::new(IdleStrategy::Wait), Some(sleeper));
        let stats: Arc<WorkerStats> = WorkerStats::shared();
        let far = Far::default();
        let worker = Worker::new(engine, socket, far, idle, WorkerConfig::default(), stats);
        let stop = Stop::new();
        let until = stop.clone();
        Self { addr, root, stop, thread: std::thread::spawn(move || worker.run(&until)) }
    }

    fn end(self) -> Far {
        self.stop.drain();
        self.thread.join().unwrap()
    }
}

fn plan(remote: SocketAddr) -> Plan {
    Plan {
        remote,
        server_name: "localhost".to_owned(),
        devices: 20,
        sessions: 4,
        profile: Profile::Industrial,
        rate: Rate::Hz(50.0),
        t2_rate_hz: 10.0,
        t3_rate_hz: 4.0,
        count: None,
        duration: Some(Duration::from_secs(2)),
        sampling: Sampling::Cyclic,
        batch: Batch::Auto,
        frames_per_packet: FramesPerPacket::Auto,
        stock_congestion: false,
        linger: Duration::ZERO,
        mtu_bytes: 1452,
        seed: 7,
    }
}

fn run(mut generator: Generator) -> Result<Summary, GeneratorError> {
    while !generator.wait(Duration::from_millis(50))? {}
    generator.finish(Usage::default)
}

#[test]
fn a_load_over_sockets_is_accounted_for_on_both_sides() {
    let twin = Twin::start();
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let roots = vec![twin.root.clone()];
    let generator = Generator::start(plan(twin.addr), roots, Some(report.clone())).unwrap();
    let summary = run(generator).unwrap();
    let far = twin.end();
    assert_eq!((summary.sessions.opened, summary.sessions.finished), (4, 4));
    let offered = [summary.sent.t1, summary.sent.t2, summary.sent.t3];
    let told = far
        .totals
        .iter()
        .fold([0; 3], |sum, totals| [0, 1, 2].map(|tier| sum[tier] + totals.offered[tier]));
    assert_eq!(told, offered);
    assert!(far.records[0] <= offered[0], "nothing arrives that was not sent");
    assert_eq!(far.records[1..], offered[1..]);
    assert_eq!(summary.acknowledged.t2, offered[1]);
    assert_eq!(summary.acknowledged.t3, offered[2]);
    // What was due in 2 s is sent or shed, whatever the machine does meanwhile.
    assert_eq!(offered[0] + summary.shed.t1, 10_000);
    assert_eq!(summary.latency_ns["round_trip"].count, offered[2]);
    assert_eq!(summary.latency_ns["lateness"].count, offered[0]);
    for name in ["lateness", "round_trip", "round_trip_intended"] {
        for kind in ["hlog", "hgrm"] {
            assert!(report.join(format!("{name}.{kind}")).metadata().unwrap().len() > 100);
        }
    }
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report.join("summary.json")).unwrap()).unwrap();
    assert_eq!(json["sent"]["t1"], offered[0]);
    assert_eq!(json["wire"]["frames"], summary.wire.frames);
    assert!(summary.wire.packets > 0 && summary.wire.bytes > 39 * offered[0]);
}

#[test]
fn a_request_to_stop_ends_in_order() {
    let twin = Twin::start();
    let endless = Plan { duration: None, ..plan(twin.addr) };
    let mut generator = Generator::start(endless, vec![twin.root.clone()], None).unwrap();
    while generator.progress().sent[0].value() < 1_000 {
        assert!(!generator.wait(Duration::from_millis(10)).unwrap());
    }
    generator.stop();
    let summary = run(generator).unwrap();
    let far = twin.end();
    assert_eq!(summary.sessions.finished, 4);
    assert_eq!(far.totals.len(), 4);
    assert!(summary.sent.t1 >= 1_000);
}

#[test]
fn a_stranger_as_authority_is_the_reason_given() {
    let twin = Twin::start();
    let (stranger, _) = far::localhost();
    let generator = Generator::start(plan(twin.addr), vec![stranger], None).unwrap();
    let error = run(generator).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot connect to {} as localhost: ", twin.addr)));
    assert!(error.contains("certificate"), "{error}");
    twin.end();
}
