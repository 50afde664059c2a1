//! The twin in shipyard: folded at ingest through two views, with the kind as a value beside the mean, because sparse sets
//! have no tables by kind.

use bench_harness::twin::{
    Aggregate, Event, Hot, KINDS, Outcome, Plant, Raw, Record, Twin, with_ticks, with_world,
};
use bench_harness::{Library, twin};
use hashbrown::HashMap;
use shipyard::{Component, EntityId, Get, IntoIter, View, ViewMut, World};

const OWN: &str = "records of the plant's own sensors only";

pub(crate) fn with_cases(library: Library) -> Library {
    with_world::<Sensors>(with_ticks::<Sensors>(library, ""))
}

#[derive(Component, Clone, Copy)]
struct Key(bench_harness::Key);

#[derive(Component, Clone, Copy)]
#[repr(C, align(128))]
struct Row(twin::Row);

#[derive(Component)]
struct Mean(f32);

#[derive(Component)]
struct Kind(u8);

struct Sensors {
    world: World,
    index: HashMap<bench_harness::Key, EntityId>,
    changed: Vec<EntityId>,
}

impl Twin for Sensors {
    fn build(plant: Plant) -> Self {
        let mut world = World::new();
        let entities = world.bulk_add_entity(plant.all().map(|sensor| {
            let row = Row(twin::Row::of(&sensor));
            (Key(sensor.key), Kind(sensor.kind as u8), row, Mean(sensor.mean))
        }));
        let mut index = HashMap::with_capacity(plant.sensors);
        index.extend((0..plant.sensors).map(|n| plant.key(n)).zip(entities));
        Self { world, index, changed: Vec::new() }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { world, index, changed } = self;
        let views = world.borrow::<(ViewMut<Row>, ViewMut<Mean>)>();
        let (mut rows, mut means) = views.expect("nobody else borrows");
        for record in records {
            let entity = index[&record.key];
            let (mut row, mut mean) = (&mut rows, &mut means).get(entity).expect(OWN);
            let (smoothed, crossed) = row.0.fold(record);
            mean.0 = smoothed;
            if crossed {
                outcome.events.push(Event { key: record.key, level: row.0.live.hot.level() });
            }
            changed.push(entity);
        }
        outcome.changed += changed.len() as u64;
        changed.clear();
    }

    fn aggregates(&mut self) -> [Aggregate; KINDS] {
        let mut aggregates = [Aggregate::EMPTY; KINDS];
        self.world.run(|kinds: View<Kind>, means: View<Mean>| {
            for (kind, mean) in (&kinds, &means).iter() {
                aggregates[usize::from(kind.0) % KINDS].add(mean.0);
            }
        });
        aggregates
    }

    fn visit(
        &mut self,
        visit: &mut dyn FnMut(&bench_harness::Key, &Raw, &Hot, &twin::Window, f32),
    ) {
        type All<'v> = (View<'v, Key>, View<'v, Row>, View<'v, Mean>);
        let (keys, rows, means) = self.world.borrow::<All>().expect("nobody else borrows");
        for (key, Row(row), mean) in (&keys, &rows, &means).iter() {
            visit(&key.0, &row.live.raw, &row.live.hot, &row.window, mean.0);
        }
    }
}
