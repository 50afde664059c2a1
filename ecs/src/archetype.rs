//! All entities that carry the same set of components: parallel columns of one length.
//!
//! Rows are dense: a removed row is filled by the last one. Room is reserved for all columns together and kept when
//! rows leave. Several columns are lent at once, each at most once, so two writers of one column cannot exist.

use crate::buffer::grown;
use crate::column::{Column, Lent};
use crate::component::{COMPONENT_IDS, Component, ComponentKind, Signature};
use crate::entity::Entity;

/// The most columns that a bundle or a query can name.
pub(crate) const LENT_MAX: usize = 12;

/// Marks an edge that was not walked yet; no world reaches this many archetypes.
const EDGE_UNKNOWN: u32 = u32::MAX;

/// Marks a component that the archetype does not carry; there are at most [`COMPONENT_IDS`] columns.
const NO_COLUMN: u8 = u8::MAX;

/// The table of one signature.
pub struct Archetype {
    head: Head,
    columns: Box<[Column]>,
    capacity_rows: usize,
    edge_by_id: [u32; COMPONENT_IDS],
}

/// What a table has beside its columns, and shows to everybody while they are lent.
pub(crate) struct Head {
    signature: Signature,
    entities: Vec<Entity>,
    position_by_id: [u8; COMPONENT_IDS],
}

impl Archetype {
    /// An empty table with a column for each of `kinds`, which ascend by id and come with their numbers of cursors.
    pub(crate) fn new(kinds: impl Iterator<Item = (ComponentKind, usize)>) -> Self {
        let columns: Box<[Column]> =
            kinds.map(|(kind, cursors)| Column::new(kind, cursors)).collect();
        let mut position_by_id = [NO_COLUMN; COMPONENT_IDS];
        let mut signature = Signature::EMPTY;
        for (position, column) in columns.iter().enumerate() {
            position_by_id[column.id() as usize] = position as u8;
            signature = signature.union(Signature::of_id(column.id()));
        }
        Self {
            head: Head { signature, entities: Vec::new(), position_by_id },
            columns,
            capacity_rows: 0,
            edge_by_id: [EDGE_UNKNOWN; COMPONENT_IDS],
        }
    }

    /// The component ids that every entity here carries.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.head.signature
    }

    /// The entities, in row order.
    #[must_use]
    pub fn entities(&self) -> &[Entity] {
        &self.head.entities
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.entities.len()
    }

    /// Whether no entity is here at the moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.entities.is_empty()
    }

    /// The columns, ascending by component id, tags included.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of component `id`.
    #[must_use]
    pub fn column(&self, id: u16) -> Option<&Column> {
        self.position(id).map(|position| &self.columns[position])
    }

    /// The values of `T`, in row order. `None` if this archetype does not carry it; empty for a tag.
    #[must_use]
    pub fn values<T: Component>(&self) -> Option<&[T]> {
        self.column(T::ID).map(Column::values)
    }

    pub(crate) fn column_mut(&mut self, id: u16) -> Option<&mut Column> {
        self.position(id).map(|position| &mut self.columns[position])
    }

    /// Where the column of component `id` stands in [`Archetype::columns`].
    #[inline]
    pub(crate) fn position(&self, id: u16) -> Option<usize> {
        self.head.position(id)
    }

    /// What everybody may see, and the columns, to be lent apart.
    pub(crate) fn split_mut(&mut self) -> (&Head, &mut [Column]) {
        (&self.head, &mut self.columns)
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Lends the columns of `plan` together with the entities. Item `n` of the plan arrives at place `n`.
    #[inline]
    pub(crate) fn lend<const N: usize>(
        &mut self,
        plan: &LendPlan,
    ) -> (&[Entity], [Option<Lent<'_>>; N]) {
        let mut lent = [const { None }; N];
        let mut rest = self.columns.iter_mut();
        let mut passed = 0;
        for &(position, place) in plan.steps() {
            lent[place as usize] = rest.nth((position - passed) as usize).map(Lent::Unique);
            passed = position + 1;
        }
        (&self.head.entities, lent)
    }

    /// Makes room for exactly `additional` more rows in every column, if it is not there.
    pub(crate) fn reserve(&mut self, additional: usize) {
        let wanted = self.len() + additional;
        if wanted > self.capacity_rows {
            self.capacity_rows = wanted;
            self.head.entities.reserve_exact(additional);
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
        self.head.entities.push(entity);
    }

    /// Appends a row of `source` and returns where it stands: what both carry is copied, what is new is zeroed.
    /// The caller pushes the entity.
    pub(crate) fn push_from(&mut self, source: &Self, row: usize) -> usize {
        self.make_room(1);
        for column in &mut self.columns {
            match source.column(column.id()) {
                Some(old) => column.push_from(old, row),
                None => column.push_zeroed(),
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
        self.columns.iter_mut().for_each(Column::clear);
        self.head.entities.clear();
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
        self.head.entities.extend_from_slice(entities);
    }

    /// Removes a row and returns the entity that now stands there, if the row was not the last.
    pub(crate) fn swap_remove(&mut self, row: usize) -> Option<Entity> {
        self.columns.iter_mut().for_each(|column| column.swap_remove(row));
        self.head.entities.swap_remove(row);
        self.head.entities.get(row).copied()
    }

    /// The archetype reached by adding component `id`, or by removing it if it is here.
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
            + self.head.entities.capacity() * size_of::<Entity>()
            + self.columns.len() * size_of::<Column>()
            + self.columns.iter().map(Column::memory_bytes).sum::<usize>()
    }
}

impl Head {
    pub(crate) fn signature(&self) -> Signature {
        self.signature
    }

    pub(crate) fn entities(&self) -> &[Entity] {
        &self.entities
    }

    #[inline]
    pub(crate) fn position(&self, id: u16) -> Option<usize> {
        let position = *self.position_by_id.get(id as usize)?;
        (position != NO_COLUMN).then_some(position as usize)
    }
}

/// Which columns to lend to which places, ascending by column, so that one pass over the columns serves all.
#[derive(Clone, Copy, Debug)]
pub struct LendPlan {
    len: u8,
    steps: [(u8, u8); LENT_MAX],
}

impl LendPlan {
    /// Plans to lend the column of `ids[n]` to place `n`; ids that the archetype does not carry are left out.
    pub(crate) fn new(head: &Head, ids: impl Iterator<Item = Option<u16>>) -> Self {
        let mut plan = Self { len: 0, steps: [(NO_COLUMN, 0); LENT_MAX] };
        for (place, id) in ids.enumerate() {
            if let Some(position) = id.and_then(|id| head.position(id)) {
                plan.steps[plan.len as usize] = (position as u8, place as u8);
                plan.len += 1;
            }
        }
        plan.steps[..plan.len as usize].sort_unstable();
        plan
    }

    #[inline]
    pub(crate) fn steps(&self) -> &[(u8, u8)] {
        &self.steps[..self.len as usize]
    }
}
