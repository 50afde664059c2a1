//! What the tick shows to the cold thread: counters after every tick, aggregates and losses once a second.

use wire::{SensorType, Tier};

use crate::stats::Direction;

use super::account::{Ingress, balance};
use super::aggregate::Aggregate;
use super::fault::{Fault, Injected};
use super::tables::Rows;
use super::{Lanes, Plant};

impl Plant {
    /// What the account of a tier is made of beside the world's own outcomes.
    pub(super) fn ingress(&self, tier: Tier, lanes: &Lanes) -> Ingress {
        // Commands are left alone by fault injection.
        let fault = self.fault.as_ref().filter(|_| tier != Tier::T3);
        Ingress {
            tally: lanes.tally(tier),
            depth: lanes.depth(tier) as u64,
            held: fault.map_or(0, |fault| fault.held(tier.index())),
            injected: fault
                .map_or(Injected::default(), |fault: &Fault| fault.injected(tier.index())),
        }
    }

    /// Does once a second what is too much for each tick; ticks may be missed, so it counts from the last time.
    pub(super) fn end_second(&mut self, ecs: &ecs::World, tick: u64) {
        if tick >= self.next_second_tick {
            self.next_second_tick = tick + u64::from(self.options.hz);
            self.handle_second(ecs);
        }
    }

    /// Aggregates, losses, and the tables of sessions whose devices went astray.
    pub(super) fn handle_second(&mut self, ecs: &ecs::World) {
        self.losses = self.sessions.losses();
        for (tier, to) in Tier::ALL.into_iter().zip(&self.stats.ledger) {
            to.set(self.ledger.tier(tier));
        }
        if std::mem::take(&mut self.relink) {
            // Some device reports through a session other than the one it was last resolved by. Looking every row up
            // again teaches the way back, and costs one look by key for each sensor, at most once a second.
            self.sessions.forget_rows();
        }
        for sensor_type in SensorType::ALL {
            let values = bytemuck::cast_slice(ecs.smoothed(sensor_type));
            let aggregate = Aggregate::of(values);
            let to = &self.stats.aggregates[sensor_type.index()];
            to.count.set(aggregate.count);
            to.mean.set(aggregate.mean);
            to.min.set(aggregate.min);
            to.max.set(aggregate.max);
        }
    }

    /// Looks at the ages of a share of all values.
    pub(super) fn look_at_ages(&mut self, ecs: &ecs::World, tick: u64, now_ns: u64) {
        self.ages.look(ecs, (tick, now_ns), &mut self.interval, &self.stats.ages);
    }

    /// Publishes counts and accounts.
    pub(super) fn publish(&mut self, ecs: &ecs::World, lanes: &Lanes) {
        for tier in Tier::ALL {
            let outcomes = &self.outcomes[tier.index()];
            let totals = balance(tier, outcomes, &self.ingress(tier, lanes), &self.losses);
            let to = &self.stats.tiers[tier.index()];
            to.applied.applied.set(totals.applied);
            to.applied.duplicate.set(totals.duplicate);
            to.applied.stale.set(totals.stale);
            to.applied.rejected.set(outcomes.rejected_total());
            to.ingress.offered.set(totals.offered);
            to.ingress.shed.set(totals.shed);
            to.ingress.lost.set(totals.lost);
            to.ingress.lost_max.set(totals.lost.max(to.ingress.lost_max.value()));
            to.ingress.rejected.set(totals.rejected - outcomes.rejected_total());
            to.ingress.decode_errors.set(totals.decode_errors);
            to.ingress.in_flight.set(totals.in_flight);
            to.ingress.ring_depth.set(lanes.used(tier) as u64);
            to.ingress.ring_capacity.set(lanes.capacity(tier) as u64);
        }
        self.publish_counts(ecs);
    }

    /// Shows rows that were touched, and forgets which ones this tick has.
    pub(super) fn show(&mut self, ecs: &mut ecs::World, tick: u64, clock: &mut dyn FnMut() -> u64) {
        match &mut self.watch {
            Some(watch) => {
                // Rules look at what this tick has changed, so that the next one has to begin with none.
                let drains = self.automation.is_active();
                watch.show(ecs, &self.crossings, drains, tick, clock);
            }
            None => ecs.clear_changed(),
        }
    }

    fn publish_counts(&self, ecs: &ecs::World) {
        self.stats.tick.entities.set(ecs.len() as u64);
        self.stats.tick.redundant_sessions.set(self.sessions.redundant() as u64);
        for (to, counts) in self.stats.crossings.iter().zip(self.crossing_counts) {
            to[0].set(counts[0]);
            to[1].set(counts[1]);
        }
        self.stats.stop.set(self.stops.word(), &self.stops.tally());
        let to_twin = self.stats.commands(Direction::ToTwin);
        to_twin.acknowledged.set(self.answers.acknowledged);
        to_twin.rejected.set(self.answers.rejected);
        to_twin.reset.set(self.answers.reset);
        let to_device = self.stats.commands(Direction::ToDevice);
        let ends = self.actuators.ends();
        to_device.acknowledged.set(ends.acknowledged);
        to_device.rejected.set(ends.rejected);
        to_device.reset.set(ends.reset);
        to_device.expired.set(ends.expired);
        to_device.replaced.set(ends.replaced);
        to_device.unreachable.set(ends.unreachable);
    }
}
