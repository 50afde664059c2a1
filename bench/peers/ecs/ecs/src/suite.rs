//! The suite in `ecs`: prepared queries, chunks where a loop vectorises, views for random access.

use std::hint::black_box;

use bench_harness::suite::{
    ENTITIES, ENTITIES_PER_LETTER, HEAVY_ENTITIES, SAVED_ENTITIES, advance_all, body, compute,
    digest_body, double_all, order,
};
use bench_harness::{Case, Digest, Library, Scale, case, for_letters, suite_components};
use bytemuck::{Pod, Zeroable};
use ecs::{Component, Entity, Part, Query, Schedule, ScheduleBuilder, Snapshot, World};

suite_components!([#[derive(Clone, Copy, Pod, Zeroable)]]);

macro_rules! components {
    ($($name:ident = $id:literal),+) => {
        $(impl Component for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
        })+
    };
}

components!(
    Transform = 0,
    Position = 1,
    Rotation = 2,
    Velocity = 3,
    A = 4,
    B = 5,
    C = 6,
    D = 7,
    E = 8,
    Data = 9
);

impl<const N: usize> Component for Letter<N> {
    const ID: u16 = 32 + N as u16;
    const NAME: &'static str = "Letter";
}

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
        .with("serialise", serialise)
        .with("restore", restore)
        .with_form("serialise", "snapshot", take_snapshot)
        .with_form("restore", "snapshot", restore_snapshot)
        .with("empty_system", empty_system)
}

type Bundle = (Transform, Position, Rotation, Velocity);

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
    Query::<(&Transform, &Position, &Rotation, &Velocity)>::new()
        .each(world, |(t, p, r, v)| digest_body(&mut digest, &t.0, &p.0, &r.0, &v.0));
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

fn iterate(scale: Scale) -> Box<dyn Case> {
    let mut query = Query::<(&mut Position, &Velocity)>::new();
    case(
        bodies(scale.of(ENTITIES)),
        move |world| {
            query.chunks(world, |chunk| advance_all(chunk.slices.0, chunk.slices.1));
        },
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
    let mut query = Query::<(&mut Data,)>::new();
    case(
        world,
        move |world| {
            query.chunks(world, |chunk| double_all(chunk.slices.0));
        },
        |world| {
            let mut digest = Digest::new();
            Query::<(&Data,)>::new().each(world, |(data,)| digest.add_f32(&[&[data.0]]));
            digest.finish()
        },
    )
}

fn heavy(scale: Scale) -> Box<dyn Case> {
    let mut query = Query::<(&mut Transform, &mut Position)>::new();
    case(
        bodies(scale.of(HEAVY_ENTITIES)),
        move |world| query.each(world, |(t, p)| compute(&mut t.0, &mut p.0)),
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
        |part: &mut Part<'_>, query: &mut Query<(&mut $left, &mut $right)>| {
            query.chunks(part, |chunk| {
                let (left, right) = chunk.slices;
                left.iter_mut().zip(right).for_each(|(l, r)| std::mem::swap(&mut l.0, &mut r.0));
            });
        }
    };
}

fn schedule(scale: Scale) -> Box<dyn Case> {
    let mut builder = ScheduleBuilder::new();
    builder.add("swap A and B", swap!(A, B));
    builder.add("swap C and D", swap!(C, D));
    builder.add("swap C and E", swap!(C, E)).after("swap C and D");
    let mut schedule: Schedule = builder.build().expect("the order is said");
    case(
        groups(scale.of(ENTITIES)),
        move |world| schedule.run(world, &mut (), 0),
        |world| {
            let mut digest = Digest::new();
            type All = (
                &'static A,
                &'static B,
                Option<&'static C>,
                Option<&'static D>,
                Option<&'static E>,
            );
            Query::<All>::new().each(world, |(a, b, c, d, e)| {
                let row = [Some(a.0), Some(b.0), c.map(|c| c.0), d.map(|d| d.0), e.map(|e| e.0)];
                digest.add(row.into_iter().flatten().map(|value| u64::from(value.to_bits())));
            });
            digest.finish()
        },
    )
}

fn add(world: &mut World, entities: &[Entity]) {
    for (n, entity) in entities.iter().enumerate() {
        world.insert(*entity, (B(n as f32),)).expect("a living entity");
    }
}

