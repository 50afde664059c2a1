//! What a turn pays for the session deadlines: looking, re-arming in vain, arming earlier, and calling.

use std::hint::black_box;
use std::time::{Duration, Instant};

use divan::Bencher;
use netloop::{Clock, Wheel};

fn main() {
    divan::main();
}

const KEYS: [u32; 3] = [1, 1_000, 100_000];

/// What is called: nothing that the compiler could leave out.
fn see(key: u32) {
    black_box(key);
}

/// A wheel in which `keys` keys wait, a second to a minute ahead.
fn waiting(keys: u32) -> (Wheel, Instant) {
    let start = Clock::new().now().instant;
    let mut wheel = Wheel::new(start, 1_000);
    for key in 0..keys {
        let ahead_us = 1_000_000 + u64::from(key) * 7_919 % 59_000_000;
        wheel.arm(key, start + Duration::from_micros(ahead_us));
    }
    (wheel, start)
}

#[divan::bench(args = KEYS)]
fn poll_nothing_due(bencher: Bencher<'_, '_>, keys: u32) {
    let (mut wheel, start) = waiting(keys);
    bencher.bench_local(|| wheel.poll(black_box(start), &mut see));
}

/// The usual case: an idle timer moved later, which the wheel does not follow.
#[divan::bench(args = KEYS)]
fn arm_later(bencher: Bencher<'_, '_>, keys: u32) {
    let (mut wheel, start) = waiting(keys);
    let later = start + Duration::from_secs(120);
    let mut key = 0;
    bencher.bench_local(|| {
        key = (key + 1) % keys;
        wheel.arm(black_box(key), black_box(later));
    });
}

/// A key moves to an earlier deadline, is called, and is armed again: a whole round.
#[divan::bench(args = KEYS)]
fn arm_and_call(bencher: Bencher<'_, '_>, keys: u32) {
    let (mut wheel, start) = waiting(keys);
    let mut now = start;
    let mut key = 0;
    bencher.bench_local(|| {
        key = (key + 1) % keys;
        now += Duration::from_micros(2);
        wheel.arm(key, now);
        wheel.poll(now, &mut see)
    });
}
