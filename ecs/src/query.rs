//! Queries: the archetypes that carry what is asked for, and linear walks over them.
//!
//! A query remembers which archetypes match; a walk looks only at archetypes that appeared since. The primary form is
//! [`Query::chunks`]: slices of whole columns, which the compiler turns into vector code. [`Query::each`] is the same walk by
//! rows, [`Query::par_chunks`] the same on several threads. A query that names a component twice is refused where it is made,
//! so two borrows of one column cannot arise; nothing is checked while it runs.

use std::marker::PhantomData;
use std::ops::Range;

use crate::archetype::{Archetype, LendPlan};
use crate::bits::{GROUP_ROWS, Group, GroupRows};
use crate::column::Column;
use crate::component::{ComponentKind, Signature};
use crate::filter::Filter;
use crate::parallel::map_in_order;
use crate::part::{Grant, Lend, PartColumns};
use crate::term::Terms;
use crate::view::View;

/// A walk over all entities that carry the terms `Q` and pass the filter `F`.
pub struct Query<Q: Terms, F: Filter = ()> {
    world_id: u64,
    /// Archetypes that were looked at.
    seen: usize,
    /// Those that match, ascending.
    runs: Vec<Run>,
    /// The chosen rows: their archetype, the first row of a group, and the group. Kept for its memory.
    chosen: Vec<(u32, usize, Group)>,
    /// The table of the last view, emptied. Kept for its memory.
    spare: Vec<Option<Q::Slices<'static>>>,
    filter: PhantomData<fn() -> F>,
}

impl<Q: Terms, F: Filter> Default for Query<Q, F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Q: Terms, F: Filter> Query<Q, F> {
    /// What a walk touches.
    pub(crate) const GRANT: Grant = Grant { reads: Q::READS.union(F::CHANGED), writes: Q::WRITES };

    const REQUIRED: Signature = Q::REQUIRED.union(F::WITH).union(F::CHANGED);

    /// Prepares a query. It may be used with any world, and remembers the archetypes of one.
    ///
    /// # Panics
    /// If `Q` names a component twice, or `F` excludes what `Q` or `F` itself requires.
    #[must_use]
    pub fn new() -> Self {
        let mut seen = Signature::EMPTY;
        for &ComponentKind { id, name, .. } in Q::COMPONENTS.iter().flatten() {
            let id = Signature::of_id(id);
            assert!(!seen.intersects(id), "a query names {name} twice");
            assert!(
                !(F::WITHOUT.intersects(id) && Self::REQUIRED.contains(id)),
                "a query asks for {name} and for entities without it"
            );
            seen = seen.union(id);
        }
        assert!(!F::WITHOUT.intersects(Self::REQUIRED), "a filter contradicts itself");
        Self {
            world_id: 0,
            seen: 0,
            runs: Vec::new(),
            chosen: Vec::new(),
            spare: Vec::new(),
            filter: PhantomData,
        }
    }

