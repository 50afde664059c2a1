//! The ledger of times: what each hop of a record took, and what kept a record that was late.
//!
//! Of every record that reached a row the moments are known at which it was meant to be sent, was received by the kernel,
//! was taken by a worker, was there for a tick to begin, and was applied. The hops between them add up to the time from end to end,
//! to the nanosecond: what a clock that runs behind would take from one hop is taken from none. Where sender and twin do not
//! seem to share a clock, the way over the network is unknown, and the time from end to end begins with the receipt.
//!
//! A record beyond `tick.outlier_us` is an outlier, and has one cause: whatever took most of its time.

use wire::Tier;

use crate::interval::{Interval, Latency};

/// Sender and twin seem to share a clock where a record took less than this.
const INTENDED_NS_MAX: u64 = 60_000_000_000;

/// Ticks that are remembered to find the first one that could have taken a record.
const TICKS: usize = 64;

/// A stretch of a record's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// From the intended send time to the kernel's receipt.
    Network,
    /// From there to the turn of the worker that took it.
    Socket,
    /// From there to the beginning of the tick that took it.
    Ring,
    /// From there to its row.
    Apply,
}

impl Hop {
    /// Number of hops.
    pub const COUNT: usize = 4;
    /// Names, in order, as in the report and the metrics.
    pub const NAMES: [&str; Self::COUNT] = ["network", "socket", "ring", "apply"];
}

/// What kept a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Sender or network.
    Network,
    /// It lay in the kernel until a worker took its turn.
    KernelQueue,
    /// The next tick was not due yet.
    TickWait,
    /// The tick was due and did not run.
    Scheduler,
    /// Ticks ran and left it in the ring, because their budgets were spent.
    Backlog,
    /// The work of the tick that applied it, or of the one before.
    OwnWork,
}

impl Cause {
    /// Number of causes.
    pub const COUNT: usize = 6;
    /// Names, in order, as in the report and the metrics.
    pub const NAMES: [&str; Self::COUNT] =
        ["network", "kernel_queue", "tick_wait", "scheduler", "backlog", "own_work"];
}

/// The sums of one tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TierLedger {
    /// Records in it: those that were applied.
    pub records: u64,
    /// Of those: without a clock shared with the sender.
    pub unclocked: u64,
    /// Time from end to end, in nanoseconds.
    pub total_ns: u64,
    /// Time of each hop, in nanoseconds, in the order of [`Hop`].
    pub hops_ns: [u64; Hop::COUNT],
    /// Outliers by cause, in the order of [`Cause`].
    pub outliers: [u64; Cause::COUNT],
    /// The longest of them from end to end, in nanoseconds.
    pub longest_ns: [u64; Cause::COUNT],
}

/// Begin and end of a tick, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    began_ns: u64,
    late_ns: u64,
    ended_ns: u64,
}

/// The ledger of all tiers, and the ticks that it explains outliers by.
#[derive(Debug)]
pub(super) struct Ledger {
    outlier_ns: u64,
    period_ns: u64,
    spans: [Span; TICKS],
    /// The tick that runs.
    at: usize,
    late_ns: u64,
    tiers: [TierLedger; Tier::COUNT],
    closed: bool,
}

impl Ledger {
    pub(super) fn new(hz: u32, outlier_us: u64) -> Self {
        Self {
            outlier_ns: outlier_us * 1_000,
            period_ns: 1_000_000_000 / u64::from(hz.max(1)),
            spans: [Span::default(); TICKS],
            at: 0,
            late_ns: 0,
            tiers: [TierLedger::default(); Tier::COUNT],
            closed: false,
        }
    }

    /// Enters nothing from now on.
    pub(super) const fn close(&mut self) {
        self.closed = true;
    }

    pub(super) const fn tier(&self, tier: Tier) -> &TierLedger {
        &self.tiers[tier.index()]
    }

    /// The tick that comes next begins so much later than it was due, in nanoseconds.
    pub(super) const fn note_late(&mut self, late_ns: u64) {
        self.late_ns = late_ns;
    }

