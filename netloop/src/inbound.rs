//! Streams that the peer opened: control, T2 and T3. PROTOCOL.md#control, #t2, #t3.
//!
//! A stream is read only as far as the sink has room, so that a full ring reaches the device through QUIC's flow control
//! and loses nothing. A stream that breaks its form is stopped; the others and the session go on.

use std::time::{Duration, Instant};

use quinn_proto::{Chunks, ReadError, StreamId, VarInt};
use wire::{
    CloseCode, Command, ControlFrame, HELLO_BYTES, Hello, MAGIC, RECORD_BYTES, Record, Tier, Totals,
};

use crate::{
    Answer, Refusal, Sink, Trust,
    backlog::Left,
    identity::Scope,
    session::{Outcome, Phase, Service, Session, Stamp},
    streams::Queue,
};

/// What a stream turned out to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// The first unidirectional stream: control if it begins with the magic, else T2.
    Opening,
    /// After the hello.
    Control,
    /// T2.
    Records,
    /// T3.
    Command,
}

/// A stream of the peer, and the bytes of it that are not a whole unit yet.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) id: StreamId,
    pub(crate) kind: StreamKind,
    /// It is in line to be read.
    pub(crate) readable: bool,
    /// Never longer than a control frame may be.
    tail: Vec<u8>,
    /// FIN was read together with the tail.
    ended: bool,
}

/// Bytes that one service of a session takes from its T2 streams together: no session holds the others up for longer.
const T2_BUDGET_BYTES: usize = 64 << 10;
/// Records that no device offers on a tier within a second: at 39 bytes each they are 31 Gbit/s. PROTOCOL.md#control.
const OFFERED_PER_S_MAX: u64 = 100_000_000;
/// Bytes of one read of a control stream or a command; both are short.
const SHORT_READ_BYTES: usize = 512;

/// How a read of one stream ended.
enum Read {
    /// All that is there was taken.
    Blocked,
    /// The sink is full, the budget used up, or others are in turn.
    Unfinished,
    /// FIN.
    End,
    /// The peer reset it.
    Reset,
    /// Nothing was read, because the peer has not proved who it is. The session is served when it has.
    Waiting,
    /// The form is broken: stop it with this code.
    Bad(CloseCode),
}

impl Inbound {
    pub(crate) const fn new(id: StreamId, kind: StreamKind) -> Self {
        Self { id, kind, readable: true, tail: Vec::new(), ended: false }
    }
}

impl Session {
    /// Reads every readable stream as far as the sink allows, and says what is left.
    pub(crate) fn drain_streams<S: Sink>(
        &mut self,
        service: &mut Service<'_, S>,
        outcome: &mut Outcome,
    ) -> Left {
        let mut left = Left { acks: self.drain_acks(service), records: false };
        let mut budget = T2_BUDGET_BYTES;
        for queue in [Queue::Short, Queue::Records] {
            // Each stream once: one that is put in line again has had its turn.
            for _ in 0..self.inbound.waiting(queue) {
                let Some(at) = self.inbound.next(queue) else { break };
                match self.read_inbound(at, service, outcome, &mut budget) {
                    Read::Blocked => self.inbound[at].readable = false,
                    Read::Unfinished => {
                        self.inbound.line_up(at);
                        left.records = true;
                    }
                    Read::Waiting => self.inbound.line_up(at),
                    Read::End => self.handle_end(at),
                    Read::Reset => drop(self.inbound.remove(at)),
                    Read::Bad(code) => {
                        self.stop(at, code);
                        if code == CloseCode::BadVersion {
                            outcome.refused = Some(code);
                        }
                    }
                }
            }
        }
        left
    }

