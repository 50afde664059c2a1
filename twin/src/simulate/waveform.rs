//! What a sensor shows: a swing, a slow drift and noise, around a level that suits its type.
//!
//! A value follows from time and sequence number alone. There is no state to advance, so a sensor that is read late, or
//! on two tiers, still shows one physical quantity. No table and no transcendental function: a few nanoseconds a value.

use wire::SensorType;

use super::seeded::Seeded;

/// The curve of one sensor.
#[derive(Debug, Clone, Copy)]
pub struct Waveform {
    /// Turns per microsecond, in units of 2^-64: multiplied by a time it wraps to the phase by itself.
    step: u64,
    phase: u32,
    sensor_type: SensorType,
}

/// The form that all sensors of a type share, in the unit of the type.
struct Shape {
    level: f64,
    swing: f64,
    drift: f64,
    noise: f64,
    period_us: u64,
}

/// Inside the default thresholds of the twin, but for the peaks of temperature: those cross the upper one now and then.
const SHAPES: [Shape; SensorType::COUNT] = [
    Shape { level: 0.0, swing: 1.0, drift: 0.2, noise: 0.01, period_us: 10_000_000 },
    Shape { level: 60.0, swing: 15.0, drift: 8.0, noise: 0.15, period_us: 60_000_000 },
    Shape { level: 45.0, swing: 12.0, drift: 6.0, noise: 0.2, period_us: 90_000_000 },
    Shape { level: 300.0, swing: 40.0, drift: 20.0, noise: 0.5, period_us: 20_000_000 },
    Shape { level: 230.0, swing: 6.0, drift: 4.0, noise: 0.1, period_us: 12_000_000 },
    Shape { level: 12.0, swing: 6.0, drift: 3.0, noise: 0.05, period_us: 8_000_000 },
];

/// The drift is so many powers of two slower than the swing.
const DRIFT_SHIFT: u32 = 4;

impl Waveform {
    /// A curve of the type, with a phase and a pace of its own.
    #[must_use]
    pub fn new(sensor_type: SensorType, seeded: &mut Seeded) -> Self {
        let period_us = SHAPES[sensor_type.index()].period_us as f64 * (0.8 + 0.4 * seeded.unit());
        Self {
            step: (2.0_f64.powi(64) / period_us) as u64,
            phase: seeded.next() as u32,
            sensor_type,
        }
    }

    /// What the sensor measures.
    #[must_use]
    pub const fn sensor_type(&self) -> SensorType {
        self.sensor_type
    }

    /// The value at a time since the Unix epoch; `seq` chooses the noise.
    #[inline]
    #[must_use]
    pub fn value(&self, ts_us: u64, seq: u32) -> f64 {
        let shape = &SHAPES[self.sensor_type.index()];
        let turned = (ts_us.wrapping_mul(self.step) >> 32) as u32;
        let drifted = (ts_us.wrapping_mul(self.step >> DRIFT_SHIFT) >> 32) as u32;
        let noise = (seq ^ self.phase).wrapping_mul(0x9e37_79b1);
        let noise = (noise ^ (noise >> 15)).wrapping_mul(0x85eb_ca6b);
        shape.level
            + shape.swing * wave(turned.wrapping_add(self.phase))
            + shape.drift * wave(drifted.wrapping_sub(self.phase))
            + shape.noise * signed_unit(noise)
    }
}

/// Two parabolas that meet smoothly: within 6 % of a sine, without one.
#[inline]
fn wave(phase: u32) -> f64 {
    let x = signed_unit(phase);
    4.0 * x * (1.0 - x.abs())
}

/// All 32 bits as a number from -1.0 up to but not including 1.0.
#[inline]
fn signed_unit(bits: u32) -> f64 {
    f64::from(bits as i32) * (1.0 / 2_147_483_648.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_inside_the_shape_and_use_most_of_it() {
        for sensor_type in SensorType::ALL {
            let waveform = Waveform::new(sensor_type, &mut Seeded::new(7, 0));
            let shape = &SHAPES[sensor_type.index()];
            let reach = shape.swing + shape.drift + shape.noise;
            let start_us = 1_700_000_000_000_000;
            let values = (0..20_000)
                .map(|at| waveform.value(start_us + u64::from(at) * shape.period_us / 500, at));
            let (low, high) = values
                .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
            assert!(low >= shape.level - reach && high <= shape.level + reach, "{sensor_type}");
            assert!(high - low >= 1.8 * shape.swing, "{sensor_type}: {low} to {high}");
        }
    }

    #[test]
    fn neighbouring_values_are_near_each_other() {
        let waveform = Waveform::new(SensorType::Temperature, &mut Seeded::new(3, 0));
        let start_us = 1_700_000_000_000_000_u64;
        for at in 0..100_000_u32 {
            let ts_us = start_us + u64::from(at) * 10_000;
            let gap = (waveform.value(ts_us, at) - waveform.value(ts_us + 10_000, at + 1)).abs();
            // Ten milliseconds of the steepest swing and drift are 0.015 degrees; the rest is noise.
            assert!(gap < 0.35, "at {at}: {gap}");
        }
    }

    #[test]
    fn a_seed_names_its_curve() {
        let curve = |seed| Waveform::new(SensorType::Current, &mut Seeded::new(seed, 0));
        let ts_us = 1_700_000_000_123_456;
        assert_eq!(curve(5).value(ts_us, 9), curve(5).value(ts_us, 9));
        assert_ne!(curve(5).value(ts_us, 9), curve(6).value(ts_us, 9));
    }
}
