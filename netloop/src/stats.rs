//! Counters that one worker writes and anyone reads, without locks and without slowing the writer.
//!
//! Each counter has a single writer, so adding is a load and a store, not a read-modify-write. A reader sees each
//! counter whole, but not all of them from the same moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::{EngineTally, GapCause, Health, Ledger, Limit, Pool, Refusal, SocketCounts};

/// One number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning thread may call this: two writers would lose counts.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed load and store: the writer is alone, and no other memory is published through a counter.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Replaces the value, for gauges. Only the owning thread may call this.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a worker is in its turn: what the watchdog says of one that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// It has not begun.
    Starting,
    /// Reads its socket.
    Receiving,
    /// Moves records from QUIC into the rings.
    Moving,
    /// Fires timers of QUIC.
    Timers,
    /// Takes answers and commands of this side.
    Commands,
    /// Sends.
    Sending,
    /// Waits for something to do.
    Waiting,
}

impl Stage {
    const ALL: [Self; 7] = [
        Self::Starting,
        Self::Receiving,
        Self::Moving,
        Self::Timers,
        Self::Commands,
        Self::Sending,
        Self::Waiting,
    ];

    /// The word for it in a log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Receiving => "receiving",
            Self::Moving => "moving records",
            Self::Timers => "firing timers",
            Self::Commands => "taking commands",
            Self::Sending => "sending",
            Self::Waiting => "waiting",
        }
    }
}

/// A stage with one writer.
#[derive(Debug, Default)]
pub struct StageMark(AtomicU8);

