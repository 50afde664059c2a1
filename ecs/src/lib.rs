//! Archetype tables of component columns, and queries that walk them linearly.

mod key_index;
mod prefetch;
mod schedule;

pub use key_index::{IndexError, KeyIndex, SensorKey};
pub use prefetch::prefetch_read;
pub use schedule::{Schedule, System};
