//! What two threads share in this crate, without a test harness, so that the thread sanitizer can watch it alone:
//! scripts/sanitize.sh. Also an ordinary test, which only sees wrong values.
//!
//! The threads synchronise through what is under test and through nothing else, so that a missing release or acquire
//! in it is not hidden by a lock of the test.

use std::hint::black_box;
use std::thread;

use netloop::{Clock, Idle, IdleStrategy, Run, Runs, Slot, WorkerStats, ring, wake_line};
use wire::{RECORD_BYTES, Record};

const RECORDS: u64 = 300_000;

fn main() {
    chunks_through_a_ring();
    runs_through_a_ring();
    sleeping_consumer_sees_what_was_pushed();
}

/// Every field of a slot is derived from its number, so that a torn or early read shows as a wrong value, too.
fn slot(number: u64) -> Slot {
    let mut slot = Slot::new([number as u8; 39]);
    slot.session = number as u32;
    slot.recv_ns = number;
    slot
}

fn chunks_through_a_ring() {
    let (mut producer, mut consumer) = ring::<Slot>(257);
    let gauge = producer.gauge();
    let stats = WorkerStats::shared();
    let seen = std::sync::Arc::clone(&stats);
    let pushing = thread::spawn(move || {
        let mut next = 0;
        while next < RECORDS {
            let count = (1 + next % 40).min(RECORDS - next);
            let pushed = match next % 3 {
                0 => usize::from(producer.push(slot(next)).is_ok()),
                1 => producer.push_iter(count as usize, (next..).map(slot)),
                _ => {
                    let slots: Vec<Slot> = (next..next + count).map(slot).collect();
                    producer.push_slice(&slots)
                }
            };
            next += pushed as u64;
            stats.t1.received.add(pushed as u64);
            if pushed == 0 {
                thread::yield_now();
            }
        }
    });
    let mut next = 0;
    while next < RECORDS {
        let popped = if next.is_multiple_of(5) {
            consumer.pop().map_or(0, |popped| {
                assert_eq!(popped, slot(next));
                1
            })
        } else {
            consumer.pop_chunk(64, |first, second| {
                for (popped, number) in first.iter().chain(second).zip(next..) {
                    assert_eq!(*popped, slot(number));
                }
            })
        };
        next += popped as u64;
        assert!(gauge.depth() <= gauge.capacity());
        black_box(seen.t1.received.value());
        if popped == 0 {
            thread::yield_now();
        }
    }
    pushing.join().expect("the pushing thread does not panic");
    assert_eq!(seen.t1.received.value(), RECORDS);
}

fn runs_through_a_ring() {
    let (mut producer, mut consumer) = ring::<Slot>(257);
    let gauge = producer.gauge();
    let record = |number: u64| Record::from_bytes([number as u8; RECORD_BYTES]);
    let pushing = thread::spawn(move || {
        let mut next = 0;
        while next < RECORDS {
            let count = (1 + next % 60).min(RECORDS - next);
            let records: Vec<Record> = (next..next + count).map(record).collect();
            let numbers: Vec<u32> = (next as u32 + 1..next as u32 + count as u32).collect();
            let run = Run {
                recv_ns: next,
                hint: next as u32,
                listed: if next % 2 == 0 { &numbers } else { &[] },
                session: next as u32,
                epoch: 0,
                lag_ns: 0,
                flags: 0,
                records: &records,
            };
            next += producer.push_run(&run) as u64;
            thread::yield_now();
        }
    });
    let mut next = 0;
    while next < RECORDS {
        let popped = consumer.pop_runs(|lines| {
            let mut count = 0;
            for (slot, number) in Runs::new(lines).slots().zip(next..) {
                assert_eq!((slot.hint, slot.record), (number as u32, [number as u8; RECORD_BYTES]));
                count += 1;
            }
            (lines.len(), count)
        });
        next += popped as u64;
        black_box(gauge.depth());
        if popped == 0 {
            thread::yield_now();
        }
    }
    pushing.join().expect("the pushing thread does not panic");
}

fn sleeping_consumer_sees_what_was_pushed() {
    let (waker, sleeper) = wake_line().expect("a descriptor is free");
    let (mut producer, mut consumer) = ring::<Slot>(8);
    let pushing = thread::spawn(move || {
        let mut next = 0;
        while next < RECORDS / 10 {
            if producer.push(slot(next)).is_ok() {
                next += 1;
                waker.wake();
            } else {
                thread::yield_now();
            }
        }
    });
    let clock = Clock::new();
    let mut idle = Idle::new(IdleStrategy::Wait);
    let mut next = 0;
    while next < RECORDS / 10 {
        match consumer.pop() {
            Some(popped) => {
                assert_eq!(popped, slot(next));
                next += 1;
            }
            None => {
                idle.idle(None, Some(&sleeper), None, clock.now().instant);
            }
        }
    }
    pushing.join().expect("the pushing thread does not panic");
}
