//! The rows of the plant: one archetype for each sensor type, one for actuators.
//!
//! The archetypes are made at the start, so that a [`RowRef`] names its row by the type alone. Rows are reserved in steps
//! of an eighth, because a doubled column of a large plant would hold as much unused memory as it holds rows.

use std::hash::Hasher;

use ecs::{Bundle, Changed, Component, Query, Tracked, TrackedSlice, View, prefetch_read};
use netloop::Slot;
use wire::SensorType;

use super::component::{
    ActuatorState, Current, Generic, Humidity, Link, Live, Pressure, SensorKey, Smoothed,
    Temperature, Voltage, Window,
};
use super::row::RowRef;

type SensorBundle<Tag> = (Live, Window, Smoothed, SensorKey, Link, Tag);
type ActuatorBundle = (ActuatorState, SensorKey, Link);
type HotTerms = (&'static mut Live, &'static mut Window, Tracked<Smoothed>);

/// Index of the archetype of actuators; those before it are of the sensor types.
const ACTUATORS: usize = SensorType::COUNT;

/// Rows reserved at once, at least and at most.
const STEP_ROWS_MIN: usize = 256;
const STEP_ROWS_MAX: usize = 1 << 16;

/// The rows, by [`RowRef`].
pub(super) struct Tables {
    ecs: ecs::World,
    hot: Query<HotTerms>,
    changed: Query<(&'static Smoothed,), Changed<Smoothed>>,
    /// Rows reserved, by archetype.
    reserved: [usize; SensorType::COUNT + 1],
}

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

impl Tables {
    pub(super) fn new() -> Self {
        let mut ecs = ecs::World::new();
        for sensor_type in SensorType::ALL {
            let archetype = with_tag!(sensor_type, archetype_of(&mut ecs));
            assert_eq!(archetype as usize, sensor_type.index(), "types are the first archetypes");
        }
        let archetype = ecs.archetype_of_bundle::<ActuatorBundle>();
        assert_eq!(archetype as usize, ACTUATORS, "actuators follow the sensor types");
        Self { ecs, hot: Query::new(), changed: Query::new(), reserved: [0; SensorType::COUNT + 1] }
    }

    pub(super) fn len(&self) -> usize {
        self.ecs.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.ecs.memory_bytes()
    }

    /// The row that the next sensor of a type will have.
    pub(super) fn next_sensor(&self, sensor_type: SensorType) -> RowRef {
        RowRef::sensor(sensor_type, self.ecs.archetypes()[sensor_type.index()].len())
    }

    /// The row that the next actuator will have.
    pub(super) fn next_actuator(&self) -> RowRef {
        RowRef::actuator(self.ecs.archetypes()[ACTUATORS].len())
    }

    /// Adds the sensor that a record is the first of.
    pub(super) fn spawn_sensor(&mut self, key: SensorKey, sensor_type: SensorType, slot: &Slot) {
        let reserved = &mut self.reserved[sensor_type.index()];
        let ecs = &mut self.ecs;
        with_tag!(sensor_type, spawn_tagged(ecs, reserved, key, slot));
    }

    /// Adds an actuator that was never commanded.
    pub(super) fn spawn_actuator(&mut self, key: SensorKey, session: u32) {
        let state: ActuatorState = bytemuck::Zeroable::zeroed();
        let reserved = &mut self.reserved[ACTUATORS];
        spawn(&mut self.ecs, reserved, (state, key, Link(session)));
    }

    pub(super) fn live(&self, row: RowRef) -> &Live {
        self.value(row)
    }

    pub(super) fn live_mut(&mut self, row: RowRef) -> &mut Live {
        self.value_mut(row)
    }

    pub(super) fn key(&self, row: RowRef) -> SensorKey {
        *self.value(row)
    }

    pub(super) fn link(&self, row: RowRef) -> u32 {
        self.value::<Link>(row).0
    }

    pub(super) fn actuator(&self, row: RowRef) -> &ActuatorState {
        self.value(row)
    }

    pub(super) fn set_link(&mut self, row: RowRef, session: u32) {
        *self.value_mut(row) = Link(session);
    }

    pub(super) fn actuator_mut(&mut self, row: RowRef) -> &mut ActuatorState {
        self.value_mut(row)
    }

    /// The smoothed values of a sensor type, in row order.
    pub(super) fn smoothed(&self, sensor_type: SensorType) -> &[Smoothed] {
        let archetype = &self.ecs.archetypes()[sensor_type.index()];
        archetype.values().expect(CARRIED)
    }

