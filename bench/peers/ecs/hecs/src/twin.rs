//! The twin in hecs, twice: with a list of the entities that a tick touched, and folded at ingest. Either way random access
//! goes through views, a row is two lines of cache and the mean, and the kind is a marker, so that each kind is an
//! archetype.

use bench_harness::twin::{
    Aggregate, Event, Hot, KINDS, Outcome, Plant, Raw, Record, Twin, with_ticks, with_world,
};
use bench_harness::{Key, Library, twin};
use hashbrown::HashMap;
use hecs::{Entity, World};

const OWN: &str = "records of the plant's own sensors only";

pub(crate) fn with_cases(library: Library) -> Library {
    let library = with_ticks::<Sensors<false>>(library, "");
    with_world::<Sensors<true>>(with_ticks::<Sensors<true>>(library, "fold at ingest"))
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line<T>(T);

struct Mean(f32);

struct Kind<const N: usize>;

struct Sensors<const FOLD: bool> {
    world: World,
    index: HashMap<Key, Entity>,
    changed: Vec<Entity>,
}

impl<const FOLD: bool> Twin for Sensors<FOLD> {
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
        Self { world, index, changed: Vec::new() }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        if FOLD {
            self.fold(records, outcome);
        } else {
            self.ingest(records);
            self.process(outcome);
        }
        outcome.changed += self.changed.len() as u64;
        self.changed.clear();
    }

    fn aggregates(&mut self) -> [Aggregate; KINDS] {
        let world = &self.world;
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

    fn visit(&mut self, visit: &mut dyn FnMut(&Key, &Raw, &Hot, &twin::Window, f32)) {
        type All =
            (&'static Key, &'static Line<twin::Live>, &'static Line<twin::Window>, &'static Mean);
        for (key, Line(live), window, mean) in self.world.query_mut::<All>() {
            visit(key, &live.raw, &live.hot, &window.0, mean.0);
        }
    }
}

impl<const FOLD: bool> Sensors<FOLD> {
    fn fold(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { world, index, changed } = self;
        let mut view =
            world.view_mut::<(&mut Line<twin::Live>, &mut Line<twin::Window>, &mut Mean)>();
        for record in records {
            let entity = index[&record.key];
            let (Line(live), window, mean) = view.get_mut(entity).expect(OWN);
            let (smoothed, crossed) = live.fold(&mut window.0, record);
            mean.0 = smoothed;
            if crossed {
                outcome.events.push(Event { key: record.key, level: live.hot.level() });
            }
            changed.push(entity);
        }
    }

    fn ingest(&mut self, records: &[Record]) {
        let Self { world, index, changed } = self;
        let mut view = world.view_mut::<&mut Line<twin::Live>>();
        for record in records {
            let entity = index[&record.key];
            view.get_mut(entity).expect(OWN).0.raw = Raw::of(record);
            changed.push(entity);
        }
    }

    fn process(&mut self, outcome: &mut Outcome) {
        let Self { world, changed, .. } = self;
        let mut view =
            world.view_mut::<(&Key, &mut Line<twin::Live>, &mut Line<twin::Window>, &mut Mean)>();
        for &entity in &*changed {
            let (key, Line(live), window, mean) = view.get_mut(entity).expect(OWN);
            mean.0 = live.hot.push(&mut window.0, live.raw.value);
            if live.hot.step(mean.0) {
                outcome.events.push(Event { key: *key, level: live.hot.level() });
            }
        }
    }
}

fn spawn<const N: usize>(plant: Plant, world: &mut World, index: &mut HashMap<Key, Entity>) {
    let entities = world.spawn_batch(plant.of_kind(N).map(|sensor| {
        (sensor.key, Line(sensor.live), Line(sensor.window), Mean(sensor.mean), Kind::<N>)
    }));
    index.extend(plant.of_kind(N).map(|sensor| sensor.key).zip(entities));
}

fn aggregate<const N: usize>(world: &World) -> Aggregate {
    let mut aggregate = Aggregate::EMPTY;
    for archetype in world.archetypes().filter(|archetype| archetype.has::<Kind<N>>()) {
        let means = archetype.get::<&Mean>().expect("sensors have means");
        aggregate.add_column(&means, |mean| mean.0);
    }
    aggregate
}
