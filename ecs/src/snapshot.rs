//! Snapshots: a whole world as bytes, taken in slices, and put back or refused as a whole.
//!
//! The form is a head (schema, archetypes, names), then for each archetype its entities and its columns as they lie in
//! memory, then a checksum. Components are plain old data, so rows are copied and nothing is encoded. The byte order is
//! that of the machine, and another one is refused.
//!
//! A snapshot that is taken in slices holds each row as it stood at the moment of one slice, all its components together;
//! rows of different slices are of different moments. The structure is of one moment: an entity that comes, goes or moves
//! between two slices starts the snapshot over, which is counted. One slice without a limit is one moment for all.
//!
//! Bytes from outside are checked before the first of them has an effect. Bits of written rows are not part of the form:
//! after a restore every row counts as written.

use std::collections::BTreeSet;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::component::{ComponentKind, Signature};
use crate::entity::Entity;
use crate::hash::Fold;
use crate::world::World;

const MAGIC: [u8; 8] = *b"ecsworld";
const FORM: u32 = 1;
/// Reads differently in the other byte order.
const BYTE_ORDER: u32 = 0x0102_0304;
/// Every section begins at a multiple of this.
const SECTION_BYTES: usize = 16;

/// The first bytes of a snapshot. All counts are of items, not bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Head {
    magic: [u8; 8],
    form: u32,
    byte_order: u32,
    kinds: u32,
    archetypes: u32,
    places: u32,
    free: u32,
}

/// One component of the schema.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Kind {
    id: u32,
    row_bytes: u32,
    /// A hash of its name: a component that was given another meaning is refused.
    name: u64,
}

/// One archetype: the bits of its signature, and its rows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Table {
    signature: [u64; 2],
    rows: u64,
    zero: u64,
}

/// Why bytes were not taken as a world. The world is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// They do not begin as a snapshot of this form and byte order does.
    #[error("not a snapshot of form {FORM} in the byte order of this machine")]
    Form,
    /// They end early, or go on behind the end.
    #[error("a snapshot of {expected} bytes has {found}")]
    Length {
        /// What the head says, as far as it could be read.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// The checksum is of other bytes.
    #[error("the checksum does not fit")]
    Checksum,
    /// A component that the world does not know, or knows by another name or size.
    #[error("component {id} is unknown here, or has another name or size")]
    Schema {
        /// The number of the component.
        id: u32,
    },
    /// The parts contradict each other: a row without a name, a name twice, an archetype twice.
    #[error("the parts of the snapshot contradict each other: {0}")]
    Contradiction(&'static str),
}

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to copy.
    Working,
    /// [`Snapshot::bytes`] holds the whole world.
    Done,
}

/// A snapshot in the making, or a finished one. Taken again, it reuses its memory.
///
/// ```
/// # use bytemuck::{Pod, Zeroable};
/// # use ecs::{Component, Progress, Snapshot, World};
/// # #[repr(C)]
/// # #[derive(Clone, Copy, Pod, Zeroable)]
/// # struct Level(f32);
/// # impl Component for Level {
/// #     const ID: u16 = 1;
/// #     const NAME: &'static str = "Level";
/// # }
/// let mut world = World::new();
/// let tank = world.spawn((Level(1.5),));
/// let mut snapshot = Snapshot::default();
/// while snapshot.poll(&world, 4096) == Progress::Working {}
///
/// let mut other = World::new();
/// other.register::<(Level,)>();
/// other.restore(snapshot.bytes().expect("done"))?;
/// assert_eq!(other.component::<Level>(tank).map(|level| level.0), Some(1.5));
/// # Ok::<(), ecs::RestoreError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    bytes: Vec<u8>,
    /// The structure that is being copied: world, spawns, moves.
    structure: (u64, u64, u64),
    sections: Sections,
    step: Step,
    restarts: u64,
}

