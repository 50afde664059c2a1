//! The ledger of stolen time: where the time of a thread that spins went when it was not there to look.
//!
//! A thread that spins reads the clock once for each empty turn, and these readings lie as close together as an empty turn is
//! short. What lies further apart is a gap, and has a cause: the scheduler gave the core to another thread, the kernel had to
//! find a page, or neither, and then it was an interrupt, or a hypervisor that ran something else. Turns with work are the
//! thread's own. A thread that sleeps keeps no ledger: nobody can tell a gap from a sleep.

use std::time::Instant;

use crate::ThreadUsage;

/// Why a thread was not there to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapCause {
    /// It had work.
    Work,
    /// Its core was given to another thread.
    Scheduler,
    /// The kernel had to find a page.
    PageFault,
    /// An interrupt, or the host of a virtual machine: the kernel tells of neither.
    Interrupt,
}

impl GapCause {
    /// All causes, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Work, Self::Scheduler, Self::PageFault, Self::Interrupt];

    /// Its name, as in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Scheduler => "scheduler",
            Self::PageFault => "page_fault",
            Self::Interrupt => "interrupt",
        }
    }
}

/// Gaps of one cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gaps {
    /// How many.
    pub count: u64,
    /// Their time beyond an empty turn, in nanoseconds.
    pub total_ns: u64,
    /// The longest, in nanoseconds.
    pub longest_ns: u64,
}

/// The gaps of one thread.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// In the order of [`GapCause::ALL`].
    gaps: [Gaps; GapCause::ALL.len()],
    /// End of the last turn, if the thread has not slept since.
    last: Option<Instant>,
    /// What an empty turn takes, once the first have shown it.
    empty_ns: Option<u64>,
    usage: ThreadUsage,
}

/// What lies further apart than an empty turn by more than this is a gap, in nanoseconds.
const GAP_NS: u64 = 1_000;

impl Ledger {
    /// Gaps by cause, in the order of [`GapCause::ALL`].
    #[must_use]
    pub const fn gaps(&self) -> &[Gaps; GapCause::ALL.len()] {
        &self.gaps
    }

    /// A turn has ended at `now`; `busy` when it found work. `usage` is asked only after a gap.
    #[inline]
    pub fn end_turn(&mut self, now: Instant, busy: bool, usage: impl FnOnce() -> ThreadUsage) {
        let Some(last) = self.last.replace(now) else { return };
        let took_ns = now.saturating_duration_since(last).as_nanos() as u64;
        // An empty turn takes as long as the shortest has; the first ones find cold caches.
        let empty_ns = self.empty_ns.unwrap_or(took_ns);
        if !busy {
            self.empty_ns = Some(empty_ns.min(took_ns));
        }
        let beyond_ns = took_ns.saturating_sub(empty_ns);
        if beyond_ns > GAP_NS {
            self.note(beyond_ns, busy, usage);
        }
    }

    /// The thread is about to sleep: what comes until the next turn is no gap.
    #[inline]
    pub const fn sleep(&mut self) {
        self.last = None;
    }

    #[cold]
    fn note(&mut self, beyond_ns: u64, busy: bool, usage: impl FnOnce() -> ThreadUsage) {
        let cause = if busy { GapCause::Work } else { self.ask(usage()) };
        let gaps = &mut self.gaps[cause as usize];
        gaps.count += 1;
        gaps.total_ns += beyond_ns;
        gaps.longest_ns = gaps.longest_ns.max(beyond_ns);
    }

    /// What the kernel has counted since it was last asked.
    fn ask(&mut self, usage: ThreadUsage) -> GapCause {
        let before = std::mem::replace(&mut self.usage, usage);
        let faults = |of: &ThreadUsage| of.minor_faults + of.major_faults;
        if usage.preemptions > before.preemptions {
            GapCause::Scheduler
        } else if faults(&usage) > faults(&before) {
            GapCause::PageFault
        } else {
            GapCause::Interrupt
        }
    }

    /// Brings the kernel's counts up to date, so that what came during work is not taken for the cause of a later gap.
    pub const fn set_usage(&mut self, usage: ThreadUsage) {
        self.usage = usage;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Now;

    const CALM: ThreadUsage =
        ThreadUsage { minor_faults: 5, major_faults: 0, waits: 0, preemptions: 7 };

    struct Thread {
        ledger: Ledger,
        now: Instant,
    }

    impl Thread {
        /// One that has taken empty turns of 300 ns.
        fn spinning() -> Self {
            let mut thread = Self { ledger: Ledger::default(), now: Now::simulated().instant };
            thread.ledger.set_usage(CALM);
            (0..=10).for_each(|_| thread.turn(300, false, || panic!("there was no gap")));
            thread
        }

        fn turn(&mut self, ns: u64, busy: bool, usage: impl FnOnce() -> ThreadUsage) {
            self.now += Duration::from_nanos(ns);
            self.ledger.end_turn(self.now, busy, usage);
        }

        fn counts(&self) -> [u64; 4] {
            self.ledger.gaps().map(|gaps| gaps.count)
        }
    }

    #[test]
    fn gap_has_the_cause_that_the_kernel_counted() {
        let mut thread = Thread::spinning();
        thread.turn(5_300, false, || CALM);
        assert_eq!(thread.counts(), [0, 0, 0, 1]);
        let preempted = ThreadUsage { preemptions: 8, ..CALM };
        thread.turn(10_300, false, || preempted);
        assert_eq!(thread.counts(), [0, 1, 0, 1]);
        let faulted = ThreadUsage { minor_faults: 6, ..preempted };
        thread.turn(3_300, false, || faulted);
        assert_eq!(thread.counts(), [0, 1, 1, 1]);
        assert_eq!(thread.ledger.gaps().map(|gaps| gaps.total_ns), [0, 10_000, 3_000, 5_000]);
    }

    #[test]
    fn work_is_the_threads_own_and_asks_nobody() {
        let mut thread = Thread::spinning();
        thread.turn(20_300, true, || panic!("work needs no other cause"));
        assert_eq!(thread.counts(), [1, 0, 0, 0]);
        assert_eq!(thread.ledger.gaps()[GapCause::Work as usize].longest_ns, 20_000);
    }

    #[test]
    fn up_to_a_microsecond_is_no_gap_and_sleep_is_none() {
        let mut thread = Thread::spinning();
        thread.turn(1_300, false, || panic!("a microsecond is no gap"));
        thread.ledger.sleep();
        thread.turn(9_000_000, false, || panic!("a sleep is no gap"));
        thread.turn(300, false, || panic!("an empty turn is no gap"));
        assert_eq!(thread.counts(), [0; 4]);
    }
}
