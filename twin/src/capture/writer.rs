//! The cold end of a capture: segments from the ring into the file, on a thread that may block.
//!
//! What lies in the ring is written from where it lies, one segment at a time: the cells, then their number and checksum before them.
//! A disk that is full, or slow beyond what the ring holds, costs the capture and never the plant. The file keeps its first
//! `bytes_max` bytes: a replay has to begin where the world began.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use netloop::{Clock, Consumer, Slot, Stop, wait_until};
use thiserror::Error;

use super::file::{Header, SEGMENT_CELLS_MAX, SegmentHeader};
use crate::stats::TwinStats;

/// The ring is looked at so often: a crash costs what came since.
const PERIOD: Duration = Duration::from_millis(20);

/// What goes on being shed is said once in so many periods: ten seconds.
const SILENT_PERIODS: u32 = 500;

/// Why a capture could not begin.
#[derive(Debug, Error)]
#[error("capture.file: {}: {reason}", path.display())]
pub struct StartError {
    path: PathBuf,
    reason: io::Error,
}

/// How the writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was captured is in the file.
    Whole,
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
    /// Segments in it.
    pub segments: u64,
    /// How it ended.
    pub ended: Ended,
}

/// The thread that writes.
pub struct Writer {
    stop: Stop,
    thread: JoinHandle<Written>,
}

impl Writer {
    /// Creates the file, which must not be there yet, and starts the thread.
    ///
    /// # Errors
    /// The file is there or cannot be written, or the system gives no thread.
    pub fn start(
        path: &Path,
        header: &Header,
        bytes_max: u64,
        ring: Consumer<Slot>,
        stats: Arc<TwinStats>,
    ) -> Result<Self, StartError> {
        let refused = |reason| StartError { path: path.to_owned(), reason };
        let output = Output::create(path, header, bytes_max, stats).map_err(refused)?;
        let stop = Stop::new();
        let until = stop.clone();
        let run = move || run(ring, output, &until);
        let thread = std::thread::Builder::new().name("capture".to_owned()).spawn(run);
        Ok(Self { stop, thread: thread.map_err(refused)? })
    }

    /// Writes what is left in the ring, and ends. The tap has to have ended before.
    ///
    /// # Panics
    /// The thread has panicked.
    #[must_use]
    pub fn finish(self) -> Written {
        self.stop.drain();
        self.thread.join().expect("the writer does not panic because its errors end the file")
    }
}

fn run(mut ring: Consumer<Slot>, mut output: Output, stop: &Stop) -> Written {
    let clock = Clock::new();
    loop {
        // Asked before the ring is emptied, so that nothing that came before the end is left behind.
        let ending = stop.is_draining();
        while ring.pop_chunk(SEGMENT_CELLS_MAX, |front, back| output.push(front, back)) > 0 {}
        output.say_shed();
        if ending {
            return output.written;
        }
        wait_until(clock.now().instant + PERIOD, Duration::ZERO);
    }
}

/// The file as far as it is written.
struct Output {
    file: File,
    path: PathBuf,
    bytes_max: u64,
    written: Written,
    stats: Arc<TwinStats>,
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
        let mut file = File::create_new(path)?;
        let bytes = header.write(&mut file)?;
        let written = Written { bytes, segments: 0, ended: Ended::Whole };
        Ok(Self { file, path: path.to_owned(), bytes_max, written, stats, shed_said: 0, silent: 0 })
    }

    fn push(&mut self, front: &[Slot], back: &[Slot]) {
        let cells = (front.len() + back.len()) as u64;
        if self.written.ended != Ended::Whole {
            return self.stats.capture.unwritten_cells.add(cells);
        }
        let bytes = (cells + 1) * size_of::<Slot>() as u64;
        if self.written.bytes + bytes > self.bytes_max {
            let (path, bytes) = (self.path.display(), self.written.bytes);
            tracing::warn!(%path, bytes, "the capture is full and ends; raise capture.max_bytes");
            return self.end(Ended::Full, cells);
        }
        match self.write(front, back) {
            Ok(()) => {
                self.written.bytes += bytes;
                self.written.segments += 1;
                self.stats.capture.written_bytes.set(self.written.bytes);
            }
            Err(reason) => {
                let path = self.path.display();
                tracing::warn!(%path, %reason, "the capture cannot be written and ends");
                // What was written of this segment is cut off, so that the file ends with a whole one.
                drop(self.file.set_len(self.written.bytes));
                self.end(Ended::Failed, cells);
            }
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

    /// The cells before their header: a segment that is not whole has none.
    fn write(&mut self, front: &[Slot], back: &[Slot]) -> io::Result<()> {
        let header = SegmentHeader::of(self.written.segments, front, back).encode();
        let at = self.written.bytes;
        let front_at = at + header.len() as u64;
        self.file.write_all_at(bytemuck::cast_slice(front), front_at)?;
        if !back.is_empty() {
            let back_at = front_at + size_of_val(front) as u64;
            self.file.write_all_at(bytemuck::cast_slice(back), back_at)?;
        }
        self.file.write_all_at(&header, at)
    }

    fn end(&mut self, ended: Ended, cells: u64) {
        self.written.ended = ended;
        self.stats.capture.unwritten_cells.add(cells);
    }
}
