//! Where payloads of any transport enter the world: check, find the sensor's number, push into the ring of T1.
//!
//! It does what a worker of Pollux does behind its engine, so that the tick does the same for every transport. It never
//! sheds: a full ring makes the transport wait, as each of them can.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netloop::{Clock, RingPort, SessionEvent, SessionId, Slot, WorkerStats};
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
    slots: Vec<Slot>,
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
        Self { port, stats, numbers: Numbers::default(), slots: Vec::new(), clock }
    }

    /// Hands over a payload of whole records; gives false for anything else, which is counted.
    pub fn accept(&mut self, payload: &[u8]) -> bool {
        let Ok(batch) = Batch::decode(payload) else {
            self.stats.t1.decode_errors.add(1);
            return false;
        };
        let now_ns = self.clock.now().unix_ns;
        self.slots.clear();
        for record in batch.records() {
            self.stats.t1.received.add(1);
            if record.check().is_err() {
                self.stats.t1.rejected.add(1);
                continue;
            }
            let mut slot = Slot::new(*record.as_bytes()).received(now_ns, now_ns);
            slot.session = SESSION.0;
            slot.hint = self.numbers.of(record);
            self.slots.push(slot);
        }
        self.stats.datagrams_in.add(1);
        let mut rest = self.slots.as_slice();
        loop {
            let pushed = self.port.t1.push_slice(rest);
            rest = &rest[pushed..];
            if rest.is_empty() {
                return true;
            }
            std::thread::sleep(RETRY);
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
