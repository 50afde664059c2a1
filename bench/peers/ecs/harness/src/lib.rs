//! What all libraries of the comparison share: the cases, their data, the clock, and the proof that each does the same work.
//!
//! An adapter builds a [`Case`] for each name of [`CASES`] that its library has a form for. The harness runs it a fixed
//! number of times, takes a checksum of what it left behind, and times it. Data, arithmetic and events come from here, so
//! that adapters differ in storage and access alone. Nothing here knows a library.

#![forbid(unsafe_code)]

mod allocator;
mod case;
mod clock;
mod digest;
mod key;
mod measure;
mod program;
pub mod suite;
pub mod twin;

pub use case::{CASES, Case, Form, Library, Scale, case};
pub use digest::Digest;
pub use key::Key;
pub use program::{checksums, main};
