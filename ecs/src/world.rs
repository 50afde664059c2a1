//! The world: entities, the archetypes in which they stand, and the resources beside them.
//!
//! Archetypes are never removed and keep their index, so what was learned about one stays true. Rows move only when an
//! entity leaves or changes its components, and each such move raises [`World::relocations`].
//! Nothing here knows time, threads or input: the same calls give the same world, byte for byte.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::archetype::Archetype;
use crate::bits::SetBits;
use crate::bundle::Bundle;
use crate::commands::{CommandBuffer, Commands, apply_stage};
use crate::component::{Component, ComponentKind, Signature, Track};
use crate::entity::{Entities, Entity, Location};
use crate::part::{Grant, Part, PartColumns, PartResources, ResourceGrant};
use crate::resource::Resources;
use crate::snapshot::{Checked, RestoreError};

/// The name given belongs to no entity of this world: it was despawned, or it never lived here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such entity")]
pub struct NoSuchEntity;

/// Why rows were not written; see [`World::write_rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// There is no such archetype.
    #[error("no such archetype")]
    Archetype,
    /// The archetype does not carry the component.
    #[error("the archetype does not carry the component")]
    Component,
    /// The bytes are not whole rows.
    #[error("the bytes are not whole rows of {row_bytes}")]
    Size {
        /// Size of a row, in bytes.
        row_bytes: usize,
    },
    /// The rows reach beyond the last one.
    #[error("the rows reach beyond the {rows} that there are")]
    Rows {
        /// Rows of the archetype.
        rows: usize,
    },
}

/// Where a batch of new entities stands: consecutive rows of one archetype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnedRows {
    /// Index of the archetype.
    pub archetype: u32,
    /// The rows, in the order of the batch.
    pub rows: Range<u32>,
}

/// A consumer of the changes of `T` that looks when it wants to; made by [`World::add_cursor`].
///
/// It hears of rows that were written or came to be, and not of those that went away.
pub struct Cursor<T> {
    world_id: u64,
    index: u8,
    component: PhantomData<fn() -> T>,
}

/// Entities, archetypes and resources.
pub struct World {
    id: u64,
    entities: Entities,
    archetypes: Vec<Archetype>,
    archetype_by_signature: BTreeMap<Signature, u32>,
    /// The component types behind their ids, each with the number of its cursors.
    kinds: BTreeMap<u16, (ComponentKind, u8)>,
    /// The last bundle spawned and its archetype: spawns come in runs.
    last_bundle: Option<(TypeId, u32)>,
    /// The last bundle inserted, whose components are known.
    last_inserted: Option<TypeId>,
    relocations: u64,
    /// Names that were given out or taken back without a move.
    spawns: u64,
    pub(crate) skipped_commands: u64,
    resources: Resources,
    /// The buffer of [`World::defer`], kept for its memory.
    deferred: CommandBuffer,
}

