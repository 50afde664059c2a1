//! Queries: the archetypes that carry what is asked for, and linear walks over them.
//!
//! A query remembers which archetypes match; a walk looks only at archetypes that appeared since. The primary form is
//! [`Query::chunks`]: slices of whole columns, which the compiler turns into vector code. [`Query::each`] is the same
//! walk by rows. A query that names a component twice is refused where it is made, so two borrows of one column cannot
//! arise; nothing is checked while it runs.

use std::marker::PhantomData;
use std::ops::Range;

use crate::archetype::{Archetype, LendPlan};
use crate::bits::{SetBits, WORD_BITS};
use crate::column::Column;
use crate::component::Signature;
use crate::filter::Filter;
use crate::term::Terms;
use crate::view::View;
use crate::world::World;

/// A walk over all entities that carry the terms `Q` and pass the filter `F`.
pub struct Query<Q: Terms, F: Filter = ()> {
    world_id: u64,
    /// How to lend each archetype, by index; `None` for those that do not match.
    plans: Vec<Option<LendPlan>>,
    /// The chosen rows of the archetype at hand, as set words with their positions. Kept for its memory.
    chosen: Vec<(u32, u64)>,
    /// The table of the last view, emptied. Kept for its memory.
    pub(crate) spare: Vec<Option<Q::Slices<'static>>>,
    filter: PhantomData<fn() -> F>,
}

impl<Q: Terms, F: Filter> Default for Query<Q, F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Q: Terms, F: Filter> Query<Q, F> {
    /// Prepares a query. It may be used with any world, and remembers the archetypes of one.
    ///
    /// # Panics
    /// If `Q` names a component twice, or `F` excludes what `Q` or `F` itself requires.
    #[must_use]
    pub fn new() -> Self {
        let mut seen = Signature::EMPTY;
        for &(id, name) in Q::COMPONENTS.iter().flatten() {
            let id = Signature::of_id(id);
            assert!(!seen.intersects(id), "a query names {name} twice");
            assert!(
                !(F::WITHOUT.intersects(id) && Self::required().contains(id)),
                "a query asks for {name} and for entities without it"
            );
            seen = seen.union(id);
        }
        assert!(!F::WITH.intersects(F::WITHOUT), "a filter contradicts itself");
        Self {
            world_id: 0,
            plans: Vec::new(),
            chosen: Vec::new(),
            spare: Vec::new(),
            filter: PhantomData,
        }
    }

    /// Visits each matching archetype that has rows, in order of index.
    #[inline]
    pub fn chunks(&mut self, world: &mut World, mut visit: impl FnMut(Chunk<'_, Q>)) {
        self.refresh(world);
        let (_, archetypes) = world.parts_mut();
        for (index, (archetype, plan)) in archetypes.iter_mut().zip(&self.plans).enumerate() {
            let Some(plan) = plan else { continue };
            let mut rows = Rows::all(archetype.len());
            if !F::CHANGED.is_empty() {
                choose(archetype, F::CHANGED, &mut self.chosen);
                rows = Rows::chosen(&self.chosen);
            }
            if !rows.is_empty() {
                let slices = Q::slices(archetype, plan);
                visit(Chunk { archetype: index as u32, slices, rows });
            }
        }
    }

    /// Visits each matching row, in row order of each archetype in turn.
    #[inline]
    pub fn each(&mut self, world: &mut World, mut visit: impl FnMut(Q::Row<'_>)) {
        self.chunks(world, |Chunk { mut slices, rows, .. }| match rows.0 {
            Choice::All(all) => all.for_each(|row| visit(Q::row(&mut slices, row))),
            Choice::Words { .. } => rows.for_each(|row| visit(Q::row(&mut slices, row))),
        });
    }

    /// Resolves the columns of all matching archetypes once, for access in any order. [`Changed`](crate::Changed) is
    /// not consulted: a view chooses by archetype alone.
    ///
    /// Once the query has seen all archetypes, this does not allocate.
    pub fn view<'w>(&'w mut self, world: &'w mut World) -> View<'w, Q> {
        self.refresh(world);
        let (entities, archetypes) = world.parts_mut();
        View::new(entities, archetypes, &self.plans, &mut self.spare)
    }

    /// Indices of the matching archetypes, ascending, those without rows included.
    pub fn archetypes(&mut self, world: &World) -> impl Iterator<Item = u32> {
        self.refresh(world);
        let plans = self.plans.iter().enumerate();
        plans.filter(|(_, plan)| plan.is_some()).map(|(index, _)| index as u32)
    }

    /// Looks at the archetypes that appeared since the last walk.
    fn refresh(&mut self, world: &World) {
        if self.world_id != world.id() {
            self.world_id = world.id();
            self.plans.clear();
        }
        for archetype in &world.archetypes()[self.plans.len()..] {
            let signature = archetype.signature();
            let matches = signature.contains(Self::required()) && !signature.intersects(F::WITHOUT);
            let ids = Q::COMPONENTS.iter().map(|component| component.map(|(id, _)| id));
            self.plans.push(matches.then(|| LendPlan::new(archetype, ids)));
        }
    }

    fn required() -> Signature {
        Q::REQUIRED.union(F::WITH)
    }
}

/// The matching rows of one archetype.
pub struct Chunk<'w, Q: Terms> {
    /// Index of the archetype.
    pub archetype: u32,
    /// A slice for each term, over all rows of the archetype.
    pub slices: Q::Slices<'w>,
    /// The rows to visit: all, unless the query has a [`Changed`](crate::Changed) filter.
    pub rows: Rows<'w>,
}

/// Row numbers in ascending order.
#[derive(Clone)]
pub struct Rows<'w>(Choice<'w>);

#[derive(Clone)]
enum Choice<'w> {
    All(Range<usize>),
    Words { rest: &'w [(u32, u64)], bits: SetBits, base: usize },
}

impl<'w> Rows<'w> {
    fn all(len: usize) -> Self {
        Self(Choice::All(0..len))
    }

    fn chosen(words: &'w [(u32, u64)]) -> Self {
        Self(Choice::Words { rest: words, bits: SetBits(0), base: 0 })
    }

    /// Whether no row is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Choice::All(rows) => rows.is_empty(),
            Choice::Words { rest, bits, .. } => rest.is_empty() && bits.0 == 0,
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        match &mut self.0 {
            Choice::All(rows) => rows.next(),
            Choice::Words { rest, bits, base } => loop {
                if let Some(bit) = bits.next() {
                    return Some(*base + bit);
                }
                let (&(word, set), tail) = rest.split_first()?;
                (*rest, *bits, *base) = (tail, SetBits(set), word as usize * WORD_BITS);
            },
        }
    }
}

/// Collects the rows of which every component of `changed` was written, as set words with their positions.
fn choose(archetype: &Archetype, changed: Signature, chosen: &mut Vec<(u32, u64)>) {
    let dirty = |id| {
        let column = archetype.column(id).and_then(Column::dirty);
        column.expect("bits because a Changed filter requires the component and its Track::Rows")
    };
    chosen.clear();
    let mut ids = changed.ids();
    let Some(first) = ids.next() else { return };
    for (word, bits) in dirty(first).set_words() {
        let bits = ids.clone().fold(bits, |bits, id| bits & dirty(id).word(word));
        if bits != 0 {
            chosen.push((word as u32, bits));
        }
    }
}
