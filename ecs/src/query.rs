//! Queries: the archetypes that carry what is asked for, and linear walks over them.
//!
//! A query remembers which archetypes match; a walk looks only at archetypes that appeared since. The primary form is
//! [`Query::chunks`]: slices of whole columns, which the compiler turns into vector code. [`Query::each`] is the same
//! walk by rows, [`Query::par_chunks`] the same on several threads. A query that names a component twice is refused where it is made, so two borrows of one column cannot
//! arise; nothing is checked while it runs.

use std::marker::PhantomData;
use std::ops::Range;

use crate::archetype::LendPlan;
use crate::bits::{GROUP_ROWS, SetBits, WORD_BITS};
use crate::component::Signature;
use crate::filter::Filter;
use crate::lend::{Grant, Lend, Source, Table};
use crate::parallel::map_in_order;
use crate::term::Terms;
use crate::view::View;

/// A walk over all entities that carry the terms `Q` and pass the filter `F`.
pub struct Query<Q: Terms, F: Filter = ()> {
    world_id: u64,
    /// Archetypes that were looked at.
    seen: usize,
    /// Those that match, ascending, and how to lend each.
    matches: Vec<(u32, LendPlan)>,
    /// The chosen rows of the archetype at hand, as set words with their positions. Kept for its memory.
    chosen: Vec<(u32, u64)>,
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
        for &(id, name) in Q::COMPONENTS.iter().flatten() {
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
            matches: Vec::new(),
            chosen: Vec::new(),
            spare: Vec::new(),
            filter: PhantomData,
        }
    }

    /// Visits each matching archetype that has rows, in order of index.
    #[inline]
    pub fn chunks<'w>(&mut self, from: &mut impl Lend<'w>, mut visit: impl FnMut(Chunk<'_, Q>)) {
        let mut source = self.refresh(from);
        for &(archetype, ref plan) in &self.matches {
            let table = source.tables.table(archetype);
            let mut rows = Rows::all(table.len());
            if !F::CHANGED.is_empty() {
                self.chosen.clear();
                choose(&table, F::CHANGED, &mut self.chosen);
                rows = Rows::chosen(&self.chosen, 0);
            }
            if !rows.is_empty() {
                visit(Chunk { archetype, first_row: 0, slices: Q::slices(table, plan), rows });
            }
        }
    }

    /// Visits each matching row, in row order of each archetype in turn.
    #[inline]
    pub fn each<'w>(&mut self, from: &mut impl Lend<'w>, mut visit: impl FnMut(Q::Row<'_>)) {
        self.chunks(from, |chunk| chunk.each(&mut visit));
    }

    /// Visits the matching rows on up to `threads` threads, in chunks of at most [`CHUNK_ROWS`] rows, and gives the
    /// answers to `reduce` in the order of the chunks: the result is that of one thread, bit for bit.
    ///
    /// The threads are started for this walk and end with it, which costs some ten microseconds each. A walk of one
    /// chunk, or with one thread, starts none.
    pub fn par_chunks<'w, R: Send>(
        &mut self,
        from: &mut impl Lend<'w>,
        threads: usize,
        map: impl Fn(Chunk<'_, Q>) -> R + Sync,
        reduce: impl FnMut(R),
    ) {
        let mut source = self.refresh(from);
        self.chosen.clear();
        let mut chosen_ends = Vec::with_capacity(self.matches.len());
        for &(archetype, _) in &self.matches {
            if !F::CHANGED.is_empty() {
                choose(&source.tables.table(archetype), F::CHANGED, &mut self.chosen);
            }
            chosen_ends.push(self.chosen.len());
        }
        let mut chunks = Vec::new();
        let picked = source.tables.pick(self.matches.iter().map(|&(archetype, _)| archetype));
        let mut chosen = self.chosen.as_slice();
        let mut passed = 0;
        for ((table, (archetype, plan)), end) in picked.zip(&self.matches).zip(chosen_ends) {
            let words = chosen.split_off(..end - passed).expect("words of this archetype");
            passed = end;
            let len = table.len();
            let whole = Chunk {
                archetype: *archetype,
                first_row: 0,
                slices: Q::slices(table, plan),
                rows: Rows::all(len),
            };
            whole.cut(len, (!F::CHANGED.is_empty()).then_some(words), &mut chunks);
        }
        map_in_order(chunks, threads, map, reduce);
    }

    /// Resolves the columns of all matching archetypes once, for access in any order. [`Changed`](crate::Changed) is
    /// not consulted: a view chooses by archetype alone.
    ///
    /// Once the query has seen all archetypes, this does not allocate.
    pub fn view<'a, 'w>(&'a mut self, from: &'a mut impl Lend<'w>) -> View<'a, Q>
    where
        'w: 'a,
    {
        let source = self.refresh(from);
        View::new(source.entities, source.tables, &self.matches, &mut self.spare)
    }

    /// Indices of the matching archetypes, ascending, those without rows included.
    pub fn archetypes<'w>(&mut self, from: &mut impl Lend<'w>) -> impl Iterator<Item = u32> {
        self.refresh(from);
        self.matches.iter().map(|&(archetype, _)| archetype)
    }

    /// Looks at the archetypes that appeared since the last walk, if it may walk here at all.
    #[inline]
    fn refresh<'a, 'w>(&mut self, from: &'a mut impl Lend<'w>) -> Source<'a, 'w> {
        let source = from.source();
        source.grant.check(Self::GRANT);
        if self.world_id != source.world_id || self.seen != source.tables.len() {
            self.learn(&source);
        }
        source
    }

    #[cold]
    fn learn(&mut self, source: &Source<'_, '_>) {
        if self.world_id != source.world_id {
            (self.world_id, self.seen) = (source.world_id, 0);
            self.matches.clear();
        }
        for head in source.tables.heads_from(self.seen) {
            let signature = head.signature();
            if signature.contains(Self::REQUIRED) && !signature.intersects(F::WITHOUT) {
                let ids = Q::COMPONENTS.iter().map(|component| component.map(|(id, _)| id));
                self.matches.push((self.seen as u32, LendPlan::new(head, ids)));
            }
            self.seen += 1;
        }
    }
}

