//! Records that name a device and a sensor, folded into rows; a viewer that learns what changed. `cargo run -p ecs
//! --example ingest`
#![allow(clippy::print_stdout, reason = "an example talks")]

use bytemuck::{Pod, Zeroable};
use ecs::{
    Component, IndexError, KeyIndex, Query, SensorKey, Track, Tracked, World, prefetch_read,
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Mean(f32);
impl Component for Mean {
    const ID: u16 = 1;
    const NAME: &'static str = "Mean";
    const TRACK: Track = Track::Rows;
}

fn main() -> Result<(), IndexError> {
    let mut world = World::new();
    let mut index = KeyIndex::new([0x5eed, 0xfeed], 10_000);
    for device in 0..1_000_u16 {
        for sensor in 0..5 {
            world.spawn((Mean(0.0),));
            let row = (world.len() - 1) as u32;
            index.insert(key(device, sensor), row)?;
        }
    }
    let viewer = world.add_cursor::<Mean>();
    world.drain_changed::<Mean>(|_| {});
    world.drain_cursor(&viewer, |_, _| {});

    // A tick: each record is looked up and folded; the memory of those to come is already asked for.
    let records: Vec<(SensorKey, f32)> = (0..100).map(|n| (key(n * 7 % 50, n % 5), 20.0)).collect();
    let mut means = Query::<(Tracked<Mean>,)>::new();
    let mut view = means.view(&mut world);
    index.find_each(
        &records,
        |(key, _)| *key,
        view.slices(0).expect("the archetype of all sensors"),
        |(means,), row| prefetch_read(means, row as usize),
        |(means,), (_, value), row| {
            if let Some(row) = row {
                let mean = means.row_mut(row as usize);
                mean.0 = 0.9 * mean.0 + 0.1 * value;
            }
        },
    );
    drop(view);
    world.drain_changed::<Mean>(|_| {});

    let mut changed = 0;
    world.drain_cursor(&viewer, |_, _| changed += 1);
    println!("{} records changed {changed} of {} rows", records.len(), world.len());
    Ok(())
}

fn key(device: u16, sensor: u16) -> SensorKey {
    let mut name = [0; 16];
    name[..2].copy_from_slice(&device.to_le_bytes());
    SensorKey { device: name, sensor }
}
