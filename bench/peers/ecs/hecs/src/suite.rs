//! The suite in hecs: columns of archetypes where a loop vectorises, prepared queries, and views for random access.

use bench_codec::{Codec, Encode, Fixed, Serde};
use bench_harness::suite::{
    ENTITIES, ENTITIES_PER_LETTER, HEAVY_ENTITIES, SAVED_ENTITIES, advance_all, body, compute,
    digest_body, order,
};
use bench_harness::{Case, Digest, Library, Scale, case, for_letters, suite_components};
use bytemuck::{Pod, Zeroable};
use hecs::{Archetype, ColumnBatchType, Component, Entity, PreparedQuery, World};

suite_components!([#[derive(Clone, Copy, Pod, Zeroable)]]);

pub(crate) fn with_cases(library: Library) -> Library {
    library
        .with("simple_insert_batch", insert_batch)
        .with("simple_insert", insert)
        .with("simple_iter", iterate)
        .with("fragmented_iter", iterate_fragments)
        .with("heavy_compute", heavy)
        .with("schedule", schedule)
        .with("add_remove", add_remove)
        .with("random_get", random_get)
        .with("churn", churn)
        .with("serialise", serialise::<Serde>)
        .with("restore", restore::<Serde>)
        .with_form("serialise", "rows of fixed width", serialise::<Fixed>)
        .with_form("restore", "rows of fixed width", restore::<Fixed>)
}

type Bundle = (Transform, Position, Rotation, Velocity);
type All = (&'static Transform, &'static Position, &'static Rotation, &'static Velocity);

const ALIVE: &str = "a living entity with the component";

#[inline]
fn bundle(n: usize) -> Bundle {
    let (transform, position, rotation, velocity) = body(n);
    (Transform(transform), Position(position), Rotation(rotation), Velocity(velocity))
}

/// Column by column: the fastest way in.
fn bodies(count: usize) -> World {
    let mut columns = ColumnBatchType::new();
    columns.add_bundle::<Bundle>();
    let batch = columns.into_batch(count as u32);
    fill(&batch, count, |n| Transform(body(n).0));
    fill(&batch, count, |n| Position(body(n).1));
    fill(&batch, count, |n| Rotation(body(n).2));
    fill(&batch, count, |n| Velocity(body(n).3));
    let mut world = World::new();
    world.spawn_column_batch(batch.build().expect("all columns are full"));
    world
}

fn fill<T: Component>(
    batch: &hecs::ColumnBatchBuilder,
    count: usize,
    mut value: impl FnMut(usize) -> T,
) {
    let mut writer = batch.writer::<T>().expect("a column of the batch");
    for n in 0..count {
        assert!(writer.push(value(n)).is_ok(), "the batch has room for {count} rows");
    }
}

fn digest(world: &mut World) -> u64 {
    let mut digest = Digest::new();
    for (t, p, r, v) in world.query_mut::<All>() {
        digest_body(&mut digest, &t.0, &p.0, &r.0, &v.0);
    }
    digest.finish()
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

/// Calls `visit` with two columns of each archetype that has both.
fn columns<L: Component, R: Component>(world: &World, mut visit: impl FnMut(&mut [L], &mut [R])) {
    let both = |archetype: &&Archetype| archetype.has::<L>() && archetype.has::<R>();
    for archetype in world.archetypes().filter(both) {
        let mut left = archetype.get::<&mut L>().expect("the archetype has it");
        let mut right = archetype.get::<&mut R>().expect("the archetype has it");
        visit(&mut left, &mut right);
    }
}

fn iterate(scale: Scale) -> Box<dyn Case> {
    case(
        bodies(scale.of(ENTITIES)),
        |world| columns::<Position, Velocity>(world, |p, v| advance_all(p, v)),
        digest,
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
    let mut query = PreparedQuery::<&mut Data>::new();
    case(
        world,
        move |world| query.query_mut(world).for_each(|data| data.0 *= 2.0),
        |world| {
            let mut digest = Digest::new();
            world.query_mut::<&Data>().into_iter().for_each(|data| digest.add_f32(&[&[data.0]]));
            digest.finish()
        },
    )
}

fn heavy(scale: Scale) -> Box<dyn Case> {
    let mut query = PreparedQuery::<(&mut Transform, &mut Position)>::new();
    case(
        bodies(scale.of(HEAVY_ENTITIES)),
        move |world| query.query_mut(world).for_each(|(t, p)| compute(&mut t.0, &mut p.0)),
        digest,
    )
}

fn groups(count: usize) -> World {
    let mut world = World::new();
    let at = |first: f32, n: usize| first + n as f32;
    let ab = |n| (A(at(0.0, n)), B(at(0.25, n)));
    world.spawn_batch((0..count).map(ab));
    world.spawn_batch((0..count).map(|n| (ab(n).0, ab(n).1, C(at(0.5, n)))));
    world.spawn_batch((0..count).map(|n| (ab(n).0, ab(n).1, C(at(0.5, n)), D(at(0.75, n)))));
    world.spawn_batch((0..count).map(|n| (ab(n).0, ab(n).1, C(at(0.5, n)), E(at(0.125, n)))));
    world
}

macro_rules! swap {
    ($left:ident, $right:ident) => {
        |world: &World| {
            columns::<$left, $right>(world, |left, right| {
                let pairs = left.iter_mut().zip(right);
                pairs.for_each(|(left, right)| std::mem::swap(&mut left.0, &mut right.0));
            });
        }
    };
}

/// hecs has no schedule: its users keep a list of functions.
fn schedule(scale: Scale) -> Box<dyn Case> {
    let systems: [fn(&World); 3] = [swap!(A, B), swap!(C, D), swap!(C, E)];
    case(
        groups(scale.of(ENTITIES)),
        move |world| systems.iter().for_each(|system| system(world)),
        |world| {
            let mut digest = Digest::new();
            type All = (
                &'static A,
                &'static B,
                Option<&'static C>,
                Option<&'static D>,
                Option<&'static E>,
            );
            for (a, b, c, d, e) in world.query_mut::<All>() {
                let row = [Some(a.0), Some(b.0), c.map(|c| c.0), d.map(|d| d.0), e.map(|e| e.0)];
                digest.add(row.into_iter().flatten().map(|value| u64::from(value.to_bits())));
            }
            digest.finish()
        },
    )
}

fn add(world: &mut World, entities: &[Entity]) {
    for (n, entity) in entities.iter().enumerate() {
        world.insert_one(*entity, B(n as f32)).expect(ALIVE);
    }
}

fn remove(world: &mut World, entities: &[Entity]) {
    for entity in entities {
        world.remove_one::<B>(*entity).expect(ALIVE);
    }
}

fn add_remove(scale: Scale) -> Box<dyn Case> {
    let mut world = World::new();
    let entities: Vec<Entity> =
        (0..scale.of(ENTITIES)).map(|n| world.spawn((A(n as f32),))).collect();
    case(
        (world, entities),
        |(world, entities)| {
            add(world, entities);
            remove(world, entities);
        },
        |(world, entities)| {
            let mut digest = Digest::new();
            world.query_mut::<&A>().into_iter().for_each(|a| digest.add_f32(&[&[a.0]]));
            add(world, entities);
            let query = world.query_mut::<(&A, &B)>();
            query.into_iter().for_each(|(a, b)| digest.add_f32(&[&[a.0, b.0]]));
            remove(world, entities);
            digest.finish()
        },
    )
}

fn random_get(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let mut world = World::new();
    let entities: Vec<Entity> = (0..count).map(|n| world.spawn(bundle(n))).collect();
    let entities: Vec<Entity> = order(count).iter().map(|&n| entities[n as usize]).collect();
    case(
        world,
        move |world| {
            let mut view = world.view_mut::<&mut Position>();
            for &entity in &entities {
                view.get_mut(entity).expect(ALIVE).0[0] += 1.0;
            }
        },
        digest,
    )
}

fn churn(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let mut world = World::new();
    let mut entities: Vec<Entity> = (0..count).map(|n| world.spawn(bundle(n))).collect();
    let (order, mut spawned) = (order(count), count);
    case(
        world,
        move |world| {
            for &n in &order {
                let entity = &mut entities[n as usize];
                world.despawn(*entity).expect(ALIVE);
                *entity = world.spawn(bundle(spawned));
                spawned += 1;
            }
        },
        digest,
    )
}

fn save<C: Codec>(world: &mut World, bytes: &mut Vec<u8>) {
    let mut encoder = C::begin(bytes, world.len() as usize);
    let rows = world.query_mut::<All>().into_iter();
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
    case(
        (bodies(scale.of(SAVED_ENTITIES)), Vec::new()),
        |(world, bytes)| save::<C>(world, bytes),
        |(_, bytes)| digest(&mut load::<C>(bytes)),
    )
}

fn restore<C: Codec>(scale: Scale) -> Box<dyn Case> {
    let mut bytes = Vec::new();
    save::<C>(&mut bodies(scale.of(SAVED_ENTITIES)), &mut bytes);
    case(World::new(), move |world| *world = load::<C>(&bytes), digest)
}
