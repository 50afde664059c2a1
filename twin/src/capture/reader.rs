//! Reads a capture back, tick by tick, and trusts no byte of it before its checksum.
//!
//! A file that ends in a segment that is not whole is a file that ends before it: [`Tail::Torn`] says how much that is. In a
//! file that keeps what came latest, a damaged segment between two whole ones is left out with the ticks that reach into it,
//! and [`Step::Lost`] says so. Cells that are whole and make no sense are an error, since no build has written them.

use std::io::{self, Seek, SeekFrom};

use bytemuck::Zeroable;
use netloop::Slot;
use thiserror::Error;

use super::file::{Header, HeaderError, PAGE_BYTES, SegmentHeader};
use super::frames::{Frames, Step, Whole};
use super::lap::{Place, places};
use crate::config::Keep;

/// Why reading stops.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The system.
    #[error("the capture cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The checksum holds and the cells make no sense.
    #[error("segment {segment} of the capture holds {what}")]
    Form {
        /// The segment that was read last.
        segment: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// How the file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Behind the last tick of an orderly end.
    Whole,
    /// Behind a whole segment, without an orderly end: the run was cut, or the file was full.
    Open,
    /// In a segment that is not whole, so many bytes of which were not used.
    Torn {
        /// Bytes behind the last whole segment.
        bytes: u64,
    },
}

/// What came with a look for the next segment.
enum Next {
    Cells,
    /// Cells, behind so many segments that are none.
    CellsBehind(u64),
    End,
}

/// A segment as it lies in the file.
enum Found {
    Whole(SegmentHeader),
    Nothing,
    /// So many bytes are no whole segment.
    Torn(u64),
}

/// A capture that is being read.
pub struct Reader<R> {
    from: R,
    header: Header,
    segments: u64,
    bytes: u64,
    /// The number of the segment that comes next.
    number: u64,
    first_segment: u64,
    /// Those of a file that is written round, that which comes next last; none in a file that is read from its beginning.
    places: Option<Vec<Place>>,
    /// No tick has begun behind what is missing.
    adrift: bool,
    tail: Option<Tail>,
    frames: Frames,
}

impl<R: io::Read + Seek> Reader<R> {
    /// Reads the header, and of a file that keeps what came latest where its segments lie.
    ///
    /// # Errors
    /// It is no capture, or one of another form, or damaged.
    pub fn open(mut from: R) -> Result<Self, HeaderError> {
        let header = Header::read(&mut from)?;
        let keeps_last = header.keep == Keep::Last;
        let mut places = if keeps_last { Some(places(&mut from)?) } else { None };
        places.iter_mut().for_each(|places| places.reverse());
        let mut reader = Self {
            from,
            header,
            segments: 0,
            bytes: 0,
            number: 0,
            first_segment: 0,
            places,
            adrift: keeps_last,
            tail: None,
            frames: Frames::default(),
        };
        reader.find_first()?;
        Ok(reader)
    }

    /// What the capture says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Number of the first segment that is there: when it is not 0, what came before is not in the file, and nobody knows the
    /// world in which its ticks ran.
    #[must_use]
    pub const fn first_segment(&self) -> u64 {
        self.first_segment
    }

    /// Segments read so far.
    #[must_use]
    pub const fn segments(&self) -> u64 {
        self.segments
    }

