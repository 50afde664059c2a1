//! Every hop of a record is in the ledger, the hops add up to the whole, and an outlier has the cause that it had.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod rig;

use netloop::Slot;
use rig::{Rig, START_NS, TICK_NS, options};
use twin::interval::Latency;
use twin::world::{Cause, TierLedger, WorldOptions};
use wire::{DeviceId, Reading, Record, SensorType, Tier};

const MS: u64 = 1_000_000;

/// A record of its own number, sent, received and taken by the worker at these times after the start, in nanoseconds.
fn slot(seq: u32, [sent_ns, received_ns, taken_ns]: [u64; 3]) -> Slot {
    let reading = Reading {
        device: DeviceId([1; 16]),
        sensor_id: 1,
        value: 1.0,
        ts_us: (START_NS + sent_ns) / 1_000,
        seq,
        sensor_type: SensorType::Temperature,
    };
    let slot = Slot { session: 1, ..Slot::new(*Record::encode(&reading).as_bytes()) };
    slot.received(START_NS + received_ns, START_NS + taken_ns)
}

fn rig(drain_t1: usize) -> Rig {
    let drain = [drain_t1, 100, 100];
    let mut rig = Rig::new(WorldOptions { outlier_us: 5_000, drain, ..options() });
    rig.open(1);
    rig.push(Tier::T1, slot(0, [0, 0, 0]));
    rig.tick();
    rig
}

fn explained(ledger: &TierLedger) -> u64 {
    ledger.hops_ns.iter().sum()
}

/// What the one outlier was kept by, and how long it took from end to end.
fn only_outlier(rig: &Rig) -> (usize, u64) {
    let ledger = rig.world.ledger(Tier::T1);
    assert_eq!(explained(ledger), ledger.total_ns, "{ledger:?}");
    assert_eq!(ledger.outliers.iter().sum::<u64>(), 1, "{ledger:?}");
    let cause = ledger.outliers.iter().position(|records| *records == 1).unwrap();
    (cause, ledger.longest_ns[cause])
}

#[test]
fn hops_are_those_of_virtual_time_and_add_up() {
    let mut rig = rig(1_000);
    let before = *rig.world.ledger(Tier::T1);
    let times = [MS + 100_000, MS + 300_000, MS + 350_000];
    (0..10).for_each(|n| assert!(rig.push(Tier::T1, slot(1 + n, times))));
    rig.tick();
    let ledger = rig.world.ledger(Tier::T1);
    let hops: Vec<u64> =
        ledger.hops_ns.iter().zip(before.hops_ns).map(|(after, before)| after - before).collect();
    assert_eq!(hops, [2_000_000, 500_000, 6_500_000, 0]);
    assert_eq!(ledger.total_ns - before.total_ns, 9_000_000);
    assert_eq!((ledger.records - before.records, ledger.unclocked), (10, 0));
    let interval = rig.world.interval_mut();
    for (latency, ns) in Latency::HOPS.into_iter().zip([200_000, 50_000, 650_000, 0]) {
        let histogram = interval.histogram(latency);
        assert_eq!(histogram.len(), 11, "{latency:?}");
        let count = histogram.count_at(ns);
        assert!(count >= 10, "{latency:?}: {count} of {ns} ns");
    }
}

#[test]
fn whatever_the_clocks_say_the_hops_add_up() {
    let mut random = rig::Random(5);
    let mut rig = rig(7);
    for seq in 1..5_000 {
        // Clocks of sender, kernel and worker disagree, by more than a tick at times.
        let times = [0; 3].map(|_: u64| rig.now_ns - START_NS + random.below(4 * MS));
        rig.push(Tier::T1, slot(seq, times));
        if random.below(6) == 0 {
            rig.world.note_late(random.below(3 * MS));
            rig.tick();
        }
    }
    let ledger = *rig.world.ledger(Tier::T1);
    assert_eq!(explained(&ledger), ledger.total_ns, "{ledger:?}");
    assert_eq!(ledger.records, rig.totals(Tier::T1).applied);
    assert!(ledger.unclocked > 100 && ledger.outliers.iter().sum::<u64>() > 0, "{ledger:?}");
}

#[test]
fn without_a_shared_clock_the_way_begins_with_the_receipt() {
    let mut rig = rig(1_000);
    let ahead = slot(1, [100 * MS, MS + 100_000, MS + 200_000]);
    rig.push(Tier::T1, ahead);
    let before = rig.world.ledger(Tier::T1).total_ns;
    rig.tick();
    let ledger = rig.world.ledger(Tier::T1);
    assert_eq!((ledger.unclocked, ledger.total_ns - before), (1, 900_000));
    assert_eq!(explained(ledger), ledger.total_ns);
}

#[test]
fn a_long_way_is_the_network() {
    let mut rig = rig(1_000);
    rig.ticks(8);
    rig.push(Tier::T1, slot(1, [2 * MS, 9 * MS, 9 * MS + 1_000]));
    rig.tick();
    assert_eq!(only_outlier(&rig), (Cause::Network as usize, 8 * MS));
}

#[test]
fn a_worker_that_does_not_look_is_the_kernel_queue() {
    let mut rig = rig(1_000);
    rig.ticks(8);
    rig.push(Tier::T1, slot(1, [2 * MS, 3 * MS, 9 * MS + 1_000]));
    rig.tick();
    assert_eq!(only_outlier(&rig), (Cause::KernelQueue as usize, 8 * MS));
}

#[test]
fn a_tick_that_is_not_due_is_the_wait_for_it() {
    let slow = WorldOptions { outlier_us: 5_000, hz: 50, ..options() };
    let mut rig = Rig::new(slow);
    rig.open(1);
    rig.tick();
    rig.push(Tier::T1, slot(0, [2 * MS; 3]));
    rig.now_ns += 19 * MS;
    rig.tick();
    assert_eq!(only_outlier(&rig), (Cause::TickWait as usize, 19 * MS));
}

#[test]
fn a_tick_that_does_not_run_is_the_scheduler() {
    let mut rig = rig(1_000);
    rig.push(Tier::T1, slot(1, [MS + 500_000; 3]));
    // Eight ticks are missed, and the ninth is late.
    rig.now_ns += 8 * MS;
    rig.world.note_late(400_000);
    rig.tick();
    assert_eq!(only_outlier(&rig), (Cause::Scheduler as usize, 8 * MS + 500_000));
}

#[test]
fn a_budget_that_is_spent_is_the_backlog() {
    let mut rig = rig(1);
    (1..9).for_each(|seq| assert!(rig.push(Tier::T1, slot(seq, [MS + 500_000; 3]))));
    rig.ticks(6);
    assert_eq!(only_outlier(&rig), (Cause::Backlog as usize, 5 * MS + 500_000));
}

#[test]
fn a_tick_that_takes_long_is_own_work() {
    let mut rig = rig(1_000);
    // The tick before ends seven milliseconds after this record was there.
    let mut reads = 0;
    let began_ns = rig.now_ns + TICK_NS;
    let clock = &mut || {
        reads += 1;
        if reads == 1 { began_ns } else { began_ns + 7 * MS }
    };
    rig.world.tick(&mut rig.lanes, rig.next_tick, clock);
    rig.now_ns = began_ns + 6 * MS;
    rig.push(Tier::T1, slot(1, [2 * MS + 500_000; 3]));
    rig.world.note_late(6 * MS);
    rig.tick();
    assert_eq!(only_outlier(&rig), (Cause::OwnWork as usize, 6 * MS + 500_000));
}
