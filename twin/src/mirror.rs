//! The cold thread's copy of the plant, kept by the pictures of the tick thread.
//!
//! Sensors have a number here, in the order in which they were named: pages and lists of operators count by it. It stays
//! while anybody looks; after the plant was forgotten and is asked for anew, they may be named in another order. The copy is
//! as old as the latest picture, some 33 ms; it refuses to be written by anybody but [`Mirror::apply`].

use std::collections::{HashMap, VecDeque};

use wire::{DeviceId, SensorType};

use crate::picture::{Picture, ShownCrossing, ShownSession};
use crate::world::{ActuatorState, Direction, RowRef, SensorKey};

/// Crossings remembered, the latest ones.
const CROSSINGS_MAX: usize = 4096;

/// A sensor as it stood in the latest picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sensor {
    /// Number of its device.
    pub device: u32,
    /// Which of the device's sensors.
    pub sensor_id: u16,
    /// What it measures.
    pub sensor_type: SensorType,
    /// A [`Level`](crate::world::Level) as a byte.
    pub level: u8,
    /// Rolling mean, in the unit of the type.
    pub smoothed: f32,
    /// Latest raw value, in the unit of the type.
    pub value: f64,
    /// Intended send time of that value, in microseconds since the Unix epoch.
    pub ts_us: u64,
    /// When the twin received it, in nanoseconds since the Unix epoch; 0 before the first value was shown.
    pub recv_ns: u64,
    /// The picture that touched it last.
    pub picture: u64,
    /// When that was handed over, in nanoseconds since the Unix epoch.
    pub shown_ns: u64,
}

/// An actuator as it stood in the latest picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Actuator {
    /// Its device, its number there and its type.
    pub key: SensorKey,
    /// What was asked of it and what it holds.
    pub state: ActuatorState,
}

/// A device: whoever the sensors name.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its name.
    pub id: DeviceId,
    /// Its sensors, by number.
    pub sensors: Vec<u32>,
    /// Its actuators, by their place in [`Mirror::actuators`].
    pub actuators: Vec<u32>,
}

/// A threshold that was crossed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossing {
    /// Counts all crossings that were shown, from 1.
    pub number: u64,
    /// The sensor.
    pub row: RowRef,
    /// Which way.
    pub direction: Direction,
    /// The smoothed value that crossed.
    pub smoothed: f32,
    /// Intended send time of the record that did it, in microseconds since the Unix epoch.
    pub ts_us: u64,
}

/// What is kept while somebody looks.
#[derive(Debug, Default)]
struct Plant {
    /// Pictures are followed since one that began.
    is_followed: bool,
    is_complete: bool,
    sensors: Vec<Sensor>,
    actuators: Vec<Actuator>,
    devices: Vec<Device>,
    /// Numbers by table and row.
    numbers: [Vec<u32>; SensorType::COUNT],
    device_numbers: HashMap<DeviceId, u32>,
    changed: Vec<u32>,
}

/// The plant as the latest picture left it.
#[derive(Debug, Default)]
pub struct Mirror {
    plant: Plant,
    sessions: Vec<Option<ShownSession>>,
    crossings: VecDeque<Crossing>,
    crossings_seen: u64,
    crossings_left_out: u64,
    pictures: u64,
    tick: u64,
    at_ns: u64,
    rows_waiting: u64,
    rows_lag_ns: u64,
}

impl Mirror {
    /// Takes a picture in. The pictures of one world are given in their order.
    pub fn apply(&mut self, picture: &Picture) {
        self.pictures += 1;
        (self.tick, self.at_ns) = (picture.tick, picture.at_ns);
        (self.rows_waiting, self.rows_lag_ns) = (picture.rows_waiting, picture.rows_lag_ns);
        if picture.begins {
            self.plant = Plant { is_followed: true, ..Plant::default() };
        }
        if self.plant.is_followed {
            self.plant.apply(picture, self.pictures);
        }
        for shown in &picture.sessions {
            let place = shown.session.place();
            if place >= self.sessions.len() {
                self.sessions.resize(place + 1, None);
            }
            self.sessions[place] = Some(*shown);
        }
        self.apply_crossings(picture);
    }

    /// Forgets sensors, actuators and devices, until a picture begins with them anew.
    pub fn forget_plant(&mut self) {
        self.plant = Plant::default();
    }

    fn apply_crossings(&mut self, picture: &Picture) {
        self.crossings_left_out += picture.crossings_left_out;
        for shown in &picture.crossings {
            self.crossings_seen += 1;
            if self.crossings.len() == CROSSINGS_MAX {
                self.crossings.pop_front();
            }
            let (number, &ShownCrossing { row, direction, smoothed, ts_us }) =
                (self.crossings_seen, shown);
            self.crossings.push_back(Crossing { number, row, direction, smoothed, ts_us });
        }
    }

