//! What the tables cost: walks, random access, spawns and moves. `cargo bench -p ecs --bench world`.
//!
//! Times are for a whole run over the rows named in each benchmark; the item counter divides them.

use bytemuck::{Pod, Zeroable};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ecs::{Chunk, Component, Entity, Query, Track, Tracked, World};

macro_rules! component {
    ($name:ident($value:ty), $id:literal, $track:expr) => {
        #[repr(C)]
        #[derive(Clone, Copy, Pod, Zeroable)]
        struct $name($value);
        impl Component for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
            const TRACK: Track = $track;
        }
    };
}

component!(Transform([f32; 16]), 0, Track::Column);
component!(Position([f32; 3]), 1, Track::Column);
component!(Velocity([f32; 3]), 2, Track::Column);
component!(Rotation([f32; 3]), 3, Track::Column);

/// The newest value of a sensor and the running sum of its window: one cache line.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Live {
    value: f64,
    ts_us: u64,
    sum: f64,
    head: u32,
    len: u32,
    rest: [u64; 4],
}
impl Component for Live {
    const ID: u16 = 4;
    const NAME: &'static str = "Live";
}

component!(Window([f32; 16]), 5, Track::Column);
component!(Smoothed(f32), 6, Track::Rows);
component!(Level(f32), 7, Track::Column);
component!(Inflow(f32), 8, Track::Column);

const ENTITIES: usize = 10_000;
const SENSORS: usize = 200_000;

fn main() {
    divan::main();
}

fn body(n: usize) -> (Transform, Position, Velocity, Rotation) {
    let x = n as f32;
    (Transform([x; 16]), Position([x; 3]), Velocity([1.0; 3]), Rotation([0.0; 3]))
}

fn bodies() -> World {
    let mut world = World::new();
    world.spawn_batch((0..ENTITIES).map(body));
    world
}

fn sensors(count: usize) -> World {
    let mut world = World::new();
    let sensor = (Live::zeroed(), Window([0.0; 16]), Smoothed(0.0));
    world.spawn_batch(std::iter::repeat_n(sensor, count));
    world.drain_changed::<Smoothed>(|_| {});
    world
}

/// Numbers below `limit` in an order that no prefetcher guesses; the same in every run.
fn scattered(count: usize, limit: usize) -> Vec<u32> {
    let mut state = 0x706f_6c6c_7578_u64;
    let next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 33) as usize % limit) as u32
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn tanks() -> World {
    let mut world = World::new();
    world.spawn_batch((0..ENTITIES).map(|n| (Level(n as f32), Inflow(1.0))));
    world
}

#[divan::bench]
fn iter_chunks(bencher: Bencher) {
    let mut world = tanks();
    let mut query = Query::<(&mut Level, &Inflow)>::new();
    bencher.counter(ItemsCount::new(ENTITIES)).bench_local(|| {
        query.chunks(&mut world, |Chunk { slices: (level, inflow), .. }| {
            for (level, inflow) in level.iter_mut().zip(inflow) {
                level.0 += inflow.0;
            }
        });
    });
}

#[divan::bench]
fn iter_each(bencher: Bencher) {
    let mut world = tanks();
    let mut query = Query::<(&mut Level, &Inflow)>::new();
    bencher.counter(ItemsCount::new(ENTITIES)).bench_local(|| {
        query.each(&mut world, |(level, inflow)| level.0 += inflow.0);
    });
}

/// The floor of the two above: plain vectors.
#[divan::bench]
fn iter_plain_vectors(bencher: Bencher) {
    let mut levels = vec![1.0_f32; ENTITIES];
    let inflows = vec![1.0_f32; ENTITIES];
    bencher.counter(ItemsCount::new(ENTITIES)).bench_local(|| {
        for (level, inflow) in black_box(&mut levels).iter_mut().zip(&inflows) {
            *level += inflow;
        }
    });
}

/// Folds one value into the window of a sensor and returns the mean.
#[inline]
fn fold(live: &mut Live, window: &mut Window, value: f32, ts_us: u64) -> f32 {
    let place = (live.head & 15) as usize;
    live.sum += f64::from(value) - f64::from(window.0[place]);
    window.0[place] = value;
    live.head = live.head.wrapping_add(1);
    live.len = (live.len + 1).min(16);
    (live.value, live.ts_us) = (f64::from(value), ts_us);
    (live.sum / f64::from(live.len)) as f32
}

