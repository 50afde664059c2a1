//! How old the values of the plant are: every sensor is looked at once a second, a share of them in each tick.
//!
//! The ages go into the latencies of the interval; what a round through all sensors found goes into the counters. It costs a
//! few nanoseconds a sensor and second, whoever looks, and it reads rows without touching one.

use ecs::World;
use wire::SensorType;

use crate::interval::{Interval, Latency};
use crate::stats::AgeStats;

use super::component::Live;
use super::row::RowRef;

/// A value older than this is of no use to whoever acts on it: the desired delay in the timeliness of the twin.
const DESIRED_DELAY_NS: u64 = 500_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// The round through all sensors: where it stands and what it has found.
pub(super) struct Ages {
    hz: u64,
    next_round_tick: u64,
    /// Sensors of each tick of the round, as many as the largest plant of it so far needs; 0 between two rounds.
    share: usize,
    table: usize,
    row: usize,
    found: Found,
}

struct Found {
    sensors: u64,
    timely: u64,
    worst_ns: u64,
    worst: RowRef,
    fresh: u64,
    quickest_ns: i64,
}

impl Default for Found {
    fn default() -> Self {
        let (worst, quickest_ns) = (RowRef::NONE, i64::MAX);
        Self { sensors: 0, timely: 0, worst_ns: 0, worst, fresh: 0, quickest_ns }
    }
}

impl Ages {
    pub(super) fn new(hz: u32) -> Self {
        let found = Found::default();
        Self { hz: hz.max(1).into(), next_round_tick: 0, share: 0, table: 0, row: 0, found }
    }

    /// Looks at the share of this tick, at `now_ns` since the Unix epoch.
    pub(super) fn look(
        &mut self,
        ecs: &World,
        (tick, now_ns): (u64, u64),
        interval: &mut Interval,
        stats: &AgeStats,
    ) {
        if self.share == 0 {
            if tick < self.next_round_tick {
                return;
            }
            self.begin(tick);
        }
        // A plant that comes up grows within a round: with the share of its beginning, that round would last for minutes.
        let sensors: usize = ecs.archetypes()[..SensorType::COUNT].iter().map(|of| of.len()).sum();
        self.share = self.share.max((sensors as u64).div_ceil(self.hz) as usize);
        let mut left = self.share;
        while left > 0 {
            let live: &[Live] = ecs.archetypes()[self.table].values().expect(CARRIED);
            let end = live.len().min(self.row + left);
            for (row, live) in (self.row..end).zip(&live[self.row..end]) {
                let row = RowRef::sensor(SensorType::ALL[self.table], row);
                self.found.look(live, row, now_ns, interval);
            }
            left -= end - self.row;
            self.row = end;
            if end == live.len() {
                (self.table, self.row) = (self.table + 1, 0);
                if self.table == SensorType::COUNT {
                    self.end(stats);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, tick: u64) {
        self.share = 1;
        self.next_round_tick = tick + self.hz;
        self.table = 0;
    }

    fn end(&mut self, stats: &AgeStats) {
        let found = std::mem::take(&mut self.found);
        stats.sensors.set(found.sensors);
        stats.timely.set(found.timely);
        stats.worst_ns.set(found.worst_ns);
        stats.worst.set(u64::from(found.worst.to_bits()));
        stats.fresh.set(found.fresh);
        stats.quickest_ns.set(found.quickest_ns as u64);
        stats.rounds.add(1);
        self.share = 0;
    }
}

impl Found {
    #[inline]
    fn look(&mut self, live: &Live, row: RowRef, now_ns: u64, interval: &mut Interval) {
        // A sensor whose first record was not taken has no value yet.
        if live.recv_ns == 0 {
            return;
        }
        let sent_ns = live.ts_us.saturating_mul(1000);
        // What a device sends whose clock is ahead is as old as it is here, at least. What came before our own clock was set back
        // is of an unknown age: it shall not look fresh until that moment comes again.
        let age_ns = now_ns.abs_diff(sent_ns.min(live.recv_ns));
        interval.record(Latency::Age, age_ns.max(1));
        self.sensors += 1;
        self.timely += u64::from(age_ns <= DESIRED_DELAY_NS);
        if age_ns >= self.worst_ns {
            (self.worst_ns, self.worst) = (age_ns, row);
        }
        if now_ns.saturating_sub(live.recv_ns) < NS_PER_S {
            self.fresh += 1;
            self.quickest_ns = self.quickest_ns.min(live.recv_ns.wrapping_sub(sent_ns) as i64);
        }
    }
}

const CARRIED: &str = "the archetype carries the component because its bundle names it";
