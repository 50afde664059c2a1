//! The cold end of a capture: segments from the ring into the file, on a thread that may block.
//!
//! A segment is put together in a buffer of whole pages and written at once, past the page cache where the file system
//! allows it: a copy into fresh pages of the kernel costs several times what all the rest of a capture does. A disk that is
//! full, or slow beyond what the ring holds, costs the capture and never the plant. A file that has reached its limit ends
//! there, or is written round, as its header says.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytemuck::Zeroable;
use netloop::{Clock, Consumer, Slot, Stop, keep_off, set_niceness, wait_until};
use thiserror::Error;

use super::file::{Header, PAGE_BYTES, SEGMENT_CELLS_MAX, SegmentHeader, Segments};
use super::follower::Follower;
use super::former::set_aside;
use super::rounds::Rounds;
use crate::config::Keep;
use crate::parting::{Left, Patience};
use crate::stats::TwinStats;

/// The ring is looked at so often.
const PERIOD: Duration = Duration::from_millis(20);
/// So much is worth a segment before its time.
const CELLS_MIN: usize = 1 << 11;
/// And after so many periods, 100 ms, whatever there is: a crash costs what came since.
const PERIODS_MAX: u32 = 5;

/// What goes on being shed is said once in so many periods: ten seconds.
const SILENT_PERIODS: u32 = 500;

/// A file that is written round has room for so many segments at least: one that is cut costs no more than that part of it.
const LAP_SEGMENTS_MIN: u64 = 8;
/// A state is written after each such part of a lap, and takes no more than that.
const LAP_STATES: u64 = 4;
/// A disk that is full at less leaves nothing that is worth going round in.
const LAP_BYTES_MIN: u64 = 16 * PAGE_BYTES as u64;

/// Why a capture could not begin.
#[derive(Debug, Error)]
#[error("capture.file: {}: {reason}", path.display())]
pub struct StartError {
    path: PathBuf,
    reason: io::Error,
}

/// How the writing ended, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// Everything that was captured is in the file.
    Whole,
    /// The file holds what came latest: its beginning is written over.
    Round,
    /// The file has reached its limit.
    Full,
    /// The system refused a write.
    Failed,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// Segments that were written; a file that was written round holds the latest of them.
    pub segments: u64,
    /// How it ended.
    pub ended: Ended,
}

/// What the writer may take of the host.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// Size of the file at most, in bytes.
    pub bytes_max: u64,
    /// How the thread is ranked, where the host's scheduler is asked at all: a ring lasts for some tenths of a second.
    pub niceness: Option<i32>,
    /// Cores that it keeps off, as [`netloop::keep_off`] does.
    pub off: Vec<usize>,
}

impl Allowance {
    /// A file of so many bytes, and no word to the scheduler.
    #[must_use]
    pub const fn bytes(bytes_max: u64) -> Self {
        Self { bytes_max, niceness: None, off: Vec::new() }
    }
}

/// The thread that writes.
pub struct Writer {
    stop: Stop,
    thread: JoinHandle<Written>,
}

impl Writer {
    /// Creates the file, sets aside the capture that is there, and starts the thread.
    ///
    /// # Errors
    /// Something else is there, the file cannot be written, or the system gives no thread.
    pub fn start(
        path: &Path,
        header: &Header,
        allowance: Allowance,
        ring: Consumer<Slot>,
        stats: Arc<TwinStats>,
    ) -> Result<Self, StartError> {
        let refused = |reason| StartError { path: path.to_owned(), reason };
        let Allowance { bytes_max, niceness, off } = allowance;
        let output = Output::create(path, header, bytes_max, stats).map_err(refused)?;
        let follower = match header.keep {
            Keep::First => None,
            Keep::Last => Some(Follower::new(header).map_err(io::Error::other).map_err(refused)?),
        };
        let rounds = follower.map(Rounds::new);
        let stop = Stop::new();
        let until = stop.clone();
        let run = move || {
            niceness.map(set_niceness);
            keep_off(&off);
            run(ring, output, rounds, &until)
        };
        let thread = std::thread::Builder::new().name("capture".to_owned()).spawn(run);
        Ok(Self { stop, thread: thread.map_err(refused)? })
    }

    /// Lets it write what is left in the ring, and end. The tap has to have ended before.
    pub fn drain(&self) {
        self.stop.drain();
    }

    /// Waits for the end that it was asked for, or asks for it.
    ///
    /// # Errors
    /// It does not end in time, because its disk hangs, or it has panicked.
    pub fn finish(self, patience: Patience) -> Result<Written, Left> {
        self.drain();
        patience.join(self.thread)
    }
}

