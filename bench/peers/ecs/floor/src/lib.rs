//! The floor: every case written by hand over vectors, for one purpose each. No library can be expected below it, and all
//! checksums are compared with its own.

#![forbid(unsafe_code)]

mod suite;
mod twin;
mod yardstick;

pub use yardstick::{assert_same_work, library};
