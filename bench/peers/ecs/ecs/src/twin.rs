//! The twin in `ecs`: the kind of a sensor is a tag, so that each kind is an archetype; records are folded as they come,
//! and whoever waits for changes drains the rows that were marked.

use bench_harness::twin::{
    Aggregate, Event, Hot, KINDS, Outcome, Plant, Raw, Record, Twin, with_ticks, with_world,
};
use bench_harness::{Library, twin};
use bytemuck::{Pod, Zeroable};
use ecs::{Component, KeyIndex, Query, SensorKey, Track, Tracked, World, prefetch_read};

/// Records that are looked up together.
const PART: usize = 256;
/// Rows that are asked for ahead of the fold.
const GROUP: usize = 16;
/// A world below this size lies in the second-level cache, where asking ahead costs more than it saves.
const DIRECT_BYTES_MAX: usize = 3 << 19;
/// Bits of a row in the values of the index; the archetype stands above them.
const ROW_BITS: u32 = 27;

macro_rules! components {
    ($($name:ident($value:ty) = $id:literal, $track:ident;)+) => {
        $(
            #[repr(transparent)]
            #[derive(Clone, Copy, Pod, Zeroable)]
            struct $name($value);

            impl Component for $name {
                const ID: u16 = $id;
                const NAME: &'static str = stringify!($name);
                const TRACK: Track = Track::$track;
            }
        )+
    };
}

components!(
    Key(bench_harness::Key) = 10, Column;
    Live(twin::Live) = 11, Column;
    Window(twin::Window) = 12, Column;
    Mean(f32) = 13, Rows;
);

#[repr(transparent)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Kind<const N: usize>(());

impl<const N: usize> Component for Kind<N> {
    const ID: u16 = 64 + N as u16;
    const NAME: &'static str = "Kind";
}

pub(crate) fn with_cases(library: Library) -> Library {
    with_world::<Sensors>(with_ticks::<Sensors>(library, ""))
}

struct Sensors {
    world: World,
    index: KeyIndex<u32>,
    query: Query<(&'static mut Live, &'static mut Window, Tracked<Mean>)>,
    keys: Vec<SensorKey>,
    found: Vec<Option<u32>>,
    direct: bool,
}

impl Twin for Sensors {
    fn build(plant: Plant) -> Self {
        let mut world = World::new();
        // Sixteen sensors of a device lie in two runs of the index.
        let mut index = KeyIndex::new([0x706f, 0x6c6c], 2 * plant.devices());
        index.reserve(2 * plant.devices()).expect("room for the runs of all devices");
        spawn::<0>(plant, &mut world, &mut index);
        spawn::<1>(plant, &mut world, &mut index);
        spawn::<2>(plant, &mut world, &mut index);
        spawn::<3>(plant, &mut world, &mut index);
        spawn::<4>(plant, &mut world, &mut index);
        spawn::<5>(plant, &mut world, &mut index);
        spawn::<6>(plant, &mut world, &mut index);
        spawn::<7>(plant, &mut world, &mut index);
        // The new rows are no news.
        world.drain_changed::<Mean>(|_| {});
        Self {
            direct: world.memory_bytes() <= DIRECT_BYTES_MAX,
            world,
            index,
            query: Query::new(),
            keys: Vec::with_capacity(PART),
            found: vec![None; PART],
        }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { world, index, query, keys, found, direct } = self;
        let mut view = query.view(world);
        let tables = view.all_slices();
        for records in records.chunks(PART) {
            keys.clear();
            keys.extend(records.iter().map(|record| sensor_key(&record.key)));
            let found = &mut found[..records.len()];
            index.find_batch(keys, found);
            if *direct {
                fold_all(tables, records, found, outcome);
            } else {
                fold_ahead(tables, records, found, outcome);
            }
        }
        drop(view);
        world.drain_changed::<Mean>(|_| outcome.changed += 1);
    }

