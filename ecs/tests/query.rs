//! Queries: what they match, what they hand out, and what they refuse.

use bytemuck::{Pod, Zeroable};
use ecs::{Changed, Chunk, Component, Entity, Query, Track, Tracked, With, Without, World};

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Position(f32);
impl Component for Position {
    const ID: u16 = 0;
    const NAME: &'static str = "Position";
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Speed(f32);
impl Component for Speed {
    const ID: u16 = 127;
    const NAME: &'static str = "Speed";
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Heat(u64);
impl Component for Heat {
    const ID: u16 = 64;
    const NAME: &'static str = "Heat";
    const TRACK: Track = Track::Rows;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Charge(u64);
impl Component for Charge {
    const ID: u16 = 5;
    const NAME: &'static str = "Charge";
    const TRACK: Track = Track::Rows;
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Parked;
impl Component for Parked {
    const ID: u16 = 9;
    const NAME: &'static str = "Parked";
}

/// Three archetypes; position counts from zero over all of them, in spawn order.
fn fleet() -> (World, Vec<Entity>) {
    let mut world = World::new();
    let mut names = Vec::new();
    for n in [0.0, 1.0, 2.0] {
        names.push(world.spawn((Position(n), Speed(1.0))));
    }
    for n in [3.0, 4.0] {
        names.push(world.spawn((Speed(2.0), Parked, Position(n))));
    }
    for n in [5.0, 6.0] {
        names.push(world.spawn((Position(n), Heat(n as u64))));
    }
    (world, names)
}

fn positions<F: ecs::Filter>(world: &mut World) -> Vec<f32> {
    let mut found = Vec::new();
    Query::<(&Position,), F>::new().each(world, |(position,)| found.push(position.0));
    found
}

#[test]
fn filters_choose_archetypes() {
    let (mut world, _) = fleet();
    assert_eq!(positions::<()>(&mut world), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(positions::<With<Parked>>(&mut world), [3.0, 4.0]);
    assert_eq!(positions::<Without<Parked>>(&mut world), [0.0, 1.0, 2.0, 5.0, 6.0]);
    assert_eq!(positions::<(With<Speed>, Without<Parked>)>(&mut world), [0.0, 1.0, 2.0]);
    assert_eq!(positions::<(With<Speed>, With<Heat>)>(&mut world), [0.0; 0]);
}

#[test]
fn archetype_made_after_the_query_is_found() {
    let (mut world, _) = fleet();
    let mut query = Query::<(&Position, Entity), With<Charge>>::new();
    query.each(&mut world, |_| panic!("nothing carries a charge yet"));
    let late = world.spawn((Position(7.0), Charge(1)));
    let mut found = Vec::new();
    query.each(&mut world, |(position, entity)| found.push((position.0, entity)));
    assert_eq!(found, [(7.0, late)]);
}

#[test]
fn archetypes_that_do_not_match_may_lie_anywhere_between_those_that_do() {
    // The column of speed is the first, the second or the third of its archetype.
    let mut world = World::new();
    let mut query = Query::<(&mut Speed, Entity)>::new();
    let mut expected = Vec::new();
    for round in 0..3 {
        match round {
            0 => _ = world.spawn((Heat(0),)),
            1 => _ = world.spawn((Heat(0), Charge(0))),
            _ => _ = world.spawn((Charge(0), Position(0.0))),
        }
        expected.push(match round {
            0 => vec![world.spawn((Speed(1.0), Position(0.0))), world.spawn((Speed(2.0), Parked))],
            1 => vec![world.spawn((Speed(3.0), Heat(0)))],
            _ => vec![world.spawn((Speed(4.0), Heat(0), Charge(0))), world.spawn((Speed(5.0),))],
        });
        let expected: Vec<Entity> = expected.concat();
        let mut walked = Vec::new();
        query.chunks(&mut world, |chunk| {
            walked.push((chunk.archetype, chunk.slices.1.to_vec()));
            chunk.slices.0.iter_mut().for_each(|speed| speed.0 += 10.0);
        });
        let archetypes: Vec<u32> = [1, 2, 4, 6, 7][..expected.len()].to_vec();
        let rows = expected.iter().map(|&entity| vec![entity]);
        assert_eq!(walked, archetypes.iter().copied().zip(rows).collect::<Vec<_>>());
        assert_eq!(query.archetypes(&mut world).collect::<Vec<_>>(), archetypes);
        let mut view = query.view(&mut world);
        let viewed: Vec<Option<Entity>> = view
            .all_slices()
            .iter()
            .map(|slices| slices.as_ref().map(|(_, entities)| entities[0]))
            .collect();
        let at = |archetype| archetypes.iter().position(|&index| index == archetype);
        let wanted = (0..=archetypes[archetypes.len() - 1]).map(|n| at(n).map(|n| expected[n]));
        assert_eq!(viewed, wanted.collect::<Vec<_>>());
    }
    let speeds = |world: &World, n: usize| world.component::<Speed>(expected.concat()[n]).copied();
    let speeds: Vec<_> = (0..5).filter_map(|n| speeds(&world, n)).collect();
    assert_eq!(speeds, [31.0, 32.0, 23.0, 14.0, 15.0].map(Speed));
}

#[test]
fn query_serves_another_world() {
    let (mut first, _) = fleet();
    let mut query = Query::<(&Position,)>::new();
    let mut count = 0;
    query.each(&mut first, |_| count += 1);
    assert_eq!(count, 7);
    let mut second = World::new();
    second.spawn((Heat(1),));
    second.spawn((Position(9.0), Heat(1), Charge(3)));
    let mut found = Vec::new();
    query.each(&mut second, |(position,)| found.push(position.0));
    assert_eq!(found, [9.0]);
}

#[test]
fn chunks_hand_out_whole_columns_in_tuple_order() {
    let (mut world, names) = fleet();
    let mut query = Query::<(&mut Speed, Entity, Option<&Heat>, &Position)>::new();
    let mut lens = Vec::new();
    query.chunks(&mut world, |Chunk { archetype, slices, rows, .. }| {
        let (speed, entities, heat, position) = slices;
        assert!(heat.is_none());
        assert_eq!(speed.len(), position.len());
        assert_eq!(speed.len(), entities.len());
        assert_eq!(rows.count(), speed.len());
        for (speed, position) in speed.iter_mut().zip(position) {
            speed.0 += position.0;
        }
        lens.push((archetype, speed.len()));
    });
    assert_eq!(lens, [(0, 3), (1, 2)]);
    let speeds: Vec<f32> =
        names[..5].iter().map(|&name| world.component::<Speed>(name).unwrap().0).collect();
    assert_eq!(speeds, [1.0, 2.0, 3.0, 5.0, 6.0]);
}

#[test]
fn optional_term_reaches_entities_with_and_without_it() {
    let (mut world, _) = fleet();
    let mut found = Vec::new();
    let mut query = Query::<(&Position, Option<&mut Speed>)>::new();
    query.each(&mut world, |(position, speed)| {
        found.push((position.0, speed.map(|speed| std::mem::replace(&mut speed.0, 9.0))));
    });
    assert_eq!(found[2..6], [(2.0, Some(1.0)), (3.0, Some(2.0)), (4.0, Some(2.0)), (5.0, None)]);
    assert_eq!(world.archetypes()[1].values::<Speed>().unwrap(), [Speed(9.0), Speed(9.0)]);
}

#[test]
fn empty_archetype_is_not_visited() {
    let (mut world, names) = fleet();
    names[3..5].iter().for_each(|&name| world.despawn(name).unwrap());
    let mut visited = Vec::new();
    Query::<(&Position,)>::new().chunks(&mut world, |chunk| visited.push(chunk.archetype));
    assert_eq!(visited, [0, 2]);
    let query_archetypes: Vec<u32> = Query::<(&Position,)>::new().archetypes(&mut world).collect();
    assert_eq!(query_archetypes, [0, 1, 2]);
}

#[test]
fn changed_chooses_written_rows_in_row_order() {
    let mut world = World::new();
    let rows = world.spawn_batch((0..200).map(|n| (Heat(n), Position(0.0)))).rows;
    world.drain_changed::<Heat>(|_| {});
    let names = world.archetypes()[0].entities().to_vec();
    for row in [199, 3, 64, 63] {
        world.component_mut::<Heat>(names[row]).unwrap().0 += 1_000;
    }
    let mut query = Query::<(&Heat, &mut Position), Changed<Heat>>::new();
    for _ in 0..2 {
        let mut found = Vec::new();
        query.each(&mut world, |(heat, position)| {
            position.0 += 1.0;
            found.push(heat.0);
        });
        assert_eq!(found, [1_003, 1_063, 1_064, 1_199], "reading leaves the bits");
    }
    world.drain_changed::<Heat>(|_| {});
    query.each(&mut world, |_| panic!("nothing was written since"));
    let written = world.archetypes()[0].values::<Position>().unwrap();
    assert_eq!(written.iter().filter(|position| position.0 == 2.0).count(), 4);
    assert_eq!(rows, 0..200);
}

#[test]
fn several_changed_filters_hold_together() {
    let mut world = World::new();
    world.spawn_batch((0..130).map(|n| (Heat(n), Charge(n))));
    world.drain_changed::<Heat>(|_| {});
    world.drain_changed::<Charge>(|_| {});
    let names = world.archetypes()[0].entities().to_vec();
    for row in [1, 64, 129] {
        world.component_mut::<Heat>(names[row]);
    }
    for row in [2, 64, 65, 129] {
        world.component_mut::<Charge>(names[row]);
    }
    let mut found = Vec::new();
    Query::<(&Heat,), (Changed<Heat>, Changed<Charge>)>::new()
        .each(&mut world, |(heat,)| found.push(heat.0));
    assert_eq!(found, [64, 129]);
}

#[test]
fn tracked_term_marks_rows_it_writes_and_no_others() {
    let mut world = World::new();
    world.spawn_batch((0..100).map(|n| (Heat(n),)));
    world.drain_changed::<Heat>(|_| {});
    Query::<(Tracked<Heat>,)>::new().each(&mut world, |(mut heat,)| {
        if heat.0 % 33 == 1 {
            heat.0 = 0;
        }
    });
    let mut drained = Vec::new();
    world.drain_changed::<Heat>(|location| drained.push(location.row));
    assert_eq!(drained, [1, 34, 67]);
    Query::<(Tracked<Heat>,)>::new().chunks(&mut world, |Chunk { slices: (mut heat,), .. }| {
        heat.row_mut(70).0 += heat[69].0;
        heat.mark(2);
        assert_eq!((0..100).filter(|&row| heat.is_dirty(row)).collect::<Vec<_>>(), [2, 70]);
    });
    assert_eq!(world.archetypes()[0].values::<Heat>().unwrap()[70], Heat(139));
    Query::<(Tracked<Heat>,)>::new().chunks(&mut world, |Chunk { slices: (mut heat,), .. }| {
        heat.all_mut().fill(Heat(1));
    });
    let column = world.archetypes()[0].column(Heat::ID).unwrap();
    assert_eq!(column.dirty().unwrap().count(), 100);
}

#[test]
fn what_a_walk_writes_does_not_extend_it() {
    let mut world = World::new();
    world.spawn_batch((0..128).map(|n| (Heat(n),)));
    world.drain_changed::<Heat>(|_| {});
    world.mark_changed::<Heat>(ecs::Location { archetype: 0, row: 0 });
    let mut visits = 0;
    Query::<(Tracked<Heat>,), Changed<Heat>>::new().chunks(&mut world, |chunk| {
        let Chunk { slices: (mut heat,), rows, .. } = chunk;
        for row in rows {
            heat.mark(row + 1);
            heat.mark(row + 100);
            visits += 1;
        }
    });
    assert_eq!(visits, 1);
}

#[test]
fn view_reaches_rows_in_any_order() {
    let (mut world, names) = fleet();
    let mut query = Query::<(&mut Position, Option<&Speed>), Without<Heat>>::new();
    let mut view = query.view(&mut world);
    assert!(view.entity(names[6]).is_none(), "the archetype does not match");
    assert!(view.slices(2).is_none());
    assert!(view.slices(77).is_none());
    let (position, speed) = view.entity(names[4]).unwrap();
    position.0 += speed.unwrap().0;
    view.row(0, 1).unwrap().0.0 = -1.0;
    let (positions, _) = view.slices(0).unwrap();
    positions[2].0 = -2.0;
    drop(view);
    assert_eq!(positions_of(&world, &names), [0.0, -1.0, -2.0, 3.0, 6.0, 5.0, 6.0]);
}

fn positions_of(world: &World, names: &[Entity]) -> Vec<f32> {
    let position = |&name| world.component::<Position>(name).map_or(f32::NAN, |found| found.0);
    names.iter().map(position).collect()
}

#[test]
fn view_holds_several_archetypes_at_once() {
    let (mut world, names) = fleet();
    let mut query = Query::<(&mut Position,)>::new();
    let mut view = query.view(&mut world);
    let [Some(first), _, Some(last)] = view.all_slices() else { panic!("three archetypes") };
    std::mem::swap(&mut first.0[0], &mut last.0[1]);
    drop(view);
    assert_eq!(positions_of(&world, &names), [6.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0]);
}

#[test]
fn view_of_a_dead_name_is_none() {
    let (mut world, names) = fleet();
    world.despawn(names[0]).unwrap();
    let mut query = Query::<(&Position,)>::new();
    assert!(query.view(&mut world).entity(names[0]).is_none());
}

#[test]
fn version_rises_with_each_opening_for_writing_only() {
    let (mut world, names) = fleet();
    let version = |world: &World| world.archetypes()[0].column(Position::ID).unwrap().version();
    let start = version(&world);
    Query::<(&Position, &mut Speed)>::new().each(&mut world, |_| {});
    let _ = Query::<(&Position,)>::new().view(&mut world);
    assert_eq!(version(&world), start);
    Query::<(&mut Position,)>::new().each(&mut world, |_| {});
    assert_eq!(version(&world), start + 1);
    let _ = Query::<(&mut Position,)>::new().view(&mut world);
    world.component_mut::<Position>(names[0]).unwrap();
    assert_eq!(version(&world), start + 3);
}

#[test]
#[should_panic(expected = "a query names Speed twice")]
fn two_writers_of_one_component_are_refused() {
    let _ = Query::<(&mut Speed, &Position, &mut Speed)>::new();
}

#[test]
#[should_panic(expected = "a query names Heat twice")]
fn reader_beside_a_writer_is_refused() {
    let _ = Query::<(Tracked<Heat>, Option<&Heat>)>::new();
}

#[test]
#[should_panic(expected = "a query asks for Speed and for entities without it")]
fn contradicting_filter_is_refused() {
    let _ = Query::<(&Speed,), Without<Speed>>::new();
}

/// Claims the id of [`Position`].
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Impostor(f32);
impl Component for Impostor {
    const ID: u16 = 0;
    const NAME: &'static str = "Impostor";
}

#[test]
#[should_panic(expected = "component id 0 is Position and was asked for as Impostor")]
fn query_by_another_type_of_the_same_id_is_refused() {
    let (mut world, _) = fleet();
    Query::<(&Impostor,)>::new().each(&mut world, |_| {});
}

#[test]
#[should_panic(expected = "row 100 of 100")]
fn asking_whether_a_missing_row_is_dirty_is_refused() {
    let mut world = World::new();
    world.spawn_batch((0..100).map(|n| (Heat(n),)));
    Query::<(Tracked<Heat>,)>::new().chunks(&mut world, |chunk| {
        let _ = chunk.slices.0.is_dirty(100);
    });
}