/// What a system of a parallel stage holds.
pub(crate) struct Share {
    archetypes: Vec<Archetype>,
    resources: Resources,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new() -> Self {
        /// Tells worlds apart, so that a query notices when it meets another one. Only uniqueness matters.
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            entities: Entities::default(),
            archetypes: Vec::new(),
            archetype_by_signature: BTreeMap::new(),
            kinds: BTreeMap::new(),
            last_bundle: None,
            last_inserted: None,
            relocations: 0,
            spawns: 0,
            skipped_commands: 0,
            resources: Resources::default(),
            deferred: CommandBuffer::default(),
        }
    }

    /// Adds an entity with the components of `bundle`.
    ///
    /// # Panics
    /// If a component id of `bundle` belongs to another type in this world.
    pub fn spawn<B: Bundle>(&mut self, bundle: B) -> Entity {
        let location = self.push_row(bundle);
        let entity = self.entities.allocate(location);
        self.archetypes[location.archetype as usize].push_entity(entity);
        entity
    }

    /// Gives out a name whose entity comes later, by [`World::spawn_reserved`]. [`World::despawn`] takes it back.
    pub fn reserve_entity(&mut self) -> Entity {
        self.spawns += 1;
        self.entities.reserve_name()
    }

    /// Adds the entity of a reserved name.
    ///
    /// # Errors
    /// [`NoSuchEntity`] if the name is not reserved; the bundle is gone.
    ///
    /// # Panics
    /// As [`World::spawn`].
    pub fn spawn_reserved<B: Bundle>(
        &mut self,
        entity: Entity,
        bundle: B,
    ) -> Result<(), NoSuchEntity> {
        if !self.entities.is_reserved(entity) {
            return Err(NoSuchEntity);
        }
        let location = self.push_row(bundle);
        self.entities.occupy(entity, location);
        self.archetypes[location.archetype as usize].push_entity(entity);
        Ok(())
    }

    /// Writes a row whose entity the caller adds.
    #[inline]
    fn push_row<B: Bundle>(&mut self, bundle: B) -> Location {
        let index = self.archetype_of_bundle::<B>();
        self.spawns += 1;
        let archetype = &mut self.archetypes[index as usize];
        let row = archetype.len();
        archetype.make_room(1);
        archetype.commit(1);
        bundle.write(archetype, row);
        Location { archetype: index, row: row as u32 }
    }

    /// Adds an entity for each bundle; the columns are resolved once for many rows.
    ///
    /// If the iterator panics, some of the bundles that it yielded before may be missing; the world stays whole.
    ///
    /// # Panics
    /// As [`World::spawn`].
    pub fn spawn_batch<B: Bundle>(&mut self, bundles: impl IntoIterator<Item = B>) -> SpawnedRows {
        let index = self.archetype_of_bundle::<B>();
        let archetype = &mut self.archetypes[index as usize];
        let mut bundles = bundles.into_iter();
        let mut expected = bundles.size_hint().0;
        self.entities.make_room(expected);
        let first = archetype.len() as u32;
        let mut next = bundles.next();
        while let Some(bundle) = next {
            let room = archetype.make_room(expected.max(1));
            let (written, unwritten) =
                write_rows(bundle, &mut bundles, &mut B::spare(archetype, room), room);
            (next, expected) = (unwritten, 1);
            // Counted with each commit, for the iterator may panic behind it.
            commit_rows(archetype, &mut self.entities, index, written);
            self.spawns += written as u64;
        }
        SpawnedRows { archetype: index, rows: first..archetype.len() as u32 }
    }

    /// Adds an entity for each element of the slices of `columns`, one slice for each component of `B`, in its order:
    /// whole columns are copied at once.
    ///
    /// ```
    /// # use bytemuck::{Pod, Zeroable};
    /// # use ecs::{Component, World};
    /// # #[repr(C)]
    /// # #[derive(Clone, Copy, Pod, Zeroable)]
    /// # struct Level(f32);
    /// # impl Component for Level {
    /// #     const ID: u16 = 1;
    /// #     const NAME: &'static str = "Level";
    /// # }
    /// let mut world = World::new();
    /// let spawned = world.spawn_columns::<(Level,)>((&[Level(0.5), Level(1.5)],));
    /// assert_eq!(spawned.rows, 0..2);
    /// ```
    ///
    /// # Panics
    /// The slices differ in length, or as [`World::spawn`].
    pub fn spawn_columns<B: Bundle>(&mut self, columns: B::Columns<'_>) -> SpawnedRows {
        let index = self.archetype_of_bundle::<B>();
        let rows = B::columns_len(&columns);
        self.entities.make_room(rows);
        let archetype = &mut self.archetypes[index as usize];
        let first = archetype.len() as u32;
        archetype.make_room(rows);
        B::write_columns(columns, &mut B::spare(archetype, rows));
        commit_rows(archetype, &mut self.entities, index, rows);
        self.spawns += rows as u64;
        SpawnedRows { archetype: index, rows: first..first + rows as u32 }
    }

    /// Removes `entity` with all its components, or takes a reserved name back.
    ///
    /// # Errors
    /// [`NoSuchEntity`] if the name belongs to nobody.
    pub fn despawn(&mut self, entity: Entity) -> Result<(), NoSuchEntity> {
        match self.entities.free(entity) {
            Some(location) => self.remove_row(location),
            None if self.entities.free_reserved(entity) => self.spawns += 1,
            None => return Err(NoSuchEntity),
        }
        Ok(())
    }

    /// Gives `entity` the components of `bundle`; those that it has already are overwritten.
    ///
    /// # Errors
    /// [`NoSuchEntity`] if the name belongs to nobody; the bundle is gone.
    ///
    /// # Panics
    /// As [`World::spawn`].
    pub fn insert<B: Bundle>(&mut self, entity: Entity, bundle: B) -> Result<(), NoSuchEntity> {
        let mut location = self.entities.location(entity).ok_or(NoSuchEntity)?;
        let signature = self.archetypes[location.archetype as usize].signature();
        let added = B::SIGNATURE.difference(signature);
        if self.last_inserted != Some(TypeId::of::<B>()) {
            self.register_kinds(B::KINDS);
            self.last_inserted = Some(TypeId::of::<B>());
        }
        if !added.is_empty() {
            let target = self.neighbour(location.archetype, added, signature.union(added));
            location = self.move_row(entity, location, target);
        }
        bundle.write(&mut self.archetypes[location.archetype as usize], location.row as usize);
        Ok(())
    }

    /// Takes component `T` from `entity`. `None`, and nothing happened, if there is no such entity or component.
    pub fn remove<T: Component>(&mut self, entity: Entity) -> Option<T> {
        let location = self.entities.location(entity)?;
        let archetype = &self.archetypes[location.archetype as usize];
        let removed = Signature::of::<T>();
        let value = match archetype.values::<T>()? {
            [] => T::zeroed(),
            values => values[location.row as usize],
        };
        let rest = archetype.signature().difference(removed);
        let target = self.neighbour(location.archetype, removed, rest);
        self.move_row(entity, location, target);
        Some(value)
    }

    /// Whether the name belongs to a living entity.
    #[must_use]
    pub fn contains(&self, entity: Entity) -> bool {
        self.entities.location(entity).is_some()
    }

    /// Whether `entity` lives and carries `T`.
    #[must_use]
    pub fn has<T: Component>(&self, entity: Entity) -> bool {
        self.location(entity).is_some_and(|location| {
            self.archetypes[location.archetype as usize].position(T::ID).is_some()
        })
    }

    /// Component `T` of `entity`. A tag has no value to show: it does not compile here, use [`World::has`].
    #[must_use]
    #[inline]
    pub fn component<T: Component>(&self, entity: Entity) -> Option<&T> {
        const { assert!(size_of::<T>() != 0, "a tag has no value: ask World::has") };
        let location = self.entities.location(entity)?;
        let values = self.archetypes[location.archetype as usize].values::<T>()?;
        Some(&values[location.row as usize])
    }

    /// Component `T` of `entity`, to write. The row counts as written.
    #[inline]
    pub fn component_mut<T: Component>(&mut self, entity: Entity) -> Option<&mut T> {
        const { assert!(size_of::<T>() != 0, "a tag has no value: ask World::has") };
        let location = self.entities.location(entity)?;
        let column = self.archetypes[location.archetype as usize].column_mut(T::ID)?;
        column.assert_holds(ComponentKind::of::<T>());
        column.row_mut(location.row as usize)
    }

    /// Where `entity` stands at the moment.
    #[must_use]
    #[inline]
    pub fn location(&self, entity: Entity) -> Option<Location> {
        self.entities.location(entity)
    }

    /// The archetypes by index; an archetype keeps its index for ever.
    #[must_use]
    pub fn archetypes(&self) -> &[Archetype] {
        &self.archetypes
    }

    /// The index of the archetype that entities of bundle `B` are spawned into; it is made if need be.
    pub fn archetype_of_bundle<B: Bundle>(&mut self) -> u32 {
        let bundle = TypeId::of::<B>();
        if let Some((last, index)) = self.last_bundle
            && last == bundle
        {
            return index;
        }
        self.register_kinds(B::KINDS);
        let index = self.archetype_of(B::SIGNATURE);
        self.last_bundle = Some((bundle, index));
        index
    }

    /// Makes room for `additional` names, so that spawning entities of several bundles does not move the table of names.
    pub fn reserve_entities(&mut self, additional: usize) {
        self.entities.reserve(additional);
    }

    /// Makes room for `additional` entities of bundle `B`, so that spawning them does not allocate.
    pub fn reserve<B: Bundle>(&mut self, additional: usize) {
        let index = self.archetype_of_bundle::<B>();
        self.archetypes[index as usize].reserve(additional);
        self.entities.reserve(additional);
    }

    /// Calls `visit` for each row whose `T` was written since the last drain, in row order of each archetype in turn. If
    /// `visit` panics, the next drain meets the rest, and some rows again.
    pub fn drain_changed<T: Component>(&mut self, mut visit: impl FnMut(Location)) {
        for archetype in 0..self.archetypes.len() as u32 {
            self.drain_changed_words::<T>(archetype, |first, bits| {
                let location = |bit| Location { archetype, row: (first + bit) as u32 };
                SetBits(bits).for_each(|bit| visit(location(bit)));
            });
        }
    }

    /// The same in one archetype by 64 rows, for a consumer that keeps bits of its own: `visit` gets the first of the rows and
    /// their bits, the lowest of which is the first row's.
    pub fn drain_changed_words<T: Component>(
        &mut self,
        archetype: u32,
        visit: impl FnMut(usize, u64),
    ) {
        const { assert!(matches!(T::TRACK, Track::Rows), "only Track::Rows remembers rows") };
        if let Some(column) = self.archetypes[archetype as usize].column_mut(T::ID) {
            column.drain_dirty(visit);
        }
    }

    /// Makes a cursor for a consumer of `T` that looks less often than the bits are drained. Its first visit meets every
    /// row. Cursors stay as long as the world: make one for each consumer, once.
    ///
    /// ```compile_fail
    /// # use bytemuck::{Pod, Zeroable};
    /// # use ecs::{Component, Track, World};
    /// #[repr(C)]
    /// #[derive(Clone, Copy, Pod, Zeroable)]
    /// struct Pump;
    /// impl Component for Pump {
    ///     const ID: u16 = 1;
    ///     const NAME: &'static str = "Pump";
    ///     const TRACK: Track = Track::Rows;
    /// }
    /// World::new().add_cursor::<Pump>(); // a tag has no value to visit
    /// ```
    ///
    /// # Panics
    /// If `T` has 255 cursors already, or its id belongs to another type.
    pub fn add_cursor<T: Component>(&mut self) -> Cursor<T> {
        const { assert!(matches!(T::TRACK, Track::Rows), "only Track::Rows remembers rows") };
        const { assert!(size_of::<T>() != 0, "a tag has no value to visit: drain its changed rows") };
        self.register_kinds(&[ComponentKind::of::<T>()]);
        let (_, cursors) = self.kinds.get_mut(&T::ID).expect("a kind that is known by now");
        let index = *cursors;
        *cursors = cursors.checked_add(1).expect("fewer than 255 cursors on one component");
        self.archetypes.iter_mut().for_each(|archetype| archetype.add_cursor(T::ID));
        Cursor { world_id: self.id, index, component: PhantomData }
    }

    /// Calls `visit` for each row whose `T` was written between the cursor's last visit and the latest drain, in row
    /// order of each archetype in turn. Its cost follows the number of such rows. A panic of `visit` is as in
    /// [`World::drain_changed`].
    ///
    /// # Panics
    /// If the cursor is of another world.
    pub fn drain_cursor<T: Component>(
        &mut self,
        cursor: &Cursor<T>,
        mut visit: impl FnMut(Entity, &T),
    ) {
        assert!(cursor.world_id == self.id, "a cursor on {} of another world", T::NAME);
        for archetype in &mut self.archetypes {
            let Some((entities, column)) = archetype.split_mut(T::ID) else { continue };
            column.drain_cursor::<T>(usize::from(cursor.index), |row, value| {
                visit(entities[row], value);
            });
        }
    }

    /// Says that the `T` of a row was written, without touching it.
    ///
    /// # Panics
    /// If no row of component `T` stands at `location`.
    pub fn mark_changed<T: Component>(&mut self, location: Location) {
        const { assert!(matches!(T::TRACK, Track::Rows), "only Track::Rows remembers rows") };
        let archetype = &mut self.archetypes[location.archetype as usize];
        assert!((location.row as usize) < archetype.len(), "no row {location:?}");
        let column = archetype.column_mut(T::ID).expect("a row that carries the component");
        column.values_mut::<T>().1.set(location.row as usize);
    }

    /// Replaces the bytes of component `id` in consecutive rows of an archetype; the rows count as written. What a shard
    /// merges in, or a tool sets: any bytes are a value, so only their number can be wrong.
    ///
    /// # Errors
    /// [`WriteError`], and nothing was written.
    pub fn write_rows(
        &mut self,
        archetype: u32,
        id: u16,
        first_row: usize,
        bytes: &[u8],
    ) -> Result<(), WriteError> {
        let archetype = self.archetypes.get_mut(archetype as usize).ok_or(WriteError::Archetype)?;
        let rows = archetype.len();
        let column = archetype.column_mut(id).ok_or(WriteError::Component)?;
        let count = bytes.len().checked_div(column.row_bytes()).unwrap_or(0);
        if count * column.row_bytes() != bytes.len() {
            return Err(WriteError::Size { row_bytes: column.row_bytes() });
        }
        let end = first_row.checked_add(count).filter(|&end| end <= rows);
        let end = end.ok_or(WriteError::Rows { rows })?;
        column.rows_mut(first_row..end).copy_from_slice(bytes);
        Ok(())
    }

    /// Lets the world know the components of `B`, so that a snapshot may bring them.
    ///
    /// # Panics
    /// As [`World::spawn`].
    pub fn register<B: Bundle>(&mut self) {
        self.register_kinds(B::KINDS);
    }

    /// Replaces all entities by those of a [`Snapshot`](crate::Snapshot). Names mean what they meant there. Archetypes
    /// keep their index here, every row counts as written, and resources stay as they are.
    ///
    /// # Errors
    /// [`RestoreError`], and nothing has changed.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let checked = Checked::new(bytes, self)?;
        self.archetypes.iter_mut().for_each(Archetype::clear);
        self.entities.reset(&checked.generations, &checked.free);
        for (signature, entities, columns) in checked.tables() {
            let index = self.archetype_of(signature);
            self.archetypes[index as usize].load(&entities, columns);
            for (row, &entity) in entities.iter().enumerate() {
                self.entities.occupy(entity, Location { archetype: index, row: row as u32 });
            }
        }
        self.relocations += 1;
        Ok(())
    }

    /// Number of living entities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether no entity lives here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often an entity left its row. As long as this stands still, every remembered [`Location`] is true.
    #[must_use]
    pub fn relocations(&self) -> u64 {
        self.relocations
    }

    /// Commands whose entity was gone when they were applied, those of schedules and of [`World::defer`].
    #[must_use]
    pub fn skipped_commands(&self) -> u64 {
        self.skipped_commands
    }

    /// Memory held by entities and columns, in bytes; resources are not counted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.entities.memory_bytes()
            + self.archetypes.iter().map(Archetype::memory_bytes).sum::<usize>()
    }

    /// Puts a resource in the place of its type, and returns what stood there.
    pub fn put_resource<R: Any + Send + Sync>(&mut self, value: Box<R>) -> Option<Box<R>> {
        self.resources.put(value)
    }

    /// Takes a resource out, so that it can be held beside the world. Putting the box back does not allocate.
    pub fn take_resource<R: Any + Send + Sync>(&mut self) -> Option<Box<R>> {
        self.resources.take()
    }

    /// The resource of type `R`.
    #[must_use]
    pub fn resource<R: Any + Send + Sync>(&self) -> Option<&R> {
        self.resources.find()
    }

    /// The resource of type `R`, to write.
    pub fn resource_mut<R: Any + Send + Sync>(&mut self) -> Option<&mut R> {
        self.resources.find_mut()
    }

    pub(crate) fn entity_table(&self) -> &Entities {
        &self.entities
    }

    /// The components that the world knows, ascending by id.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &ComponentKind> {
        self.kinds.values().map(|(kind, _)| kind)
    }

    /// Stands still as long as no entity comes, goes or moves.
    pub(crate) fn structure(&self) -> (u64, u64, u64) {
        (self.id, self.spawns, self.relocations)
    }

    /// Tells this world from every other one of the process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Runs `work` on all of the world, with commands that are applied when it returns.
    ///
    /// ```
    /// # use bytemuck::{Pod, Zeroable};
    /// # use ecs::{Component, Entity, Query, World};
    /// # #[repr(C)]
    /// # #[derive(Clone, Copy, Pod, Zeroable)]
    /// # struct Level(f32);
    /// # impl Component for Level {
    /// #     const ID: u16 = 1;
    /// #     const NAME: &'static str = "Level";
    /// # }
    /// let mut world = World::new();
    /// world.spawn_batch([-1.0, 2.0].map(|level| (Level(level),)));
    /// let mut levels = Query::<(&Level, Entity)>::new();
    /// world.defer(|part| {
    ///     levels.each(&mut part.columns, |(level, entity)| {
    ///         if level.0 < 0.0 {
    ///             part.commands.despawn(entity);
    ///         }
    ///     });
    /// });
    /// assert_eq!(world.len(), 1);
    /// ```
    pub fn defer<R>(&mut self, work: impl FnOnce(&mut Part<'_>) -> R) -> R {
        let mut buffer = std::mem::take(&mut self.deferred);
        let answer = work(&mut self.part(&Grant::ALL, &ResourceGrant::ALL, &mut buffer));
        apply_stage(self, std::slice::from_mut(&mut buffer));
        self.deferred = buffer;
        answer
    }

    /// Reserves those of the next `count` upcoming names that `used` picks.
    pub(crate) fn reserve_upcoming(&mut self, count: usize, used: impl FnMut(usize) -> bool) {
        self.spawns += count as u64;
        self.entities.reserve_upcoming(count, used);
    }

    /// The columns under a grant, and the resources beside them.
    #[inline]
    pub(crate) fn columns<'w>(
        &'w mut self,
        grant: &'w Grant,
    ) -> (PartColumns<'w>, &'w mut Resources) {
        let Self { id, ref entities, ref mut archetypes, ref mut resources, .. } = *self;
        (PartColumns { world_id: id, entities, archetypes, grant }, resources)
    }

    /// All of the world for one system.
    #[inline]
    pub(crate) fn part<'w>(
        &'w mut self,
        grant: &'w Grant,
        resource_grant: &'w ResourceGrant,
        buffer: &'w mut CommandBuffer,
    ) -> Part<'w> {
        let (columns, resources) = self.columns(grant);
        let commands = Commands::new(columns.entities, buffer);
        Part { columns, commands, resources: PartResources { resources, grant: resource_grant } }
    }

    /// Hands out what a system of a parallel stage has declared. Until [`World::check_in`] the rest of the world rests.
    pub(crate) fn check_out(&mut self, grant: &Grant, resources: &ResourceGrant) -> Share {
        let archetypes = self.archetypes.iter_mut().map(|archetype| archetype.check_out(grant));
        Share { archetypes: archetypes.collect(), resources: self.resources.check_out(resources) }
    }

    /// What was handed out, as the part of a world.
    pub(crate) fn part_of<'w>(
        &'w self,
        share: &'w mut Share,
        grant: &'w Grant,
        resource_grant: &'w ResourceGrant,
        buffer: &'w mut CommandBuffer,
    ) -> Part<'w> {
        let Self { id, ref entities, .. } = *self;
        let Share { archetypes, resources } = share;
        Part {
            columns: PartColumns { world_id: id, entities, archetypes, grant },
            commands: Commands::new(entities, buffer),
            resources: PartResources { resources, grant: resource_grant },
        }
    }

    /// Takes back all that was handed out.
    pub(crate) fn check_in(&mut self, shares: Vec<Share>) {
        for share in shares {
            self.resources.check_in(share.resources);
            let homes = self.archetypes.iter_mut().zip(share.archetypes);
            homes.for_each(|(home, lent)| home.check_in(lent));
        }
        self.resources.reclaim();
        self.archetypes.iter_mut().for_each(Archetype::reclaim);
    }

    /// Learns the component types behind their ids; an id of two types is refused.
    fn register_kinds(&mut self, kinds: &[ComponentKind]) {
        for kind in kinds {
            let (known, _) = self.kinds.entry(kind.id).or_insert((*kind, 0));
            assert!(
                known.type_id == kind.type_id,
                "component id {} belongs to {} and was claimed by {}",
                kind.id,
                known.name,
                kind.name
            );
        }
    }

    /// The archetype of `signature`, whose components are registered; it is made if need be.
    fn archetype_of(&mut self, signature: Signature) -> u32 {
        if let Some(&index) = self.archetype_by_signature.get(&signature) {
            return index;
        }
        let index = u32::try_from(self.archetypes.len())
            .expect("fewer than 2^32 archetypes because each takes a kilobyte of memory");
        let kinds = signature.ids().map(|id| self.kinds[&id]);
        self.archetypes.push(Archetype::new(kinds));
        self.archetype_by_signature.insert(signature, index);
        index
    }

    /// The archetype of `signature`, which differs from that of `from` by `changed`. One component is one edge.
    #[inline]
    fn neighbour(&mut self, from: u32, changed: Signature, signature: Signature) -> u32 {
        let edge = changed.only_id();
        let known = edge.and_then(|id| self.archetypes[from as usize].edge(id));
        known.unwrap_or_else(|| self.add_edge(from, edge, signature))
    }

    #[cold]
    fn add_edge(&mut self, from: u32, edge: Option<u16>, signature: Signature) -> u32 {
        let target = self.archetype_of(signature);
        if let Some(id) = edge {
            self.archetypes[from as usize].set_edge(id, target);
            self.archetypes[target as usize].set_edge(id, from);
        }
        target
    }

    /// Moves an entity to archetype `target`, keeps what both carry, and says where it stands now.
    fn move_row(&mut self, entity: Entity, from: Location, target: u32) -> Location {
        let [source, destination] = self
            .archetypes
            .get_disjoint_mut([from.archetype as usize, target as usize])
            .expect("two archetypes because their signatures differ");
        let row = destination.push_from(source, from.row as usize);
        destination.push_entity(entity);
        let location = Location { archetype: target, row: row as u32 };
        self.entities.relocate(entity, location);
        self.remove_row(from);
        location
    }

    /// Removes a row, and tells the entity that fills it where it stands now.
    fn remove_row(&mut self, location: Location) {
        let archetype = &mut self.archetypes[location.archetype as usize];
        if let Some(moved) = archetype.swap_remove(location.row as usize) {
            self.entities.relocate(moved, location);
        }
        self.relocations += 1;
    }
}

/// Makes `rows` written rows part of an archetype, each with a new entity.
fn commit_rows(archetype: &mut Archetype, entities: &mut Entities, index: u32, rows: usize) {
    let start = archetype.len();
    archetype.commit(rows);
    let first = Location { archetype: index, row: start as u32 };
    archetype.push_entities(rows, |names| entities.allocate_rows(first, rows, names));
}

/// Writes bundles into `room` spare rows. Returns how many arrived, and the first for which there was no room.
fn write_rows<B: Bundle>(
    first: B,
    bundles: &mut impl Iterator<Item = B>,
    spare: &mut B::Spare<'_>,
    room: usize,
) -> (usize, Option<B>) {
    first.write_spare(spare, 0);
    for row in 1..room {
        let Some(bundle) = bundles.next() else { return (row, None) };
        bundle.write_spare(spare, row);
    }
    (room, bundles.next())
}
