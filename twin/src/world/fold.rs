//! One record into one row: sequence, value, rolling mean, threshold.
//!
//! Records are folded as they arrive and not once a tick, so that each of them reaches the window. The sum runs along in
//! `f64` and is made anew from the window once a round: whatever one huge value has rounded away is back 16 records
//! later. Values beyond `f32` enter the window as its greatest.

use netloop::Run;
use wire::Record;

use super::component::{Live, Smoothed, WINDOW_VALUES, Window};
use super::sequence::{AHEAD_MAX, Sighting, observe};
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

/// How much earlier than the newest a late record of an earlier boot may have come. Rings hold some 70 ms at full load, so a
/// record that seems to be older came after the wall clock was set back; a device that boots meanwhile is silent for no longer.
const LATE_MAX_NS: u64 = 2_000_000_000;

/// Numbers that a row passes over between two of its own, at most: further ones count as lost, because a device that sends only
/// another type from now on leaves none of them out.
const PASSED_MAX: u8 = 0b111;

/// Where their counts lie in [`Live::started`], by tier.
const PASSED_FROM: [u8; 2] = [2, 5];

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

/// What a record changes of its row.
#[derive(Debug)]
pub struct RowMut<'a> {
    /// The latest value, and where the numbering stands.
    pub live: &'a mut Live,
    /// The values that the mean is of.
    pub window: &'a mut Window,
    /// The mean.
    pub smoothed: &'a mut Smoothed,
}

/// Folds a record of `run`, which came on `tier` (0 is T1, 1 is T2), into a row.
#[inline]
pub fn fold(
    mut row: RowMut<'_>,
    run: &Run<'_>,
    record: &Record,
    tier: usize,
    limits: &Limits,
) -> Folded {
    if row.follow(run, record, tier, limits) {
        return Folded::Applied { skipped: 0, crossing: None };
    }
    fold_any(row, run, record, tier, limits)
}

/// Folds any record.
#[inline(never)]
pub(super) fn fold_any(
    mut row: RowMut<'_>,
    run: &Run<'_>,
    record: &Record,
    tier: usize,
    limits: &Limits,
) -> Folded {
    let live = &mut *row.live;
    // A record that came before the hello of its session says nothing of a boot, and is judged by its number.
    if run.epoch != live.epoch && run.epoch != 0 && !live.restart(run.epoch, run.recv_ns) {
        return Folded::Stale { filled: false };
    }
    let skipped = match live.observe(tier, record.seq()) {
        Sighting::Ahead { skipped: 0 } => 0,
        Sighting::Ahead { skipped } => skipped.saturating_sub(live.take_passed(tier)),
        Sighting::Duplicate => return Folded::Duplicate,
        Sighting::Behind { filled: false } if record.ts_us() > live.ts_us => {
            // Behind by its number and ahead by its time: the number before it was broken, or the device counts anew.
            live.begin(tier, record.seq());
            0
        }
        Sighting::Behind { filled } => return Folded::Stale { filled },
    };
    let step = live.step(row.window, record.value());
    let level = limits.step(live.level, step.mean);
    let crossing = level.crossing(live.level);
    live.level = level as u8;
    row.take(run.recv_ns, record, &step);
    Folded::Applied { skipped, crossing }
}

/// What the next value makes of a window.
struct Step {
    value: f32,
    head: usize,
    count: usize,
    sum: f64,
    mean: f64,
}

impl Live {
    /// A row that waits for its first record, of this epoch.
    #[must_use]
    pub fn new(epoch: u32) -> Self {
        Self { epoch, ..bytemuck::Zeroable::zeroed() }
    }

    /// Begins the numbering of another boot or another session. False when the record is a late one of an earlier boot: tiers have rings
    /// of their own, and one may still hold records from before the other's newest. PROTOCOL.md#sequence.
    #[cold]
    pub(super) fn restart(&mut self, epoch: u32, recv_ns: u64) -> bool {
        if recv_ns < self.recv_ns && self.recv_ns - recv_ns <= LATE_MAX_NS {
            return false;
        }
        self.epoch = epoch;
        self.started = 0;
        true
    }

    /// Whether a number is the one behind the highest of a tier, of the same boot.
    #[inline]
    fn follows(&self, epoch: u32, tier: usize, seq: u32) -> bool {
        (epoch == self.epoch || epoch == 0)
            && self.started & 1 << tier != 0
            && seq == self.highest[tier].wrapping_add(1)
    }

