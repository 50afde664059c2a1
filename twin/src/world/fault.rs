//! Faults on purpose: loss, delay, duplicates and corruption of the records on their way into the world.
//!
//! Reproducible: the same seed and the same records give the same faults. Commands are left alone, since each of them is
//! owed an answer. Every injected fault is counted, so that the account stays whole. Memory is bounded: when the held
//! records are at their limit, the rings are left to fill.

use std::collections::VecDeque;

use netloop::{NO_HINT, Slot};
use serde::{Deserialize, Serialize};

/// Which faults, and how many.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FaultOptions {
    /// Reproduces a run.
    pub seed: u64,
    /// Probability that a record is discarded.
    pub loss: f64,
    /// Ticks by which a record is held back.
    pub delay_ticks: u32,
    /// Probability that a record arrives twice.
    pub duplicate: f64,
    /// Probability that one bit of a record is turned.
    pub corrupt: f64,
}

/// Records that can be held back at most: 16 MiB of slots.
const HELD_RECORDS_MAX: usize = 1 << 18;

/// What was injected on one tier, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// Discarded.
    pub lost: u64,
    /// Added as second copies.
    pub duplicates: u64,
    /// Changed by one bit.
    pub corrupted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    due_tick: u64,
    tier: usize,
    slot: Slot,
}

/// An injector, saved, but for the slots that it holds back: of each of them the tick that it is due in, and its tier.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedFault {
    random: u64,
    held: Vec<(u64, usize)>,
    injected: [Injected; 2],
}

/// The injector between rings and rows.
#[derive(Debug)]
pub struct Fault {
    options: FaultOptions,
    random: Random,
    held: VecDeque<Held>,
    held_counts: [u64; 2],
    injected: [Injected; 2],
}

impl Fault {
    /// An injector; `None` when `options` ask for nothing.
    #[must_use]
    pub fn new(options: &FaultOptions) -> Option<Self> {
        let chances = [options.loss, options.duplicate, options.corrupt];
        if chances.iter().all(|&chance| chance <= 0.0) && options.delay_ticks == 0 {
            return None;
        }
        Some(Self {
            options: *options,
            random: Random::new(options.seed),
            held: VecDeque::with_capacity(HELD_RECORDS_MAX),
            held_counts: [0; 2],
            injected: [Injected::default(); 2],
        })
    }

    /// Records that can be taken now: each may come out twice.
    #[must_use]
    pub fn free(&self) -> usize {
        (HELD_RECORDS_MAX - self.held.len()) / 2
    }

    /// Records of a tier that are held back now.
    #[must_use]
    pub const fn held(&self, tier: usize) -> u64 {
        self.held_counts[tier]
    }

    /// What was injected so far on a tier.
    #[must_use]
    pub const fn injected(&self, tier: usize) -> Injected {
        self.injected[tier]
    }

    /// Takes records that arrived on `tier` in this tick, at most [`Fault::free`]. `lost` is told of each that is
    /// discarded.
    pub fn push(
        &mut self,
        tier: usize,
        slots: impl Iterator<Item = Slot>,
        tick: u64,
        mut lost: impl FnMut(&Slot),
    ) {
        let due_tick = tick + u64::from(self.options.delay_ticks);
        for mut slot in slots {
            if self.random.chance(self.options.loss) {
                self.injected[tier].lost += 1;
                lost(&slot);
                continue;
            }
            if self.random.chance(self.options.corrupt) {
                self.injected[tier].corrupted += 1;
                self.corrupt(&mut slot);
            }
            let held = Held { due_tick, tier, slot };
            self.held.push_back(held);
            self.held_counts[tier] += 1;
            if self.random.chance(self.options.duplicate) {
                self.injected[tier].duplicates += 1;
                self.held.push_back(held);
                self.held_counts[tier] += 1;
            }
        }
    }

    /// Moves records that are due into `out` until it is full or another tier follows; says of which tier they are.
    pub fn pop(&mut self, tick: u64, out: &mut Vec<Slot>, out_max: usize) -> Option<usize> {
        out.clear();
        let tier = self.held.front().filter(|held| held.due_tick <= tick)?.tier;
        while out.len() < out_max {
            match self.held.front() {
                Some(held) if held.tier == tier && held.due_tick <= tick => out.push(held.slot),
                _ => break,
            }
            self.held.pop_front();
        }
        self.held_counts[tier] -= out.len() as u64;
        Some(tier)
    }