/// What is copied next.
#[derive(Clone, Copy, Debug, Default)]
enum Step {
    #[default]
    Head,
    /// Names from this one on.
    Names(usize),
    /// Rows of this archetype from this one on.
    Rows(usize, usize),
    /// Bytes from this one on go into the checksum.
    Checksum(usize, Fold),
    Done,
}

/// Where the sections lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sections {
    kinds: usize,
    tables: usize,
    generations: usize,
    free: usize,
    /// For each archetype: its entities, then its columns.
    rows: Vec<Vec<usize>>,
    checksum: usize,
}

impl Snapshot {
    /// Copies about `budget_bytes` more, at least one row. What was done is started over if the structure of the world has
    /// changed, or if it was [`Progress::Done`].
    pub fn poll(&mut self, world: &World, budget_bytes: usize) -> Progress {
        if matches!(self.step, Step::Done) {
            self.step = Step::Head;
        }
        if !matches!(self.step, Step::Head) && self.structure != world.structure() {
            self.restarts += 1;
            self.step = Step::Head;
        }
        let mut budget = budget_bytes.max(1);
        while budget > 0 {
            let copied = self.advance(world, budget);
            if matches!(self.step, Step::Done) {
                return Progress::Done;
            }
            budget = budget.saturating_sub(copied.max(1));
        }
        Progress::Working
    }

    /// Takes the whole world at once.
    pub fn take(&mut self, world: &World) -> &[u8] {
        self.step = Step::Head;
        while self.poll(world, usize::MAX) == Progress::Working {}
        &self.bytes
    }

    /// The finished snapshot.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        matches!(self.step, Step::Done).then_some(&self.bytes)
    }

    /// How often a snapshot had to be started over.
    #[must_use]
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// One step, of at most about `budget` bytes. Returns how many it took.
    fn advance(&mut self, world: &World, budget: usize) -> usize {
        let (step, taken) = match self.step {
            Step::Head => (Step::Names(0), self.write_head(world)),
            Step::Names(from) => {
                let names = world.entity_table().places().min(from + budget.div_ceil(4));
                self.write_names(world, from..names);
                let done = names == world.entity_table().places();
                (if done { Step::Rows(0, 0) } else { Step::Names(names) }, (names - from) * 4)
            }
            Step::Rows(archetype, row) => self.write_rows(world, archetype, row, budget),
            Step::Checksum(from, hash) => self.write_checksum(from, hash, budget),
            Step::Done => (Step::Done, 0),
        };
        self.step = step;
        taken
    }

    fn write_head(&mut self, world: &World) -> usize {
        self.structure = world.structure();
        let (head, kinds, tables) = describe(world);
        let layout = tables
            .iter()
            .map(|table| (Signature::from_parts(table.signature), table.rows as usize));
        let row_bytes = |id| {
            kinds
                .iter()
                .find(|kind| kind.id == u32::from(id))
                .map_or(0, |kind| kind.row_bytes as usize)
        };
        let sections = Sections::of(&head, layout, row_bytes)
            .expect("sizes that fit because the world is in memory");
        if self.sections != sections {
            // Fresh zeroed memory comes from the system without being written, and the gaps between sections stay zero.
            self.bytes = vec![0; sections.checksum + size_of::<u64>()];
            self.sections = sections;
        }
        put(&mut self.bytes, 0, &[head]);
        put(&mut self.bytes, self.sections.kinds, &kinds);
        put(&mut self.bytes, self.sections.tables, &tables);
        put(&mut self.bytes, self.sections.free, world.entity_table().free_indices());
        self.sections.generations
    }

    fn write_names(&mut self, world: &World, names: Range<usize>) {
        let first = self.sections.generations + names.start * 4;
        let to = &mut self.bytes[first..first + names.len() * 4];
        let generations = names.map(|index| world.entity_table().generation(index));
        for (to, generation) in to.as_chunks_mut::<4>().0.iter_mut().zip(generations) {
            *to = generation.to_ne_bytes();
        }
    }

    fn write_rows(
        &mut self,
        world: &World,
        archetype: usize,
        row: usize,
        budget: usize,
    ) -> (Step, usize) {
        let Some(table) = world.archetypes().get(archetype) else {
            return (Step::Checksum(0, Fold::new()), 0);
        };
        let row_bytes: usize = size_of::<Entity>()
            + table.columns().iter().map(crate::Column::row_bytes).sum::<usize>();
        let end = table.len().min(row.saturating_add((budget / row_bytes).max(1)));
        let sections = &self.sections.rows[archetype];
        put(&mut self.bytes, sections[0] + row * size_of::<Entity>(), &table.entities()[row..end]);
        for (column, section) in table.columns().iter().zip(&sections[1..]) {
            let size = column.row_bytes();
            put(&mut self.bytes, section + row * size, &column.bytes()[row * size..end * size]);
        }
        let step = if end == table.len() {
            Step::Rows(archetype + 1, 0)
        } else {
            Step::Rows(archetype, end)
        };
        (step, (end - row) * row_bytes)
    }

    fn write_checksum(&mut self, from: usize, mut hash: Fold, budget: usize) -> (Step, usize) {
        let checksum = self.sections.checksum;
        // Whole blocks of the hash, so that cuts leave no trace in it.
        let end = checksum.min(from.saturating_add(budget.min(checksum).next_multiple_of(64)));
        hash.write(&self.bytes[from..end]);
        if end < checksum {
            return (Step::Checksum(end, hash), end - from);
        }
        put(&mut self.bytes, checksum, &[hash.finish()]);
        (Step::Done, end - from)
    }
}

