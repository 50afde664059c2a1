//! What the hot threads publish and the cold thread reads.
//!
//! Every counter has one writer, which adds with a plain load and store: no locked instruction, no wait.
//! A reader sees each counter monotonic but no instant at which all are from the same moment, so a
//! residual is exact only when the writers rest.

use std::net::SocketAddr;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, OnceLock};

pub use netloop::Counter;
use netloop::WorkerStats;
use wire::SensorType;

use crate::degraded::Wish;
use crate::order::StopWord;
use crate::world::{Cause, Hop, StopTally, TierLedger};

/// A real number with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Real(Counter);

impl Real {
    /// Replaces the number.
    pub fn set(&self, value: f64) {
        self.0.set(value.to_bits());
    }

    /// The number as last written; 0 before.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.value())
    }
}

/// Everything that is published, in groups by writer. A group fills cache lines of its own, two at a
/// time because x86 fetches them in pairs.
#[derive(Debug, Default)]
pub struct TwinStats {
    /// Each written by one worker.
    workers: Vec<Arc<WorkerStats>>,
    /// Written by the tick thread.
    pub tick: Tick,
    /// By tier, T1 first.
    pub tiers: [Tier; 3],
    /// Written by the tick thread: crossings by sensor type, upwards and downwards.
    pub crossings: [[Counter; 2]; SensorType::COUNT],
    /// Written by the tick thread, once a second: aggregates by sensor type.
    pub aggregates: [Aggregate; SensorType::COUNT],
    /// Written by the tick thread, once a second.
    pub ages: AgeStats,
    /// By direction; see [`Direction`].
    pub commands: [Commands; 2],
    /// What became of the capture, if there is one.
    pub capture: Capture,
    /// Written by the tick thread: the stop of the plant.
    pub stop: Stop,
    /// Written by the cold thread.
    pub identity: Identity,
    /// Written by the cold thread.
    pub watch: Watch,
    /// Written at start: where devices connect.
    pub quic_addr: OnceLock<SocketAddr>,
    /// Written at start: 1 for what the host does not give, in the order of [`Wish::ALL`].
    pub degraded: [Counter; Wish::ALL.len()],
    /// Written by the tick thread once a second, by tier: what the hops of its records took.
    pub ledger: [Ledger; 3],
    /// Written by the tick thread: its systems, in the order of [`SYSTEMS`].
    pub systems: [System; SYSTEMS.len()],
}

impl TwinStats {
    /// Counters at zero for a twin of so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let workers = std::iter::repeat_with(WorkerStats::shared).take(workers).collect();
        Self { workers, ..Self::default() }
    }

    /// Those of each worker.
    #[must_use]
    pub fn workers(&self) -> &[Arc<WorkerStats>] {
        &self.workers
    }

    /// Those of all workers, added up.
    #[must_use]
    pub fn worker(&self) -> WorkerStats {
        WorkerStats::sum(&self.workers)
    }

    /// Whether a worker takes turns, as the watchdog sees it. What has no worker serves nobody who could miss one.
    #[must_use]
    pub fn is_served(&self) -> bool {
        let still = self.watch.still.value();
        still == 0 || still < self.workers.len() as u64
    }

    /// Records applied so far, of all tiers.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.tiers.iter().map(|tier| tier.applied.applied.value()).sum()
    }

    /// The quickest round trip of any session so far, in nanoseconds; 0 before it is known.
    #[must_use]
    pub fn rtt_min_ns(&self) -> u64 {
        let known = self.workers.iter().map(|worker| worker.rtt_min_ns.value());
        known.filter(|&rtt_ns| rtt_ns > 0).min().unwrap_or(0)
    }
}

/// The systems of a tick, in the order in which they run: the stop, steps of sessions, orders, commands, deadlines, the two tiers of
/// records, records that fault injection held back, rules, what happens once a second, counters, and pictures of rows.
pub const SYSTEMS: [&str; 13] = [
    "stop", "events", "orders", "t3", "expire", "t2", "t1", "held", "rules", "second", "ages",
    "publish", "show",
];

/// How old the values of all sensors were in the latest round through them.
#[derive(Debug, Default)]
pub struct AgeStats {
    /// Rounds that have ended.
    pub rounds: Counter,
    /// Sensors that have a value.
    pub sensors: Counter,
    /// Those whose value was sent half a second ago or less.
    pub timely: Counter,
    /// Age of the oldest value, in nanoseconds.
    pub worst_ns: Counter,
    /// Its sensor, a [`RowRef`](crate::world::RowRef) as a number; it means nothing where no sensor has a value.
    pub worst: Counter,
    /// Sensors whose value came within the last second.
    pub fresh: Counter,
    /// The least time from intended send to receipt among those, in nanoseconds: an `i64` as bits, for a device's clock may be
    /// ahead. It means nothing where there are none.
    pub quickest_ns: Counter,
}

