//! The twin in sparsey: folded at ingest through two views, with the kind as a value beside the mean, in a group, because
//! sparse sets have no tables by kind.

use bench_harness::twin::{
    Aggregate, Event, Hot, KINDS, Outcome, Plant, Raw, Record, Twin, with_ticks, with_world,
};
use bench_harness::{Key, Library, twin};
use hashbrown::HashMap;
use sparsey::{Entity, World};

pub(crate) fn with_cases(library: Library) -> Library {
    with_world::<Sensors>(with_ticks::<Sensors>(library, ""))
}

#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Row(twin::Row);

struct Mean(f32);

struct Kind(u8);

struct Sensors {
    world: World,
    index: HashMap<Key, Entity>,
    changed: Vec<Entity>,
}

impl Twin for Sensors {
    fn build(plant: Plant) -> Self {
        let mut builder = World::builder();
        builder.add_group::<(Kind, Mean)>();
        builder.register::<Key>().register::<Row>();
        let mut world = builder.build();
        let entities = world.extend(plant.all().map(|sensor| {
            (sensor.key, Kind(sensor.kind as u8), Row(twin::Row::of(&sensor)), Mean(sensor.mean))
        }));
        let mut index = HashMap::with_capacity(plant.sensors);
        index.extend((0..plant.sensors).map(|n| plant.key(n)).zip(entities.iter().copied()));
        Self { world, index, changed: Vec::new() }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { world, index, changed } = self;
        let mut rows = world.borrow_mut::<Row>();
        let mut means = world.borrow_mut::<Mean>();
        for record in records {
            let entity = index[&record.key];
            let row = &mut rows[entity].0;
            let (mean, crossed) = row.fold(record);
            means[entity].0 = mean;
            if crossed {
                outcome.events.push(Event { key: record.key, level: row.live.hot.level() });
            }
            changed.push(entity);
        }
        outcome.changed += changed.len() as u64;
        changed.clear();
    }

    fn aggregates(&mut self) -> [Aggregate; KINDS] {
        let mut aggregates = [Aggregate::EMPTY; KINDS];
        let mut query = self.world.query_all::<(&Kind, &Mean)>();
        let (kinds, means) = query.slice().expect("they are a group");
        for (kind, mean) in kinds.iter().zip(means) {
            aggregates[usize::from(kind.0) % KINDS].add(mean.0);
        }
        aggregates
    }

    fn visit(&mut self, visit: &mut dyn FnMut(&Key, &Raw, &Hot, &twin::Window, f32)) {
        self.world.for_each::<(&Key, &Row, &Mean)>(|(key, Row(row), mean)| {
            visit(key, &row.live.raw, &row.live.hot, &row.window, mean.0);
        });
    }
}
