//! The suite in bevy_ecs: cached queries, contiguous iteration where a loop vectorises, change detection bypassed where
//! nobody asks for it, and the executor of one thread.

use std::hint::black_box;

use bench_codec::{Codec, Encode, Fixed, Serde};
use bench_harness::suite::{
    ENTITIES, ENTITIES_PER_LETTER, HEAVY_ENTITIES, SAVED_ENTITIES, advance_all, body, compute,
    digest_body, double_all, order,
};
use bench_harness::{Case, Digest, Library, Scale, case, for_letters, suite_components};
use bevy_ecs::component::Mutable;
use bevy_ecs::prelude::*;
use bevy_ecs::query::QueryState;
use bevy_ecs::schedule::SingleThreadedExecutor;
use bytemuck::{Pod, Zeroable};

suite_components!([#[derive(Component, Clone, Copy, Pod, Zeroable)]]);

/// B in a sparse set, which is what bevy_ecs offers for components that come and go.
#[derive(Component, Clone, Copy)]
#[component(storage = "SparseSet")]
struct SparseB(f32);

pub(crate) fn with_cases(library: Library) -> Library {
    library
        .with("simple_insert_batch", insert_batch)
        .with("simple_insert", insert)
        .with("simple_iter", iterate)
        .with("fragmented_iter", iterate_fragments)
        .with("heavy_compute", heavy)
        .with("schedule", schedule)
        .with("add_remove", add_remove::<B>)
        .with_form("add_remove", "sparse", add_remove::<SparseB>)
        .with("random_get", random_get)
        .with("churn", churn)
        .with("serialise", serialise::<Serde>)
        .with("restore", restore::<Serde>)
        .with_form("serialise", "rows of fixed width", serialise::<Fixed>)
        .with_form("restore", "rows of fixed width", restore::<Fixed>)
        .with("empty_system", empty_system)
}

type Bundle = (Transform, Position, Rotation, Velocity);
type All = (&'static Transform, &'static Position, &'static Rotation, &'static Velocity);

const DENSE: &str = "table components are dense";
const ALIVE: &str = "a living entity with the component";

#[inline]
fn bundle(n: usize) -> Bundle {
    let (transform, position, rotation, velocity) = body(n);
    (Transform(transform), Position(position), Rotation(rotation), Velocity(velocity))
}

fn bodies(count: usize) -> World {
    let mut world = World::new();
    world.spawn_batch((0..count).map(bundle));
    world
}

fn digest(world: &mut World) -> u64 {
    let mut digest = Digest::new();
    for (t, p, r, v) in world.query::<All>().iter(world) {
        digest_body(&mut digest, &t.0, &p.0, &r.0, &v.0);
    }
    digest.finish()
}

/// A world with a query over it that was prepared once.
fn with_query<Q: bevy_ecs::query::QueryData + 'static>(mut world: World) -> (World, QueryState<Q>) {
    let query = world.query::<Q>();
    (world, query)
}

fn insert_batch(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    case(World::new(), move |world| *world = bodies(count), digest)
}

fn insert(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    case(
        World::new(),
        move |world| {
            *world = World::new();
            for n in 0..count {
                world.spawn(bundle(n));
            }
        },
        digest,
    )
}

fn iterate(scale: Scale) -> Box<dyn Case> {
    case(
        with_query::<(&mut Position, &Velocity)>(bodies(scale.of(ENTITIES))),
        |(world, query)| {
            for (mut positions, velocities) in query.contiguous_iter_mut(world).expect(DENSE) {
                advance_all(positions.bypass_change_detection(), velocities);
            }
        },
        |(world, _)| digest(world),
    )
}

fn iterate_fragments(_: Scale) -> Box<dyn Case> {
    let mut world = World::new();
    macro_rules! spawn {
        ($($n:literal)+) => {
            $(world.spawn_batch((0..ENTITIES_PER_LETTER).map(|_| (Letter::<$n>(0.0), Data(1.0))));)+
        };
    }
    for_letters!(spawn);
    case(
        with_query::<&mut Data>(world),
        |(world, query)| {
            for mut data in query.contiguous_iter_mut(world).expect(DENSE) {
                double_all(data.bypass_change_detection());
            }
        },
        |(world, _)| {
            let mut digest = Digest::new();
            world.query::<&Data>().iter(world).for_each(|data| digest.add_f32(&[&[data.0]]));
            digest.finish()
        },
    )
}

fn heavy(scale: Scale) -> Box<dyn Case> {
    case(
        with_query::<(&mut Transform, &mut Position)>(bodies(scale.of(HEAVY_ENTITIES))),
        |(world, query)| {
            query.iter_mut(world).for_each(|(mut t, mut p)| compute(&mut t.0, &mut p.0));
        },
        |(world, _)| digest(world),
    )
}

fn groups(count: usize) -> World {
    let mut world = World::new();
    let at = |first: f32, n: usize| first + n as f32;
    let ab = move |n| (A(at(0.0, n)), B(at(0.25, n)));
    world.spawn_batch((0..count).map(ab));
    world.spawn_batch((0..count).map(move |n| (ab(n), C(at(0.5, n)))));
    world.spawn_batch((0..count).map(move |n| (ab(n), C(at(0.5, n)), D(at(0.75, n)))));
    world.spawn_batch((0..count).map(move |n| (ab(n), C(at(0.5, n)), E(at(0.125, n)))));
    world
}

macro_rules! swap {
    ($left:ident, $right:ident) => {
        |mut query: Query<(&mut $left, &mut $right)>| {
            for (mut left, mut right) in query.contiguous_iter_mut().expect(DENSE) {
                let right = right.bypass_change_detection();
                let pairs = left.bypass_change_detection().iter_mut().zip(right);
                pairs.for_each(|(left, right)| std::mem::swap(&mut left.0, &mut right.0));
            }
        }
    };
}

fn schedule(scale: Scale) -> Box<dyn Case> {
    let mut schedule = Schedule::default();
    schedule.set_executor(SingleThreadedExecutor::new());
    schedule.add_systems((swap!(A, B), swap!(C, D), swap!(C, E)));
    case(
        groups(scale.of(ENTITIES)),
        move |world| schedule.run(world),
        |world| {
            let mut digest = Digest::new();
            let mut query = world.query::<(&A, &B, Option<&C>, Option<&D>, Option<&E>)>();
            for (a, b, c, d, e) in query.iter(world) {
                let row = [Some(a.0), Some(b.0), c.map(|c| c.0), d.map(|d| d.0), e.map(|e| e.0)];
                digest.add(row.into_iter().flatten().map(|value| u64::from(value.to_bits())));
            }
            digest.finish()
        },
    )
}

/// What is added and removed, in either storage.
trait Added: Component<Mutability = Mutable> {
    fn new(value: f32) -> Self;
    fn value(&self) -> f32;
}

impl Added for B {
    fn new(value: f32) -> Self {
        Self(value)
    }

    fn value(&self) -> f32 {
        self.0
    }
}

impl Added for SparseB {
    fn new(value: f32) -> Self {
        Self(value)
    }

    fn value(&self) -> f32 {
        self.0
    }
}

fn add<T: Added>(world: &mut World, entities: &[Entity]) {
    for (n, entity) in entities.iter().enumerate() {
        world.entity_mut(*entity).insert(T::new(n as f32));
    }
}

fn remove<T: Added>(world: &mut World, entities: &[Entity]) {
    for entity in entities {
        world.entity_mut(*entity).remove::<T>();
    }
}

fn add_remove<T: Added>(scale: Scale) -> Box<dyn Case> {
    let mut world = World::new();
    let entities: Vec<Entity> =
        (0..scale.of(ENTITIES)).map(|n| world.spawn(A(n as f32)).id()).collect();
    case(
        (world, entities),
        |(world, entities)| {
            add::<T>(world, entities);
            remove::<T>(world, entities);
        },
        |(world, entities)| {
            let mut digest = Digest::new();
            world.query::<&A>().iter(world).for_each(|a| digest.add_f32(&[&[a.0]]));
            add::<T>(world, entities);
            let mut query = world.query::<(&A, &T)>();
            query.iter(world).for_each(|(a, b)| digest.add_f32(&[&[a.0, b.value()]]));
            remove::<T>(world, entities);
            digest.finish()
        },
    )
}

fn random_get(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let mut world = World::new();
    let entities: Vec<Entity> = (0..count).map(|n| world.spawn(bundle(n)).id()).collect();
    let entities: Vec<Entity> = order(count).iter().map(|&n| entities[n as usize]).collect();
    case(
        with_query::<&mut Position>(world),
        move |(world, query)| {
            let mut query = query.query_mut(world);
            for &entity in &entities {
                let mut position = query.get_mut(entity).expect(ALIVE);
                position.bypass_change_detection().0[0] += 1.0;
            }
        },
        |(world, _)| digest(world),
    )
}

fn churn(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let mut world = World::new();
    let mut entities: Vec<Entity> = (0..count).map(|n| world.spawn(bundle(n)).id()).collect();
    let (order, mut spawned) = (order(count), count);
    case(
        world,
        move |world| {
            for &n in &order {
                let entity = &mut entities[n as usize];
                assert!(world.despawn(*entity), "{ALIVE}");
                *entity = world.spawn(bundle(spawned)).id();
                spawned += 1;
            }
        },
        digest,
    )
}

fn save<C: Codec>(world: &World, query: &mut QueryState<All>, bytes: &mut Vec<u8>) {
    let rows = query.iter(world);
    let mut encoder = C::begin(bytes, rows.len());
    rows.for_each(|(t, p, r, v)| encoder.push((&t.0, &p.0, &r.0, &v.0)));
}

fn load<C: Codec>(bytes: &[u8]) -> World {
    let mut world = World::new();
    world.spawn_batch(C::decode(bytes).map(|(transform, position, rotation, velocity)| {
        (Transform(transform), Position(position), Rotation(rotation), Velocity(velocity))
    }));
    world
}

fn serialise<C: Codec>(scale: Scale) -> Box<dyn Case> {
    let (world, query) = with_query::<All>(bodies(scale.of(SAVED_ENTITIES)));
    case(
        (world, query, Vec::new()),
        |(world, query, bytes)| save::<C>(world, query, bytes),
        |(_, _, bytes)| digest(&mut load::<C>(bytes)),
    )
}

fn restore<C: Codec>(scale: Scale) -> Box<dyn Case> {
    let (world, mut query) = with_query::<All>(bodies(scale.of(SAVED_ENTITIES)));
    let mut bytes = Vec::new();
    save::<C>(&world, &mut query, &mut bytes);
    case(World::new(), move |world| *world = load::<C>(&bytes), digest)
}

fn empty_system(_: Scale) -> Box<dyn Case> {
    let mut schedule = Schedule::default();
    schedule.set_executor(SingleThreadedExecutor::new());
    schedule.add_systems(|| {});
    case((black_box(schedule), World::new()), |(schedule, world)| schedule.run(world), |_| 0)
}
