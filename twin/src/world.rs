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
mod ages;
mod aggregate;
mod apply;
mod automation;
mod command;
mod component;
mod control;
mod digest;
mod fault;
mod fold;
mod lanes;
mod ledger;
mod marks;
mod options;
mod order;
mod publish;
mod replay;
mod row;
mod saved;
mod sequence;
mod sessions;
mod stop;
mod systems;
mod tables;
mod threshold;
mod watch;

use std::sync::Arc;

use ecs::{KeyIndex, Schedule};
use netloop::Slot;
use wire::{DeviceId, SensorType, Tier};

use crate::capture::Frame;
use crate::interval::Interval;
use crate::order::OrderPort;
use crate::stats::{TierTotals, TwinStats};

pub use account::{Ingress, Outcomes, Reason, balance};
pub use actuator::{ACTUATOR_ID, Actuators, CommandEnds, Moment, Setpoint};
pub use aggregate::Aggregate;
pub use automation::{Automation, Rule, StopRule};
pub use command::{AnswerCounts, Target, answer};
pub use component::{
    ActuatorState, ActuatorStatus, Link, Live, SensorKey, Smoothed, WINDOW_VALUES, Window,
};
pub use fault::{Fault, FaultOptions, Injected};
pub use fold::{Folded, RowMut, fold};
pub use lanes::{Lane, LaneCapacities, Lanes, lanes};
pub use ledger::{Cause, Hop, TierLedger};
pub use options::WorldOptions;
pub use row::{ROWS_MAX, RowRef};
pub use saved::{Saved, SavedError};
pub use sequence::{AHEAD_MAX, SEEN_BITS, Sighting, observe};
pub use sessions::{Losses, Sessions};
pub use stop::StopTally;
pub use threshold::{Direction, Level, Limits};
pub use watch::Watch;

use ages::Ages;
use apply::Part;
use digest::Digest;
use ledger::Ledger;
use order::OpenOrders;
use stop::Stops;
use systems::Step;
use tables::{Hot, Rows, Touched};

/// Records that a ring gives at once: 20 KiB of lines where they came in batches, which stay in L1 from the first look at them
/// to the last. The worker gets the room back after each.
const STEP_RECORDS: usize = 512;

/// A session that does not answer a stop is asked again so often in a second.
const STOPS_HZ: u64 = 4;

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

/// The mirrored plant: its rows, everything around them, and the systems that bring them up to date.
pub struct World {
    ecs: ecs::World,
    plant: Plant,
    schedule: Schedule<Step>,
}

/// Everything of the plant that is not a row.
struct Plant {
    options: WorldOptions,
    hot: Hot,
    touched: Touched,
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
    digest: Digest,
    stats: Arc<TwinStats>,
    interval: Box<Interval>,
    ledger: Ledger,
    ages: Ages,
    watch: Option<Watch>,
    stops: Stops,
    open_orders: OpenOrders,
    orders_port: Option<OrderPort>,
}

impl World {
    /// An empty world that publishes into `stats` and records latencies into `interval`.
    #[must_use]
    pub fn new(options: WorldOptions, stats: Arc<TwinStats>, interval: Box<Interval>) -> Self {
        let plant = Plant {
            hot: Hot::new(),
            touched: Touched::new(),
            index: KeyIndex::new(options.index_secrets, options.entities_max),
            sessions: Sessions::new(options.sessions_max),
            stops: Stops::new(options.sessions_max, u64::from(options.hz).div_ceil(STOPS_HZ)),
            open_orders: OpenOrders::new(),
            orders_port: None,
            part: Part::new(),
            outcomes: [Outcomes::default(); Tier::COUNT],
            answers: AnswerCounts::default(),
            actuators: Actuators::new(u64::from(options.hz)),
            automation: Automation::new(
                options.rules.clone(),
                options.stop_rules.clone(),
                options.entities_max,
            ),
            fault: Fault::new(&options.fault),
            faulted: Vec::with_capacity(STEP_RECORDS),
            crossings: Vec::with_capacity(CROSSINGS_MAX),
            crossing_counts: [[0; 2]; SensorType::COUNT],
            losses: Losses::default(),
            relink: false,
            next_second_tick: u64::from(options.hz),
            digest: Digest::default(),
            ledger: Ledger::new(options.hz, options.outlier_us),
            ages: Ages::new(options.hz),
            options,
            stats,
            interval,
            watch: None,
        };
        Self { ecs: tables::empty(), plant, schedule: systems::schedule() }
    }

    /// Shows rows and sessions to whoever holds the other end of the watch's exchange. Asked for before the first tick.
    pub fn attach(&mut self, watch: Watch) {
        self.plant.watch = Some(watch);
    }

    /// Takes orders, and the stop, from whoever holds the other end. Asked for before the first tick.
    pub fn command(&mut self, orders: OrderPort) {
        self.plant.orders_port = Some(orders);
    }

    /// Keeps no times of records from now on: in a replay they mean nothing.
    pub const fn keep_no_times(&mut self) {
        self.plant.ledger.close();
    }

    /// Tells how much later than it was due the next tick begins, in nanoseconds: what keeps a record is told by it.
    pub const fn note_late(&mut self, late_ns: u64) {
        self.plant.ledger.note_late(late_ns);
    }