    /// The columns that a record writes, of all sensor types.
    pub(super) fn hot(&mut self) -> Hot<'_> {
        Hot { view: self.hot.view(&mut self.ecs) }
    }

    /// Visits every sensor that a record has touched since the last [`Tables::clear_changed`].
    pub(super) fn each_changed(&mut self, mut visit: impl FnMut(SensorType, RowRef, f32)) {
        self.changed.chunks(&mut self.ecs, |chunk| {
            let sensor_type = SensorType::ALL[chunk.archetype as usize];
            let (smoothed,) = chunk.slices;
            for row in chunk.rows {
                visit(sensor_type, RowRef::sensor(sensor_type, row), smoothed[row].0);
            }
        });
    }

    /// The tables themselves: those of the sensor types in their order, then that of the actuators.
    pub(super) fn archetypes(&self) -> &[ecs::Archetype] {
        self.ecs.archetypes()
    }

    /// Forgets which sensors and actuators were touched.
    pub(super) fn clear_changed(&mut self) {
        self.ecs.drain_changed::<Smoothed>(|_| {});
        self.ecs.drain_changed::<ActuatorState>(|_| {});
    }

    /// A hash of every byte of every row.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = Fold::default();
        for archetype in self.ecs.archetypes() {
            hasher.write_u64(archetype.len() as u64);
            for column in archetype.columns() {
                hasher.write(column.bytes());
            }
        }
        hasher.finish()
    }

    fn archetype(row: RowRef) -> usize {
        row.sensor_type().map_or(ACTUATORS, SensorType::index)
    }

    fn value<T: Component>(&self, row: RowRef) -> &T {
        let values = self.ecs.archetypes()[Self::archetype(row)].values().expect(CARRIED);
        &values[row.row()]
    }

    fn value_mut<T: Component>(&mut self, row: RowRef) -> &mut T {
        let entity = self.ecs.archetypes()[Self::archetype(row)].entities()[row.row()];
        self.ecs.component_mut(entity).expect(CARRIED)
    }
}

const CARRIED: &str = "the archetype carries the component because its bundle names it";

/// The columns that a record writes, of all sensor types.
pub(super) struct Hot<'w> {
    view: View<'w, HotTerms>,
}

/// The columns of the sensor type of the same index; further archetypes have none.
pub(super) type HotColumns<'w> =
    Option<(&'w mut [Live], &'w mut [Window], TrackedSlice<'w, Smoothed>)>;

impl<'w> Hot<'w> {
    pub(super) fn columns(&mut self) -> &mut [HotColumns<'w>] {
        self.view.all_slices()
    }
}

/// Starts to fetch the lines of a row that a record will write.
#[inline]
pub(super) fn prefetch_row(columns: &[HotColumns<'_>], row: RowRef) {
    if let Some(Some((live, window, _))) = columns.get(row.table()) {
        prefetch_read(live, row.row());
        prefetch_read(window, row.row());
    }
}

fn archetype_of<Tag: Component>(ecs: &mut ecs::World) -> u32 {
    ecs.archetype_of_bundle::<SensorBundle<Tag>>()
}

fn spawn_tagged<Tag: Component>(
    ecs: &mut ecs::World,
    reserved: &mut usize,
    key: SensorKey,
    slot: &Slot,
) {
    let (window, tag) = bytemuck::Zeroable::zeroed();
    let live = Live::new(slot.epoch);
    let bundle: SensorBundle<Tag> = (live, window, Smoothed(0.0), key, Link(slot.session), tag);
    spawn(ecs, reserved, bundle);
}

fn spawn<B: Bundle>(ecs: &mut ecs::World, reserved: &mut usize, bundle: B) {
    let archetype = ecs.archetype_of_bundle::<B>() as usize;
    let rows = ecs.archetypes()[archetype].len();
    if rows == *reserved {
        let step = (rows / 8).clamp(STEP_ROWS_MIN, STEP_ROWS_MAX);
        ecs.reserve::<B>(step);
        *reserved = rows + step;
    }
    ecs.spawn(bundle);
}

/// Multiply and fold over words: fast over megabytes, and any bit reaches every other.
#[derive(Debug, Default)]
struct Fold(u64);

/// The golden ratio in 64 bits: odd, and without a pattern.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let word = u64::from_ne_bytes(word.try_into().expect("a chunk has eight bytes"));
            self.write_u64(word);
        }
        for &byte in words.remainder() {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        self.0 = ((product >> 64) as u64 ^ product as u64).wrapping_add(MULTIPLIER);
    }
}
