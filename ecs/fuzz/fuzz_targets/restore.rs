//! Bytes as a snapshot: they are refused and change nothing, or make a world whose own snapshot they are.
#![no_main]

use bytemuck::{Pod, Zeroable};
use ecs::{Component, Fold, Snapshot, World, WorldHash};
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
    // Most inputs fail early; a true snapshot with some bytes of its own replaced gets further.
    let mut near = Snapshot::default().take(&plant()).to_vec();
    for change in bytes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % near.len();
        near[at] = change[2];
    }
    for bytes in [bytes, &signed(bytes), &near, &signed(&near)] {
        let mut world = plant();
        match world.restore(bytes) {
            Ok(()) => check_taken(bytes),
            Err(_) => assert_eq!(hash(&world), hash(&plant())),
        }
    }
});

/// A world with three archetypes, of which one is empty, and with a living, a free and a reserved name.
fn plant() -> World {
    let mut world = World::new();
    world.spawn((Level(1.0), Mean(2.0)));
    let gone = world.spawn((Level(3.0),));
    world.spawn((Mean(4.0),));
    world.reserve_entity();
    world.despawn(gone).expect("a living entity");
    world
}

/// The bytes under a checksum that fits, so that what lies behind that check is met.
fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut signed = bytes.to_vec();
    if let Some((covered, checksum)) = signed.split_last_chunk_mut::<8>() {
        let mut hash = Fold::new();
        hash.write(covered);
        *checksum = hash.finish().to_ne_bytes();
    }
    signed
}

/// What was taken once gives the same bytes again, where the schema is that of the world: this knows two components.
fn check_taken(bytes: &[u8]) {
    let again = round(bytes);
    if bytes[8..16] == 2_u64.to_ne_bytes() {
        assert_eq!(again, bytes);
    }
    assert_eq!(round(&again), again);
}

/// The snapshot of a new world that was restored from `bytes`.
fn round(bytes: &[u8]) -> Vec<u8> {
    let mut world = World::new();
    world.register::<(Level, Mean)>();
    world.restore(bytes).expect("bytes that were taken before");
    Snapshot::default().take(&world).to_vec()
}

fn hash(world: &World) -> u64 {
    WorldHash::default().of(world)
}