/// Head, schema and archetypes of a world.
fn describe(world: &World) -> (Head, Vec<Kind>, Vec<Table>) {
    let kinds: Vec<Kind> = world.kinds().map(kind_of).collect();
    let tables: Vec<Table> = world
        .archetypes()
        .iter()
        .map(|archetype| Table {
            signature: archetype.signature().to_parts(),
            rows: archetype.len() as u64,
            zero: 0,
        })
        .collect();
    let entities = world.entity_table();
    let head = Head {
        magic: MAGIC,
        form: FORM,
        byte_order: BYTE_ORDER,
        kinds: kinds.len() as u32,
        archetypes: tables.len() as u32,
        places: entities.places() as u32,
        free: entities.free_indices().len() as u32,
    };
    (head, kinds, tables)
}

fn kind_of(kind: &ComponentKind) -> Kind {
    let mut name = Fold::new();
    name.write(kind.name.as_bytes());
    Kind { id: u32::from(kind.id), row_bytes: kind.row_bytes as u32, name: name.finish() }
}

fn put<T: Pod>(bytes: &mut [u8], at: usize, values: &[T]) {
    let values: &[u8] = bytemuck::cast_slice(values);
    bytes[at..at + values.len()].copy_from_slice(values);
}

impl Sections {
    /// Where the sections of a snapshot lie; `None` if their sizes do not fit into memory.
    fn of(
        head: &Head,
        tables: impl Iterator<Item = (Signature, usize)>,
        row_bytes: impl Fn(u16) -> usize,
    ) -> Option<Self> {
        let mut end = 0_usize;
        let mut section = |items: usize, size: usize| {
            let start = end;
            let bytes = items.checked_mul(size)?;
            end = end.checked_add(bytes)?.checked_next_multiple_of(SECTION_BYTES)?;
            Some(start)
        };
        section(1, size_of::<Head>())?;
        let kinds = section(head.kinds as usize, size_of::<Kind>())?;
        let table_section = section(head.archetypes as usize, size_of::<Table>())?;
        let generations = section(head.places as usize, 4)?;
        let free = section(head.free as usize, 4)?;
        let mut rows = Vec::new();
        for (signature, len) in tables {
            let mut starts = vec![section(len, size_of::<Entity>())?];
            for id in signature.ids() {
                starts.push(section(len, row_bytes(id))?);
            }
            rows.push(starts);
        }
        end.checked_add(size_of::<u64>())?;
        Some(Self { kinds, tables: table_section, generations, free, rows, checksum: end })
    }
}