    /// Visits each matching archetype that has rows, in order of index. With a [`Changed`](crate::Changed) filter, it visits
    /// the runs of [`CHUNK_ROWS`] rows in which one is chosen.
    #[inline]
    pub fn chunks(&mut self, from: &mut impl Lend, mut visit: impl FnMut(Chunk<'_, Q>)) {
        if !F::CHANGED.is_empty() {
            return self.walk(from, visit);
        }
        let PartColumns { archetypes, .. } = self.refresh(from);
        for run in &self.runs {
            for (place, table) in run.of(archetypes).iter_mut().enumerate() {
                if !table.is_empty() {
                    let archetype = run.indices.start + place as u32;
                    visit(Chunk::new(archetype, table, &run.plan));
                }
            }
        }
    }

    /// Visits each matching row, in row order of each archetype in turn.
    #[inline]
    pub fn each(&mut self, from: &mut impl Lend, mut visit: impl FnMut(Q::Row<'_>)) {
        self.chunks(from, |chunk| chunk.each(&mut visit));
    }

    /// Visits the matching rows on up to `threads` threads, in chunks of at most [`CHUNK_ROWS`] rows, and gives the
    /// answers to `reduce` in the order of the chunks: the result is that of one thread, bit for bit.
    ///
    /// The threads are started for this walk and end with it, which costs some ten microseconds each. A walk of one
    /// chunk, or with one thread, starts none.
    pub fn par_chunks<R: Send>(
        &mut self,
        from: &mut impl Lend,
        threads: usize,
        map: impl Fn(Chunk<'_, Q>) -> R + Sync,
        reduce: impl FnMut(R),
    ) {
        let mut chunks = Vec::new();
        self.walk(from, |chunk| chunks.push(chunk));
        map_in_order(chunks, threads, map, reduce);
    }

    /// Resolves the columns of all matching archetypes once, for access in any order. [`Changed`](crate::Changed) is
    /// not consulted: a view chooses by archetype alone.
    ///
    /// Once the query has seen all archetypes, this does not allocate.
    pub fn view<'a>(&'a mut self, from: &'a mut impl Lend) -> View<'a, Q> {
        let PartColumns { entities, archetypes, .. } = self.refresh(from);
        View::new(entities, archetypes, &self.runs, &mut self.spare)
    }

    /// Indices of the matching archetypes, ascending, those without rows included.
    pub fn archetypes(&mut self, from: &mut impl Lend) -> impl Iterator<Item = u32> {
        self.refresh(from);
        self.runs.iter().flat_map(|run| run.indices.clone())
    }

    /// Visits the matching rows in chunks of at most [`CHUNK_ROWS`].
    fn walk<'a>(&'a mut self, from: &'a mut impl Lend, mut visit: impl FnMut(Chunk<'a, Q>)) {
        let PartColumns { archetypes, .. } = self.refresh(from);
        self.choose(archetypes);
        let mut chosen = self.chosen.as_slice();
        for (archetype, table, plan) in matches(&self.runs, archetypes) {
            let rows = table.len();
            let mut rest = Chunk::new(archetype, table, plan);
            for first_row in (0..rows).step_by(CHUNK_ROWS) {
                let len = CHUNK_ROWS.min(rows - first_row);
                let mut chunk = rest.cut(len);
                if !F::CHANGED.is_empty() {
                    let Some(((_, _, group), tail)) =
                        chosen.split_first().filter(|((index, first, _), _)| {
                            (*index, *first) == (archetype, first_row)
                        })
                    else {
                        continue;
                    };
                    chosen = tail;
                    chunk.rows = Rows(Choice::Group(group.rows()));
                }
                visit(chunk);
            }
        }
    }

    /// Looks up the rows of which every component of the filter was written.
    fn choose(&mut self, archetypes: &[Archetype]) {
        self.chosen.clear();
        for archetype in self.runs.iter().flat_map(|run| run.indices.clone()) {
            let mut changed = F::CHANGED.ids().map(|id| {
                let dirty = archetypes[archetype as usize].column(id).and_then(Column::dirty);
                dirty.expect("bits because the filter requires the component and its Track::Rows")
            });
            let Some(first) = changed.next() else { return };
            let common = first.common(changed);
            self.chosen.extend(common.map(|(first_row, group)| (archetype, first_row, group)));
        }
    }

    /// Looks at the archetypes that appeared since the last walk, if it may walk here at all.
    #[inline]
    fn refresh<'a>(&mut self, from: &'a mut impl Lend) -> PartColumns<'a> {
        let columns = from.lend();
        columns.grant.check(Self::GRANT);
        if self.world_id != columns.world_id || self.seen != columns.archetypes.len() {
            self.learn(&columns);
        }
        columns
    }

    #[cold]
    fn learn(&mut self, columns: &PartColumns<'_>) {
        if self.world_id != columns.world_id {
            (self.world_id, self.seen) = (columns.world_id, 0);
            self.runs.clear();
        }
        for table in &columns.archetypes[self.seen..] {
            let signature = table.signature();
            if signature.contains(Self::REQUIRED) && !signature.intersects(F::WITHOUT) {
                self.add(self.seen as u32, LendPlan::new(table, Q::COMPONENTS));
            }
            self.seen += 1;
        }
    }

    /// Adds an archetype that matches, to the last run if it continues it.
    fn add(&mut self, archetype: u32, plan: LendPlan) {
        match self.runs.last_mut() {
            Some(run) if run.indices.end == archetype && run.plan == plan => run.indices.end += 1,
            _ => self.runs.push(Run { indices: archetype..archetype + 1, plan }),
        }
    }
}

