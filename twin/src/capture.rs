//! Capture and replay: what the tick thread consumed, kept in a file, and the same world made from it again.
//!
//! [`Tap`] is the hot end: it copies what a tick takes from the rings into a ring of its own, and never waits. [`Writer`] is
//! the cold end, on a thread that may block on a disk. [`Reader`] gives the ticks back and judges every byte before it is
//! used. [`Replay`] runs them through a world and compares the digest of each.
//!
//! A file is a header and then segments, each with a number and a checksum; a segment is written in one piece, so a crash
//! costs the last one at most. A file has a limit, and keeps either the beginning of the run or what came latest
//! ([`Keep`](crate::config::Keep)); in the latter there are states of the world, from which a replay can begin.
//!
//! Everything in a segment is cells of 64 bytes, little-endian: a mark, or the slot of a record as it lay in the ring. A tick is its events, its commands, its chunks of T2 and T1 in the order in which they were taken,
//! and the mark that ends it. Chunks keep their boundaries, because records of one chunk find their rows together.
//!
//! A capture that cannot keep up sheds ticks and says where: the plant never waits for it. After such a gap a replay can no
//! longer be exact, and does not claim to be.

mod cell;
mod file;
mod follower;
mod former;
mod frames;
mod lap;
mod reader;
mod replay;
mod rounds;
mod state;
mod tap;
mod writer;

pub use cell::{Mark, MarkKind};
pub use file::{CAPTURE_VERSION, Header, HeaderError, SEGMENT_CELLS_MAX, Segments};
pub use frames::{Frame, Step};
pub use reader::{ReadError, Reader, Tail};
pub use replay::{Difference, Replay, ReplayError};
pub use state::State;
pub use tap::{Tap, tap};
pub use writer::{Allowance, Ended, StartError, Writer, Written};
