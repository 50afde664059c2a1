//! The schedule: order, stages, rates, commands, and runs on several threads that change nothing.

#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::sync::atomic::{AtomicU32, Ordering};

use bytemuck::{Pod, Zeroable};
use ecs::{
    Changed, Chunk, Component, Context, Entity, EventReader, Events, Part, Query, Schedule,
    ScheduleBuilder, ScheduleError, Track, Tracked, With, World,
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
component!(Inflow(f64), 2, Track::Column);
component!(Mean(f32), 3, Track::Rows);
component!(Age(u64), 4, Track::None);

/// The names of the systems, in running order.
fn order<C: Context>(schedule: &Schedule<C>) -> Vec<&'static str> {
    schedule.systems().iter().map(|system| system.name()).collect()
}

fn fill(part: &mut Part<'_>, tanks: &mut Query<(&mut Level, &Inflow)>) {
    tanks.each(part, |(level, inflow)| level.0 = level.0 * 0.75 + inflow.0);
}

fn smooth(part: &mut Part<'_>, tanks: &mut Query<(&Level, Tracked<Mean>)>) {
    tanks.each(part, |(level, mut mean)| {
        if level.0 as i64 % 3 == 0 {
            mean.0 = (mean.0 + level.0 as f32) / 2.0;
        }
    });
}

fn grow_old(part: &mut Part<'_>, all: &mut Query<(&mut Age,)>) {
    all.each(part, |(age,)| age.0 += 1);
}

/// Replaces the old by the new, and tells of it.
fn replace(
    part: &mut Part<'_>,
    old: &mut Query<(&Age, &Inflow, Entity)>,
    changed: &mut Query<(&Mean,), Changed<Mean>>,
) {
    let mut hot = 0;
    changed.each(&mut part.columns, |(mean,)| hot += u64::from(mean.0 > 40.0));
    old.each(&mut part.columns, |(age, inflow, entity)| {
        if age.0 * 7 % 23 > 20 {
            part.commands.despawn(entity);
            let inflow = Inflow(inflow.0 + 1.0);
            let new = part.commands.spawn((Level(1.0), inflow, Mean(0.0), Age(age.0 + hot)));
            if age.0 % 2 == 0 {
                part.commands.remove::<Mean>(new);
            }
        }
    });
}

fn clear(world: &mut World, (): &mut ()) {
    world.drain_changed::<Mean>(|_| {});
}

/// Spawns beside [`replace`], so that two systems of one stage deal out names.
fn seed(part: &mut Part<'_>, levels: &mut Query<(&Inflow,)>) {
    let mut sum = 0.0;
    levels.each(&mut part.columns, |(inflow,)| sum += inflow.0);
    if sum as i64 % 5 != 0 {
        part.commands.spawn((Inflow(sum % 3.0), Age(0)));
    }
}

fn plant() -> (World, Schedule) {
    let mut world = World::new();
    world.spawn_batch(
        (0..10_000)
            .map(|n| (Level(f64::from(n)), Inflow(f64::from(n % 17)), Mean(0.0), Age(n as u64))),
    );
    world.spawn_batch((0..50).map(|n| (Age(n), Inflow(2.0))));
    let mut builder = ScheduleBuilder::new();
    builder.accept_order();
    builder.add("fill", fill);
    builder.add("grow old", grow_old);
    builder.add("smooth", smooth);
    builder.add("replace", replace).every(2);
    builder.add("seed", seed);
    builder.add_exclusive("clear", clear);
    (world, builder.build().unwrap())
}

/// Entities, bytes and versions of one archetype.
type Rows = (Vec<Entity>, Vec<Vec<u8>>, Vec<u64>);

fn bytes(world: &World) -> Vec<Rows> {
    let of = |archetype: &ecs::Archetype| {
        let columns = archetype.columns();
        let bytes = columns.clone().map(|column| column.bytes().to_vec()).collect();
        (archetype.entities().to_vec(), bytes, columns.map(ecs::Column::version).collect())
    };
    world.archetypes().iter().map(of).collect()
}

