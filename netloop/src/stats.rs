//! Counters that one worker writes and anyone reads, without locks and without slowing the writer.
//!
//! Each counter has a single writer, so adding is a load and a store, not a read-modify-write. A reader sees each
//! counter whole, but not all of them from the same moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What happened to the records of one tier.
#[derive(Debug, Default)]
pub struct TierStats {
    /// Records that arrived whole and passed the checks.
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
    /// Draining one session.
    pub session: Counter,
    /// Sending.
    pub send: Counter,
}

/// Everything one worker counts. Aligned, so that no foreign data shares its lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStats {
    /// Turns taken: the watchdog looks whether it moves.
    pub turns: Counter,
    /// Turns that found something to do.
    pub busy_turns: Counter,
    /// Nanoseconds spent in busy turns.
    pub busy_ns: Counter,
    /// Nanoseconds spent in empty turns and waiting.
    pub idle_ns: Counter,
    /// Datagrams received.
    pub datagrams_in: Counter,
    /// Datagrams sent.
    pub datagrams_out: Counter,
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
    /// Loops that stopped at their budget.
    pub budget_exhausted: BudgetStats,
    /// Unreliable telemetry.
    pub t1: TierStats,
    /// Reliable events.
    pub t2: TierStats,
    /// Commands.
    pub t3: TierStats,
    /// Commands that nobody handles: their stream was reset.
    pub t3_no_handler: Counter,
    /// Commands that found the ring full: their stream was reset.
    pub t3_busy: Counter,
    /// Handshakes completed.
    pub handshakes_ok: Counter,
    /// Handshakes that ended otherwise.
    pub handshakes_failed: Counter,
    /// Sessions opened.
    pub sessions_opened: Counter,
    /// Sessions closed.
    pub sessions_closed: Counter,
    /// Datagrams that belong to no session and open none.
    pub garbage_datagrams: Counter,
    /// Receive slabs replaced because their bytes were still in use.
    pub slab_replaced: Counter,
}

impl WorkerStats {
    /// Counters at zero, ready to be shared.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::default())
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
    fn stats_start_on_their_own_lines() {
        assert_eq!(align_of::<WorkerStats>(), 128);
        assert_eq!(size_of::<WorkerStats>() % 128, 0);
    }
}