    pub(super) fn begin_tick(&mut self, began_ns: u64) {
        self.at = (self.at + 1) % TICKS;
        let late_ns = std::mem::take(&mut self.late_ns);
        self.spans[self.at] = Span { began_ns, late_ns, ended_ns: began_ns };
    }

    pub(super) fn end_tick(&mut self, now_ns: u64) {
        self.spans[self.at].ended_ns = now_ns;
    }

    /// The moments of a record on its way, each no earlier than the one before.
    fn stages(&self, recv_ns: u64, lag_ns: u32, now_ns: u64) -> Stages {
        let applied_ns = now_ns;
        let taken_ns = recv_ns.saturating_add(u64::from(lag_ns)).min(applied_ns);
        let began_ns = self.spans[self.at].began_ns.clamp(taken_ns, applied_ns);
        Stages { received_ns: recv_ns.min(taken_ns), taken_ns, began_ns, applied_ns }
    }

    /// Enters the hops within the twin of `count` records that came and were applied together.
    fn enter_received(&mut self, tier: Tier, stages: &Stages, count: u64, interval: &mut Interval) {
        let sums = &mut self.tiers[tier.index()];
        sums.records += count;
        let hops = stages.hops_ns();
        for (sum, hop_ns) in sums.hops_ns[1..].iter_mut().zip(hops) {
            add(sum, hop_ns, count);
        }
        let latencies = [Latency::SocketToRing, Latency::RingToTick, Latency::TickToApplied];
        for (latency, hop_ns) in latencies.into_iter().zip(hops) {
            interval.record_n(latency, hop_ns, count);
        }
        let received = Latency::RECEIVE_TO_APPLIED[tier.index()];
        interval.record_n(received, stages.applied_ns - stages.received_ns, count);
    }

    /// Enters the way over the network of `count` of them, which were meant to be sent at once, and the whole.
    fn enter_intended(
        &mut self,
        tier: Tier,
        stages: &Stages,
        sent_us: u64,
        count: u64,
        interval: &mut Interval,
    ) {
        let sent_ns = sent_us.checked_mul(1_000).filter(|&sent_ns| {
            sent_ns <= stages.received_ns && stages.applied_ns - sent_ns < INTENDED_NS_MAX
        });
        let since_ns = sent_ns.unwrap_or(stages.received_ns);
        let (network_ns, total_ns) = (stages.received_ns - since_ns, stages.applied_ns - since_ns);
        let sums = &mut self.tiers[tier.index()];
        add(&mut sums.total_ns, total_ns, count);
        if sent_ns.is_some() {
            add(&mut sums.hops_ns[Hop::Network as usize], network_ns, count);
            interval.record_n(Latency::IntendedToReceived, network_ns, count);
            interval.record_n(Latency::INTENDED_TO_APPLIED[tier.index()], total_ns, count);
        } else {
            sums.unclocked += count;
        }
        if total_ns > self.outlier_ns {
            let cause = self.cause(stages, network_ns) as usize;
            let sums = &mut self.tiers[tier.index()];
            sums.outliers[cause] += count;
            sums.longest_ns[cause] = sums.longest_ns[cause].max(total_ns);
        }
    }

    /// What took most of the time of a record.
    #[cold]
    fn cause(&self, stages: &Stages, network_ns: u64) -> Cause {
        let [socket_ns, _, apply_ns] = stages.hops_ns();
        let (first, before) = self.first_after(stages.taken_ns);
        let first_ns = first.began_ns.clamp(stages.taken_ns, stages.began_ns);
        // Ticks are due one period apart, and `first` was due when it began less what it was late. The first moment of
        // those that is not before the record was there ends its wait for a tick.
        let due_ns = first_ns.saturating_sub(first.late_ns);
        let wait_ns = due_ns.saturating_sub(stages.taken_ns) % self.period_ns;
        let due_ns = (stages.taken_ns + wait_ns).min(first_ns);
        // It ran later than that: because of the tick before, or because it was not let.
        let overrun_ns = before.ended_ns.min(first_ns).saturating_sub(due_ns);
        let shares = [
            (network_ns, Cause::Network),
            (socket_ns, Cause::KernelQueue),
            (due_ns - stages.taken_ns, Cause::TickWait),
            (first_ns - due_ns - overrun_ns, Cause::Scheduler),
            (stages.began_ns - first_ns, Cause::Backlog),
            (apply_ns + overrun_ns, Cause::OwnWork),
        ];
        let longest = shares.into_iter().max_by_key(|(ns, _)| *ns);
        longest.map_or(Cause::OwnWork, |(_, cause)| cause)
    }

