//! Snapshots and hashes: what comes back, what is refused, and what a slice costs the rest.

#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use bytemuck::{Pod, Zeroable};
use ecs::{
    Component, Entity, Progress, RestoreError, Snapshot, Track, World, WorldHash, WriteError,
};

macro_rules! component {
    ($name:ident($value:ty), $id:literal, $track:expr) => {
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
        struct $name($value);
        impl Component for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
            const TRACK: Track = $track;
        }
    };
}

component!(Level(f64), 1, Track::Column);
component!(Key([u8; 20]), 2, Track::None);
component!(Mean(f32), 3, Track::Rows);

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Pump;
impl Component for Pump {
    const ID: u16 = 100;
    const NAME: &'static str = "Pump";
}

fn plant() -> (World, Vec<Entity>) {
    let mut world = World::new();
    let mut names: Vec<Entity> =
        (0..500).map(|n| world.spawn((Level(f64::from(n)), Key([n as u8; 20])))).collect();
    names.extend((0..40).map(|n| world.spawn((Pump, Mean(n as f32)))));
    for n in (0..540).step_by(7) {
        world.despawn(names[n]).unwrap();
    }
    world.insert(names[3], (Mean(9.0), Pump)).unwrap();
    world.reserve_entity();
    (world, names)
}

fn knowing() -> World {
    let mut world = World::new();
    world.register::<(Level, Key, Mean, Pump)>();
    world
}

fn hash(world: &World) -> u64 {
    WorldHash::default().of(world)
}

#[test]
fn restored_world_is_the_same_and_goes_on_the_same() {
    let (mut world, names) = plant();
    let mut snapshot = Snapshot::default();
    let bytes = snapshot.take(&world).to_vec();
    let mut restored = knowing();
    restored.restore(&bytes).unwrap();
    assert_eq!(hash(&restored), hash(&world));
    assert_eq!(restored.len(), world.len());
    for &name in &names {
        assert_eq!(restored.location(name), world.location(name));
        assert_eq!(restored.component::<Level>(name), world.component::<Level>(name));
        assert_eq!(restored.component::<Mean>(name), world.component::<Mean>(name));
    }
    assert_eq!(Snapshot::default().take(&restored), bytes);
    for world in [&mut world, &mut restored] {
        world.despawn(names[10]).unwrap();
        for n in 0..100 {
            world.spawn((Mean(n as f32),));
        }
    }
    assert_eq!(hash(&restored), hash(&world), "names are given out in the same order");
}

#[test]
fn restore_keeps_archetypes_and_marks_every_row() {
    let (world, names) = plant();
    let mut snapshot = Snapshot::default();
    let mut other = knowing();
    other.spawn((Mean(0.0),));
    let cursor = other.add_cursor::<Mean>();
    other.drain_changed::<Mean>(|_| {});
    other.restore(snapshot.take(&world)).unwrap();
    assert!(other.archetypes()[0].is_empty(), "the old archetype is still the first, without rows");
    let mut marked = 0;
    other.drain_changed::<Mean>(|_| marked += 1);
    let mut seen = 0;
    other.drain_cursor(&cursor, |_, _| seen += 1);
    let expected = names.iter().filter(|&&name| world.has::<Mean>(name)).count();
    assert_eq!((marked, seen), (expected, expected));
}

#[test]
fn slices_make_the_same_bytes_as_one_piece() {
    let (world, _) = plant();
    let whole = Snapshot::default().take(&world).to_vec();
    for budget in [1, 100, 1_000, 10_000] {
        let mut snapshot = Snapshot::default();
        let mut polls = 0;
        while snapshot.poll(&world, budget) == Progress::Working {
            assert!(snapshot.bytes().is_none());
            polls += 1;
        }
        assert_eq!(snapshot.bytes().unwrap(), whole);
        assert!(polls >= whole.len() / budget.max(64) / 4, "{polls} slices of {budget} bytes");
    }
}

#[test]
fn free_names_are_copied_within_the_budget() {
    let mut world = World::new();
    let names: Vec<Entity> = (0..10_000).map(|_| world.reserve_entity()).collect();
    names.into_iter().for_each(|name| world.despawn(name).unwrap());
    let mut snapshot = Snapshot::default();
    let mut polls = 0;
    while snapshot.poll(&world, 1_000) == Progress::Working {
        polls += 1;
    }
    // Every byte is copied once and read once for the checksum.
    let bytes = 2 * snapshot.bytes().unwrap().len();
    assert!(polls + 1 >= bytes / 1_100, "{polls} slices for {bytes} bytes");
    assert_eq!(snapshot.bytes().unwrap(), Snapshot::default().take(&world));
}

