//! Sequence numbers and the rolling window against oracles that keep everything.

mod rig;

use std::collections::{BTreeSet, VecDeque};

use netloop::{Runs, Slot};
use rig::{Random, record};
use twin::world::{
    AHEAD_MAX, Folded, Limits, Live, RowMut, Sighting, Smoothed, WINDOW_VALUES, Window, fold,
    observe,
};

/// Every number seen since the numbering began, without wrapping.
struct Oracle {
    highest: i64,
    seen: BTreeSet<i64>,
}

impl Oracle {
    fn observe(&mut self, number: i64) -> Sighting {
        let highest = self.highest;
        if number - highest > i64::from(AHEAD_MAX) {
            *self = Self { highest: number, seen: BTreeSet::from([number]) };
            return Sighting::Ahead { skipped: 0 };
        }
        let new = self.seen.insert(number);
        if number > highest {
            self.highest = number;
            Sighting::Ahead { skipped: (number - highest - 1) as u32 }
        } else if highest - number > 64 {
            Sighting::Behind { filled: false }
        } else if new {
            Sighting::Behind { filled: true }
        } else {
            Sighting::Duplicate
        }
    }
}

/// Numbers beyond the next, around every border that the rule has.
const LEAPS: [i64; 9] =
    [63, 64, 65, 66, 1000, AHEAD_MAX as i64, AHEAD_MAX as i64 + 1, 1 << 20, (1 << 31) - 1];

#[test]
fn every_number_stands_where_the_oracle_says() {
    for seed in 1..=40_u64 {
        let mut random = Random(seed * 0x9e37_79b9);
        // Close to the wrap, so that most runs cross it.
        let first = i64::from(u32::MAX) - random.below(500) as i64;
        let mut oracle = Oracle { highest: first, seen: BTreeSet::from([first]) };
        let (mut highest, mut seen) = (first as u32, 0);
        for step in 0..5_000 {
            let number = oracle.highest
                + match random.below(20) {
                    0..=11 => 1,
                    12..=14 => random.below(5) as i64,
                    15..=17 => -(random.below(80) as i64),
                    18 => random.below(200) as i64 - 100,
                    _ => LEAPS[random.below(LEAPS.len() as u64) as usize],
                };
            let found = observe(&mut highest, &mut seen, number as u32);
            assert_eq!(found, oracle.observe(number), "seed {seed} step {step} number {number}");
            assert_eq!(highest, oracle.highest as u32, "seed {seed} step {step}");
        }
    }
}

#[test]
fn ahead_and_behind_part_at_half_of_all_numbers() {
    let half = 1_u32 << 31;
    for first in [0, 1, half, u32::MAX] {
        let (mut highest, mut seen) = (first, 0);
        let last_ahead = first.wrapping_add(half - 1);
        let sighting = observe(&mut highest, &mut seen, last_ahead);
        assert_eq!((sighting, highest), (Sighting::Ahead { skipped: 0 }, last_ahead));
        let (mut highest, mut seen) = (first, 0);
        let behind = observe(&mut highest, &mut seen, first.wrapping_add(half));
        assert_eq!((behind, highest), (Sighting::Behind { filled: false }, first));
    }
}

struct Row {
    live: Live,
    window: Window,
    smoothed: Smoothed,
}

impl Row {
    fn new() -> Self {
        Self { live: Live::new(0), window: Window([0.0; WINDOW_VALUES]), smoothed: Smoothed(0.0) }
    }

    fn fold(&mut self, slot: &Slot, tier: usize) -> Folded {
        let Self { live, window, smoothed } = self;
        let lines = [*slot];
        let run = Runs::new(&lines).next().expect("a line is a run");
        fold(RowMut { live, window, smoothed }, &run, &run.records[0], tier, &Limits::NONE)
    }
}

fn slot(seq: u32, value: f64) -> Slot {
    Slot::new(*record(1, 1, seq, value).as_bytes())
}

