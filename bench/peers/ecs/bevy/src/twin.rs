//! The twin in bevy_ecs, twice: as its users write it, and folded at ingest, which is what an expert ends up with.

use bench_harness::twin::{
    Aggregate, Event, Hot, KINDS, Outcome, Plant, Raw, Record, Twin, with_ticks, with_world,
};
use bench_harness::{Library, twin};
use bevy_ecs::prelude::*;
use bevy_ecs::query::QueryState;
use bevy_ecs::schedule::SingleThreadedExecutor;
use bevy_ecs::system::SystemId;
use hashbrown::HashMap;

const OWN: &str = "records of the plant's own sensors only";

pub(crate) fn with_cases(library: Library) -> Library {
    let library = with_ticks::<Idiomatic>(library, "");
    with_world::<Folded>(with_ticks::<Folded>(library, "fold at ingest"))
}

#[derive(Component, Clone, Copy)]
struct Key(bench_harness::Key);

#[derive(Component, Clone, Copy)]
struct Mean(f32);

/// As the documentation teaches it: a component for each meaning, and a system for each step, which looks at what the step
/// before has changed: take the records in, smooth the new values, compare the new means with their thresholds.
struct Idiomatic {
    world: World,
    ingest: SystemId<InRef<'static, [Record]>>,
    schedule: Schedule,
}

#[derive(Component, Clone, Copy)]
struct Newest(Raw);

#[derive(Component, Clone, Copy)]
struct Window(twin::Window);

#[derive(Component, Clone, Copy)]
struct Ring(twin::Ring);

#[derive(Component, Clone, Copy)]
struct Limits(twin::Limits);

#[derive(Component, Clone, Copy)]
#[expect(dead_code, reason = "the kind belongs to a sensor, and the ticks do not ask for it")]
struct Kind(u8);

#[derive(Resource, Default)]
struct Index(HashMap<Name, Entity>);

/// The name of a sensor as a user would write it, with the hash that the compiler derives.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    device: [u8; 16],
    sensor: u16,
}

impl Name {
    const fn of(key: &bench_harness::Key) -> Self {
        Self { device: key.device, sensor: key.sensor }
    }
}

#[derive(Resource, Default)]
struct Crossings {
    events: Vec<Event>,
    changed: u64,
    starting: bool,
}

#[expect(clippy::needless_pass_by_value, reason = "systems take their parameters by value")]
fn ingest(InRef(records): InRef<[Record]>, index: Res<Index>, mut sensors: Query<&mut Newest>) {
    for record in records {
        let entity = index.0[&Name::of(&record.key)];
        sensors.get_mut(entity).expect(OWN).0 = Raw::of(record);
    }
}

type Measured<'w, 's> = Query<
    'w,
    's,
    (&'static Newest, &'static mut Window, &'static mut Ring, &'static mut Mean),
    Changed<Newest>,
>;

fn smooth(mut sensors: Measured, crossings: Res<Crossings>) {
    if crossings.starting {
        return;
    }
    for (newest, mut window, mut ring, mut mean) in &mut sensors {
        mean.0 = ring.0.push(&mut window.0, newest.0.value);
    }
}

