//! The twin in hecs, three times: as its users write it, with a component for each meaning and a list of the entities that
//! a tick touched; the same with a row of two cache lines; and folded at ingest. Random access goes through views, and in
//! the latter two the kind is a marker, so that each kind is an archetype.

use bench_harness::twin::{
    Aggregate, Event, Hot, KINDS, Limits, Outcome, Plant, Raw, Record, Ring, Twin, Window,
    with_ticks, with_world,
};
use bench_harness::{Key, Library, twin};
use hashbrown::HashMap;
use hecs::{Entity, World};

const OWN: &str = "records of the plant's own sensors only";

pub(crate) fn with_cases(library: Library) -> Library {
    let library = with_ticks::<Listed>(library, "");
    let library = with_ticks::<Sensors<false>>(library, "dirty list of rows");
    with_world::<Sensors<true>>(with_ticks::<Sensors<true>>(library, "fold at ingest"))
}

struct Mean(f32);

/// As the documentation teaches it: components by meaning, and a second pass over what the first one touched.
struct Listed {
    world: World,
    index: HashMap<Name, Entity>,
    changed: Vec<Entity>,
}

/// The name of a sensor as a user would write it, with the hash that the compiler derives.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    device: [u8; 16],
    sensor: u16,
}

impl Name {
    const fn of(key: &Key) -> Self {
        Self { device: key.device, sensor: key.sensor }
    }
}

#[expect(dead_code, reason = "the kind belongs to a sensor, and the ticks do not ask for it")]
struct KindNumber(u8);

impl Twin for Listed {
    fn build(plant: Plant) -> Self {
        let mut world = World::new();
        let sensors = plant.all().map(|sensor| {
            let (raw, hot) = (sensor.live.raw, sensor.live.hot);
            let kind = KindNumber(sensor.kind as u8);
            (sensor.key, kind, raw, sensor.window, hot.ring, Mean(sensor.mean), hot.limits)
        });
        let entities: Vec<Entity> = world.spawn_batch(sensors).collect();
        let mut index = HashMap::with_capacity(plant.sensors);
        index.extend((0..plant.sensors).map(|n| Name::of(&plant.key(n))).zip(entities));
        Self { world, index, changed: Vec::new() }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { world, index, changed } = self;
        let mut newest = world.view_mut::<&mut Raw>();
        for record in records {
            let entity = index[&Name::of(&record.key)];
            *newest.get_mut(entity).expect(OWN) = Raw::of(record);
            changed.push(entity);
        }
        drop(newest);
        let mut sensors = world.view_mut::<Stepped>();
        for &entity in &*changed {
            let (key, raw, window, ring, mean, limits) = sensors.get_mut(entity).expect(OWN);
            mean.0 = ring.push(window, raw.value);
            if limits.step(mean.0) {
                outcome.events.push(Event { key: *key, level: limits.level() });
            }
        }
        outcome.changed += changed.len() as u64;
        changed.clear();
    }

    fn aggregates(&mut self) -> [Aggregate; KINDS] {
        unreachable!("another form stands for hecs here")
    }

    fn visit(&mut self, visit: &mut dyn FnMut(&Key, &Raw, &Hot, &Window, f32)) {
        type All = (
            &'static Key,
            &'static Raw,
            &'static Window,
            &'static Ring,
            &'static Mean,
            &'static Limits,
        );
        for (key, raw, window, ring, mean, limits) in self.world.query_mut::<All>() {
            visit(key, raw, &Hot::of(*ring, *limits), window, mean.0);
        }
    }
}

type Stepped = (
    &'static Key,
    &'static Raw,
    &'static mut Window,
    &'static mut Ring,
    &'static mut Mean,
    &'static mut Limits,
);

/// Two lines of cache side by side.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Row(twin::Row);

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

    fn visit(&mut self, visit: &mut dyn FnMut(&Key, &Raw, &Hot, &Window, f32)) {
        for (key, Row(row), mean) in self.world.query_mut::<(&Key, &Row, &Mean)>() {
            visit(key, &row.live.raw, &row.live.hot, &row.window, mean.0);
        }
    }
}

impl<const FOLD: bool> Sensors<FOLD> {
    fn fold(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { world, index, changed } = self;
        let mut view = world.view_mut::<(&mut Row, &mut Mean)>();
        for record in records {
            let entity = index[&record.key];
            let (Row(row), mean) = view.get_mut(entity).expect(OWN);
            let (smoothed, crossed) = row.fold(record);
            mean.0 = smoothed;
            if crossed {
                outcome.events.push(Event { key: record.key, level: row.live.hot.level() });
            }
            changed.push(entity);
        }
    }

    fn ingest(&mut self, records: &[Record]) {
        let Self { world, index, changed } = self;
        let mut view = world.view_mut::<&mut Row>();
        for record in records {
            let entity = index[&record.key];
            view.get_mut(entity).expect(OWN).0.live.raw = Raw::of(record);
            changed.push(entity);
        }
    }

    fn process(&mut self, outcome: &mut Outcome) {
        let Self { world, changed, .. } = self;
        let mut view = world.view_mut::<(&Key, &mut Row, &mut Mean)>();
        for &entity in &*changed {
            let (key, Row(twin::Row { live, window }), mean) = view.get_mut(entity).expect(OWN);
            mean.0 = live.hot.ring.push(window, live.raw.value);
            if live.hot.limits.step(mean.0) {
                outcome.events.push(Event { key: *key, level: live.hot.level() });
            }
        }
    }
}

fn spawn<const N: usize>(plant: Plant, world: &mut World, index: &mut HashMap<Key, Entity>) {
    let entities = world.spawn_batch(
        plant
            .of_kind(N)
            .map(|sensor| (sensor.key, Row(twin::Row::of(&sensor)), Mean(sensor.mean), Kind::<N>)),
    );
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
