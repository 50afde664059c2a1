//! What happens in a second: differences of counters, and how old the values of the plant are.
//!
//! The cold thread takes them once a second; between two looks they stand still. Most counters are written by the tick thread,
//! and say nothing once it stands still itself: then the time that has passed tells what was due, and how old values became.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::stats::{SYSTEMS, TwinStats};
use crate::world::RowRef;

/// Looks that the sliding window of the twin's health covers, one a second.
const WINDOW: usize = 10;

/// What the tick thread may be behind its schedule without a word: it still catches up with as much, or counts it as missed.
const BEHIND_S: f64 = 0.1;

/// A round through the ages of all values takes a second, and so does the next one. Ages that are older grow with the time.
const ROUND_MAX: Duration = Duration::from_secs(2);

/// What happened in the last second.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// Records applied a second, by tier.
    pub applied_hz: [f64; 3],
    /// Datagrams received a second.
    pub datagrams_hz: f64,
    /// Bytes received a second.
    pub bytes_hz: f64,
    /// Share of each worker's time that it was at work.
    pub workers_busy: Vec<f64>,
    /// Share of the tick thread's time that it was at work.
    pub tick_busy: f64,
    /// Share of each worker's turns that left something in QUIC, because a ring was full or a budget used up.
    pub workers_pressed: Vec<f64>,
    /// Share of the ticks that left something in a ring, because a budget was used up.
    pub tick_pressed: f64,
    /// Share of the tick thread's time that each system took.
    pub systems_busy: [f64; SYSTEMS.len()],
    /// From the intended send time of a record to its receipt, in nanoseconds: the least over the last ten seconds, below 0
    /// where a device's clock is ahead. Nothing where no record came.
    pub quickest_ns: Option<i64>,
    /// Applied by offered, by tier, over the last ten seconds; 1 where nothing was offered. Of several copies one is offered.
    pub alignment: [f64; 3],
    /// Share of due ticks that ran, over the last ten seconds.
    pub availability: f64,
    /// No tick ran.
    pub tick_stands: bool,
}

/// Ages of the values of all sensors at one moment.
#[derive(Clone, Debug, Default)]
pub struct Ages {
    /// Half of the sensors are younger, in seconds.
    pub p50_s: f64,
    /// All but one in a hundred are younger, in seconds.
    pub p99_s: f64,
    /// The oldest, in seconds.
    pub worst_s: f64,
    /// Its sensor.
    pub worst: Option<RowRef>,
    /// Share of sensors whose value is younger than half a second; 1 where there are none.
    pub timely: f64,
}

/// Remembers the last look.
#[derive(Debug)]
pub struct Sampler {
    last: Counts,
    window: std::collections::VecDeque<Counts>,
    rates: Rates,
    ages: Ages,
    round: Round,
    /// Looks in a row that found sensors, and no value of theirs timely.
    untimely: usize,
}

/// The latest round through the ages of all values.
#[derive(Clone, Debug, Default)]
struct Round {
    number: u64,
    /// When it was first seen.
    at: Duration,
    p50_s: f64,
    p99_s: f64,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    at: Duration,
    applied: [u64; 3],
    /// Each number once: the copies of a redundant path are no plan of their own.
    offered: [u64; 3],
    /// By the workers: what is known of the offered ones while no tick tells more.
    received: [u64; 3],
    datagrams: u64,
    bytes: u64,
    workers_busy_ns: Vec<u64>,
    /// Turns of each worker, and those of them that left something behind.
    workers_turns: Vec<[u64; 2]>,
    budgets_spent: u64,
    tick_busy_ns: u64,
    systems_ns: [u64; SYSTEMS.len()],
    ticks: u64,
    missed: u64,
    quickest_ns: Option<i64>,
}