    fn read_inbound<S: Sink>(
        &mut self,
        at: u32,
        service: &mut Service<'_, S>,
        outcome: &mut Outcome,
        budget: &mut usize,
    ) -> Read {
        let read = match self.inbound[at].kind {
            StreamKind::Opening | StreamKind::Control => {
                self.read_control(at, (service.trust, service.instant), outcome)
            }
            _ if self.scope == Scope::Nobody => return Read::Waiting,
            StreamKind::Records => return self.read_records(at, service, budget),
            StreamKind::Command => return self.read_command(at, service),
        };
        if self.inbound[at].kind == StreamKind::Records {
            // The first bytes were no magic: the stream is T2, and its tail is the front of its records.
            self.inbound[at].ended = matches!(read, Read::End);
            if self.scope == Scope::Nobody {
                // Whoever opens without a hello shows no token.
                outcome.turned_away = Some(Refusal::Token);
                return Read::Waiting;
            }
            return self.read_records(at, service, budget);
        }
        read
    }

    /// Takes what is there into the stream's tail, up to `tail_max` bytes in all.
    fn fill_tail(&mut self, at: u32, tail_max: usize) -> Option<Read> {
        let stream = &mut self.inbound[at];
        let mut receive = self.connection.recv_stream(stream.id);
        let Ok(mut chunks) = receive.read(true) else { return Some(Read::Reset) };
        let end = loop {
            if stream.tail.len() >= tail_max {
                break None;
            }
            match next(&mut chunks, tail_max - stream.tail.len()) {
                Ok(bytes) => stream.tail.extend_from_slice(&bytes),
                Err(end) => break Some(end),
            }
        };
        let _ = chunks.finalize();
        end
    }

    fn read_control(&mut self, at: u32, judge: (&Trust, Instant), outcome: &mut Outcome) -> Read {
        loop {
            let end = self.fill_tail(at, SHORT_READ_BYTES);
            if let Err(code) = self.decode_control(at, judge, outcome) {
                return Read::Bad(code);
            }
            match end {
                Some(end) => return end,
                None if self.inbound[at].kind == StreamKind::Records => return Read::Unfinished,
                None => {}
            }
        }
    }

    /// Decodes what the tail holds: the hello, then frames. Whom to trust, and what the clock says, decide what of it holds.
    fn decode_control(
        &mut self,
        at: u32,
        (trust, now): (&Trust, Instant),
        outcome: &mut Outcome,
    ) -> Result<(), CloseCode> {
        let stream = &mut self.inbound[at];
        if stream.kind == StreamKind::Opening {
            let seen = stream.tail.len().min(MAGIC.len());
            if stream.tail[..seen] != MAGIC[..seen] {
                stream.kind = StreamKind::Records;
                self.is_plain = true;
                return Ok(());
            }
            match Hello::decode(&stream.tail) {
                Ok(None) => return Ok(()),
                Ok(Some((hello, took))) => {
                    let bytes: Vec<u8> = stream.tail.drain(..took).collect();
                    stream.kind = StreamKind::Control;
                    self.handle_token(trust, (&hello, &bytes), outcome);
                    // A device that could take another one's name would be given its commands.
                    if matches!(self.scope, Scope::Device(own) if own != hello.device.0) {
                        outcome.refused = Some(CloseCode::Forbidden);
                        return Err(CloseCode::Forbidden);
                    }
                    self.hello = Some(hello);
                    outcome.hello = Some(hello);
                }
                Err(wire::ControlError::Version(_)) => return Err(CloseCode::BadVersion),
                Err(_) => return Err(CloseCode::BadControl),
            }
        }
        let stream = &mut self.inbound[at];
        loop {
            match ControlFrame::decode(&stream.tail) {
                Ok(None) => return Ok(()),
                Ok(Some((frame, took))) => {
                    stream.tail.drain(..took);
                    if let ControlFrame::Totals(totals) = frame {
                        let opened = self.opened.unwrap_or(now);
                        if !are_possible(&totals, now.saturating_duration_since(opened)) {
                            return Err(CloseCode::BadControl);
                        }
                        self.totals_told = Some(totals);
                    }
                }
                Err(_) => return Err(CloseCode::BadControl),
            }
        }
    }

