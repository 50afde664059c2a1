//! The load: records of a plant in the order of its sensors, each with the time at which it was due.
//!
//! Open-loop when it has a rate: the records of a device are due together, it sleeps until the next device is, both as in the
//! product's generator, and a transport that stalls meets all that became due meanwhile, with its old times. How late records
//! are handed over is part of its report.

use std::time::Duration;

use hdrhistogram::Histogram;
use netloop::{Clock, process_cpu};
use wire::{DeviceId, RECORD_BYTES, Reading, Record, SensorType};

use crate::args::Shape;

/// Sensors of a device.
const SENSORS: u32 = 5;
/// How late a load is, in nanoseconds, needs no more digits and no greater value.
const LATENESS_DIGITS: u8 = 2;
const LATENESS_NS_MAX: u64 = 60_000_000_000;

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
    /// When the clock was looked at.
    now_ns: u64,
    length_ns: u64,
    rate: Option<f64>,
    batch: usize,
    sensors: u32,
    sent: u64,
    lateness_ns: Histogram<u64>,
    cpu_before_ns: u64,
}

impl Source {
    /// A load that begins now: its sender is connected, as that of Pollux is when its load begins.
    #[must_use]
    pub fn begin(shape: &Shape) -> Self {
        let clock = Clock::new();
        let start_ns = clock.now().unix_ns;
        let length_ns = shape.duration_s * 1_000_000_000;
        let (rate, batch, sensors) = (shape.rate, shape.batch.max(1), shape.sensors.max(1));
        let lateness_ns = Histogram::new_with_max(LATENESS_NS_MAX, LATENESS_DIGITS)
            .expect("the bounds are right because they are constants");
        let cpu_before_ns = cpu_ns();
        Self {
            clock,
            start_ns,
            now_ns: start_ns,
            length_ns,
            rate,
            batch,
            sensors,
            sent: 0,
            lateness_ns,
            cpu_before_ns,
        }
    }

    /// Looks at the clock and writes the next payload, if one is due.
    pub fn poll(&mut self, payload: &mut Vec<u8>) -> Due {
        self.look();
        self.take(payload)
    }

    /// Looks at the clock.
    pub fn look(&mut self) {
        self.now_ns = self.clock.now().unix_ns;
    }

    /// Writes the next payload, if one was due at the last look: whoever writes many together looks once for all.
    pub fn take(&mut self, payload: &mut Vec<u8>) -> Due {
        payload.clear();
        let now_ns = self.now_ns;
        let elapsed_ns = now_ns.saturating_sub(self.start_ns);
        if elapsed_ns >= self.length_ns {
            return Due::Over;
        }
        for _ in 0..self.batch {
            let intended_ns = match self.rate {
                Some(rate) => self.intended_ns(rate),
                None => now_ns,
            };
            if intended_ns > now_ns {
                break;
            }
            if self.rate.is_some() {
                self.lateness_ns.saturating_record(now_ns - intended_ns);
            }
            payload.extend_from_slice(self.next(intended_ns).as_bytes());
        }
        if payload.is_empty() { Due::Later } else { Due::Payload }
    }

    /// Rests until the next record is due, or the time is over.
    pub fn rest(&self) {
        let Some(rate) = self.rate else { return };
        let until_ns = self.intended_ns(rate).min(self.start_ns + self.length_ns);
        let length_ns = until_ns.saturating_sub(self.clock.now().unix_ns);
        if length_ns > 0 {
            std::thread::sleep(Duration::from_nanos(length_ns));
        }
    }

    /// When the next record is due: all of a device together.
    fn intended_ns(&self, rate: f64) -> u64 {
        let before = self.sent - self.sent % u64::from(SENSORS);
        self.start_ns + (before as f64 / rate * 1e9) as u64
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
        let cpu_ns = cpu_ns() - self.cpu_before_ns;
        let summary = serde_json::json!({
            "sent": self.sent,
            "duration_s": shape.duration_s,
            "cpu_ns_per_record": cpu_ns as f64 / self.sent.max(1) as f64,
            "latency_ns": { "lateness": {
                "p50": self.lateness_ns.value_at_quantile(0.5),
                "p99": self.lateness_ns.value_at_quantile(0.99),
                "max": self.lateness_ns.max(),
            } },
        });
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

/// CPU time of the process so far.
fn cpu_ns() -> u64 {
    let (user_ns, system_ns) = process_cpu();
    user_ns + system_ns
}