/// The matching rows of one archetype.
pub struct Chunk<'w, Q: Terms> {
    /// Index of the archetype.
    pub archetype: u32,
    /// The row of the archetype with which the slices begin; 0 unless the walk is parallel.
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
            Choice::All(all) => all.for_each(|row| visit(Q::row(&mut slices, row))),
            Choice::Words { .. } => rows.for_each(|row| visit(Q::row(&mut slices, row))),
        }
    }

    /// Cuts a whole archetype of `len` rows into chunks. `chosen` are the rows to visit, unless all are.
    fn cut(self, len: usize, mut chosen: Option<&'w [(u32, u64)]>, chunks: &mut Vec<Self>) {
        let Self { archetype, mut slices, .. } = self;
        let mut push = |first_row: usize, len: usize, slices| {
            let rows = chosen.as_mut().map_or(Rows::all(len), |words| {
                let end = (first_row + len).div_ceil(WORD_BITS) as u32;
                let here = words.partition_point(|&(word, _)| word < end);
                Rows::chosen(words.split_off(..here).unwrap_or_default(), first_row)
            });
            if !rows.is_empty() {
                chunks.push(Self { archetype, first_row: first_row as u32, slices, rows });
            }
        };
        let mut first_row = 0;
        while len - first_row > CHUNK_ROWS {
            push(first_row, CHUNK_ROWS, Q::split_off_front(&mut slices, CHUNK_ROWS));
            first_row += CHUNK_ROWS;
        }
        push(first_row, len - first_row, slices);
    }
}

/// Row numbers in ascending order.
#[derive(Clone)]
pub struct Rows<'w>(Choice<'w>);

#[derive(Clone)]
enum Choice<'w> {
    All(Range<usize>),
    Words { rest: &'w [(u32, u64)], bits: SetBits, base: usize, first_row: usize },
}

impl<'w> Rows<'w> {
    fn all(len: usize) -> Self {
        Self(Choice::All(0..len))
    }

    /// The rows of `words`, counted from `first_row`, which none of them precedes.
    fn chosen(words: &'w [(u32, u64)], first_row: usize) -> Self {
        Self(Choice::Words { rest: words, bits: SetBits(0), base: 0, first_row })
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
            Choice::Words { rest, bits, base, first_row } => loop {
                if let Some(bit) = bits.next() {
                    return Some(*base + bit);
                }
                let (&(word, set), tail) = rest.split_first()?;
                (*rest, *bits) = (tail, SetBits(set));
                *base = word as usize * WORD_BITS - *first_row;
            },
        }
    }
}

/// Adds the rows of which every component of `changed` was written, as set words with their positions.
fn choose(table: &Table<'_, '_>, changed: Signature, chosen: &mut Vec<(u32, u64)>) {
    let mut ids = changed.ids();
    let Some(first) = ids.next() else { return };
    for (word, bits) in table.dirty(first).set_words() {
        let bits = ids.clone().fold(bits, |bits, id| bits & table.dirty(id).word(word));
        if bits != 0 {
            chosen.push((word as u32, bits));
        }
    }
}
