//! Two workers over real sockets on loopback, each on a thread of its own, joined to this test by rings.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use std::{net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use netloop::{
    Answer, Clock, CloseReason, Consumer, Due, Engine, Idle, IdleStrategy, Outbound, Producer,
    RingPort, ServerTls, SessionEvent, SessionId, SessionLimits, Slot, Socket, SocketOptions, Stop,
    Waker, Worker, WorkerConfig, WorkerStats, client_tls, ring, wake_line,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::{
    ALPN, CloseCode, Command, DeviceId, Hello, Operation, Reading, Record, SensorType, Status,
    capability,
};

/// The far ends of a worker's rings.
struct Far {
    t3: Consumer<Slot>,
    events: Consumer<SessionEvent>,
    outbound: Producer<Outbound>,
    waker: Waker,
    stop: Stop,
    stats: Arc<WorkerStats>,
    thread: JoinHandle<()>,
}

fn start(engine: Engine, socket: Socket, config: WorkerConfig) -> Far {
    let (t1, _) = ring(1024);
    let (t2, _) = ring(1024);
    let (t3, t3_far) = ring(64);
    let (events, events_far) = ring(64);
    let (_, stops) = ring(64);
    let (outbound_far, outbound) = ring(64);
    let (waker, sleeper) = wake_line().unwrap();
    let due = Due::default();
    let port = RingPort {
        t1,
        t2,
        t3,
        events,
        stops,
        outbound,
        due,
        paths: None,
        renewals: None,
        viewers: None,
    };
    let idle = (Idle::new(IdleStrategy::Wait), Some(sleeper));
    let (stop, stats) = (Stop::new(), WorkerStats::shared());
    let worker = Worker::new(engine, socket, port, idle, config, Arc::clone(&stats));
    let until = stop.clone();
    let thread = std::thread::spawn(move || drop(worker.run(&until)));
    Far { t3: t3_far, events: events_far, outbound: outbound_far, waker, stop, stats, thread }
}

/// A server with this configuration, and a client with so many sessions.
fn pair(config: WorkerConfig, sessions: usize) -> (Far, Far, SocketAddr) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key: PrivateKeyDer<'static> =
        PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let server = ServerTls::from_der(vec![certificate.clone()], key).into_quic().unwrap();
    let client = client_tls([certificate], ALPN).unwrap();
    let bind = || Socket::bind(([127, 0, 0, 1], 0).into(), SocketOptions::default()).unwrap();
    let (at_server, at_client) = (bind(), bind());
    let address = at_server.local_addr();
    let now = Clock::new().now();
    let limits = SessionLimits::default();
    let hello = Hello { capabilities: capability::COMMANDS, epoch: 3, device: DeviceId([9; 16]) };
    let mut engine = Engine::client(client, Some(hello), limits.clone(), now, [2; 32]);
    for _ in 0..sessions {
        engine.connect(now, address, "localhost").unwrap();
    }
    let server = start(Engine::server(server, limits, now, [1; 32]), at_server, config);
    (server, start(engine, at_client, WorkerConfig::default()), address)
}

/// Waits for the next value; the gate's own time limit ends a test that waits in vain.
fn next<T: Copy>(consumer: &mut Consumer<T>) -> T {
    loop {
        if let Some(value) = consumer.pop() {
            return value;
        }
        std::thread::yield_now();
    }
}

fn opened(far: &mut Far) -> SessionId {
    loop {
        if let SessionEvent::Opened { session, .. } = next(&mut far.events) {
            return session;
        }
    }
}

fn command(seq: u32) -> Record {
    let reading = Reading {
        device: DeviceId([9; 16]),
        sensor_id: 4,
        value: 20.0,
        ts_us: 0,
        seq,
        sensor_type: SensorType::Temperature,
    };
    Command::request(Record::encode(&reading), Operation::Setpoint)
}