/// A capture, in ticks by the tick thread, in bytes and cells by the thread that writes the file.
#[derive(Debug, Default)]
pub struct Capture {
    /// Ticks that were handed to the thread that writes.
    pub ticks: Counter,
    /// Of those: written into the file.
    pub written_ticks: Counter,
    /// Of those: came after the file had ended, full or refused.
    pub unwritten_ticks: Counter,
    /// Ticks that were shed, because the file could not keep up.
    pub shed_ticks: Counter,
    /// Size of the file, in bytes.
    pub written_bytes: Counter,
    /// Cells of 64 bytes that came after the file had ended.
    pub unwritten_cells: Counter,
    /// States of the world that were written into a file that is written round.
    pub states: Counter,
}

/// The ledger of one tier, see [`TierLedger`].
#[derive(Debug, Default)]
pub struct Ledger {
    /// Records in it.
    pub records: Counter,
    /// Of those: without a clock shared with the sender.
    pub unclocked: Counter,
    /// Time from end to end, in nanoseconds.
    pub total_ns: Counter,
    /// Time of each hop, in nanoseconds.
    pub hops_ns: [Counter; Hop::COUNT],
    /// Outliers by cause.
    pub outliers: [Counter; Cause::COUNT],
    /// The longest of them, in nanoseconds.
    pub longest_ns: [Counter; Cause::COUNT],
}

impl Ledger {
    /// Replaces the sums.
    pub fn set(&self, of: &TierLedger) {
        self.records.set(of.records);
        self.unclocked.set(of.unclocked);
        self.total_ns.set(of.total_ns);
        let arrays = [
            (&self.hops_ns[..], &of.hops_ns[..]),
            (&self.outliers, &of.outliers),
            (&self.longest_ns, &of.longest_ns),
        ];
        for (to, values) in arrays {
            to.iter().zip(values).for_each(|(to, value)| to.set(*value));
        }
    }
}

/// What the watchdog sees.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Watch {
    /// Workers that stand still now.
    pub still: Counter,
    /// How often one was seen to.
    pub stalls: Counter,
    /// How often the next worker stood in for one.
    pub stood_in: Counter,
}

/// The times of one system.
#[derive(Debug, Default)]
pub struct System {
    /// How often it ran.
    pub runs: Counter,
    /// Time of all its runs, in nanoseconds.
    pub total_ns: Counter,
    /// Time of the longest of them, in nanoseconds.
    pub max_ns: Counter,
}

impl System {
    /// Replaces the times.
    pub fn set(&self, times: &ecs::Times) {
        self.runs.set(times.runs);
        self.total_ns.set(times.total_ns);
        self.max_ns.set(times.max_ns);
    }
}

/// The stop of the plant: the request in force, and what became of telling the sessions. A request is published after its
/// counts, so that whoever reads the request first never takes those of an earlier one for its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Stop {
    /// A [`StopWord`].
    word: AtomicU64,
    /// Sessions that shall be told.
    pub concerned: Counter,
    /// Sessions that have answered that it is done.
    pub acknowledged: Counter,
    /// Sessions that have answered with another status.
    pub refused: Counter,
    /// Sessions that closed before they answered.
    pub gone: Counter,
}

impl Stop {
    /// Replaces all of it. Only the tick thread calls this.
    pub fn set(&self, word: StopWord, tally: &StopTally) {
        self.concerned.set(tally.concerned);
        self.acknowledged.set(tally.acknowledged);
        self.refused.set(tally.refused);
        self.gone.set(tally.gone);
        // Pairs with the acquire of `word`: who reads this request finds its counts, or later ones.
        self.word.store(word.0, Release);
    }

    /// The request whose counts may be read after this.
    #[must_use]
    pub fn word(&self) -> StopWord {
        // Pairs with the release of `set`.
        StopWord(self.word.load(Acquire))
    }
}

/// What the twin shows to its devices, and whom it trusts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Identity {
    /// 1 for the mode in force, in the order of [`netloop::ClientAuth::ALL`].
    pub client_auth: [Counter; netloop::ClientAuth::ALL.len()],
    /// When the last of the server's certificates begins to be valid, in unix seconds.
    pub server_not_before_s: Counter,
    /// When the first of the server's certificates runs out, in unix seconds.
    pub server_not_after_s: Counter,
    /// When the last of the authorities of devices begins to be valid, in unix seconds.
    pub authority_not_before_s: Counter,
    /// When the first of the authorities of devices runs out, in unix seconds; 0 where there is none.
    pub authority_not_after_s: Counter,
    /// Certificates that are revoked.
    pub revoked: Counter,
    /// Devices that have a token.
    pub tokens: Counter,
    /// How often certificates were read again.
    pub reloads: Reloads,
}

/// How it went when certificates were read again.
#[derive(Debug, Default)]
pub struct Reloads {
    /// The workers have them.
    pub done: Counter,
    /// They could not be used, and the old ones stay in force.
    pub failed: Counter,
}

