//! Orders of operators in the tick: each opens one command to a device, and goes back with how it ended.
//!
//! An order outranks a rule until the rule fires again. While the plant is stopped, orders are refused.

use netloop::{Slot, slot};
use wire::{Command, Record};

use crate::capture::Frame;
use crate::interval::Latency;
use crate::order::{ORDERS_MAX, Order, OrderEnd, OrderPort, Outcome};

use super::actuator::{Moment, Setpoint};
use super::component::{ActuatorState, ActuatorStatus, Link, Live, SensorKey};
use super::control::unanswered;
use super::row::RowRef;
use super::tables::Rows;
use super::{Lanes, Plant, key_of};

/// Orders taken in one tick at most.
const TAKEN_MAX: usize = 64;

/// Orders whose commands are on their way.
#[derive(Debug)]
pub(super) struct OpenOrders(Vec<Open>);

#[derive(Debug, Clone, Copy)]
struct Open {
    tag: u32,
    order: Order,
}

impl OpenOrders {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(ORDERS_MAX))
    }

    fn remove(&mut self, tag: u32) -> Option<Order> {
        let at = self.0.iter().position(|open| open.tag == tag)?;
        Some(self.0.swap_remove(at).order)
    }
}

impl Plant {
    /// Takes the orders that wait.
    pub(super) fn drain_orders(&mut self, ecs: &mut ecs::World, lanes: &mut Lanes, moment: Moment) {
        for _ in 0..TAKEN_MAX {
            let Some(order) = self.orders_port.as_mut().and_then(OrderPort::pop) else { return };
            let opened = self.open_order(ecs, &order, lanes, moment);
            if let Some(tap) = &mut lanes.tap {
                tap.push_order(&order, opened == Err(Outcome::Busy));
            }
            if let Err(outcome) = opened {
                self.push_end(&order, outcome, order.value, moment.unix_ns);
            }
        }
    }

    /// Takes the orders of a capture; one that was busy found a ring full, which is nothing that a replay has.
    pub(super) fn replay_orders(
        &mut self,
        ecs: &mut ecs::World,
        lanes: &mut Lanes,
        frame: &Frame<'_>,
        moment: Moment,
    ) {
        for (order, _) in frame.orders.iter().filter(|(_, was_busy)| !was_busy) {
            // The end goes nowhere: nobody waits for it.
            let _ = self.open_order(ecs, order, lanes, moment);
        }
    }

    /// Opens the command of an order.
    fn open_order(
        &mut self,
        ecs: &mut ecs::World,
        order: &Order,
        lanes: &mut Lanes,
        moment: Moment,
    ) -> Result<(), Outcome> {
        if self.stops.is_stopped() {
            return Err(Outcome::Stopped);
        }
        let via = self.index.find(key_of(order.device, order.via)).ok_or(Outcome::Unknown)?;
        if via.is_actuator() {
            return Err(Outcome::Unknown);
        }
        let (Link(link), epoch) = (*ecs.value(via), ecs.value::<Live>(via).epoch);
        let key = SensorKey::new(order.device, order.actuator_id, order.sensor_type);
        let known = self.index.find(key_of(order.device, order.actuator_id));
        let avoided = known.filter(|row| row.is_actuator()).and_then(|row| unanswered(ecs, row));
        let way = self.sessions.way(link, (order.device, epoch), avoided);
        let session = way.ok_or(Outcome::Unreachable)?;
        let lane = lanes.lane_of(session);
        if !self.actuators.has_room() || lane.outbound_free() == 0 {
            return Err(Outcome::Busy);
        }
        let row = self.find_or_spawn_actuator(ecs, key, link).ok_or(Outcome::Unknown)?;
        self.replace_order(ecs, row, moment.unix_ns);
        let key = *ecs.value(row);
        let setpoint = Setpoint { session, epoch, value: order.value };
        *ecs.value_mut(row) = Link(session.0);
        let state: &mut ActuatorState = ecs.value_mut(row);
        let command = self.actuators.send(row, &key, state, &setpoint, moment);
        let tag = state.tag;
        lane.push_outbound(command);
        self.open_orders.0.push(Open { tag, order: *order });
        Ok(())
    }

    /// Ends the order whose command is about to be replaced by another one to the same actuator.
    pub(super) fn replace_order(&mut self, ecs: &ecs::World, row: RowRef, now_ns: u64) {
        let state: &ActuatorState = ecs.value(row);
        if ActuatorStatus::of(state) == ActuatorStatus::Pending
            && let Some(order) = self.open_orders.remove(state.tag)
        {
            self.push_end(&order, Outcome::Replaced, order.value, now_ns);
        }
    }

    /// Ends the order that this end of a command belongs to, if any.
    pub(super) fn end_order(&mut self, end: &Slot) {
        let Some(order) = self.open_orders.remove(end.hint) else { return };
        let record = Record::from_bytes(end.record);
        let answered = end.flags & slot::FAILED == 0;
        let status =
            Command::decode(&record).ok().filter(|_| answered).and_then(|ack| ack.status());
        let outcome = match status {
            Some(wire::Status::Ok) => Outcome::Acknowledged,
            Some(status) => Outcome::Rejected(status),
            None => Outcome::Reset,
        };
        if status.is_some() {
            let ns = end.recv_ns.saturating_sub(order.asked_ns);
            self.interval.record(Latency::OrderToAck, ns);
        }
        self.push_end(&order, outcome, record.value(), end.recv_ns);
    }

    /// Ends the order of a command whose deadline has passed, if any.
    pub(super) fn expire_order(&mut self, tag: u32, now_ns: u64) {
        if let Some(order) = self.open_orders.remove(tag) {
            self.push_end(&order, Outcome::Expired, order.value, now_ns);
        }
    }

    fn push_end(&mut self, order: &Order, outcome: Outcome, value: f64, ended_ns: u64) {
        // Without a port the order came out of a capture, and nobody waits for its end.
        if let Some(port) = &mut self.orders_port {
            port.push_end(OrderEnd { id: order.id, outcome, value, ended_ns });
        }
    }
}
