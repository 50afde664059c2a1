//! The world: names, rows and components through spawns, moves and removals.

use std::collections::BTreeSet;

use bytemuck::{Pod, Zeroable};
use ecs::{
    Bundle, COLUMN_ALIGN_BYTES, Component, Entity, Location, NoSuchEntity, Progress, Query,
    Signature, Snapshot, SpawnedRows, Track, World,
};

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Level(f64);
impl Component for Level {
    const ID: u16 = 1;
    const NAME: &'static str = "Level";
}

/// Twenty bytes: rows straddle cache lines.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Key([u8; 20]);
impl Component for Key {
    const ID: u16 = 2;
    const NAME: &'static str = "Key";
    const TRACK: Track = Track::None;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Mean(f32);
impl Component for Mean {
    const ID: u16 = 3;
    const NAME: &'static str = "Mean";
    const TRACK: Track = Track::Rows;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Pump;
impl Component for Pump {
    const ID: u16 = 0;
    const NAME: &'static str = "Pump";
}

#[test]
fn spawned_entity_carries_its_bundle() {
    let mut world = World::new();
    let entity = world.spawn((Key([7; 20]), Pump, Level(1.5)));
    assert!(world.contains(entity));
    assert!(world.has::<Pump>(entity));
    assert!(!world.has::<Mean>(entity));
    assert_eq!(world.component::<Level>(entity), Some(&Level(1.5)));
    assert_eq!(world.component::<Key>(entity), Some(&Key([7; 20])));
    assert_eq!(world.component::<Mean>(entity), None);
    assert_eq!(world.location(entity), Some(Location { archetype: 0, row: 0 }));
    assert_eq!(world.len(), 1);
}

#[test]
fn order_in_the_bundle_does_not_matter() {
    let mut world = World::new();
    world.spawn((Level(1.0), Mean(2.0)));
    world.spawn((Mean(4.0), Level(3.0)));
    let [archetype] = world.archetypes() else { panic!("one archetype") };
    assert_eq!(archetype.values::<Level>().unwrap(), [Level(1.0), Level(3.0)]);
    assert_eq!(archetype.values::<Mean>().unwrap(), [Mean(2.0), Mean(4.0)]);
    assert_eq!(archetype.signature(), <(Mean, Level)>::SIGNATURE);
    assert_eq!(archetype.signature().ids().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn despawn_moves_the_last_row_into_the_gap() {
    let mut world = World::new();
    let names = [0.0, 1.0, 2.0].map(|n| world.spawn((Level(n), Key([n as u8; 20]))));
    assert_eq!(world.relocations(), 0);
    assert_eq!(world.despawn(names[0]), Ok(()));
    assert_eq!(world.despawn(names[0]), Err(NoSuchEntity));
    assert_eq!(world.relocations(), 1);
    assert_eq!(world.location(names[0]), None);
    assert_eq!(world.location(names[2]), Some(Location { archetype: 0, row: 0 }));
    assert_eq!(world.component::<Key>(names[2]), Some(&Key([2; 20])));
    assert_eq!(world.archetypes()[0].entities(), [names[2], names[1]]);
    assert_eq!(world.len(), 2);
}

#[test]
fn insert_moves_the_entity_and_keeps_what_it_had() {
    let mut world = World::new();
    let stays = world.spawn((Level(1.0),));
    let moves = world.spawn((Level(2.0),));
    assert_eq!(world.insert(moves, (Mean(5.0), Key([9; 20]), Pump)), Ok(()));
    assert_eq!(world.component::<Level>(moves), Some(&Level(2.0)));
    assert_eq!(world.component::<Mean>(moves), Some(&Mean(5.0)));
    assert_eq!(world.component::<Key>(moves), Some(&Key([9; 20])));
    assert!(world.has::<Pump>(moves));
    assert_eq!(world.component::<Level>(stays), Some(&Level(1.0)));
    assert_eq!(world.archetypes()[0].entities(), [stays]);
}

#[test]
fn insert_of_what_is_there_overwrites_in_place() {
    let mut world = World::new();
    let entity = world.spawn((Level(1.0), Mean(1.0)));
    let before = world.location(entity);
    assert_eq!(world.insert(entity, (Mean(2.0),)), Ok(()));
    assert_eq!(world.location(entity), before);
    assert_eq!(world.relocations(), 0);
    assert_eq!(world.component::<Mean>(entity), Some(&Mean(2.0)));
    world.despawn(entity).unwrap();
    assert_eq!(world.insert(entity, (Mean(2.0),)), Err(NoSuchEntity));
}

#[test]
fn remove_returns_the_value_and_keeps_the_rest() {
    let mut world = World::new();
    let entity = world.spawn((Level(1.0), Mean(2.0), Pump));
    assert_eq!(world.remove::<Mean>(entity), Some(Mean(2.0)));
    assert_eq!(world.remove::<Mean>(entity), None);
    assert_eq!(world.remove::<Pump>(entity), Some(Pump));
    assert!(!world.has::<Pump>(entity));
    assert_eq!(world.remove::<Level>(entity), Some(Level(1.0)));
    assert!(world.contains(entity), "an entity may carry nothing");
    assert_eq!(world.insert(entity, (Level(3.0),)), Ok(()));
    assert_eq!(world.component::<Level>(entity), Some(&Level(3.0)));
}

#[test]
fn batch_fills_consecutive_rows() {
    let mut world = World::new();
    world.spawn((Pump, Level(-1.0), Key([0; 20])));
    // An iterator that cannot tell its length makes the batch grow on its way.
    let bundles = (0..1_000).filter(|n| n % 2 == 0);
    let spawned =
        world.spawn_batch(bundles.map(|n| (Key([(n % 251) as u8; 20]), Level(n as f64), Pump)));
    assert_eq!(spawned, SpawnedRows { archetype: 0, rows: 1..501 });
    assert_eq!(world.len(), 501);
    for (row, &entity) in world.archetypes()[0].entities().iter().enumerate().skip(1) {
        let n = (row - 1) * 2;
        assert_eq!(world.location(entity), Some(Location { archetype: 0, row: row as u32 }));
        assert_eq!(world.component::<Level>(entity), Some(&Level(n as f64)));
        assert_eq!(world.component::<Key>(entity), Some(&Key([(n % 251) as u8; 20])));
    }
}

#[test]
fn empty_batch_spawns_nobody() {
    let mut world = World::new();
    let spawned = world.spawn_batch(std::iter::empty::<(Level,)>());
    assert_eq!(spawned.rows, 0..0);
    assert!(world.is_empty());
}

#[test]
fn batch_that_panics_leaves_the_world_as_it_was() {
    let mut world = World::new();
    let first = world.spawn((Level(1.0),));
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.spawn_batch((0..10).map(|n| {
            assert!(n < 5, "the sixth bundle fails");
            (Level(f64::from(n)),)
        }));
    }));
    assert!(failed.is_err());
    assert_eq!(world.len(), 1);
    assert_eq!(world.archetypes()[0].values::<Level>().unwrap(), [Level(1.0)]);
    let second = world.spawn((Level(2.0),));
    assert_eq!(world.archetypes()[0].entities(), [first, second]);
}

#[test]
fn batch_that_panics_behind_full_rooms_keeps_those_and_starts_a_snapshot_over() {
    let mut world = World::new();
    let mut snapshot = Snapshot::default();
    world.spawn((Level(-1.0),));
    assert_eq!(snapshot.poll(&world, 1), Progress::Working);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // Without a length ahead the rooms are small: fifteen rows beside the one, then sixteen, then the panic.
        let numbers = (0..).take_while(|&n| {
            assert!(n < 40);
            true
        });
        world.spawn_batch(numbers.map(|n| (Level(f64::from(n)),)));
    }));
    assert!(failed.is_err());
    let levels = world.archetypes()[0].values::<Level>().unwrap();
    assert!(levels.iter().map(|level| level.0 as i32).eq(-1..31));
    assert_eq!(world.len(), 32);
    while snapshot.poll(&world, usize::MAX) == Progress::Working {}
    assert_eq!(snapshot.restarts(), 1);
    assert_eq!(snapshot.bytes().unwrap(), Snapshot::default().take(&world));
}