impl Counts {
    fn of(stats: &TwinStats, at: Duration) -> Self {
        let workers = stats.workers();
        Self {
            at,
            applied: [0, 1, 2].map(|tier| stats.tiers[tier].applied.applied.value()),
            offered: [0, 1, 2].map(|tier| {
                let of = &stats.tiers[tier];
                of.ingress.offered.value().saturating_sub(of.applied.duplicate.value())
            }),
            received: std::array::from_fn(|tier| {
                let tiers = workers.iter().map(|worker| [&worker.t1, &worker.t2, &worker.t3]);
                tiers.map(|tiers| tiers[tier].received.value()).sum()
            }),
            datagrams: workers.iter().map(|worker| worker.datagrams_in.value()).sum(),
            bytes: workers.iter().map(|worker| worker.bytes_in.value()).sum(),
            workers_busy_ns: workers.iter().map(|worker| worker.busy_ns.value()).collect(),
            workers_turns: workers
                .iter()
                .map(|worker| [worker.turns.value(), worker.budget_exhausted.session.value()])
                .collect(),
            budgets_spent: stats.tick.budgets_spent.value(),
            tick_busy_ns: stats.tick.busy_ns.value(),
            systems_ns: std::array::from_fn(|at| stats.systems[at].total_ns.value()),
            ticks: stats.tick.ticks.value(),
            missed: stats.tick.missed.value(),
            quickest_ns: (stats.ages.fresh.value() > 0)
                .then(|| stats.ages.quickest_ns.value() as i64),
        }
    }

    /// Share of the ticks due since `then` that ran. Those that a tick thread at rest has missed it counts only later.
    fn availability(&self, then: &Self, hz: u32) -> f64 {
        let ran = self.ticks.saturating_sub(then.ticks);
        let missed = self.missed.saturating_sub(then.missed);
        let seconds = self.at.saturating_sub(then.at).as_secs_f64() - BEHIND_S;
        ratio(ran, (ran + missed).max((seconds * f64::from(hz)) as u64))
    }

    /// Applied by offered since `then`.
    fn alignment(&self, then: &Self, tier: usize, tick_stands: bool) -> f64 {
        let mut offered = self.offered[tier].saturating_sub(then.offered[tier]);
        if tick_stands {
            offered = offered.max(self.received[tier].saturating_sub(then.received[tier]));
        }
        ratio(self.applied[tier].saturating_sub(then.applied[tier]), offered).min(1.0)
    }
}

fn ratio(done: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { done as f64 / of as f64 }
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            last: Counts::default(),
            window: std::collections::VecDeque::with_capacity(WINDOW),
            rates: Rates { alignment: [1.0; 3], availability: 1.0, ..Rates::default() },
            ages: Ages { timely: 1.0, ..Ages::default() },
            round: Round::default(),
            untimely: 0,
        }
    }
}

impl Sampler {
    /// Looks again, `at` since the start, at a twin that shall tick `hz` times a second.
    pub fn look(&mut self, stats: &TwinStats, at: Duration, hz: u32) {
        let now = Counts::of(stats, at);
        let seconds = now.at.saturating_sub(self.last.at).as_secs_f64().max(1e-3);
        let rate = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
        let busy = |now: u64, last: u64| (rate(now, last) / 1e9).min(1.0);
        let last = &self.last;
        let oldest = self.window.front().unwrap_or(last);
        let tick_stands = now.ticks == last.ticks;
        // Before the first tick none was due: the twin was starting.
        let ticking = self.window.iter().chain([last]).find(|counts| counts.ticks > 0);
        self.rates = Rates {
            applied_hz: std::array::from_fn(|tier| rate(now.applied[tier], last.applied[tier])),
            datagrams_hz: rate(now.datagrams, last.datagrams),
            bytes_hz: rate(now.bytes, last.bytes),
            workers_busy: (0..now.workers_busy_ns.len())
                .map(|worker| {
                    let last = last.workers_busy_ns.get(worker).copied().unwrap_or(0);
                    busy(now.workers_busy_ns[worker], last)
                })
                .collect(),
            tick_busy: busy(now.tick_busy_ns, last.tick_busy_ns),
            workers_pressed: (0..now.workers_turns.len())
                .map(|worker| {
                    let last = last.workers_turns.get(worker).copied().unwrap_or_default();
                    let [turns, cut] =
                        [0, 1].map(|at| now.workers_turns[worker][at].saturating_sub(last[at]));
                    (cut as f64 / turns.max(1) as f64).min(1.0)
                })
                .collect(),
            tick_pressed: {
                let cut = now.budgets_spent.saturating_sub(last.budgets_spent);
                (cut as f64 / now.ticks.saturating_sub(last.ticks).max(1) as f64).min(1.0)
            },
            systems_busy: std::array::from_fn(|at| busy(now.systems_ns[at], last.systems_ns[at])),
            alignment: std::array::from_fn(|tier| now.alignment(oldest, tier, tick_stands)),
            availability: match ticking {
                Some(then) => now.availability(then, hz),
                None if tick_stands => 0.0,
                None => ratio(now.ticks, now.ticks + now.missed),
            },
            tick_stands,
            quickest_ns: self
                .window
                .iter()
                .chain([&now])
                .filter_map(|counts| counts.quickest_ns)
                .min(),
        };
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(std::mem::replace(&mut self.last, now));
        self.look_at_ages(stats, at);
    }

