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

use bytemuck::Pod;

use crate::component::{COMPONENT_IDS, ComponentKind, Signature};
use crate::entity::Entity;
use crate::hash::Fold;
use crate::world::World;

/// The first word: a name, the number of this form, and another number in the other byte order.
const MAGIC: u64 = 0x6563_7377_6f72_6c02;
/// Every section begins at a multiple of this.
const SECTION_BYTES: usize = 16;

/// Why bytes were not taken as a world. The world is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// They do not begin as a snapshot of this form and byte order does.
    #[error("not a snapshot of this form in the byte order of this machine")]
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
        id: u64,
    },
    /// The parts contradict each other: a row without a name, a name twice, an archetype twice, something between sections.
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
    plan: Plan,
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
    /// Free names from this one on.
    Free(usize),
    /// Rows of this archetype from this one on.
    Rows(usize, usize),
    /// Bytes from this one on go into the checksum.
    Checksum(usize, Fold),
    Done,
}

/// What the head says: `MAGIC`, the numbers of components, archetypes, names and free names; of each component its id, its
/// size and a hash of its name; of each archetype its signature in two words, and its rows. All are words of 8 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan {
    kinds: Vec<[u64; 3]>,
    tables: Vec<Table>,
    places: usize,
    free: usize,
    /// Where the generations of the names begin, the free names, and the checksum.
    generations_at: usize,
    free_at: usize,
    checksum_at: usize,
}

