//! What goes both ways: steps of sessions, commands of devices, and commands to actuators.

use netloop::{Answer, Outbound, SessionId, Slot};
use wire::{CloseCode, Command, Record, Tier};

use crate::interval::Latency;

use crate::order::StopSource;

use super::account::Reason;
use super::actuator::{Moment, Setpoint, waits_for};
use super::automation::{FIRING_MAX, Rule};
use super::command::{Target, answer, is_stop};
use super::component::{ActuatorStatus, Link, Live, SensorKey, Smoothed};
use super::ledger::Entries;
use super::row::RowRef;
use super::stop::STOP_TAG;
use super::tables::{Rows, each_touched};
use super::{Lane, Lanes, Plant, key_of};

/// Steps of sessions taken from a worker in one tick: a thousand sessions that come back at once are known after four.
const EVENTS_MAX: usize = 256;

impl Plant {
    pub(super) fn drain_events(&mut self, lanes: &mut Lanes, clock: &mut dyn FnMut() -> u64) {
        let (workers, tap) = lanes.parts_mut();
        let count = workers.len();
        for (worker, lane) in workers.iter_mut().enumerate() {
            for _ in 0..EVENTS_MAX {
                let open = |from| self.sessions.open_from(from, (worker, count));
                let Some(event) = lane.pop_event(open) else { break };
                if let Some(tap) = tap {
                    tap.push_event(&event);
                }
                self.sessions.handle_event(&event);
                self.stops.handle_event(&event);
                if let Some(watch) = &mut self.watch {
                    watch.handle_event(&event, clock());
                }
            }
        }
    }

    /// Answers commands of devices and takes the ends of our own, no more than there is room for answers.
    pub(super) fn drain_t3(
        &mut self,
        ecs: &mut ecs::World,
        lanes: &mut Lanes,
        clock: &mut dyn FnMut() -> u64,
    ) {
        let (workers, tap) = lanes.parts_mut();
        for lane in workers {
            let budget = self.options.drain[Tier::T3.index()];
            for _ in 0..budget.min(lane.outbound_free()) {
                let Some(slot) = lane.tiers[Tier::T3.index()].pop() else { break };
                if let Some(tap) = tap {
                    tap.push_chunk(Tier::T3, &[slot]);
                }
                self.take_t3(ecs, lane, &slot, clock);
            }
        }
        if lanes.depth(Tier::T3) > 0 {
            self.stats.tick.budgets_spent.add(1);
        }
    }

    /// Answers a command, or takes the end of one of ours.
    pub(super) fn take_t3(
        &mut self,
        ecs: &mut ecs::World,
        lane: &mut Lane,
        slot: &Slot,
        clock: &mut dyn FnMut() -> u64,
    ) {
        if slot.flags == 0 {
            let outcome = self.answer_command(ecs, slot);
            // A command that was reset is rejected and not applied.
            let was_applied = !matches!(outcome, Outbound::Answer { answer: Answer::Reset(_), .. });
            lane.push_outbound(outcome);
            let mut entries = Entries::new(Tier::T3, clock());
            let times = (slot.recv_ns, slot.lag_ns, Record::from_bytes(slot.record).ts_us());
            entries.push(times, u64::from(was_applied), &mut self.ledger, &mut self.interval);
            entries.flush(&mut self.ledger, &mut self.interval);
        } else {
            self.end_command(ecs, slot, clock());
        }
    }

    fn answer_command(&mut self, ecs: &ecs::World, slot: &Slot) -> Outbound {
        let request = Record::from_bytes(slot.record);
        let may_stop = self.options.device_stop;
        let answer = answer(&request, may_stop, |command| self.find_target(ecs, command));
        if may_stop && is_stop(&request) {
            self.request_stop(StopSource::Device, slot.recv_ns);
        }
        self.answers.add(&answer);
        let outcomes = &mut self.outcomes[Tier::T3.index()];
        match answer {
            Answer::Reset(CloseCode::NoHandler) => {
                outcomes.rejected[Reason::NoHandler as usize] += 1;
            }
            Answer::Reset(_) => outcomes.rejected[Reason::Record as usize] += 1,
            Answer::Ack(_) | Answer::Later => outcomes.applied += 1,
        }
        Outbound::Answer { session: SessionId(slot.session), token: slot.hint, answer }
    }

    fn find_target(&self, ecs: &ecs::World, command: &Command) -> Target {
        let (device, sensor_id) = (command.record.device(), command.record.sensor_id());
        let Some(row) = self.index.find(key_of(device, sensor_id)) else { return Target::Unknown };
        if ecs.value::<SensorKey>(row).sensor_type != command.sensor_type as u8 {
            return Target::Unknown;
        }
        if !row.is_actuator() {
            return Target::Value(ecs.value::<Live>(row).value);
        }
        let state = ecs.value(row);
        if ActuatorStatus::of(state) == ActuatorStatus::Acknowledged {
            Target::Value(state.acknowledged)
        } else {
            Target::Unknown
        }
    }