#[test]
fn several_threads_leave_the_same_world_as_one() {
    let (mut alone, mut on_one) = plant();
    let (mut shared, mut on_three) = plant();
    for tick in 0..24 {
        on_one.run(&mut alone, &mut (), tick);
        on_three.run_parallel(&mut shared, &mut (), tick, 3, &|| 0);
        assert_eq!(bytes(&alone), bytes(&shared), "tick {tick}");
    }
    assert!(alone.len() > 10_060 && alone.archetypes().len() > 2, "the systems did something");
    assert_eq!(alone.skipped_commands(), shared.skipped_commands());
}

#[test]
fn systems_that_touch_nothing_in_common_share_a_stage() {
    let (_, schedule) = plant();
    assert_eq!(order(&schedule), ["fill", "grow old", "seed", "smooth", "replace", "clear"]);
    let text = schedule.to_string();
    let stages: Vec<&str> = text.lines().skip(1).map(|line| line[..5].trim()).collect();
    assert_eq!(stages, ["0", "0", "0", "1", "2", "3", ""], "{text}");
    assert!(text.ends_with("      commands                 0          0          0\n"), "{text}");
    assert!(text.contains("reads Inflow, writes Level"), "{text}");
}

#[test]
fn order_that_nobody_asked_for_is_refused() {
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("fill", fill);
    builder.add("grow old", grow_old);
    builder.add("smooth", smooth);
    let (first, second, on) = ("fill", "smooth", "Level".to_owned());
    let error = builder.build().unwrap_err();
    assert_eq!(error, ScheduleError::Ambiguous { first, second, on });
}

#[test]
fn stated_order_is_enough_also_by_way_of_others() {
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("fill", fill);
    builder.add("grow old", grow_old).after("fill");
    builder.add("smooth", smooth).after("grow old");
    assert_eq!(order(&builder.build().unwrap()), ["fill", "grow old", "smooth"]);
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("fill", fill);
    builder.add_exclusive("clear", clear);
    builder.add("smooth", smooth);
    assert!(builder.build().is_ok(), "an exclusive system stands between what is on either side");
}

#[test]
fn names_must_be_known_and_unique() {
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("fill", fill);
    builder.add("fill", grow_old);
    assert_eq!(builder.build().unwrap_err(), ScheduleError::Name("fill"));
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("fill", fill).after("smooth");
    builder.add("smooth", smooth);
    let error = builder.build().unwrap_err();
    assert_eq!(error, ScheduleError::After { system: "fill", after: "smooth" });
}

#[test]
#[should_panic(expected = "every 0 ticks")]
fn rate_of_zero_ticks_is_refused() {
    ScheduleBuilder::<()>::new().add("fill", fill).every(0);
}

#[test]
fn divided_system_runs_at_multiples_only() {
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("grow old", grow_old).every(3);
    let mut schedule = builder.build().unwrap();
    let mut world = World::new();
    let entity = world.spawn((Age(0),));
    for tick in 1..=7 {
        schedule.run(&mut world, &mut (), tick);
    }
    assert_eq!(world.component::<Age>(entity), Some(&Age(2)));
    assert_eq!(schedule.systems()[0].times().runs, 2);
}

struct Ticking;
impl Context for Ticking {
    type Of<'a> = (&'a mut u64, &'a str);
}

#[test]
fn clock_is_read_once_before_and_once_after_each_due_system() {
    let mut builder = ScheduleBuilder::<Ticking>::new();
    builder.add_exclusive("wait", |_, context| *context.0 += 10);
    builder.add_exclusive("skip", |_, context| *context.0 += 1_000).every(2);
    builder.add_exclusive("read", |world, (now_ns, text)| {
        **now_ns += text.len() as u64;
        world.spawn((Age(**now_ns),));
    });
    let mut schedule = builder.build().unwrap();
    let (mut world, mut now_ns, mut reads) = (World::new(), 0, 0);
    schedule.run_timed(&mut world, &mut (&mut now_ns, "seven.."), 1, |context| {
        reads += 1;
        *context.0
    });
    assert_eq!(reads, 3);
    let totals: Vec<u64> =
        schedule.systems().iter().map(|system| system.times().total_ns).collect();
    assert_eq!(totals, [10, 0, 7]);
    schedule.reset_times();
    assert!(schedule.systems().iter().all(|system| system.times() == ecs::Times::default()));
}

