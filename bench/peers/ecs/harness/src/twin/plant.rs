//! The sensors of a plant and the records that they send: made from numbers, the same in every run and every library.

use bytemuck::Zeroable;

use super::row::{Hot, Live, Raw, Window};
use crate::key::{Key, Random};

/// Sensors of one device.
pub const SENSORS_PER_DEVICE: usize = 16;
/// Kinds of sensors; a device has two of each.
pub const KINDS: usize = 8;

/// Records that are made ahead, at most: 40 MiB, more than a cache holds, so that reading them costs what it does in life.
const RECORDS_MAX: usize = 1 << 20;
/// Ticks that are made ahead, at most.
const TICKS_MAX: usize = 1_024;

/// Thresholds of every sensor. Ordinary values keep the mean between them, one excursion in a window lifts it out.
const LOW: f32 = 52.0;
const HIGH: f32 = 76.0;

/// What a device sends: 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The name of the sensor.
    pub key: Key,
    /// The number of the record.
    pub seq: u32,
    /// The value.
    pub value: f64,
    /// When it was taken, in nanoseconds.
    pub time_ns: u64,
}

const _: () = assert!(size_of::<Record>() == 40);

/// How many sensors there are. Sensor `n` belongs to device `n / 16` and is of kind `n % 8`.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    /// All sensors.
    pub sensors: usize,
}

/// A sensor as it enters the world: one value has come.
#[derive(Clone, Copy, Debug)]
pub struct Sensor {
    /// Its name.
    pub key: Key,
    /// Its kind, below [`KINDS`].
    pub kind: usize,
    /// Its newest value and its states.
    pub live: Live,
    /// Its window.
    pub window: Window,
    /// The mean of the window.
    pub mean: f32,
}

impl Plant {
    /// Devices of the plant.
    #[must_use]
    pub const fn devices(self) -> usize {
        self.sensors.div_ceil(SENSORS_PER_DEVICE)
    }

    /// The name of sensor `n`.
    #[must_use]
    pub fn key(self, n: usize) -> Key {
        let mut random = Random((n / SENSORS_PER_DEVICE) as u64 ^ 0x7069_6c6f_7400_0000);
        let device = bytemuck::cast([random.next(), random.next()]);
        Key { device, sensor: (n % SENSORS_PER_DEVICE) as u16 }
    }

    /// Sensor `n` with its first value.
    #[must_use]
    pub fn sensor(self, n: usize) -> Sensor {
        let key = self.key(n);
        let mut random = Random(n as u64);
        let record = Record { key, seq: 0, value: value(&mut random), time_ns: 1 };
        let mut window = Window::zeroed();
        let mut hot = Hot::new(LOW, HIGH);
        let mean = hot.ring.push(&mut window, record.value);
        hot.limits.step(mean);
        Sensor { key, kind: n % KINDS, live: Live::new(Raw::of(&record), hot), window, mean }
    }

    /// All sensors.
    pub fn all(self) -> impl ExactSizeIterator<Item = Sensor> + Clone {
        (0..self.sensors).map(move |n| self.sensor(n))
    }

    /// The sensors of one kind.
    pub fn of_kind(self, kind: usize) -> impl ExactSizeIterator<Item = Sensor> + Clone {
        (kind..self.sensors).step_by(KINDS).map(move |n| self.sensor(n))
    }

    /// Records of as many ticks as fit, `updates` in each, of sensors that are drawn without replacement within a tick.
    #[must_use]
    pub fn records(self, updates: usize) -> Vec<Record> {
        let ticks = RECORDS_MAX.checked_div(updates).unwrap_or(0).min(TICKS_MAX);
        let mut random = Random(updates as u64);
        let mut sensors: Vec<u32> = (0..self.sensors as u32).collect();
        let mut records = Vec::with_capacity(ticks * updates);
        for tick in 0..ticks {
            for place in 0..updates {
                sensors.swap(place, place + random.below(self.sensors - place));
                records.push(Record {
                    key: self.key(sensors[place] as usize),
                    seq: tick as u32 + 1,
                    value: value(&mut random),
                    time_ns: records.len() as u64 + 2,
                });
            }
        }
        records
    }
}

/// Between 56 and 72 in steps of 1/256, and one in 64 far above, so that about three records in a hundred cross a threshold.
fn value(random: &mut Random) -> f64 {
    let bits = random.next();
    let ordinary = 56.0 + (bits >> 52) as f64 / 256.0;
    if bits.is_multiple_of(64) { 512.0 } else { ordinary }
}
