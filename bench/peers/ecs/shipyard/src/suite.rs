//! The suite in shipyard: bulk insertion, views that are borrowed once, a workload for the schedule.

use bench_codec::{Codec, Encode, Fixed, Serde};
use bench_harness::suite::{
    ENTITIES, ENTITIES_PER_LETTER, HEAVY_ENTITIES, SAVED_ENTITIES, advance, body, compute,
    digest_body, order,
};
use bench_harness::{Case, Digest, Library, Scale, case, for_letters, suite_components};
use shipyard::{
    Component, Delete, EntitiesView, EntitiesViewMut, EntityId, Get, IntoIter, View, ViewMut,
    Workload, World,
};

suite_components!([#[derive(Component, Clone, Copy)]]);

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

type Bundle = (Transform, Position, Rotation, Velocity);
type All<'v> = (View<'v, Transform>, View<'v, Position>, View<'v, Rotation>, View<'v, Velocity>);
type AllMut<'v> =
    (ViewMut<'v, Transform>, ViewMut<'v, Position>, ViewMut<'v, Rotation>, ViewMut<'v, Velocity>);

const FREE: &str = "nobody else borrows";
const ALIVE: &str = "a living entity with the component";

#[inline]
fn bundle(n: usize) -> Bundle {
    let (transform, position, rotation, velocity) = body(n);
    (Transform(transform), Position(position), Rotation(rotation), Velocity(velocity))
}

fn bodies(count: usize) -> World {
    let mut world = World::new();
    world.bulk_add_entity((0..count).map(bundle));
    world
}

fn digest(world: &mut World) -> u64 {
    let mut digest = Digest::new();
    let (transforms, positions, rotations, velocities) = world.borrow::<All>().expect(FREE);
    for (t, p, r, v) in (&transforms, &positions, &rotations, &velocities).iter() {
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
            world.run(|mut entities: EntitiesViewMut, all: AllMut| {
                let (mut t, mut p, mut r, mut v) = all;
                for n in 0..count {
                    entities.add_entity((&mut t, &mut p, &mut r, &mut v), bundle(n));
                }
            });
        },
        digest,
    )
}

fn iterate(scale: Scale) -> Box<dyn Case> {
    case(
        bodies(scale.of(ENTITIES)),
        |world| {
            world.run(|mut positions: ViewMut<Position>, velocities: View<Velocity>| {
                (&mut positions, &velocities).iter().for_each(|(p, v)| advance(&mut p.0, &v.0));
            });
        },
        digest,
    )
}

fn iterate_fragments(_: Scale) -> Box<dyn Case> {
    let mut world = World::new();
    macro_rules! spawn {
        ($($n:literal)+) => {
            $(world.bulk_add_entity(
                (0..ENTITIES_PER_LETTER).map(|_| (Letter::<$n>(0.0), Data(1.0))),
            );)+
        };
    }
    for_letters!(spawn);
    case(
        world,
        |world| {
            world.run(|mut data: ViewMut<Data>| {
                (&mut data).iter().for_each(|data| data.0 *= 2.0);
            });
        },
        |world| {
            let mut digest = Digest::new();
            world.run(|data: View<Data>| {
                data.iter().for_each(|data| digest.add_f32(&[&[data.0]]));
            });
            digest.finish()
        },
    )
}

fn heavy(scale: Scale) -> Box<dyn Case> {
    case(
        bodies(scale.of(HEAVY_ENTITIES)),
        |world| {
            world.run(|mut transforms: ViewMut<Transform>, mut positions: ViewMut<Position>| {
                let rows = (&mut transforms, &mut positions).iter();
                rows.for_each(|(t, p)| compute(&mut t.0, &mut p.0));
            });
        },
        digest,
    )
}

fn groups(count: usize) -> World {
    let mut world = World::new();
    let at = |first: f32, n: usize| first + n as f32;
    let ab = |n| (A(at(0.0, n)), B(at(0.25, n)));
    world.bulk_add_entity((0..count).map(ab));
    world.bulk_add_entity((0..count).map(|n| (ab(n).0, ab(n).1, C(at(0.5, n)))));
    world.bulk_add_entity((0..count).map(|n| (ab(n).0, ab(n).1, C(at(0.5, n)), D(at(0.75, n)))));
    world.bulk_add_entity((0..count).map(|n| (ab(n).0, ab(n).1, C(at(0.5, n)), E(at(0.125, n)))));
    world
}

macro_rules! swap {
    ($left:ident, $right:ident) => {
        |mut left: ViewMut<$left>, mut right: ViewMut<$right>| {
            (&mut left, &mut right).iter().for_each(|(left, right)| {
                std::mem::swap(&mut left.0, &mut right.0);
            });
        }
    };
}

fn schedule(scale: Scale) -> Box<dyn Case> {
    let world = groups(scale.of(ENTITIES));
    Workload::new("swaps")
        .with_system(swap!(A, B))
        .with_system(swap!(C, D))
        .with_system(swap!(C, E))
        .add_to_world(&world)
        .expect("a name that is not taken");
    case(
        world,
        |world| world.run_default_workload().expect(FREE),
        |world| {
            let mut digest = Digest::new();
            type All<'v> = (View<'v, A>, View<'v, B>, View<'v, C>, View<'v, D>, View<'v, E>);
            let (a, b, c, d, e) = world.borrow::<All>().expect(FREE);
            for (id, (a, b)) in (&a, &b).iter().with_id() {
                let (c, d, e) = (c.get(id).ok(), d.get(id).ok(), e.get(id).ok());
                let row = [Some(a.0), Some(b.0), c.map(|c| c.0), d.map(|d| d.0), e.map(|e| e.0)];
                digest.add(row.into_iter().flatten().map(|value| u64::from(value.to_bits())));
            }
            digest.finish()
        },
    )
}