    fn aggregates(&mut self) -> [Aggregate; KINDS] {
        let mut aggregates = [Aggregate::EMPTY; KINDS];
        let tables = self.world.archetypes().iter().filter_map(|table| table.values::<Mean>());
        for (aggregate, means) in aggregates.iter_mut().zip(tables) {
            aggregate.add_column(means, |mean| mean.0);
        }
        aggregates
    }

    fn visit(
        &mut self,
        visit: &mut dyn FnMut(&bench_harness::Key, &Raw, &Hot, &twin::Window, f32),
    ) {
        Query::<(&Key, &Live, &Window, &Mean)>::new().each(
            &mut self.world,
            |(key, Live(live), window, mean)| {
                visit(&key.0, &live.raw, &live.hot, &window.0, mean.0);
            },
        );
    }
}

/// Spawns the sensors of kind `N` and enters them into the index.
fn spawn<const N: usize>(plant: Plant, world: &mut World, index: &mut KeyIndex<u32>) {
    let spawned = world.spawn_batch(plant.of_kind(N).map(|sensor| {
        (
            Key(sensor.key),
            Live(sensor.live),
            Window(sensor.window),
            Mean(sensor.mean),
            Kind::<N>(()),
        )
    }));
    for (row, sensor) in spawned.rows.zip(plant.of_kind(N)) {
        let old = index.insert(sensor_key(&sensor.key), spawned.archetype << ROW_BITS | row);
        assert_eq!(old, Ok(None), "names are unique and there is room");
    }
}

#[inline]
const fn sensor_key(key: &bench_harness::Key) -> SensorKey {
    SensorKey { device: key.device, sensor: key.sensor }
}

/// The columns of one kind.
type Table<'w> = (&'w mut [Live], &'w mut [Window], ecs::TrackedSlice<'w, Mean>);

/// Archetype and row of a value of the index.
#[inline(always)]
fn place(found: Option<u32>) -> (usize, usize) {
    let found = found.expect("records of the plant's own sensors only");
    ((found >> ROW_BITS) as usize, (found & ((1 << ROW_BITS) - 1)) as usize)
}

fn fold_all(
    tables: &mut [Option<Table<'_>>],
    records: &[Record],
    found: &[Option<u32>],
    outcome: &mut Outcome,
) {
    for (record, found) in records.iter().zip(found) {
        fold(tables, record, *found, outcome);
    }
}

/// As [`fold_all`], with the rows of the next group on their way while one is folded.
fn fold_ahead(
    tables: &mut [Option<Table<'_>>],
    records: &[Record],
    found: &[Option<u32>],
    outcome: &mut Outcome,
) {
    let mut ahead = found.chunks(GROUP);
    prefetch(tables, ahead.next());
    for (records, found) in records.chunks(GROUP).zip(found.chunks(GROUP)) {
        prefetch(tables, ahead.next());
        fold_all(tables, records, found, outcome);
    }
}

#[inline]
fn prefetch(tables: &[Option<Table<'_>>], group: Option<&[Option<u32>]>) {
    for found in group.into_iter().flatten() {
        let (archetype, row) = place(*found);
        if let Some((lives, windows, means)) = &tables[archetype] {
            prefetch_read(lives, row);
            prefetch_read(windows, row);
            prefetch_read(means, row);
        }
    }
}

#[inline(always)]
fn fold(
    tables: &mut [Option<Table<'_>>],
    record: &Record,
    found: Option<u32>,
    outcome: &mut Outcome,
) {
    let (archetype, row) = place(found);
    let (lives, windows, means) = tables[archetype].as_mut().expect("an archetype of sensors");
    let live = &mut lives[row].0;
    let (mean, crossed) = live.fold(&mut windows[row].0, record);
    means.row_mut(row).0 = mean;
    if crossed {
        outcome.events.push(Event { key: record.key, level: live.hot.level() });
    }
}