#[test]
fn erased_columns_show_the_bytes_of_the_rows() {
    let mut world = World::new();
    world.spawn_batch((0..3).map(|n| (Key([n; 20]), Pump, Level(f64::from(n)))));
    let columns: Vec<(u16, &[u8])> =
        world.archetypes()[0].columns().map(|column| (column.id(), column.bytes())).collect();
    let levels = [0.0f64, 1.0, 2.0].map(f64::to_ne_bytes).concat();
    let keys = [[0u8; 20], [1; 20], [2; 20]].concat();
    assert_eq!(columns, [(0, &[][..]), (1, &levels[..]), (2, &keys[..])]);
}

#[test]
fn columns_start_on_a_cache_line() {
    let mut world = World::new();
    world.spawn_batch((0..100).map(|n| (Key([n; 20]), Level(0.0), Mean(0.0))));
    for column in world.archetypes()[0].columns() {
        assert_eq!(column.bytes().as_ptr() as usize % COLUMN_ALIGN_BYTES, 0, "{}", column.name());
    }
}

#[test]
fn reserved_memory_is_kept_and_counted() {
    let mut world = World::new();
    let empty_bytes = world.memory_bytes();
    world.reserve::<(Level, Mean)>(10_000);
    let reserved_bytes = world.memory_bytes();
    let rows_bytes = 10_000 * (size_of::<Level>() + size_of::<Mean>());
    assert!(reserved_bytes - empty_bytes >= rows_bytes);
    let names: Vec<_> =
        (0..10_000).map(|n| world.spawn((Level(f64::from(n)), Mean(0.0)))).collect();
    assert_eq!(world.memory_bytes(), reserved_bytes);
    names.iter().for_each(|&name| world.despawn(name).unwrap());
    assert_eq!(world.memory_bytes(), reserved_bytes);
    world.spawn_batch((0..10_000).map(|n| (Level(f64::from(n)), Mean(0.0))));
    assert_eq!(world.memory_bytes(), reserved_bytes, "a batch that just fits does not grow");
}