/// One archetype.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    signature: Signature,
    rows: usize,
    /// Where its entities begin, then its columns.
    starts: Vec<usize>,
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
                (if done { Step::Free(0) } else { Step::Names(names) }, (names - from) * 4)
            }
            Step::Free(from) => {
                let free = &world.entity_table().free_indices()[from..];
                let count = free.len().min(budget.div_ceil(4));
                put(&mut self.bytes, self.plan.free_at + from * 4, &free[..count]);
                let done = count == free.len();
                (if done { Step::Rows(0, 0) } else { Step::Free(from + count) }, count * 4)
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
        let head = head_of(world);
        let head: &[u8] = bytemuck::cast_slice(&head);
        let plan = Plan::of(head, isize::MAX as usize)
            .expect("a head that makes sense because the world does");
        if self.plan != plan {
            // Fresh zeroed memory comes from the system without being written, and the gaps between sections stay zero.
            self.bytes = vec![0; plan.checksum_at + size_of::<u64>()];
            self.plan = plan;
        }
        put(&mut self.bytes, 0, head);
        self.plan.generations_at
    }

    fn write_names(&mut self, world: &World, names: Range<usize>) {
        let first = self.plan.generations_at + names.start * 4;
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
        // By the plan: an archetype that came later has nobody in it, or the structure would be another one.
        let Some(Table { starts, .. }) = self.plan.tables.get(archetype) else {
            return (Step::Checksum(0, Fold::new()), 0);
        };
        let table = &world.archetypes()[archetype];
        let row_bytes: usize =
            size_of::<Entity>() + table.columns().map(crate::Column::row_bytes).sum::<usize>();
        let end = table.len().min(row.saturating_add((budget / row_bytes).max(1)));
        put(&mut self.bytes, starts[0] + row * size_of::<Entity>(), &table.entities()[row..end]);
        for (column, start) in table.columns().zip(&starts[1..]) {
            let size = column.row_bytes();
            put(&mut self.bytes, start + row * size, &column.bytes()[row * size..end * size]);
        }
        let next = if end == table.len() { (archetype + 1, 0) } else { (archetype, end) };
        (Step::Rows(next.0, next.1), (end - row) * row_bytes)
    }

    fn write_checksum(&mut self, from: usize, mut hash: Fold, budget: usize) -> (Step, usize) {
        let checksum = self.plan.checksum_at;
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

fn head_of(world: &World) -> Vec<u64> {
    let names = world.entity_table();
    let kinds: Vec<[u64; 3]> = world.kinds().map(kind_of).collect();
    let counts =
        [kinds.len(), world.archetypes().len(), names.places(), names.free_indices().len()];
    let mut head = vec![MAGIC];
    head.extend(counts.map(|count| count as u64));
    head.extend(kinds.as_flattened());
    for archetype in world.archetypes() {
        let [low, high] = archetype.signature().to_parts();
        head.extend([low, high, archetype.len() as u64]);
    }
    head
}

fn kind_of(kind: &ComponentKind) -> [u64; 3] {
    let mut name = Fold::new();
    name.write(kind.name.as_bytes());
    [u64::from(kind.id), kind.row_bytes as u64, name.finish()]
}

fn put<T: Pod>(bytes: &mut [u8], at: usize, values: &[T]) {
    let values: &[u8] = bytemuck::cast_slice(values);
    bytes[at..at + values.len()].copy_from_slice(values);
}

fn read<T: Pod>(bytes: &[u8], at: usize, count: usize) -> Vec<T> {
    let items = bytes[at..at + count * size_of::<T>()].chunks_exact(size_of::<T>());
    items.map(bytemuck::pod_read_unaligned).collect()
}

impl Plan {
    /// Reads the head at the start of `bytes`, and finds the place of each section behind it, none of which ends beyond
    /// `end_max`. What it takes is bounded by that and by the number of words in `bytes`, whatever these say.
    fn of(bytes: &[u8], end_max: usize) -> Result<Self, RestoreError> {
        let short = |expected| RestoreError::Length { expected, found: bytes.len() };
        let mut end = 0;
        let mut word = || {
            let word = bytes.get(end..end + 8).ok_or(short(end + 8))?;
            end += 8;
            Ok::<u64, RestoreError>(bytemuck::pod_read_unaligned(word))
        };
        if word()? != MAGIC {
            return Err(RestoreError::Form);
        }
        let [kinds, tables, places, free] = [word()?, word()?, word()?, word()?];
        let mut three = |_| Ok([word()?, word()?, word()?]);
        let kinds = (0..kinds).map(&mut three).collect::<Result<Vec<_>, RestoreError>>()?;
        let tables = (0..tables).map(three).collect::<Result<Vec<_>, RestoreError>>()?;
        if !ascend(&kinds) {
            return Err(RestoreError::Contradiction("components that do not ascend below 128"));
        }
        let mut section = |items: u64, size: u64| {
            let start = end.next_multiple_of(SECTION_BYTES);
            if bytes.get(end..start).is_some_and(|gap| gap.iter().any(|&byte| byte != 0)) {
                return Err(RestoreError::Contradiction("something between two sections"));
            }
            let after = items.checked_mul(size).and_then(|bytes| bytes.checked_add(start as u64));
            end = after.map_or(usize::MAX, |after| after as usize);
            if end <= end_max { Ok(start) } else { Err(short(end)) }
        };
        let (generations_at, free_at) = (section(places, 4)?, section(free, 4)?);
        let mut plan = Self {
            places: places as usize,
            free: free as usize,
            generations_at,
            free_at,
            ..Self::default()
        };
        for [low, high, rows] in tables {
            let signature = Signature::from_parts([low, high]);
            let mut starts = vec![section(rows, size_of::<Entity>() as u64)?];
            for &[id, row_bytes, _] in &kinds {
                if signature.contains(Signature::of_id(id as u16)) {
                    starts.push(section(rows, row_bytes)?);
                }
            }
            if starts.len() != 1 + signature.len() {
                let why = "an archetype of a component that is not in the schema";
                return Err(RestoreError::Contradiction(why));
            }
            plan.tables.push(Table { signature, rows: rows as usize, starts });
        }
        plan.kinds = kinds;
        plan.checksum_at = section(0, 0)?;
        Ok(plan)
    }
}

/// Whether the components stand in the order of their ids, which are those that there can be.
fn ascend(kinds: &[[u64; 3]]) -> bool {
    let last = kinds.last().map_or(0, |&[id, ..]| id);
    kinds.is_sorted_by(|[one, ..], [other, ..]| one < other) && last < COMPONENT_IDS as u64
}

/// A snapshot whose bytes were checked, ready to be put into the world that it was checked against.
pub(crate) struct Checked<'b> {
    bytes: &'b [u8],
    plan: Plan,
    pub(crate) generations: Vec<u32>,
    pub(crate) free: Vec<u32>,
}

impl<'b> Checked<'b> {
    /// Looks at everything that could be wrong.
    pub(crate) fn new(bytes: &'b [u8], world: &World) -> Result<Self, RestoreError> {
        let plan = Plan::of(bytes, bytes.len())?;
        let known: Vec<[u64; 3]> = world.kinds().map(kind_of).collect();
        if let Some(&[id, ..]) = plan.kinds.iter().find(|kind| !known.contains(kind)) {
            return Err(RestoreError::Schema { id });
        }
        let expected = plan.checksum_at + size_of::<u64>();
        if bytes.len() != expected {
            return Err(RestoreError::Length { expected, found: bytes.len() });
        }
        let mut hash = Fold::new();
        hash.write(&bytes[..plan.checksum_at]);
        if read::<u64>(bytes, plan.checksum_at, 1) != [hash.finish()] {
            return Err(RestoreError::Checksum);
        }
        let generations = read(bytes, plan.generations_at, plan.places);
        let free = read(bytes, plan.free_at, plan.free);
        let checked = Self { bytes, plan, generations, free };
        checked.check_names()?;
        Ok(checked)
    }