/// A snapshot whose bytes were checked, ready to be put into the world that it was checked against.
pub(crate) struct Checked<'b> {
    bytes: &'b [u8],
    pub(crate) generations: Vec<u32>,
    pub(crate) free: Vec<u32>,
    /// For each archetype its signature, its entities, and the place of each column.
    pub(crate) tables: Vec<(Signature, Vec<Entity>, Vec<usize>)>,
}

impl<'b> Checked<'b> {
    /// Looks at everything that could be wrong.
    pub(crate) fn new(bytes: &'b [u8], world: &World) -> Result<Self, RestoreError> {
        let short = |expected| RestoreError::Length { expected, found: bytes.len() };
        let head: Head = read(bytes, 0).ok_or_else(|| short(size_of::<Head>()))?;
        if (head.magic, head.form, head.byte_order) != (MAGIC, FORM, BYTE_ORDER) {
            return Err(RestoreError::Form);
        }
        let start =
            Sections::of(&head, std::iter::empty(), |_| 0).ok_or_else(|| short(usize::MAX))?;
        if start.checksum > bytes.len() {
            return Err(short(start.checksum));
        }
        let kinds: Vec<Kind> =
            read_all(bytes, start.kinds, head.kinds).ok_or_else(|| short(start.tables))?;
        check_schema(&kinds, world)?;
        let tables: Vec<Table> = read_all(bytes, start.tables, head.archetypes)
            .ok_or_else(|| short(start.generations))?;
        check_tables(&tables, &kinds)?;
        let layout = tables
            .iter()
            .map(|table| (Signature::from_parts(table.signature), table.rows as usize));
        let row_bytes = |id: u16| {
            kinds
                .iter()
                .find(|kind| kind.id == u32::from(id))
                .map_or(0, |kind| kind.row_bytes as usize)
        };
        let sections = Sections::of(&head, layout, row_bytes).ok_or_else(|| short(usize::MAX))?;
        let expected = sections.checksum + size_of::<u64>();
        if bytes.len() != expected {
            return Err(short(expected));
        }
        let mut hash = Fold::new();
        hash.write(&bytes[..sections.checksum]);
        if read(bytes, sections.checksum) != Some(hash.finish()) {
            return Err(RestoreError::Checksum);
        }
        let whole = "sections within the bytes because their length was compared";
        let generations = read_all(bytes, sections.generations, head.places).expect(whole);
        let free = read_all(bytes, sections.free, head.free).expect(whole);
        let tables = tables.iter().zip(sections.rows).map(|(table, mut starts)| {
            let entities = read_all(bytes, starts.remove(0), table.rows as u32).expect(whole);
            (Signature::from_parts(table.signature), entities, starts)
        });
        let checked = Self { bytes, generations, free, tables: tables.collect() };
        checked.check_names()?;
        Ok(checked)
    }

    /// The bytes of the columns of one table, in their order.
    pub(crate) fn columns(&self, starts: &[usize]) -> impl Iterator<Item = &'b [u8]> {
        starts.iter().map(|&start| &self.bytes[start..])
    }

    /// Each row has a name, and no name is used twice.
    fn check_names(&self) -> Result<(), RestoreError> {
        let mut used = vec![false; self.generations.len()];
        let mut claim = |index: u32, why| {
            let used = used.get_mut(index as usize).ok_or(RestoreError::Contradiction(why))?;
            let fresh = !std::mem::replace(used, true);
            fresh.then_some(()).ok_or(RestoreError::Contradiction(why))
        };
        for entity in self.tables.iter().flat_map(|(_, entities, _)| entities) {
            claim(entity.index(), "an entity stands in no place of its own")?;
            if self.generations[entity.index() as usize] != entity.generation() {
                return Err(RestoreError::Contradiction("an entity of another generation"));
            }
        }
        self.free.iter().try_for_each(|&index| claim(index, "a free name is in use"))
    }
}