#[test]
fn names_reserved_for_several_bundles_are_enough() {
    let mut world = World::new();
    world.reserve_entities(2_000);
    world.reserve::<(Level,)>(1_000);
    world.reserve::<(Mean,)>(1_000);
    let reserved_bytes = world.memory_bytes();
    world.spawn_batch((0..1_000).map(|n| (Level(f64::from(n)),)));
    world.spawn_batch((0..1_000).map(|_| (Mean(0.0),)));
    assert_eq!(world.memory_bytes(), reserved_bytes);
}

#[test]
fn many_small_batches_grow_rarely() {
    let mut world = World::new();
    let mut growths = 0;
    let mut held_bytes = world.memory_bytes();
    for _ in 0..10_000 {
        world.spawn_batch((0..5).map(|n| (Level(f64::from(n)),)));
        if world.memory_bytes() > held_bytes {
            (growths, held_bytes) = (growths + 1, world.memory_bytes());
        }
    }
    assert_eq!(world.len(), 50_000);
    assert!(growths < 64, "{growths} growths for 50,000 rows");
}

#[test]
fn world_and_query_move_to_another_thread() {
    let mut world = World::new();
    let mut query = Query::<(&mut Level, Entity)>::new();
    world.put_resource(Box::new(7_u32));
    world.spawn((Level(1.0),));
    let found = std::thread::spawn(move || {
        let mut found = 0.0;
        query.each(&mut world, |(level, _)| found += level.0);
        found
    });
    assert_eq!(found.join().unwrap(), 1.0);
}