fn run(
    mut ring: Consumer<Slot>,
    mut output: Output,
    mut rounds: Option<Rounds>,
    stop: &Stop,
) -> Written {
    let clock = Clock::new();
    let mut waited = 0;
    loop {
        // Asked before the ring is emptied, so that nothing that came before the end is left behind.
        let ending = stop.is_draining();
        waited += 1;
        if ending || waited >= PERIODS_MAX || ring.depth() >= CELLS_MIN {
            waited = 0;
            loop {
                let cells_max = output.cells_max();
                let whole = if ending { 1 } else { cells_max };
                let taken = match &mut rounds {
                    None => ring.pop_chunk(cells_max, |front, back| output.push(front, back)),
                    Some(rounds) => rounds.pop(&mut ring, &mut output),
                };
                if taken < whole {
                    break;
                }
            }
        }
        output.say_shed();
        if ending {
            return output.written;
        }
        wait_until(clock.now().instant + PERIOD, Duration::ZERO);
    }
}

/// The file as far as it is written.
pub(super) struct Output {
    file: File,
    /// The same file past the page cache, where that is possible.
    direct: Option<File>,
    segment: Pages,
    segments: Segments,
    path: PathBuf,
    keep: Keep,
    /// Where the first segment lies, where the next one goes, and where none may reach beyond.
    first_at: u64,
    at: u64,
    bytes_max: u64,
    /// Where a lap is taken to end: before `bytes_max` where the disk was full there in the lap before.
    lap_end: u64,
    /// The disk has ended the lap before, which was said.
    disk_is_full: bool,
    written: Written,
    stats: Arc<TwinStats>,
    /// What was written since the last state of the world.
    stateless_bytes: u64,
    /// Ticks shed before the last word about it, and the periods that it is silent for.
    shed_said: u64,
    silent: u32,
}

impl Output {
    fn create(
        path: &Path,
        header: &Header,
        bytes_max: u64,
        stats: Arc<TwinStats>,
    ) -> io::Result<Self> {
        if let Some(aside) = set_aside(path)? {
            let (path, aside) = (path.display(), aside.display());
            tracing::info!(%path, %aside, "the capture of the run before is kept");
        }
        let mut file = File::create_new(path)?;
        let bytes = header.write(&mut file)?;
        let direct = File::options().write(true).custom_flags(O_DIRECT).open(path).ok();
        let written = Written { bytes, segments: 0, ended: Ended::Whole };
        Ok(Self {
            file,
            direct: direct.filter(|_| O_DIRECT != 0),
            segment: Pages::new(),
            segments: Segments::default(),
            path: path.to_owned(),
            keep: header.keep,
            first_at: bytes,
            at: bytes,
            bytes_max,
            lap_end: bytes_max,
            disk_is_full: false,
            written,
            stats,
            stateless_bytes: 0,
            shed_said: 0,
            silent: 0,
        })
    }

    /// Cells of the next segment at most.
    pub(super) fn cells_max(&self) -> usize {
        if self.keep == Keep::First {
            return SEGMENT_CELLS_MAX;
        }
        let part = self.lap_bytes() / LAP_SEGMENTS_MIN;
        let pages = usize::try_from(part).unwrap_or(usize::MAX) / PAGE_BYTES;
        (pages.max(1).saturating_mul(PAGE_CELLS) - 1).min(SEGMENT_CELLS_MAX)
    }

    /// Bytes of segments that the file has room for.
    const fn lap_bytes(&self) -> u64 {
        self.lap_end.saturating_sub(self.first_at)
    }

    /// Whether the file takes anything more.
    pub(super) fn has_ended(&self) -> bool {
        self.written.ended >= Ended::Full
    }

    /// Bytes that a state may have. States and what lies between two of them take a quarter of a lap each, so that there is
    /// always a whole one in the file.
    pub(super) const fn state_bytes_max(&self) -> u64 {
        self.lap_bytes() / LAP_STATES
    }

    /// What `capture.max_bytes` would have to be for a state of so many bytes.
    pub(super) const fn bytes_max_for(&self, state_bytes: u64) -> u64 {
        state_bytes.saturating_mul(LAP_STATES).saturating_add(self.first_at)
    }

    /// Whether it is time for the next state.
    pub(super) const fn wants_state(&self) -> bool {
        self.stateless_bytes >= self.lap_bytes() / LAP_STATES
    }

