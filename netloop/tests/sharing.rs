//! Workers that share a port, over real sockets: one stands still, and its sessions come back on the other.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use netloop::{
    Answer, Clock, CloseReason, Engine, Handover, Idle, IdleStrategy, Naming, Now, Port, Posts,
    Run, ServerTls, SessionEvent, SessionLimits, Sink, Slot, Socket, SocketOptions, Stage, Stop,
    Waker, Worker, WorkerConfig, WorkerNumber, WorkerStats, client_tls, wake_line,
};
use quinn_proto::crypto;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::{ALPN, CloseCode};

const SEED: [u8; 32] = [5; 32];
/// More than the kernel puts into one of two sockets by chance: 2 in 2^16 runs would.
const CLIENTS_MAX: usize = 16;

/// A port that tells what happens to sessions, stands still while its gate is shut, and takes its worker down when it is broken.
struct Gated {
    events: Sender<SessionEvent>,
    shut: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
}

impl Sink for Gated {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        run.records.len()
    }

    fn free_t2(&self) -> usize {
        0
    }

    fn push_t2(&mut self, _: &Run<'_>) {}

    fn free_t3(&self) -> usize {
        0
    }

    fn handle_command(&mut self, _: Slot) -> Answer {
        Answer::Reset(CloseCode::Busy)
    }

    fn handle_ack(&mut self, _: Slot) {}
}

impl Port for Gated {
    fn poll_outbound(&mut self, _: &mut Engine, _: Now) -> bool {
        while self.shut.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        assert!(!self.broken.load(Ordering::Acquire), "as the test has asked for");
        false
    }

    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        // A test that no longer listens has ended.
        let _ = self.events.send(event);
        Ok(())
    }
}

/// A worker that runs, and its near ends.
struct Running {
    events: Receiver<SessionEvent>,
    shut: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
    stats: Arc<WorkerStats>,
    waker: Waker,
    stop: Stop,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(engine: Engine, socket: Socket, wakes: WakeLine, way: Option<Handover>) -> Self {
        let (waker, sleeper) = wakes;
        let (sender, events) = channel();
        let shut = Arc::new(AtomicBool::new(false));
        let broken = Arc::new(AtomicBool::new(false));
        let port = Gated { events: sender, shut: Arc::clone(&shut), broken: Arc::clone(&broken) };
        let idle = (Idle::new(IdleStrategy::Wait), Some(sleeper));
        let (stop, stats) = (Stop::new(), WorkerStats::shared());
        let config = WorkerConfig::default();
        let worker = Worker::new(engine, socket, port, idle, config, Arc::clone(&stats));
        let worker = match way {
            Some(way) => worker.sharing(way),
            None => worker,
        };
        let until = stop.clone();
        let thread = std::thread::spawn(move || drop(worker.run(&until)));
        Self { events, shut, broken, stats, waker, stop, thread }
    }

    fn end(self) {
        self.shut.store(false, Ordering::Release);
        self.stop.drain();
        self.waker.wake();
        self.thread.join().unwrap();
    }

    fn await_opened(&self) {
        while !matches!(self.events.recv().unwrap(), SessionEvent::Opened { .. }) {}
    }

    fn await_closed(&self) -> CloseReason {
        loop {
            if let SessionEvent::Closed { reason, .. } = self.events.recv().unwrap() {
                return reason;
            }
        }
    }
}

type WakeLine = (Waker, netloop::Sleeper);

