//! Archetype tables of component columns, and queries that walk them linearly.

mod prefetch;
mod schedule;

pub use prefetch::prefetch_read;
pub use schedule::{Schedule, System};