#[test]
fn change_bits_follow_their_rows() {
    let mut world = World::new();
    let names: Vec<_> = (0..100).map(|n| world.spawn((Mean(n as f32), Level(0.0)))).collect();
    let drained = |world: &mut World| {
        let mut locations = Vec::new();
        world.drain_changed::<Mean>(|location| locations.push(location));
        locations
    };
    assert_eq!(drained(&mut world).len(), 100, "spawned rows count as written");
    world.component_mut::<Mean>(names[99]).unwrap().0 = 0.5;
    world.component_mut::<Mean>(names[98]).unwrap().0 = 0.5;
    world.despawn(names[7]).unwrap();
    world.insert(names[98], (Pump,)).unwrap();
    world.insert(names[50], (Pump,)).unwrap();
    let expected = [names[99], names[98]].map(|name| world.location(name).unwrap());
    assert_eq!(expected[0], Location { archetype: 0, row: 7 });
    assert_eq!(drained(&mut world), expected, "moves carry bits and make none");
    assert_eq!(drained(&mut world), []);
    world.insert(names[3], (Mean(9.0),)).unwrap();
    world.mark_changed::<Mean>(Location { archetype: 0, row: 4 });
    let rows: Vec<u32> = drained(&mut world).iter().map(|location| location.row).collect();
    assert_eq!(rows, [3, 4]);
}

#[test]
fn untracked_column_keeps_version_zero() {
    let mut world = World::new();
    let entity = world.spawn((Key([0; 20]), Level(0.0)));
    world.component_mut::<Key>(entity).unwrap();
    let columns: Vec<_> = world.archetypes()[0].columns().collect();
    assert_eq!(columns[1].version(), 0);
    assert!(columns[0].version() > 0);
    assert!(columns[0].dirty().is_none());
}

#[test]
fn resource_is_taken_and_put_back() {
    let mut world = World::new();
    assert!(world.put_resource(Box::new(String::from("line 1"))).is_none());
    assert_eq!(
        world.put_resource(Box::new(String::from("line 2"))).as_deref(),
        Some(&"line 1".into())
    );
    let mut held = world.take_resource::<String>().unwrap();
    assert_eq!(world.resource::<String>(), None);
    world.spawn((Level(held.len() as f64),));
    held.push_str(" is held");
    world.put_resource(held);
    world.resource_mut::<String>().unwrap().push('.');
    assert_eq!(world.resource::<String>().unwrap(), "line 2 is held.");
    assert_eq!(world.resource::<u32>(), None);
}

#[test]
fn signature_lists_its_ids() {
    let signature = <(Mean, Level, Pump)>::SIGNATURE;
    assert_eq!(format!("{signature:?}"), "{0, 1, 3}");
    assert_eq!((signature.len(), signature.bits()), (3, 0b1011));
    assert_eq!(signature.difference(Signature::of::<Level>()), <(Mean, Pump)>::SIGNATURE);
}

/// Claims the id of [`Pump`].
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Valve;
impl Component for Valve {
    const ID: u16 = 0;
    const NAME: &'static str = "Valve";
}

#[test]
#[should_panic(expected = "component id 0 belongs to Pump and was claimed by Valve")]
fn two_types_with_one_id_are_refused() {
    let mut world = World::new();
    world.spawn((Pump,));
    world.spawn((Valve, Level(0.0)));
}

