//! Where payloads of any transport enter the world: check, find the sensor's number, push into the ring of T1.
//!
//! It does what a worker of Pollux does behind its engine, so that the tick does the same for every transport. It never
//! sheds: a full ring makes the transport wait, as each of them can.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netloop::{Clock, RUN_RECORDS_MAX, RingPort, Run, SessionEvent, SessionId, WorkerStats};
use wire::{Batch, Record};

/// A full ring is looked at again after this: a tenth of a tick.
const RETRY: Duration = Duration::from_micros(100);
/// All transports come in as one session.
const SESSION: SessionId = SessionId(0);

/// The worker's end of the rings.
pub struct Inlet {
    port: RingPort,
    stats: Arc<WorkerStats>,
    numbers: Numbers,
    clock: Clock,
}

impl Inlet {
    /// Opens the one session.
    ///
    /// # Panics
    /// The ring of events has no room for its first.
    #[must_use]
    pub fn new(mut port: RingPort, stats: Arc<WorkerStats>) -> Self {
        let remote = SocketAddr::from(([127, 0, 0, 1], 0));
        let opened = SessionEvent::Opened { session: SESSION, remote };
        port.events.push(opened).expect("there is room because the ring is new");
        stats.turns.add(1);
        let clock = Clock::new();
        Self { port, stats, numbers: Numbers::default(), clock }
    }

    /// Hands over a payload of whole records; gives false for anything else, which is counted.
    pub fn accept(&mut self, payload: &[u8]) -> bool {
        self.accept_joined(payload, 1)
    }

    /// The same for several payloads that came together, one behind the other.
    pub fn accept_joined(&mut self, joined: &[u8], payloads: u64) -> bool {
        let Ok(batch) = Batch::decode(joined) else {
            self.stats.t1.decode_errors.add(1);
            return false;
        };
        let records = batch.records();
        let recv_ns = self.clock.now().unix_ns;
        let bad = records.iter().filter(|record| record.check().is_err()).count();
        self.stats.t1.received.add(records.len() as u64);
        self.stats.t1.rejected.add(bad as u64);
        self.stats.datagrams_in.add(payloads);
        if bad == 0 {
            self.push(recv_ns, records);
        } else {
            records
                .split(|record| record.check().is_err())
                .for_each(|good| self.push(recv_ns, good));
        }
        true
    }

    /// Pushes records in runs, and waits where the ring is full.
    fn push(&mut self, recv_ns: u64, mut records: &[Record]) {
        while let Some((hint, count)) = self.numbers.run(records) {
            let (now, rest) = records.split_at(count);
            let session = SESSION.0;
            let (epoch, lag_ns, flags, listed) = (0, 0, 0, &[][..]);
            let mut run =
                Run { recv_ns, hint, listed, session, epoch, lag_ns, flags, records: now };
            loop {
                let pushed = self.port.t1.push_run(&run);
                if pushed == run.records.len() {
                    break;
                }
                run = run.behind(pushed);
                std::thread::sleep(RETRY);
            }
            records = rest;
        }
    }
}

/// Sensors by the order in which they were first named, the next one predicted: what a worker of Pollux does.
#[derive(Default)]
struct Numbers {
    keys: Vec<[u8; 18]>,
    known: HashMap<[u8; 18], u32>,
    predicted: usize,
}

impl Numbers {
    /// The number of the first sensor, and how many of the records are of it and of those that follow it.
    fn run(&mut self, records: &[Record]) -> Option<(u32, usize)> {
        let (first, rest) = records.split_first()?;
        let number = self.of(first);
        let from = number as usize + 1;
        let known = self.keys[from..].iter().zip(rest).take(RUN_RECORDS_MAX - 1);
        let count = known.take_while(|(known, record)| *known == record.key()).count();
        self.predicted = (from + count) % self.keys.len();
        Some((number, 1 + count))
    }

    fn of(&mut self, record: &Record) -> u32 {
        let key = record.key();
        let number = match self.keys.get(self.predicted) {
            Some(next) if next == key => self.predicted as u32,
            _ => *self.known.entry(*key).or_insert_with(|| {
                self.keys.push(*key);
                self.keys.len() as u32 - 1
            }),
        };
        self.predicted = (number as usize + 1) % self.keys.len();
        number
    }
}
