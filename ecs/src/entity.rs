//! Entities: names that outlive rows, and the allocator that hands them out.
//!
//! A name is an index and a generation. A freed index is reused under its next generation, so a name kept too long
//! finds nothing instead of a stranger. An index whose generations are used up is retired: a name never returns.

use bytemuck::{Pod, Zeroable};

use crate::buffer::grown;

/// A stable name of one entity of one world.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Entity {
    index: u32,
    generation: u32,
}

impl Entity {
    /// Position in the entity table; reused after a despawn.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How often the index had been freed when this name was given out.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The name as one number: generation above, index below.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The name that [`Entity::to_bits`] turned into `bits`.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// Where an entity stands at the moment. It moves when its components change or a neighbour leaves.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Location {
    /// Index of the archetype in its world.
    pub archetype: u32,
    /// Row in the archetype.
    pub row: u32,
}

impl Location {
    /// Marks an index that names nobody; no world reaches this many archetypes.
    const NOWHERE: Self = Self { archetype: u32::MAX, row: u32::MAX };

    /// Marks a name that was given out for an entity to come.
    const RESERVED: Self = Self { archetype: u32::MAX, row: 0 };

    const fn is_row(self) -> bool {
        self.archetype != u32::MAX
    }
}

#[derive(Clone, Copy)]
struct Place {
    generation: u32,
    location: Location,
}

/// The names at the moment, as a slice that the compiler keeps in registers.
#[derive(Clone, Copy)]
pub(crate) struct Names<'w>(&'w [Place]);

impl Names<'_> {
    /// As [`Entities::location`], or a place in an archetype that no world has.
    #[inline]
    pub(crate) fn known(self, entity: Entity) -> Option<Location> {
        let place = self.0.get(entity.index as usize)?;
        (place.generation == entity.generation).then_some(place.location)
    }
}

/// The table behind the names: a place for each index, and the indices that wait for reuse.
#[derive(Default)]
pub(crate) struct Entities {
    places: Vec<Place>,
    free: Vec<u32>,
    live: usize,
}

impl Entities {
    /// Gives out a name that stands at `location`.
    pub(crate) fn allocate(&mut self, location: Location) -> Entity {
        self.live += 1;
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.location = location;
            return Entity { index, generation: place.generation };
        }
        let index = index_of(self.places.len());
        self.make_room(1);
        self.places.push(Place { generation: 0, location });
        Entity { index, generation: 0 }
    }

    /// Gives out names for rows in a row, the first of which stands at `first`, and appends them to `names`.
    pub(crate) fn allocate_rows(&mut self, first: Location, rows: usize, names: &mut Vec<Entity>) {
        let at = |row: usize| Location { row: first.row + row as u32, ..first };
        let reused = rows.min(self.free.len());
        names.extend((0..reused).map(|row| self.allocate(at(row))));
        let [fresh, end] = [0, rows - reused].map(|more| index_of(self.places.len() + more));
        self.make_room(rows - reused);
        self.places.extend((reused..rows).map(|row| Place { generation: 0, location: at(row) }));
        names.extend((fresh..end).map(|index| Entity { index, generation: 0 }));
        self.live += rows - reused;
    }

    /// Takes a name back and says where it stood. `None` if it names nobody.
    pub(crate) fn free(&mut self, entity: Entity) -> Option<Location> {
        let location = self.location(entity)?;
        self.retire(entity);
        self.live -= 1;
        Some(location)
    }

    /// Gives out a name for an entity to come.
    pub(crate) fn reserve_name(&mut self) -> Entity {
        let entity = self.allocate(Location::RESERVED);
        self.live -= 1;
        entity
    }

    /// Takes a reserved name back. False if it is not one.
    pub(crate) fn free_reserved(&mut self, entity: Entity) -> bool {
        let reserved = self.is_reserved(entity);
        if reserved {
            self.retire(entity);
        }
        reserved
    }

    /// Whether the name waits for its entity.
    pub(crate) fn is_reserved(&self, entity: Entity) -> bool {
        self.names().known(entity) == Some(Location::RESERVED)
    }

    /// The entity of a reserved name comes to stand at `location`.
    pub(crate) fn occupy(&mut self, entity: Entity, location: Location) {
        self.live += 1;
        self.relocate(entity, location);
    }

    /// The name that the call of [`Entities::allocate`] after `calls` further ones will give out.
    pub(crate) fn upcoming(&self, calls: usize) -> Entity {
        if let Some(at) = self.free.len().checked_sub(calls + 1) {
            let index = self.free[at];
            return Entity { index, generation: self.places[index as usize].generation };
        }
        Entity { index: index_of(self.places.len() + calls - self.free.len()), generation: 0 }
    }

    /// Reserves those of the next `count` upcoming names that `used` picks; the others stay free.
    pub(crate) fn reserve_upcoming(&mut self, count: usize, mut used: impl FnMut(usize) -> bool) {
        let freed = count.min(self.free.len());
        let (first, end) = (self.free.len() - freed, self.free.len());
        let mut kept = first;
        for at in first..end {
            let index = self.free[at];
            if used(end - 1 - at) {
                self.places[index as usize].location = Location::RESERVED;
            } else {
                self.free[kept] = index;
                kept += 1;
            }
        }
        self.free.truncate(kept);
        let fresh = self.places.len() - freed;
        self.make_places(count - freed);
        for position in freed..count {
            let location = if used(position) { Location::RESERVED } else { Location::NOWHERE };
            self.places.push(Place { generation: 0, location });
        }
        let unused = (freed..count).rev().filter(|&position| !used(position));
        self.free.extend(unused.map(|position| (fresh + position) as u32));
    }

    /// Ends a name; its index returns under the next generation, if there is one.
    fn retire(&mut self, entity: Entity) {
        let place = &mut self.places[entity.index as usize];
        place.location = Location::NOWHERE;
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(entity.index);
        }
    }

    /// Where `entity` stands. `None` if it names nobody.
    #[inline]
    pub(crate) fn location(&self, entity: Entity) -> Option<Location> {
        self.names().known(entity).filter(|location| location.is_row())
    }

    /// The names, to look up many of them.
    #[inline]
    pub(crate) fn names(&self) -> Names<'_> {
        Names(&self.places)
    }

    /// Records that a live entity now stands elsewhere.
    pub(crate) fn relocate(&mut self, entity: Entity, location: Location) {
        self.places[entity.index as usize].location = location;
    }

    /// Makes room for exactly `additional` names, so that neither giving them out nor taking all names back allocates.
    pub(crate) fn reserve(&mut self, additional: usize) {
        let fresh = additional.saturating_sub(self.free.len());
        self.places.reserve_exact(fresh);
        self.free.reserve_exact(self.places.len() + fresh - self.free.len());
    }

    /// Makes room for `additional` names, and for some beyond when it grows.
    #[inline]
    pub(crate) fn make_room(&mut self, additional: usize) {
        self.make_places(additional.saturating_sub(self.free.len()));
    }

    /// Makes room for `fresh` indices that were never given out.
    #[inline]
    fn make_places(&mut self, fresh: usize) {
        if fresh > self.places.capacity() - self.places.len() {
            let len = self.places.len();
            self.places.reserve_exact(fresh.max(grown(len) - len));
        }
    }

    /// Number of indices that were ever given out.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn generation(&self, index: usize) -> u32 {
        self.places[index].generation
    }

    /// The indices that wait for reuse, the next one last.
    pub(crate) fn free_indices(&self) -> &[u32] {
        &self.free
    }

    /// Replaces all names. Those that are neither free nor put by [`Entities::occupy`] afterwards stay reserved, but for
    /// those whose generations are used up.
    pub(crate) fn reset(&mut self, generations: &[u32], free: &[u32]) {
        let place = |&generation| {
            let location =
                if generation == u32::MAX { Location::NOWHERE } else { Location::RESERVED };
            Place { generation, location }
        };
        self.places.clear();
        self.places.extend(generations.iter().map(place));
        self.free.clear();
        self.free.extend_from_slice(free);
        for &index in free {
            self.places[index as usize].location = Location::NOWHERE;
        }
        self.live = 0;
    }

    /// Number of live names.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Memory held, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>() + self.free.capacity() * size_of::<u32>()
    }
}

