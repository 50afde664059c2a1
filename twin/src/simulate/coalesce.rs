//! One call per record, few DATAGRAM frames: records of a session are packed while its path is busy.
//!
//! A frame leaves when it is full, when QUIC has nothing else to send for the session, or when its oldest record has
//! lingered long enough. Packing costs one copy of a record into a buffer that stays in the cache, and one of the whole
//! batch into a shared chunk; there is no allocation for a record or a frame. A full path gives the record back to the
//! caller, who decides what to shed.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use netloop::SendError;
use wire::{RECORD_BYTES, Record};

/// Where a session's frames go: the engine, with the session already chosen.
pub trait Outlet {
    /// Largest payload of a DATAGRAM frame now, in bytes; `None` while there is no path.
    fn payload_bytes_max(&mut self) -> Option<usize>;

    /// True when nothing of the session waits to be sent.
    fn is_idle(&mut self) -> bool;

    /// Sends one batch.
    ///
    /// # Errors
    /// Nothing was sent.
    fn send(&mut self, payload: Bytes) -> Result<(), SendError>;

    /// Hears that the oldest records were given up, because no path carries them.
    fn give_up(&mut self, records: u64);
}

/// How records become frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// Records in a frame at most; beyond what fits it means as many as fit.
    pub records_max: usize,
    /// Never give QUIC a second frame to put into the same packet.
    pub one_frame: bool,
    /// How long a record may wait for company, in nanoseconds.
    pub linger_ns: u64,
}

/// The form in which records left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WireForm {
    /// T1 records sent.
    pub records: u64,
    /// DATAGRAM frames sent.
    pub frames: u64,
    /// Most records in one frame.
    pub records_max: u64,
}

impl WireForm {
    /// Counts one frame.
    pub fn add(&mut self, payload_bytes: usize) {
        let records = (payload_bytes / RECORD_BYTES) as u64;
        self.records += records;
        self.frames += 1;
        self.records_max = self.records_max.max(records);
    }
}

/// Memory of frames that wait in QUIC: written once from the front, and reused when QUIC is done with it.
#[derive(Debug)]
pub struct Chunks {
    open: BytesMut,
    /// Handles to the chunks that were filled; a chunk is free again when its handle is the only one left.
    filled: VecDeque<BytesMut>,
}

/// Two megabytes of frames at most are kept for reuse; beyond that chunks come and go with the allocator.
const CHUNKS_KEPT: usize = 32;
const CHUNK_BYTES: usize = 64 << 10;

impl Default for Chunks {
    fn default() -> Self {
        Self { open: BytesMut::with_capacity(CHUNK_BYTES), filled: VecDeque::new() }
    }
}

impl Chunks {
    /// A copy of `payload` that QUIC may keep.
    fn freeze(&mut self, payload: &[u8]) -> Bytes {
        if self.open.capacity() < payload.len() {
            self.renew();
        }
        self.open.extend_from_slice(payload);
        self.open.split().freeze()
    }

    fn renew(&mut self) {
        let reused = self.filled.pop_front().and_then(|mut chunk| {
            let free = chunk.try_reclaim(CHUNK_BYTES);
            if free {
                return Some(chunk);
            }
            self.filled.push_front(chunk);
            None
        });
        let next = reused.unwrap_or_else(|| BytesMut::with_capacity(CHUNK_BYTES));
        let full = std::mem::replace(&mut self.open, next);
        if self.filled.len() < CHUNKS_KEPT {
            self.filled.push_back(full);
        }
    }
}

/// Packs the T1 records of one session.
#[derive(Debug)]
pub struct Coalescer {
    packing: Packing,
    /// Records end to end.
    open: Vec<u8>,
    /// At this length the open batch is full.
    open_bytes_max: usize,
    /// When the first record of the open batch came, in nanoseconds of the caller's clock.
    open_since_ns: u64,
    /// Batches that are closed and could not be sent yet; mostly one.
    closed: VecDeque<Bytes>,
}

impl Coalescer {
    /// A coalescer without records.
    #[must_use]
    pub fn new(packing: Packing) -> Self {
        Self {
            packing,
            open: Vec::new(),
            open_bytes_max: 0,
            open_since_ns: 0,
            closed: VecDeque::new(),
        }
    }