fn add(world: &World, ids: &[EntityId]) {
    world.run(|entities: EntitiesView, mut b: ViewMut<B>| {
        for (n, id) in ids.iter().enumerate() {
            entities.add_component(*id, &mut b, B(n as f32));
        }
    });
}

fn remove(world: &World, ids: &[EntityId]) {
    world.run(|mut b: ViewMut<B>| {
        for id in ids {
            assert!(b.delete(*id), "{ALIVE}");
        }
    });
}

fn add_remove(scale: Scale) -> Box<dyn Case> {
    let mut world = World::new();
    let ids: Vec<EntityId> =
        world.bulk_add_entity((0..scale.of(ENTITIES)).map(|n| (A(n as f32),))).collect();
    case(
        (world, ids),
        |(world, ids)| {
            add(world, ids);
            remove(world, ids);
        },
        |(world, ids)| {
            let mut digest = Digest::new();
            world.run(|a: View<A>| a.iter().for_each(|a| digest.add_f32(&[&[a.0]])));
            add(world, ids);
            world.run(|a: View<A>, b: View<B>| {
                (&a, &b).iter().for_each(|(a, b)| digest.add_f32(&[&[a.0, b.0]]));
            });
            remove(world, ids);
            digest.finish()
        },
    )
}

fn random_get(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let mut world = World::new();
    let ids: Vec<EntityId> = world.bulk_add_entity((0..count).map(bundle)).collect();
    let ids: Vec<EntityId> = order(count).iter().map(|&n| ids[n as usize]).collect();
    case(
        world,
        move |world| {
            let mut positions = world.borrow::<ViewMut<Position>>().expect(FREE);
            for &id in &ids {
                (&mut positions).get(id).expect(ALIVE).0[0] += 1.0;
            }
        },
        digest,
    )
}

fn churn(scale: Scale) -> Box<dyn Case> {
    let count = scale.of(ENTITIES);
    let mut world = World::new();
    let mut ids: Vec<EntityId> = world.bulk_add_entity((0..count).map(bundle)).collect();
    let (order, mut spawned) = (order(count), count);
    case(
        world,
        move |world| {
            for &n in &order {
                let id = &mut ids[n as usize];
                assert!(world.delete_entity(*id), "{ALIVE}");
                *id = world.add_entity(bundle(spawned));
                spawned += 1;
            }
        },
        digest,
    )
}

fn save<C: Codec>(world: &World, bytes: &mut Vec<u8>) {
    let (transforms, positions, rotations, velocities) = world.borrow::<All>().expect(FREE);
    let mut encoder = C::begin(bytes, transforms.len());
    for (t, p, r, v) in (&transforms, &positions, &rotations, &velocities).iter() {
        encoder.push((&t.0, &p.0, &r.0, &v.0));
    }
}

fn load<C: Codec>(bytes: &[u8]) -> World {
    let mut world = World::new();
    world.bulk_add_entity(C::decode(bytes).map(|(transform, position, rotation, velocity)| {
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
    case(World::new(), move |world| *world = load::<C>(&bytes), digest)
}

fn empty_system(_: Scale) -> Box<dyn Case> {
    let world = World::new();
    Workload::new("empty")
        .with_system(|| {})
        .add_to_world(&world)
        .expect("a name that is not taken");
    case(world, |world| world.run_default_workload().expect(FREE), |_| 0)
}