/// The index of a place.
#[inline]
fn index_of(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32 indices because a place takes 12 bytes of memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Location = Location { archetype: 1, row: 2 };

    #[test]
    fn freed_index_returns_under_the_next_generation() {
        let mut entities = Entities::default();
        let first = entities.allocate(HERE);
        assert_eq!(entities.free(first), Some(HERE));
        let second = entities.allocate(HERE);
        assert_eq!((second.index(), second.generation()), (0, 1));
        assert_eq!(entities.location(first), None);
        assert_eq!(entities.free(first), None);
        assert_eq!(entities.len(), 1);
    }

    #[test]
    fn index_with_no_generation_left_is_retired() {
        let mut entities = Entities::default();
        let first = entities.allocate(HERE);
        entities.places[first.index as usize].generation = u32::MAX;
        let last = Entity { generation: u32::MAX, ..first };
        assert_eq!(entities.free(last), Some(HERE));
        assert_eq!(entities.location(last), None);
        assert_eq!(entities.free(last), None);
        let next = entities.allocate(HERE);
        assert_eq!((next.index(), next.generation()), (1, 0));
        assert_eq!(entities.len(), 1);
    }

    #[test]
    fn free_names_that_are_kept_make_no_room_for_fresh_ones() {
        const PLACES: usize = 20_000;
        let mut entities = Entities::default();
        entities.reserve(PLACES);
        let names: Vec<Entity> = (0..PLACES).map(|_| entities.allocate(HERE)).collect();
        names[..100].iter().for_each(|&name| assert_eq!(entities.free(name), Some(HERE)));
        entities.reserve_upcoming(200, |position| position >= 100);
        assert_eq!((entities.places(), entities.free_indices().len()), (PLACES + 100, 100));
        assert_eq!(entities.places.capacity(), PLACES + PLACES / 16);
    }

    #[test]
    fn name_survives_the_way_through_bits() {
        let entity = Entity { index: 7, generation: u32::MAX };
        assert_eq!(Entity::from_bits(entity.to_bits()), entity);
    }
}
