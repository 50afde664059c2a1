//! The terminal monitor: what a twin says of itself, page by page.
//!
//! [`Look`] is one look at the API; [`Screen`] draws looks and knows nothing of a network or a terminal, so that a test draws
//! it into memory. It reads and commands nothing.

mod draw;
mod fit;
mod look;

pub use draw::{Page, Screen};
pub use look::Look;
