//! The twin as a bevy_ecs world: an entity for each sensor, and three systems in a fixed order.
//!
//! Ingest finds the entity by (device, sensor), writes the raw value and creates what is new; the
//! rolling mean and the threshold crossings then look at what changed. The last record of a sensor
//! within one tick wins, which is what change detection gives: the window sees one value a tick.

use bevy_ecs::{prelude::*, schedule::SingleThreadedExecutor};
use bevy_platform::collections::{HashMap, hash_map::Entry};
use tokio::sync::mpsc::error::TryRecvError;
use uuid::Uuid;

use crate::{
    feed::{Receivers, T1Item},
    meter::Meter,
    record::{Record, SENSOR_TYPES},
};

/// Values in the rolling window.
const WINDOW: usize = 16;

/// Lower and upper threshold of each sensor type: generic, temperature (°C), humidity (%), pressure
/// (hPa), voltage (V), current (A). Crossings are counted; nothing is switched by them.
const THRESHOLDS: [(f64, f64); SENSOR_TYPES] =
    [(10.0, 90.0), (5.0, 80.0), (20.0, 80.0), (950.0, 1_050.0), (207.0, 253.0), (0.5, 16.0)];

/// Which device the entity belongs to.
#[derive(Component)]
#[expect(dead_code, reason = "the identity of the entity, for tools that this build has not")]
pub(crate) struct DeviceId(Uuid);

/// Which sensor of the device the entity is.
#[derive(Component)]
#[expect(dead_code, reason = "the identity of the entity, for tools that this build has not")]
pub(crate) struct SensorId(u16);

/// What the sensor measures: 0 to 5.
#[derive(Component)]
pub(crate) struct SensorType(u8);

/// Marks entities that stand for a physical asset.
#[derive(Component)]
pub(crate) struct Asset;

/// The last record of the sensor.
#[derive(Component)]
pub(crate) struct Raw {
    value: f64,
    #[expect(
        dead_code,
        reason = "written for every record, for exporters that this build has not"
    )]
    ts_us: u64,
    #[expect(
        dead_code,
        reason = "written for every record, for exporters that this build has not"
    )]
    seq: u32,
}

/// Rolling mean of the last [`WINDOW`] values.
#[derive(Component, Default)]
pub(crate) struct Smoothed {
    window: [f64; WINDOW],
    next: usize,
    count: usize,
    mean: f64,
}

/// Where the mean lies with respect to the thresholds of its type.
#[derive(Component, Default, PartialEq)]
pub(crate) enum Zone {
    /// Below the lower one.
    Low,
    /// Between both.
    #[default]
    Normal,
    /// Above the upper one.
    High,
}

/// (device, sensor) to entity.
#[derive(Default, Resource)]
pub(crate) struct Registry(HashMap<(Uuid, u16), Entity>);

