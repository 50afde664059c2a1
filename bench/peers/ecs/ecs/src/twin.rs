//! The twin in `ecs`: the kind of a sensor is a tag, so that each kind is an archetype; records are folded as they come,
//! and whoever waits for changes drains the rows that were marked.

use bench_harness::twin::{
    Aggregate, Event, Hot, KINDS, Outcome, Plant, Raw, Record, Twin, with_ticks, with_world,
};
use bench_harness::{Library, twin};
use bytemuck::{Pod, Zeroable};
use ecs::{Component, KeyIndex, Query, SensorKey, Track, Tracked, World, prefetch_read};

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
    Row(twin::Row) = 11, Column;
    Mean(f32) = 12, Rows;
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
    query: Query<(&'static mut Row, Tracked<Mean>)>,
}

impl Twin for Sensors {
    fn build(plant: Plant) -> Self {
        let mut world = World::new();
        world.reserve_entities(plant.sensors);
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
        Self { world, index, query: Query::new() }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { world, index, query } = self;
        let mut view = query.view(world);
        index.find_each(
            records,
            |record| sensor_key(&record.key),
            view.all_slices(),
            |tables, found| prefetch(tables, place(found)),
            |tables, record, found| {
                let found = found.expect("records of the plant's own sensors only");
                fold(tables, place(found), record, outcome);
            },
        );
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
        Query::<(&Key, &Row, &Mean)>::new().each(&mut self.world, |(key, Row(row), mean)| {
            visit(&key.0, &row.live.raw, &row.live.hot, &row.window, mean.0);
        });
    }
}

/// Spawns the sensors of kind `N` and enters them into the index.
fn spawn<const N: usize>(plant: Plant, world: &mut World, index: &mut KeyIndex<u32>) {
    let spawned = world.spawn_batch(plant.of_kind(N).map(|sensor| {
        (Key(sensor.key), Row(twin::Row::of(&sensor)), Mean(sensor.mean), Kind::<N>(()))
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
type Table<'w> = (&'w mut [Row], ecs::TrackedSlice<'w, Mean>);

/// Archetype and row of a value of the index.
#[inline(always)]
const fn place(found: u32) -> (usize, usize) {
    ((found >> ROW_BITS) as usize, (found & ((1 << ROW_BITS) - 1)) as usize)
}

#[inline(always)]
fn prefetch(tables: &[Option<Table<'_>>], (archetype, row): (usize, usize)) {
    if let Some((rows, means)) = &tables[archetype] {
        prefetch_read(rows, row);
        prefetch_read(means, row);
    }
}

#[inline(always)]
fn fold(
    tables: &mut [Option<Table<'_>>],
    (archetype, row): (usize, usize),
    record: &Record,
    outcome: &mut Outcome,
) {
    let (rows, means) = tables[archetype].as_mut().expect("an archetype of sensors");
    let state = &mut rows[row].0;
    let (mean, crossed) = state.fold(record);
    means.row_mut(row).0 = mean;
    if crossed {
        outcome.events.push(Event { key: record.key, level: state.live.hot.level() });
    }
}