    /// The archetypes: signature, entities, and the bytes of each column on.
    pub(crate) fn tables(
        &self,
    ) -> impl Iterator<Item = (Signature, Vec<Entity>, impl Iterator<Item = &'b [u8]>)> {
        self.plan.tables.iter().map(|table| {
            let entities = read(self.bytes, table.starts[0], table.rows);
            let columns = table.starts[1..].iter().map(|&start| &self.bytes[start..]);
            (table.signature, entities, columns)
        })
    }

    /// Each row has a name, no name is used twice, and no archetype comes twice.
    fn check_names(&self) -> Result<(), RestoreError> {
        let mut seen = BTreeSet::new();
        if !self.plan.tables.iter().all(|table| seen.insert(table.signature)) {
            return Err(RestoreError::Contradiction("an archetype twice"));
        }
        let mut used = vec![false; self.generations.len()];
        let mut claim = |index: u32, why| {
            let used = used.get_mut(index as usize).ok_or(RestoreError::Contradiction(why))?;
            let fresh = !std::mem::replace(used, true);
            fresh.then_some(()).ok_or(RestoreError::Contradiction(why))
        };
        for entity in self.tables().flat_map(|(_, entities, _)| entities) {
            claim(entity.index(), "an entity stands in no place of its own")?;
            if self.generations[entity.index() as usize] != entity.generation() {
                return Err(RestoreError::Contradiction("an entity of another generation"));
            }
        }
        self.free.iter().try_for_each(|&index| claim(index, "a free name is in use"))
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

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
                    Ok(()) => {
                        taken += 1;
                        let mut fresh = World::new();
                        fresh.register::<(Level, Heat)>();
                        fresh.restore(&wrong).expect("the same answer to the same bytes");
                        assert!(Snapshot::default().take(&fresh) == wrong, "byte {at} is lost");
                    }
                    Err(_) => {
                        refused += 1;
                        assert_eq!(target.len(), 1, "a refused snapshot changes nothing");
                    }
                }
            }
        }
        assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
    }

    /// A snapshot of these words under a right checksum.
    fn crafted(words: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = bytemuck::cast_slice(words).to_vec();
        bytes.resize(bytes.len().next_multiple_of(SECTION_BYTES), 0);
        let mut hash = Fold::new();
        hash.write(&bytes);
        bytes.extend(hash.finish().to_ne_bytes());
        bytes
    }

    #[test]
    fn crafted_heads_are_refused_by_what_they_promise() {
        let mut world = World::new();
        world.register::<(Level, Heat)>();
        let mut restore = |words: &[u64]| world.restore(&crafted(words));
        let level = kind_of(&ComponentKind::of::<Level>());
        let heat = kind_of(&ComponentKind::of::<Heat>());
        let head = |counts: [u64; 4], rest: &[[u64; 3]]| {
            [&[MAGIC], &counts[..], rest.as_flattened()].concat()
        };
        // Each section may be, and their sum is beyond all numbers.
        let many = [&[[level[0], (1 << 48) - 1, level[2]]], &vec![[2, 0, 1]; 1 << 17][..]].concat();
        let result = restore(&head([1, 1 << 17, 0, 0], &many));
        assert!(matches!(result, Err(RestoreError::Length { .. })), "{result:?}");
        // A count of kinds or tables that no bytes follow.
        for counts in [[128, 0, 0, 0], [0, u64::MAX, 0, 0], [0, 0, u64::MAX, 0], [0, 0, 0, 1 << 40]]
        {
            let result = restore(&head(counts, &[]));
            assert!(matches!(result, Err(RestoreError::Length { .. })), "{result:?}");
        }
        for kinds in [&vec![level; 129][..], &[level, level], &[heat, level]] {
            let result = restore(&head([kinds.len() as u64, 0, 0, 0], kinds));
            assert!(matches!(result, Err(RestoreError::Contradiction(_))), "{result:?}");
        }
    }
}
