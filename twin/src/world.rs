//! The world: every sensor and actuator of the plant as a row, and one tick that brings them up to date.
//!
//! A tick drains what the worker put into the rings, folds each record into its row, lets the rules look at what has
//! changed, sends commands, and balances the account. It is pure: rings, tick number and clock are arguments, and the
//! same slots in the same order give the same rows, bit for bit ([`World::state_hash`]). After its start it allocates
//! only when the plant grows by a sensor or a session.
//!
//! It refuses to log, to block, to read a clock and to know a socket.

mod account;
mod actuator;
mod aggregate;
mod apply;
mod automation;
mod command;
mod component;
mod control;
mod fault;
mod fold;
mod lanes;
mod options;
mod publish;
mod row;
mod sequence;
mod sessions;
mod tables;
mod threshold;
mod watch;

use std::sync::Arc;

use ecs::KeyIndex;
use netloop::Slot;
use wire::{DeviceId, SensorType, Tier};

use crate::interval::Interval;
use crate::stats::{TierTotals, TwinStats};

pub use account::{Ingress, Outcomes, Reason, balance};
pub use actuator::{ACTUATOR_ID, Actuators, CommandEnds, Moment, Setpoint};
pub use aggregate::Aggregate;
pub use automation::{Automation, Firing, Rule};
pub use command::{AnswerCounts, Target, answer};
pub use component::{
    ActuatorState, ActuatorStatus, Link, Live, SensorKey, Smoothed, WINDOW_VALUES, Window,
};
pub use fault::{Fault, FaultOptions, Injected};
pub use fold::{Folded, fold};
pub use lanes::{LaneCapacities, Lanes, lanes};
pub use options::WorldOptions;
pub use row::{ROWS_MAX, RowRef};
pub use sequence::{AHEAD_MAX, SEEN_BITS, Sighting, observe};
pub use sessions::{Losses, Sessions};
pub use threshold::{Direction, Level, Limits};
pub use watch::Watch;

use apply::Part;
use tables::Tables;

/// Records that a ring gives at once: 64 KiB of slots, which stay in L2 from the first look at them to the last. The
/// worker gets the room back after each.
const STEP_RECORDS: usize = 1024;

/// Crossings remembered of one tick; further ones are counted only.
const CROSSINGS_MAX: usize = 4096;

/// A threshold that was crossed in the latest tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    /// The sensor.
    pub sensor: RowRef,
    /// Which way.
    pub direction: Direction,
    /// The smoothed value that crossed.
    pub smoothed: f32,
    /// Intended send time of the record that did it, in microseconds since the Unix epoch.
    pub ts_us: u64,
}

/// A sensor as it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sensor {
    /// What it measures.
    pub sensor_type: SensorType,
    /// Latest raw value, its times and its sequence numbers.
    pub live: Live,
    /// Rolling mean of the latest [`WINDOW_VALUES`] values.
    pub smoothed: f32,
}

/// The mirrored plant.
pub struct World {
    options: WorldOptions,
    tables: Tables,
    index: KeyIndex<RowRef>,
    sessions: Sessions,
    part: Part,
    outcomes: [Outcomes; Tier::COUNT],
    answers: AnswerCounts,
    actuators: Actuators,
    automation: Automation,
    fault: Option<Fault>,
    faulted: Vec<Slot>,
    crossings: Vec<Crossing>,
    crossing_counts: [[u64; 2]; SensorType::COUNT],
    losses: Losses,
    relink: bool,
    next_second_tick: u64,
    stats: Arc<TwinStats>,
    interval: Box<Interval>,
    watch: Option<Watch>,
}

impl World {
    /// An empty world that publishes into `stats` and records latencies into `interval`.
    #[must_use]
    pub fn new(options: WorldOptions, stats: Arc<TwinStats>, interval: Box<Interval>) -> Self {
        Self {
            tables: Tables::new(),
            index: KeyIndex::new(options.index_secrets, options.entities_max),
            sessions: Sessions::new(options.sessions_max),
            part: Part::new(),
            outcomes: [Outcomes::default(); Tier::COUNT],
            answers: AnswerCounts::default(),
            actuators: Actuators::new(u64::from(options.hz)),
            automation: Automation::new(options.rules.clone()),
            fault: Fault::new(&options.fault),
            faulted: Vec::with_capacity(STEP_RECORDS),
            crossings: Vec::with_capacity(CROSSINGS_MAX),
            crossing_counts: [[0; 2]; SensorType::COUNT],
            losses: Losses::default(),
            relink: false,
            next_second_tick: u64::from(options.hz),
            options,
            stats,
            interval,
            watch: None,
        }
    }

