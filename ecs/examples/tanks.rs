//! Tanks that fill and drain: components, queries, a schedule, and what it cost. `cargo run -p ecs --example tanks`
#![allow(clippy::print_stdout, reason = "an example talks")]

use bytemuck::{Pod, Zeroable};
use ecs::{Component, Part, Query, ScheduleBuilder, ScheduleError, World};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Level(f32);
impl Component for Level {
    const ID: u16 = 1;
    const NAME: &'static str = "Level";
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Flow {
    into: f32,
    out: f32,
}
impl Component for Flow {
    const ID: u16 = 2;
    const NAME: &'static str = "Flow";
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Age(u64);
impl Component for Age {
    const ID: u16 = 3;
    const NAME: &'static str = "Age";
}

fn flow(part: &mut Part<'_>, tanks: &mut Query<(&mut Level, &Flow)>) {
    tanks.each(part, |(level, flow)| level.0 += flow.into - flow.out);
}

fn limit(part: &mut Part<'_>, tanks: &mut Query<(&mut Level,)>) {
    tanks.each(part, |(level,)| level.0 = level.0.clamp(0.0, 10.0));
}

fn age(part: &mut Part<'_>, all: &mut Query<(&mut Age,)>) {
    all.each(part, |(age,)| age.0 += 1);
}

fn main() -> Result<(), ScheduleError> {
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("flow", flow);
    builder.add("limit", limit).after("flow");
    builder.add("age", age).every(10);
    let mut schedule = builder.build()?;

    let mut world = World::new();
    let tank = |n: u32| {
        let flow = Flow { into: (n % 7) as f32 * 0.1, out: 0.25 };
        (Level(5.0), flow, Age(0))
    };
    world.spawn_batch((0..100_000).map(tank));
    for tick in 1..=100 {
        schedule.run(&mut world, &mut (), tick);
    }
    println!("{schedule}");

    let mut levels = Query::<(&Level,)>::new();
    let (mut count, mut sum) = (0, 0.0);
    levels.par_chunks(
        &mut world,
        2,
        |chunk| chunk.slices.0.iter().map(|level| f64::from(level.0)).sum::<f64>(),
        |part| (count, sum) = (count + 1, sum + part),
    );
    println!("mean level {:.3} out of {count} chunks", sum / world.len() as f64);
    Ok(())
}