#[test]
fn structure_that_changes_between_slices_starts_over() {
    let (mut world, names) = plant();
    let mut snapshot = Snapshot::default();
    for _ in 0..3 {
        assert_eq!(snapshot.poll(&world, 2_000), Progress::Working);
    }
    world.component_mut::<Level>(names[1]).unwrap().0 = -1.0;
    assert_eq!(snapshot.poll(&world, 2_000), Progress::Working);
    assert_eq!(snapshot.restarts(), 0, "values may change");
    world.despawn(names[2]).unwrap();
    while snapshot.poll(&world, 2_000) == Progress::Working {}
    assert_eq!(snapshot.restarts(), 1);
    assert_eq!(snapshot.bytes().unwrap(), Snapshot::default().take(&world));
}

#[test]
fn archetype_that_is_made_between_slices_waits_for_the_next_snapshot() {
    let mut world = World::new();
    let tank = world.spawn((Level(1.5),));
    let mut snapshot = Snapshot::default();
    assert_eq!(snapshot.poll(&world, 1), Progress::Working);
    world.reserve::<(Mean,)>(1);
    while snapshot.poll(&world, 1) == Progress::Working {}
    assert_eq!(snapshot.restarts(), 0, "nobody came, went or moved");
    let mut restored = knowing();
    restored.restore(snapshot.bytes().unwrap()).unwrap();
    assert_eq!(restored.component(tank), Some(&Level(1.5)));
    assert_eq!(restored.archetypes().len(), 1);
}

#[test]
fn every_truncation_and_every_flipped_byte_is_refused_and_changes_nothing() {
    let mut world = World::new();
    world.spawn((Level(1.0), Pump));
    world.spawn((Mean(2.0),));
    let gone = world.spawn((Mean(3.0),));
    world.despawn(gone).unwrap();
    let bytes = Snapshot::default().take(&world).to_vec();
    let (mut other, _) = plant();
    other.register::<(Level, Key, Mean, Pump)>();
    let before = hash(&other);
    for len in 0..bytes.len() {
        assert!(other.restore(&bytes[..len]).is_err(), "{len} bytes");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(other.restore(&longer), Err(RestoreError::Length { .. })));
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x10;
        assert!(other.restore(&wrong).is_err(), "byte {at}");
    }
    assert_eq!(hash(&other), before);
    assert_eq!(other.restore(&bytes), Ok(()));
}

#[test]
fn unknown_component_is_named() {
    let (world, _) = plant();
    let mut other = World::new();
    other.register::<(Level, Key, Pump)>();
    let error = other.restore(Snapshot::default().take(&world)).unwrap_err();
    assert_eq!(error, RestoreError::Schema { id: 3 });
}

#[test]
fn hash_that_is_kept_up_to_date_is_that_of_the_whole() {
    let (mut world, names) = plant();
    let mut kept = WorldHash::default();
    let first = kept.of(&world);
    assert_eq!(first, hash(&world));
    world.component_mut::<Level>(names[1]).unwrap().0 = 0.5;
    assert_ne!(kept.of(&world), first);
    world.component_mut::<Key>(names[4]).unwrap().0[0] ^= 1;
    assert_eq!(kept.of(&world), hash(&world), "an untracked column is read each time");
    world.spawn((Level(0.0), Mean(0.0)));
    assert_eq!(kept.of(&world), hash(&world), "an archetype that is new");
    let (other, _) = plant();
    assert_eq!(kept.of(&other), first);
}

#[test]
fn rows_are_merged_in_as_bytes_or_refused() {
    let mut world = World::new();
    world.spawn_batch((0..10).map(|n| (Mean(n as f32), Pump)));
    world.drain_changed::<Mean>(|_| {});
    let bytes = bytemuck::bytes_of(&[7.0_f32, 8.0]).to_vec();
    assert_eq!(world.write_rows(0, Mean::ID, 3, &bytes), Ok(()));
    assert_eq!(
        world.archetypes()[0].values::<Mean>().unwrap()[2..6],
        [2.0, 7.0, 8.0, 5.0].map(Mean)
    );
    let mut rows = Vec::new();
    world.drain_changed::<Mean>(|location| rows.push(location.row));
    assert_eq!(rows, [3, 4]);
    assert_eq!(world.write_rows(1, Mean::ID, 0, &bytes), Err(WriteError::Archetype));
    assert_eq!(world.write_rows(0, Level::ID, 0, &bytes), Err(WriteError::Component));
    assert_eq!(world.write_rows(0, Pump::ID, 0, &bytes), Err(WriteError::Size { row_bytes: 0 }));
    assert_eq!(
        world.write_rows(0, Mean::ID, 0, &bytes[1..]),
        Err(WriteError::Size { row_bytes: 4 })
    );
    assert_eq!(world.write_rows(0, Mean::ID, 9, &bytes), Err(WriteError::Rows { rows: 10 }));
    assert_eq!(
        world.write_rows(0, Mean::ID, usize::MAX, &bytes),
        Err(WriteError::Rows { rows: 10 })
    );
}
