//! Capture and replay: what the tick thread consumed, kept in a file, and the same world made from it again.
//!
//! [`Tap`] is the hot end: it copies what a tick takes from the rings into a ring of its own, and never waits. [`Writer`] is
//! the cold end, on a thread that may block on a disk. [`Reader`] gives the ticks back and judges every byte before it is
//! used. [`Replay`] runs them through a world and compares the digest of each.
//!
//! A file is a header and then segments, each with a number and a checksum; a segment is written in one piece, so a crash
//! costs the last one at most. A file has a limit, and keeps either the beginning of the run, which can be replayed, or what
//! came latest, which can be read ([`Keep`](crate::config::Keep)). Everything in a segment is cells of 64 bytes, little-endian: a mark, or the slot of a record
//! as it lay in the ring. A tick is its events, its commands, its chunks of T2 and T1 in the order in which they were taken,
//! and the mark that ends it. Chunks keep their boundaries, because records of one chunk find their rows together.
//!
//! A capture that cannot keep up sheds ticks and says where: the plant never waits for it. After such a gap a replay can no
//! longer be exact, and does not claim to be.

mod cell;
mod file;
mod lap;
mod reader;
mod replay;
mod tap;
mod writer;

pub use cell::{Mark, MarkKind};
pub use file::{CAPTURE_VERSION, Header, HeaderError, SEGMENT_CELLS_MAX, Segments};
pub use reader::{Frame, ReadError, Reader, Step, Tail};
pub use replay::{Difference, Replay, ReplayError};
pub use tap::{Tap, tap};
pub use writer::{Ended, StartError, Writer, Written};
