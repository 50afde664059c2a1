//! The key index against a `BTreeMap`, at its limits, and under keys that were chosen against its hash.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ecs::{IndexError, KeyIndex, SensorKey};

const SECRETS: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// The same bound as the index promises: a search never passes more slots than this.
const PROBE_SLOTS_MAX: usize = 128;

/// SplitMix64: every seed gives a sequence of its own.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn key(first: u64, second: u64, sensor: u16) -> SensorKey {
    let mut device = [0; 16];
    device[..8].copy_from_slice(&first.to_le_bytes());
    device[8..].copy_from_slice(&second.to_le_bytes());
    SensorKey { device, sensor }
}

/// Everything that the index says, compared with the model.
fn check(index: &KeyIndex<u32>, model: &BTreeMap<SensorKey, u32>, absent: &[SensorKey]) {
    assert_eq!(index.len(), model.len());
    assert_eq!(index.is_empty(), model.is_empty());
    assert_eq!(index.iter().collect::<BTreeMap<_, _>>(), *model);
    assert!(index.probe_slots_max() < PROBE_SLOTS_MAX);
    let keys: Vec<_> = model.keys().chain(absent).copied().collect();
    let expected: Vec<_> = keys.iter().map(|key| model.get(key).copied()).collect();
    let mut found = vec![Some(u32::MAX); keys.len()];
    index.find_batch(&keys, &mut found);
    assert_eq!(found, expected);
    for (key, expected) in keys.iter().zip(expected) {
        assert_eq!(index.find(*key), expected);
    }
}

#[test]
fn random_operations_agree_with_a_tree() {
    for seed in 0..24 {
        eprintln!("seed {seed}");
        let mut random = Random(seed);
        // Few devices make hits, replacements and emptied runs frequent; many make the table grow.
        let devices = [3, 40, 2_000][seed as usize % 3];
        let sensors = [5, 11, 60, 65_536][seed as usize % 4];
        let mut index = KeyIndex::new([random.next(), random.next()], 100_000);
        let mut model = BTreeMap::new();
        let mut absent = Vec::new();
        for step in 0..6_000_u32 {
            let key = key(random.below(devices), 0, random.below(sensors) as u16);
            let growing = (step / 1_500) % 2 == 0;
            if random.below(10) < if growing { 7 } else { 2 } {
                assert_eq!(index.insert(key, step), Ok(model.insert(key, step)));
            } else {
                assert_eq!(index.remove(key), model.remove(&key));
                absent.push(key);
            }
            if step % 997 == 0 {
                check(&index, &model, &absent);
            }
        }
        check(&index, &model, &absent);
        for key in model.keys().copied().collect::<Vec<_>>() {
            assert_eq!(index.remove(key), model.remove(&key));
        }
        check(&index, &model, &absent);
        assert_eq!(index.runs(), 0);
    }
}

#[test]
fn large_index_answers_batches_of_every_length() {
    let mut index = KeyIndex::new(SECRETS, 100_000);
    for device in 0..20_000 {
        index.insert(key(0, device, 4), device as u32).unwrap();
    }
    assert!(index.memory_bytes() > 1 << 20, "the batch takes the way with prefetching");
    for length in [0, 1, 15, 16, 17, 63, 64, 65, 100] {
        // Every third key is absent: another sensor of the same run, or an unknown device.
        let keys: Vec<_> = (0..length)
            .map(|at| match at % 6 {
                2 => key(0, at, 5),
                5 => key(1, at, 4),
                _ => key(0, at * 101, 4),
            })
            .collect();
        let expected: Vec<_> =
            (0..length).map(|at| (at % 3 != 2).then_some(at as u32 * 101)).collect();
        let mut found = vec![None; keys.len()];
        index.find_batch(&keys, &mut found);
        assert_eq!(found, expected);
    }
}

#[test]
fn records_are_visited_in_order_and_what_they_name_is_asked_for_before() {
    for (devices, large) in [(20, false), (20_000, true)] {
        let mut index = KeyIndex::new(SECRETS, 100_000);
        for device in 0..devices {
            index.insert(key(0, device, 4), device as u32).unwrap();
        }
        assert_eq!(index.memory_bytes() > 1 << 20, large);
        for length in [0, 1, 15, 16, 17, 47, 48, 49, 64, 200] {
            let records: Vec<u64> = (0..length).map(|at| at * 7 % (devices + 9)).collect();
            let known = |&record: &u64| (record < devices).then_some(record as u32);
            let (asked, mut visited) = (RefCell::new(Vec::new()), Vec::new());
            index.find_each(
                &records,
                |record| key(0, *record, 4),
                &mut visited,
                |visited, value| asked.borrow_mut().push((visited.len(), value)),
                |visited, record, found| visited.push((*record, found)),
            );
            let expected: Vec<_> = records.iter().map(|record| (*record, known(record))).collect();
            assert_eq!(visited, expected);
            let asked = asked.into_inner();
            if large {
                assert!(asked.iter().map(|&(_, value)| value).eq(records.iter().filter_map(known)));
                let places = (0..).zip(&records).filter(|(_, record)| known(record).is_some());
                for ((visited, _), (place, _)) in asked.iter().zip(places) {
                    assert!(*visited <= place && place - visited < 32);
                }
            } else {
                assert_eq!(asked, []);
            }
        }
    }
}

#[test]
#[should_panic(expected = "each key has one place for its value")]
fn batch_with_too_few_places_is_refused() {
    KeyIndex::<u32>::new(SECRETS, 1).find_batch(&[key(0, 0, 0); 2], &mut [None]);
}

