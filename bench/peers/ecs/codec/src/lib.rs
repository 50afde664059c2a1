//! The snapshot of libraries that have none of their own: a query, and bincode for its rows, in two forms.

#![forbid(unsafe_code)]

mod codec;
mod fixed;
mod serde;

use codec::ROW_BYTES;
pub use codec::{BodyRef, Codec, Encode};
pub use fixed::Fixed;
pub use serde::Serde;
