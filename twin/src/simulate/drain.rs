//! The orderly end: what has a number is sent, streams are finished, sessions close with their totals. Bounded.

use netloop::{Engine, Now};
use wire::{CloseCode, Tier};

use super::{
    carrier::Link,
    fleet::{Fleet, Stage},
};

/// The end takes at most so long; sessions that are not closed by then are left to time out.
pub(super) const DRAIN_NS_MAX: u64 = 5_000_000_000;
/// Acks of commands are awaited at most so long of it.
const ACKS_NS_MAX: u64 = 2_000_000_000;

impl Fleet {
    /// Begins the end of a load. What was due and has no number yet is shed.
    pub(super) fn begin_drain(&mut self) {
        if let Stage::Running { since_ns } = self.stage {
            self.outcome.active_ns = self.at.ns - since_ns;
            self.shed_due(self.outcome.active_ns.min(self.plan.limit_ns()));
        }
        self.stage = Stage::Draining { until_ns: self.at.ns + DRAIN_NS_MAX };
        self.stop.drain();
        self.calls.end();
        for carrier in &mut self.carriers {
            if carrier.link == Link::Apart {
                carrier.link = Link::Over;
            }
        }
    }

    /// Sheds what waits in the carriers, and what was due at `running_ns` and is still in the schedules: a turn takes a bounded
    /// number of dues, and a host that manages less than the plan asks for is behind it. A count that is reached ends
    /// the plan: nothing more is due.
    fn shed_due(&mut self, running_ns: u64) {
        for carrier in &mut self.carriers {
            for (tier, deferred) in carrier.deferred.iter_mut().enumerate() {
                let due: u64 = deferred.drain(..).map(|due| u64::from(due.sensors)).sum();
                self.outcome.shed[tier] += due;
            }
        }
        if !self.traffic.is_spent() {
            let skipped = self.traffic.skip_due(running_ns);
            self.outcome.shed.iter_mut().zip(skipped).for_each(|(shed, skipped)| *shed += skipped);
        }
    }

    /// One step of the end. True when it has more to do at once.
    pub(super) fn poll_drain(&mut self, engine: &mut Engine, now: Now, until_ns: u64) -> bool {
        let late = self.at.ns >= until_ns;
        let awaited = self.at.ns + DRAIN_NS_MAX < until_ns + ACKS_NS_MAX;
        let mut open = 0;
        for number in 0..self.carriers.len() as u32 {
            self.close_in_order(engine, number, awaited);
            match self.carriers[number as usize].link {
                Link::Apart | Link::Over => {}
                Link::Connecting(session) | Link::Open(session) | Link::Finishing(session) => {
                    open += 1;
                    if late {
                        // First, because no turn comes behind this one that would hear of the close.
                        self.give_up(number);
                        engine.close(now, session, CloseCode::Done);
                    }
                }
            }
        }
        if open == 0 || late {
            self.count_unsent();
            self.end();
        }
        false
    }

    /// Flushes a carrier, and closes its session when nothing of it waits any longer.
    fn close_in_order(&mut self, engine: &mut Engine, number: u32, awaited: bool) {
        let Link::Open(session) = self.carriers[number as usize].link else { return };
        self.open_command(engine, number);
        let (carrier, mut load) = self.carrier_and_load(&mut *engine, number);
        carrier.flush(&mut load.road);
        let carrier = &mut self.carriers[number as usize];
        let acks_missing = carrier.commands_open > 0 && awaited;
        if carrier.is_waiting() || acks_missing {
            return;
        }
        carrier.events.finish(engine, session);
        engine.finish(session, carrier.totals());
        carrier.link = Link::Finishing(session);
    }

    /// Counts what was numbered and never left, and commands that nobody has answered.
    fn count_unsent(&mut self) {
        for carrier in &mut self.carriers {
            self.outcome.shed[Tier::T1.index()] += carrier.forget_t1();
            self.outcome.shed[Tier::T2.index()] += carrier.events.unwritten();
            self.outcome.shed[Tier::T3.index()] += u64::from(carrier.command.take().is_some());
        }
        self.outcome.commands_failed += self.waiting.clear();
    }
}
