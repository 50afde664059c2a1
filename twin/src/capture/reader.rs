//! Reads a capture back, tick by tick, and trusts no byte of it before its checksum.
//!
//! A file that ends in a segment that is not whole is a file that ends before it: [`Tail::Torn`] says how much that is. In a
//! file that keeps what came latest, a damaged segment between two whole ones is left out with the ticks that reach into it,
//! and [`Step::Lost`] says so. Cells that are whole and make no sense are an error, since no build has written them.

use std::io::{self, Seek, SeekFrom};
use std::ops::Range;

use bytemuck::Zeroable;
use netloop::{SessionEvent, Slot};
use thiserror::Error;
use wire::Tier;

use super::cell::{Mark, MarkKind, decode_event, decode_order};
use super::file::{Header, HeaderError, PAGE_BYTES, SegmentHeader};
use super::lap::{Place, places};
use crate::config::Keep;
use crate::order::{Order, StopWord};

/// Cells of one tick at most; more than any budget lets a tick take.
const TICK_CELLS_MAX: usize = 1 << 26;

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

/// One tick as it was captured.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Its number.
    pub tick: u64,
    /// When it began, in unix nanoseconds.
    pub began_ns: u64,
    /// Digest of the world after it.
    pub digest: u64,
    /// Commands that its rules had room for.
    pub room: usize,
    /// Steps of sessions, in order.
    pub events: &'a [SessionEvent],
    /// Orders of operators, and whether a full ring refused them.
    pub orders: &'a [(Order, bool)],
    /// A change of the stop of the plant: the word, and when it was asked for.
    pub stop: Option<(StopWord, u64)>,
    cells: &'a [Slot],
    chunks: &'a [(Tier, Range<usize>)],
}