#[test]
fn insert_of_a_type_that_is_refused_changes_nothing() {
    let mut world = World::new();
    let pump = world.spawn((Level(1.0), Mean(2.0)));
    world.insert(pump, (Pump,)).unwrap();
    let tank = world.spawn((Level(3.0), Mean(4.0)));
    for entity in [pump, tank] {
        let (before, relocations) = (world.location(entity), world.relocations());
        let mean = world.component::<Mean>(entity).copied();
        let insert = || world.insert(entity, (Mean(9.0), Valve));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(insert)).is_err());
        let insert = || world.insert(entity, (Valve,));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(insert)).is_err());
        assert_eq!((world.location(entity), world.relocations()), (before, relocations));
        assert_eq!(world.component::<Mean>(entity).copied(), mean);
    }
    assert!(!world.has::<Pump>(tank));
}

#[test]
#[should_panic(expected = "no row Location { archetype: 0, row: 1 }")]
fn marking_a_missing_row_is_refused() {
    let mut world = World::new();
    world.spawn((Mean(0.0),));
    world.mark_changed::<Mean>(Location { archetype: 0, row: 1 });
}

#[test]
fn whole_columns_are_copied_in() {
    let mut world = World::new();
    world.spawn((Level(0.0), Pump, Mean(0.0)));
    let levels: Vec<Level> = (1..1_000).map(|n| Level(f64::from(n))).collect();
    let means = vec![Mean(4.0); 999];
    let spawned = world.spawn_columns::<(Mean, Level, Pump)>((&means, &levels, &[Pump; 999]));
    assert_eq!(spawned, SpawnedRows { archetype: 0, rows: 1..1_000 });
    let archetype = &world.archetypes()[0];
    assert_eq!(archetype.values::<Level>().unwrap()[1..], levels);
    assert_eq!(archetype.values::<Mean>().unwrap()[1..], means);
    assert_eq!(archetype.column(Mean::ID).unwrap().dirty().unwrap().count(), 1_000);
    assert!(archetype.entities().iter().all(|&entity| world.has::<Pump>(entity)));
}

#[test]
#[should_panic(expected = "1 values of Mean and 2 of the first component")]
fn columns_of_unequal_length_are_refused() {
    World::new().spawn_columns::<(Level, Mean)>((&[Level(0.0); 2], &[Mean(0.0)]));
}

#[test]
fn reserved_name_waits_for_its_entity() {
    let mut world = World::new();
    let name = world.reserve_entity();
    let other = world.reserve_entity();
    assert!(!world.contains(name) && world.is_empty());
    assert_eq!(world.insert(name, (Level(1.0),)), Err(NoSuchEntity));
    assert_eq!(world.spawn_reserved(name, (Level(1.0),)), Ok(()));
    assert_eq!(world.spawn_reserved(name, (Level(1.0),)), Err(NoSuchEntity));
    assert_eq!(world.component::<Level>(name), Some(&Level(1.0)));
    assert_eq!(world.despawn(other), Ok(()));
    assert_eq!(world.spawn_reserved(other, (Level(1.0),)), Err(NoSuchEntity));
    let next = world.spawn((Level(2.0),));
    assert_eq!((next.index(), next.generation()), (other.index(), 1));
    assert_eq!(world.len(), 2);
}

#[test]
fn cursor_sees_each_change_once_wherever_its_row_goes() {
    let mut world = World::new();
    let names: Vec<Entity> = (0..100).map(|n| world.spawn((Mean(n as f32), Level(0.0)))).collect();
    let slow = world.add_cursor::<Mean>();
    let seen = |world: &mut World, cursor| {
        let mut seen = Vec::new();
        world.drain_cursor::<Mean>(cursor, |entity, mean| seen.push((entity, mean.0)));
        seen
    };
    assert_eq!(seen(&mut world, &slow).len(), 100, "the first visit meets every row");
    world.drain_changed::<Mean>(|_| {});
    assert_eq!(seen(&mut world, &slow).len(), 100, "and those were new since the last drain");
    world.component_mut::<Mean>(names[99]).unwrap().0 = -1.0;
    world.component_mut::<Mean>(names[50]).unwrap().0 = -2.0;
    world.component_mut::<Mean>(names[3]).unwrap().0 = -3.0;
    assert_eq!(seen(&mut world, &slow), [], "a change arrives with the drain");
    world.drain_changed::<Mean>(|_| {});
    let late = world.add_cursor::<Mean>();
    world.despawn(names[0]).unwrap();
    world.insert(names[50], (Pump,)).unwrap();
    world.despawn(names[3]).unwrap();
    let new = world.spawn((Mean(7.0),));
    assert_eq!(seen(&mut world, &slow), [(names[99], -1.0), (names[50], -2.0)]);
    assert_eq!(seen(&mut world, &slow), []);
    world.drain_changed::<Mean>(|_| {});
    assert_eq!(seen(&mut world, &slow), [(new, 7.0)]);
    assert_eq!(seen(&mut world, &late).len(), 99);
}

