//! Bytes as a snapshot: they are refused and change nothing, or make a world whose own snapshot they are.
#![no_main]

use bytemuck::{Pod, Zeroable};
use ecs::{Component, Snapshot, World, WorldHash};
use libfuzzer_sys::fuzz_target;

macro_rules! component {
    ($name:ident($value:ty), $id:literal) => {
        #[repr(C)]
        #[derive(Clone, Copy, Pod, Zeroable)]
        struct $name($value);
        impl Component for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
        }
    };
}

component!(Level(f64), 1);
component!(Mean(f32), 2);

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    let entity = world.spawn((Level(1.0), Mean(2.0)));
    world.spawn((Mean(3.0),));
    let before = WorldHash::default().of(&world);
    // Most inputs fail early; a true snapshot with one byte of the input in it gets further.
    let mut near = Snapshot::default().take(&world).to_vec();
    if let [at, value, ..] = bytes {
        let at = usize::from(*at) % near.len();
        near[at] = *value;
    }
    for bytes in [bytes, &near] {
        if world.restore(bytes).is_err() {
            assert_eq!(WorldHash::default().of(&world), before);
        }
    }
    assert!(world.contains(entity));
});
