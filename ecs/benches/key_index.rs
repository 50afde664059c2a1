//! Lookups in the key index: single, in batches, and beside the standard hash map. Counts are sensors; 5 to a device.
//!
//! Keys are drawn uniformly, and each measured call takes the next ones of a sequence of a million, so that neither the
//! cache nor the branch predictor has seen them shortly before. `cargo bench -p ecs --bench key_index`

use std::collections::HashMap;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use ecs::{KeyIndex, SensorKey};

const SECRETS: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
const SENSORS_PER_DEVICE: u32 = 5;
/// Keys of one measured call: what a tick drains at about a million records a second.
const BATCH_KEYS: usize = 16_384;
/// Measured calls before a key comes again.
const BATCHES: usize = 64;
const FLEETS: [u32; 4] = [10_000, 50_000, 200_000, 1_000_000];

fn main() {
    divan::main();
}

#[divan::bench(args = FLEETS, sample_count = 256, sample_size = 1)]
fn find(bencher: Bencher, sensors: u32) {
    let (index, keys) = (index_of(sensors), random_keys(sensors));
    let mut batches = keys.chunks(BATCH_KEYS).cycle();
    bencher.counter(ItemsCount::new(BATCH_KEYS)).bench_local(|| {
        for key in batches.next().into_iter().flatten() {
            black_box(index.find(*key));
        }
    });
}

#[divan::bench(args = FLEETS, sample_count = 256, sample_size = 1)]
fn find_batch(bencher: Bencher, sensors: u32) {
    let (index, keys) = (index_of(sensors), random_keys(sensors));
    let mut batches = keys.chunks(BATCH_KEYS).cycle();
    let mut found = vec![None; BATCH_KEYS];
    bencher.counter(ItemsCount::new(BATCH_KEYS)).bench_local(|| {
        if let Some(keys) = batches.next() {
            index.find_batch(keys, black_box(&mut found));
        }
    });
}

#[divan::bench(args = FLEETS, sample_count = 256, sample_size = 1)]
fn standard_map(bencher: Bencher, sensors: u32) {
    let map: HashMap<_, _> = (0..sensors).map(|at| (key(at), at)).collect();
    let keys = random_keys(sensors);
    let mut batches = keys.chunks(BATCH_KEYS).cycle();
    bencher.counter(ItemsCount::new(BATCH_KEYS)).bench_local(|| {
        for key in batches.next().into_iter().flatten() {
            black_box(map.get(key).copied());
        }
    });
}

#[divan::bench(args = FLEETS, sample_count = 10)]
fn insert_all(bencher: Bencher, sensors: u32) {
    bencher.counter(ItemsCount::new(sensors)).bench(|| index_of(sensors));
}

fn index_of(sensors: u32) -> KeyIndex<u32> {
    let devices = (sensors / SENSORS_PER_DEVICE) as usize;
    let mut index = KeyIndex::new(SECRETS, devices);
    index.reserve(devices).expect("there is room because the limit is the fleet");
    for at in 0..sensors {
        index.insert(key(at), at).expect("there is room because it was reserved");
    }
    index
}

/// The sensor at `at`, of a device with a random name.
fn key(at: u32) -> SensorKey {
    let device = u64::from(at / SENSORS_PER_DEVICE);
    let mut name = [0; 16];
    name[..8].copy_from_slice(&mix(device).to_le_bytes());
    name[8..].copy_from_slice(&mix(!device).to_le_bytes());
    SensorKey { device: name, sensor: (at % SENSORS_PER_DEVICE) as u16 }
}

/// Neighbouring keys belong to unrelated devices: the worst case of a tick.
fn random_keys(sensors: u32) -> Vec<SensorKey> {
    let count = (BATCH_KEYS * BATCHES) as u64;
    (0..count).map(|at| key((mix(at) % u64::from(sensors)) as u32)).collect()
}

fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