/// Archetypes that match, one behind the other, and lend their columns by the same plan: a walk along them looks up neither
/// where they are nor which of their columns it wants.
pub(crate) struct Run {
    indices: Range<u32>,
    plan: LendPlan,
}

impl Run {
    #[inline]
    fn of<'a>(&self, archetypes: &'a mut [Archetype]) -> &'a mut [Archetype] {
        &mut archetypes[self.indices.start as usize..self.indices.end as usize]
    }
}

/// The archetypes of `runs` with their indices, all of them borrowed at the same time.
pub(crate) fn matches<'a>(
    runs: &'a [Run],
    archetypes: &'a mut [Archetype],
) -> impl Iterator<Item = (u32, &'a mut Archetype, &'a LendPlan)> {
    let (mut rest, mut passed) = (archetypes, 0);
    runs.iter().flat_map(move |Run { indices, plan }| {
        let between = (indices.start - passed) as usize;
        passed = indices.end;
        rest.split_off_mut(..between).expect(SEEN);
        let tables = rest.split_off_mut(..indices.len()).expect(SEEN);
        indices.clone().zip(tables).map(move |(archetype, table)| (archetype, table, plan))
    })
}

const SEEN: &str = "the archetypes of a run because these were seen, and none is ever removed";

/// The matching rows of one archetype.
pub struct Chunk<'w, Q: Terms> {
    /// Index of the archetype.
    pub archetype: u32,
    /// The row of the archetype with which the slices begin.
    pub first_row: u32,
    /// A slice for each term, over all rows of the archetype, or those of this chunk.
    pub slices: Q::Slices<'w>,
    /// The rows to visit: all, unless the query has a [`Changed`](crate::Changed) filter.
    pub rows: Rows<'w>,
}

/// The most rows that a chunk of a parallel walk has. It does not depend on the number of threads, and bits of written
/// rows can be cut there.
pub const CHUNK_ROWS: usize = GROUP_ROWS;

impl<'w, Q: Terms> Chunk<'w, Q> {
    /// Visits its rows, ascending.
    #[inline]
    pub fn each(self, mut visit: impl FnMut(Q::Row<'_>)) {
        let Self { mut slices, rows, .. } = self;
        match rows.0 {
            Choice::All(rows) => {
                // The compiler sees that these slices end with the loop, and so checks nothing for each row.
                let mut slices = Q::split_off_front(&mut slices, rows.end);
                for row in rows {
                    visit(Q::row(&mut slices, row));
                }
            }
            Choice::Group(rows) => rows.for_each(|row| visit(Q::row(&mut slices, row))),
        }
    }

    /// All rows of an archetype.
    #[inline]
    fn new(archetype: u32, table: &'w mut Archetype, plan: &LendPlan) -> Self {
        let rows = Rows(Choice::All(0..table.len()));
        Self { archetype, first_row: 0, slices: Q::slices(table, plan), rows }
    }

    /// Cuts the first `rows` off.
    fn cut(&mut self, rows: usize) -> Self {
        let slices = Q::split_off_front(&mut self.slices, rows);
        let first_row = self.first_row;
        self.first_row += rows as u32;
        let rows = Rows(Choice::All(0..rows));
        Self { archetype: self.archetype, first_row, slices, rows }
    }
}

/// Row numbers in ascending order, counted from the first of a chunk.
#[derive(Clone)]
pub struct Rows<'w>(Choice<'w>);

#[derive(Clone)]
enum Choice<'w> {
    All(Range<usize>),
    Group(GroupRows<'w>),
}

impl Iterator for Rows<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        match &mut self.0 {
            Choice::All(rows) => rows.next(),
            Choice::Group(rows) => rows.next(),
        }
    }
}