#[test]
fn commands_are_charged_to_no_system() {
    // The clock doubles at each reading, so that a time tells between which readings it was taken.
    let reads = AtomicU32::new(0);
    let clock = || 1 << reads.fetch_add(1, Ordering::Relaxed);
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("spawn", |part: &mut Part<'_>| _ = part.commands.spawn((Age(0),)));
    builder.add_exclusive("next", |_, ()| {});
    let mut schedule = builder.build().unwrap();
    let totals = |schedule: &mut Schedule| {
        reads.store(0, Ordering::Relaxed);
        let [spawn, next] = schedule.systems() else { panic!("two systems") };
        let times = [spawn.times(), schedule.command_times(), next.times()];
        schedule.reset_times();
        times.map(|times| (times.runs, times.total_ns))
    };
    let mut world = World::new();
    schedule.run_timed(&mut world, &mut (), 0, |()| clock());
    assert_eq!(totals(&mut schedule), [(1, 1), (1, 2), (1, 4)]);
    schedule.run_parallel(&mut world, &mut (), 1, 2, &clock);
    assert_eq!(totals(&mut schedule), [(1, 1), (1, 4), (1, 16)]);
    assert_eq!(schedule.command_times(), ecs::Times::default());
}

#[test]
fn clock_that_runs_backwards_charges_nothing() {
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("grow old", grow_old);
    let mut schedule = builder.build().unwrap();
    let mut now_ns = 100;
    schedule.run_timed(&mut World::new(), &mut (), 0, |()| {
        now_ns -= 10;
        now_ns
    });
    let times = schedule.systems()[0].times();
    assert_eq!((times.runs, times.total_ns, times.max_ns), (1, 0, 0));
}

#[test]
fn spawned_name_is_good_at_once_and_lives_after_the_stage() {
    let mut builder = ScheduleBuilder::<()>::new();
    builder.accept_order();
    builder.add("spawn", |part: &mut Part<'_>, ages: &mut Query<(&mut Age,)>| {
        let child = part.commands.spawn((Age(7),));
        part.commands.insert(child, (Level(1.0),));
        let gone = part.commands.spawn((Age(9),));
        part.commands.despawn(gone);
        part.commands.remove::<Level>(gone);
        assert!(ages.view(part).entity(child).is_none(), "not before the stage ends");
    });
    builder.add("count", |part: &mut Part<'_>, ages: &mut Query<(&mut Age, &Level)>| {
        ages.each(part, |(age, _)| age.0 += 1);
    });
    let mut schedule = builder.build().unwrap();
    let mut world = World::new();
    schedule.run(&mut world, &mut (), 0);
    assert_eq!(world.len(), 1);
    let entity = world.archetypes().iter().flat_map(ecs::Archetype::entities).next().unwrap();
    assert_eq!(world.component::<Age>(*entity), Some(&Age(8)));
    assert_eq!(world.skipped_commands(), 1, "the entity of one command was gone");
}

