//! A tick of a capture instead of the rings: the same records in the same chunks, taken by the same code.

use netloop::Run;
use wire::Tier;

use crate::capture::Frame;

use super::{Lanes, Plant};

impl Plant {
    pub(super) fn replay_events(&mut self, frame: &Frame<'_>) {
        for event in frame.events {
            self.sessions.handle_event(event);
            self.stops.handle_event(event);
        }
    }

    pub(super) fn replay_stop(&mut self, frame: &Frame<'_>) {
        if let Some((word, asked_ns)) = frame.stop {
            self.stops.set(word, asked_ns);
        }
    }

    pub(super) fn replay_t3(
        &mut self,
        ecs: &mut ecs::World,
        lanes: &mut Lanes,
        frame: &Frame<'_>,
        clock: &mut dyn FnMut() -> u64,
    ) {
        for slot in frame.runs(Tier::T3).flat_map(Run::slots) {
            for lane in lanes.workers_mut() {
                self.take_t3(ecs, lane, &slot, clock);
            }
        }
    }

    /// The budgets of the run were kept when it was captured, so none applies here.
    pub(super) fn replay(
        &mut self,
        ecs: &mut ecs::World,
        tier: Tier,
        frame: &Frame<'_>,
        clock: &mut dyn FnMut() -> u64,
    ) {
        for lines in frame.chunks(tier) {
            self.take(ecs, tier, lines, frame.tick, clock);
        }
    }

    /// The digest after this tick.
    pub(super) fn next_digest(&mut self, ecs: &ecs::World) -> u64 {
        let mut digest = std::mem::take(&mut self.digest);
        let value = digest.step(ecs, self.counts(ecs));
        self.digest = digest;
        value
    }

    fn counts(&self, ecs: &ecs::World) -> impl Iterator<Item = u64> {
        let outcomes = self
            .outcomes
            .iter()
            .flat_map(|of| [of.applied, of.duplicate, of.stale].into_iter().chain(of.rejected));
        let ends = self.actuators.ends();
        let others = [
            ecs.len() as u64,
            self.sessions.open() as u64,
            self.answers.acknowledged,
            self.answers.rejected,
            self.answers.reset,
            ends.acknowledged,
            ends.rejected,
            ends.reset,
            ends.expired,
            ends.replaced,
            ends.unreachable,
        ];
        outcomes.chain(self.crossing_counts.into_iter().flatten()).chain(others)
    }
}
