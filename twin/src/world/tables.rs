//! The rows of the plant: one archetype for each sensor type, one for actuators.
//!
//! The archetypes are made at the start, so that a [`RowRef`] names its row by the type alone.

use ecs::{Changed, Component, Query, Tracked, TrackedSlice, WorldHash, prefetch_read};
use wire::SensorType;

use super::component::{
    ActuatorState, Current, Generic, Humidity, Link, Live, Pressure, SensorKey, Smoothed,
    Temperature, Voltage, Window,
};
use super::fold::RowMut;
use super::row::RowRef;
use super::threshold::Limits;

type SensorBundle<Tag> = (Live, Window, Smoothed, SensorKey, Link, Tag);
type ActuatorBundle = (ActuatorState, SensorKey, Link);

/// The columns that a record writes, of all sensor types.
pub(super) type Hot = Query<(&'static mut Live, &'static mut Window, Tracked<Smoothed>)>;

/// The sensors that a record has touched since [`Rows::clear_changed`].
pub(super) type Touched = Query<(&'static Smoothed,), Changed<Smoothed>>;

/// Index of the archetype of actuators; those before it are of the sensor types.
const ACTUATORS: usize = SensorType::COUNT;

/// Calls a generic function with the tag of a sensor type.
macro_rules! with_tag {
    ($sensor_type:expr, $call:ident($($argument:expr),*)) => {
        match $sensor_type {
            SensorType::Generic => $call::<Generic>($($argument),*),
            SensorType::Temperature => $call::<Temperature>($($argument),*),
            SensorType::Humidity => $call::<Humidity>($($argument),*),
            SensorType::Pressure => $call::<Pressure>($($argument),*),
            SensorType::Voltage => $call::<Voltage>($($argument),*),
            SensorType::Current => $call::<Current>($($argument),*),
        }
    };
}

/// A world with the archetypes of the plant and no row.
pub(super) fn empty() -> ecs::World {
    let mut ecs = ecs::World::new();
    for sensor_type in SensorType::ALL {
        let archetype = with_tag!(sensor_type, archetype_of(&mut ecs));
        assert_eq!(archetype as usize, sensor_type.index(), "types are the first archetypes");
    }
    let archetype = ecs.archetype_of_bundle::<ActuatorBundle>();
    assert_eq!(archetype as usize, ACTUATORS, "actuators follow the sensor types");
    ecs
}

/// A world's rows by [`RowRef`].
pub(super) trait Rows {
    /// The row that the next sensor of a type will have.
    fn next_sensor(&self, sensor_type: SensorType) -> RowRef;

    /// The row that the next actuator will have.
    fn next_actuator(&self) -> RowRef;

    /// Adds the sensor that a record is the first of.
    fn spawn_sensor(&mut self, key: SensorKey, sensor_type: SensorType, epoch: u32, session: u32);

    /// Adds an actuator that was never commanded.
    fn spawn_actuator(&mut self, key: SensorKey, session: u32);

    /// A component of a row that carries it.
    fn value<T: Component>(&self, row: RowRef) -> &T;

    /// A component of a row that carries it, to write.
    fn value_mut<T: Component>(&mut self, row: RowRef) -> &mut T;

    /// The smoothed values of a sensor type, in row order.
    fn smoothed(&self, sensor_type: SensorType) -> &[Smoothed];

    /// Forgets which sensors and actuators were touched.
    fn clear_changed(&mut self);

    /// A hash of every byte of every row.
    fn state_hash(&self) -> u64;
}

impl Rows for ecs::World {
    fn next_sensor(&self, sensor_type: SensorType) -> RowRef {
        RowRef::sensor(sensor_type, self.archetypes()[sensor_type.index()].len())
    }

    fn next_actuator(&self) -> RowRef {
        RowRef::actuator(self.archetypes()[ACTUATORS].len())
    }

    fn spawn_sensor(&mut self, key: SensorKey, sensor_type: SensorType, epoch: u32, session: u32) {
        with_tag!(sensor_type, spawn_tagged(self, key, epoch, session));
    }

    fn spawn_actuator(&mut self, key: SensorKey, session: u32) {
        let state: ActuatorState = bytemuck::Zeroable::zeroed();
        let bundle: ActuatorBundle = (state, key, Link(session));
        self.spawn(bundle);
    }

    fn value<T: Component>(&self, row: RowRef) -> &T {
        let values = self.archetypes()[archetype(row)].values().expect(CARRIED);
        &values[row.row()]
    }

    fn value_mut<T: Component>(&mut self, row: RowRef) -> &mut T {
        let entity = self.archetypes()[archetype(row)].entities()[row.row()];
        self.component_mut(entity).expect(CARRIED)
    }

    fn smoothed(&self, sensor_type: SensorType) -> &[Smoothed] {
        self.archetypes()[sensor_type.index()].values().expect(CARRIED)
    }

    fn clear_changed(&mut self) {
        self.drain_changed::<Smoothed>(|_| {});
        self.drain_changed::<ActuatorState>(|_| {});
    }

    fn state_hash(&self) -> u64 {
        WorldHash::default().of(self)
    }
}

/// Visits every touched sensor with its smoothed value.
pub(super) fn each_touched(
    touched: &mut Touched,
    ecs: &mut ecs::World,
    mut visit: impl FnMut(SensorType, RowRef, f32),
) {
    touched.chunks(ecs, |chunk| {
        let sensor_type = SensorType::ALL[chunk.archetype as usize];
        let (smoothed,) = chunk.slices;
        for row in chunk.rows {
            let at = RowRef::sensor(sensor_type, chunk.first_row as usize + row);
            visit(sensor_type, at, smoothed[row].0);
        }
    });
}

fn archetype(row: RowRef) -> usize {
    row.sensor_type().map_or(ACTUATORS, SensorType::index)
}

const CARRIED: &str = "the archetype carries the component because its bundle names it";

/// Tables that a record's row is looked for in: those of the sensor types, and empty ones, so that the number of any row
/// finds one without a question.
const HOT_TABLES: usize = SensorType::COUNT.next_power_of_two();

/// The columns of a sensor type that a record writes.
type HotColumns<'w> = (&'w mut [Live], &'w mut [Window], TrackedSlice<'w, Smoothed>);

