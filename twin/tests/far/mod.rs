//! The far side of a simulated fleet: counts every record and checks what a twin relies on.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::collections::HashMap;

use netloop::{
    Answer, CloseReason, Engine, Now, Outbound, Port, Run, ServerTls, SessionEvent, SessionId,
    Sink, Slot,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::{ALPN, CloseCode, Command, Record, Status, Tier, Totals};

/// A certificate for localhost, and the server's half of the handshake with it.
pub fn localhost() -> (CertificateDer<'static>, ServerTls) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let certificate = cert.der().clone();
    (certificate.clone(), ServerTls::from_der(vec![certificate], key).with_protocol(ALPN))
}

/// What was received of one sensor on one tier.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub records: u64,
    pub next_seq: u32,
    pub last_ts_us: u64,
}

/// Counts, and keeps what a test asks for.
#[derive(Default)]
pub struct Far {
    pub seen: HashMap<([u8; 18], usize), Seen>,
    pub records: [u64; 3],
    /// Records whose number was not the next of their sensor.
    pub out_of_sequence: u64,
    /// Time stamps of T1, if asked for, with their keys.
    pub stamps: Option<Vec<([u8; 18], u64)>>,
    /// T1 values of one sensor, if asked for.
    pub watched: Option<[u8; 18]>,
    pub values: Vec<f64>,
    pub totals: Vec<Totals>,
    pub closed: Vec<CloseReason>,
    pub acks: Vec<(Status, f64)>,
    /// The session that a sensor was last heard on.
    pub sessions: HashMap<[u8; 18], SessionId>,
    /// Commands to send in the next turn.
    pub outbound: Vec<Outbound>,
    /// Whether T2 is read.
    pub deaf: bool,
    /// Whether every session is closed as soon as it is open.
    pub turns_away: bool,
    opened: Vec<SessionId>,
    /// Keep no map of sensors, for measurements.
    pub counts_only: bool,
}

impl Far {
    fn count(&mut self, tier: Tier, slot: &Slot) {
        self.records[tier.index()] += 1;
        if self.counts_only {
            return;
        }
        let record = Record::from_bytes(slot.record);
        let seen = self.seen.entry((*record.key(), tier.index())).or_default();
        if seen.records > 0 && record.seq() != seen.next_seq {
            self.out_of_sequence += 1;
        }
        *seen = Seen {
            records: seen.records + 1,
            next_seq: record.seq().wrapping_add(1),
            last_ts_us: record.ts_us(),
        };
        self.sessions.insert(*record.key(), SessionId(slot.session));
        if tier == Tier::T1 {
            if let Some(stamps) = &mut self.stamps {
                stamps.push((*record.key(), record.ts_us()));
            }
            if self.watched == Some(*record.key()) {
                self.values.push(record.value());
            }
        }
    }
}

impl Sink for Far {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        let count = run.records.len();
        if self.counts_only {
            self.records[0] += count as u64;
            return count;
        }
        run.slots().for_each(|slot| self.count(Tier::T1, &slot));
        count
    }
    fn free_t2(&self) -> usize {
        if self.deaf { 0 } else { 1 << 16 }
    }
    fn push_t2(&mut self, run: &Run<'_>) {
        run.slots().for_each(|slot| self.count(Tier::T2, &slot));
    }
    fn free_t3(&self) -> usize {
        1 << 16
    }
    fn handle_command(&mut self, slot: Slot) -> Answer {
        self.count(Tier::T3, &slot);
        Answer::Ack(Command::ack(Record::from_bytes(slot.record), Status::Ok, 1.0))
    }
    fn handle_ack(&mut self, slot: Slot) {
        let ack = Record::from_bytes(slot.record);
        let status = Command::decode(&ack).unwrap().status().unwrap();
        self.acks.push((status, ack.value()));
    }
}

impl Port for Far {
    fn poll_outbound(&mut self, engine: &mut Engine, now: Now) -> bool {
        for session in self.opened.drain(..).filter(|_| self.turns_away) {
            engine.close(now, session, CloseCode::Limit);
        }
        let sent = !self.outbound.is_empty();
        for outbound in self.outbound.drain(..) {
            if let Outbound::Command { session, request, tag } = outbound {
                engine.open_command(session, request, tag).unwrap();
            }
        }
        sent
    }
    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        if let SessionEvent::Opened { session, .. } = event {
            self.opened.push(session);
        }
        if let SessionEvent::Closed { reason, totals, .. } = event {
            self.closed.push(reason);
            self.totals.extend(totals);
        }
        Ok(())
    }
}