    /// Takes the end of a command that the twin opened.
    fn end_command(&mut self, ecs: &mut ecs::World, slot: &Slot, now_ns: u64) {
        if slot.hint & STOP_TAG != 0 {
            return self.end_stop(slot);
        }
        self.end_order(slot);
        let record = Record::from_bytes(slot.record);
        let row = self.index.find(key_of(record.device(), record.sensor_id()));
        let Some(row) = row.filter(|row| row.is_actuator()) else { return };
        let state = ecs.value_mut(row);
        if let Some(rtt_ns) = self.actuators.handle_end(slot, state, now_ns) {
            self.interval.record(Latency::CommandRtt, rtt_ns);
        }
    }

    /// Ends commands whose deadline has passed.
    pub(super) fn expire_commands(
        &mut self,
        ecs: &mut ecs::World,
        tick: u64,
        clock: &mut dyn FnMut() -> u64,
    ) {
        while let Some((row, tag)) = self.actuators.poll_deadline(tick) {
            self.expire_order(tag, clock());
            let state = ecs.value_mut(row);
            self.actuators.expire(state, tag);
        }
        self.actuators.forget_ended(|row, tag| waits_for(ecs.value(row), tag));
    }

    /// Lets the rules look at what has changed, and sends the commands that follow.
    pub(super) fn run_rules(
        &mut self,
        ecs: &mut ecs::World,
        lanes: &mut Lanes,
        moment: Moment,
        mut room: usize,
    ) {
        let Self { touched, automation, .. } = self;
        if automation.is_active() {
            each_touched(touched, ecs, |sensor_type, row, smoothed| {
                automation.handle_value(sensor_type, row, smoothed);
            });
            if automation.take_stop() {
                self.request_stop(StopSource::Rule, moment.unix_ns);
            }
        }
        for _ in 0..FIRING_MAX {
            let Some((sensor_type, sensor)) = self.automation.poll() else { return };
            let Smoothed(smoothed) = *ecs.value(sensor);
            if let Some(&rule) = self.automation.rule(sensor_type, smoothed) {
                room -= usize::from(self.fire(ecs, sensor, &rule, lanes, (moment, room)));
            }
        }
        if !self.automation.is_empty() {
            self.stats.tick.budgets_spent.add(1);
        }
    }

    /// Sends the command of a rule, unless its actuator holds the setpoint or cannot be reached now; then a later record
    /// of the sensor brings it up again. True when it was sent.
    fn fire(
        &mut self,
        ecs: &mut ecs::World,
        row: RowRef,
        rule: &Rule,
        lanes: &mut Lanes,
        (moment, room): (Moment, usize),
    ) -> bool {
        let sensor: SensorKey = *ecs.value(row);
        let key = SensorKey::new(sensor.device, rule.actuator_id, rule.sensor_type);
        let (Link(link), epoch) = (*ecs.value(row), ecs.value::<Live>(row).epoch);
        let Some(row) = self.find_or_spawn_actuator(ecs, key, link) else { return false };
        if self.stops.is_stopped()
            || !self.actuators.wants(ecs.value(row), rule.setpoint, epoch, moment.tick)
        {
            return false;
        }
        let avoided = unanswered(ecs, row);
        let Some(session) = self.sessions.way(link, (sensor.device, epoch), avoided) else {
            self.actuators.count_unreachable();
            self.relink |= !self.sessions.is_open(link);
            return false;
        };
        if !self.actuators.has_room() || room == 0 {
            return false;
        }
        let setpoint = Setpoint { session, epoch, value: rule.setpoint };
        *ecs.value_mut(row) = Link(session.0);
        let state = ecs.value_mut(row);
        let command = self.actuators.send(row, &key, state, &setpoint, moment);
        lanes.lane_of(session).push_outbound(command);
        true
    }

    /// The actuator of this key; none when the name is a sensor's or the world is full.
    pub(super) fn find_or_spawn_actuator(
        &mut self,
        ecs: &mut ecs::World,
        key: SensorKey,
        session: u32,
    ) -> Option<RowRef> {
        if let Some(row) = self.index.find(key_of(key.device, key.sensor_id)) {
            return row.is_actuator().then_some(row);
        }
        if ecs.len() >= self.options.entities_max {
            return None;
        }
        let row = ecs.next_actuator();
        self.index.insert(key_of(key.device, key.sensor_id), row).ok()?;
        ecs.spawn_actuator(key, session);
        Some(row)
    }
}

/// The session through which the last command of an actuator went, if nothing came back: its path may be gone, and the
/// device may hold another one.
pub(super) fn unanswered(ecs: &ecs::World, actuator: RowRef) -> Option<u32> {
    let failed = [ActuatorStatus::Failed, ActuatorStatus::Expired];
    let Link(last) = *ecs.value(actuator);
    failed.contains(&ActuatorStatus::of(ecs.value(actuator))).then_some(last)
}
