//! Where a query takes its columns from: a whole world, or the part of one that the schedule lends to a system.
//!
//! A stage of systems that run side by side is served by cutting the world along its columns: whoever writes a column
//! gets it alone, everybody else may share it. The compiler proves the cut; nothing is locked, and nothing is checked
//! while rows are visited. A query that goes beyond what its system has declared is refused, in both kinds of run.

use crate::archetype::{Archetype, Head, LendPlan};
use crate::column::Lent;
use crate::component::Signature;
use crate::entity::{Entities, Entity};
use crate::world::World;

/// Something that lends columns to queries: a [`World`], or the [`Part`](crate::Part) of one that a system holds.
pub trait Lend<'w> {
    /// What there is.
    #[doc(hidden)]
    fn source(&mut self) -> Source<'_, 'w>;
}

/// What a query may see.
pub struct Source<'a, 'w> {
    pub(crate) world_id: u64,
    pub(crate) entities: &'a Entities,
    pub(crate) tables: Tables<'a, 'w>,
    pub(crate) grant: Grant,
}

/// Components that may be read, and those that may be written as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) reads: Signature,
    pub(crate) writes: Signature,
}

/// The tables of a world, each whole or with lent columns only.
pub(crate) enum Tables<'a, 'w> {
    Whole(&'a mut [Archetype]),
    Lent(&'a mut [Shell<'w>]),
}

/// The lent columns of one archetype, each in its place.
pub struct Shell<'w> {
    head: &'w Head,
    columns: Vec<Option<Lent<'w>>>,
}

impl<'w> Lend<'w> for World {
    #[inline]
    fn source(&mut self) -> Source<'_, 'w> {
        let world_id = self.id();
        let (entities, archetypes) = self.parts_mut();
        let grant = Grant { reads: Signature::ALL, writes: Signature::ALL };
        Source { world_id, entities, tables: Tables::Whole(archetypes), grant }
    }
}

impl Grant {
    /// The components that cannot be touched by holders of both grants at the same time.
    pub(crate) fn conflicts(self, other: Self) -> Signature {
        let touched = |grant: Self| grant.reads.union(grant.writes);
        let mine = self.writes.intersection(touched(other));
        mine.union(other.writes.intersection(touched(self)))
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self { reads: self.reads.union(other.reads), writes: self.writes.union(other.writes) }
    }

    /// Refuses a walk that reaches beyond the grant.
    #[inline]
    pub(crate) fn check(self, asked: Self) {
        let readable = self.reads.union(self.writes);
        if !(readable.contains(asked.reads) && self.writes.contains(asked.writes)) {
            self.refuse(asked);
        }
    }

    #[cold]
    fn refuse(self, asked: Self) -> ! {
        let reads = asked.reads.difference(self.reads.union(self.writes));
        let writes = asked.writes.difference(self.writes);
        panic!(
            "a query reads components {reads:?} and writes {writes:?} that its system did not declare"
        )
    }
}

impl<'a, 'w> Tables<'a, 'w> {
    /// The heads of the archetypes from `first` on, to be learned.
    pub(crate) fn heads_from(&self, first: usize) -> impl Iterator<Item = &Head> {
        let (whole, lent): (&[Archetype], &[Shell<'w>]) = match self {
            Self::Whole(archetypes) => (&archetypes[first..], &[]),
            Self::Lent(shells) => (&[], &shells[first..]),
        };
        whole.iter().map(Archetype::head).chain(lent.iter().map(|shell| shell.head))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Whole(archetypes) => archetypes.len(),
            Self::Lent(shells) => shells.len(),
        }
    }

    /// One of the tables, to read the rows that were written in it.
    pub(crate) fn table(&mut self, index: u32) -> Table<'_, 'w> {
        match self {
            Self::Whole(archetypes) => Table::Whole(&mut archetypes[index as usize]),
            Self::Lent(shells) => Table::Lent(&mut shells[index as usize]),
        }
    }

    /// The tables of the ascending `indices`.
    pub(crate) fn pick(
        self,
        indices: impl Iterator<Item = u32>,
    ) -> impl Iterator<Item = Table<'a, 'w>> {
        let (whole, lent): (&'a mut [Archetype], &'a mut [Shell<'w>]) = match self {
            Self::Whole(archetypes) => (archetypes, &mut []),
            Self::Lent(shells) => (&mut [], shells),
        };
        let (mut whole, mut lent) = (whole.iter_mut(), lent.iter_mut());
        let mut passed = 0;
        indices.filter_map(move |index| {
            let skipped = (index - passed) as usize;
            passed = index + 1;
            let archetype = whole.nth(skipped).map(Table::Whole);
            archetype.or_else(|| lent.nth(skipped).map(Table::Lent))
        })
    }
}

/// One table of either kind.
pub enum Table<'a, 'w> {
    Whole(&'a mut Archetype),
    Lent(&'a mut Shell<'w>),
}

impl<'a> Table<'a, '_> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Whole(archetype) => archetype.len(),
            Self::Lent(shell) => shell.head.entities().len(),
        }
    }

    /// The bits of written rows of component `id`.
    pub(crate) fn dirty(&self, id: u16) -> &crate::Bits {
        let column = match self {
            Self::Whole(archetype) => archetype.column(id),
            Self::Lent(shell) => shell.column(id),
        };
        let dirty = column.and_then(crate::Column::dirty);
        dirty.expect("bits because a Changed filter requires the component and its Track::Rows")
    }

    #[inline]
    pub(crate) fn lend<const N: usize>(
        self,
        plan: &LendPlan,
    ) -> (&'a [Entity], [Option<Lent<'a>>; N]) {
        match self {
            Self::Whole(archetype) => archetype.lend(plan),
            Self::Lent(shell) => shell.lend(plan),
        }
    }
}

impl<'w> Shell<'w> {
    /// The table of `head` with a place for each column, none of them lent yet.
    pub(crate) fn new(head: &'w Head, columns: usize) -> Self {
        Self { head, columns: (0..columns).map(|_| None).collect() }
    }

    pub(crate) fn put(&mut self, position: usize, column: Lent<'w>) {
        self.columns[position] = Some(column);
    }

    fn column(&self, id: u16) -> Option<&crate::Column> {
        match self.columns[self.head.position(id)?].as_ref()? {
            Lent::Shared(column) => Some(column),
            Lent::Unique(column) => Some(column),
        }
    }

    fn lend<const N: usize>(&mut self, plan: &LendPlan) -> (&[Entity], [Option<Lent<'_>>; N]) {
        let mut lent = [const { None }; N];
        let mut rest = self.columns.iter_mut();
        let mut passed = 0;
        for &(position, place) in plan.steps() {
            let column = rest.nth((position - passed) as usize);
            lent[place as usize] = column.and_then(|column| column.as_mut().map(Lent::reborrow));
            passed = position + 1;
        }
        (self.head.entities(), lent)
    }
}
