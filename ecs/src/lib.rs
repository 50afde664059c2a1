//! A small archetype ECS for worlds that are fed by streams. It is safe Rust but for two hints about memory, which change no
//! value.
//!
//! Entities with the same set of components share an archetype; each component is one contiguous column there, on cache
//! lines. Components are plain old data with a constant number, so a column is also its own wire and snapshot form,
//! moving a row is a copy, and nothing needs dropping. The same calls give the same world, byte for byte, on one thread or
//! several.
//!
//! ```
//! use bytemuck::{Pod, Zeroable};
//! use ecs::{Component, Entity, Part, Query, ScheduleBuilder, Snapshot, Track, Tracked, World};
//!
//! #[repr(C)]
//! #[derive(Clone, Copy, Pod, Zeroable)]
//! struct Level(f32);
//! impl Component for Level {
//!     const ID: u16 = 1; // the schema: never reused for another meaning
//!     const NAME: &'static str = "Level";
//!     const TRACK: Track = Track::Rows; // one bit a row says that it was written
//! }
//!
//! #[repr(C)]
//! #[derive(Clone, Copy, Pod, Zeroable)]
//! struct Inflow(f32);
//! impl Component for Inflow {
//!     const ID: u16 = 2;
//!     const NAME: &'static str = "Inflow";
//! }
//!
//! // A system is a function over queries; what it touches is read off them.
//! fn fill(part: &mut Part<'_>, tanks: &mut Query<(Tracked<Level>, &Inflow, Entity)>) {
//!     tanks.each(&mut part.columns, |(mut level, inflow, tank)| {
//!         if inflow.0 > 0.0 {
//!             level.0 += inflow.0;
//!         }
//!         if level.0 > 100.0 {
//!             part.commands.despawn(tank); // when the stage has ended
//!         }
//!     });
//! }
//!
//! let mut builder = ScheduleBuilder::<()>::new();
//! builder.add("fill", fill);
//! let mut schedule = builder.build()?; // refuses an order that nobody asked for
//!
//! let mut world = World::new();
//! let tank = world.spawn((Level(1.0), Inflow(0.5)));
//! world.spawn_batch((0..100).map(|n| (Level(n as f32), Inflow(0.0))));
//! let viewer = world.add_cursor::<Level>(); // a consumer that looks when it likes
//! world.drain_changed::<Level>(|_| {});
//! world.drain_cursor(&viewer, |_, _| {});
//!
//! for tick in 1..=3 {
//!     schedule.run(&mut world, &mut (), tick);
//!     world.drain_changed::<Level>(|_| {}); // the end of a tick: cursors learn what changed
//! }
//! let mut seen = Vec::new();
//! world.drain_cursor(&viewer, |entity, level| seen.push((entity, level.0)));
//! assert_eq!(seen, [(tank, 2.5)]); // only what changed, once
//!
//! let mut snapshot = Snapshot::default();
//! let bytes = snapshot.take(&world).to_vec();
//! world.despawn(tank)?;
//! world.restore(&bytes)?;
//! assert_eq!(world.component::<Level>(tank).map(|level| level.0), Some(2.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Each thing once
//!
//! - [`Entity`]: a name that outlives rows. [`World`]: entities, their rows, and resources.
//! - [`Component`]: plain data in a column; of size zero it is a tag. [`Bundle`]: components that come together, as a tuple.
//! - [`Query`]: what to visit. [`Query::chunks`] gives whole columns, [`Query::each`] rows, [`Query::view`] any row by
//!   number or name, [`Query::par_chunks`] columns on several threads.
//! - [`Track`]: how closely writes are remembered. [`Changed`] is for who looks each tick, [`Cursor`] for who looks seldom.
//! - [`ScheduleBuilder`], [`Schedule`]: functions in a stated order; [`Part`] is what one of them holds.
//! - [`Commands`]: changes for later. [`Events`]: messages that live for two ticks.
//! - [`KeyIndex`]: from a name on the wire to a row. [`Snapshot`], [`WorldHash`]: the world as bytes, and as one number.
//!
//! # Why not this one
//!
//! Components that own memory, hooks and observers, relations between entities, sparse storage for tags that come and go
//! all the time, more than 128 kinds of components: it has none of these. `COMPARISON.md` goes through them point by point.
//!
//! This crate keeps no threads, reads no clock, does no I/O, and does not know what a record is.

#![deny(unsafe_code)]

#[macro_use]
mod tuples;

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
mod held;
mod hint;
mod key_index;
mod parallel;
mod part;
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
pub use hint::prefetch_read;
pub use key_index::{IndexError, KeyIndex, SensorKey};
pub use part::{Lend, Part, PartColumns, PartResources};
pub use query::{CHUNK_ROWS, Chunk, Query, Rows};
pub use schedule::{Schedule, ScheduleBuilder, ScheduleError};
pub use snapshot::{Progress, RestoreError, Snapshot};
pub use system::{Context, Param, System, SystemFn, Times};
pub use term::{Term, Terms, Tracked, TrackedRow, TrackedSlice};
pub use view::View;
pub use world::{Cursor, NoSuchEntity, SpawnedRows, World, WriteError};
