//! The snapshot of libraries that have none of their own: a query, and bincode for its rows.

#![forbid(unsafe_code)]

mod bodies;

pub use bodies::{BodyRef, Encoder, begin, decode};