/// The tick thread's counters.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tick {
    /// Ticks that ran.
    pub ticks: Counter,
    /// Ticks that ended after the next one was due.
    pub overruns: Counter,
    /// Ticks that never ran, because the one before them took their whole period.
    pub missed: Counter,
    /// Ticks per second, over the last second.
    pub rate_hz: Real,
    /// Entities in the world.
    pub entities: Counter,
    /// Open sessions that share device and boot with another one.
    pub redundant_sessions: Counter,
    /// Time spent in ticks, waits excluded, in nanoseconds.
    pub busy_ns: Counter,
    /// CPU time of the thread in nanoseconds, to a second while it runs and exact at its end.
    pub cpu_ns: Counter,
    /// Pages that the kernel had to find for the thread since its first tick, from memory and from a disk; to a second.
    pub page_faults: [Counter; 2],
    /// Ticks that left records in a ring because a drain budget was spent.
    pub budgets_spent: Counter,
    /// From the end of the last tick before the first applied record to that of the last tick that applied one, in
    /// nanoseconds.
    pub active_ns: Counter,
}

/// The account of one tier.
#[derive(Debug, Default)]
pub struct Tier {
    /// Written by the worker.
    pub ingress: Ingress,
    /// Written by the tick thread.
    pub applied: Applied,
}

/// The worker's side of a tier.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Ingress {
    /// Records that the devices sent, by their sequence numbers and closing totals.
    pub offered: Counter,
    /// Discarded by policy: a full ring, a full QUIC buffer.
    pub shed: Counter,
    /// Missing on the network. An estimate while sessions are open, which shrinks when a late record comes after all.
    pub lost: Counter,
    /// The highest that `lost` ever was, for readers to whom a count that shrinks looks like a restart.
    pub lost_max: Counter,
    /// Refused before the ring, for a named reason.
    pub rejected: Counter,
    /// Payloads that are no records; they hold no countable record.
    pub decode_errors: Counter,
    /// Records between the device and the world.
    pub in_flight: Counter,
    /// Slots of the ring in use now: one for a record that came alone, fewer for those of a batch.
    pub ring_depth: Counter,
    /// Slots of the ring.
    pub ring_capacity: Counter,
}

/// The tick thread's side of a tier.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Applied {
    /// Records written to a row.
    pub applied: Counter,
    /// Records seen before.
    pub duplicate: Counter,
    /// Records older than the row.
    pub stale: Counter,
    /// Refused by the world, for a named reason.
    pub rejected: Counter,
}

impl Tier {
    /// The account as it stands.
    #[must_use]
    pub fn totals(&self) -> TierTotals {
        // The outcomes are read before what was offered: while the writers run, a record on its way is
        // then a surplus of offers and not an outcome out of nothing.
        let (ingress, applied) = (&self.ingress, &self.applied);
        let mut totals = TierTotals {
            applied: applied.applied.value(),
            duplicate: applied.duplicate.value(),
            stale: applied.stale.value(),
            rejected: applied.rejected.value() + ingress.rejected.value(),
            shed: ingress.shed.value(),
            lost: ingress.lost.value(),
            in_flight: ingress.in_flight.value(),
            decode_errors: ingress.decode_errors.value(),
            ..TierTotals::default()
        };
        totals.offered = ingress.offered.value();
        totals.residual = totals.unaccounted();
        totals
    }
}

/// The account of one tier at one moment, in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TierTotals {
    /// What the devices sent.
    pub offered: u64,
    /// Written to a row.
    pub applied: u64,
    /// Seen before.
    pub duplicate: u64,
    /// Older than the row.
    pub stale: u64,
    /// Refused for a named reason.
    pub rejected: u64,
    /// Discarded by policy.
    pub shed: u64,
    /// Missing on the network.
    pub lost: u64,
    /// Between the device and the world.
    pub in_flight: u64,
    /// Offered minus every outcome; anything but 0 at rest is a bug.
    pub residual: i64,
    /// Payloads that are no records.
    pub decode_errors: u64,
}

impl TierTotals {
    fn unaccounted(&self) -> i64 {
        let outcomes = [
            self.applied,
            self.duplicate,
            self.stale,
            self.rejected,
            self.shed,
            self.lost,
            self.in_flight,
        ];
        outcomes.iter().fold(self.offered, |rest, n| rest.wrapping_sub(*n)).cast_signed()
    }
}

/// Aggregates of the smoothed values of one sensor type.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Aggregate {
    /// Sensors of the type.
    pub count: Counter,
    /// Mean of their values.
    pub mean: Real,
    /// Least of their values.
    pub min: Real,
    /// Greatest of their values.
    pub max: Real,
}

/// Which way a command goes; indexes [`TwinStats::commands`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a device, answered by the twin.
    ToTwin,
    /// From the twin, answered by a device.
    ToDevice,
}

/// How commands of one direction ended. Each counter is written by the thread that sees that end.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Commands {
    /// Answered with status 0.
    pub acknowledged: Counter,
    /// Answered with another status.
    pub rejected: Counter,
    /// The stream was reset: nobody handles this command. Those that found a ring full are counted by the worker.
    pub reset: Counter,
    /// No answer within the deadline.
    pub expired: Counter,
    /// Not answered yet when a later one took its place.
    pub replaced: Counter,
    /// Not sent, because nobody was there who answers commands.
    pub unreachable: Counter,
}

impl TwinStats {
    /// The counters of one direction.
    #[must_use]
    pub fn commands(&self, direction: Direction) -> &Commands {
        &self.commands[direction as usize]
    }
}
