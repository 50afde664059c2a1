//! Entities: names that outlive rows, and the allocator that hands them out.
//!
//! A name is an index and a generation. A freed index is reused under its next generation, so a name kept too long
//! finds nothing instead of a stranger. An index whose generations are used up is retired: a name never returns.

use bytemuck::{Pod, Zeroable};

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
}

#[derive(Clone, Copy)]
struct Place {
    generation: u32,
    location: Location,
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
        let index = u32::try_from(self.places.len())
            .expect("fewer than 2^32 indices because a place takes 12 bytes of memory");
        self.places.push(Place { generation: 0, location });
        Entity { index, generation: 0 }
    }

    /// Takes a name back and says where it stood. `None` if it names nobody.
    pub(crate) fn free(&mut self, entity: Entity) -> Option<Location> {
        let location = self.location(entity)?;
        let place = &mut self.places[entity.index as usize];
        place.location = Location::NOWHERE;
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(entity.index);
        }
        self.live -= 1;
        Some(location)
    }

    /// Where `entity` stands. `None` if it names nobody.
    #[inline]
    pub(crate) fn location(&self, entity: Entity) -> Option<Location> {
        let place = self.places.get(entity.index as usize)?;
        let found = place.generation == entity.generation && place.location != Location::NOWHERE;
        found.then_some(place.location)
    }

    /// Records that a live entity now stands elsewhere.
    pub(crate) fn relocate(&mut self, entity: Entity, location: Location) {
        self.places[entity.index as usize].location = location;
    }

    /// Makes room for `additional` names, so that neither giving them out nor taking all names back allocates.
    pub(crate) fn reserve(&mut self, additional: usize) {
        let fresh = additional.saturating_sub(self.free.len());
        self.places.reserve(fresh);
        self.free.reserve(self.places.len() + fresh - self.free.len());
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
    fn name_survives_the_way_through_bits() {
        let entity = Entity { index: 7, generation: u32::MAX };
        assert_eq!(Entity::from_bits(entity.to_bits()), entity);
    }
}