fn check_schema(kinds: &[Kind], world: &World) -> Result<(), RestoreError> {
    let known: Vec<Kind> = world.kinds().map(kind_of).collect();
    if !kinds.is_sorted_by(|one, other| one.id < other.id) {
        return Err(RestoreError::Contradiction("components out of order"));
    }
    let unknown = kinds.iter().find(|kind| !known.contains(kind));
    unknown.map_or(Ok(()), |kind| Err(RestoreError::Schema { id: kind.id }))
}

fn check_tables(tables: &[Table], kinds: &[Kind]) -> Result<(), RestoreError> {
    let known = kinds
        .iter()
        .fold(Signature::EMPTY, |set, kind| set.union(Signature::of_id(kind.id as u16)));
    let mut seen = BTreeSet::new();
    for table in tables {
        let signature = Signature::from_parts(table.signature);
        if !known.contains(signature) {
            return Err(RestoreError::Contradiction(
                "an archetype of a component that is not in the schema",
            ));
        }
        if !seen.insert(signature) {
            return Err(RestoreError::Contradiction("an archetype twice"));
        }
        if table.rows > u64::from(u32::MAX) {
            return Err(RestoreError::Contradiction("more rows than names"));
        }
    }
    Ok(())
}

fn read<T: Pod>(bytes: &[u8], at: usize) -> Option<T> {
    let end = at.checked_add(size_of::<T>())?;
    bytes.get(at..end).map(bytemuck::pod_read_unaligned)
}

fn read_all<T: Pod>(bytes: &[u8], at: usize, count: u32) -> Option<Vec<T>> {
    let end = at.checked_add((count as usize).checked_mul(size_of::<T>())?)?;
    let items = bytes.get(at..end)?.chunks_exact(size_of::<T>());
    Some(items.map(bytemuck::pod_read_unaligned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::Component;

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct Level(u32);
    impl Component for Level {
        const ID: u16 = 1;
        const NAME: &'static str = "Level";
    }

    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct Heat(u64);
    impl Component for Heat {
        const ID: u16 = 70;
        const NAME: &'static str = "Heat";
    }

    /// Every world that `bytes` may lead to is whole: rows and names agree.
    fn check(world: &World) {
        let mut rows = 0;
        for (index, archetype) in world.archetypes().iter().enumerate() {
            for (row, &entity) in archetype.entities().iter().enumerate() {
                let location = world.location(entity).expect("a name for each row");
                assert_eq!((location.archetype as usize, location.row as usize), (index, row));
                rows += 1;
            }
            for column in archetype.columns() {
                assert_eq!(column.bytes().len(), archetype.len() * column.row_bytes());
            }
        }
        assert_eq!(rows, world.len());
    }

    #[test]
    fn wrong_bytes_under_a_right_checksum_make_no_broken_world() {
        let mut world = World::new();
        world.spawn_batch((0..3).map(|n| (Level(n), Heat(u64::from(n)))));
        let gone = world.spawn((Level(9),));
        world.spawn((Level(8),));
        world.despawn(gone).expect("a living entity");
        let mut snapshot = Snapshot::default();
        let bytes = snapshot.take(&world).to_vec();
        let end = bytes.len() - size_of::<u64>();
        let (mut taken, mut refused) = (0, 0);
        for at in 0..end {
            for flip in [0x01, 0x80, 0xff] {
                let mut wrong = bytes.clone();
                wrong[at] ^= flip;
                let mut hash = Fold::new();
                hash.write(&wrong[..end]);
                put(&mut wrong, end, &[hash.finish()]);
                let mut target = World::new();
                target.spawn((Heat(1), Level(1)));
                let result = target.restore(&wrong);
                check(&target);
                match result {
                    Ok(()) => taken += 1,
                    Err(_) => {
                        refused += 1;
                        assert_eq!(target.len(), 1, "a refused snapshot changes nothing");
                    }
                }
            }
        }
        assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
    }
}
