//! How late T1 records leave: from when they were due to when QUIC takes them, the wait for company included.
//!
//! It costs a step for each device that is due and for each batch, none for a record. A load without a rate has no due times,
//! and so no lateness. Records that never leave have none either.

use std::collections::VecDeque;

use super::progress::{LoadInterval, LoadLatency};

/// When the records were due that a carrier has packed, in the order in which they were packed.
#[derive(Debug, Default)]
pub(super) struct Dues {
    /// A due time in nanoseconds since the first turn, and how many records in a row share it.
    packed: VecDeque<(u64, u64)>,
}

impl Dues {
    /// So many records with this due time are packed next.
    pub(super) fn push(&mut self, due_ns: u64, records: u64) {
        self.packed.push_back((due_ns, records));
    }

    /// So many of the last push found no room.
    pub(super) fn take_back(&mut self, records: u64) {
        if let Some((_, left)) = self.packed.back_mut() {
            *left -= records;
            if *left == 0 {
                self.packed.pop_back();
            }
        }
    }

    /// The oldest due time, with at most `most` of its records, which are taken out.
    fn pop(&mut self, most: u64) -> Option<(u64, u64)> {
        let (due_ns, left) = self.packed.front_mut()?;
        let (due_ns, taken) = (*due_ns, most.min(*left));
        *left -= taken;
        if *left == 0 {
            self.packed.pop_front();
        }
        Some((due_ns, taken))
    }

    /// Forgets the oldest records, which never leave.
    pub(super) fn forget(&mut self, mut records: u64) {
        while records > 0
            && let Some((_, taken)) = self.pop(records)
        {
            records -= taken;
        }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.packed.clear();
    }
}

/// Where the lateness of a turn goes.
pub(super) struct Lateness<'a> {
    pub(super) interval: &'a mut LoadInterval,
    /// The worst so far, in nanoseconds.
    pub(super) ns_max: &'a mut u64,
    /// The time of the turn, in nanoseconds since the first one.
    pub(super) now_ns: u64,
}

impl Lateness<'_> {
    /// Records that QUIC has taken the oldest `records` of a carrier.
    pub(super) fn record(&mut self, dues: &mut Dues, mut records: u64) {
        while records > 0
            && let Some((due_ns, taken)) = dues.pop(records)
        {
            let late_ns = self.now_ns.saturating_sub(due_ns);
            *self.ns_max = late_ns.max(*self.ns_max);
            self.interval.record_n(LoadLatency::Lateness, late_ns, taken);
            records -= taken;
        }
    }
}
