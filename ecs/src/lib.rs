//! Archetype tables of component columns, and queries that walk them linearly.
//!
//! Entities with the same set of components share an archetype; each component is one contiguous column there, on cache
//! lines. Components are plain old data with a constant id, so a column is also its own wire and snapshot form, moving
//! a row is a copy, and no line of the storage is `unsafe`. What was written is remembered by a version for each column
//! and, for components that ask, by one bit for each row.
//!
//! The same calls give the same world, byte for byte. This crate starts no threads, reads no clock, does no I/O, and
//! does not know what a record is.
//!
//! ```
//! use bytemuck::{Pod, Zeroable};
//! use ecs::{Component, Query, World};
//!
//! #[repr(C)]
//! #[derive(Clone, Copy, Pod, Zeroable)]
//! struct Level(f32);
//! impl Component for Level {
//!     const ID: u16 = 1;
//!     const NAME: &'static str = "Level";
//! }
//! # #[repr(C)]
//! # #[derive(Clone, Copy, Pod, Zeroable)]
//! # struct Inflow(f32);
//! # impl Component for Inflow {
//! #     const ID: u16 = 2;
//! #     const NAME: &'static str = "Inflow";
//! # }
//!
//! let mut world = World::new();
//! let tank = world.spawn((Level(1.0), Inflow(0.5)));
//! world.spawn_batch((0..100).map(|n| (Level(n as f32), Inflow(0.0))));
//!
//! let mut fill = Query::<(&mut Level, &Inflow)>::new();
//! fill.each(&mut world, |(level, inflow)| level.0 += inflow.0);
//! assert_eq!(world.component::<Level>(tank).map(|level| level.0), Some(1.5));
//! ```

#![deny(unsafe_code)]

mod archetype;
mod bits;
mod buffer;
mod bundle;
mod column;
mod commands;
mod component;
mod entity;
mod events;
mod filter;
mod hash;
mod key_index;
mod lend;
mod parallel;
mod part;
mod prefetch;
mod query;
mod resource;
mod schedule;
mod snapshot;
mod system;
mod term;
mod view;
mod world;

pub use archetype::Archetype;
pub use bits::Bits;
pub use bundle::Bundle;
pub use column::Column;
pub use commands::Commands;
pub use component::{
    COLUMN_ALIGN_BYTES, COMPONENT_IDS, Component, ComponentKind, Signature, Track,
};
pub use entity::{Entity, Location};
pub use events::{EventReader, Events};
pub use filter::{Changed, Filter, With, Without};
pub use hash::{Fold, WorldHash};
pub use key_index::{IndexError, KeyIndex, SensorKey};
pub use lend::Lend;
pub use part::{Part, PartColumns, PartResources};
pub use prefetch::prefetch_read;
pub use query::{CHUNK_ROWS, Chunk, Query, Rows};
pub use schedule::{Schedule, ScheduleBuilder, ScheduleError};
pub use snapshot::{Progress, RestoreError, Snapshot};
pub use system::{Context, Param, System, SystemFn, Times};
pub use term::{Term, Terms, Tracked, TrackedRow, TrackedSlice};
pub use view::View;
pub use world::{Cursor, NoSuchEntity, SpawnedRows, World, WriteError};