impl Registry {
    /// Sensors known so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Threshold crossings since the start: out of the normal zone and back.
#[derive(Default, Resource)]
pub(crate) struct Crossings(pub(crate) u64);

/// The receiving ends of the channels, and how much of them a tick may take.
#[derive(Resource)]
pub(crate) struct Inbox {
    receivers: Receivers,
    drain_max: usize,
    /// All senders are gone and all channels are empty.
    pub(crate) finished: bool,
}

/// A world with its schedule.
pub(crate) struct Twin {
    /// Entities and resources.
    pub(crate) world: World,
    /// The three systems.
    pub(crate) schedule: Schedule,
}

/// An empty twin that drains at most `drain_max` records a tick.
pub(crate) fn new(receivers: Receivers, drain_max: u32) -> Twin {
    let mut world = World::new();
    world.insert_resource(Inbox { receivers, drain_max: drain_max as usize, finished: false });
    world.insert_resource(Meter::new());
    world.init_resource::<Registry>();
    world.init_resource::<Crossings>();
    let mut schedule = Schedule::default();
    schedule.add_systems((ingest, rolling_mean, threshold_crossings).chain());
    // Three systems, each of which waits for the one before: a task pool could only add hand-overs.
    schedule.set_executor(SingleThreadedExecutor::new());
    Twin { world, schedule }
}

/// Drains T3, then T2, then T1, within one budget.
fn ingest(
    mut inbox: ResMut<Inbox>,
    mut registry: ResMut<Registry>,
    mut meter: ResMut<Meter>,
    mut rows: Query<&mut Raw>,
    mut commands: Commands,
) {
    let Inbox { receivers, drain_max, finished } = &mut *inbox;
    let mut drain = Drain { left: *drain_max, opened: false, closed: 0 };
    while let Some(command) = drain.next(|| receivers.t3.try_recv(), &mut meter) {
        upsert(&command.record, &mut registry, &mut rows, &mut commands);
        meter.applied += 1;
        drain.spend(1);
        // A client that left in between has no use for the ack.
        let _ = command.reply.send(command.record);
    }
    while let Some(record) = drain.next(|| receivers.t2.try_recv(), &mut meter) {
        upsert(&record, &mut registry, &mut rows, &mut commands);
        meter.applied += 1;
        drain.spend(1);
    }
    while let Some(item) = drain.next(|| receivers.t1.try_recv(), &mut meter) {
        let (records, received) = match &item {
            T1Item::Record(record, received) => (std::slice::from_ref(record), *received),
            T1Item::Datagram(records, received) => (records.as_slice(), *received),
        };
        for record in records {
            upsert(record, &mut registry, &mut rows, &mut commands);
        }
        meter.record_t1(received, records.iter().map(|record| record.ts_us));
        drain.spend(records.len());
    }
    *finished = drain.closed == 3;
}

/// One tick's walk over the channels. Without the budget, senders that are faster than the tick
/// would keep it for ever.
struct Drain {
    left: usize,
    opened: bool,
    closed: usize,
}

impl Drain {
    /// The next item of a channel, or `None` when it is empty or the budget is spent.
    fn next<T>(
        &mut self,
        try_recv: impl FnOnce() -> Result<T, TryRecvError>,
        meter: &mut Meter,
    ) -> Option<T> {
        if self.left == 0 {
            return None;
        }
        match try_recv() {
            Ok(item) => {
                if !std::mem::replace(&mut self.opened, true) {
                    meter.open();
                }
                Some(item)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.closed += 1;
                None
            }
        }
    }

    /// Takes `records` from the budget.
    fn spend(&mut self, records: usize) {
        self.left = self.left.saturating_sub(records);
    }
}

/// Writes a record to its entity, which is created when the sensor is new.
fn upsert(
    record: &Record,
    registry: &mut Registry,
    rows: &mut Query<&mut Raw>,
    commands: &mut Commands,
) {
    let raw = Raw { value: record.value, ts_us: record.ts_us, seq: record.seq };
    match registry.0.entry((record.device, record.sensor_id)) {
        Entry::Occupied(entry) => match rows.get_mut(*entry.get()) {
            Ok(mut row) => *row = raw,
            // Spawned earlier in this tick: the entity gets its components when the commands are
            // applied.
            Err(_) => {
                commands.entity(*entry.get()).insert(raw);
            }
        },
        Entry::Vacant(entry) => {
            let sensor = (
                DeviceId(record.device),
                SensorId(record.sensor_id),
                SensorType(record.sensor_type),
                raw,
                Smoothed::default(),
                Zone::default(),
                Asset,
            );
            entry.insert(commands.spawn(sensor).id());
        }
    }
}

/// Folds each changed value into its window.
fn rolling_mean(mut rows: Query<(&Raw, &mut Smoothed), Changed<Raw>>) {
    for (raw, mut smoothed) in &mut rows {
        let next = smoothed.next;
        smoothed.window[next] = raw.value;
        smoothed.next = (next + 1) % WINDOW;
        smoothed.count = (smoothed.count + 1).min(WINDOW);
        smoothed.mean =
            smoothed.window[..smoothed.count].iter().sum::<f64>() / smoothed.count as f64;
    }
}

/// Assets whose mean moved since the last tick.
type ChangedAsset = (Changed<Smoothed>, With<Asset>);

/// Counts the means that entered or left the normal zone of their type.
fn threshold_crossings(
    mut rows: Query<(&SensorType, &Smoothed, &mut Zone), ChangedAsset>,
    mut crossings: ResMut<Crossings>,
) {
    for (sensor_type, smoothed, mut zone) in &mut rows {
        let (low, high) = THRESHOLDS[usize::from(sensor_type.0)];
        let seen = match smoothed.mean {
            mean if mean < low => Zone::Low,
            mean if mean > high => Zone::High,
            _ => Zone::Normal,
        };
        if zone.set_if_neq(seen) {
            crossings.0 += 1;
        }
    }
}
