//! The rings between the workers and the tick thread, from the tick's side.

use std::sync::Arc;

use netloop::{
    CloseReason, Consumer, Due, Outbound, Producer, RingPort, SessionEvent, SessionId, Slot,
    TierTally, WorkerStats, ring,
};
use wire::{RECORD_BYTES, Tier};

/// Stop commands that may wait for a worker's next turn; those beyond follow in the next tick.
const STOPS_MAX: usize = 1024;
use crate::capture::Tap;

/// What the tick thread holds of the rings of all workers.
pub struct Lanes {
    workers: Vec<Lane>,
    /// What the tick takes from the rings goes through it, if there is a capture.
    pub tap: Option<Tap>,
    /// When the tick thread will next look, for the workers to be ready by then.
    pub due: Due,
}

/// The rings of one worker, and its counts beside them.
pub struct Lane {
    /// Records by tier, T1 first. On T3 also the ends of commands that the twin opened.
    pub tiers: [Consumer<Slot>; Tier::COUNT],
    /// Steps in the life of sessions.
    pub events: Consumer<SessionEvent>,
    /// Stop commands, which the worker takes before everything else.
    stops: Producer<Outbound>,
    /// Answers and commands, to be sent in the worker's next turn.
    /// None where nobody listens.
    outbound: Option<Producer<Outbound>>,
    /// Something was pushed into `outbound` since this was last asked.
    asked: bool,
    /// Sessions in places below it ended with their worker.
    gone: usize,
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

/// Makes the rings of `workers`, and gives each worker's ends in order and the tick thread's.
#[must_use]
pub fn lanes(
    capacities: &LaneCapacities,
    workers: &[Arc<WorkerStats>],
    due: Due,
) -> (Vec<RingPort>, Lanes) {
    let made = workers.iter().map(|worker| lane(capacities, Arc::clone(worker), due.clone()));
    let (ports, workers) = made.unzip();
    (ports, Lanes { workers, tap: None, due })
}

fn lane(capacities: &LaneCapacities, worker: Arc<WorkerStats>, due: Due) -> (RingPort, Lane) {
    let [(t1, t1_out), (t2, t2_out), (t3, t3_out)] = capacities.tiers.map(written_ring);
    let (events, events_out) = ring(capacities.events);
    let (stops, stops_out) = ring(STOPS_MAX);
    let (outbound, outbound_out) = ring(capacities.outbound);
    let port = RingPort {
        t1,
        t2,
        t3,
        events,
        stops: stops_out,
        outbound: outbound_out,
        due,
        paths: None,
        renewals: None,
        viewers: None,
    };
    let tiers = [t1_out, t2_out, t3_out];
    let outbound = Some(outbound);
    (port, Lane { tiers, events: events_out, stops, outbound, asked: false, gone: 0, worker })
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
    /// Lanes that nothing comes from, and where everything that is sent is gone.
    #[must_use]
    pub fn nowhere(due: Due) -> Self {
        let one = LaneCapacities { tiers: [1; Tier::COUNT], events: 1, outbound: 1 };
        let (_, mut lanes) = lanes(&one, &[WorkerStats::shared()], due);
        lanes.workers.iter_mut().for_each(|lane| lane.outbound = None);
        lanes
    }

    /// The rings of each worker, and the tap that what they give goes through.
    pub fn parts_mut(&mut self) -> (&mut [Lane], &mut Option<Tap>) {
        (&mut self.workers, &mut self.tap)
    }

    /// Answers and commands that every worker has room for.
    #[must_use]
    pub fn outbound_free(&self) -> usize {
        self.workers.iter().map(Lane::outbound_free).min().unwrap_or(0)
    }

    /// The rings of each worker.
    pub fn workers_mut(&mut self) -> &mut [Lane] {
        &mut self.workers
    }

    /// The rings of the worker that has a session.
    pub fn lane_of(&mut self, session: SessionId) -> &mut Lane {
        let workers = self.workers.len();
        &mut self.workers[session.worker(workers)]
    }

    /// Records that wait on a tier, as this end sees them.
    #[must_use]
    pub fn depth(&self, tier: Tier) -> usize {
        self.workers.iter().map(|lane| lane.tiers[tier.index()].depth()).sum()
    }

    /// Slots of a tier's rings that are in use: at most one for a record.
    #[must_use]
    pub fn used(&self, tier: Tier) -> usize {
        self.workers.iter().map(|lane| lane.tiers[tier.index()].used()).sum()
    }

    /// Slots of a tier's rings, used or not.
    #[must_use]
    pub fn capacity(&self, tier: Tier) -> usize {
        self.workers.iter().map(|lane| lane.tiers[tier.index()].capacity()).sum()
    }

    /// The workers' counts of a tier.
    #[must_use]
    pub fn tally(&self, tier: Tier) -> TierTally {
        let mut sum = TierTally::default();
        for lane in &self.workers {
            // Read before the rejected ones, which they are among.
            sum.forbidden += lane.worker.forbidden[tier.index()].value();
            let stats = match tier {
                Tier::T1 => &lane.worker.t1,
                Tier::T2 => &lane.worker.t2,
                Tier::T3 => &lane.worker.t3,
            };
            sum.received += stats.received.value();
            sum.rejected += stats.rejected.value();
            sum.shed += stats.shed.value();
            sum.decode_errors += stats.decode_errors.value();
        }
        sum
    }

    /// True when nothing waits for the tick thread.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let tiers = self.workers.iter().flat_map(|lane| &lane.tiers);
        tiers.map(Consumer::depth).sum::<usize>() == 0
            && self.workers.iter().all(|lane| lane.events.depth() == 0)
    }
}

impl Lane {
    /// Answers and commands that there is room for.
    #[must_use]
    pub fn outbound_free(&self) -> usize {
        self.outbound.as_ref().map_or(usize::MAX, Producer::free)
    }

    /// Asks the worker to send an answer or a command.
    ///
    /// # Panics
    /// There is no room, which the caller has looked for.
    pub fn push_outbound(&mut self, outbound: Outbound) {
        if let Some(ring) = &mut self.outbound {
            ring.push(outbound).expect("room was looked for because the ring never blocks");
        }
        self.asked = true;
    }

    /// Stop commands that there is room for.
    #[must_use]
    pub fn stops_free(&self) -> usize {
        self.stops.free()
    }

    /// Asks the worker to send a stop command before everything else.
    ///
    /// # Panics
    /// There is no room, which the caller has looked for.
    pub fn push_stop(&mut self, stop: Outbound) {
        self.stops.push(stop).expect("room was looked for because the ring never blocks");
        self.asked = true;
    }

    /// The next step of a session. Of a worker that is gone, its sessions end behind the steps that it has told: each of
    /// `open` that lies behind the last one, as if it had closed.
    pub fn pop_event(
        &mut self,
        open: impl FnOnce(usize) -> Option<SessionId>,
    ) -> Option<SessionEvent> {
        let is_gone = self.events.is_abandoned();
        if let Some(event) = self.events.pop() {
            return Some(event);
        }
        if !is_gone {
            return None;
        }
        // What would be sent is gone as well, and a ring that nobody empties holds up those of others.
        self.outbound = None;
        let session = open(self.gone)?;
        self.gone = session.place() + 1;
        let (tally, totals) = ([TierTally::default(); Tier::COUNT], None);
        Some(SessionEvent::Closed { session, reason: CloseReason::Transport, tally, totals })
    }

    /// Whether the worker was asked for anything since the last call.
    pub fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }
}
