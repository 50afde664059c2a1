//! Reads a capture back, tick by tick, and trusts no byte of it before its checksum.
//!
//! A file that ends in a segment that is not whole is a file that ends before it: [`Tail::Torn`] says how much that is. Cells
//! that are whole and make no sense are an error, since no build has written them.

use std::io;
use std::ops::Range;

use bytemuck::Zeroable;
use netloop::{SessionEvent, Slot};
use thiserror::Error;
use wire::Tier;

use super::cell::{Mark, MarkKind, decode_event, decode_order};
use super::file::{Header, HeaderError, PAGE_BYTES, SegmentHeader};
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
    End(u64, u64),
}

/// A capture that is being read.
pub struct Reader<R> {
    from: R,
    header: Header,
    segments: u64,
    bytes: u64,
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

impl<R: std::io::Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is no capture, or one of another form, or damaged.
    pub fn open(mut from: R) -> Result<Self, HeaderError> {
        let header = Header::read(&mut from)?;
        Ok(Self {
            from,
            header,
            segments: 0,
            bytes: 0,
            tail: None,
            cells: Vec::new(),
            done: 0,
            at: 0,
            events: Vec::new(),
            orders: Vec::new(),
            stop: None,
            chunks: Vec::new(),
        })
    }

    /// What the capture says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
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
                if !self.read_segment()? {
                    return Ok(None);
                }
                continue;
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

    /// Reads one more segment behind the cells that are still needed. False at the end of the file.
    fn read_segment(&mut self) -> Result<bool, ReadError> {
        if self.tail.is_some() {
            return Ok(false);
        }
        let mut bytes = [0; size_of::<Slot>()];
        let got = read_up_to(&mut self.from, &mut bytes)?;
        if got == 0 {
            self.tail = Some(Tail::Open);
            return Ok(false);
        }
        let header = SegmentHeader::decode(&bytes).filter(|header| header.number == self.segments);
        let Some(header) = header.filter(|_| got == bytes.len()) else {
            return self.tear(got as u64);
        };
        self.cells.drain(..self.done);
        self.at -= self.done;
        for (_, range) in &mut self.chunks {
            *range = range.start - self.done..range.end - self.done;
        }
        self.done = 0;
        let start = self.cells.len();
        self.cells.resize(start + header.cells, Slot::zeroed());
        let to = bytemuck::cast_slice_mut(&mut self.cells[start..]);
        let got = got + read_up_to(&mut self.from, to)?;
        let whole = got == bytes.len() + header.cells * size_of::<Slot>();
        if !whole || !header.holds(&self.cells[start..]) {
            self.cells.truncate(start);
            return self.tear(got as u64);
        }
        // A file that was cut in the zeros behind the cells has lost nothing.
        let mut padding = [0; PAGE_BYTES];
        let padding = &mut padding[..header.padding()];
        let padded = read_up_to(&mut self.from, padding)?;
        if padding.iter().any(|byte| *byte != 0) {
            self.cells.truncate(start);
            return self.tear((got + padded) as u64);
        }
        self.segments += 1;
        self.bytes += (got + padded) as u64;
        Ok(true)
    }

    /// Ends the file here, and counts what lies behind.
    fn tear(&mut self, bytes: u64) -> Result<bool, ReadError> {
        let bytes = bytes + io::copy(&mut self.from, &mut io::sink())?;
        self.tail = Some(Tail::Torn { bytes });
        Ok(false)
    }

    fn form(&self, what: &'static str) -> ReadError {
        ReadError::Form { segment: self.segments.saturating_sub(1), what }
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
