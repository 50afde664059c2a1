//! The twin in flecs: folded at ingest through `get`, with a tag for each kind, so that each kind is a table. The lines of
//! the cache are not asked for: columns of flecs are aligned as its allocator pleases.

use bench_harness::twin::{
    Aggregate, Event, Hot, KINDS, Outcome, Plant, Raw, Record, Twin, with_ticks, with_world,
};
use bench_harness::{Library, twin};
use flecs_ecs::prelude::*;
use hashbrown::HashMap;

pub(crate) fn with_cases(library: Library) -> Library {
    with_world::<Sensors>(with_ticks::<Sensors>(library, ""))
}

#[derive(Component, Clone, Copy)]
struct Key(bench_harness::Key);

#[derive(Component, Clone, Copy)]
struct Row(twin::Row);

#[derive(Component, Clone, Copy)]
struct Mean(f32);

struct Sensors {
    index: HashMap<bench_harness::Key, Entity>,
    means: [Query<&'static Mean>; KINDS],
    changed: Vec<Entity>,
    world: World,
}

impl Twin for Sensors {
    fn build(plant: Plant) -> Self {
        let world = World::new();
        let mut index = HashMap::with_capacity(plant.sensors);
        let means = std::array::from_fn(|kind| {
            let tag = world.entity().id();
            let sensors = || plant.of_kind(kind);
            let entities = world
                .entity_bulk(sensors().len() as u32)
                .add_id(tag)
                .set(&sensors().map(|sensor| Key(sensor.key)).collect::<Vec<_>>())
                .set(&sensors().map(|sensor| Row(twin::Row::of(&sensor))).collect::<Vec<_>>())
                .set(&sensors().map(|sensor| Mean(sensor.mean)).collect::<Vec<_>>())
                .build();
            index.extend(sensors().map(|sensor| sensor.key).zip(entities));
            world.query::<&Mean>().with(tag).set_cached().build()
        });
        Self { index, means, changed: Vec::new(), world }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { index, changed, world, .. } = self;
        for record in records {
            let entity = index[&record.key];
            world.entity_from_id(entity).get::<(&mut Row, &mut Mean)>(|(Row(row), mean)| {
                let (smoothed, crossed) = row.fold(record);
                mean.0 = smoothed;
                if crossed {
                    outcome.events.push(Event { key: record.key, level: row.live.hot.level() });
                }
            });
            changed.push(entity);
        }
        outcome.changed += changed.len() as u64;
        changed.clear();
    }

    fn aggregates(&mut self) -> [Aggregate; KINDS] {
        std::array::from_fn(|kind| {
            let mut aggregate = Aggregate::EMPTY;
            self.means[kind].run(|mut tables| {
                while tables.next() {
                    let means = tables.field::<Mean>(0);
                    aggregate.add_column(means.as_slice(), |mean| mean.0);
                }
            });
            aggregate
        })
    }

    fn visit(
        &mut self,
        visit: &mut dyn FnMut(&bench_harness::Key, &Raw, &Hot, &twin::Window, f32),
    ) {
        self.world.new_query::<(&Key, &Row, &Mean)>().each(|(key, Row(row), mean)| {
            visit(&key.0, &row.live.raw, &row.live.hot, &row.window, mean.0);
        });
    }
}