#[test]
fn visitor_that_panics_loses_no_change() {
    fn visit_until_panic(visit: impl FnOnce()) {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(visit)).is_err());
    }
    let mut world = World::new();
    world.spawn_batch((0..200).map(|n| (Mean(n as f32),)));
    let cursor = world.add_cursor::<Mean>();
    world.drain_changed::<Mean>(|_| {});
    let mut seen = BTreeSet::new();
    visit_until_panic(|| {
        world.drain_cursor(&cursor, |entity, mean| {
            assert!(mean.0 < 100.0);
            seen.insert(entity);
        });
    });
    // The bits that are left move with their rows.
    let moved = world.archetypes()[0].entities()[150];
    world.insert(moved, (Pump,)).unwrap();
    world.drain_cursor(&cursor, |entity, _| _ = seen.insert(entity));
    assert_eq!(seen.len(), 200);

    world.spawn_batch((0..200).map(|n| (Mean(n as f32), Level(0.0))));
    let mut rows = BTreeSet::new();
    visit_until_panic(|| {
        world.drain_changed::<Mean>(|location| {
            assert!(location.row < 100);
            rows.insert(location.row);
        });
    });
    world.drain_changed::<Mean>(|location| _ = rows.insert(location.row));
    assert_eq!(rows.len(), 200);
}

#[test]
#[should_panic(expected = "of another world")]
fn cursor_of_another_world_is_refused() {
    let cursor = World::new().add_cursor::<Mean>();
    World::new().drain_cursor::<Mean>(&cursor, |_, _| {});
}

#[test]
fn deferred_changes_follow_the_walk() {
    let mut world = World::new();
    let parents: Vec<Entity> = (0..3).map(|n| world.spawn((Level(f64::from(n)),))).collect();
    world.despawn(parents[1]).unwrap();
    let mut levels = Query::<(&Level, Entity)>::new();
    let children = world.defer(|part| {
        let mut children = Vec::new();
        levels.each(part, |(level, _)| children.push(level.0));
        levels.each(&mut part.columns, |(level, parent)| {
            let child = part.commands.spawn((Level(level.0 + 10.0), Pump));
            part.commands.insert(parent, (Mean(child.index() as f32),));
        });
        children
    });
    assert_eq!(children, [0.0, 2.0]);
    assert_eq!(world.len(), 4);
    let (first, second) = (Entity::from_bits(1 << 32 | 1), Entity::from_bits(3));
    assert_eq!(world.component::<Level>(first), Some(&Level(10.0)));
    assert_eq!(world.component::<Level>(second), Some(&Level(12.0)));
    assert_eq!(world.component::<Mean>(parents[2]), Some(&Mean(3.0)));
}

#[test]
fn deferred_command_for_nobody_is_counted() {
    let mut world = World::new();
    let gone = world.spawn((Level(0.0),));
    world.despawn(gone).unwrap();
    for skipped in 1..3 {
        world.defer(|part| part.commands.despawn(gone));
        assert_eq!(world.skipped_commands(), skipped);
    }
}