    /// True when nothing waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty()
    }

    /// Records that wait here.
    #[must_use]
    pub fn len(&self) -> usize {
        let closed: usize = self.closed.iter().map(Bytes::len).sum();
        (self.open.len() + closed) / RECORD_BYTES
    }

    /// Makes room for one record, by sending if it must. False when the path is busy and the batch full.
    #[inline]
    pub fn make_room(&mut self, chunks: &mut Chunks, outlet: &mut impl Outlet) -> bool {
        if self.open.is_empty() {
            self.begin(outlet)
        } else {
            self.open.len() < self.open_bytes_max
                || (self.flush(chunks, outlet) && self.begin(outlet))
        }
    }

    /// Learns how much a batch may hold now: the path may have changed since the last one.
    fn begin(&mut self, outlet: &mut impl Outlet) -> bool {
        let fitting = outlet.payload_bytes_max().unwrap_or(0) / RECORD_BYTES;
        self.open_bytes_max = fitting.min(self.packing.records_max) * RECORD_BYTES;
        self.open_bytes_max > 0
    }

    /// Takes one record, for which [`Coalescer::make_room`] has just said that there is room.
    #[inline]
    pub fn push(&mut self, record: &Record, now_ns: u64) {
        debug_assert!(self.open.len() < self.open_bytes_max, "room was made before the push");
        if self.open.is_empty() {
            self.open_since_ns = now_ns;
        }
        self.open.extend_from_slice(record.as_bytes());
    }

    /// Sends what may not wait any longer. True when a batch left.
    pub fn settle(&mut self, now_ns: u64, chunks: &mut Chunks, outlet: &mut impl Outlet) -> bool {
        let had_closed = !self.closed.is_empty();
        let unblocked = self.send_closed(outlet);
        if !unblocked || self.open.is_empty() || !self.is_due(now_ns, outlet) {
            return had_closed && unblocked;
        }
        self.flush(chunks, outlet) || had_closed
    }

    fn is_due(&self, now_ns: u64, outlet: &mut impl Outlet) -> bool {
        let full = self.open.len() >= self.open_bytes_max;
        let lingered = now_ns.saturating_sub(self.open_since_ns) >= self.packing.linger_ns;
        full || (lingered && (self.packing.linger_ns > 0 || outlet.is_idle()))
    }

    /// When the open batch has lingered long enough; nothing without a linger, or while the path is busy anyway.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let waits = self.packing.linger_ns > 0 && !self.open.is_empty() && self.closed.is_empty();
        waits.then(|| self.open_since_ns + self.packing.linger_ns)
    }

    /// Closes the open batch, and sends everything. False when the path took not all of it.
    pub fn flush(&mut self, chunks: &mut Chunks, outlet: &mut impl Outlet) -> bool {
        if !self.send_closed(outlet) {
            return false;
        }
        if !self.open.is_empty() {
            self.closed.push_back(chunks.freeze(&self.open));
            self.open.clear();
        }
        // The batch is closed now even if the path is busy: a next one may be packed meanwhile.
        self.send_closed(outlet);
        true
    }

    /// True when no closed batch waits any longer.
    fn send_closed(&mut self, outlet: &mut impl Outlet) -> bool {
        while let Some(payload) = self.closed.front() {
            if self.packing.one_frame && !outlet.is_idle() {
                return false;
            }
            match outlet.send(payload.clone()) {
                Ok(()) => drop(self.closed.pop_front()),
                Err(SendError::TooLarge) => self.split_closed(outlet),
                Err(SendError::Blocked | SendError::NotOpen | SendError::StreamClosed) => {
                    return false;
                }
            }
        }
        true
    }

    /// Cuts the oldest closed batch to what the path carries since it shrank.
    fn split_closed(&mut self, outlet: &mut impl Outlet) {
        let Some(mut payload) = self.closed.pop_front() else { return };
        let fitting = outlet.payload_bytes_max().unwrap_or(0) / RECORD_BYTES * RECORD_BYTES;
        if fitting == 0 || fitting >= payload.len() {
            // Not even one record fits, or the path does not mean what it says: waiting would not help.
            return outlet.give_up((payload.len() / RECORD_BYTES) as u64);
        }
        let rest = payload.split_off(fitting);
        self.closed.push_front(rest);
        self.closed.push_front(payload);
    }

    /// Forgets what waits here, and says how many records that were.
    pub fn clear(&mut self) -> u64 {
        let forgotten = self.len() as u64;
        self.open.clear();
        self.closed.clear();
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use wire::{Batch, DeviceId, Reading, SensorType};

    use super::*;

    /// A path with room for so many frames until it is drained.
    struct Path {
        payload_bytes: usize,
        room: usize,
        waiting: usize,
        sent: Vec<Bytes>,
        given_up: u64,
    }

    impl Path {
        const fn new(payload_bytes: usize, room: usize) -> Self {
            Self { payload_bytes, room, waiting: 0, sent: Vec::new(), given_up: 0 }
        }

        fn lengths(&self) -> Vec<usize> {
            self.sent.iter().map(|payload| Batch::decode(payload).unwrap().len()).collect()
        }

        fn seqs(&self) -> Vec<u32> {
            let batches = self.sent.iter().map(|payload| Batch::decode(payload).unwrap());
            batches.flat_map(|batch| batch.records().iter().map(Record::seq)).collect()
        }
    }

    impl Outlet for Path {
        fn payload_bytes_max(&mut self) -> Option<usize> {
            Some(self.payload_bytes)
        }
        fn is_idle(&mut self) -> bool {
            self.waiting == 0
        }
        fn send(&mut self, payload: Bytes) -> Result<(), SendError> {
            if payload.len() > self.payload_bytes {
                return Err(SendError::TooLarge);
            }
            if self.waiting == self.room {
                return Err(SendError::Blocked);
            }
            self.waiting += 1;
            self.sent.push(payload);
            Ok(())
        }
        fn give_up(&mut self, records: u64) {
            self.given_up += records;
        }
    }

    fn record(seq: u32) -> Record {
        Record::encode(&Reading {
            device: DeviceId([9; 16]),
            sensor_id: 0,
            value: 1.0,
            ts_us: 0,
            seq,
            sensor_type: SensorType::Generic,
        })
    }

    const AUTO: Packing = Packing { records_max: usize::MAX, one_frame: false, linger_ns: 0 };

    /// Pushes records from `first` on until the path is full or `count` are taken.
    fn push(
        coalescer: &mut Coalescer,
        chunks: &mut Chunks,
        path: &mut Path,
        first: u32,
        count: u32,
    ) -> u32 {
        for taken in 0..count {
            if !coalescer.make_room(chunks, path) {
                return taken;
            }
            coalescer.push(&record(first + taken), 0);
        }
        count
    }

    #[test]
    fn an_idle_path_gets_what_is_there() {
        let (mut coalescer, mut chunks) = (Coalescer::new(AUTO), Chunks::default());
        let mut path = Path::new(1_404, 10);
        assert_eq!(push(&mut coalescer, &mut chunks, &mut path, 0, 5), 5);
        assert!(coalescer.settle(0, &mut chunks, &mut path));
        assert_eq!(path.lengths(), [5]);
        assert!(coalescer.is_empty());
    }

    #[test]
    fn a_busy_path_packs_until_it_is_idle_again() {
        let (mut coalescer, mut chunks) = (Coalescer::new(AUTO), Chunks::default());
        let mut path = Path::new(1_404, 10);
        path.waiting = 1;
        for turn in 0..4 {
            push(&mut coalescer, &mut chunks, &mut path, turn * 5, 5);
            assert!(!coalescer.settle(0, &mut chunks, &mut path));
        }
        path.waiting = 0;
        assert!(coalescer.settle(0, &mut chunks, &mut path));
        assert_eq!(path.lengths(), [20]);
    }

    #[test]
    fn full_batches_hold_as_many_records_as_fit() {
        let (mut coalescer, mut chunks) = (Coalescer::new(AUTO), Chunks::default());
        let mut path = Path::new(1_413, 10);
        assert_eq!(push(&mut coalescer, &mut chunks, &mut path, 0, 100), 100);
        assert_eq!(path.lengths(), [36, 36]);
        path.waiting = 0;
        assert!(coalescer.settle(0, &mut chunks, &mut path));
        assert_eq!(path.lengths(), [36, 36, 28]);
        assert_eq!(path.seqs(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_path_gives_the_record_back_and_loses_none() {
        let (mut coalescer, mut chunks) = (Coalescer::new(AUTO), Chunks::default());
        let mut path = Path::new(390, 2);
        let mut next = push(&mut coalescer, &mut chunks, &mut path, 0, 1_000);
        assert_eq!(next, 40, "two batches left, one waits closed and one is full");
        assert_eq!(coalescer.len(), 20);
        while next < 1_000 {
            path.waiting = 0;
            next += push(&mut coalescer, &mut chunks, &mut path, next, 1_000 - next);
        }
        path.waiting = 0;
        while !coalescer.is_empty() {
            path.waiting = 0;
            coalescer.settle(0, &mut chunks, &mut path);
        }
        assert_eq!(path.seqs(), (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_stated_batch_is_never_exceeded() {
        let packing = Packing { records_max: 3, ..AUTO };
        let (mut coalescer, mut chunks) = (Coalescer::new(packing), Chunks::default());
        let mut path = Path::new(1_404, 100);
        push(&mut coalescer, &mut chunks, &mut path, 0, 10);
        path.waiting = 0;
        coalescer.settle(0, &mut chunks, &mut path);
        assert_eq!(path.lengths(), [3, 3, 3, 1]);
    }

    #[test]
    fn one_frame_waits_until_the_last_has_left() {
        let packing = Packing { records_max: 1, one_frame: true, linger_ns: 0 };
        let (mut coalescer, mut chunks) = (Coalescer::new(packing), Chunks::default());
        let mut path = Path::new(1_404, 100);
        let mut next = 0;
        for turn in 1..=50 {
            next += push(&mut coalescer, &mut chunks, &mut path, next, 100);
            coalescer.settle(0, &mut chunks, &mut path);
            assert_eq!(path.sent.len(), turn, "one frame in each turn");
            path.waiting = 0;
        }
        assert_eq!(path.seqs(), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_linger_holds_an_idle_path_for_its_time_and_no_longer() {
        let packing = Packing { linger_ns: 500, ..AUTO };
        let (mut coalescer, mut chunks) = (Coalescer::new(packing), Chunks::default());
        let mut path = Path::new(1_404, 100);
        push(&mut coalescer, &mut chunks, &mut path, 0, 5);
        assert_eq!(coalescer.deadline_ns(), Some(500));
        assert!(!coalescer.settle(499, &mut chunks, &mut path));
        assert!(coalescer.settle(500, &mut chunks, &mut path));
        assert_eq!(path.lengths(), [5]);
        assert_eq!(coalescer.deadline_ns(), None);
    }

    #[test]
    fn a_path_that_shrinks_gets_smaller_batches_and_all_records() {
        let (mut coalescer, mut chunks) = (Coalescer::new(AUTO), Chunks::default());
        let mut path = Path::new(1_404, 1);
        push(&mut coalescer, &mut chunks, &mut path, 0, 100);
        path.payload_bytes = 400;
        path.room = 100;
        path.waiting = 0;
        assert!(coalescer.flush(&mut chunks, &mut path));
        assert_eq!(path.lengths(), [36, 10, 10, 10, 6, 10, 10, 8]);
        assert_eq!(path.seqs(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_no_path_carries_is_given_up_and_said() {
        let (mut coalescer, mut chunks) = (Coalescer::new(AUTO), Chunks::default());
        let mut path = Path::new(1_404, 100);
        push(&mut coalescer, &mut chunks, &mut path, 0, 20);
        path.payload_bytes = RECORD_BYTES - 1;
        assert!(coalescer.flush(&mut chunks, &mut path));
        assert!(coalescer.is_empty() && path.sent.is_empty());
        assert_eq!(path.given_up, 20);
    }

    #[test]
    fn chunks_are_reused_once_nobody_holds_their_frames() {
        let mut chunks = Chunks::default();
        let payload = [7_u8; 1_404];
        let mut places = std::collections::HashSet::new();
        for _ in 0..10_000 {
            places.insert(chunks.freeze(&payload).as_ptr() as usize / CHUNK_BYTES);
        }
        assert!(places.len() <= 6, "{} places for frames that were freed at once", places.len());
    }
}