    /// What it goes on with, and the slots that it holds back.
    pub(super) fn save(&self) -> (SavedFault, Vec<Slot>) {
        let held = self.held.iter().map(|held| (held.due_tick, held.tier)).collect();
        let saved = SavedFault { random: self.random.0, held, injected: self.injected };
        (saved, self.held.iter().map(|held| held.slot).collect())
    }

    /// Takes the place of what was saved with these slots. False where they do not belong together.
    pub(super) fn restore(&mut self, saved: &SavedFault, slots: &[Slot]) -> bool {
        let tiers = saved.held.iter().map(|&(_, tier)| tier);
        if slots.len() != saved.held.len() || !tiers.clone().all(|tier| tier < 2) {
            return false;
        }
        self.random = Random(saved.random);
        self.injected = saved.injected;
        let held = saved.held.iter().zip(slots);
        self.held = held.map(|(&(due_tick, tier), &slot)| Held { due_tick, tier, slot }).collect();
        self.held_counts = [0, 1].map(|of| tiers.clone().filter(|&tier| tier == of).count() as u64);
        true
    }

    /// Turns one bit. The hint of the worker speaks of the record as it was, so it goes too.
    fn corrupt(&mut self, slot: &mut Slot) {
        let bit = self.random.next() as usize % (slot.record.len() * 8);
        slot.record[bit / 8] ^= 1 << (bit % 8);
        slot.hint = NO_HINT;
    }
}

/// `SplitMix64`: small, seedable, and good enough to choose victims.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// True with probability `chance`.
    fn chance(&mut self, chance: f64) -> bool {
        // 53 bits are all that a double holds.
        chance > 0.0 && ((self.next() >> 11) as f64) < chance * (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: u32) -> Vec<Slot> {
        (0..count).map(|hint| Slot { hint, ..Slot::new([0; 39]) }).collect()
    }

    fn drain(fault: &mut Fault, tick: u64) -> Vec<(usize, u32)> {
        let mut out = Vec::new();
        let mut drained = Vec::new();
        while let Some(tier) = fault.pop(tick, &mut out, 7) {
            drained.extend(out.iter().map(|slot| (tier, slot.hint)));
        }
        drained
    }

    #[test]
    fn options_that_ask_for_nothing_make_no_injector() {
        assert!(Fault::new(&FaultOptions { seed: 7, ..FaultOptions::default() }).is_none());
    }

    #[test]
    fn a_delay_holds_records_in_order_for_exactly_its_ticks() {
        let options = FaultOptions { delay_ticks: 3, ..FaultOptions::default() };
        let mut fault = Fault::new(&options).unwrap();
        fault.push(1, slots(10).into_iter(), 5, |_| unreachable!("nothing is lost"));
        fault.push(0, slots(9).into_iter(), 5, |_| unreachable!("nothing is lost"));
        assert_eq!(drain(&mut fault, 7), []);
        assert_eq!((fault.held(0), fault.held(1)), (9, 10));
        let expected: Vec<_> = (0..10).map(|n| (1, n)).chain((0..9).map(|n| (0, n))).collect();
        assert_eq!(drain(&mut fault, 8), expected);
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_all_are_counted() {
        let options =
            FaultOptions { seed: 42, loss: 0.1, duplicate: 0.05, corrupt: 0.02, delay_ticks: 0 };
        let run = || {
            let mut fault = Fault::new(&options).unwrap();
            let mut lost = 0;
            fault.push(0, slots(20_000).into_iter(), 0, |_| lost += 1);
            let out = drain(&mut fault, 0);
            (fault.injected(0), lost, out)
        };
        let (injected, lost, out) = run();
        assert_eq!(run(), (injected, lost, out.clone()));
        assert_eq!(injected.lost, lost);
        assert_eq!(out.len() as u64, 20_000 - injected.lost + injected.duplicates);
        let corrupted = out.iter().filter(|(_, hint)| *hint == NO_HINT).count() as u64;
        assert!(corrupted >= injected.corrupted, "a corrupted record has no hint");
        for (count, chance) in
            [(injected.lost, 0.1), (injected.duplicates, 0.045), (injected.corrupted, 0.018)]
        {
            let expected = 20_000.0 * chance;
            assert!((count as f64 - expected).abs() < expected * 0.2, "{count} of {expected}");
        }
    }
}