#[test]
fn resources_are_declared_and_lent() {
    type Alarms = Events<u64>;
    fn raise(part: &mut Part<'_>, ages: &mut Query<(&Age,)>) {
        let alarms = part.resources.of_mut::<Alarms>().unwrap();
        ages.each(&mut part.columns, |(age,)| alarms.send(age.0));
    }
    let mut reader = EventReader::default();
    let count = move |part: &mut Part<'_>, totals: &mut Query<(&mut Level,)>| {
        let sum: u64 = part.resources.of::<Alarms>().unwrap().read(&mut reader).sum();
        totals.each(part, |(level,)| level.0 += sum as f64);
    };
    for threads in [1, 2] {
        let mut builder = ScheduleBuilder::<()>::new();
        builder.add("raise", raise).writes::<Alarms>();
        builder.add("grow", |part: &mut Part<'_>, q: &mut Query<(&mut Inflow,)>| {
            q.each(part, |(inflow,)| inflow.0 += 1.0);
        });
        builder.add("count", count).reads::<Alarms>().after("raise");
        builder.add_exclusive("swap", |world, ()| world.resource_mut::<Alarms>().unwrap().swap());
        let mut schedule = builder.build().unwrap();
        let mut world = World::new();
        world.put_resource(Box::new(Alarms::default()));
        world.spawn_batch((0..5).map(|n| (Age(n),)));
        let total = world.spawn((Level(0.0), Inflow(0.0)));
        for tick in 0..3 {
            schedule.run_parallel(&mut world, &mut (), tick, threads, &|| 0);
        }
        assert_eq!(world.component::<Level>(total), Some(&Level(30.0)));
    }
}

#[test]
#[should_panic(expected = "is not declared to be read")]
fn undeclared_resource_is_refused() {
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("peek", |part: &mut Part<'_>| {
        let _ = part.resources.of::<u32>();
    });
    builder.build().unwrap().run(&mut World::new(), &mut (), 0);
}

#[test]
#[should_panic(expected = "that its system did not declare")]
fn undeclared_query_is_refused() {
    let mut stray = Query::<(&mut Level,)>::new();
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("stray", move |part: &mut Part<'_>, _: &mut Query<(&Level,)>| {
        stray.each(part, |_| {});
    });
    builder.build().unwrap().run(&mut World::new(), &mut (), 0);
}

#[test]
fn parallel_walk_reduces_in_the_order_of_rows() {
    let mut world = World::new();
    world.spawn_batch((0..10_000).map(|n| (Level(1.0 / f64::from(n + 1)), Mean(n as f32))));
    world.spawn_batch((0..5_000).map(|n| (Mean(1e6 + n as f32), Age(n), Level(3.0))));
    world.drain_changed::<Mean>(|_| {});
    let mut write = Query::<(&Level, Tracked<Mean>, Entity)>::new();
    let sum = |chunk: Chunk<'_, (&Level, Tracked<Mean>, Entity)>| {
        let start = chunk.first_row;
        let (levels, mut means, entities) = chunk.slices;
        assert_eq!((levels.len(), means.len()), (entities.len(), entities.len()));
        let mut sum = 0.0;
        for (row, level) in levels.iter().enumerate() {
            sum += level.0;
            if (start as usize + row).is_multiple_of(997) {
                means.row_mut(row).0 += 0.5;
            }
        }
        (chunk.archetype, start, sum)
    };
    let mut one = Vec::new();
    write.par_chunks(&mut world, 1, sum, |part| one.push(part));
    assert_eq!(
        one.iter().map(|part| (part.0, part.1)).collect::<Vec<_>>(),
        [(0, 0), (0, 4096), (0, 8192), (1, 0), (1, 4096)]
    );
    let mut three = Vec::new();
    write.par_chunks(&mut world, 3, sum, |part| three.push(part));
    assert_eq!(one, three);

    let mut found = Vec::new();
    Query::<(&Mean,), (Changed<Mean>, With<Level>)>::new().par_chunks(
        &mut world,
        2,
        |chunk| {
            let (first_row, (means,)) = (chunk.first_row, &chunk.slices);
            let rows = chunk.rows.clone();
            rows.map(|row| (first_row + row as u32, means[row].0)).collect::<Vec<_>>()
        },
        |rows| found.extend(rows),
    );
    let expected = (0..10_000_u32).step_by(997).map(|row| (row, row as f32 + 1.0));
    let later = (0..5_000_u32).step_by(997).map(|row| (row, 1e6 + row as f32 + 1.0));
    assert!(found.iter().copied().eq(expected.chain(later)), "{found:?}");
}