impl StageMark {
    /// Replaces the stage. Only the owning thread calls it.
    #[inline]
    pub(crate) fn set(&self, stage: Stage) {
        // Relaxed: a mark for a reader who tolerates that it is a moment old.
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    /// The stage now.
    #[must_use]
    pub fn value(&self) -> Stage {
        Stage::ALL[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

/// What happened to the records of one tier.
#[derive(Debug, Default)]
pub struct TierStats {
    /// Records that arrived whole, whatever became of them: those that were shed or rejected are among them.
    pub received: Counter,
    /// Records discarded because their ring was full.
    pub shed: Counter,
    /// Records that were whole but broke a rule.
    pub rejected: Counter,
    /// Payloads or streams that were not whole records.
    pub decode_errors: Counter,
}

/// How often a loop stopped at its budget with work left.
#[derive(Debug, Default)]
pub struct BudgetStats {
    /// Receiving.
    pub recv: Counter,
    /// Serving one session: its ring was full, its T2 budget used up, or others waited for T2 before it.
    pub session: Counter,
    /// Letting handshakes in: some were left waiting, for the budget of the turn or for their rate.
    pub handshakes: Counter,
    /// Giving one session what arrived: it has more, and others go first.
    pub rounds: Counter,
    /// Sending.
    pub send: Counter,
}

/// Everything one worker counts. Aligned, so that no foreign data shares its lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStats {
    /// Turns taken: the watchdog looks whether it moves.
    pub turns: Counter,
    /// Where in its turn the worker is.
    pub stage: StageMark,
    /// Turns that found something to do.
    pub busy_turns: Counter,
    /// Nanoseconds spent in busy turns.
    pub busy_ns: Counter,
    /// CPU time of the thread in nanoseconds, to a second while it runs and exact at its end.
    pub cpu_ns: Counter,
    /// Pages that the kernel had to find for the thread since its first turn, from memory and from a disk; to a second.
    pub page_faults: [Counter; 2],
    /// Gaps of the spin loop by cause, in the order of [`GapCause::ALL`].
    pub gaps: [Counter; GapCause::ALL.len()],
    /// Their time, in nanoseconds.
    pub gap_ns: [Counter; GapCause::ALL.len()],
    /// Datagrams received.
    pub datagrams_in: Counter,
    /// Datagrams sent.
    pub datagrams_out: Counter,
    /// Datagrams of other workers' sessions, handed over to them.
    pub datagrams_passed: Counter,
    /// Such datagrams discarded, because the other worker's inbox was full.
    pub datagrams_passed_lost: Counter,
    /// UDP payload bytes received.
    pub bytes_in: Counter,
    /// UDP payload bytes sent.
    pub bytes_out: Counter,
    /// Receive system calls.
    pub recv_calls: Counter,
    /// Send system calls.
    pub send_calls: Counter,
    /// Sends that the kernel refused for want of buffer space.
    pub send_would_block: Counter,
    /// Datagrams that the kernel discarded because the path carries none so large: probes of it.
    pub datagrams_oversized: Counter,
    /// Receives that failed for another reason than an empty socket.
    pub recv_errors: Counter,
    /// Sends that failed for another reason than these.
    pub send_errors: Counter,
    /// Loops that stopped at their budget.
    pub budget_exhausted: BudgetStats,
    /// Unreliable telemetry.
    pub t1: TierStats,
    /// Reliable events.
    pub t2: TierStats,
    /// Commands.
    pub t3: TierStats,
    /// Commands that found the ring full, or the end begun: their stream was reset.
    pub t3_busy: Counter,
    /// Commands whose session was over before their answer.
    pub t3_unanswered: Counter,
    /// Handshakes completed.
    pub handshakes_ok: Counter,
    /// Handshakes broken off by a TLS alert that says nothing about who the peer is, such as one of the peer's own.
    pub handshakes_tls: Counter,
    /// Handshakes given up after silence.
    pub handshakes_timeout: Counter,
    /// Handshakes that failed otherwise.
    pub handshakes_other: Counter,
    /// The quickest round trip of any session so far, in nanoseconds; 0 before the first was looked at.
    pub rtt_min_ns: Counter,
    /// Browsers that came over WebTransport.
    pub viewers_opened: Counter,
    /// Those of them that are gone.
    pub viewers_closed: Counter,
    /// Sessions opened.
    pub sessions_opened: Counter,
    /// Sessions closed.
    pub sessions_closed: Counter,
    /// Datagrams that belong to no session and open none.
    pub garbage_datagrams: Counter,
    /// How often each limit was reached, in the order of [`Limit::ALL`].
    pub limits: [Counter; Limit::ALL.len()],
    /// Open sessions by the health of their peer, in the order of [`Health::ALL`].
    pub health: [Counter; Health::ALL.len()],
    /// How often a peer came into each of these states from another.
    pub health_changes: [Counter; Health::ALL.len()],
    /// Sessions whose keys were replaced because their period was over.
    pub key_updates: Counter,
    /// Control streams that broke their form.
    pub bad_control: Counter,
    /// Records rejected because their session may not write for their device, by tier.
    pub forbidden: [Counter; 3],
    /// Records rejected for their layout, by tier: with the forbidden ones all that were rejected. A reader cannot take one count
    /// from another, because it does not see both from one moment, and the difference could go backwards.
    pub malformed: [Counter; 3],
    /// Handshakes broken off because of who the peer is, by [`Refusal`].
    pub handshakes_turned_away: [Counter; Refusal::COUNT],
    /// Established sessions closed because of who the peer is, by [`Refusal`].
    pub sessions_refused: [Counter; Refusal::COUNT],
    /// DATAGRAM frames that QUIC discarded because its own queue was full, of sessions that have ended.
    pub shed_quic_datagrams: Counter,
    /// Receive slabs replaced because their bytes were still in use.
    pub slab_replaced: Counter,
}

impl WorkerStats {
    /// Counters at zero, ready to be shared.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Makes the totals of an engine, its socket and its pool visible. Only the worker calls it.
    pub(crate) fn publish(&self, tally: &EngineTally, socket: &SocketCounts, pool: &Pool) {
        for (tier, from) in [&self.t1, &self.t2, &self.t3].into_iter().zip(&tally.tiers) {
            tier.received.set(from.received);
            tier.shed.set(from.shed);
            tier.rejected.set(from.rejected);
            tier.decode_errors.set(from.decode_errors);
        }
        self.datagrams_in.set(socket.datagrams_in);
        self.datagrams_out.set(socket.datagrams_out);
        self.bytes_in.set(socket.bytes_in);
        self.bytes_out.set(socket.bytes_out);
        self.recv_calls.set(socket.recv_calls);
        self.send_calls.set(socket.send_calls);
        self.send_would_block.set(socket.would_block);
        self.datagrams_oversized.set(socket.oversized);
        self.recv_errors.set(socket.recv_errors);
        self.send_errors.set(socket.send_errors);
        self.budget_exhausted.session.set(tally.unfinished);
        self.t3_busy.set(tally.busy);
        self.t3_unanswered.set(tally.unanswered);
        self.handshakes_ok.set(tally.opened);
        self.handshakes_tls.set(tally.handshakes_tls);
        self.handshakes_timeout.set(tally.handshakes_timeout);
        self.handshakes_other.set(tally.handshakes_other);
        for (limit, count) in self.limits.iter().zip(tally.limits) {
            limit.set(count);
        }
        let health = self.health.iter().chain(&self.health_changes);
        for (shown, count) in health.zip(tally.health.into_iter().chain(tally.health_changes)) {
            shown.set(count);
        }
        self.key_updates.set(tally.key_updates);
        self.budget_exhausted.handshakes.set(tally.handshakes_waited);
        self.budget_exhausted.rounds.set(tally.rounds);
        self.rtt_min_ns.set(tally.rtt_min_ns);
        self.viewers_closed.set(tally.viewers_closed);
        self.viewers_opened.set(tally.viewers_opened);
        self.sessions_opened.set(tally.opened);
        self.sessions_closed.set(tally.closed);
        self.garbage_datagrams.set(tally.garbage);
        self.bad_control.set(tally.bad_control);
        set_all(&self.forbidden, &tally.forbidden());
        for (malformed, tier) in self.malformed.iter().zip(&tally.tiers) {
            malformed.set(tier.rejected - tier.forbidden);
        }
        set_all(&self.handshakes_turned_away, &tally.handshakes_turned_away);
        set_all(&self.sessions_refused, &tally.sessions_refused);
        self.shed_quic_datagrams.set(tally.shed_quic_datagrams);
        self.slab_replaced.set(pool.replaced());
    }

    /// Shows that nothing is open any more: the sessions of a worker end with it. Only the worker calls it, at its end.
    pub(crate) fn publish_end(&self) {
        self.sessions_closed.set(self.sessions_opened.value());
        self.viewers_closed.set(self.viewers_opened.value());
        self.health.iter().for_each(|open| open.set(0));
    }

    /// Makes the ledger of stolen time visible. Only the worker calls it.
    pub(crate) fn publish_gaps(&self, ledger: &Ledger) {
        for (at, gaps) in ledger.gaps().iter().enumerate() {
            self.gaps[at].set(gaps.count);
            self.gap_ns[at].set(gaps.total_ns);
        }
    }

    /// How often a limit was reached.
    #[must_use]
    pub fn limited(&self, limit: Limit) -> u64 {
        self.limits[limit as usize].value()
    }

    /// The counters of several workers, added up: what a reader sees of them together.
    #[must_use]
    pub fn sum<'a>(workers: impl IntoIterator<Item = &'a Arc<Self>>) -> Self {
        let sum = Self::default();
        for worker in workers {
            for (to, from) in sum.counters().zip(worker.counters()) {
                to.add(from.value());
            }
        }
        sum
    }

    /// All counters but [`Self::rtt_min_ns`], which is a least and not a count. Closed sessions stand before opened ones, for the reason that [`WorkerStats::sessions_open`] has.
    fn counters(&self) -> impl Iterator<Item = &Counter> {
        let single = [
            &self.turns,
            &self.busy_turns,
            &self.busy_ns,
            &self.cpu_ns,
            &self.datagrams_in,
            &self.datagrams_out,
            &self.datagrams_passed,
            &self.datagrams_passed_lost,
            &self.bytes_in,
            &self.bytes_out,
            &self.recv_calls,
            &self.send_calls,
            &self.send_would_block,
            &self.datagrams_oversized,
            &self.recv_errors,
            &self.send_errors,
            &self.budget_exhausted.recv,
            &self.budget_exhausted.session,
            &self.budget_exhausted.handshakes,
            &self.budget_exhausted.rounds,
            &self.budget_exhausted.send,
            &self.t1.received,
            &self.t1.shed,
            &self.t1.rejected,
            &self.t1.decode_errors,
            &self.t2.received,
            &self.t2.shed,
            &self.t2.rejected,
            &self.t2.decode_errors,
            &self.t3.received,
            &self.t3.shed,
            &self.t3.rejected,
            &self.t3.decode_errors,
            &self.t3_busy,
            &self.t3_unanswered,
            &self.handshakes_ok,
            &self.handshakes_tls,
            &self.handshakes_timeout,
            &self.handshakes_other,
            &self.viewers_closed,
            &self.viewers_opened,
            &self.sessions_closed,
            &self.sessions_opened,
            &self.garbage_datagrams,
            &self.key_updates,
            &self.bad_control,
            &self.shed_quic_datagrams,
            &self.slab_replaced,
        ];
        let health = self.health.iter().chain(&self.health_changes);
        let health = health.chain(&self.page_faults).chain(&self.gaps).chain(&self.gap_ns);
        let of_peers = [&self.handshakes_turned_away, &self.sessions_refused];
        let rejected = self.forbidden.iter().chain(&self.malformed);
        let of_peers = rejected.chain(of_peers.into_iter().flatten());
        single.into_iter().chain(&self.limits).chain(health).chain(of_peers)
    }

    /// Sessions that are open.
    ///
    /// Opened is read last, so that a session that opens and closes in between cannot make the difference negative.
    #[must_use]
    pub fn sessions_open(&self) -> u64 {
        let closed = self.sessions_closed.value();
        self.sessions_opened.value().saturating_sub(closed)
    }
}

fn set_all(counters: &[Counter], values: &[u64]) {
    for (counter, value) in counters.iter().zip(values) {
        counter.set(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_sees_what_the_writer_added() {
        let stats = WorkerStats::shared();
        let reader = Arc::clone(&stats);
        stats.t1.received.add(3);
        stats.t1.received.add(4);
        stats.sessions_opened.add(5);
        stats.sessions_closed.add(2);
        let seen = std::thread::spawn(move || (reader.t1.received.value(), reader.sessions_open()));
        assert_eq!(seen.join().unwrap(), (7, 3));
    }

    #[test]
    fn mark_reads_as_the_stage_that_was_set() {
        let mark = StageMark::default();
        assert_eq!(mark.value(), Stage::Starting);
        for stage in Stage::ALL {
            mark.set(stage);
            assert_eq!(mark.value(), stage);
        }
    }

    #[test]
    fn workers_add_up_in_every_counter() {
        let (one, two) = (WorkerStats::shared(), WorkerStats::shared());
        let all = format!("{one:?}").matches("Counter(").count();
        // The shortest round trip is no count: two of them do not add up.
        let all = all - 1;
        assert_eq!(one.counters().count(), all, "every counter is in the list");
        for (number, counter) in one.counters().enumerate() {
            counter.add(number as u64);
        }
        two.counters().for_each(|counter| counter.add(1000));
        let sum = WorkerStats::sum([&one, &two]);
        let values = sum.counters().map(Counter::value);
        assert!(values.eq(1000..1000 + all as u64), "each is listed once");
    }

    #[test]
    fn stats_start_on_their_own_lines() {
        assert_eq!(align_of::<WorkerStats>(), 128);
        assert_eq!(size_of::<WorkerStats>() % 128, 0);
    }
}