fn apply(bencher: Bencher, rows: &[u32]) {
    let mut world = sensors(SENSORS);
    let mut query = Query::<(&mut Live, &mut Window, Tracked<Smoothed>)>::new();
    let mut ts_us = 0;
    bencher.counter(ItemsCount::new(rows.len())).bench_local(|| {
        let mut view = query.view(&mut world);
        for &row in rows {
            ts_us += 1;
            let Some((live, window, smoothed)) = view.slices(0) else { return };
            let row = row as usize;
            smoothed.row_mut(row).0 = fold(&mut live[row], &mut window[row], 1.5, ts_us);
        }
    });
}

/// Records that arrive in row order, archetype and row known: 200,000 rows.
#[divan::bench]
fn apply_sequential(bencher: Bencher) {
    let rows: Vec<u32> = (0..ENTITIES as u32).collect();
    apply(bencher, &rows);
}

/// The same in random order, without prefetch.
#[divan::bench]
fn apply_scattered(bencher: Bencher) {
    apply(bencher, &scattered(ENTITIES, SENSORS));
}

#[divan::bench]
fn drain_scattered_marks(bencher: Bencher) {
    let rows = scattered(ENTITIES, SENSORS);
    let mut world = sensors(SENSORS);
    let mut query = Query::<(Tracked<Smoothed>,)>::new();
    bencher.counter(ItemsCount::new(rows.len())).bench_local(|| {
        query.chunks(&mut world, |Chunk { slices: (mut smoothed,), .. }| {
            rows.iter().for_each(|&row| smoothed.mark(row as usize));
        });
        let mut drained = 0;
        world.drain_changed::<Smoothed>(|location| drained += location.row);
        drained
    });
}

fn names_in_random_order(world: &World) -> Vec<Entity> {
    let entities = world.archetypes()[0].entities();
    scattered(ENTITIES, ENTITIES).into_iter().map(|row| entities[row as usize]).collect()
}

#[divan::bench]
fn random_by_view(bencher: Bencher) {
    let mut world = bodies();
    let names = names_in_random_order(&world);
    let mut query = Query::<(&mut Position,)>::new();
    bencher.counter(ItemsCount::new(ENTITIES)).bench_local(|| {
        let mut view = query.view(&mut world);
        for &name in &names {
            if let Some((position,)) = view.entity(name) {
                position.0[0] += 1.0;
            }
        }
    });
}

#[divan::bench]
fn random_by_world(bencher: Bencher) {
    let mut world = bodies();
    let names = names_in_random_order(&world);
    bencher.counter(ItemsCount::new(ENTITIES)).bench_local(|| {
        for &name in &names {
            if let Some(position) = world.component_mut::<Position>(name) {
                position.0[0] += 1.0;
            }
        }
    });
}

#[divan::bench]
fn spawn_batch(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(ENTITIES))
        .with_inputs(|| {
            let mut world = World::new();
            world.reserve::<(Transform, Position, Velocity, Rotation)>(ENTITIES);
            world
        })
        .bench_local_values(|mut world| {
            world.spawn_batch((0..ENTITIES).map(body));
            world
        });
}

#[divan::bench]
fn spawn_one_by_one(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(ENTITIES))
        .with_inputs(|| {
            let mut world = World::new();
            world.reserve::<(Transform, Position, Velocity, Rotation)>(ENTITIES);
            world
        })
        .bench_local_values(|mut world| {
            for n in 0..ENTITIES {
                world.spawn(body(n));
            }
            world
        });
}

/// Adds a component to each entity and takes it away again: two moves each.
#[divan::bench]
fn insert_and_remove(bencher: Bencher) {
    let mut world = World::new();
    let names: Vec<Entity> = (0..ENTITIES).map(|_| world.spawn((Position([0.0; 3]),))).collect();
    bencher.counter(ItemsCount::new(2 * ENTITIES)).bench_local(|| {
        for &name in &names {
            black_box(world.insert(name, (Velocity([1.0; 3]),))).ok();
        }
        for &name in &names {
            black_box(world.remove::<Velocity>(name));
        }
    });
}