#[test]
#[should_panic(expected = "row 5000 is bad")]
fn panic_on_a_thread_arrives_at_the_caller() {
    let mut world = World::new();
    world.spawn_batch((0..9_000).map(|n| (Age(n),)));
    let check = |chunk: Chunk<'_, (&Age,)>| {
        chunk.each(|(age,)| assert!(age.0 != 5_000, "row {} is bad", age.0));
    };
    Query::<(&Age,)>::new().par_chunks(&mut world, 2, check, |()| ());
}

#[test]
fn panic_of_a_system_leaves_the_world_whole() {
    let mut world = World::new();
    let tank = world.spawn((Level(1.0), Inflow(2.0), Age(3)));
    world.put_resource(Box::new(7_u64));
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("bad", |_: &mut Part<'_>, _: &mut Query<(&mut Level, &Inflow)>| panic!("bad"));
    builder.add("good", |_: &mut Part<'_>, _: &mut Query<(&Inflow,)>| {}).writes::<u64>();
    let mut schedule = builder.build().unwrap();
    let run = || schedule.run_parallel(&mut world, &mut (), 0, 2, &|| 0);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    assert_eq!(world.component(tank), Some(&Level(1.0)));
    assert_eq!(world.component(tank), Some(&Inflow(2.0)));
    assert_eq!(world.resource(), Some(&7_u64));
    world.spawn((Level(0.0), Inflow(0.0), Age(0)));
    assert_eq!(world.len(), 2);
}

/// Runs `schedule` once on `threads` threads, 0 for the sequential run, and says whether it panicked.
fn panics(schedule: &mut Schedule, world: &mut World, tick: u64, threads: usize) -> bool {
    let run = || match threads {
        0 => schedule.run(world, &mut (), tick),
        _ => schedule.run_parallel(world, &mut (), tick, threads, &|| 0),
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
}

#[test]
fn commands_of_a_run_that_panicked_are_gone() {
    for threads in [0, 1, 2] {
        let mut builder = ScheduleBuilder::<()>::new();
        let mut runs = 0;
        builder.add("bad", move |part: &mut Part<'_>, _: &mut Query<(&mut Age,)>| {
            runs += 1;
            if runs == 1 {
                let child = part.commands.spawn((Age(0),));
                part.commands.despawn(child);
                panic!("bad");
            }
        });
        let rare = builder.add("rare", |part: &mut Part<'_>, _: &mut Query<(&mut Level,)>| {
            part.commands.spawn((Level(0.0),));
        });
        rare.every(2);
        let mut schedule = builder.build().unwrap();
        let mut world = World::new();
        assert!(panics(&mut schedule, &mut world, 0, threads));
        let stranger = world.spawn((Inflow(1.0),));
        assert!(!panics(&mut schedule, &mut world, 1, threads));
        assert!(world.contains(stranger), "{threads} threads");
        assert_eq!((world.len(), world.skipped_commands()), (1, 0), "{threads} threads");
    }
}

/// Claims the id of [`Age`].
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Stranger(u64);
impl Component for Stranger {
    const ID: u16 = Age::ID;
    const NAME: &'static str = "Stranger";
}

#[test]
fn command_that_panics_is_not_given_again() {
    for threads in [0, 2] {
        let mut builder = ScheduleBuilder::<()>::new();
        let mut runs = 0;
        builder.add("bad", move |part: &mut Part<'_>| {
            runs += 1;
            match runs {
                1 => part.commands.spawn((Stranger(0),)),
                _ => part.commands.spawn((Level(1.0),)),
            };
        });
        let mut schedule = builder.build().unwrap();
        let mut world = World::new();
        world.register::<(Age,)>();
        assert!(panics(&mut schedule, &mut world, 0, threads));
        assert!(!panics(&mut schedule, &mut world, 1, threads), "{threads} threads");
        assert_eq!(world.len(), 1);
    }
}