/// Two workers on one port of loopback, and what a device needs to reach them.
struct Pair {
    workers: [Running; 2],
    posts: Posts,
    addr: SocketAddr,
    client: Arc<dyn crypto::ClientConfig>,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key: PrivateKeyDer<'static> =
        PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let quic = ServerTls::from_der(vec![certificate.clone()], key).into_quic().unwrap();
    let options = SocketOptions { reuse_port: true, ..SocketOptions::default() };
    let first = Socket::bind(([127, 0, 0, 1], 0).into(), options).unwrap();
    let addr = first.local_addr();
    let sockets = [first, Socket::bind(addr, options).unwrap()];
    let lines = [wake_line().unwrap(), wake_line().unwrap()];
    let wakers: Vec<Waker> = lines.iter().map(|(waker, _)| waker.clone()).collect();
    let (posts, ways) = Handover::between(SEED, &wakers, &sockets).unwrap();
    let now = Clock::new().now();
    let mut parts = sockets.into_iter().zip(lines).zip(ways);
    let workers = [0, 1].map(|index| {
        let ((socket, line), way) = parts.next().unwrap();
        let naming = Naming { seed: SEED, worker: WorkerNumber::new(index, 2) };
        let engine = Engine::server(quic.clone(), SessionLimits::default(), now, naming);
        Running::start(engine, socket, line, Some(way))
    });
    Pair { workers, posts, addr, client: client_tls([certificate], ALPN).unwrap() }
}

impl Pair {
    /// A device with numbers of its own on the local port, any if 0, which speaks often enough to learn that its session is gone.
    fn connect(&self, seed: u8, port: u16) -> (Running, u16) {
        let socket = Socket::bind(([127, 0, 0, 1], port).into(), SocketOptions::default()).unwrap();
        let port = socket.local_addr().port();
        let now = Clock::new().now();
        let keep_alive = Some(Duration::from_millis(20));
        let limits = SessionLimits { keep_alive, ..SessionLimits::default() };
        let mut engine = Engine::client(self.client.clone(), None, limits, now, [seed; 32]);
        engine.connect(now, self.addr, "localhost").unwrap();
        let running = Running::start(engine, socket, wake_line().unwrap(), None);
        running.await_opened();
        (running, port)
    }

    /// The worker that accepted the next session.
    fn await_accepted(&self) -> usize {
        let opened = |event| matches!(event, SessionEvent::Opened { .. });
        loop {
            for (index, worker) in self.workers.iter().enumerate() {
                if worker.events.try_iter().any(opened) {
                    return index;
                }
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn sessions_of_a_worker_that_stands_still_come_back_on_the_other() {
    let pair = pair();
    let mut others = Vec::new();
    let (client, port) = loop {
        assert!(others.len() < CLIENTS_MAX, "the kernel spreads devices over the sockets");
        let (client, port) = pair.connect(others.len() as u8, 0);
        if pair.await_accepted() == 0 {
            break (client, port);
        }
        others.push(client);
    };
    pair.workers[0].shut.store(true, Ordering::Release);
    pair.workers[0].waker.wake();
    while pair.workers[0].stats.stage.value() != Stage::Commands {
        std::thread::yield_now();
    }
    let turns = pair.workers[0].stats.turns.value();

    pair.posts.desert(0);
    assert_eq!(client.await_closed(), CloseReason::Reset);
    client.end();
    let (again, same) = pair.connect(u8::MAX, port);
    assert_eq!(same, port, "the kernel gives the device to the same socket");
    assert_eq!(pair.await_accepted(), 1);
    assert_eq!(pair.workers[0].stats.turns.value(), turns, "the first worker still stands still");

    pair.posts.resume(0);
    again.end();
    for client in others {
        client.end();
    }
    for worker in pair.workers {
        worker.end();
    }
}

#[test]
fn a_worker_that_panics_has_counted_everything_and_leaves_no_session() {
    let pair = pair();
    let (client, _) = pair.connect(1, 0);
    let accepted = pair.await_accepted();
    let [first, second] = pair.workers;
    let (fails, lives) = if accepted == 0 { (first, second) } else { (second, first) };
    fails.broken.store(true, Ordering::Release);
    fails.waker.wake();
    assert!(fails.thread.join().is_err(), "it panicked");
    assert_eq!((fails.stats.handshakes_ok.value(), fails.stats.sessions_open()), (1, 0));
    let peers = &fails.stats.health;
    assert_eq!(peers.iter().map(netloop::Counter::value).sum::<u64>(), 0);
    client.end();
    lives.end();
}
