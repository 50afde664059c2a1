//! The timing wheel against a sorted map, in virtual time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use netloop::{Clock, Wheel};

/// SplitMix64: enough chance for a model test, and the seed alone reproduces it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
}

fn poll(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
    let mut keys = Vec::new();
    let called = wheel.poll(now, &mut |key| keys.push(key));
    assert_eq!(called, keys.len());
    keys.sort_unstable();
    keys
}

fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

#[test]
fn wheel_agrees_with_a_sorted_map() {
    for seed in 0..200 {
        eprintln!("seed {seed}");
        check_against_map(seed);
    }
}

/// Slots of 1 us and deadlines on whole microseconds, so that the map knows the exact call.
fn check_against_map(seed: u64) {
    let mut dice = Dice(seed);
    let start = Clock::new().now().instant;
    let mut wheel = Wheel::new(start, 1_000);
    let mut waiting: BTreeMap<u32, u64> = BTreeMap::new();
    let mut now_us = 0;
    for _ in 0..2_000 {
        match dice.roll(8) {
            0..=3 => {
                let key = dice.roll(50) as u32;
                let reach = 1 << dice.roll(36);
                let due = now_us + 1 + dice.roll(reach);
                wheel.arm(key, start + micros(due));
                waiting.entry(key).and_modify(|queued| *queued = (*queued).min(due)).or_insert(due);
            }
            4 => {
                let key = dice.roll(50) as u32;
                wheel.disarm(key);
                waiting.remove(&key);
            }
            _ => {
                let reach = 1 << dice.roll(34);
                now_us += dice.roll(reach);
                let due: Vec<u32> = waiting
                    .iter()
                    .filter(|&(_, &due)| due <= now_us)
                    .map(|(&key, _)| key)
                    .collect();
                waiting.retain(|_, due| *due > now_us);
                assert_eq!(poll(&mut wheel, start + micros(now_us)), due, "at {now_us} us");
            }
        }
        match (wheel.next_deadline(), waiting.values().min()) {
            (Some(next), Some(&due)) => assert!(next <= start + micros(due)),
            (next, due) => assert_eq!((next, due), (None, None)),
        }
    }
}

/// A worker that sleeps until `next_deadline` each time meets every deadline, on time, in a bounded number of wakes.
#[test]
fn sleeping_until_next_deadline_meets_every_deadline() {
    let start = Clock::new().now().instant;
    let mut wheel = Wheel::new(start, 1_000);
    let dues: Vec<u64> = (0..1_000).map(|key| 1 + key * key * 37 % 5_000_000).collect();
    for (key, &due) in dues.iter().enumerate() {
        wheel.arm(key as u32, start + micros(due));
    }
    let mut called = vec![None; dues.len()];
    let mut wakes = 0;
    while let Some(next) = wheel.next_deadline() {
        wakes += 1;
        wheel.poll(next, &mut |key| called[key as usize] = Some((next - start).as_micros() as u64));
    }
    let expected: Vec<_> = dues.into_iter().map(Some).collect();
    assert_eq!(called, expected);
    assert!(wakes <= 4_000, "each key moves down at most four levels here: {wakes}");
}

#[test]
fn later_deadline_is_not_followed_and_earlier_one_is() {
    let start = Clock::new().now().instant;
    let mut wheel = Wheel::new(start, 1_000);
    wheel.arm(3, start + micros(500));
    wheel.arm(3, start + micros(900));
    assert_eq!(poll(&mut wheel, start + micros(500)), [3]);
    wheel.arm(3, start + micros(90_000));
    wheel.arm(3, start + micros(600));
    assert_eq!(poll(&mut wheel, start + micros(599)), []);
    assert_eq!(poll(&mut wheel, start + micros(600)), [3]);
    assert_eq!(poll(&mut wheel, start + micros(100_000)), []);
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn key_is_never_called_early_within_a_slot() {
    let start = Clock::new().now().instant;
    let mut wheel = Wheel::new(start, 1_000);
    wheel.arm(0, start + Duration::from_nanos(1_001));
    assert_eq!(poll(&mut wheel, start + Duration::from_nanos(1_999)), []);
    assert_eq!(poll(&mut wheel, start + Duration::from_nanos(2_000)), [0]);
}

#[test]
fn deadline_in_the_past_is_called_in_the_next_slot() {
    let start = Clock::new().now().instant;
    let mut wheel = Wheel::new(start, 1_000);
    wheel.arm(1, start + micros(10));
    assert_eq!(poll(&mut wheel, start + micros(50)), [1]);
    wheel.arm(1, start + micros(20));
    assert_eq!(poll(&mut wheel, start + micros(50)), []);
    assert_eq!(poll(&mut wheel, start + micros(51)), [1]);
}
