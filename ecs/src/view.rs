//! Random access: the columns of all matching archetypes resolved once, rows picked by number.
//!
//! Opening a view raises the version of every column that it may write. The table of slices is borrowed from the query
//! and handed back when the view ends, so that a view per tick does not allocate.

use crate::archetype::Archetype;
use crate::entity::{Entities, Entity, Location, Names};
use crate::query::{Run, matches};
use crate::term::Terms;

/// Slices of every matching archetype, by archetype index.
pub struct View<'w, Q: Terms> {
    names: Names<'w>,
    slices: Vec<Option<Q::Slices<'w>>>,
    spare: &'w mut Vec<Option<Q::Slices<'static>>>,
}

impl<'w, Q: Terms> View<'w, Q> {
    /// Lends the columns of all matches, and nothing of the archetypes between them.
    pub(crate) fn new(
        entities: &'w Entities,
        archetypes: &'w mut [Archetype],
        runs: &'w [Run],
        spare: &'w mut Vec<Option<Q::Slices<'static>>>,
    ) -> Self {
        let mut slices = emptied(std::mem::take(spare));
        for (archetype, table, plan) in matches(runs, archetypes) {
            slices.resize_with(archetype as usize, || None);
            slices.push(Some(Q::slices(table, plan)));
        }
        Self { names: entities.names(), slices, spare }
    }

    /// The slices of one archetype, to index by row. `None` if it does not match.
    #[must_use]
    #[inline]
    pub fn slices(&mut self, archetype: u32) -> Option<&mut Q::Slices<'w>> {
        self.slices.get_mut(archetype as usize)?.as_mut()
    }

    /// The slices of all archetypes up to the last that matches, by index, to hold those of several at once.
    #[must_use]
    pub fn all_slices(&mut self) -> &mut [Option<Q::Slices<'w>>] {
        &mut self.slices
    }

    /// One row. `None` if the archetype does not match.
    ///
    /// # Panics
    /// If the archetype matches and has no such row.
    #[must_use]
    #[inline]
    pub fn row(&mut self, archetype: u32, row: u32) -> Option<Q::Row<'_>> {
        self.slices(archetype).map(|slices| Q::row(slices, row as usize))
    }

    /// The row of `entity`. `None` if it does not live or does not match.
    #[must_use]
    #[inline]
    pub fn entity(&mut self, entity: Entity) -> Option<Q::Row<'_>> {
        let Location { archetype, row } = self.names.known(entity)?;
        self.row(archetype, row)
    }
}

impl<Q: Terms> Drop for View<'_, Q> {
    fn drop(&mut self) {
        *self.spare = emptied(std::mem::take(&mut self.slices));
    }
}

/// The memory of `table` for entries of another lifetime.
///
/// Collecting a vector's own iterator into entries of equal size keeps the allocation; a test counts on it.
fn emptied<A, B>(mut table: Vec<A>) -> Vec<B> {
    const { assert!(size_of::<A>() == size_of::<B>() && align_of::<A>() == align_of::<B>()) };
    table.clear();
    table.into_iter().map(|_| unreachable!("the table was cleared")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptied_table_keeps_its_memory() {
        let number = 7_u64;
        let table: Vec<Option<&u64>> = vec![Some(&number); 33];
        let (address, capacity) = (table.as_ptr() as usize, table.capacity());
        let emptied: Vec<Option<&'static u64>> = emptied(table);
        assert!(emptied.is_empty());
        assert_eq!((emptied.as_ptr() as usize, emptied.capacity()), (address, capacity));
    }
}