    /// Takes that number.
    #[inline]
    fn follow(&mut self, tier: usize) {
        self.highest[tier] = self.highest[tier].wrapping_add(1);
        self.seen[tier] = self.seen[tier] << 1 | 1;
    }

    /// Takes note of a number whose record is of another type than the row, so that it does not count as lost when one behind
    /// it comes. Nothing else changes: two sensors under one name must not silence each other. Says whether the number fills
    /// one that was counted as skipped.
    pub(super) fn pass_over(&mut self, epoch: u32, tier: usize, seq: u32) -> bool {
        if self.started & 1 << tier == 0 || (epoch != self.epoch && epoch != 0) {
            return false;
        }
        if (1..=AHEAD_MAX).contains(&seq.wrapping_sub(self.highest[tier])) {
            let at = PASSED_FROM[tier];
            if self.started >> at & PASSED_MAX < PASSED_MAX {
                self.started += 1 << at;
            }
            return false;
        }
        let (mut highest, mut seen) = (self.highest[tier], self.seen[tier]);
        let sighting = observe(&mut highest, &mut seen, seq);
        let fills = sighting == Sighting::Behind { filled: true };
        if fills {
            self.seen[tier] = seen;
        }
        fills
    }

    /// The numbers that [`Live::pass_over`] noted ahead of the highest, which is behind them now.
    fn take_passed(&mut self, tier: usize) -> u32 {
        let at = PASSED_FROM[tier];
        let passed = self.started >> at & PASSED_MAX;
        self.started &= !(PASSED_MAX << at);
        passed.into()
    }

    fn observe(&mut self, tier: usize, seq: u32) -> Sighting {
        if self.started & 1 << tier == 0 {
            self.begin(tier, seq);
            return Sighting::Ahead { skipped: 0 };
        }
        observe(&mut self.highest[tier], &mut self.seen[tier], seq)
    }

    /// Begins the numbering of a tier with `seq`.
    fn begin(&mut self, tier: usize, seq: u32) {
        self.started |= 1 << tier;
        self.highest[tier] = seq;
        self.seen[tier] = 0;
    }

    /// Where a value goes in the window, and the sum and mean with it.
    #[inline]
    fn step(&self, window: &Window, value: f64) -> Step {
        let value = (value as f32).clamp(f32::MIN, f32::MAX);
        let head = usize::from(self.head) % WINDOW_VALUES;
        let sum = match head {
            0 => window.sum_behind(value),
            _ => self.sum + (f64::from(value) - f64::from(window.0[head])),
        };
        // Nearly every window is full, and has its divisor without a look at the table.
        let count = match usize::from(self.filled) {
            WINDOW_VALUES.. => {
                return Step {
                    value,
                    head,
                    count: WINDOW_VALUES,
                    sum,
                    mean: sum * PER_COUNT[WINDOW_VALUES],
                };
            }
            filled => filled + 1,
        };
        Step { value, head, count, sum, mean: sum * PER_COUNT[count] }
    }
}

impl RowMut<'_> {
    /// Folds a record that has the next number of the boot that its row knows, and crosses nothing, as nearly every record does.
    /// False for any other one, which has changed nothing.
    #[inline(always)]
    pub(super) fn follow(
        &mut self,
        run: &Run<'_>,
        record: &Record,
        tier: usize,
        limits: &Limits,
    ) -> bool {
        if !self.live.follows(run.epoch, tier, record.seq()) {
            return false;
        }
        let step = self.live.step(self.window, record.value());
        if !limits.keeps(self.live.level, step.mean) {
            return false;
        }
        self.live.follow(tier);
        self.take(run.recv_ns, record, &step);
        true
    }

    /// Takes the value of a record.
    #[inline(always)]
    fn take(&mut self, recv_ns: u64, record: &Record, step: &Step) {
        let Self { live, window, smoothed } = self;
        live.value = record.value();
        live.ts_us = record.ts_us();
        live.recv_ns = recv_ns;
        live.sum = step.sum;
        live.head = ((step.head + 1) % WINDOW_VALUES) as u8;
        live.filled = step.count as u8;
        window.0[step.head] = step.value;
        smoothed.0 = step.mean as f32;
    }
}

impl Window {
    /// The sum of all values but the first, and of the one that takes its place.
    #[inline(never)]
    fn sum_behind(&self, value: f32) -> f64 {
        self.0[1..].iter().fold(f64::from(value), |sum, &value| sum + f64::from(value))
    }
}