    /// Notes that a state was written.
    pub(super) fn note_state(&mut self) {
        self.stateless_bytes = 0;
        self.stats.capture.states.add(1);
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn push(&mut self, front: &[Slot], back: &[Slot]) {
        let cells = (front.len() + back.len()) as u64;
        if self.has_ended() {
            let (_, ticks) = self.segments.walk(front, back);
            return self.note_unwritten(cells, ticks);
        }
        let (header, ticks) = self.segments.next(front, back);
        match self.put(&header, front, back) {
            Ok(true) => {
                self.at += header.bytes();
                self.lap_end = self.lap_end.max(self.at);
                self.stats.capture.written_ticks.add(ticks);
                self.written.bytes = self.written.bytes.max(self.at);
                self.written.segments += 1;
                self.stateless_bytes += header.bytes();
                self.stats.capture.written_bytes.set(self.written.bytes);
            }
            Ok(false) => {
                let (path, bytes) = (self.path.display(), self.written.bytes);
                tracing::warn!(%path, bytes, "the capture is full and ends; raise capture.max_bytes");
                self.written.ended = Ended::Full;
                self.note_unwritten(cells, ticks);
            }
            Err(reason) => {
                let path = self.path.display();
                tracing::warn!(%path, %reason, "the capture cannot be written and ends");
                self.written.ended = Ended::Failed;
                self.note_unwritten(cells, ticks);
            }
        }
    }

    /// Writes a segment, at the beginning of the file again where its end is reached. False when it has no place.
    fn put(&mut self, header: &SegmentHeader, front: &[Slot], back: &[Slot]) -> io::Result<bool> {
        if self.at + header.bytes() > self.bytes_max {
            if !self.go_round(header.bytes())? {
                return Ok(false);
            }
            self.disk_is_full = false;
        }
        let Err(reason) = self.write(header, front, back) else { return Ok(true) };
        // What was written of it beyond the former end is cut off, so that the file ends with a whole segment.
        drop(self.file.set_len(self.written.bytes));
        // A disk that takes no more is the end of this lap, and what lies before it can be written over. The next lap tries
        // again: room that comes back later is used.
        let limits = [io::ErrorKind::StorageFull, io::ErrorKind::FileTooLarge];
        if !limits.contains(&reason.kind()) || self.at < self.first_at + LAP_BYTES_MIN {
            return Err(reason);
        }
        self.lap_end = self.at;
        if !self.go_round(header.bytes())? {
            return Err(reason);
        }
        self.say_disk_full(&reason);
        self.write(header, front, back).map(|()| true)
    }

    /// Goes on behind the header, if the file is one to do so and a segment of this size has a place there. What the lap before
    /// has left behind this place is cut off: between two laps there is nothing that belongs to neither.
    fn go_round(&mut self, bytes: u64) -> io::Result<bool> {
        if self.keep == Keep::First || self.first_at + bytes > self.lap_end {
            return Ok(false);
        }
        if self.written.ended == Ended::Whole {
            let (path, bytes) = (self.path.display(), self.at);
            tracing::info!(%path, bytes, "the capture is written round: its beginning goes");
        }
        self.file.set_len(self.at)?;
        self.written.bytes = self.at;
        self.written.ended = Ended::Round;
        self.at = self.first_at;
        Ok(true)
    }

    /// Says that the disk ends a lap, once until one reaches the limit again.
    fn say_disk_full(&mut self, reason: &io::Error) {
        if !std::mem::replace(&mut self.disk_is_full, true) {
            let (path, bytes, bytes_max) =
                (self.path.display(), self.written.bytes, self.bytes_max);
            tracing::warn!(%path, bytes, bytes_max, %reason, "the disk is full before the capture has its size: it holds less until there is room");
        }
    }

    /// Says that ticks were shed since it last said so, and then is silent for a while.
    fn say_shed(&mut self) {
        self.silent = self.silent.saturating_sub(1);
        let shed_ticks = self.stats.capture.shed_ticks.value();
        if self.silent == 0 && shed_ticks > self.shed_said {
            let path = self.path.display();
            tracing::warn!(%path, shed_ticks, "the capture cannot keep up and sheds ticks; raise capture.ring");
            (self.shed_said, self.silent) = (shed_ticks, SILENT_PERIODS);
        }
    }

    fn write(&mut self, header: &SegmentHeader, front: &[Slot], back: &[Slot]) -> io::Result<()> {
        let (at, bytes) = (self.at, self.segment.fill(header, front, back));
        if let Some(direct) = &self.direct {
            match direct.write_all_at(bytes, at) {
                // The file system has no such way, or not for pages of this size.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.direct = None,
                done => return done,
            }
        }
        self.file.write_all_at(bytes, at)
    }

    fn note_unwritten(&self, cells: u64, ticks: u64) {
        self.stats.capture.unwritten_cells.add(cells);
        self.stats.capture.unwritten_ticks.add(ticks);
    }
}

/// A segment in memory that begins at a page.
struct Pages(Vec<Slot>);

const PAGE_CELLS: usize = PAGE_BYTES / size_of::<Slot>();

impl Pages {
    fn new() -> Self {
        Self(vec![Slot::zeroed(); SEGMENT_CELLS_MAX + 2 * PAGE_CELLS])
    }

    /// Puts a segment together, with zeros to a whole page, and gives its bytes.
    fn fill(&mut self, header: &SegmentHeader, front: &[Slot], back: &[Slot]) -> &[u8] {
        let aligned = self.0.as_ptr().cast::<u8>().align_offset(PAGE_BYTES) / size_of::<Slot>();
        let cells = 1 + front.len() + back.len();
        let segment = &mut self.0[aligned..aligned + cells.next_multiple_of(PAGE_CELLS)];
        segment[0] = bytemuck::must_cast(header.encode());
        segment[1..=front.len()].copy_from_slice(front);
        segment[1 + front.len()..cells].copy_from_slice(back);
        segment[cells..].fill(Slot::zeroed());
        bytemuck::cast_slice(segment)
    }
}

/// `open(2)`, past the page cache; the number depends on the architecture, and 0 asks for nothing.
const O_DIRECT: i32 = if cfg!(target_arch = "x86_64") {
    0o40_000
} else if cfg!(target_arch = "aarch64") {
    0o200_000
} else {
    0
};
