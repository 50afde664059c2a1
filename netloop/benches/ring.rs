//! What a record costs in the ring: one at a time, in chunks, and between two threads.

use std::hint::black_box;
use std::thread;

use divan::Bencher;
use divan::counter::ItemsCount;
use netloop::{Slot, ring};

fn main() {
    divan::main();
}

const BURST: usize = 32;

#[divan::bench]
fn one_thread_single(bencher: Bencher<'_, '_>) {
    let (mut producer, mut consumer) = ring(1_024);
    let slot = Slot::new([7; 39]);
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        for _ in 0..BURST {
            let _ = black_box(producer.push(black_box(slot)));
        }
        while let Some(slot) = consumer.pop() {
            black_box(slot.session);
        }
    });
}

#[divan::bench]
fn one_thread_chunked(bencher: Bencher<'_, '_>) {
    let (mut producer, mut consumer) = ring(1_024);
    let slots = [Slot::new([7; 39]); BURST];
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        black_box(producer.push_slice(black_box(&slots)));
        consumer.pop_chunk(BURST, |first, second| {
            black_box((first, second));
        });
    });
}

/// Saturated, 65,536 slots; the figure includes starting and joining the second thread.
#[divan::bench(args = [1, 32, 256], sample_count = 10)]
fn two_threads(bencher: Bencher<'_, '_>, chunk: usize) {
    const SLOTS: usize = 4_000_000;
    bencher.counter(ItemsCount::new(SLOTS)).bench_local(|| {
        let (mut producer, mut consumer) = ring(65_536);
        let pushing = thread::spawn(move || {
            let slots = vec![Slot::new([7; 39]); chunk];
            let mut pushed = 0;
            while pushed < SLOTS {
                match producer.push_slice(&slots[..chunk.min(SLOTS - pushed)]) {
                    0 => thread::yield_now(),
                    n => pushed += n,
                }
            }
        });
        let mut popped = 0;
        let mut sessions = 0_u64;
        while popped < SLOTS {
            let n = consumer.pop_chunk(1_024, |first, second| {
                sessions += first.iter().chain(second).map(|s| u64::from(s.session)).sum::<u64>();
            });
            popped += n;
            if n == 0 {
                thread::yield_now();
            }
        }
        black_box(sessions);
        pushing.join().expect("the pushing thread does not panic");
    });
}
