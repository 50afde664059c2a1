//! How long records wait in a ring: nobody may starve there beyond what the budgets of the ticks allow.

use std::collections::VecDeque;

use netloop::Slot;
use twin::world::Lanes;
use wire::{RECORD_BYTES, Tier};

use crate::scenario::Scenario;

/// A record that spawns its sensor takes so much of the budget.
const SPAWN_RECORDS: usize = 32;

/// The rings of T1 and T2 of all workers.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// By worker, then by tier.
    rings: Vec<[Queue; 2]>,
    /// Ticks after which what lay in a ring has to be taken, by tier.
    ticks_max: [u64; 2],
    ticks: u64,
}

#[derive(Debug, Default)]
struct Queue {
    pushed: u64,
    popped: u64,
    /// What was pushed before each of the latest ticks that ran.
    marks: VecDeque<(u64, u64)>,
}

impl Queues {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let workers = usize::from(scenario.workers);
        let sensors: usize = scenario.devices.iter().map(|of| usize::from(of.sensors)).sum();
        // A ring is the first one in one of so many ticks, and has the whole budget then.
        let bound = |tier: usize| {
            // Runs pack more records into a ring than it has lines.
            let held = scenario.rings[tier] * size_of::<Slot>() / RECORD_BYTES;
            let records = held + SPAWN_RECORDS * sensors;
            workers * (records.div_ceil(scenario.drain[tier]) + 2)
        };
        let mut rings = Vec::new();
        rings.resize_with(workers, Default::default);
        Self { rings, ticks_max: [bound(0) as u64, bound(1) as u64], ticks: 0 }
    }

    /// Looks at the rings before a tick.
    pub(crate) fn before(&mut self, lanes: &mut Lanes) {
        self.ticks += 1;
        for (queues, lane) in self.rings.iter_mut().zip(lanes.workers_mut()) {
            for (queue, ring) in queues.iter_mut().zip(&lane.tiers) {
                queue.pushed = queue.popped + ring.depth() as u64;
                queue.marks.push_back((self.ticks, queue.pushed));
            }
        }
    }

    /// Looks at the rings after the tick, and says what has waited too long.
    pub(crate) fn after(&mut self, lanes: &mut Lanes) -> Option<String> {
        let mut wrong = None;
        for (worker, (queues, lane)) in self.rings.iter_mut().zip(lanes.workers_mut()).enumerate() {
            for (tier, (queue, ring)) in queues.iter_mut().zip(&lane.tiers).enumerate() {
                queue.popped = queue.pushed - ring.depth() as u64;
                while queue.marks.front().is_some_and(|(_, pushed)| *pushed <= queue.popped) {
                    queue.marks.pop_front();
                }
                let Some((since, _)) = queue.marks.front() else { continue };
                let (ticks, limit) = (self.ticks - since, self.ticks_max[tier]);
                if ticks > limit {
                    let tier = Tier::ALL[tier];
                    wrong = Some(format!(
                        "{tier:?} of worker {worker} waits for {ticks} ticks, more than {limit}"
                    ));
                }
            }
        }
        wrong
    }
}
