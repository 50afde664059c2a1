//! One record into one row: sequence, value, rolling mean, threshold.
//!
//! Records are folded as they arrive and not once a tick, so that each of them reaches the window. The sum runs along in
//! `f64` and is made anew from the window once a round: whatever one huge value has rounded away is back 16 records
//! later. Values beyond `f32` enter the window as its greatest.

use netloop::Slot;
use wire::Record;

use super::component::{Live, Smoothed, WINDOW_VALUES, Window};
use super::sequence::{Sighting, observe};
use super::threshold::{Direction, Limits};

/// What became of a record that had a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folded {
    /// It is the row's latest value now.
    Applied {
        /// Sequence numbers that it left out.
        skipped: u32,
        /// The crossing that it caused.
        crossing: Option<Direction>,
    },
    /// It had been applied before.
    Duplicate,
    /// A newer one had been applied before.
    Stale {
        /// It fills a number that was counted as skipped.
        filled: bool,
    },
}

/// Reciprocals, so that a mean costs a multiplication.
const PER_COUNT: [f64; WINDOW_VALUES + 1] = {
    let mut table = [0.0; WINDOW_VALUES + 1];
    let mut count = 1;
    while count <= WINDOW_VALUES {
        table[count] = 1.0 / count as f64;
        count += 1;
    }
    table
};

/// Folds the record of `slot`, which came on tier `lane` (0 is T1, 1 is T2), into a row.
#[inline]
pub fn fold(
    live: &mut Live,
    window: &mut Window,
    smoothed: &mut Smoothed,
    slot: &Slot,
    lane: usize,
    limits: &Limits,
) -> Folded {
    let record: &Record = bytemuck::cast_ref(&slot.record);
    // A record that came before the hello of its session says nothing of a boot, and is judged by its number.
    if slot.epoch != live.epoch && slot.epoch != 0 && !live.restart(slot) {
        return Folded::Stale { filled: false };
    }
    let skipped = match live.observe(lane, record.seq()) {
        Sighting::Ahead { skipped } => skipped,
        Sighting::Duplicate => return Folded::Duplicate,
        Sighting::Behind { filled: false } if record.ts_us() > live.ts_us => {
            // Behind by its number and ahead by its time: the number before it was broken, or the device counts anew.
            live.begin(lane, record.seq());
            0
        }
        Sighting::Behind { filled } => return Folded::Stale { filled },
    };
    live.value = record.value();
    live.ts_us = record.ts_us();
    live.recv_ns = slot.recv_ns;
    let mean = live.push(window, record.value());
    smoothed.0 = mean as f32;
    let level = limits.step(live.level, mean);
    let crossing = level.crossing(live.level);
    live.level = level as u8;
    Folded::Applied { skipped, crossing }
}

impl Live {
    /// A row that waits for its first record, of this epoch.
    #[must_use]
    pub fn new(epoch: u32) -> Self {
        Self { epoch, ..bytemuck::Zeroable::zeroed() }
    }

    /// Begins the numbering of another boot or another session. False when the record is a late one of an earlier boot: tiers have rings
    /// of their own, and one may still hold records from before the other's newest.
    #[cold]
    pub(super) fn restart(&mut self, slot: &Slot) -> bool {
        if slot.recv_ns < self.recv_ns {
            return false;
        }
        self.epoch = slot.epoch;
        self.started = 0;
        true
    }

    #[inline]
    fn observe(&mut self, lane: usize, seq: u32) -> Sighting {
        if self.started & 1 << lane == 0 {
            self.begin(lane, seq);
            return Sighting::Ahead { skipped: 0 };
        }
        observe(&mut self.highest[lane], &mut self.seen[lane], seq)
    }

    /// Begins the numbering of a tier with `seq`.
    #[cold]
    fn begin(&mut self, lane: usize, seq: u32) {
        self.started |= 1 << lane;
        self.highest[lane] = seq;
        self.seen[lane] = 0;
    }

    /// Takes a value into the window and returns the new mean.
    #[inline]
    fn push(&mut self, window: &mut Window, value: f64) -> f64 {
        let value = value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        let head = usize::from(self.head) % WINDOW_VALUES;
        // The sums read the window before the store below: a vector load of what was just stored by halves stalls.
        if head == 0 {
            self.sum = window.0[1..].iter().fold(f64::from(value), |sum, &v| sum + f64::from(v));
        } else {
            self.sum += f64::from(value) - f64::from(window.0[head]);
        }
        window.0[head] = value;
        self.head = ((head + 1) % WINDOW_VALUES) as u8;
        self.filled += u8::from(usize::from(self.filled) < WINDOW_VALUES);
        self.sum * PER_COUNT[usize::from(self.filled) % PER_COUNT.len()]
    }
}