type Smoothed<'w, 's> =
    Query<'w, 's, (&'static Key, &'static Mean, &'static mut Limits), Changed<Mean>>;

fn compare(mut sensors: Smoothed, mut crossings: ResMut<Crossings>) {
    if crossings.starting {
        return;
    }
    for (key, mean, mut limits) in &mut sensors {
        if limits.0.step(mean.0) {
            crossings.events.push(Event { key: key.0, level: limits.0.level() });
        }
        crossings.changed += 1;
    }
}

impl Twin for Idiomatic {
    fn build(plant: Plant) -> Self {
        let mut world = World::new();
        let sensors = plant.all().map(|sensor| {
            let hot = sensor.live.hot;
            (
                (Key(sensor.key), Kind(sensor.kind as u8), Newest(sensor.live.raw)),
                (Window(sensor.window), Ring(hot.ring), Mean(sensor.mean), Limits(hot.limits)),
            )
        });
        let entities: Vec<Entity> = world.spawn_batch(sensors).collect();
        let mut index = HashMap::with_capacity(plant.sensors);
        index.extend((0..plant.sensors).map(|n| Name::of(&plant.key(n))).zip(entities));
        world.insert_resource(Index(index));
        let ingest = world.register_system(ingest);
        let mut schedule = Schedule::default();
        schedule.set_executor(SingleThreadedExecutor::new());
        schedule.add_systems((smooth, compare).chain());
        // Systems take all that was there before their first run for changed; what sensors are spawned with is no
        // news.
        world.insert_resource(Crossings::default());
        world.resource_mut::<Crossings>().starting = true;
        schedule.run(&mut world);
        world.resource_mut::<Crossings>().starting = false;
        Self { world, ingest, schedule }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        self.world.run_system_with(self.ingest, records).expect("a registered system");
        self.schedule.run(&mut self.world);
        let mut crossings = self.world.resource_mut::<Crossings>();
        outcome.events.append(&mut crossings.events);
        outcome.changed += std::mem::take(&mut crossings.changed);
    }

    fn aggregates(&mut self) -> [Aggregate; KINDS] {
        unreachable!("the other form stands for bevy_ecs here")
    }

    fn visit(
        &mut self,
        visit: &mut dyn FnMut(&bench_harness::Key, &Raw, &Hot, &twin::Window, f32),
    ) {
        let mut query = self.world.query::<(&Key, &Newest, &Ring, &Limits, &Window, &Mean)>();
        for (key, newest, ring, limits, window, mean) in query.iter(&self.world) {
            visit(&key.0, &newest.0, &Hot::of(ring.0, limits.0), &window.0, mean.0);
        }
    }
}

/// Records folded into their rows as they come, without change detection; two lines of cache side by side and the mean a row. The kind
/// is a marker, so that each kind is a table.
struct Folded {
    world: World,
    index: HashMap<bench_harness::Key, Entity>,
    query: QueryState<(&'static mut Row, &'static mut Mean)>,
    changed: Vec<Entity>,
}

#[derive(Component, Clone, Copy)]
#[repr(C, align(128))]
struct Row(twin::Row);

#[derive(Component, Clone, Copy)]
struct Marker<const N: usize>;

impl Twin for Folded {
    fn build(plant: Plant) -> Self {
        let mut world = World::new();
        let mut index = HashMap::with_capacity(plant.sensors);
        spawn::<0>(plant, &mut world, &mut index);
        spawn::<1>(plant, &mut world, &mut index);
        spawn::<2>(plant, &mut world, &mut index);
        spawn::<3>(plant, &mut world, &mut index);
        spawn::<4>(plant, &mut world, &mut index);
        spawn::<5>(plant, &mut world, &mut index);
        spawn::<6>(plant, &mut world, &mut index);
        spawn::<7>(plant, &mut world, &mut index);
        let query = world.query();
        Self { world, index, query, changed: Vec::new() }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { world, index, query, changed } = self;
        let mut query = query.query_mut(world);
        for record in records {
            let entity = index[&record.key];
            let (mut row, mut mean) = query.get_mut(entity).expect(OWN);
            let row = &mut row.bypass_change_detection().0;
            let (smoothed, crossed) = row.fold(record);
            mean.bypass_change_detection().0 = smoothed;
            if crossed {
                outcome.events.push(Event { key: record.key, level: row.live.hot.level() });
            }
            changed.push(entity);
        }
        outcome.changed += changed.len() as u64;
        changed.clear();
    }

    fn aggregates(&mut self) -> [Aggregate; KINDS] {
        let world = &mut self.world;
        [
            aggregate::<0>(world),
            aggregate::<1>(world),
            aggregate::<2>(world),
            aggregate::<3>(world),
            aggregate::<4>(world),
            aggregate::<5>(world),
            aggregate::<6>(world),
            aggregate::<7>(world),
        ]
    }

    fn visit(
        &mut self,
        visit: &mut dyn FnMut(&bench_harness::Key, &Raw, &Hot, &twin::Window, f32),
    ) {
        let mut query = self.world.query::<(&Key, &Row, &Mean)>();
        for (key, Row(row), mean) in query.iter(&self.world) {
            visit(&key.0, &row.live.raw, &row.live.hot, &row.window, mean.0);
        }
    }
}

fn spawn<const N: usize>(
    plant: Plant,
    world: &mut World,
    index: &mut HashMap<bench_harness::Key, Entity>,
) {
    let sensors = plant.of_kind(N).map(|sensor| {
        (Key(sensor.key), Row(twin::Row::of(&sensor)), Mean(sensor.mean), Marker::<N>)
    });
    let entities = world.spawn_batch(sensors);
    index.extend(plant.of_kind(N).map(|sensor| sensor.key).zip(entities));
}

fn aggregate<const N: usize>(world: &mut World) -> Aggregate {
    let mut aggregate = Aggregate::EMPTY;
    let mut query = world.query_filtered::<&Mean, With<Marker<N>>>();
    for means in query.contiguous_iter(world).expect("table components are dense") {
        aggregate.add_column(means, |mean| mean.0);
    }
    aggregate
}