    fn read_records<S: Sink>(
        &mut self,
        at: u32,
        service: &mut Service<'_, S>,
        budget: &mut usize,
    ) -> Read {
        let stamp = self.stamp(service.unix_ns);
        loop {
            let free = service.sink.free_t2();
            if free == 0 || *budget == 0 || service.records_wait {
                return Read::Unfinished;
            }
            let tail = self.inbound[at].tail.len();
            if tail >= RECORD_BYTES {
                // The front of a stream, read to see what it is.
                let whole = (tail / RECORD_BYTES).min(free) * RECORD_BYTES;
                let front: Vec<u8> = self.inbound[at].tail.drain(..whole).collect();
                if !self.push_t2(wire::Batch::decode_prefix(&front).0, &stamp, service) {
                    return Read::Bad(CloseCode::BadRecord);
                }
                continue;
            }
            if self.inbound[at].ended {
                return Read::End;
            }
            let bytes = {
                let mut receive = self.connection.recv_stream(self.inbound[at].id);
                let Ok(mut chunks) = receive.read(true) else { return Read::Reset };
                let read = next(&mut chunks, (free * RECORD_BYTES - tail).min(*budget));
                let _ = chunks.finalize();
                match read {
                    Ok(bytes) => bytes,
                    Err(end) => return end,
                }
            };
            *budget = budget.saturating_sub(bytes.len());
            if !self.take_records(at, &bytes, &stamp, service) {
                return Read::Bad(CloseCode::BadRecord);
            }
        }
    }

    /// Pushes the whole records of tail and bytes, and keeps the rest as tail. False when a record breaks a rule; those
    /// before it were pushed.
    fn take_records<S: Sink>(
        &mut self,
        at: u32,
        bytes: &[u8],
        stamp: &Stamp,
        service: &mut Service<'_, S>,
    ) -> bool {
        let mut tail = std::mem::take(&mut self.inbound[at].tail);
        let mut rest = bytes;
        if !tail.is_empty() {
            let lacking = (RECORD_BYTES - tail.len() % RECORD_BYTES) % RECORD_BYTES;
            let (front, back) = bytes.split_at(lacking.min(bytes.len()));
            tail.extend_from_slice(front);
            rest = back;
        }
        let (joined, ragged) = wire::Batch::decode_prefix(&tail);
        let mut good = self.push_t2(joined, stamp, service);
        if good && ragged.is_empty() {
            let (records, ragged) = wire::Batch::decode_prefix(rest);
            good = self.push_t2(records, stamp, service);
            self.inbound[at].tail.extend_from_slice(ragged);
        } else {
            let start = tail.len() - ragged.len();
            tail.drain(..start);
            self.inbound[at].tail = tail;
        }
        good
    }

    fn push_t2<S: Sink>(
        &mut self,
        records: &[Record],
        stamp: &Stamp,
        service: &mut Service<'_, S>,
    ) -> bool {
        let good = records.iter().position(|record| record.check().is_err());
        let count = good.unwrap_or(records.len());
        let limits = (service.keys_seed, service.keys_max);
        let push = |hint, listed: &[u32], records: &[Record]| {
            service.sink.push_t2(&stamp.run(hint, listed, records));
        };
        let forbidden = self.keys.each_run(&records[..count], limits, &self.scope, push);
        if forbidden > 0 {
            self.count_forbidden(Tier::T2, forbidden);
        }
        let tally = &mut self.tally[Tier::T2.index()];
        tally.received += count as u64;
        if good.is_some() {
            // Only the record that broke the rule is known to be one; what follows it was never read as records.
            tally.received += 1;
            tally.rejected += 1;
        }
        good.is_none()
    }

    fn read_command<S: Sink>(&mut self, at: u32, service: &mut Service<'_, S>) -> Read {
        if self.phase == Phase::Handshake {
            // Early data can be replayed by anybody who has seen it. A command waits until the handshake has proved who
            // sends it, and no turn before that could do anything for it.
            return Read::Waiting;
        }
        match self.fill_tail(at, RECORD_BYTES + 1) {
            None => Read::Bad(CloseCode::Ragged),
            Some(Read::End) if self.inbound[at].tail.len() != RECORD_BYTES => {
                Read::Bad(CloseCode::Ragged)
            }
            Some(Read::End) => self.take_command(at, service),
            Some(end) => end,
        }
    }

