//! The form of a capture's file: a header of text, then segments.
//!
//! ```text
//! header    magic 8, version u32, text bytes u32, checksum u64, zeros to 64; the text, with zeros to a whole page
//! segment   magic 8, number u64, cells u64, checksum u64, zeros to 64; the cells, 64 bytes each, with zeros to a whole page
//! ```
//!
//! A page is 4,096 bytes: so a segment can go to the disk from where it lies, without a copy in the kernel. All
//! little-endian. The checksum of a segment covers its number, its length and its cells. The text is TOML: the build,
//! the moment of the start, and the configuration in force with every key. Secrets are in neither.

use std::io::{self, Read, Write};

use ecs::Fold;
use netloop::Slot;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::host::{REVISION, RUSTC, VERSION};

/// Version of the form of the file.
pub const CAPTURE_VERSION: u32 = 2;
/// Cells of a segment at most: 1 MiB.
pub const SEGMENT_CELLS_MAX: usize = 1 << 14;

const CELL_BYTES: usize = size_of::<Slot>();
/// Header and segments begin at multiples of this: what disks are written by without a copy.
pub(super) const PAGE_BYTES: usize = 4096;
const FILE_MAGIC: [u8; 8] = *b"plxcapt\n";
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
    pub fn of_this_build(began_ns: u64, config: String) -> Self {
        Self {
            version: VERSION.to_owned(),
            revision: REVISION.to_owned(),
            rustc: RUSTC.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            began_ns,
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
    sum: u64,
}

impl SegmentHeader {
    /// The header of a segment of these cells, which may lie in two pieces.
    pub(super) fn of(number: u64, front: &[Slot], back: &[Slot]) -> Self {
        let cells = front.len() + back.len();
        Self { number, cells, sum: segment_sum(number, front, back) }
    }

    pub(super) fn encode(&self) -> [u8; CELL_BYTES] {
        let mut bytes = [0; CELL_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        for (to, word) in bytes[8..].chunks_mut(8).zip([self.number, self.cells as u64, self.sum]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The header in these bytes; none where no segment begins.
    pub(super) fn decode(bytes: &[u8; CELL_BYTES]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |at: usize| u64::from_le_bytes(words[at]);
        let cells = usize::try_from(word(2)).ok().filter(|cells| *cells <= SEGMENT_CELLS_MAX)?;
        (words[0] == SEGMENT_MAGIC).then_some(Self { number: word(1), cells, sum: word(3) })
    }

    /// Bytes of zeros behind the cells.
    pub(super) const fn padding(&self) -> usize {
        let bytes = (1 + self.cells) * CELL_BYTES;
        bytes.next_multiple_of(PAGE_BYTES) - bytes
    }

    /// Whether these are the cells that were written.
    pub(super) fn holds(&self, cells: &[Slot]) -> bool {
        self.sum == segment_sum(self.number, cells, &[])
    }
}

/// Writes a segment of cells, which may lie in two pieces.
///
/// # Errors
/// The system.
pub fn write_segment(
    to: &mut impl Write,
    number: u64,
    front: &[Slot],
    back: &[Slot],
) -> io::Result<()> {
    let header = SegmentHeader::of(number, front, back);
    to.write_all(&header.encode())?;
    to.write_all(bytemuck::cast_slice(front))?;
    to.write_all(bytemuck::cast_slice(back))?;
    to.write_all(&[0; PAGE_BYTES][..header.padding()])
}

fn segment_sum(number: u64, front: &[Slot], back: &[Slot]) -> u64 {
    let words = [number, (front.len() + back.len()) as u64];
    checksum(&[
        bytemuck::cast_slice(&words),
        bytemuck::cast_slice(front),
        bytemuck::cast_slice(back),
    ])
}

/// Pieces are cut at multiples of the block of [`Fold`], so that the cut does not show.
fn checksum(pieces: &[&[u8]]) -> u64 {
    let mut fold = Fold::new();
    pieces.iter().for_each(|piece| fold.write(piece));
    fold.finish()
}