    /// Shows rows and sessions to whoever holds the other end of the watch's exchange. Asked for before the first tick.
    pub fn attach(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// One tick, the `tick`-th of the schedule. `clock` tells the time in nanoseconds since the Unix epoch; it is asked
    /// once for every few hundred records.
    pub fn tick(&mut self, lanes: &mut Lanes, tick: u64, clock: &mut dyn FnMut() -> u64) {
        self.crossings.clear();
        self.drain_events(lanes, clock);
        self.drain_t3(lanes, clock);
        self.expire_commands(tick);
        self.drain(Tier::T2, lanes, tick, clock);
        self.drain(Tier::T1, lanes, tick, clock);
        self.apply_held(tick, clock);
        self.run_rules(lanes, tick, clock);
        if tick >= self.next_second_tick {
            self.next_second_tick = tick + u64::from(self.options.hz);
            self.handle_second();
        }
        self.publish(lanes);
        self.show(tick, clock);
    }

    /// The sensor of this name, if the world has it.
    #[must_use]
    pub fn sensor(&self, device: DeviceId, sensor_id: u16) -> Option<Sensor> {
        let row = self.index.find(key_of(device, sensor_id))?;
        let sensor_type = row.sensor_type()?;
        Some(Sensor {
            sensor_type,
            live: *self.tables.live(row),
            smoothed: self.tables.smoothed(sensor_type)[row.row()].0,
        })
    }

    /// The actuator of this name, if the world has it.
    #[must_use]
    pub fn actuator(&self, device: DeviceId, actuator_id: u16) -> Option<ActuatorState> {
        let row = self.index.find(key_of(device, actuator_id))?;
        row.is_actuator().then(|| *self.tables.actuator(row))
    }

    /// Sensors and actuators.
    #[must_use]
    pub fn entities(&self) -> usize {
        self.tables.len()
    }

    /// The thresholds crossed in the latest tick, the first few thousand of them.
    #[must_use]
    pub fn crossings(&self) -> &[Crossing] {
        &self.crossings
    }

    /// Crossings since the start, by direction.
    #[must_use]
    pub const fn crossing_counts(&self, sensor_type: SensorType) -> [u64; 2] {
        self.crossing_counts[sensor_type.index()]
    }

    /// What became of the records of a tier.
    #[must_use]
    pub const fn outcomes(&self, tier: Tier) -> &Outcomes {
        &self.outcomes[tier.index()]
    }

    /// How commands to devices ended.
    #[must_use]
    pub const fn command_ends(&self) -> CommandEnds {
        self.actuators.ends()
    }

    /// The account of a tier as it stands: exact when worker and rings rest.
    #[must_use]
    pub fn totals(&self, tier: Tier, lanes: &Lanes) -> TierTotals {
        balance(tier, self.outcomes(tier), &self.ingress(tier, lanes), &self.sessions.losses())
    }

    /// Publishes everything at once, for the last time or for the first.
    pub fn settle(&mut self, lanes: &Lanes) {
        self.handle_second();
        self.publish(lanes);
    }

    /// The latencies since the last exchange; the tick thread exchanges them about once a second.
    pub const fn interval_mut(&mut self) -> &mut Box<Interval> {
        &mut self.interval
    }

    /// Ends the world and gives its last latencies.
    #[must_use]
    pub fn into_interval(self) -> Box<Interval> {
        self.interval
    }

    /// Memory of rows, index and session tables, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.tables.memory_bytes() + self.index.memory_bytes() + self.sessions.memory_bytes()
    }

    /// A number that two worlds share when all their rows are equal, bit for bit.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        self.tables.hash()
    }
}

/// The key of a sensor or actuator in the index.
fn key_of(device: DeviceId, sensor_id: u16) -> ecs::SensorKey {
    ecs::SensorKey { device: device.0, sensor: sensor_id }
}
