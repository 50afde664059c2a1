//! A carrier: the session of some devices, and what waits for it. It outlives its session: a lost one is replaced.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;
use netloop::{Engine, SendError, SendStream, SessionId, StreamPriority};
use wire::{RECORD_BYTES, Record, Tier, Totals};

use super::coalesce::{Chunks, Coalescer, Outlet, Packing, WireForm};
use super::lateness::{Dues, Lateness};

/// Where a carrier stands with its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// No session; one will be asked for.
    Apart,
    /// The handshake runs, or the twin has not said yet that it admits the session.
    Connecting(SessionId),
    /// Records flow.
    Open(SessionId),
    /// The orderly close runs.
    Finishing(SessionId),
    /// There will be no further session.
    Over,
}

/// Something that was due and could not be sent yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deferred {
    /// The sensor to go on with.
    pub(super) sensor: u32,
    /// Sensors that are due, from that one on.
    pub(super) sensors: u32,
    /// When, in nanoseconds since the schedule began.
    pub(super) due_ns: u64,
}

/// What carriers share: the way out, and what is counted on it.
pub(super) struct Road<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) chunks: &'a mut Chunks,
    pub(super) account: Account<'a>,
}

/// What is counted on the way out.
pub(super) struct Account<'a> {
    pub(super) form: &'a mut WireForm,
    pub(super) sent: &'a mut [u64; Tier::COUNT],
    pub(super) shed: &'a mut [u64; Tier::COUNT],
    pub(super) lateness: Lateness<'a>,
}

pub(super) struct Carrier {
    pub(super) devices: Range<u32>,
    pub(super) link: Link,
    /// Calls since a session has stayed.
    pub(super) attempts: u32,
    /// When the latest session was admitted, in nanoseconds since the first turn.
    pub(super) opened_ns: u64,
    /// True once its first handshake has ended, either way.
    pub(super) tried: bool,
    /// True once it had a session.
    pub(super) was_open: bool,
    pub(super) coalescer: Coalescer,
    /// Of the records in the coalescer, where they have a due time.
    pub(super) dues: Dues,
    pub(super) events: EventStream,
    /// T1, T2 and T3 that were due and wait for room.
    pub(super) deferred: [VecDeque<Deferred>; Tier::COUNT],
    /// A numbered command that found no stream, and when it was due.
    pub(super) command: Option<(Record, u64)>,
    /// Commands of this session without an ack.
    pub(super) commands_open: u32,
    /// Records offered in this session, for each tier.
    pub(super) offered: [u64; Tier::COUNT],
    /// DATAGRAM bytes that the session buffers when nothing waits.
    buffer_bytes: usize,
    /// The sensor whose turn it is next in a carrier without a rate.
    pub(super) cursor: usize,
    /// True while the carrier is on the list of those with something to settle.
    pub(super) active: bool,
}

impl Carrier {
    pub(super) fn new(devices: Range<u32>, packing: Packing) -> Self {
        Self {
            devices,
            link: Link::Apart,
            attempts: 0,
            opened_ns: 0,
            tried: false,
            was_open: false,
            coalescer: Coalescer::new(packing),
            dues: Dues::default(),
            events: EventStream::default(),
            deferred: Default::default(),
            command: None,
            commands_open: 0,
            offered: [0; Tier::COUNT],
            buffer_bytes: 0,
            cursor: 0,
            active: false,
        }
    }

    /// The sensors of its devices, each of which has so many.
    pub(super) const fn sensors(&self, per_device: usize) -> Range<usize> {
        self.devices.start as usize * per_device..self.devices.end as usize * per_device
    }

    /// Begins to use a session that was just admitted.
    pub(super) fn open(&mut self, engine: &mut Engine, session: SessionId, now_ns: u64) {
        self.link = Link::Open(session);
        self.opened_ns = now_ns;
        self.was_open = true;
        self.offered = [0; Tier::COUNT];
        self.commands_open = 0;
        self.buffer_bytes = engine.datagram_space_bytes(session);
    }

    /// Gives the session up: T2 goes on in the next one, T1 that was not sent is forgotten and its number returned.
    pub(super) fn part(&mut self) -> u64 {
        self.link = Link::Apart;
        self.events.part();
        self.forget_t1()
    }

    /// Forgets T1 that was packed and not sent, and returns its number.
    pub(super) fn forget_t1(&mut self) -> u64 {
        self.dues.clear();
        self.coalescer.clear()
    }

    /// True while something waits here for the session.
    pub(super) fn is_waiting(&self) -> bool {
        !self.coalescer.is_empty()
            || !self.events.is_empty()
            || self.command.is_some()
            || self.deferred.iter().any(|tier| !tier.is_empty())
    }

    /// Makes room for one T1 record. False when the session is away or its path busy.
    #[inline]
    pub(super) fn make_room(&mut self, road: &mut Road<'_>) -> bool {
        self.with_outlet(road, |coalescer, chunks, outlet| coalescer.make_room(chunks, outlet))
            .unwrap_or(false)
    }

    /// Sends what is packed and may not wait, and what the T2 stream takes. True when anything left.
    pub(super) fn settle(&mut self, road: &mut Road<'_>, now_ns: u64) -> bool {
        let left = self.with_outlet(road, |coalescer, chunks, outlet| {
            coalescer.settle(now_ns, chunks, outlet)
        });
        self.write_events(road) || left.unwrap_or(false)
    }

