//! Archetype tables of component columns, and queries that walk them linearly.

#![deny(unsafe_code)]

mod archetype;
mod bits;
mod bundle;
mod column;
mod component;
mod entity;
mod filter;
mod key_index;
mod prefetch;
mod query;
mod resource;
mod schedule;
mod term;
mod view;
mod world;

pub use archetype::Archetype;
pub use bits::Bits;
pub use bundle::Bundle;
pub use column::Column;
pub use component::{
    COLUMN_ALIGN_BYTES, COMPONENT_IDS, Component, ComponentKind, Signature, Track,
};
pub use entity::{Entity, Location};
pub use filter::{Changed, Filter, With, Without};
pub use key_index::{IndexError, KeyIndex, SensorKey};
pub use prefetch::prefetch_read;
pub use query::{Chunk, Query, Rows};
pub use schedule::{Schedule, System};
pub use term::{Term, Terms, Tracked, TrackedRow, TrackedSlice};
pub use view::View;
pub use world::{NoSuchEntity, SpawnedRows, World};
