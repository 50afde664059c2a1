//! The suite in sparsey: groups where two components are walked together, views for random access.

use bench_codec::{Codec, Encode, Fixed, Serde};
use bench_harness::suite::{
    ENTITIES, ENTITIES_PER_LETTER, HEAVY_ENTITIES, SAVED_ENTITIES, advance_all, body, compute,
    digest_body, order,
};
use bench_harness::{Case, Digest, Library, Scale, case, for_letters, suite_components};
use bytemuck::{Pod, Zeroable};
use sparsey::world::WorldBuilder;
use sparsey::{Entity, World};

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

#[inline]
fn bundle(n: usize) -> Bundle {
    let (transform, position, rotation, velocity) = body(n);
    (Transform(transform), Position(position), Rotation(rotation), Velocity(velocity))
}

/// A world that knows the components of a body.
fn builder() -> WorldBuilder {
    let mut builder = World::builder();
    builder.register::<Transform>().register::<Position>();
    builder.register::<Rotation>().register::<Velocity>();
    builder
}

fn bodies(count: usize) -> World {
    let mut world = builder().build();
    world.extend((0..count).map(bundle));
    world
}

fn digest(world: &mut World) -> u64 {
    let mut digest = Digest::new();
    world.for_each::<All>(|(t, p, r, v)| digest_body(&mut digest, &t.0, &p.0, &r.0, &v.0));
    digest.finish()
}

fn insert_batch(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    case(World::default(), move |world| *world = bodies(count), digest)
}

fn insert(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    case(
        World::default(),
        move |world| {
            *world = builder().build();
            for n in 0..count {
                world.create(bundle(n));
            }
        },
        digest,
    )
}

fn iterate(scale: Scale) -> Box<dyn Case> {
    let mut world = builder().add_group::<(Position, Velocity)>().build();
    world.extend((0..scale.of(ENTITIES)).map(bundle));
    case(
        world,
        |world| {
            let mut query = world.query_all::<(&mut Position, &Velocity)>();
            let (positions, velocities) = query.slice().expect("they are a group");
            advance_all(positions, velocities);
        },
        digest,
    )
}

fn iterate_fragments(_: Scale) -> Box<dyn Case> {
    let mut builder = World::builder();
    builder.register::<Data>();
    macro_rules! register {
        ($($n:literal)+) => { $(builder.register::<Letter<$n>>();)+ };
    }
    for_letters!(register);
    let mut world = builder.build();
    macro_rules! spawn {
        ($($n:literal)+) => {
            $(world.extend((0..ENTITIES_PER_LETTER).map(|_| (Letter::<$n>(0.0), Data(1.0))));)+
        };
    }
    for_letters!(spawn);
    case(
        world,
        |world| {
            let mut data = world.borrow_mut::<Data>();
            data.as_mut_slice().iter_mut().for_each(|data| data.0 *= 2.0);
        },
        |world| {
            let mut digest = Digest::new();
            world.for_each::<&Data>(|data| digest.add_f32(&[&[data.0]]));
            digest.finish()
        },
    )
}

fn heavy(scale: Scale) -> Box<dyn Case> {
    case(
        bodies(scale.of(HEAVY_ENTITIES)),
        |world| {
            world.for_each::<(&mut Transform, &mut Position)>(|(t, p)| compute(&mut t.0, &mut p.0));
        },
        digest,
    )
}

/// Groups must not overlap, so C can be in one with D or with E, and not in both.
fn groups(count: usize) -> World {
    let mut builder = World::builder();
    builder.add_group::<(A, B)>().add_group::<(C, D)>().register::<E>();
    let mut world = builder.build();
    let at = |first: f32, n: usize| first + n as f32;
    let ab = |n| (A(at(0.0, n)), B(at(0.25, n)));
    world.extend((0..count).map(ab));
    world.extend((0..count).map(|n| (ab(n).0, ab(n).1, C(at(0.5, n)))));
    world.extend((0..count).map(|n| (ab(n).0, ab(n).1, C(at(0.5, n)), D(at(0.75, n)))));
    world.extend((0..count).map(|n| (ab(n).0, ab(n).1, C(at(0.5, n)), E(at(0.125, n)))));
    world
}

