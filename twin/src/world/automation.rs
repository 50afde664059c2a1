//! Rules that close a loop: while the smoothed value of a sensor is above a limit, the actuator of its device holds a
//! setpoint.
//!
//! A rule looks only at rows that a record has touched, so its cost grows with ingress and not with the fleet. Of those for
//! which one fires, a tick looks after some thousand; the others wait, in rounds, for the ticks behind it. It states what
//! shall hold, not what shall happen: an actuator that holds the setpoint already, or has been asked for it, is left alone,
//! and one whose command failed is asked again by a later record. Of several rules for a type the first that fires is the
//! one that counts.

use serde::{Deserialize, Serialize};
use wire::SensorType;

use super::marks::Marks;
use super::row::{ROWS_MAX, RowRef};

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The type of the sensors it watches.
    pub sensor_type: SensorType,
    /// The smoothed value above which it fires, in the unit of the type.
    pub above: f64,
    /// Which actuator of the sensor's device.
    pub actuator_id: u16,
    /// What the actuator shall hold.
    pub setpoint: f64,
}

/// A rule that stops the plant as soon as a sensor of a type is above a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StopRule {
    /// The type of the sensors it watches.
    pub sensor_type: SensorType,
    /// The smoothed value above which it fires, in the unit of the type.
    pub above: f64,
}

/// The rules, and the sensors for which one fires.
#[derive(Debug)]
pub struct Automation {
    rules: Vec<Rule>,
    stop_rules: Vec<StopRule>,
    /// Sensors for which a rule fires and that were not looked after since, by [`place_of`].
    firing: Marks,
    stops: bool,
}

/// Sensors that wait to be looked after, saved.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedAutomation {
    /// By [`place_of`].
    firing: Vec<usize>,
    /// Where the round stands.
    at: usize,
}

/// Sensors looked after in one tick: each costs a look by key, some 100 ns.
pub(super) const FIRING_MAX: usize = 4096;

/// A number for the row of a sensor. Types alternate, so that a round takes all of them in turn.
fn place_of(sensor_type: SensorType, row: RowRef) -> usize {
    row.row() * SensorType::COUNT + sensor_type.index()
}

impl Automation {
    /// Rules in the order in which they are tried, for a plant of at most so many sensors.
    #[must_use]
    pub fn new(rules: Vec<Rule>, stop_rules: Vec<StopRule>, sensors_max: usize) -> Self {
        let mut firing = Marks::default();
        if !rules.is_empty() {
            firing.grow(sensors_max * SensorType::COUNT);
        }
        Self { rules, stop_rules, firing, stops: false }
    }

    /// The rule that fires for a sensor of this type at this smoothed value.
    #[must_use]
    pub fn rule(&self, sensor_type: SensorType, smoothed: f32) -> Option<&Rule> {
        let fires =
            |rule: &&Rule| rule.sensor_type == sensor_type && f64::from(smoothed) > rule.above;
        self.rules.iter().find(fires)
    }

    /// True when there is any rule.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !(self.rules.is_empty() && self.stop_rules.is_empty())
    }

    /// Looks at the new smoothed value of a sensor.
    pub fn handle_value(&mut self, sensor_type: SensorType, sensor: RowRef, smoothed: f32) {
        if self.rule(sensor_type, smoothed).is_some() {
            self.firing.set(place_of(sensor_type, sensor));
        }
        self.stops |= self
            .stop_rules
            .iter()
            .any(|rule| rule.sensor_type == sensor_type && f64::from(smoothed) > rule.above);
    }

    /// Whether a sensor of this tick stops the plant.
    pub fn take_stop(&mut self) -> bool {
        std::mem::take(&mut self.stops)
    }

    /// The next sensor to look after, in rounds, so that none waits for ever. Its value may be another one by now.
    pub fn poll(&mut self) -> Option<(SensorType, RowRef)> {
        let place = self.firing.pop_below(usize::MAX)?;
        let sensor_type = SensorType::ALL[place % SensorType::COUNT];
        Some((sensor_type, RowRef::sensor(sensor_type, place / SensorType::COUNT)))
    }

    /// True when no sensor waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.firing.is_empty()
    }

    pub(super) fn save(&self) -> SavedAutomation {
        SavedAutomation { firing: self.firing.places().collect(), at: self.firing.at() }
    }

    /// Takes the place of what was saved; this one is to be fresh. False where a sensor is none that `exists`.
    pub(super) fn restore(
        &mut self,
        saved: &SavedAutomation,
        exists: impl Fn(RowRef) -> bool,
    ) -> bool {
        let known = |&place: &usize| {
            let (row, of) = (place / SensorType::COUNT, SensorType::ALL[place % SensorType::COUNT]);
            row < ROWS_MAX && exists(RowRef::sensor(of, row))
        };
        let good = saved.firing.iter().all(known);
        if good {
            saved.firing.iter().for_each(|&place| self.firing.set(place));
            self.firing.go_to(saved.at);
        }
        good
    }
}
