//! A worker does not rest while somebody waits for what comes next: here it would rest for an hour.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use std::{sync::mpsc::Sender, time::Duration};

use netloop::{
    Answer, Clock, Engine, Idle, IdleStrategy, Now, Port, Run, ServerTls, SessionEvent, SessionId,
    SessionLimits, Sink, Slot, Socket, SocketOptions, Stop, Worker, WorkerConfig, WorkerStats,
    client_tls, wake_line,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::{
    ALPN, Command, DeviceId, Hello, Operation, Reading, Record, SensorType, Status, capability,
};

const COMMANDS: u32 = 20;

/// Asks one command after the other, or answers them.
#[derive(Default)]
struct Asker {
    session: Option<SessionId>,
    asked: u32,
    answered: Option<Sender<u8>>,
    waits: bool,
}

fn request(seq: u32) -> Record {
    let reading = Reading {
        device: DeviceId([9; 16]),
        sensor_id: 4,
        value: 20.0,
        ts_us: 0,
        seq,
        sensor_type: SensorType::Temperature,
    };
    Command::request(Record::encode(&reading), Operation::Read)
}

impl Sink for Asker {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        run.records.len()
    }

    fn free_t2(&self) -> usize {
        0
    }

    fn push_t2(&mut self, _: &Run<'_>) {}

    fn free_t3(&self) -> usize {
        1
    }

    fn handle_command(&mut self, slot: Slot) -> Answer {
        Answer::Ack(Command::ack(Record::from_bytes(slot.record), Status::Ok, 1.0))
    }

    fn handle_ack(&mut self, end: Slot) {
        self.waits = false;
        if let Some(answered) = &self.answered {
            answered.send(end.flags).unwrap();
        }
    }
}

impl Port for Asker {
    fn poll_outbound(&mut self, engine: &mut Engine, _: Now) -> bool {
        let Some(session) = self.session.filter(|_| !self.waits && self.answered.is_some()) else {
            return false;
        };
        if self.asked == COMMANDS {
            return false;
        }
        self.asked += 1;
        self.waits = true;
        engine.open_command(session, request(self.asked), 0).unwrap();
        true
    }

    fn is_awaited(&self) -> bool {
        true
    }

    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        if let SessionEvent::Opened { session, .. } = event {
            self.session = Some(session);
        }
        Ok(())
    }
}

#[test]
fn worker_that_is_awaited_reads_each_answer_at_once() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key: PrivateKeyDer<'static> =
        PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let server = ServerTls::from_der(vec![certificate.clone()], key).into_quic().unwrap();
    let client = client_tls([certificate], ALPN).unwrap();
    let bind = || Socket::bind(([127, 0, 0, 1], 0).into(), SocketOptions::default()).unwrap();
    let (at_server, at_client) = (bind(), bind());
    let (now, limits) = (Clock::new().now(), SessionLimits::default());
    let hello = Hello { capabilities: capability::COMMANDS, epoch: 3, device: DeviceId([9; 16]) };
    let mut caller = Engine::client(client, Some(hello), limits.clone(), now, [2; 32]);
    caller.connect(now, at_server.local_addr(), "localhost").unwrap();
    let called = Engine::server(server, limits, now, [1; 32]);
    let (sender, answered) = std::sync::mpsc::channel();
    let asker = Asker { answered: Some(sender), ..Asker::default() };
    let ends = [(called, at_server, Asker::default()), (caller, at_client, asker)];
    let running = ends.map(|(engine, socket, port)| {
        let (waker, sleeper) = wake_line().unwrap();
        let idle = (Idle::new(IdleStrategy::Wait), Some(sleeper));
        let config = WorkerConfig { rest: Duration::from_secs(3_600), ..WorkerConfig::default() };
        let worker = Worker::new(engine, socket, port, idle, config, WorkerStats::shared());
        let stop = Stop::new();
        let until = stop.clone();
        (stop, waker, std::thread::spawn(move || drop(worker.run(&until))))
    });
    // Who waits in vain is ended by the gate's own time limit.
    let flags: Vec<u8> = answered.iter().take(COMMANDS as usize).collect();
    assert_eq!(flags, vec![netloop::slot::ACK; COMMANDS as usize]);
    for (stop, waker, thread) in running {
        stop.drain();
        waker.wake();
        thread.join().unwrap();
    }
}
