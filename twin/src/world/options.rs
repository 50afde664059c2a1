//! What a world is made with: limits, budgets, thresholds, rules and faults, all fixed for its life.

use wire::SensorType;

use crate::config::Config;

use super::actuator::ACTUATOR_ID;
use super::automation::{Rule, StopRule};
use super::fault::FaultOptions;
use super::threshold::Limits;

/// Everything that a world needs to know before its first tick.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// Ticks in a second: the period of aggregates, and the deadline of commands.
    pub hz: u32,
    /// Entities, sensors and actuators together, that it holds at most.
    pub entities_max: usize,
    /// Sessions that room is made for at the start: their places lie below it.
    pub sessions_max: usize,
    /// Records taken from the ring of each tier in one tick at most, T1 first.
    pub drain: [usize; 3],
    /// A record that took longer from end to end is an outlier, in microseconds.
    pub outlier_us: u64,
    /// Thresholds by sensor type.
    pub limits: [Limits; SensorType::COUNT],
    /// Rules, in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// What stops the plant.
    pub stop_rules: Vec<StopRule>,
    /// Whether a device may stop the plant.
    pub device_stop: bool,
    /// Faults to inject.
    pub fault: FaultOptions,
    /// Two numbers that no device can know, so that none can choose where its keys fall in the index.
    pub index_secrets: [u64; 2],
}

impl WorldOptions {
    /// The options that a configuration asks for.
    #[must_use]
    pub fn new(config: &Config, index_secrets: [u64; 2]) -> Self {
        let limits = config.thresholds.map(|of| Limits::new(of.high, of.low, of.hysteresis));
        let rules = config.automation.rules.iter().map(|rule| Rule {
            sensor_type: SensorType::ALL[rule.sensor_type],
            above: rule.above,
            actuator_id: ACTUATOR_ID,
            setpoint: rule.setpoint,
        });
        let stop_rules = config.automation.stop_rules.iter().map(|rule| StopRule {
            sensor_type: SensorType::ALL[rule.sensor_type],
            above: rule.above,
        });
        Self {
            hz: config.tick.hz,
            entities_max: config.world.entities_max,
            sessions_max: config.net.session_places(),
            drain: config.tick.drain,
            outlier_us: config.tick.outlier_us,
            limits,
            rules: rules.collect(),
            stop_rules: stop_rules.collect(),
            device_stop: config.automation.device_stop,
            fault: FaultOptions {
                seed: config.fault.seed,
                loss: config.fault.loss,
                delay_ticks: config.fault.delay_ticks,
                duplicate: config.fault.duplicate,
                corrupt: config.fault.corrupt,
            },
            index_secrets,
        }
    }
}