#[test]
fn the_rolling_mean_is_the_mean_of_the_last_sixteen() {
    for seed in 1..=20_u64 {
        let mut random = Random(seed * 77);
        let mut row = Row::new();
        let mut last = VecDeque::new();
        for step in 0..2_000_u32 {
            let value = random.below(2_000_000) as f64 / 1000.0 - 1000.0;
            let folded = row.fold(&slot(step, value), (step % 2) as usize);
            assert!(matches!(folded, Folded::Applied { .. }), "seed {seed} step {step}");
            last.push_back(f64::from(value as f32));
            if last.len() > WINDOW_VALUES {
                last.pop_front();
            }
            let mean = last.iter().sum::<f64>() / last.len() as f64;
            let error = (f64::from(row.smoothed.0) - mean).abs();
            assert!(error <= mean.abs() * 1e-7 + 1e-9, "seed {seed} step {step}: {error}");
            assert_eq!(row.live.value.to_bits(), value.to_bits());
        }
    }
}

#[test]
fn a_huge_value_leaves_no_trace_two_rounds_later() {
    let mut row = Row::new();
    for seq in 0..5 {
        row.fold(&slot(seq, 20.25), 0);
    }
    for (seq, value) in [(5, f64::MAX), (6, 1e30), (7, f64::MIN)] {
        row.fold(&slot(seq, value), 0);
        assert!(row.smoothed.0.is_finite());
    }
    for seq in 8..8 + 2 * WINDOW_VALUES as u32 {
        row.fold(&slot(seq, 20.25), 0);
    }
    assert_eq!(row.smoothed.0.to_bits(), 20.25_f32.to_bits());
}

#[test]
fn duplicate_and_stale_records_change_nothing() {
    let mut row = Row::new();
    row.fold(&slot(10, 1.0), 0);
    let applied = row.fold(&slot(12, 2.0), 0);
    assert_eq!(applied, Folded::Applied { skipped: 1, crossing: None });
    let (live, window) = (row.live, row.window);
    assert_eq!(row.fold(&slot(12, 9.0), 0), Folded::Duplicate);
    assert_eq!(row.fold(&slot(11, 9.0), 0), Folded::Stale { filled: true });
    assert_eq!(row.fold(&slot(11, 9.0), 0), Folded::Duplicate);
    assert_eq!(Live { seen: live.seen, ..row.live }, live);
    assert_eq!((row.window, row.smoothed), (window, Smoothed(1.5)));
}

#[test]
fn tiers_are_numbered_apart_and_a_new_epoch_begins_anew() {
    let mut row = Row::new();
    let plain = Folded::Applied { skipped: 0, crossing: None };
    let before = |seq, value| Slot { epoch: 4, ..slot(seq, value) };
    assert_eq!(row.fold(&before(100, 1.0), 0), plain);
    assert_eq!(row.fold(&before(7, 2.0), 1), plain);
    assert_eq!(row.fold(&before(8, 3.0), 1), plain);
    assert_eq!(row.fold(&before(101, 4.0), 0), plain);
    let reboot = |seq, recv_ns| Slot { epoch: 5, recv_ns, ..slot(seq, 5.0) };
    assert_eq!(row.fold(&reboot(0, 50), 0), plain);
    assert_eq!(row.fold(&reboot(3, 60), 1), plain);
    // A record from before the reboot that waited in the ring of the other tier.
    let late = Slot { recv_ns: 40, ..before(102, 9.0) };
    assert_eq!(row.fold(&late, 0), Folded::Stale { filled: false });
    assert_eq!(row.live.epoch, 5);
    // One that overtook the hello of another session of the same boot is judged by its number.
    let unknown = |seq| Slot { epoch: 0, recv_ns: 70, ..slot(seq, 6.0) };
    assert_eq!(row.fold(&unknown(0), 0), Folded::Duplicate);
    assert_eq!(row.fold(&unknown(1), 0), plain);
    assert_eq!((row.live.epoch, row.live.highest), (5, [1, 3]));
}
