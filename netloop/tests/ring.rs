//! The ring against a `VecDeque`, and between two threads.

use std::collections::VecDeque;
use std::thread;

use netloop::{Consumer, Producer, RUN_RECORDS_MAX, Run, Runs, Slot, lines_of, ring};
use wire::{RECORD_BYTES, Record};

/// SplitMix64: enough chance for a model test, and the seed alone reproduces it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % below as u64) as usize
    }
}

/// Pops up to `max` values as one list.
fn pop_list<T: Copy>(consumer: &mut Consumer<T>, max: usize) -> Vec<T> {
    let mut values = Vec::new();
    let popped = consumer.pop_chunk(max, |first, second| {
        values.extend_from_slice(first);
        values.extend_from_slice(second);
    });
    assert_eq!(popped, values.len());
    values
}

/// One random push of up to `next..`, on the ring and on the model.
fn push(dice: &mut Dice, producer: &mut Producer<u64>, model: &mut VecDeque<u64>, next: &mut u64) {
    let room = producer.capacity() - model.len();
    let count = dice.roll(12);
    let values: Vec<u64> = (*next..).take(count).collect();
    let pushed = match dice.roll(3) {
        0 => usize::from(match producer.push(*next) {
            Ok(()) => true,
            Err(value) => {
                assert_eq!(
                    (value, room),
                    (*next, 0),
                    "a full ring, and only that, returns the value"
                );
                false
            }
        }),
        1 => producer.push_slice(&values),
        _ => {
            let mut values = values.iter().copied();
            let pushed = producer.push_iter(count, &mut values);
            assert_eq!(values.len(), count - pushed, "only what fits is taken from the iterator");
            pushed
        }
    };
    assert!(
        pushed == room.min(count) || (pushed == room.min(1)),
        "{pushed} of {count} into {room}"
    );
    model.extend(*next..*next + pushed as u64);
    *next += pushed as u64;
}

#[test]
fn ring_agrees_with_a_deque() {
    for seed in 0..100 {
        eprintln!("seed {seed}");
        let mut dice = Dice(seed);
        let (mut producer, mut consumer) = ring(1 + dice.roll(20));
        let gauge = producer.gauge();
        let mut model = VecDeque::new();
        let mut next = 0;
        for _ in 0..2_000 {
            match dice.roll(4) {
                0 | 1 => push(&mut dice, &mut producer, &mut model, &mut next),
                2 => assert_eq!(consumer.pop(), model.pop_front()),
                _ => {
                    let max = dice.roll(12);
                    let expected: Vec<u64> = model.drain(..max.min(model.len())).collect();
                    assert_eq!(pop_list(&mut consumer, max), expected);
                }
            }
            assert_eq!(producer.depth(), model.len());
            assert_eq!(consumer.depth(), model.len());
            assert_eq!(gauge.depth(), model.len());
            assert_eq!(producer.free(), producer.capacity() - model.len());
        }
        assert_eq!(gauge.pushed(), next);
    }
}

/// Records from `next` on, no two alike.
fn records(next: u32, count: usize) -> Vec<Record> {
    let record = |number: u32| {
        let mut bytes = [number as u8; RECORD_BYTES];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        Record::from_bytes(bytes)
    };
    (next..).take(count).map(record).collect()
}

/// A run whose hints are the numbers of its records.
fn run(hint: u32, records: &[Record]) -> Run<'_> {
    let (recv_ns, epoch) = (u64::from(hint), hint % 3);
    Run { recv_ns, hint, listed: &[], session: hint % 5, epoch, lag_ns: 7, flags: 0, records }
}

/// Takes the oldest runs, up to `lines_max` lines of them.
fn pop_runs(consumer: &mut Consumer<Slot>, lines_max: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    let popped = consumer.pop_runs(|lines| {
        let mut runs = Runs::new(lines);
        let mut end = 0;
        while let Some(run) = runs.next()
            && lines.len() - runs.lines().len() <= lines_max
        {
            slots.extend(run.slots());
            end = lines.len() - runs.lines().len();
        }
        (end, slots.len())
    });
    assert_eq!(popped, slots.len());
    slots
}