    fn look_at_ages(&mut self, stats: &TwinStats, at: Duration) {
        let (ages, round) = (&stats.ages, &mut self.round);
        let number = ages.rounds.value();
        if number != round.number {
            (round.number, round.at) = (number, at);
        }
        let since = at.saturating_sub(round.at);
        let is_known = since <= ROUND_MAX;
        let grown_s = if is_known { 0.0 } else { since.as_secs_f64() };
        let sensors = ages.sensors.value();
        self.ages = Ages {
            p50_s: round.p50_s + grown_s,
            p99_s: round.p99_s + grown_s,
            worst_s: ages.worst_ns.value() as f64 / 1e9 + grown_s,
            worst: (sensors > 0).then(|| RowRef::from_bits(ages.worst.value() as u32)),
            // Of values that nobody has looked at for so long none is known to be timely.
            timely: ratio(if is_known { ages.timely.value() } else { 0 }, sensors),
        };
        self.untimely = if self.ages.timely > 0.0 { 0 } else { self.untimely + 1 };
    }

    /// Whether a value was timely in the last ten looks, or there is no sensor: one that reports every few seconds is no
    /// trouble.
    #[must_use]
    pub const fn is_timely(&self) -> bool {
        self.untimely < WINDOW
    }

    /// Takes in the ages of a second, in nanoseconds.
    pub fn note_ages(&mut self, ages: &Histogram<u64>) {
        if !ages.is_empty() {
            let seconds = |quantile: f64| ages.value_at_quantile(quantile) as f64 / 1e9;
            (self.round.p50_s, self.round.p99_s) = (seconds(0.5), seconds(0.99));
            (self.ages.p50_s, self.ages.p99_s) = (self.round.p50_s, self.round.p99_s);
        }
    }

    /// How far the clocks of devices are ahead of the twin's, and by how much that may be wrong, in seconds: the quickest
    /// record came as soon after its time as half of the quickest round trip, `rtt_min_ns`. What records wait on their device
    /// before they are sent makes its clock look late. Nothing where either is unknown.
    #[must_use]
    pub fn clock(&self, rtt_min_ns: u64) -> Option<(f64, f64)> {
        let half_ns = rtt_min_ns as f64 / 2.0;
        let quickest_ns = self.rates.quickest_ns.filter(|_| rtt_min_ns > 0)?;
        Some(((half_ns - quickest_ns as f64) / 1e9, half_ns / 1e9))
    }

    /// What happened in the last second.
    #[must_use]
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// How old the values are.
    #[must_use]
    pub const fn ages(&self) -> &Ages {
        &self.ages
    }