#[test]
fn commands_go_both_ways_through_sleeping_workers() {
    let (mut server, mut client, _) = pair(WorkerConfig::default(), 1);
    let at_client = opened(&mut client);
    let at_server = opened(&mut server);
    for seq in 0..50 {
        for (asker, session, other) in [(0, at_client, at_server), (1, at_server, at_client)] {
            let (from, to) =
                if asker == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let request = command(seq);
            from.outbound.push(Outbound::Command { session, request, tag: seq }).unwrap();
            from.waker.wake();
            let asked = next(&mut to.t3);
            assert_eq!((asked.record, asked.flags), (*request.as_bytes(), 0));
            let ack = Command::ack(request, Status::Ok, 21.0);
            let answer = Outbound::Answer {
                session: SessionId(asked.session),
                token: asked.hint,
                answer: Answer::Ack(ack),
            };
            assert_eq!(asked.session, other.0);
            to.outbound.push(answer).unwrap();
            to.waker.wake();
            let acked = next(&mut from.t3);
            assert_eq!((acked.record, acked.hint), (*ack.as_bytes(), seq));
            assert_eq!(acked.flags, netloop::slot::ACK);
        }
    }
    client.stop.drain();
    client.waker.wake();
    client.thread.join().unwrap();
    loop {
        if let SessionEvent::Closed { session, reason, .. } = next(&mut server.events) {
            assert_eq!(session, at_server);
            let told = CloseReason::Peer(Some(CloseCode::Shutdown));
            assert_eq!(reason, told);
            break;
        }
    }
    server.stop.drain();
    server.waker.wake();
    server.thread.join().unwrap();
    assert_eq!(server.stats.sessions_open(), 0);
    assert_eq!(server.stats.t3.received.value(), 50);
    assert_eq!(server.stats.garbage_datagrams.value(), 0);
}

#[test]
fn a_worker_that_ends_tells_every_peer_however_few_it_may_send_in_a_turn() {
    const SESSIONS: usize = 12;
    let config = WorkerConfig { transmits_max: 1, ..WorkerConfig::default() };
    let (mut server, mut client, _) = pair(config, SESSIONS);
    for _ in 0..SESSIONS {
        opened(&mut client);
        opened(&mut server);
    }
    server.stop.drain();
    server.waker.wake();
    let mut told = 0;
    while told < SESSIONS {
        if let SessionEvent::Closed { reason, .. } = next(&mut client.events) {
            assert_eq!(reason, CloseReason::Peer(Some(CloseCode::Shutdown)));
            told += 1;
        }
    }
    server.thread.join().unwrap();
    client.stop.drain();
    client.waker.wake();
    client.thread.join().unwrap();
}

#[test]
fn a_worker_that_ends_gives_devices_the_answers_to_what_they_have_asked() {
    let config = WorkerConfig { drain_max: Duration::from_secs(60), ..WorkerConfig::default() };
    let (mut server, mut client, _) = pair(config, 1);
    let at_client = opened(&mut client);
    opened(&mut server);
    let ask = |client: &mut Far, seq| {
        let (session, request) = (at_client, command(seq));
        client.outbound.push(Outbound::Command { session, request, tag: seq }).unwrap();
        client.waker.wake();
    };
    ask(&mut client, 0);
    let mut asked = vec![next(&mut server.t3)];
    server.stop.drain();
    server.waker.wake();
    // What still comes in the turn that has begun before the end is handed on as well.
    let refused = loop {
        let seq = asked.len() as u32;
        ask(&mut client, seq);
        let refused = loop {
            match (server.t3.pop(), client.t3.pop()) {
                (None, None) => std::thread::yield_now(),
                (Some(slot), _) => {
                    asked.push(slot);
                    break None;
                }
                (None, end) => break end,
            }
        };
        if let Some(refused) = refused {
            break refused;
        }
    };
    let last = command(asked.len() as u32);
    assert_eq!((refused.record, refused.flags), (*last.as_bytes(), netloop::slot::FAILED));
    for slot in &asked {
        let ack = Command::ack(Record::from_bytes(slot.record), Status::Ok, 21.0);
        let (session, token) = (SessionId(slot.session), slot.hint);
        let answer = Answer::Ack(ack);
        server.outbound.push(Outbound::Answer { session, token, answer }).unwrap();
    }
    server.waker.wake();
    let acked: Vec<_> = asked.iter().map(|_| next(&mut client.t3).flags).collect();
    assert_eq!(acked, vec![netloop::slot::ACK; asked.len()]);
    server.thread.join().unwrap();
    client.stop.drain();
    client.waker.wake();
    client.thread.join().unwrap();
    let stats = &server.stats;
    assert_eq!((stats.t3_busy.value(), stats.t3_unanswered.value()), (1, 0));
}

#[test]
fn commands_whose_session_is_over_before_their_answer_are_counted() {
    let (mut server, mut client, _) = pair(WorkerConfig::default(), 1);
    let session = opened(&mut client);
    opened(&mut server);
    client.outbound.push(Outbound::Command { session, request: command(0), tag: 0 }).unwrap();
    client.waker.wake();
    next(&mut server.t3);
    client.stop.drain();
    client.waker.wake();
    client.thread.join().unwrap();
    loop {
        if let SessionEvent::Closed { .. } = next(&mut server.events) {
            break;
        }
    }
    server.stop.drain();
    server.waker.wake();
    server.thread.join().unwrap();
    assert_eq!(server.stats.t3_unanswered.value(), 1);
}
