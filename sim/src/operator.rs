//! The operator: setpoints on a schedule, and the stop of the plant.
//!
//! Each order has to end exactly once, and after the faults it has to reach its device.

use std::collections::BTreeMap;

use netloop::Now;
use twin::order::{Order, OrderDesk, Outcome};
use twin::world::{ACTUATOR_ID, World};
use wire::SensorType;

use crate::chance::Chance;
use crate::device::{Device, device_id};
use crate::scenario::{Kind, Scenario};

/// The last orders are given so long before the plant has to have healed: longer than a command has to be answered.
const REST_US: u64 = 1_500_000;

/// When the faults are over for so long, sessions that they have killed are given up, and a hello that they have lost more
/// than once has come.
const CALM_NS: u64 = 2_300_000_000;

/// The desk, and what was asked from it.
pub(crate) struct Operator {
    desk: OrderDesk,
    chance: Chance,
    every_ns: u64,
    /// When the next order is given.
    pub(crate) next_ns: u64,
    last_ns: u64,
    /// The device of each order that has not ended, and whether nothing can keep the order from it.
    waiting: BTreeMap<u64, (u32, bool)>,
    healing_ns: u64,
    /// Orders that ended, by outcome.
    pub(crate) ended: [u64; Outcome::NAMES.len()],
    pub(crate) wrong: Option<String>,
}

impl Operator {
    pub(crate) fn new(scenario: &Scenario, desk: OrderDesk) -> Self {
        let last_ns = scenario.until_us().saturating_sub(REST_US) * 1_000;
        let every_ns = scenario.order_every_us * 1_000;
        Self {
            desk,
            chance: Chance::new(scenario.seed, 0x0de5),
            every_ns,
            next_ns: if every_ns == 0 { u64::MAX } else { every_ns },
            last_ns,
            waiting: BTreeMap::new(),
            healing_ns: scenario.faults_end_us * 1_000,
            ended: [0; Outcome::NAMES.len()],
            wrong: None,
        }
    }

    /// Gives the orders that are due, asks for the stop or its end, and takes the ends that have come.
    pub(crate) fn turn(
        &mut self,
        scenario: &Scenario,
        devices: &[Device],
        world: &World,
        now: Now,
        now_ns: u64,
    ) {
        let stops = scenario.faults.iter().filter(|fault| fault.kind == Kind::Stop);
        let stopped = stops.filter(|stop| stop.is_on(now_ns / 1_000)).count() > 0;
        // To clear what nobody stopped would be a request that every device is told.
        if stopped != self.desk.stop_asked().is_stopped() {
            self.desk.set_stopped(stopped, now.unix_ns);
        }
        while self.next_ns <= now_ns {
            self.order(devices, world, now, now_ns);
            self.next_ns += self.every_ns;
            if self.next_ns > self.last_ns {
                self.next_ns = u64::MAX;
            }
        }
        while let Some(end) = self.desk.poll() {
            self.ended[end.outcome.index()] += 1;
            let Some((device, reaches)) = self.waiting.remove(&end.id) else {
                self.wrong = Some(format!("order {} ends twice", end.id));
                return;
            };
            let hello = scenario.devices.iter().any(|of| of.number == device && of.hello);
            let fine = match end.outcome {
                Outcome::Acknowledged | Outcome::Replaced => hello,
                // Without a hello nobody knows that it answers commands.
                Outcome::Unreachable => !hello || !reaches,
                _ => !reaches,
            };
            if !fine {
                let outcome = end.outcome.name();
                self.wrong = Some(format!(
                    "order {} to device {device}, hello {hello}, reaches {reaches}: {outcome}",
                    end.id
                ));
            }
        }
    }

    fn order(&mut self, devices: &[Device], world: &World, now: Now, now_ns: u64) {
        let at = self.chance.between(0, devices.len() as u64 - 1) as usize;
        let plan = &devices[at].plan;
        let device = plan.number;
        // What has just come shows that the way to the device works.
        let fresh = world.sensor(device_id(device), 0).is_some_and(|sensor| {
            let age_us = now.unix_ns / 1_000 - sensor.live.ts_us;
            age_us < 2 * plan.period_us + plan.delay_us + 50_000
        });
        let order = Order {
            id: 0,
            asked_ns: now.unix_ns,
            device: device_id(device),
            actuator_id: ACTUATOR_ID,
            sensor_type: SensorType::Temperature,
            via: 0,
            value: self.chance.between(0, 40) as f64,
        };
        // A desk with no room has refused it.
        if let Some(id) = self.desk.push(order) {
            let reaches = fresh && now_ns >= self.healing_ns + CALM_NS;
            self.waiting.insert(id, (device, reaches));
        }
    }

    /// What must hold once the plant has healed.
    pub(crate) fn healed(&self) -> Option<String> {
        let (id, (device, _)) = self.waiting.first_key_value()?;
        Some(format!("order {id} to device {device} has no end"))
    }
}