    /// The first tick that began after this moment, and the one before it, as far as they are remembered.
    fn first_after(&self, taken_ns: u64) -> (&Span, &Span) {
        let span = |back: usize| &self.spans[(self.at + TICKS - back) % TICKS];
        let back = (0..TICKS - 2).find(|&back| span(back + 1).began_ns < taken_ns);
        let back = back.unwrap_or(TICKS - 2);
        (span(back), span(back + 1))
    }
}

/// Adds the time of `count` records. Sums wrap, after half a year of a million records a second and a millisecond each;
/// what they differ by stays right.
const fn add(sum: &mut u64, ns: u64, count: u64) {
    *sum = sum.wrapping_add(ns.wrapping_mul(count));
}

/// The moments of a record, in nanoseconds since the Unix epoch, in order.
#[derive(Debug, Clone, Copy, Default)]
struct Stages {
    received_ns: u64,
    taken_ns: u64,
    began_ns: u64,
    applied_ns: u64,
}

impl Stages {
    /// The hops within the twin: socket, ring, apply.
    const fn hops_ns(&self) -> [u64; 3] {
        [
            self.taken_ns - self.received_ns,
            self.began_ns - self.taken_ns,
            self.applied_ns - self.began_ns,
        ]
    }
}

/// Enters the records of one part. Records of one delivery share their times, so runs are entered and not records.
pub(super) struct Entries {
    tier: Tier,
    now_ns: u64,
    recv_ns: u64,
    lag_ns: u32,
    received: u64,
    sent_us: u64,
    intended: u64,
}

impl Entries {
    pub(super) const fn new(tier: Tier, now_ns: u64) -> Self {
        Self { tier, now_ns, recv_ns: 0, lag_ns: 0, received: 0, sent_us: 0, intended: 0 }
    }

    /// Adds `count` records that were received at `recv_ns`, taken `lag_ns` later, and sent at `sent_us`.
    pub(super) fn push(
        &mut self,
        (recv_ns, lag_ns, sent_us): (u64, u32, u64),
        count: u64,
        ledger: &mut Ledger,
        interval: &mut Interval,
    ) {
        if ledger.closed || count == 0 {
            return;
        }
        if recv_ns != self.recv_ns || lag_ns != self.lag_ns {
            self.flush(ledger, interval);
            (self.recv_ns, self.lag_ns) = (recv_ns, lag_ns);
        } else if sent_us != self.sent_us {
            self.flush_intended(ledger, interval);
        }
        self.sent_us = sent_us;
        self.received += count;
        self.intended += count;
    }

    /// Enters what was not entered yet.
    pub(super) fn flush(&mut self, ledger: &mut Ledger, interval: &mut Interval) {
        self.flush_intended(ledger, interval);
        let count = std::mem::take(&mut self.received);
        if count > 0 {
            let stages = ledger.stages(self.recv_ns, self.lag_ns, self.now_ns);
            ledger.enter_received(self.tier, &stages, count, interval);
        }
    }

    fn flush_intended(&mut self, ledger: &mut Ledger, interval: &mut Interval) {
        let count = std::mem::take(&mut self.intended);
        if count > 0 {
            let stages = ledger.stages(self.recv_ns, self.lag_ns, self.now_ns);
            ledger.enter_intended(self.tier, &stages, self.sent_us, count, interval);
        }
    }
}
