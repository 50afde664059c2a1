//! The snapshot of libraries that have none of their own: a query, and bincode for its rows, in two forms.

#![forbid(unsafe_code)]

mod fixed;
mod row;
mod serde;

pub use fixed::Fixed;
pub use row::{BodyRef, Codec, Encode};
pub use serde::Serde;
