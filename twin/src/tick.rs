//! The tick thread: a world, its rings and its schedule, on one thread that nobody else touches.
//!
//! [`Pace`] says when, [`TickThread`] does it. Ticks start on an absolute schedule; what is late, overrun or missed is
//! counted and shown.

mod pace;
mod thread;

pub use pace::{Begin, Pace};
pub use thread::{TickOptions, TickThread};
