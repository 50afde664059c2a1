//! Rules that close a loop: while the smoothed value of a sensor is above a limit, the actuator of its device holds a
//! setpoint.
//!
//! A rule looks only at rows that a record has touched in this tick, so its cost grows with ingress and not with the
//! fleet. It states what shall hold, not what shall happen: an actuator that holds the setpoint already, or has been
//! asked for it, is left alone, and one whose command failed is asked again by a later record. Of several rules for a
//! type the first that fires is the one that counts.

use wire::SensorType;

use super::row::RowRef;

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

/// A sensor for which a rule fires.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Firing {
    /// The sensor.
    pub sensor: RowRef,
    /// Position of the rule among the rules.
    pub rule: u32,
}

/// The rules, and which of them fire in this tick.
#[derive(Debug)]
pub struct Automation {
    rules: Vec<Rule>,
    stop_rules: Vec<StopRule>,
    firing: Vec<Firing>,
    stops: bool,
}

/// Sensors looked after in one tick; those beyond it fire with one of their next records.
const FIRING_MAX: usize = 4096;

impl Automation {
    /// Rules in the order in which they are tried.
    #[must_use]
    pub fn new(rules: Vec<Rule>, stop_rules: Vec<StopRule>) -> Self {
        let room = if rules.is_empty() { 0 } else { FIRING_MAX };
        Self { rules, stop_rules, firing: Vec::with_capacity(room), stops: false }
    }

    /// The rule at a position that a [`Firing`] names.
    #[must_use]
    pub fn rule(&self, at: u32) -> Rule {
        self.rules[at as usize]
    }

    /// True when there is any rule.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !(self.rules.is_empty() && self.stop_rules.is_empty())
    }

    /// Looks at the new smoothed value of a sensor.
    pub fn handle_value(&mut self, sensor_type: SensorType, sensor: RowRef, smoothed: f32) {
        let fires =
            |rule: &Rule| rule.sensor_type == sensor_type && f64::from(smoothed) > rule.above;
        if self.firing.len() < FIRING_MAX
            && let Some(rule) = self.rules.iter().position(fires)
        {
            self.firing.push(Firing { sensor, rule: rule as u32 });
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

    /// The next firing of this tick, in no order that matters: each is of another sensor.
    pub fn poll(&mut self) -> Option<Firing> {
        self.firing.pop()
    }
}