macro_rules! swap {
    ($left:ident, $right:ident) => {
        |world: &World| {
            let mut query = world.query_all::<(&mut $left, &mut $right)>();
            let swap = |(left, right): (&mut $left, &mut $right)| {
                std::mem::swap(&mut left.0, &mut right.0);
            };
            match query.slice() {
                Some((left, right)) => left.iter_mut().zip(right).for_each(swap),
                None => query.for_each(swap),
            }
        }
    };
}

/// sparsey has no schedule: its users keep a list of functions.
fn schedule(scale: Scale) -> Box<dyn Case> {
    let systems: [fn(&World); 3] = [swap!(A, B), swap!(C, D), swap!(C, E)];
    case(
        groups(scale.of(ENTITIES)),
        move |world| systems.iter().for_each(|system| system(world)),
        |world| {
            let mut digest = Digest::new();
            type All<'a> = (&'a A, &'a B, Option<&'a C>, Option<&'a D>, Option<&'a E>);
            world.for_each::<All>(|(a, b, c, d, e)| {
                let row = [Some(a.0), Some(b.0), c.map(|c| c.0), d.map(|d| d.0), e.map(|e| e.0)];
                digest.add(row.into_iter().flatten().map(|value| u64::from(value.to_bits())));
            });
            digest.finish()
        },
    )
}

fn add(world: &mut World, entities: &[Entity]) {
    for (n, entity) in entities.iter().enumerate() {
        assert!(world.insert(*entity, (B(n as f32),)), "a living entity");
    }
}

fn remove(world: &mut World, entities: &[Entity]) {
    for entity in entities {
        world.delete::<(B,)>(*entity);
    }
}

fn add_remove(scale: Scale) -> Box<dyn Case> {
    let mut builder = World::builder();
    builder.register::<A>().register::<B>();
    let mut world = builder.build();
    let entities = world.extend((0..scale.of(ENTITIES)).map(|n| (A(n as f32),))).to_vec();
    case(
        (world, entities),
        |(world, entities)| {
            add(world, entities);
            remove(world, entities);
        },
        |(world, entities)| {
            let mut digest = Digest::new();
            world.for_each::<&A>(|a| digest.add_f32(&[&[a.0]]));
            add(world, entities);
            world.for_each::<(&A, &B)>(|(a, b)| digest.add_f32(&[&[a.0, b.0]]));
            remove(world, entities);
            digest.finish()
        },
    )
}

fn random_get(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let mut world = builder().build();
    let entities = world.extend((0..count).map(bundle)).to_vec();
    let entities: Vec<Entity> = order(count).iter().map(|&n| entities[n as usize]).collect();
    case(
        world,
        move |world| {
            let mut positions = world.borrow_mut::<Position>();
            for &entity in &entities {
                positions[entity].0[0] += 1.0;
            }
        },
        digest,
    )
}

fn churn(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let mut world = builder().build();
    let mut entities = world.extend((0..count).map(bundle)).to_vec();
    let (order, mut spawned) = (order(count), count);
    case(
        world,
        move |world| {
            for &n in &order {
                let entity = &mut entities[n as usize];
                assert!(world.destroy(*entity), "a living entity");
                *entity = world.create(bundle(spawned));
                spawned += 1;
            }
        },
        digest,
    )
}

fn save<C: Codec>(world: &World, bytes: &mut Vec<u8>) {
    let mut encoder = C::begin(bytes, world.entities().len());
    world.for_each::<All>(|(t, p, r, v)| encoder.push((&t.0, &p.0, &r.0, &v.0)));
}

fn load<C: Codec>(bytes: &[u8]) -> World {
    let mut world = builder().build();
    world.extend(C::decode(bytes).map(|(transform, position, rotation, velocity)| {
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
    save::<C>(&bodies(scale.of(SAVED_ENTITIES)), &mut bytes);
    case(World::default(), move |world| *world = load::<C>(&bytes), digest)
}