    /// One tick, the `tick`-th of the schedule. `clock` tells the time in nanoseconds since the Unix epoch; it is asked
    /// between two systems, and within them once for every few hundred records.
    pub fn tick(&mut self, lanes: &mut Lanes, tick: u64, clock: &mut dyn FnMut() -> u64) {
        let began_ns = clock();
        let room = self.run(lanes, tick, (began_ns, clock), None);
        if let Some(tap) = &mut lanes.tap {
            let digest = self.plant.next_digest(&self.ecs);
            tap.end_tick(tick, began_ns, digest, room as u64);
        }
    }

    /// One tick of a capture, of which it makes the same rows; gives its digest. `lanes` are those that lead nowhere.
    pub fn replay(&mut self, lanes: &mut Lanes, frame: &Frame<'_>) -> u64 {
        let began_ns = frame.began_ns;
        self.run(lanes, frame.tick, (began_ns, &mut || began_ns), Some(frame));
        self.plant.next_digest(&self.ecs)
    }

    /// Runs the systems, and gives the room that the rules had for commands.
    fn run(
        &mut self,
        lanes: &mut Lanes,
        tick: u64,
        (began_ns, clock): (u64, &mut dyn FnMut() -> u64),
        frame: Option<&Frame<'_>>,
    ) -> usize {
        self.plant.crossings.clear();
        self.plant.ledger.begin_tick(began_ns);
        let plant = &mut self.plant;
        let mut moment = systems::Tick { plant, lanes, tick, clock, began_ns, room: 0, frame };
        self.schedule.run_timed(&mut self.ecs, &mut moment, tick, |moment| (moment.clock)());
        let room = moment.room;
        let ended_ns = (moment.clock)();
        self.plant.ledger.end_tick(ended_ns);
        for (system, to) in self.schedule.systems().iter().zip(&self.plant.stats.systems) {
            to.set(&system.times());
        }
        room
    }

    /// The sensor of this name, if the world has it.
    #[must_use]
    pub fn sensor(&self, device: DeviceId, sensor_id: u16) -> Option<Sensor> {
        let row = self.plant.index.find(key_of(device, sensor_id))?;
        let sensor_type = row.sensor_type()?;
        let (live, smoothed) = (*self.ecs.value(row), self.ecs.value::<Smoothed>(row).0);
        Some(Sensor { sensor_type, live, smoothed })
    }

    /// The actuator of this name, if the world has it.
    #[must_use]
    pub fn actuator(&self, device: DeviceId, actuator_id: u16) -> Option<ActuatorState> {
        let row = self.plant.index.find(key_of(device, actuator_id))?;
        row.is_actuator().then(|| *self.ecs.value(row))
    }

    /// Sensors and actuators.
    #[must_use]
    pub fn entities(&self) -> usize {
        self.ecs.len()
    }

    /// The thresholds crossed in the latest tick, the first few thousand of them.
    #[must_use]
    pub fn crossings(&self) -> &[Crossing] {
        &self.plant.crossings
    }

    /// Crossings since the start, by direction.
    #[must_use]
    pub const fn crossing_counts(&self, sensor_type: SensorType) -> [u64; 2] {
        self.plant.crossing_counts[sensor_type.index()]
    }

    /// What became of the records of a tier.
    #[must_use]
    pub const fn outcomes(&self, tier: Tier) -> &Outcomes {
        &self.plant.outcomes[tier.index()]
    }

    /// What the hops of the records of a tier took.
    #[must_use]
    pub const fn ledger(&self, tier: Tier) -> &TierLedger {
        self.plant.ledger.tier(tier)
    }

    /// How commands to devices ended.
    #[must_use]
    pub const fn command_ends(&self) -> CommandEnds {
        self.plant.actuators.ends()
    }

    /// The account of a tier as it stands: exact when worker and rings rest.
    #[must_use]
    pub fn totals(&self, tier: Tier, lanes: &Lanes) -> TierTotals {
        let losses = self.plant.sessions.losses();
        balance(tier, self.outcomes(tier), &self.plant.ingress(tier, lanes), &losses)
    }

    /// Whether fault injection holds records back that a later tick will apply.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.plant.fault.as_ref().is_some_and(|fault| fault.held(0) + fault.held(1) > 0)
    }

    /// Publishes everything at once, for the last time or for the first.
    pub fn settle(&mut self, lanes: &Lanes) {
        self.plant.handle_second(&self.ecs);
        self.plant.publish(&self.ecs, lanes);
    }

    /// The latencies since the last exchange; the tick thread exchanges them about once a second.
    pub const fn interval_mut(&mut self) -> &mut Box<Interval> {
        &mut self.plant.interval
    }

    /// Ends the world and gives its last latencies.
    #[must_use]
    pub fn into_interval(self) -> Box<Interval> {
        self.plant.interval
    }

    /// Memory of rows, index and session tables, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let Plant { index, sessions, .. } = &self.plant;
        self.ecs.memory_bytes() + index.memory_bytes() + sessions.memory_bytes()
    }

    /// The systems of a tick in their order, with what they touch and how long they took.
    #[must_use]
    pub fn schedule(&self) -> impl std::fmt::Display {
        &self.schedule
    }

    /// A number that two worlds share when all their rows are equal, bit for bit.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        self.ecs.state_hash()
    }
}

/// The key of a sensor or actuator in the index.
fn key_of(device: DeviceId, sensor_id: u16) -> ecs::SensorKey {
    ecs::SensorKey { device: device.0, sensor: sensor_id }
}