    fn take_command<S: Sink>(&mut self, at: u32, service: &mut Service<'_, S>) -> Read {
        let tally = &mut self.tally[Tier::T3.index()];
        tally.received += 1;
        let bytes = *self.inbound[at].tail.first_chunk().expect("39 bytes were just counted");
        let record = Record::from_bytes(bytes);
        if Command::decode(&record).is_err() {
            tally.rejected += 1;
            return Read::Bad(CloseCode::BadRecord);
        }
        let device = record.key().first_chunk().expect("16 of 18 bytes");
        if !self.scope.allows(device) {
            self.count_forbidden(Tier::T3, 1);
            return Read::Bad(CloseCode::Forbidden);
        }
        if service.refuses_commands || service.sink.free_t3() == 0 {
            tally.shed += 1;
            self.busy += 1;
            let ends = service.refuses_commands;
            return Read::Bad(if ends { CloseCode::Shutdown } else { CloseCode::Busy });
        }
        let stream = self.inbound[at].id;
        let Some(token) = service.commands.insert(self.id, stream) else {
            self.tally[Tier::T3.index()].shed += 1;
            self.busy += 1;
            return Read::Bad(CloseCode::Busy);
        };
        let slot = self.stamp(service.unix_ns).slot(&record, token);
        match service.sink.handle_command(slot) {
            Answer::Later => self.commands_waiting += 1,
            Answer::Ack(ack) => {
                service.commands.remove(token, self.id);
                self.write_ack(stream, &ack);
            }
            Answer::Reset(code) => {
                service.commands.remove(token, self.id);
                return Read::Bad(code);
            }
        }
        Read::End
    }

    /// A stream that ended in order; a T2 stream must end between records.
    fn handle_end(&mut self, at: u32) {
        let stream = self.inbound.remove(at);
        match stream.kind {
            // Behind its end the device offers nothing more, so its totals are its last word.
            StreamKind::Control if stream.tail.is_empty() => self.totals = self.totals_told,
            _ if stream.tail.is_empty() => {}
            // A cut magic is a cut record.
            StreamKind::Opening if stream.tail.len() < MAGIC.len() => {
                self.tally[Tier::T2.index()].decode_errors += 1;
            }
            StreamKind::Records => self.tally[Tier::T2.index()].decode_errors += 1,
            StreamKind::Opening | StreamKind::Control => self.bad_control += 1,
            StreamKind::Command => {}
        }
    }

    /// Ends a stream that broke its form, counts it and tells the peer why.
    fn stop(&mut self, at: u32, code: CloseCode) {
        let stream = self.inbound.remove(at);
        let number = VarInt::from_u32(code as u32);
        // The peer may have finished or reset it already; then there is nothing left to stop.
        let _ = self.connection.recv_stream(stream.id).stop(number);
        match stream.kind {
            StreamKind::Command => {
                let _ = self.connection.send_stream(stream.id).reset(number);
                match code {
                    CloseCode::NoHandler => self.no_handler += 1,
                    CloseCode::Busy
                    | CloseCode::Shutdown
                    | CloseCode::BadRecord
                    | CloseCode::Forbidden => {}
                    _ => self.tally[Tier::T3.index()].decode_errors += 1,
                }
            }
            StreamKind::Records => self.tally[Tier::T2.index()].decode_errors += 1,
            StreamKind::Opening | StreamKind::Control => self.bad_control += 1,
        }
    }
}

/// Whether a device can have offered so much in a session of this age. What it has not is counted as lost, and one number from
/// outside would be in every sum of losses from then on.
fn are_possible(totals: &Totals, age: Duration) -> bool {
    let seconds_begun = age.as_secs() + 1;
    let most = OFFERED_PER_S_MAX.saturating_mul(seconds_begun);
    totals.offered.iter().all(|&offered| offered <= most)
}

/// The next chunk of a stream, or how the read ended.
fn next(chunks: &mut Chunks<'_>, length_max: usize) -> Result<bytes::Bytes, Read> {
    match chunks.next(length_max) {
        Ok(Some(chunk)) => Ok(chunk.bytes),
        Ok(None) => Err(Read::End),
        Err(ReadError::Blocked) => Err(Read::Blocked),
        Err(ReadError::Reset(_)) => Err(Read::Reset),
    }
}

const _: () = assert!(HELLO_BYTES < SHORT_READ_BYTES);
