//! The systems of a tick, in the order in which they run.
//!
//! All of them share rings, sessions and the account, so each has the world to itself and their order is that of this page.
//! Commands come before telemetry, so that a flood of T1 cannot delay one by more than the rest of a tick.

use ecs::{Context, Schedule, ScheduleBuilder};
use wire::Tier;

use crate::capture::Frame;
use crate::stats::SYSTEMS;

use super::actuator::Moment;
use super::{Lanes, Plant};

/// What a tick of the schedule is given.
pub(super) struct Step;

impl Context for Step {
    type Of<'a> = Tick<'a>;
}

/// One tick: the plant around the rows, the rings, the number of the tick, and the clock.
pub(super) struct Tick<'a> {
    pub(super) plant: &'a mut Plant,
    pub(super) lanes: &'a mut Lanes,
    pub(super) tick: u64,
    pub(super) clock: &'a mut dyn FnMut() -> u64,
    /// When the tick began, in nanoseconds since the Unix epoch: the only time that finds its way into a row.
    pub(super) began_ns: u64,
    /// Commands that the rules had room for.
    pub(super) room: usize,
    /// What the tick consumes instead of the rings, where a capture is replayed.
    pub(super) frame: Option<&'a Frame<'a>>,
}

/// The phases of a tick, by the names under which [`SYSTEMS`] publishes their times.
pub(super) fn schedule() -> Schedule<Step> {
    let [stop, events, orders, t3, expire, t2, t1, held, rules, second, ages, publish, show] =
        SYSTEMS;
    let mut builder = ScheduleBuilder::new();
    builder.add_exclusive(stop, |_, tick: &mut Tick<'_>| match tick.frame {
        None => tick.plant.serve_stop(tick.lanes, tick.tick, tick.clock),
        Some(frame) => tick.plant.replay_stop(frame),
    });
    builder.add_exclusive(events, |_, tick: &mut Tick<'_>| match tick.frame {
        None => tick.plant.drain_events(tick.lanes, tick.clock),
        Some(frame) => tick.plant.replay_events(frame),
    });
    builder.add_exclusive(orders, |ecs, tick: &mut Tick<'_>| {
        let moment = Moment { tick: tick.tick, unix_ns: tick.began_ns };
        match tick.frame {
            None => tick.plant.drain_orders(ecs, tick.lanes, moment),
            Some(frame) => tick.plant.replay_orders(ecs, tick.lanes, frame, moment),
        }
    });
    builder.add_exclusive(t3, |ecs, tick: &mut Tick<'_>| match tick.frame {
        None => tick.plant.drain_t3(ecs, tick.lanes, tick.clock),
        Some(frame) => tick.plant.replay_t3(ecs, tick.lanes, frame, tick.clock),
    });
    builder.add_exclusive(expire, |ecs, tick: &mut Tick<'_>| {
        tick.plant.expire_commands(ecs, tick.tick, tick.clock)
    });
    builder.add_exclusive(t2, |ecs, tick: &mut Tick<'_>| drain(ecs, Tier::T2, tick));
    builder.add_exclusive(t1, |ecs, tick: &mut Tick<'_>| drain(ecs, Tier::T1, tick));
    builder.add_exclusive(held, |ecs, tick: &mut Tick<'_>| {
        tick.plant.apply_held(ecs, tick.tick, tick.clock)
    });
    builder.add_exclusive(rules, |ecs, tick: &mut Tick<'_>| {
        tick.room = tick.frame.map_or_else(|| tick.lanes.outbound_free(), |frame| frame.room);
        let moment = Moment { tick: tick.tick, unix_ns: tick.began_ns };
        tick.plant.run_rules(ecs, tick.lanes, moment, tick.room);
    });
    builder.add_exclusive(second, |ecs, tick: &mut Tick<'_>| tick.plant.end_second(ecs, tick.tick));
    builder.add_exclusive(ages, |ecs, tick: &mut Tick<'_>| {
        tick.plant.look_at_ages(ecs, tick.tick, tick.began_ns)
    });
    builder.add_exclusive(publish, |ecs, tick: &mut Tick<'_>| tick.plant.publish(ecs, tick.lanes));
    builder.add_exclusive(show, |ecs, tick: &mut Tick<'_>| {
        tick.plant.show(ecs, tick.tick, tick.clock)
    });
    builder
        .build()
        .expect("a valid schedule because the names differ and every system is exclusive")
}

fn drain(ecs: &mut ecs::World, tier: Tier, tick: &mut Tick<'_>) {
    match tick.frame {
        None => tick.plant.drain(ecs, tier, tick.lanes, tick.tick, tick.clock),
        Some(frame) => tick.plant.replay(ecs, tier, frame, tick.clock),
    }
}
