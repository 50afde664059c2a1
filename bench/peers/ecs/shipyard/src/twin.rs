//! The twin in shipyard: folded at ingest through three views, with the kind as a value beside the mean, because sparse sets
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
#[repr(C, align(64))]
struct Live(twin::Live);

#[derive(Component, Clone, Copy)]
#[repr(C, align(64))]
struct Window(twin::Window);

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
            let (live, window) = (Live(sensor.live), Window(sensor.window));
            (Key(sensor.key), Kind(sensor.kind as u8), live, window, Mean(sensor.mean))
        }));
        let mut index = HashMap::with_capacity(plant.sensors);
        index.extend((0..plant.sensors).map(|n| plant.key(n)).zip(entities));
        Self { world, index, changed: Vec::new() }
    }

    fn tick(&mut self, records: &[Record], outcome: &mut Outcome) {
        let Self { world, index, changed } = self;
        let views = world.borrow::<(ViewMut<Live>, ViewMut<Window>, ViewMut<Mean>)>();
        let (mut lives, mut windows, mut means) = views.expect("nobody else borrows");
        for record in records {
            let entity = index[&record.key];
            let row = (&mut lives, &mut windows, &mut means).get(entity);
            let (mut live, mut window, mut mean) = row.expect(OWN);
            let (smoothed, crossed) = live.0.fold(&mut window.0, record);
            mean.0 = smoothed;
            if crossed {
                outcome.events.push(Event { key: record.key, level: live.0.hot.level() });
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
        type All<'v> = (View<'v, Key>, View<'v, Live>, View<'v, Window>, View<'v, Mean>);
        let (keys, lives, windows, means) =
            self.world.borrow::<All>().expect("nobody else borrows");
        for (key, live, window, mean) in (&keys, &lives, &windows, &means).iter() {
            visit(&key.0, &live.0.raw, &live.0.hot, &window.0, mean.0);
        }
    }
}