impl Frame<'_> {
    /// The chunks of a tier, in the order in which the tick took them.
    pub fn chunks(&self, tier: Tier) -> impl Iterator<Item = &[Slot]> {
        let chunks = self.chunks.iter().filter(move |(of, _)| *of == tier);
        chunks.map(|(_, range)| &self.cells[range.clone()])
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Step<'a> {
    /// A tick.
    Tick(Frame<'a>),
    /// Something is missing here.
    Gap {
        /// Cells that were shed.
        cells: u64,
        /// Ticks that were shed.
        ticks: u64,
    },
    /// Segments cannot be read here: the ticks that lay in them, or reached into them, are lost.
    Lost {
        /// Segments.
        segments: u64,
    },
    /// The orderly end.
    End {
        /// Hash of the world after the last tick.
        state_hash: u64,
        /// Ticks that were captured.
        ticks: u64,
    },
}

/// What a mark amounted to.
enum Read {
    More,
    Tick([u64; 7]),
    Gap(u64, u64),
    Lost(u64),
    End(u64, u64),
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
    cells: Vec<Slot>,
    /// Cells before it belong to ticks that were given out.
    done: usize,
    /// The mark that is read next.
    at: usize,
    events: Vec<SessionEvent>,
    orders: Vec<(Order, bool)>,
    stop: Option<(StopWord, u64)>,
    chunks: Vec<(Tier, Range<usize>)>,
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
            cells: Vec::new(),
            done: 0,
            at: 0,
            events: Vec::new(),
            orders: Vec::new(),
            stop: None,
            chunks: Vec::new(),
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
        self.forget();
        let read = loop {
            if self.at == self.cells.len() || !self.is_mark_whole()? {
                match self.read_segment()? {
                    Next::Cells => continue,
                    Next::CellsBehind(segments) => break Read::Lost(segments),
                    Next::End => return Ok(None),
                }
            }
            match self.read_mark()? {
                Read::More => {}
                read => break read,
            }
        };
        self.done = self.at;
        Ok(Some(match read {
            Read::Tick([tick, began_ns, digest, room, ..]) => Step::Tick(Frame {
                tick,
                began_ns,
                digest,
                room: usize::try_from(room).unwrap_or(usize::MAX),
                events: &self.events,
                orders: &self.orders,
                stop: self.stop,
                cells: &self.cells,
                chunks: &self.chunks,
            }),
            Read::Gap(cells, ticks) => Step::Gap { cells, ticks },
            Read::Lost(segments) => Step::Lost { segments },
            Read::End(state_hash, ticks) => {
                self.tail = Some(Tail::Whole);
                Step::End { state_hash, ticks }
            }
            Read::More => unreachable!("the loop ends with another"),
        }))
    }

    /// Forgets the tick that was given out last.
    fn forget(&mut self) {
        if self.done == self.at {
            self.events.clear();
            self.orders.clear();
            self.stop = None;
            self.chunks.clear();
        }
        if self.done == self.cells.len() {
            self.cells.clear();
            (self.at, self.done) = (0, 0);
        }
    }

    /// Whether all cells are there that belong to the mark.
    fn is_mark_whole(&self) -> Result<bool, ReadError> {
        let mark = Mark::of(&self.cells[self.at]);
        let end = self.at + 1 + mark.count as usize;
        if end - self.done > TICK_CELLS_MAX {
            return Err(self.form("a tick beyond every budget"));
        }
        Ok(end <= self.cells.len())
    }

    fn read_mark(&mut self) -> Result<Read, ReadError> {
        let mark = *Mark::of(&self.cells[self.at]);
        let cells = self.at + 1..self.at + 1 + mark.count as usize;
        let Some(kind) = mark.kind() else { return Err(self.form("an unknown mark")) };
        match kind {
            MarkKind::Chunk => {
                let tier = mark.tier().ok_or_else(|| self.form("a chunk of no tier"))?;
                self.chunks.push((tier, cells.clone()));
            }
            MarkKind::Event => {
                let event = decode_event(&mark, &self.cells[cells.clone()]);
                self.events.push(event.ok_or_else(|| self.form("an unknown event"))?);
            }
            _ if mark.count != 0 => {
                return Err(self.form("a mark with cells that it does not have"));
            }
            MarkKind::Order => {
                let order = decode_order(&mark).ok_or_else(|| self.form("an unknown order"))?;
                self.orders.push(order);
            }
            MarkKind::Stop => self.stop = Some((StopWord(mark.words[0]), mark.words[1])),
            MarkKind::Tick | MarkKind::Gap | MarkKind::End => {}
        }
        self.at = cells.end;
        Ok(match kind {
            MarkKind::Chunk | MarkKind::Event | MarkKind::Order | MarkKind::Stop => Read::More,
            MarkKind::Tick => Read::Tick(mark.words),
            MarkKind::Gap => Read::Gap(mark.words[0], mark.words[1]),
            MarkKind::End => Read::End(mark.words[0], mark.words[1]),
        })
    }

    /// Of a file that is written round, the first segment that is whole: from there on it is read.
    fn find_first(&mut self) -> io::Result<()> {
        while let Some(&place) = self.places.as_ref().and_then(|places| places.last()) {
            let found = self.read_place(place)?;
            self.cells.clear();
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
        self.drop_done();
        if self.places.is_some() {
            return Ok(self.read_round()?);
        }
        let start = self.cells.len();
        match self.read_cells()? {
            Found::Whole(header) if header.number == self.number => {
                self.take(&header);
                return Ok(Next::Cells);
            }
            Found::Nothing => self.tail = Some(Tail::Open),
            Found::Whole(header) => self.tear(header.bytes())?,
            Found::Torn(bytes) => self.tear(bytes)?,
        }
        self.cells.truncate(start);
        Ok(Next::End)
    }

    /// The same in a file that is written round.
    fn read_round(&mut self) -> io::Result<Next> {
        let start = self.cells.len();
        while let Some(place) = self.places.as_mut().and_then(Vec::pop) {
            match self.read_place(place)? {
                Found::Whole(header) if header.number >= self.number => {
                    let lost = header.number - self.number;
                    if lost > 0 || self.adrift {
                        // What lies before belongs to a tick whose other cells are not there.
                        self.cells.drain(..start);
                        self.at = header.begins;
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
            self.cells.truncate(start);
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

    /// Forgets the cells of ticks that were given out.
    fn drop_done(&mut self) {
        self.cells.drain(..self.done);
        self.at -= self.done;
        for (_, range) in &mut self.chunks {
            *range = range.start - self.done..range.end - self.done;
        }
        self.done = 0;
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
        let start = self.cells.len();
        self.cells.resize(start + header.cells, Slot::zeroed());
        let to = bytemuck::cast_slice_mut(&mut self.cells[start..]);
        let got = got + read_up_to(&mut self.from, to)?;
        let whole = got == bytes.len() + header.cells * size_of::<Slot>();
        if !whole || !header.holds(&self.cells[start..]) {
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
