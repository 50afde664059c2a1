//! The server's side of an experiment: counts the records of the fleet that is measured, and how old they are.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hdrhistogram::Histogram;
use netloop::{Answer, Clock, Engine, Now, Port, Run, SessionEvent, Sink, Slot};
use wire::{Command, Record, Status};

/// The time that is measured, in unix nanoseconds, shared by both ends. Nothing is before it is set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window(Arc<[AtomicU64; 2]>);

impl Window {
    pub(crate) fn set(&self, from_ns: u64, until_ns: u64) {
        // Relaxed: two numbers that order no other memory; the beginning, which opens the window, is the last.
        self.0[1].store(until_ns, Ordering::Relaxed);
        self.0[0].store(from_ns, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0[0].load(Ordering::Acquire) > 0
    }

    fn us(&self) -> std::ops::Range<u64> {
        let from_us = self.0[0].load(Ordering::Acquire) / 1000;
        from_us..self.0[1].load(Ordering::Relaxed) / 1000
    }
}

/// Takes every record; answers every command at once.
pub(crate) struct Meter {
    clock: Clock,
    /// The fleet that is measured, by the first byte of its device ids.
    kind: u8,
    /// When records that count were due.
    window: Window,
    pub(crate) received: u64,
    pub(crate) latency_ns: Histogram<u64>,
    /// The longest time between two turns, in nanoseconds, and when the last one was.
    pub(crate) gap_ns_max: u64,
    turn_ns: u64,
}

impl Meter {
    pub(crate) fn new(kind: u8) -> anyhow::Result<Self> {
        Ok(Self {
            clock: Clock::new(),
            kind,
            window: Window::default(),
            received: 0,
            latency_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            gap_ns_max: 0,
            turn_ns: u64::MAX,
        })
    }

    /// Where the measured time is set.
    pub(crate) fn window(&self) -> Window {
        self.window.clone()
    }

    fn measure(&mut self, records: &[Record]) {
        let now_ns = self.clock.now().unix_ns;
        let window_us = self.window.us();
        for record in records {
            let due_us = record.ts_us();
            if record.device().0[0] == self.kind && window_us.contains(&due_us) {
                self.received += 1;
                self.latency_ns.saturating_record(now_ns.saturating_sub(due_us * 1000).max(1));
            }
        }
    }
}

impl Sink for Meter {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        self.measure(run.records);
        run.records.len()
    }
    fn free_t2(&self) -> usize {
        1 << 20
    }
    fn push_t2(&mut self, run: &Run<'_>) {
        self.measure(run.records);
    }
    fn free_t3(&self) -> usize {
        1
    }
    fn handle_command(&mut self, slot: Slot) -> Answer {
        Answer::Ack(Command::ack(Record::from_bytes(slot.record), Status::Ok, 1.0))
    }
    fn handle_ack(&mut self, _: Slot) {}
}

impl Port for Meter {
    fn poll_outbound(&mut self, _: &mut Engine, now: Now) -> bool {
        if self.window.is_set() {
            self.gap_ns_max = self.gap_ns_max.max(now.unix_ns.saturating_sub(self.turn_ns));
        }
        self.turn_ns = now.unix_ns;
        if now.unix_ns.is_multiple_of(1024) {
            self.clock.resync();
        }
        false
    }
    fn handle_event(&mut self, _: SessionEvent) -> Result<(), SessionEvent> {
        Ok(())
    }
}