#[test]
fn neighbouring_sensors_share_a_run_and_the_last_id_is_served() {
    let mut index = KeyIndex::new(SECRETS, 10);
    for sensor in 0..=10 {
        index.insert(key(1, 2, sensor), u32::from(sensor)).unwrap();
    }
    assert_eq!(index.runs(), 1);
    for sensor in [11, u16::MAX - 1, u16::MAX] {
        index.insert(key(1, 2, sensor), u32::from(sensor)).unwrap();
    }
    assert_eq!(index.runs(), 3);
    assert_eq!(index.find(key(1, 2, u16::MAX)), Some(65_535));
    assert_eq!(index.find(key(1, 2, u16::MAX - 2)), None);
}

#[test]
fn emptied_run_makes_room_for_another() {
    let mut index = KeyIndex::new(SECRETS, 2);
    index.insert(key(1, 0, 0), 1_u32).unwrap();
    index.insert(key(2, 0, 0), 2).unwrap();
    assert_eq!(index.insert(key(3, 0, 0), 3), Err(IndexError::Full { runs_max: 2 }));
    assert_eq!(index.insert(key(2, 0, 1), 4), Ok(None), "a key of a present run needs no room");
    assert_eq!(index.remove(key(1, 0, 0)), Some(1));
    assert_eq!(index.remove(key(1, 0, 0)), None);
    assert_eq!(index.insert(key(3, 0, 0), 3), Ok(None));
    assert_eq!((index.find(key(2, 0, 0)), index.find(key(3, 0, 0))), (Some(2), Some(3)));
    assert_eq!((index.len(), index.runs()), (3, 2));
}

#[test]
fn reserved_index_takes_the_promised_runs_without_new_memory() {
    let mut index = KeyIndex::new(SECRETS, 5_000);
    index.insert(key(0, 0, 0), 0_u32).unwrap();
    index.reserve(4_999).unwrap();
    let reserved_bytes = index.memory_bytes();
    for device in 1..5_000 {
        index.insert(key(0, device, 0), device as u32).unwrap();
    }
    assert_eq!(index.memory_bytes(), reserved_bytes);
    assert!((0..5_000).all(|device| index.find(key(0, device, 0)) == Some(device as u32)));
    assert_eq!(index.reserve(1), Err(IndexError::Full { runs_max: 5_000 }));
}

#[test]
fn keys_chosen_against_the_secrets_cost_one_rebuild_and_no_long_search() {
    // The first half of the device equals the first secret, so that the product in the hash is 0 for every second half.
    let mut index = KeyIndex::new(SECRETS, 100_000);
    let mut model = BTreeMap::new();
    for device in 0..10_000 {
        let key = key(SECRETS[0], device, 0);
        assert_eq!(index.insert(key, device as u32), Ok(None));
        model.insert(key, device as u32);
    }
    assert_eq!(index.reseeds(), 1);
    check(&index, &model, &[key(SECRETS[0], 10_000, 0), key(SECRETS[0], 0, 1)]);
}

#[test]
fn order_of_keys_does_not_depend_on_the_secrets() {
    let fill = |secrets| {
        let mut index = KeyIndex::new(secrets, 10_000);
        let mut random = Random(7);
        for step in 0..4_000_u32 {
            let key = key(random.below(500), 1, random.below(20) as u16);
            if random.below(3) == 0 {
                index.remove(key);
            } else {
                index.insert(key, step).unwrap();
            }
        }
        index.iter().collect::<Vec<_>>()
    };
    let first = fill(SECRETS);
    assert!(first.len() > 1_000);
    assert_eq!(first, fill([1, 2]));
}

/// The key of the sensor with this number.
type KeyOf = fn(u64) -> SensorKey;

#[test]
fn honest_fleets_keep_searches_short() {
    // Random names, names that count up at either end, and names that differ in one high bit group.
    let fleets: [(&str, KeyOf); 4] = [
        ("random", |at| key(Random(at).next(), Random(!at).next(), (at % 5) as u16)),
        ("counting in front", |at| key(at, 0, 0)),
        ("counting behind", |at| key(0x1111, at.swap_bytes(), 0)),
        ("one gateway", |at| key(5, 5, at as u16)),
    ];
    for (name, of) in fleets {
        let mut index = KeyIndex::new(SECRETS, 100_000);
        for at in 0..50_000 {
            index.insert(of(at), at as u32).unwrap();
        }
        eprintln!("{name}: probe {} slots, {} runs", index.probe_slots_max(), index.runs());
        assert_eq!((index.len(), index.reseeds()), (50_000, 0), "{name}");
        assert!(index.probe_slots_max() < 100, "{name}: {} slots", index.probe_slots_max());
    }
}

#[test]
fn fleet_of_five_sensors_a_device_takes_few_bytes_a_sensor() {
    let (devices, sensors) = (40_000, 5);
    let mut index = KeyIndex::new(SECRETS, devices);
    index.reserve(devices).unwrap();
    for at in 0..devices * sensors {
        let key = key(Random((at / sensors) as u64).next(), 9, (at % sensors) as u16);
        index.insert(key, at as u32).unwrap();
    }
    // A line of 64 bytes a device, and 131,072 slots of 4 bytes.
    assert_eq!(index.memory_bytes(), 64 * devices + 4 * 131_072);
    assert!(index.memory_bytes() * 10 <= 155 * index.len(), "at most 15.5 bytes a sensor");
}

#[test]
fn wide_values_are_served() {
    let mut index = KeyIndex::new(SECRETS, 10);
    index.insert(key(1, 1, 10), (u64::MAX, 'x')).unwrap();
    assert_eq!(index.find(key(1, 1, 10)), Some((u64::MAX, 'x')));
    assert_eq!(index.remove(key(1, 1, 10)), Some((u64::MAX, 'x')));
}
