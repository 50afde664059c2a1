//! Count, mean, least and greatest of many values.

/// Values that are added side by side, so that the compiler keeps them in vectors.
const LANES: usize = 32;
/// Values added in `f32` before they go into `f64`: 64 a lane. The first values of sensors are whole parts of 256 up to 512,
/// so that these sums need 24 bits and are exact.
const BLOCK: usize = 64 * LANES;

/// Of the smoothed values of one kind. The sum is exact for sensors that have one value, in any order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregate {
    /// How many.
    pub count: u64,
    /// Their sum; the mean is this over the count.
    pub sum: f64,
    /// The least.
    pub min: f32,
    /// The greatest.
    pub max: f32,
}

impl Aggregate {
    /// Of no values.
    pub const EMPTY: Self = Self { count: 0, sum: 0.0, min: f32::INFINITY, max: f32::NEG_INFINITY };

    /// Adds one value.
    #[inline]
    pub fn add(&mut self, value: f32) {
        self.count += 1;
        self.sum += f64::from(value);
        self.min = least(self.min, value);
        self.max = greatest(self.max, value);
    }

    /// Adds the values of a column, each taken out of its row by `value`.
    pub fn add_column<T>(&mut self, rows: &[T], value: impl Fn(&T) -> f32 + Copy) {
        let mut min = [self.min; LANES];
        let mut max = [self.max; LANES];
        let mut blocks = rows.chunks_exact(BLOCK);
        for block in &mut blocks {
            self.sum += sum_of(block, value, &mut min, &mut max);
        }
        self.count += (rows.len() - blocks.remainder().len()) as u64;
        self.min = min.into_iter().fold(self.min, least);
        self.max = max.into_iter().fold(self.max, greatest);
        blocks.remainder().iter().for_each(|row| self.add(value(row)));
    }
}

/// The sum of a block; takes it into the least and the greatest as well.
#[inline]
fn sum_of<T>(
    block: &[T],
    value: impl Fn(&T) -> f32,
    min: &mut [f32; LANES],
    max: &mut [f32; LANES],
) -> f64 {
    let mut sum = [0.0_f32; LANES];
    // Copies, so that the lanes stay in registers.
    let (mut least_lanes, mut greatest_lanes) = (*min, *max);
    for line in block.chunks_exact(LANES) {
        for lane in 0..LANES {
            let value = value(&line[lane]);
            sum[lane] += value;
            least_lanes[lane] = least(least_lanes[lane], value);
            greatest_lanes[lane] = greatest(greatest_lanes[lane], value);
        }
    }
    (*min, *max) = (least_lanes, greatest_lanes);
    sum.into_iter().map(f64::from).sum()
}

/// Comparisons that are one instruction each: the values are never NaN.
#[inline(always)]
fn least(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

#[inline(always)]
fn greatest(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}