/// What a record of one sensor type writes, and its thresholds.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct HotTable<'w> {
    pub(super) live: &'w mut [Live],
    pub(super) window: &'w mut [Window],
    pub(super) smoothed: TrackedSlice<'w, Smoothed>,
    pub(super) limits: Limits,
}

/// What a record of any sensor type writes.
pub(super) struct HotTables<'w>([HotTable<'w>; HOT_TABLES]);

impl HotTable<'_> {
    /// What a record writes of a row, which counts as changed from now on, and its thresholds; nothing where there is no such
    /// row.
    #[inline(always)]
    pub(super) fn row_mut(&mut self, row: usize) -> Option<(RowMut<'_>, &Limits)> {
        let live = self.live.get_mut(row)?;
        let window = self.window.get_mut(row)?;
        Some((RowMut { live, window, smoothed: self.smoothed.row_mut(row) }, &self.limits))
    }
}

impl<'w> HotTables<'w> {
    /// Takes the columns of the sensor types, which are the first archetypes of a view.
    pub(super) fn new(
        columns: &mut [Option<HotColumns<'w>>],
        limits: &[Limits; SensorType::COUNT],
    ) -> Self {
        let mut tables: [HotTable<'w>; HOT_TABLES] = std::array::from_fn(|_| HotTable::default());
        for ((table, columns), limits) in tables.iter_mut().zip(columns).zip(limits) {
            if let Some((live, window, smoothed)) = columns.take() {
                *table = HotTable { live, window, smoothed, limits: *limits };
            }
        }
        Self(tables)
    }

    /// The table of a row; an empty one for what is no row of a sensor.
    #[inline]
    pub(super) fn of(&mut self, row: RowRef) -> &mut HotTable<'w> {
        &mut self.0[row.table() % HOT_TABLES]
    }

    /// Starts to fetch the lines of a row that a record will write.
    #[inline]
    pub(super) fn prefetch(&self, row: RowRef) {
        let table = &self.0[row.table() % HOT_TABLES];
        prefetch_read(table.live, row.row());
        prefetch_read(table.window, row.row());
        prefetch_read(&table.smoothed, row.row());
    }
}

fn archetype_of<Tag: Component>(ecs: &mut ecs::World) -> u32 {
    ecs.archetype_of_bundle::<SensorBundle<Tag>>()
}

fn spawn_tagged<Tag: Component>(ecs: &mut ecs::World, key: SensorKey, epoch: u32, session: u32) {
    let (window, tag) = bytemuck::Zeroable::zeroed();
    let live = Live::new(epoch);
    let bundle: SensorBundle<Tag> = (live, window, Smoothed(0.0), key, Link(session), tag);
    ecs.spawn(bundle);
}
