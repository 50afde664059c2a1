//! The components of the twin: plain old data, in whole cache lines where a record touches them.
//!
//! A sensor is [`Live`] + [`Window`] + [`Smoothed`] + [`SensorKey`] + [`Link`] and the tag of its type; an actuator is
//! [`ActuatorState`] + [`SensorKey`] + [`Link`]. The type is part of the archetype, so an aggregate is a straight run.
//! Together 156 bytes a sensor, two lines and a word of which a record writes. The numeric ids are the schema of
//! snapshots: they never change their meaning.

use bytemuck::{Pod, Zeroable};
use ecs::{Component, Track};
use wire::{DeviceId, SensorType};

/// Values in the rolling mean.
pub const WINDOW_VALUES: usize = 16;

/// What a record writes first: the value, its time, and the memory of sequence numbers. One cache line.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Live {
    /// Latest raw value, in the unit of the sensor type.
    pub value: f64,
    /// Intended send time of the latest value, in microseconds since the Unix epoch.
    pub ts_us: u64,
    /// When the twin received the latest value, in nanoseconds since the Unix epoch.
    pub recv_ns: u64,
    /// Sum of the window.
    pub sum: f64,
    /// For T1 and T2: which of the 64 numbers below the highest were seen.
    pub seen: [u64; 2],
    /// For T1 and T2: the highest sequence number.
    pub highest: [u32; 2],
    /// Boot of the device that the sequence numbers belong to.
    pub epoch: u32,
    /// Where the next value goes in the window.
    pub head: u8,
    /// Values in the window.
    pub filled: u8,
    /// A [`Level`](super::Level) as a byte.
    pub level: u8,
    /// Bit 0 for T1, bit 1 for T2: a sequence number was seen in this epoch. Above them three bits for each: numbers ahead of
    /// the highest whose records were of another type.
    pub started: u8,
}

/// The latest values, as a ring. One cache line.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Window(pub [f32; WINDOW_VALUES]);

/// Rolling mean of the window. A column of its own, so that aggregates read four bytes a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Smoothed(pub f32);

/// Which sensor or actuator of the plant it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct SensorKey {
    /// The device.
    pub device: DeviceId,
    /// Which of the device's sensors.
    pub sensor_id: u16,
    /// A [`SensorType`] as a byte.
    pub sensor_type: u8,
    /// Zero.
    pub zero: u8,
}

/// The session through which it was last resolved: the way back to its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Link(pub u32);

/// An actuator as the twin knows it.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct ActuatorState {
    /// The setpoint that was last asked for.
    pub requested: f64,
    /// The setpoint that the device last acknowledged.
    pub acknowledged: f64,
    /// When the last command was sent, in nanoseconds since the Unix epoch.
    pub sent_ns: u64,
    /// Tick in which the last command was sent.
    pub sent_tick: u64,
    /// Names the last command; comes back with its ack.
    pub tag: u32,
    /// Sequence number of the last command.
    pub seq: u32,
    /// Boot of the device that the last command went to: another boot has forgotten it.
    pub epoch: u32,
    /// An [`ActuatorStatus`] as a number.
    pub status: u32,
}

/// How the last command to an actuator stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ActuatorStatus {
    /// There was none.
    Idle = 0,
    /// Sent, and not yet answered.
    Pending = 1,
    /// The device holds the setpoint.
    Acknowledged = 2,
    /// The device refused it, or its stream was reset.
    Failed = 3,
    /// No answer came within the deadline.
    Expired = 4,
}

impl SensorKey {
    /// The key of a sensor.
    #[must_use]
    pub const fn new(device: DeviceId, sensor_id: u16, sensor_type: SensorType) -> Self {
        Self { device, sensor_id, sensor_type: sensor_type as u8, zero: 0 }
    }
}

const _: () = assert!(size_of::<Live>() == 64, "a record touches one line of it");
const _: () = assert!(size_of::<Window>() == 64, "a record touches one line of it");
const _: () = assert!(size_of::<SensorKey>() == 20);
const _: () = assert!(size_of::<ActuatorState>() == 48);

/// Names a component for the world: its number in the schema, and which changes of it are remembered.
macro_rules! components {
    ($($name:ident = $id:literal, $track:ident;)*) => {
        $(impl Component for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
            const TRACK: Track = Track::$track;
        })*
    };
}

components! {
    Live = 0, None;
    Window = 1, None;
    Smoothed = 2, Rows;
    SensorKey = 3, None;
    Link = 4, None;
    ActuatorState = 5, Rows;
}

/// The tag of one sensor type; it has no bytes.
macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
        #[repr(C)]
        pub(super) struct $name;

        impl Component for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
            const TRACK: Track = Track::None;
        })*
    };
}

tags! {
    /// Its values have no unit.
    Generic = 16;
    /// It measures degrees Celsius.
    Temperature = 17;
    /// It measures percent of relative humidity.
    Humidity = 18;
    /// It measures kilopascal.
    Pressure = 19;
    /// It measures volt.
    Voltage = 20;
    /// It measures ampere.
    Current = 21;
}
