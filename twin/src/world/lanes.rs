//! The rings between worker and tick thread, from the tick's side.

use std::sync::Arc;

use netloop::{
    Consumer, Due, Outbound, Producer, RingPort, SessionEvent, Slot, TierTally, WorkerStats, ring,
};
use wire::{RECORD_BYTES, Tier};

/// What the tick thread holds of the rings, and the worker's counts beside them.
pub struct Lanes {
    /// Records by tier, T1 first. On T3 also the ends of commands that the twin opened.
    pub tiers: [Consumer<Slot>; Tier::COUNT],
    /// Steps in the life of sessions.
    pub events: Consumer<SessionEvent>,
    /// Answers and commands, to be sent in the worker's next turn.
    pub outbound: Producer<Outbound>,
    /// When the tick thread will next look, for the worker to be ready by then.
    pub due: Due,
    /// What the worker counts.
    pub worker: Arc<WorkerStats>,
}

/// Capacities of the rings, in slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneCapacities {
    /// By tier, T1 first.
    pub tiers: [usize; Tier::COUNT],
    /// Steps of sessions.
    pub events: usize,
    /// Answers and commands.
    pub outbound: usize,
}

/// Makes the rings and gives the worker's ends and the tick thread's.
#[must_use]
pub fn lanes(capacities: &LaneCapacities, worker: Arc<WorkerStats>, due: Due) -> (RingPort, Lanes) {
    let [(t1, t1_out), (t2, t2_out), (t3, t3_out)] = capacities.tiers.map(written_ring);
    let (events, events_out) = ring(capacities.events);
    let (outbound, outbound_out) = ring(capacities.outbound);
    let (outbound_in, due_in) = (outbound_out, due.clone());
    let port = RingPort { t1, t2, t3, events, outbound: outbound_in, due: due_in, renewals: None };
    (port, Lanes { tiers: [t1_out, t2_out, t3_out], events: events_out, outbound, due, worker })
}

/// A ring of records whose memory was written once, so that no record of the first round waits for the kernel to find a
/// page, and what the rings cost shows from the start.
fn written_ring(capacity: usize) -> (Producer<Slot>, Consumer<Slot>) {
    let (mut producer, mut consumer) = ring(capacity);
    producer.push_iter(capacity, std::iter::repeat_n(Slot::new([0; RECORD_BYTES]), capacity));
    consumer.pop_chunk(capacity, |_, _| {});
    (producer, consumer)
}

impl Lanes {
    /// The worker's counts of a tier.
    #[must_use]
    pub fn tally(&self, tier: Tier) -> TierTally {
        let stats = match tier {
            Tier::T1 => &self.worker.t1,
            Tier::T2 => &self.worker.t2,
            Tier::T3 => &self.worker.t3,
        };
        TierTally {
            received: stats.received.value(),
            rejected: stats.rejected.value(),
            shed: stats.shed.value(),
            decode_errors: stats.decode_errors.value(),
        }
    }

    /// True when nothing waits for the tick thread.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.depth() == 0 && self.tiers.iter().all(|tier| tier.depth() == 0)
    }
}
