//! The form of a capture's file: a header of text, then segments.
//!
//! ```text
//! header    magic 8, version u32, text bytes u32, checksum u64, zeros to 64; the text, with zeros to a whole page
//! segment   magic 8, number u64, cells u64, begins u64, checksum u64, zeros to 64;
//!           the cells, 64 bytes each, with zeros to a whole page; those of records are the lines of runs
//! ```
//!
//! A page is 4,096 bytes: so a segment can go to the disk from where it lies, without a copy in the kernel. All
//! little-endian. `begins` is the first cell of the segment with which a tick begins, and the number of its cells where none
//! does: a reader that has nothing of what lies before begins there. The checksum of a segment covers its number, its length,
//! that place and its cells. The text is TOML: the build, the moment of the start, what the file keeps, and the
//! configuration in force with every key. Secrets are in neither.
//!
//! In a file that keeps the beginning, segments follow each other by number. A file that keeps the latest is written round:
//! where the next segment would lie beyond the limit, the file is cut off there, and the segment is put behind the header. So
//! the file is, from its header on: the segments of this lap, a rest of the one that is being written over, and those left of
//! the lap before. Every segment begins at a page, which is how they are found behind that rest, and numbers tell their order.

use std::io::{self, Read, Write};

use ecs::Fold;
use netloop::Slot;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cell::{Mark, MarkKind};
use crate::config::Keep;
use crate::host::{REVISION, RUSTC, VERSION};

/// Version of the form of the file.
pub const CAPTURE_VERSION: u32 = 6;
/// Cells of a segment at most: 1 MiB.
pub const SEGMENT_CELLS_MAX: usize = 1 << 14;

const CELL_BYTES: usize = size_of::<Slot>();
/// Header and segments begin at multiples of this: what disks are written by without a copy.
pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const FILE_MAGIC: [u8; 8] = *b"plxcapt\n";
const SEGMENT_MAGIC: [u8; 8] = *b"plxsegm\n";
/// A configuration takes some kilobytes; a header that claims more is broken.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What a capture says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the product that wrote it.
    pub version: String,
    /// Revision that was built.
    pub revision: String,
    /// Compiler that built it.
    pub rustc: String,
    /// Architecture that it was built for.
    pub arch: String,
    /// When the run began, in nanoseconds since the Unix epoch.
    pub began_ns: u64,
    /// What of the run the file keeps once it has reached its limit.
    pub keep: Keep,
    /// The configuration in force, as `pollux config init` writes it.
    pub config: String,
}

/// Why a file is no capture, or none that can be read.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// The system.
    #[error("the capture cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It begins otherwise.
    #[error("this is no capture of pollux")]
    Magic,
    /// A later or earlier form.
    #[error("the capture has form {0}, this build reads form {CAPTURE_VERSION}")]
    Version(u32),
    /// Its bytes are not those that were written.
    #[error("the header of the capture is damaged")]
    Damaged,
}

impl Header {
    /// The header of a capture that this build begins now.
    #[must_use]
    pub fn of_this_build(began_ns: u64, keep: Keep, config: String) -> Self {
        Self {
            version: VERSION.to_owned(),
            revision: REVISION.to_owned(),
            rustc: RUSTC.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            began_ns,
            keep,
            config,
        }
    }

    /// Writes the header.
    ///
    /// # Errors
    /// The system.
    pub fn write(&self, to: &mut impl Write) -> io::Result<u64> {
        let mut text = toml::to_string(self).map_err(io::Error::other)?.into_bytes();
        let text_bytes = u32::try_from(text.len()).map_err(io::Error::other)?;
        let sum = checksum(&[&text]);
        text.resize((CELL_BYTES + text.len()).next_multiple_of(PAGE_BYTES) - CELL_BYTES, 0);
        let mut front = [0; CELL_BYTES];
        front[..8].copy_from_slice(&FILE_MAGIC);
        front[8..12].copy_from_slice(&CAPTURE_VERSION.to_le_bytes());
        front[12..16].copy_from_slice(&text_bytes.to_le_bytes());
        front[16..24].copy_from_slice(&sum.to_le_bytes());
        to.write_all(&front)?;
        to.write_all(&text)?;
        Ok((front.len() + text.len()) as u64)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The file is shorter, or no capture, or of another form, or damaged.
    pub fn read(from: &mut impl Read) -> Result<Self, HeaderError> {
        let mut front = [0; CELL_BYTES];
        from.read_exact(&mut front).map_err(short_is_no_capture)?;
        if front[..8] != FILE_MAGIC {
            return Err(HeaderError::Magic);
        }
        let word = |at: usize| u32::from_le_bytes(*front[at..].first_chunk().expect("4 of 64"));
        if word(8) != CAPTURE_VERSION {
            return Err(HeaderError::Version(word(8)));
        }
        let bytes = word(12) as usize;
        if bytes > TEXT_BYTES_MAX {
            return Err(HeaderError::Damaged);
        }
        let mut text = vec![0; (CELL_BYTES + bytes).next_multiple_of(PAGE_BYTES) - CELL_BYTES];
        from.read_exact(&mut text).map_err(|_| HeaderError::Damaged)?;
        text.truncate(bytes);
        let sum = u64::from_le_bytes(*front[16..].first_chunk().expect("8 of 64"));
        if checksum(&[&text]) != sum {
            return Err(HeaderError::Damaged);
        }
        let text = str::from_utf8(&text).map_err(|_| HeaderError::Damaged)?;
        toml::from_str(text).map_err(|_| HeaderError::Damaged)
    }
}

fn short_is_no_capture(error: io::Error) -> HeaderError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => HeaderError::Magic,
        _ => error.into(),
    }
}

