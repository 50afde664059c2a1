//! What the tick thread measures while it applies records: counts, latencies, and the window in
//! which it was at work.
//!
//! The instrument is kept cheap on purpose, so that it is no part of what is compared: one reading
//! of the clock serves up to [`CLOCK_RECORDS`] records, which understates a latency by the few
//! microseconds that they take.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bevy_ecs::prelude::Resource;
use hdrhistogram::Histogram;

use crate::usage::CpuTime;

/// Records that share one reading of the clock: about the size of a full datagram.
const CLOCK_RECORDS: usize = 32;

/// Longest latency that a histogram resolves, in nanoseconds: one minute. Longer ones count as
/// that.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Counts and latencies of all records applied so far.
#[derive(Resource)]
pub(crate) struct Meter {
    /// Records applied, over all tiers.
    pub(crate) applied: u64,
    /// From the hand-over by quinn to the write into the world, T1, nanoseconds.
    pub(crate) receive_to_applied_t1: Histogram<u64>,
    /// From the intended send time in the record to the write into the world, T1, nanoseconds.
    pub(crate) intended_to_applied_t1: Histogram<u64>,
    /// First and last record; `None` before the first.
    pub(crate) active: Option<Active>,
    /// Both clocks at one moment: a single reading gives both times afterwards.
    origin: (Instant, u64),
    now: Instant,
    records_since_reading: usize,
}

/// The window from the first applied record to the end of the last tick that applied one.
#[derive(Clone, Copy)]
pub(crate) struct Active {
    start: (Instant, CpuTime),
    end: (Instant, CpuTime),
}

impl Active {
    /// Length of the window, in seconds.
    pub(crate) fn elapsed_s(&self) -> f64 {
        (self.end.0 - self.start.0).as_secs_f64()
    }

    /// CPU time that the process used within the window, in seconds.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.end.1.total_s() - self.start.1.total_s()
    }
}

impl Meter {
    /// A meter that has seen nothing.
    pub(crate) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
                .expect("the bounds are valid because 1 * 2 <= LATENCY_NS_MAX and 3 <= 5 digits")
        };
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ns =
            unix.expect("the wall clock is set because certificates need it").as_nanos() as u64;
        let now = Instant::now();
        Self {
            applied: 0,
            receive_to_applied_t1: histogram(),
            intended_to_applied_t1: histogram(),
            active: None,
            origin: (now, unix_ns),
            now,
            records_since_reading: CLOCK_RECORDS,
        }
    }

    /// Announces that the first record of a tick is about to be applied.
    pub(crate) fn open(&mut self) {
        self.records_since_reading = CLOCK_RECORDS;
        if self.active.is_none() {
            let start = (Instant::now(), CpuTime::now());
            self.active = Some(Active { start, end: start });
        }
    }

    /// Counts `records` T1 records that were handed over together, each with its intended send time
    /// in microseconds.
    pub(crate) fn record_t1(&mut self, received: Instant, intended_us: impl Iterator<Item = u64>) {
        if self.records_since_reading >= CLOCK_RECORDS {
            self.now = Instant::now();
            self.records_since_reading = 0;
        }
        let unix_ns = self.origin.1 + (self.now - self.origin.0).as_nanos() as u64;
        let mut records = 0;
        for intended_us in intended_us {
            let latency_ns = unix_ns.saturating_sub(intended_us.saturating_mul(1_000));
            self.intended_to_applied_t1.saturating_record(latency_ns);
            records += 1;
        }
        let latency_ns = self.now.saturating_duration_since(received).as_nanos() as u64;
        self.receive_to_applied_t1.saturating_record_n(latency_ns, records);
        self.records_since_reading += records as usize;
        self.applied += records;
    }

    /// Moves the end of the window to now.
    pub(crate) fn close(&mut self) {
        if let Some(active) = &mut self.active {
            active.end = (Instant::now(), CpuTime::now());
        }
    }
}
