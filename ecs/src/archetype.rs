//! All entities that carry the same set of components: parallel columns of one length.
//!
//! Rows are dense: a removed row is filled by the last one. Room is reserved for all columns together and kept when
//! rows leave. Several columns are lent at once, each at most once, so two writers of one column cannot exist.

use crate::buffer::grown;
use crate::column::Column;
use crate::component::{COMPONENT_IDS, Component, ComponentKind, Signature};
use crate::entity::Entity;
use crate::held::Held;
use crate::part::Grant;

/// The most columns that a bundle or a query can name.
pub(crate) const LENT_MAX: usize = 12;

/// Marks an edge that was not walked yet; no world reaches this many archetypes.
const EDGE_UNKNOWN: u32 = u32::MAX;

/// Marks a component that the archetype does not carry; there are at most [`COMPONENT_IDS`] columns.
const NO_COLUMN: u8 = u8::MAX;

/// The table of one signature.
pub struct Archetype {
    signature: Signature,
    /// As many as there are names at most.
    rows: u32,
    entities: Held<Vec<Entity>>,
    columns: Box<[Held<Column>]>,
    position_by_id: [u8; COMPONENT_IDS],
    capacity_rows: usize,
    edge_by_id: [u32; COMPONENT_IDS],
}

impl Archetype {
    /// An empty table with a column for each of `kinds`, which ascend by id and come with their numbers of cursors.
    pub(crate) fn new(kinds: impl Iterator<Item = (ComponentKind, u8)>) -> Self {
        let columns: Box<[_]> =
            kinds.map(|(kind, cursors)| Held::from(Column::new(kind, cursors))).collect();
        let mut position_by_id = [NO_COLUMN; COMPONENT_IDS];
        let mut signature = Signature::EMPTY;
        for (position, column) in columns.iter().enumerate() {
            position_by_id[column.id() as usize] = position as u8;
            signature = signature.union(Signature::of_id(column.id()));
        }
        Self {
            signature,
            rows: 0,
            entities: Vec::new().into(),
            columns,
            position_by_id,
            capacity_rows: 0,
            edge_by_id: [EDGE_UNKNOWN; COMPONENT_IDS],
        }
    }