    /// Sends everything that is packed, whatever its linger.
    pub(super) fn flush(&mut self, road: &mut Road<'_>) {
        self.with_outlet(road, |coalescer, chunks, outlet| coalescer.flush(chunks, outlet));
        self.write_events(road);
    }

    #[inline]
    fn with_outlet<T>(
        &mut self,
        road: &mut Road<'_>,
        send: impl FnOnce(&mut Coalescer, &mut Chunks, &mut EngineOutlet<'_, '_>) -> T,
    ) -> Option<T> {
        let Link::Open(session) = self.link else { return None };
        let mut outlet = EngineOutlet {
            engine: &mut *road.engine,
            session,
            buffer_bytes: self.buffer_bytes,
            account: &mut road.account,
            dues: &mut self.dues,
            offered: &mut self.offered[Tier::T1.index()],
        };
        Some(send(&mut self.coalescer, &mut *road.chunks, &mut outlet))
    }

    fn write_events(&mut self, road: &mut Road<'_>) -> bool {
        let Link::Open(session) = self.link else { return false };
        let written = self.events.write(road.engine, session);
        road.account.sent[Tier::T2.index()] += written;
        self.offered[Tier::T2.index()] += written;
        written > 0
    }

    /// What the session says it has offered, when it ends.
    pub(super) const fn totals(&self) -> Totals {
        Totals { offered: self.offered }
    }
}

struct EngineOutlet<'a, 'b> {
    engine: &'a mut Engine,
    session: SessionId,
    buffer_bytes: usize,
    account: &'a mut Account<'b>,
    dues: &'a mut Dues,
    offered: &'a mut u64,
}

impl Outlet for EngineOutlet<'_, '_> {
    fn payload_bytes_max(&mut self) -> Option<usize> {
        self.engine.datagram_bytes_max(self.session)
    }

    fn is_idle(&mut self) -> bool {
        self.engine.datagram_space_bytes(self.session) >= self.buffer_bytes
    }

    fn send(&mut self, payload: Bytes) -> Result<(), SendError> {
        let payload_bytes = payload.len();
        self.engine.send_datagram(self.session, payload)?;
        self.account.form.add(payload_bytes);
        let records = (payload_bytes / RECORD_BYTES) as u64;
        self.account.sent[Tier::T1.index()] += records;
        self.account.lateness.record(self.dues, records);
        *self.offered += records;
        Ok(())
    }

    fn give_up(&mut self, records: u64) {
        self.account.shed[Tier::T1.index()] += records;
        self.dues.forget(records);
    }
}

/// The T2 stream of a carrier: one for each session, with what flow control has not let through yet.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    stream: Option<SendStream>,
    /// Records that are wholly written on it.
    on_stream: u64,
    pending: Vec<u8>,
    /// Bytes at the front of `pending` that QUIC has taken.
    written: usize,
}

/// Events beyond so many bytes wait as due times instead, which are smaller.
const PENDING_BYTES_MAX: usize = 256 * RECORD_BYTES;

impl EventStream {
    pub(super) const fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) const fn has_room(&self) -> bool {
        self.pending.len() < PENDING_BYTES_MAX
    }

    pub(super) fn push(&mut self, record: &Record) {
        self.pending.extend_from_slice(record.as_bytes());
    }

    /// Writes what the stream takes, and says how many records are now wholly written.
    fn write(&mut self, engine: &mut Engine, session: SessionId) -> u64 {
        if self.pending.is_empty() {
            return 0;
        }
        let before = self.written / RECORD_BYTES;
        if self.stream.is_none() {
            self.stream = engine.open_stream(session, StreamPriority::Normal).ok();
        }
        let Some(stream) = self.stream else { return 0 };
        while self.written < self.pending.len() {
            match engine.write_stream(session, stream, &self.pending[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(SendError::StreamClosed) => {
                    // The twin allows no further stream, or has stopped this one; the next turn goes on with a new one.
                    self.rewind();
                    break;
                }
                Err(SendError::Blocked | SendError::NotOpen | SendError::TooLarge) => break,
            }
        }
        let after = self.written / RECORD_BYTES;
        self.compact();
        let written = (after - before) as u64;
        self.on_stream += written;
        written
    }

    fn compact(&mut self) {
        if self.written == self.pending.len() {
            self.pending.clear();
            self.written = 0;
        } else if self.written >= PENDING_BYTES_MAX / 2 {
            let whole = self.written - self.written % RECORD_BYTES;
            self.pending.drain(..whole);
            self.written -= whole;
        }
    }

    /// Forgets the stream; a record that was written in part will be written whole on the next one.
    fn rewind(&mut self) {
        self.stream = None;
        self.on_stream = 0;
        self.written -= self.written % RECORD_BYTES;
    }

    /// The twin has stopped a stream. Nobody tells how much of it was read before.
    pub(super) fn stop(&mut self, stream: SendStream) {
        if self.stream == Some(stream) {
            self.rewind();
        }
    }

    /// Records that the twin has taken once the session is closed in order: those of a stream that it did not stop.
    pub(super) const fn acknowledged(&self) -> u64 {
        self.on_stream
    }

    fn part(&mut self) {
        self.rewind();
        self.compact();
    }

    /// Records that are not wholly written.
    pub(super) const fn unwritten(&self) -> u64 {
        ((self.pending.len() - self.written).div_ceil(RECORD_BYTES)) as u64
    }

    /// Ends the stream in order. The twin may still stop it.
    pub(super) fn finish(&self, engine: &mut Engine, session: SessionId) {
        if let Some(stream) = self.stream {
            engine.finish_stream(session, stream);
        }
    }
}
