//! What a sensor carries, and how a record is folded into it. The same code for every library.
//!
//! Two groupings: [`Raw`], [`Ring`] and [`Limits`] apart, a component for each meaning, as one would first write it, and
//! [`Row`], all of them in two cache lines side by side, as one writes it after a look at what a random update costs.

use bytemuck::{Pod, Zeroable};

use super::plant::{Record, Sensor};

/// Values in a window.
const WINDOW_VALUES: usize = 16;

/// Reciprocals, so that a mean costs a multiplication; as many as make the index a mask.
const PER_COUNT: [f64; 2 * WINDOW_VALUES] = {
    let mut table = [0.0; 2 * WINDOW_VALUES];
    let mut count = 1;
    while count <= WINDOW_VALUES {
        table[count] = 1.0 / count as f64;
        count += 1;
    }
    table
};

/// The width of the band in which a level holds on, below the upper threshold and above the lower one.
const HYSTERESIS: f32 = 2.0;

/// Levels; 0 lies between them.
const BELOW: u8 = 1;
const ABOVE: u8 = 2;

/// How far the lower threshold is raised, and the upper one lowered, at each level.
const BANDS: [[f32; 2]; 4] = [[0.0, 0.0], [HYSTERESIS, 0.0], [0.0, HYSTERESIS], [0.0, 0.0]];

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

/// State of a window: where the next value goes, and what the mean is made of.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Ring {
    sum: f64,
    head: u8,
    filled: u8,
    spare: [u8; 6],
}

/// Two thresholds, and where the mean is between them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Limits {
    low: f32,
    high: f32,
    level: u8,
    spare: [u8; 3],
}

/// State of the window and of the thresholds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Hot {
    /// Of the window.
    pub ring: Ring,
    /// Of the thresholds.
    pub limits: Limits,
    spare: [u8; 4],
}

/// [`Raw`] and [`Hot`] in one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Live {
    /// The newest value.
    pub raw: Raw,
    /// The states.
    pub hot: Hot,
    spare: u64,
}

/// All that a record writes but the mean, in two lines side by side, which processors fetch together where the first has an
/// even number. Libraries that align their columns are asked for that.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Row {
    /// The newest value and the states.
    pub live: Live,
    /// The last values.
    pub window: Window,
}

const _: () = assert!(size_of::<Window>() == 64 && size_of::<Live>() == 64, "a cache line each");
const _: () = assert!(size_of::<Row>() == 128, "no more than its two lines");

impl Raw {
    /// What a record says.
    #[must_use]
    #[inline]
    pub const fn of(record: &Record) -> Self {
        Self { value: record.value, time_ns: record.time_ns, seq: record.seq, spare: 0 }
    }
}

impl Ring {
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
}

impl Limits {
    /// Moves the level to where `mean` belongs, and says whether that is another one. A level is left on the other side of
    /// a band, which is narrow enough that no mean is in both. No branches: which level a mean belongs to cannot be
    /// predicted.
    #[inline]
    pub fn step(&mut self, mean: f32) -> bool {
        let [raise, lower] = BANDS[usize::from(self.level) % BANDS.len()];
        let above = u8::from(mean > self.high - lower);
        let below = u8::from(mean < self.low + raise);
        let level = ABOVE * above + BELOW * below;
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

impl Hot {
    /// A row that waits for its first value.
    #[must_use]
    pub fn new(low: f32, high: f32) -> Self {
        Self::of(Ring::zeroed(), Limits { low, high, level: 0, spare: [0; 3] })
    }

    /// The states of a row that keeps them apart.
    #[must_use]
    pub const fn of(ring: Ring, limits: Limits) -> Self {
        Self { ring, limits, spare: [0; 4] }
    }

    /// 0 between the thresholds, 1 below, 2 above.
    #[must_use]
    #[inline]
    pub const fn level(&self) -> u8 {
        self.limits.level()
    }
}

impl Live {
    /// A row with its first value.
    #[must_use]
    pub fn new(raw: Raw, hot: Hot) -> Self {
        Self { raw, hot, spare: 0 }
    }
}

impl Row {
    /// The row of a sensor as it enters the world.
    #[must_use]
    pub const fn of(sensor: &Sensor) -> Self {
        Self { live: sensor.live, window: sensor.window }
    }

    /// Folds a record into the row: the new mean, and whether it crossed a threshold.
    #[inline]
    pub fn fold(&mut self, record: &Record) -> (f32, bool) {
        self.live.raw = Raw::of(record);
        let mean = self.live.hot.ring.push(&mut self.window, record.value);
        (mean, self.live.hot.limits.step(mean))
    }
}
