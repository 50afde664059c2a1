//! The tick thread: runs the schedule at a fixed rate, sleeps in between, and ends when the
//! sessions are gone.
//!
//! A tick that is not over when the next one is due is an overrun: the next one starts at once, and
//! the lost time is not made up for by ticks in a burst.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    meter::Meter,
    world::{Crossings, Inbox, Registry, Twin},
};

/// What the tick thread has to say at the end.
pub(crate) struct Ticked {
    /// Ticks run.
    pub(crate) ticks: u64,
    /// Ticks that ended after the next one was due.
    pub(crate) overruns: u64,
    /// Entities in the world.
    pub(crate) entities: usize,
    /// Threshold crossings counted.
    pub(crate) crossings: u64,
    /// Counts and latencies of the applied records.
    pub(crate) meter: Meter,
}

/// Runs ticks until every sender is gone and every channel is empty.
pub(crate) fn run(mut twin: Twin, tick_hz: u32) -> Ticked {
    let mut pace =
        Pace { period: Duration::from_secs(1) / tick_hz, due: Instant::now(), overruns: 0 };
    let mut ticks = 0;
    let mut applied = 0;
    loop {
        twin.schedule.run(&mut twin.world);
        twin.world.clear_trackers();
        ticks += 1;
        let mut meter = twin.world.resource_mut::<Meter>();
        if meter.applied > applied {
            applied = meter.applied;
            meter.close();
        }
        if twin.world.resource::<Inbox>().finished {
            break;
        }
        pace.wait();
    }
    Ticked {
        ticks,
        overruns: pace.overruns,
        entities: twin.world.resource::<Registry>().len(),
        crossings: twin.world.resource::<Crossings>().0,
        meter: twin
            .world
            .remove_resource()
            .expect("the meter is there because the world was made with it"),
    }
}

/// The clock of the ticks.
struct Pace {
    period: Duration,
    due: Instant,
    overruns: u64,
}

impl Pace {
    /// Sleeps until the next tick is due; does not when it already is.
    fn wait(&mut self) {
        self.due += self.period;
        let now = Instant::now();
        if now < self.due {
            thread::sleep(self.due - now);
        } else {
            self.overruns += 1;
            self.due = now;
        }
    }
}