fn remove(world: &mut World, entities: &[Entity]) {
    for entity in entities {
        world.remove::<B>(*entity).expect("an entity with B");
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
            Query::<(&A,)>::new().each(world, |(a,)| digest.add_f32(&[&[a.0]]));
            add(world, entities);
            Query::<(&A, &B)>::new().each(world, |(a, b)| digest.add_f32(&[&[a.0, b.0]]));
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
    let mut query = Query::<(&mut Position,)>::new();
    case(
        world,
        move |world| {
            let mut view = query.view(world);
            for &entity in &entities {
                view.entity(entity).expect("a living entity").0.0[0] += 1.0;
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
                world.despawn(*entity).expect("a living entity");
                *entity = world.spawn(bundle(spawned));
                spawned += 1;
            }
        },
        digest,
    )
}

/// The columns of all archetypes, each behind its id and its length.
fn save(world: &World, bytes: &mut Vec<u8>) {
    bytes.clear();
    for archetype in world.archetypes() {
        bytes.extend_from_slice(&(archetype.len() as u64).to_ne_bytes());
        for column in archetype.columns() {
            bytes.extend_from_slice(&u64::from(column.id()).to_ne_bytes());
            bytes.extend_from_slice(column.bytes());
        }
    }
}

fn load(mut bytes: &[u8]) -> World {
    let rows = u64::from_ne_bytes(*take(&mut bytes)) as usize;
    let transforms = load_column::<Transform>(&mut bytes, rows);
    let positions = load_column::<Position>(&mut bytes, rows);
    let rotations = load_column::<Rotation>(&mut bytes, rows);
    let velocities = load_column::<Velocity>(&mut bytes, rows);
    let mut world = World::new();
    world.spawn_columns::<Bundle>((transforms, positions, rotations, velocities));
    world
}

fn load_column<'b, T: Component>(bytes: &mut &'b [u8], rows: usize) -> &'b [T] {
    assert_eq!(u64::from_ne_bytes(*take(bytes)), u64::from(T::ID), "columns ascend by id");
    let column = bytes.split_off(..rows * size_of::<T>()).expect("all rows of the column");
    bytemuck::cast_slice(column)
}

fn take<'b>(bytes: &mut &'b [u8]) -> &'b [u8; 8] {
    let (taken, rest) = bytes.split_first_chunk().expect("a number");
    *bytes = rest;
    taken
}

fn serialise(scale: Scale) -> Box<dyn Case> {
    case(
        (bodies(scale.of(SAVED_ENTITIES)), Vec::new()),
        |(world, bytes)| save(world, bytes),
        |(_, bytes)| digest(&mut load(bytes)),
    )
}

fn restore(scale: Scale) -> Box<dyn Case> {
    let mut bytes = Vec::new();
    save(&bodies(scale.of(SAVED_ENTITIES)), &mut bytes);
    case(World::new(), move |world| *world = load(&bytes), digest)
}

/// With the names of the entities, schema and checksum, into memory that is used again.
fn take_snapshot(scale: Scale) -> Box<dyn Case> {
    case(
        (bodies(scale.of(SAVED_ENTITIES)), Snapshot::default()),
        |(world, snapshot)| {
            snapshot.take(world);
        },
        |(_, snapshot)| {
            let mut world = bodies(0);
            world.restore(snapshot.bytes().expect("a whole snapshot")).expect("its own bytes");
            digest(&mut world)
        },
    )
}

fn restore_snapshot(scale: Scale) -> Box<dyn Case> {
    let mut snapshot = Snapshot::default();
    let bytes = snapshot.take(&bodies(scale.of(SAVED_ENTITIES))).to_vec();
    case(
        World::new(),
        move |world| {
            *world = World::new();
            world.register::<Bundle>();
            world.restore(&bytes).expect("bytes of the same schema");
        },
        digest,
    )
}

fn empty_system(_: Scale) -> Box<dyn Case> {
    let mut builder = ScheduleBuilder::new();
    builder.add("empty", |_: &mut Part<'_>| {});
    let schedule: Schedule = builder.build().expect("one system has an order");
    case(
        (black_box(schedule), World::new()),
        |(schedule, world)| schedule.run(world, &mut (), 0),
        |_| 0,
    )
}