/// What stands before the cells of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) cells: usize,
    /// The first cell with which a tick begins; `cells` where none does.
    pub(super) begins: usize,
    sum: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; CELL_BYTES] {
        let mut bytes = [0; CELL_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        let words = [self.number, self.cells as u64, self.begins as u64, self.sum];
        for (to, word) in bytes[8..].chunks_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The header in these bytes; none where no segment begins.
    pub(super) fn decode(bytes: &[u8; CELL_BYTES]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |at: usize| u64::from_le_bytes(words[at]);
        let cells = usize::try_from(word(2)).ok().filter(|cells| *cells <= SEGMENT_CELLS_MAX)?;
        let begins = usize::try_from(word(3)).ok().filter(|begins| *begins <= cells)?;
        (words[0] == SEGMENT_MAGIC).then_some(Self { number: word(1), cells, begins, sum: word(4) })
    }

    /// Bytes of header and cells.
    const fn used(&self) -> usize {
        (1 + self.cells) * CELL_BYTES
    }

    /// Bytes that the segment takes in the file.
    pub(super) const fn bytes(&self) -> u64 {
        self.used().next_multiple_of(PAGE_BYTES) as u64
    }

    /// Bytes of zeros behind the cells.
    pub(super) const fn padding(&self) -> usize {
        self.used().next_multiple_of(PAGE_BYTES) - self.used()
    }

    /// Whether these are the cells that were written.
    pub(super) fn holds(&self, cells: &[Slot]) -> bool {
        self.sum == self.sum_of(cells, &[])
    }

    fn sum_of(&self, front: &[Slot], back: &[Slot]) -> u64 {
        let words = [self.number, self.cells as u64, self.begins as u64];
        checksum(&[
            bytemuck::cast_slice(&words),
            bytemuck::cast_slice(front),
            bytemuck::cast_slice(back),
        ])
    }
}

/// The segments of a file in the making: their numbers, and where in each of them a tick begins.
#[derive(Debug, Default)]
pub struct Segments {
    number: u64,
    /// Cells of the next segment that belong to a mark of this one.
    owed: usize,
    /// Whether the last mark has left a tick open.
    in_tick: bool,
}

impl Segments {
    /// Writes a segment of cells, which may lie in two pieces.
    ///
    /// # Errors
    /// The system.
    pub fn write(&mut self, to: &mut impl Write, front: &[Slot], back: &[Slot]) -> io::Result<()> {
        let (header, _) = self.next(front, back);
        to.write_all(&header.encode())?;
        to.write_all(bytemuck::cast_slice(front))?;
        to.write_all(bytemuck::cast_slice(back))?;
        to.write_all(&[0; PAGE_BYTES][..header.padding()])
    }

    /// The header of the next segment, which has these cells, and the ticks that end in it.
    pub(super) fn next(&mut self, front: &[Slot], back: &[Slot]) -> (SegmentHeader, u64) {
        let (begins, ticks) = self.walk(front, back);
        let cells = front.len() + back.len();
        let mut header = SegmentHeader { number: self.number, cells, begins, sum: 0 };
        header.sum = header.sum_of(front, back);
        self.number += 1;
        (header, ticks)
    }

    /// Goes over the marks of these cells: the first cell with which a tick begins, and the ticks that end.
    pub(super) fn walk(&mut self, front: &[Slot], back: &[Slot]) -> (usize, u64) {
        let cells = front.len() + back.len();
        let cell = |at: usize| front.get(at).unwrap_or_else(|| &back[at - front.len()]);
        let (mut at, mut begins, mut ticks) = (self.owed, None, 0);
        while at < cells {
            if !self.in_tick {
                begins = begins.or(Some(at));
            }
            let mark = Mark::of(cell(at));
            self.in_tick = !mark.ends_tick();
            ticks += u64::from(mark.kind() == Some(MarkKind::Tick));
            at += 1 + mark.count as usize;
        }
        self.owed = at - cells;
        (begins.unwrap_or(cells), ticks)
    }
}

/// Pieces that end within a block of [`Fold`] are padded: a header is one piece, and cells are whole blocks.
fn checksum(pieces: &[&[u8]]) -> u64 {
    let mut fold = Fold::new();
    pieces.iter().for_each(|piece| fold.write(piece));
    fold.finish()
}