    /// Whether every sensor and actuator is here that there was when it was asked for.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.plant.is_complete
    }

    /// The number of the sensor in a row, once it has its name here.
    #[must_use]
    pub fn number(&self, row: RowRef) -> Option<u32> {
        self.plant.number(row)
    }

    /// All sensors, by number.
    #[must_use]
    pub fn sensors(&self) -> &[Sensor] {
        &self.plant.sensors
    }

    /// All actuators.
    #[must_use]
    pub fn actuators(&self) -> &[Actuator] {
        &self.plant.actuators
    }

    /// All devices, by number.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.plant.devices
    }

    /// The device of this name, with its number.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.plant.device_numbers.get(&id).map(|&number| &self.plant.devices[number as usize])
    }

    /// The number of a sensor.
    #[must_use]
    pub fn sensor(&self, device: DeviceId, sensor_id: u16) -> Option<u32> {
        let sensors = &self.device(device)?.sensors;
        sensors.iter().copied().find(|&n| self.plant.sensors[n as usize].sensor_id == sensor_id)
    }

    /// The sensor of a device that was heard last: it knows the session through which the device reports now.
    #[must_use]
    pub fn heard_last(&self, device: &Device) -> Option<&Sensor> {
        let sensors = device.sensors.iter().map(|&number| &self.plant.sensors[number as usize]);
        sensors.max_by_key(|sensor| sensor.recv_ns)
    }

    /// An actuator of a device.
    #[must_use]
    pub fn actuator(&self, device: DeviceId, actuator_id: u16) -> Option<&Actuator> {
        let actuators = self.device(device)?.actuators.iter();
        actuators
            .map(|&at| &self.plant.actuators[at as usize])
            .find(|a| a.key.sensor_id == actuator_id)
    }

    /// The device of a sensor.
    #[must_use]
    pub fn device_of(&self, sensor: &Sensor) -> DeviceId {
        self.plant.devices[sensor.device as usize].id
    }

    /// The sessions that are open, and those that closed and whose place nobody has taken since.
    pub fn sessions(&self) -> impl Iterator<Item = &ShownSession> {
        self.sessions.iter().flatten()
    }

    /// The latest crossings, the oldest first.
    pub fn crossings(&self) -> impl DoubleEndedIterator<Item = &Crossing> {
        self.crossings.iter()
    }

    /// The latest crossings with their sensors, the oldest first: those whose sensors have their names here.
    pub fn named_crossings(&self) -> impl DoubleEndedIterator<Item = (&Crossing, &Sensor)> {
        self.crossings.iter().filter_map(|crossing| {
            let number = self.number(crossing.row)?;
            Some((crossing, &self.plant.sensors[number as usize]))
        })
    }

    /// Crossings that were shown so far, and those that found no room.
    #[must_use]
    pub const fn crossing_counts(&self) -> (u64, u64) {
        (self.crossings_seen, self.crossings_left_out)
    }

    /// The sensors that the latest picture touched, by number, each once.
    #[must_use]
    pub fn changed(&self) -> &[u32] {
        &self.plant.changed
    }

    /// Pictures taken in so far.
    #[must_use]
    pub const fn pictures(&self) -> u64 {
        self.pictures
    }

    /// The tick of the latest picture.
    #[must_use]
    pub const fn tick(&self) -> u64 {
        self.tick
    }

    /// When the latest picture was handed over, in nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// Sensors whose latest values were still waiting for room in it.
    #[must_use]
    pub const fn rows_waiting(&self) -> u64 {
        self.rows_waiting
    }

    /// How old the information about a sensor is, in nanoseconds, counted from the intended send time of its value; from its
    /// receipt where the clock of the device is ahead, so that a sensor which is dead does not look fresh until ours catches up.
    /// What came before our clock was set back is as old as that is ahead, for the same reason.
    ///
    /// A sensor that was shown a moment ago may have changed since, without its turn having come: its age is taken as it
    /// was when it was shown. One whose turn has come and gone has not changed.
    #[must_use]
    pub fn age_ns(&self, sensor: &Sensor) -> u64 {
        let since_ns = self.at_ns.checked_sub(sensor.shown_ns);
        let waits = since_ns.is_some_and(|since_ns| since_ns <= self.rows_lag_ns);
        let at_ns = if waits { sensor.shown_ns } else { self.at_ns };
        at_ns.abs_diff(sensor.ts_us.saturating_mul(1000).min(sensor.recv_ns))
    }
}

impl Plant {
    fn apply(&mut self, picture: &Picture, number_of_picture: u64) {
        self.is_complete = picture.is_complete;
        for name in &picture.names {
            self.name(name.row, &name.key);
        }
        self.changed.clear();
        for shown in &picture.rows {
            let number = self.number(shown.row).expect("a row is named before it is shown");
            let sensor = &mut self.sensors[number as usize];
            if sensor.picture != number_of_picture {
                sensor.picture = number_of_picture;
                self.changed.push(number);
            }
            sensor.shown_ns = picture.at_ns;
            (sensor.smoothed, sensor.value) = (shown.smoothed, shown.value);
            (sensor.ts_us, sensor.recv_ns, sensor.level) =
                (shown.ts_us, shown.recv_ns, shown.level);
        }
        for shown in &picture.actuators {
            self.actuators[shown.row.row()].state = shown.state;
        }
    }

    fn name(&mut self, row: RowRef, key: &SensorKey) {
        let device = self.device_number(key.device);
        let Some(sensor_type) = row.sensor_type() else {
            self.devices[device as usize].actuators.push(self.actuators.len() as u32);
            let state = bytemuck::Zeroable::zeroed();
            self.actuators.push(Actuator { key: *key, state });
            return;
        };
        let number = self.sensors.len() as u32;
        let numbers = &mut self.numbers[sensor_type.index()];
        assert_eq!(numbers.len(), row.row(), "rows are named in their order");
        numbers.push(number);
        self.devices[device as usize].sensors.push(number);
        self.sensors.push(Sensor {
            device,
            sensor_id: key.sensor_id,
            sensor_type,
            level: 0,
            smoothed: 0.0,
            value: 0.0,
            ts_us: 0,
            recv_ns: 0,
            picture: 0,
            shown_ns: 0,
        });
    }

    fn device_number(&mut self, id: DeviceId) -> u32 {
        let devices = &mut self.devices;
        *self.device_numbers.entry(id).or_insert_with(|| {
            devices.push(Device { id, sensors: Vec::new(), actuators: Vec::new() });
            devices.len() as u32 - 1
        })
    }

    fn number(&self, row: RowRef) -> Option<u32> {
        self.numbers[row.sensor_type()?.index()].get(row.row()).copied()
    }
}
