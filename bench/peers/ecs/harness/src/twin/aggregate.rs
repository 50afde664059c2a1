//! Count, mean, least and greatest of many values.

/// Values that are added side by side, so that the compiler keeps them in vectors.
const LANES: usize = 16;

/// Of the smoothed values of one kind. Sums are exact for the values of the comparison, in any order.
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
    pub fn add_column<T>(&mut self, rows: &[T], value: impl Fn(&T) -> f32) {
        let (blocks, rest) = rows.as_chunks::<LANES>();
        let mut sum = [0.0_f64; LANES];
        let mut min = [self.min; LANES];
        let mut max = [self.max; LANES];
        for block in blocks {
            let values: [f32; LANES] = std::array::from_fn(|lane| value(&block[lane]));
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value));
            min.iter_mut().zip(values).for_each(|(min, value)| *min = least(*min, value));
            max.iter_mut().zip(values).for_each(|(max, value)| *max = greatest(*max, value));
        }
        self.count += (blocks.len() * LANES) as u64;
        self.sum += sum.iter().sum::<f64>();
        self.min = min.into_iter().fold(self.min, least);
        self.max = max.into_iter().fold(self.max, greatest);
        rest.iter().for_each(|row| self.add(value(row)));
    }
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