#[test]
fn runs_of_any_length_agree_with_a_deque() {
    for seed in 0..100 {
        eprintln!("seed {seed}");
        let mut dice = Dice(seed);
        let capacity = 1 + dice.roll(100);
        let (mut producer, mut consumer) = ring(capacity);
        let gauge = producer.gauge();
        let mut model = VecDeque::new();
        let mut next = 0;
        for _ in 0..2_000 {
            if dice.roll(2) == 0 {
                let records = records(next, 1 + dice.roll(RUN_RECORDS_MAX));
                let behind = if dice.roll(2) == 0 { records.len() - 1 } else { 0 };
                let hints: Vec<u32> = (0..behind).map(|_| dice.roll(1 << 20) as u32).collect();
                let run = Run { listed: &hints, ..run(next, &records) };
                let free = producer.free();
                let pushed = producer.push_run(&run);
                assert!(pushed >= free.min(records.len()), "a free line is room for a record");
                assert!(pushed == records.len() || producer.free() == 0, "{pushed} of {records:?}");
                // Where the memory ends in the middle of it, its rest is a run of its own, and so may be what has room before
                // that end beside a list that would not.
                let apart = 1 + usize::from(behind > 0);
                assert!(free - producer.free() <= lines_of(pushed.max(1), behind > 0) + apart);
                model.extend(run.slots().take(pushed));
                next += pushed as u32;
            } else {
                let popped = pop_runs(&mut consumer, 1 + dice.roll(60));
                let expected: Vec<Slot> = model.drain(..popped.len()).collect();
                assert_eq!(popped, expected);
            }
            let depths = [producer.depth(), consumer.depth(), gauge.depth()];
            assert_eq!(depths, [model.len(); 3], "depths are records, and not lines");
            assert_eq!(consumer.used(), capacity - producer.free());
        }
        assert_eq!(gauge.pushed(), u64::from(next));
    }
}

#[test]
fn what_a_viewer_leaves_stays_in_the_ring() {
    let (mut producer, mut consumer) = ring(64);
    let records = records(0, 30);
    assert_eq!(producer.push_run(&run(0, &records[..10])), 10);
    assert_eq!(producer.push_run(&run(10, &records[10..])), 20);
    assert_eq!(consumer.pop_runs(|_| (0, 0)), 0);
    let viewing = std::panic::AssertUnwindSafe(|| consumer.pop_runs(|_| panic!("viewer")));
    assert!(std::panic::catch_unwind(viewing).is_err());
    let slots: Vec<Slot> = run(0, &records[..10]).slots().collect();
    assert_eq!(pop_runs(&mut consumer, lines_of(10, false)), slots);
    assert_eq!((consumer.depth(), consumer.used()), (20, lines_of(20, false)));
}

#[test]
fn full_ring_returns_the_record() {
    let (mut producer, mut consumer) = ring(2);
    let slot = |session| Slot { session, ..Slot::new([9; 39]) };
    assert_eq!(producer.push_slice(&[slot(1), slot(2), slot(3)]), 2);
    assert_eq!(producer.push(slot(3)), Err(slot(3)));
    assert_eq!(consumer.pop(), Some(slot(1)));
    assert_eq!(producer.push(slot(3)), Ok(()));
    assert_eq!(pop_list(&mut consumer, 9), [slot(2), slot(3)]);
}

#[test]
fn chunk_that_wraps_is_shown_as_two_slices() {
    let (mut producer, mut consumer) = ring(4);
    producer.push_slice(&[1, 2, 3]);
    pop_list(&mut consumer, 2);
    producer.push_slice(&[4, 5]);
    let mut seen = (vec![], vec![]);
    consumer.pop_chunk(9, |first, second| seen = (first.to_vec(), second.to_vec()));
    assert_eq!(seen, (vec![3, 4], vec![5]));
}

#[test]
fn panic_while_viewing_keeps_the_values() {
    let (mut producer, mut consumer) = ring(4);
    producer.push_slice(&[1, 2]);
    let viewing = std::panic::AssertUnwindSafe(|| consumer.pop_chunk(2, |_, _| panic!("viewer")));
    assert!(std::panic::catch_unwind(viewing).is_err());
    assert_eq!(pop_list(&mut consumer, 2), [1, 2]);
}

#[test]
fn two_threads_exchange_every_value_in_order() {
    const VALUES: u64 = 1_000_000;
    let (mut producer, mut consumer) = ring(1_024);
    let gauge = producer.gauge();
    let pushing = thread::spawn(move || {
        let mut next = 0;
        while next < VALUES {
            let count = (VALUES - next).min(1 + next % 61) as usize;
            let pushed = producer.push_iter(count, next..VALUES);
            next += pushed as u64;
            if pushed == 0 {
                thread::yield_now();
            }
        }
    });
    let mut expected = 0;
    while expected < VALUES {
        let popped = consumer.pop_chunk(97, |first, second| {
            for &value in first.iter().chain(second) {
                assert_eq!(value, expected);
                expected += 1;
            }
        });
        assert!(gauge.depth() <= gauge.capacity());
        if popped == 0 {
            thread::yield_now();
        }
    }
    pushing.join().unwrap();
    assert_eq!((consumer.pop(), gauge.depth()), (None, 0));
}
