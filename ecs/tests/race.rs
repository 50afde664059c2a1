//! The parallel executor under the thread sanitizer: a program without a harness, which shares nothing between threads
//! but what is under test. Run as an ordinary test it checks the same sums.

use bytemuck::{Pod, Zeroable};
use ecs::{Chunk, Component, Entity, Part, Query, ScheduleBuilder, Track, Tracked, World};

macro_rules! component {
    ($name:ident($value:ty), $id:literal, $track:expr) => {
        #[repr(C)]
        #[derive(Clone, Copy, Pod, Zeroable)]
        struct $name($value);
        impl Component for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
            const TRACK: Track = $track;
        }
    };
}

component!(Left(u64), 1, Track::Column);
component!(Right(u64), 2, Track::Rows);
component!(Shared(u64), 3, Track::Column);

fn left(part: &mut Part<'_>, rows: &mut Query<(&mut Left, &Shared)>) {
    rows.each(part, |(left, shared)| left.0 += shared.0);
}

fn right(part: &mut Part<'_>, rows: &mut Query<(Tracked<Right>, &Shared, Entity)>) {
    rows.each(&mut part.columns, |(mut right, shared, entity)| {
        right.0 += 2 * shared.0;
        if shared.0 == 7 && right.0 == 14 {
            part.commands.insert(entity, (Shared(8),));
            part.commands.spawn((Shared(0), Left(0), Right(0)));
        }
    });
}

fn main() {
    let mut world = World::new();
    world.spawn_batch((0..20_000).map(|n| (Left(0), Right(0), Shared(n % 10))));
    let mut builder = ScheduleBuilder::<()>::new();
    builder.add("left", left);
    builder.add("right", right);
    let mut schedule = builder.build().expect("systems that write nothing in common");
    for tick in 0..20 {
        schedule.run_parallel(&mut world, &mut (), tick, 2, &|| 0);
    }
    assert_eq!(world.len(), 22_000);
    let mut sum = 0;
    let double = |chunk: Chunk<'_, (&mut Left, Tracked<Right>)>| {
        let mut sum = 0;
        chunk.each(|(left, mut right)| {
            left.0 *= 2;
            right.0 += 1;
            sum += left.0;
        });
        sum
    };
    Query::<(&mut Left, Tracked<Right>)>::new()
        .par_chunks(&mut world, 3, double, |part| sum += part);
    // Each row adds its shared value in 20 ticks, and those of 7 add 8 in the last 19; all doubled.
    assert_eq!(sum, 2 * 2_000 * (20 * 45 + 19));
}