    /// Bytes of the segments read so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How the file ends; known once there is no further step.
    #[must_use]
    pub const fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// The next step; none at the end of the file.
    ///
    /// # Errors
    /// The system, or cells that make no sense.
    pub fn next_step(&mut self) -> Result<Option<Step<'_>>, ReadError> {
        let whole = loop {
            if let Some(whole) = self.frames.read().map_err(|what| self.form(what))? {
                break whole;
            }
            match self.read_segment()? {
                Next::Cells => {}
                Next::CellsBehind(segments) => return Ok(Some(Step::Lost { segments })),
                Next::End => return Ok(None),
            }
        };
        if matches!(whole, Whole::End(..)) {
            self.tail = Some(Tail::Whole);
        }
        let step = self.frames.step(&whole).map_err(|what| self.form(what))?;
        Ok(Some(step))
    }

    /// Of a file that is written round, the first segment that is whole: from there on it is read.
    fn find_first(&mut self) -> io::Result<()> {
        while let Some(&place) = self.places.as_ref().and_then(|places| places.last()) {
            let found = self.read_place(place)?;
            self.frames = Frames::default();
            if let Found::Whole(_) = found {
                self.first_segment = place.number;
                self.number = place.number;
                return Ok(());
            }
            // The only one is the one that the crash has cut.
            if self.places.as_ref().is_some_and(|places| places.len() == 1) {
                return Ok(());
            }
            self.places.as_mut().and_then(Vec::pop);
        }
        Ok(())
    }

    /// Reads one more segment behind the cells that are still needed.
    fn read_segment(&mut self) -> Result<Next, ReadError> {
        if self.tail.is_some() {
            return Ok(Next::End);
        }
        let start = self.frames.room().len();
        if self.places.is_some() {
            return Ok(self.read_round(start)?);
        }
        match self.read_cells()? {
            Found::Whole(header) if header.number == self.number => {
                self.take(&header);
                return Ok(Next::Cells);
            }
            Found::Nothing => self.tail = Some(Tail::Open),
            Found::Whole(header) => self.tear(header.bytes())?,
            Found::Torn(bytes) => self.tear(bytes)?,
        }
        self.frames.room().truncate(start);
        Ok(Next::End)
    }

    /// The same in a file that is written round.
    fn read_round(&mut self, start: usize) -> io::Result<Next> {
        while let Some(place) = self.places.as_mut().and_then(Vec::pop) {
            match self.read_place(place)? {
                Found::Whole(header) if header.number >= self.number => {
                    let lost = header.number - self.number;
                    if lost > 0 || self.adrift {
                        // What lies before belongs to a tick whose other cells are not there.
                        self.frames.begin_at(start + header.begins);
                        self.adrift = header.begins == header.cells;
                    }
                    self.take(&header);
                    return Ok(if lost > 0 { Next::CellsBehind(lost) } else { Next::Cells });
                }
                Found::Torn(bytes) if self.places.as_ref().is_some_and(Vec::is_empty) => {
                    self.tail = Some(Tail::Torn { bytes });
                }
                // The next one tells by its number that this one is missing.
                _ => {}
            }
            self.frames.room().truncate(start);
        }
        self.tail.get_or_insert(Tail::Open);
        Ok(Next::End)
    }

    fn read_place(&mut self, place: Place) -> io::Result<Found> {
        self.from.seek(SeekFrom::Start(place.at))?;
        self.read_cells()
    }

    fn take(&mut self, header: &SegmentHeader) {
        // The last of all numbers has none behind it; no build has written it.
        self.number = header.number.saturating_add(1);
        self.segments += 1;
        self.bytes += header.bytes();
    }

    /// Reads the segment that begins here, its cells behind those that are there.
    fn read_cells(&mut self) -> io::Result<Found> {
        let mut bytes = [0; size_of::<Slot>()];
        let got = read_up_to(&mut self.from, &mut bytes)?;
        if got == 0 {
            return Ok(Found::Nothing);
        }
        let header = SegmentHeader::decode(&bytes).filter(|_| got == bytes.len());
        let Some(header) = header else { return Ok(Found::Torn(got as u64)) };
        let cells = self.frames.room();
        let start = cells.len();
        cells.resize(start + header.cells, Slot::zeroed());
        let to = bytemuck::cast_slice_mut(&mut cells[start..]);
        let got = got + read_up_to(&mut self.from, to)?;
        let whole = got == bytes.len() + header.cells * size_of::<Slot>();
        if !whole || !header.holds(&self.frames.room()[start..]) {
            return Ok(Found::Torn(got as u64));
        }
        // A file that was cut in the zeros behind the cells has lost nothing.
        let mut padding = [0; PAGE_BYTES];
        let padding = &mut padding[..header.padding()];
        let padded = read_up_to(&mut self.from, padding)?;
        if padding[..padded].iter().any(|byte| *byte != 0) {
            return Ok(Found::Torn((got + padded) as u64));
        }
        Ok(Found::Whole(header))
    }

    /// Ends the file here, and counts what lies behind.
    fn tear(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = bytes + io::copy(&mut self.from, &mut io::sink())?;
        self.tail = Some(Tail::Torn { bytes });
        Ok(())
    }

    fn form(&self, what: &'static str) -> ReadError {
        ReadError::Form { segment: self.number.saturating_sub(1), what }
    }
}

/// Fills the buffer, or as much of it as there is.
fn read_up_to(from: &mut impl io::Read, to: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < to.len() {
        match from.read(&mut to[got..]) {
            Ok(0) => break,
            Ok(bytes) => got += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