    /// The component ids that every entity here carries.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.signature
    }

    /// The entities, in row order.
    #[must_use]
    pub fn entities(&self) -> &[Entity] {
        &self.entities
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows as usize
    }

    /// Whether no entity is here at the moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The columns, ascending by component id, tags included.
    #[must_use]
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &Column> + Clone {
        self.columns.iter().map(|column| &**column)
    }

    /// The column of component `id`.
    #[must_use]
    pub fn column(&self, id: u16) -> Option<&Column> {
        self.position(id).map(|position| &*self.columns[position])
    }

    /// The values of `T`, in row order. `None` if this archetype does not carry it; empty for a tag.
    #[must_use]
    pub fn values<T: Component>(&self) -> Option<&[T]> {
        self.column(T::ID).map(Column::values)
    }

    pub(crate) fn column_mut(&mut self, id: u16) -> Option<&mut Column> {
        self.position(id).map(|position| &mut *self.columns[position])
    }

    /// Where the column of component `id` stands in [`Archetype::columns`].
    #[inline]
    pub(crate) fn position(&self, id: u16) -> Option<usize> {
        let position = *self.position_by_id.get(id as usize)?;
        (position != NO_COLUMN).then_some(position as usize)
    }

    /// The entities and the column of component `id`, side by side.
    pub(crate) fn split_mut(&mut self, id: u16) -> Option<(&[Entity], &mut Column)> {
        let position = self.position(id)?;
        Some((&self.entities, &mut self.columns[position]))
    }

    /// The table with those columns that a system has declared, for the time of a parallel stage.
    pub(crate) fn check_out(&mut self, grant: &Grant) -> Self {
        let columns = self.columns.iter_mut().zip(self.signature.ids());
        let columns = columns.map(|(column, id)| match Signature::of_id(id) {
            id if grant.writes.contains(id) => column.take(),
            id if grant.reads.contains(id) => column.share(),
            _ => Held::default(),
        });
        Self { entities: self.entities.share(), columns: columns.collect(), ..*self }
    }

    /// Takes back what [`Archetype::check_out`] has handed out.
    pub(crate) fn check_in(&mut self, lent: Self) {
        self.columns.iter_mut().zip(lent.columns).for_each(|(home, lent)| home.put_back(lent));
    }

    /// Owns everything again, after all that was handed out is back.
    pub(crate) fn reclaim(&mut self) {
        self.entities.reclaim();
        self.columns.iter_mut().for_each(Held::reclaim);
    }

    /// Lends the entities and the columns of `plan`.
    #[inline]
    pub(crate) fn lend<const N: usize>(&mut self, plan: &LendPlan) -> Lent<'_, N> {
        let positions: [usize; N] = std::array::from_fn(|place| usize::from(plan.0[place]));
        const ONCE: &str = "each column once because a query names none twice";
        // A place without a column is no position of any.
        let columns = if positions.iter().all(|&position| position < self.columns.len()) {
            self.columns.get_disjoint_mut(positions).expect(ONCE).map(Some)
        } else {
            some_of(&mut self.columns, positions)
        };
        Lent { rows: self.rows, entities: &self.entities, columns }
    }

    /// Makes room for exactly `additional` more rows in every column, if it is not there.
    pub(crate) fn reserve(&mut self, additional: usize) {
        let wanted = self.len() + additional;
        if wanted > self.capacity_rows {
            self.capacity_rows = wanted;
            self.entities.reserve_exact(additional);
            self.columns.iter_mut().for_each(|column| column.grow(wanted));
        }
    }

    /// Makes room for `additional` more rows, and for some beyond when it grows, and says how many rows fit now.
    #[inline]
    pub(crate) fn make_room(&mut self, additional: usize) -> usize {
        let wanted = self.len() + additional;
        if wanted > self.capacity_rows {
            self.reserve(additional.max(grown(self.capacity_rows) - self.len()));
        }
        self.capacity_rows - self.len()
    }

    /// Appends the entity of a row that the columns have received, or will before anyone looks.
    pub(crate) fn push_entity(&mut self, entity: Entity) {
        self.entities.push(entity);
        self.rows += 1;
    }

    /// Appends the entities of `rows` rows, which `name` pushes.
    pub(crate) fn push_entities(&mut self, rows: usize, name: impl FnOnce(&mut Vec<Entity>)) {
        name(&mut self.entities);
        self.rows += rows as u32;
    }

    /// Appends a row of `source` and returns where it stands: what both carry is copied. The caller writes
    /// what is new, and pushes the entity.
    pub(crate) fn push_from(&mut self, source: &Self, row: usize) -> usize {
        self.make_room(1);
        for column in &mut self.columns {
            match source.column(column.id()) {
                Some(old) => column.push_from(old, row),
                None => column.commit(1),
            }
        }
        self.len()
    }

    /// Makes `rows` written spare rows part of every column. The caller pushes as many entities.
    pub(crate) fn commit(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.commit(rows));
    }

    /// Removes all rows. The memory stays.
    pub(crate) fn clear(&mut self) {
        self.columns.iter_mut().for_each(|column| column.clear());
        self.entities.clear();
        self.rows = 0;
    }

    /// Appends rows from the bytes of each column, in their order.
    pub(crate) fn load<'b>(
        &mut self,
        entities: &[Entity],
        columns: impl Iterator<Item = &'b [u8]>,
    ) {
        self.make_room(entities.len());
        for (column, bytes) in self.columns.iter_mut().zip(columns) {
            column.load(entities.len(), bytes);
        }
        self.entities.extend_from_slice(entities);
        self.rows += entities.len() as u32;
    }

    /// Removes a row and returns the entity that now stands there, if the row was not the last.
    pub(crate) fn swap_remove(&mut self, row: usize) -> Option<Entity> {
        self.columns.iter_mut().for_each(|column| column.swap_remove(row));
        self.entities.swap_remove(row);
        self.rows -= 1;
        self.entities.get(row).copied()
    }

    /// The archetype reached by adding component `id`, or by removing it if it is here.
    #[inline]
    pub(crate) fn edge(&self, id: u16) -> Option<u32> {
        let edge = self.edge_by_id[id as usize];
        (edge != EDGE_UNKNOWN).then_some(edge)
    }

    pub(crate) fn set_edge(&mut self, id: u16, archetype: u32) {
        self.edge_by_id[id as usize] = archetype;
    }

    pub(crate) fn add_cursor(&mut self, id: u16) {
        let rows = self.capacity_rows;
        if let Some(column) = self.column_mut(id) {
            column.add_cursor(rows);
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.entities.capacity() * size_of::<Entity>()
            + self.columns.len() * size_of::<Column>()
            + self.columns().map(Column::memory_bytes).sum::<usize>()
    }
}

/// An archetype as a walk receives it: the entities, and a column for each place of a [`LendPlan`].
pub(crate) struct Lent<'a, const N: usize> {
    pub(crate) rows: u32,
    pub(crate) entities: &'a Held<Vec<Entity>>,
    pub(crate) columns: [Option<&'a mut Held<Column>>; N],
}

/// The position of the column that each place receives, [`NO_COLUMN`] if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LendPlan([u8; LENT_MAX]);

impl LendPlan {
    /// Plans to lend the column of `kinds[n]` to place `n`; what the archetype does not carry is left out.
    ///
    /// # Panics
    /// If a column holds another type than the kind that has its id.
    pub(crate) fn new(table: &Archetype, kinds: &[Option<ComponentKind>]) -> Self {
        let mut plan = Self([NO_COLUMN; LENT_MAX]);
        for (place, kind) in plan.0.iter_mut().zip(kinds) {
            if let Some((kind, at)) = kind.and_then(|kind| Some((kind, table.position(kind.id)?))) {
                table.columns[at].assert_holds(kind);
                *place = at as u8;
            }
        }
        plan
    }
}

/// The columns at `positions`, where there are any. Out of line, so that tables with all columns are one straight path.
#[cold]
#[inline(never)]
fn some_of<const N: usize>(
    columns: &mut [Held<Column>],
    positions: [usize; N],
) -> [Option<&mut Held<Column>>; N] {
    let mut lent = [const { None }; N];
    for (at, column) in columns.iter_mut().enumerate() {
        if let Some(place) = positions.iter().position(|&position| position == at) {
            lent[place] = Some(column);
        }
    }
    lent
}
