//! Where the segments of a file lie that is written round, in the order of their numbers.
//!
//! Only headers are looked at here; whoever reads a segment judges it by its checksum. Where another segment or the end of the
//! file is not where a header says, every page behind it is tried: so a damaged header, or what is left of a segment that
//! was written over, hides no whole segment.

use std::io::{self, Read, Seek, SeekFrom};

use netloop::Slot;

use super::file::{PAGE_BYTES, SegmentHeader};

/// A page that begins as a segment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its number, as it says.
    pub(super) number: u64,
    /// Where it begins in the file, in bytes.
    pub(super) at: u64,
}

/// The places of a file whose first segment is the next thing that is read, by number.
pub(super) fn places(from: &mut (impl Read + Seek)) -> io::Result<Vec<Place>> {
    let mut at = from.stream_position()?;
    let end = from.seek(SeekFrom::End(0))?;
    let mut places = Vec::new();
    while at < end {
        let mut next = at + PAGE_BYTES as u64;
        if let Some(header) = header_at(from, at, end)? {
            places.push(Place { number: header.number, at });
            let behind = at + header.bytes();
            if behind == end || header_at(from, behind, end)?.is_some() {
                next = behind;
            }
        }
        at = next;
    }
    places.sort_unstable_by_key(|place| (place.number, place.at));
    Ok(places)
}

/// The header of the segment that begins here, if one does.
fn header_at(
    from: &mut (impl Read + Seek),
    at: u64,
    end: u64,
) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; size_of::<Slot>()];
    if at + bytes.len() as u64 > end {
        return Ok(None);
    }
    from.seek(SeekFrom::Start(at))?;
    from.read_exact(&mut bytes)?;
    Ok(SegmentHeader::decode(&bytes))
}
