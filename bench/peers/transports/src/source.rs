//! The load: records of a plant in the order of its sensors, each with the time at which it was due.
//!
//! Open-loop when it has a rate: a transport that stalls meets all that became due meanwhile, with its old times.

use std::time::Duration;

use netloop::Clock;
use wire::{DeviceId, RECORD_BYTES, Reading, Record, SensorType};

use crate::args::Shape;

/// Sensors of a device.
const SENSORS: u32 = 5;
/// Pause when nothing is due: short beside a tick of a millisecond, long beside a wake-up.
const PAUSE: Duration = Duration::from_micros(100);

/// What a look at the load gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A payload was written.
    Payload,
    /// Nothing is due yet: flush, and rest.
    Later,
    /// The time is over.
    Over,
}

/// A load in progress.
pub struct Source {
    clock: Clock,
    start_ns: u64,
    length_ns: u64,
    rate: Option<f64>,
    batch: usize,
    sensors: u32,
    sent: u64,
}

impl Source {
    /// A load that begins now.
    #[must_use]
    pub fn begin(shape: &Shape) -> Self {
        let clock = Clock::new();
        let start_ns = clock.now().unix_ns;
        let length_ns = shape.duration_s * 1_000_000_000;
        let (rate, batch, sensors) = (shape.rate, shape.batch.max(1), shape.sensors.max(1));
        Self { clock, start_ns, length_ns, rate, batch, sensors, sent: 0 }
    }

    /// Writes the next payload, if one is due.
    pub fn poll(&mut self, payload: &mut Vec<u8>) -> Due {
        payload.clear();
        let now_ns = self.clock.now().unix_ns;
        let elapsed_ns = now_ns.saturating_sub(self.start_ns);
        if elapsed_ns >= self.length_ns {
            return Due::Over;
        }
        let due = match self.rate {
            Some(rate) => ((elapsed_ns as f64 / 1e9 * rate) as u64).saturating_sub(self.sent),
            None => self.batch as u64,
        };
        if due == 0 {
            return Due::Later;
        }
        for _ in 0..due.min(self.batch as u64) {
            let intended_ns = match self.rate {
                Some(rate) => self.start_ns + (self.sent as f64 / rate * 1e9) as u64,
                None => now_ns,
            };
            payload.extend_from_slice(self.next(intended_ns).as_bytes());
        }
        Due::Payload
    }

    /// Rests until more is due.
    pub fn rest(&self) {
        std::thread::sleep(PAUSE);
    }

    /// Records so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Most bytes of a payload.
    #[must_use]
    pub const fn payload_max(&self) -> usize {
        self.batch * RECORD_BYTES
    }

    /// Says what was sent, in the form of the generator of Pollux.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn report(&self, shape: &Shape) -> std::io::Result<()> {
        let Some(folder) = &shape.report else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        let summary = serde_json::json!({ "sent": self.sent, "duration_s": shape.duration_s });
        std::fs::write(folder.join("summary.json"), format!("{summary:#}\n"))
    }

    fn next(&mut self, intended_ns: u64) -> Record {
        let sensor = (self.sent % u64::from(self.sensors)) as u32;
        let seq = (self.sent / u64::from(self.sensors)) as u32;
        self.sent += 1;
        let (device, sensor_id) = (sensor / SENSORS, (sensor % SENSORS) as u16);
        let mut name = [0x5a; 16];
        name[..4].copy_from_slice(&device.to_be_bytes());
        const TYPES: [SensorType; SENSORS as usize] = [
            SensorType::Temperature,
            SensorType::Humidity,
            SensorType::Pressure,
            SensorType::Voltage,
            SensorType::Current,
        ];
        Record::encode(&Reading {
            device: DeviceId(name),
            sensor_id,
            value: 20.0 + f64::from(seq % 16),
            ts_us: intended_ns / 1000,
            seq,
            sensor_type: TYPES[usize::from(sensor_id)],
        })
    }
}
