//! What a sensor carries, and how a record is folded into it. The same code for every library.
//!
//! Two groupings: [`Raw`] and [`Hot`] apart, as one would first write it, and [`Live`], both in one cache line, as one
//! writes it after a look at what a random update costs. The window is a cache line of its own either way.

use bytemuck::{Pod, Zeroable};

use super::plant::Record;

/// Values in a window.
const WINDOW_VALUES: usize = 16;

/// Reciprocals, so that a mean costs a multiplication.
const PER_COUNT: [f64; WINDOW_VALUES + 1] = {
    let mut table = [0.0; WINDOW_VALUES + 1];
    let mut count = 1;
    while count <= WINDOW_VALUES {
        table[count] = 1.0 / count as f64;
        count += 1;
    }
    table
};

/// The width of the band in which a level holds on, below the upper threshold and above the lower one.
const HYSTERESIS: f32 = 2.0;

/// The newest value of a sensor.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Raw {
    /// The value.
    pub value: f64,
    /// When it was taken, in nanoseconds.
    pub time_ns: u64,
    /// The number of its record.
    pub seq: u32,
    spare: u32,
}

/// The last values.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Window(pub [f32; WINDOW_VALUES]);

/// State of the window and of the thresholds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Hot {
    sum: f64,
    low: f32,
    high: f32,
    head: u8,
    filled: u8,
    level: u8,
    spare: [u8; 5],
}

/// [`Raw`] and [`Hot`] in one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Live {
    /// The newest value.
    pub raw: Raw,
    /// The states.
    pub hot: Hot,
    spare: [u64; 2],
}

const _: () = assert!(size_of::<Window>() == 64 && size_of::<Live>() == 64, "a cache line each");

impl Raw {
    /// What a record says.
    #[must_use]
    #[inline]
    pub const fn of(record: &Record) -> Self {
        Self { value: record.value, time_ns: record.time_ns, seq: record.seq, spare: 0 }
    }
}

impl Hot {
    /// A row that waits for its first value.
    #[must_use]
    pub const fn new(low: f32, high: f32) -> Self {
        Self { sum: 0.0, low, high, head: 0, filled: 0, level: 0, spare: [0; 5] }
    }

    /// Takes a value into the window and returns the new mean.
    #[inline]
    pub fn push(&mut self, window: &mut Window, value: f64) -> f32 {
        let value = value as f32;
        let head = usize::from(self.head) % WINDOW_VALUES;
        // Values are whole parts of 256, so that the running sum is exact.
        self.sum += f64::from(value) - f64::from(window.0[head]);
        window.0[head] = value;
        self.head = ((head + 1) % WINDOW_VALUES) as u8;
        self.filled += u8::from(usize::from(self.filled) < WINDOW_VALUES);
        (self.sum * PER_COUNT[usize::from(self.filled) % PER_COUNT.len()]) as f32
    }

    /// Moves the level to where `mean` belongs, and says whether that is another one.
    #[inline]
    pub fn step(&mut self, mean: f32) -> bool {
        let level = if mean > self.high {
            2
        } else if mean < self.low {
            1
        } else if (self.level == 2 && mean > self.high - HYSTERESIS)
            || (self.level == 1 && mean < self.low + HYSTERESIS)
        {
            self.level
        } else {
            0
        };
        let crossed = level != self.level;
        self.level = level;
        crossed
    }

    /// 0 between the thresholds, 1 below, 2 above.
    #[must_use]
    #[inline]
    pub const fn level(&self) -> u8 {
        self.level
    }
}

impl Live {
    /// A row with its first value.
    #[must_use]
    pub fn new(raw: Raw, hot: Hot) -> Self {
        Self { raw, hot, spare: [0; 2] }
    }

    /// Folds a record into the row: the new mean, and whether it crossed a threshold.
    #[inline]
    pub fn fold(&mut self, window: &mut Window, record: &Record) -> (f32, bool) {
        self.raw = Raw::of(record);
        let mean = self.hot.push(window, record.value);
        (mean, self.hot.step(mean))
    }
}
