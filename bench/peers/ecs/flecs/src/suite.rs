//! The suite in flecs, through its Rust interface: entities in bulk, queries that are cached, systems in the pipeline.
//!
//! A world of flecs takes milliseconds to make, because it sets up its modules. Where other libraries make a world for each
//! run, this adapter keeps its own and deletes the entities, so that the set-up is not what is measured.

use bench_codec::{Codec, Encode, Fixed, Serde};
use bench_harness::suite::{
    ENTITIES, ENTITIES_PER_LETTER, HEAVY_ENTITIES, SAVED_ENTITIES, advance, body, compute,
    digest_body, order,
};
use bench_harness::{Case, Digest, Library, Scale, case, for_letters, suite_components};
use flecs_ecs::prelude::*;

suite_components!([#[derive(Component, Clone, Copy, Debug)]]);

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
        .with("empty_system", empty_system)
}

type All = (&'static Transform, &'static Position, &'static Rotation, &'static Velocity);

/// The columns of a batch, which flecs takes as slices.
#[derive(Default)]
struct Columns {
    transforms: Vec<Transform>,
    positions: Vec<Position>,
    rotations: Vec<Rotation>,
    velocities: Vec<Velocity>,
}

impl Columns {
    fn fill(&mut self, count: usize) {
        self.transforms.clear();
        self.positions.clear();
        self.rotations.clear();
        self.velocities.clear();
        self.transforms.extend((0..count).map(|n| Transform(body(n).0)));
        self.positions.extend((0..count).map(|n| Position(body(n).1)));
        self.rotations.extend((0..count).map(|n| Rotation(body(n).2)));
        self.velocities.extend((0..count).map(|n| Velocity(body(n).3)));
    }

    fn spawn(&self, world: &World) -> Vec<Entity> {
        world
            .entity_bulk(self.positions.len() as u32)
            .set(&self.transforms)
            .set(&self.positions)
            .set(&self.rotations)
            .set(&self.velocities)
            .build()
    }
}

fn bodies(count: usize) -> (World, Vec<Entity>) {
    let world = World::new();
    let mut columns = Columns::default();
    columns.fill(count);
    let entities = columns.spawn(&world);
    (world, entities)
}

fn digest(world: &World) -> u64 {
    let mut digest = Digest::new();
    world.new_query::<All>().each(|(t, p, r, v)| {
        digest_body(&mut digest, &t.0, &p.0, &r.0, &v.0);
    });
    digest.finish()
}

fn insert_batch(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    case(
        (World::new(), Columns::default()),
        move |(world, columns)| {
            world.delete_entities_with(id::<Transform>());
            columns.fill(count);
            columns.spawn(world);
        },
        |(world, _)| digest(world),
    )
}

fn spawn(world: &World, n: usize) -> Entity {
    let (transform, position, rotation, velocity) = body(n);
    let entities = world
        .entity_bulk(1)
        .set(&[Transform(transform)])
        .set(&[Position(position)])
        .set(&[Rotation(rotation)])
        .set(&[Velocity(velocity)])
        .build();
    entities[0]
}

fn insert(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    case(
        World::new(),
        move |world| {
            world.delete_entities_with(id::<Transform>());
            for n in 0..count {
                spawn(world, n);
            }
        },
        |world| digest(world),
    )
}

fn iterate(scale: Scale) -> Box<dyn Case> {
    let (world, _) = bodies(scale.of(ENTITIES));
    let query = world.new_query::<(&mut Position, &Velocity)>();
    case(
        (query, world),
        |(query, _)| query.each(|(position, velocity)| advance(&mut position.0, &velocity.0)),
        |(_, world)| digest(world),
    )
}

fn iterate_fragments(_: Scale) -> Box<dyn Case> {
    let world = World::new();
    macro_rules! spawn {
        ($($n:literal)+) => {
            $(for _ in 0..ENTITIES_PER_LETTER {
                world.entity().set(Letter::<$n>(0.0)).set(Data(1.0));
            })+
        };
    }
    for_letters!(spawn);
    let query = world.query::<&mut Data>().set_cached().build();
    case(
        (query, world),
        |(query, _)| query.each(|data| data.0 *= 2.0),
        |(_, world)| {
            let mut digest = Digest::new();
            world.new_query::<&Data>().each(|data| digest.add_f32(&[&[data.0]]));
            digest.finish()
        },
    )
}

fn heavy(scale: Scale) -> Box<dyn Case> {
    let (world, _) = bodies(scale.of(HEAVY_ENTITIES));
    let query = world.new_query::<(&mut Transform, &mut Position)>();
    case(
        (query, world),
        |(query, _)| query.each(|(t, p)| compute(&mut t.0, &mut p.0)),
        |(_, world)| digest(world),
    )
}

fn groups(count: usize) -> World {
    let world = World::new();
    let at = |first: f32| move |n: usize| first + n as f32;
    let a: Vec<A> = (0..count).map(at(0.0)).map(A).collect();
    let b: Vec<B> = (0..count).map(at(0.25)).map(B).collect();
    let c: Vec<C> = (0..count).map(at(0.5)).map(C).collect();
    let d: Vec<D> = (0..count).map(at(0.75)).map(D).collect();
    let e: Vec<E> = (0..count).map(at(0.125)).map(E).collect();
    let count = count as u32;
    world.entity_bulk(count).set(&a).set(&b).build();
    world.entity_bulk(count).set(&a).set(&b).set(&c).build();
    world.entity_bulk(count).set(&a).set(&b).set(&c).set(&d).build();
    world.entity_bulk(count).set(&a).set(&b).set(&c).set(&e).build();
    world
}

macro_rules! add_swap {
    ($world:ident, $left:ident, $right:ident) => {
        $world.system::<(&mut $left, &mut $right)>().each(|(left, right)| {
            std::mem::swap(&mut left.0, &mut right.0);
        })
    };
}

fn schedule(scale: Scale) -> Box<dyn Case> {
    let world = groups(scale.of(ENTITIES));
    add_swap!(world, A, B);
    add_swap!(world, C, D);
    add_swap!(world, C, E);
    case(
        world,
        |world| {
            world.progress();
        },
        |world| {
            let mut digest = Digest::new();
            type All = (
                &'static A,
                &'static B,
                Option<&'static C>,
                Option<&'static D>,
                Option<&'static E>,
            );
            world.new_query::<All>().each(|(a, b, c, d, e)| {
                let row = [Some(a.0), Some(b.0), c.map(|c| c.0), d.map(|d| d.0), e.map(|e| e.0)];
                digest.add(row.into_iter().flatten().map(|value| u64::from(value.to_bits())));
            });
            digest.finish()
        },
    )
}

fn add(world: &World, entities: &[Entity]) {
    for (n, entity) in entities.iter().enumerate() {
        world.entity_from_id(*entity).set(B(n as f32));
    }
}

fn remove(world: &World, entities: &[Entity]) {
    for entity in entities {
        world.entity_from_id(*entity).remove(id::<B>());
    }
}

fn add_remove(scale: Scale) -> Box<dyn Case> {
    let world = World::new();
    let a: Vec<A> = (0..scale.of(ENTITIES)).map(|n| A(n as f32)).collect();
    let entities = world.entity_bulk(a.len() as u32).set(&a).build();
    case(
        (world, entities),
        |(world, entities)| {
            add(world, entities);
            remove(world, entities);
        },
        |(world, entities)| {
            let mut digest = Digest::new();
            world.new_query::<&A>().each(|a| digest.add_f32(&[&[a.0]]));
            add(world, entities);
            world.new_query::<(&A, &B)>().each(|(a, b)| digest.add_f32(&[&[a.0, b.0]]));
            remove(world, entities);
            digest.finish()
        },
    )
}

fn random_get(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let (world, entities) = bodies(count);
    let entities: Vec<Entity> = order(count).iter().map(|&n| entities[n as usize]).collect();
    case(
        world,
        move |world| {
            for &entity in &entities {
                world.entity_from_id(entity).get::<&mut Position>(|position| position.0[0] += 1.0);
            }
        },
        |world| digest(world),
    )
}

fn churn(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let (world, mut entities) = bodies(count);
    let (order, mut spawned) = (order(count), count);
    case(
        world,
        move |world| {
            for &n in &order {
                let entity = &mut entities[n as usize];
                world.entity_from_id(*entity).destruct();
                *entity = spawn(world, spawned);
                spawned += 1;
            }
        },
        |world| digest(world),
    )
}

fn save<C: Codec>(query: &Query<All>, bytes: &mut Vec<u8>) {
    let mut encoder = C::begin(bytes, query.count() as usize);
    query.each(|(t, p, r, v)| encoder.push((&t.0, &p.0, &r.0, &v.0)));
}

fn load<C: Codec>(world: &World, columns: &mut Columns, bytes: &[u8]) {
    columns.fill(0);
    for (transform, position, rotation, velocity) in C::decode(bytes) {
        columns.transforms.push(Transform(transform));
        columns.positions.push(Position(position));
        columns.rotations.push(Rotation(rotation));
        columns.velocities.push(Velocity(velocity));
    }
    columns.spawn(world);
}

fn serialise<C: Codec>(scale: Scale) -> Box<dyn Case> {
    let (world, _) = bodies(scale.of(SAVED_ENTITIES));
    let query = world.new_query::<All>();
    case(
        (query, world, Vec::new()),
        |(query, _, bytes)| save::<C>(query, bytes),
        |(_, _, bytes)| {
            let restored = World::new();
            load::<C>(&restored, &mut Columns::default(), bytes);
            digest(&restored)
        },
    )
}

fn restore<C: Codec>(scale: Scale) -> Box<dyn Case> {
    let (world, _) = bodies(scale.of(SAVED_ENTITIES));
    let mut bytes = Vec::new();
    save::<C>(&world.new_query::<All>(), &mut bytes);
    case(
        (world, Columns::default()),
        move |(world, columns)| {
            world.delete_entities_with(id::<Transform>());
            load::<C>(world, columns, &bytes);
        },
        |(world, _)| digest(world),
    )
}

fn empty_system(_: Scale) -> Box<dyn Case> {
    let world = World::new();
    world.system::<()>().run(|_| {});
    case(
        world,
        |world| {
            world.progress();
        },
        |_| 0,
    )
}