    /// On-demand twin entanglement: timeliness times reliability times availability, each from 0 to 1.
    ///
    /// Timeliness is the share of sensors younger than half a second, reliability what was applied of what was
    /// offered on T1 and T2, availability the share of due ticks that ran.
    #[must_use]
    pub fn odte(&self) -> f64 {
        let reliability = self.rates.alignment[0].min(self.rates.alignment[1]).min(1.0);
        self.ages.timely * reliability * self.rates.availability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u32 = 1000;

    /// A twin of one sensor whose tick thread runs so many of its ticks in each of these seconds.
    fn look_at(sampler: &mut Sampler, stats: &TwinStats, from_s: u64, ticks: &[u64]) {
        for (second, &ran) in (from_s..).zip(ticks) {
            stats.workers()[0].t1.received.add(100);
            stats.tick.ticks.add(ran);
            if ran > 0 {
                let tier = &stats.tiers[0];
                tier.applied.applied.set(stats.workers()[0].t1.received.value());
                tier.ingress.offered.set(stats.workers()[0].t1.received.value());
                stats.ages.rounds.add(1);
            }
            sampler.look(stats, Duration::from_secs(second + 1), HZ);
        }
    }

    fn twin() -> (Sampler, TwinStats) {
        let stats = TwinStats::new(1);
        stats.ages.sensors.set(1);
        stats.ages.timely.set(1);
        stats.ages.worst_ns.set(250_000_000);
        (Sampler::default(), stats)
    }

    #[test]
    fn a_twin_whose_ticks_run_is_whole_however_late_the_first_one_was() {
        let (mut sampler, stats) = twin();
        look_at(&mut sampler, &stats, 0, &[300, 1000, 999, 1001, 950, 1050]);
        assert_eq!((sampler.rates().availability, sampler.odte()), (1.0, 1.0));
        assert_eq!((sampler.ages().worst_s, sampler.rates().tick_stands), (0.25, false));
    }

    #[test]
    fn a_tick_thread_that_stands_still_takes_everything_down_with_it() {
        let (mut sampler, stats) = twin();
        look_at(&mut sampler, &stats, 0, &[1000; 20]);
        look_at(&mut sampler, &stats, 20, &[0; 5]);
        let availability = sampler.rates().availability;
        assert!((0.5..0.6).contains(&availability), "{availability}");
        assert!(sampler.rates().tick_stands);
        let ages = sampler.ages();
        assert_eq!((ages.worst_s, ages.timely), (5.25, 0.0), "its values grow older");
        look_at(&mut sampler, &stats, 25, &[0; 10]);
        let rates = sampler.rates();
        assert_eq!((rates.availability, rates.alignment[0], sampler.odte()), (0.0, 0.0, 0.0));
        look_at(&mut sampler, &stats, 35, &[1000]);
        assert_eq!((sampler.ages().worst_s, sampler.ages().timely), (0.25, 1.0));
    }

    #[test]
    fn a_tick_thread_that_is_starved_is_available_as_far_as_it_ran() {
        let (mut sampler, stats) = twin();
        look_at(&mut sampler, &stats, 0, &[1000; 10]);
        look_at(&mut sampler, &stats, 10, &[250; 11]);
        let availability = sampler.rates().availability;
        assert!((0.25..0.26).contains(&availability), "{availability}");
        assert_eq!(sampler.odte(), availability, "timely and whole, but seldom");
    }

    #[test]
    fn copies_of_a_redundant_path_are_no_loss() {
        let (mut sampler, stats) = twin();
        for second in 1..=3 {
            let tier = &stats.tiers[0];
            tier.ingress.offered.add(200);
            tier.applied.applied.add(100);
            tier.applied.duplicate.add(100);
            sampler.look(&stats, Duration::from_secs(second), HZ);
            assert_eq!(sampler.rates().alignment, [1.0; 3]);
        }
        stats.tiers[0].ingress.offered.add(100);
        sampler.look(&stats, Duration::from_secs(4), HZ);
        assert_eq!(sampler.rates().alignment[0], 300.0 / 400.0, "what was lost on all paths");
    }

    #[test]
    fn a_tick_thread_that_never_began_is_not_available() {
        let (mut sampler, stats) = twin();
        look_at(&mut sampler, &stats, 0, &[0; 2]);
        assert_eq!(sampler.rates().availability, 0.0);
    }
}
