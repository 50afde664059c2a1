//! Count, mean, least and greatest of one column of smoothed values.
//!
//! Sixteen lanes run side by side, so that the compiler uses whatever vectors the machine has; the lanes are emptied into
//! `f64` every [`BLOCK`] values, which keeps the mean of a large column exact to six digits. A block whose values are so large
//! that a lane leaves the range of `f32` is summed once more in `f64`.

/// Values that run side by side: one cache line of `f32`.
const LANES: usize = 16;
/// Values summed in `f32` before they go into `f64`: 64 a lane, so that rounding stays below 64 units of the last place.
const BLOCK: usize = 64 * LANES;

/// What a column amounts to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aggregate {
    /// Number of values.
    pub count: u64,
    /// Their mean; 0 when there are none.
    pub mean: f64,
    /// The least; infinite when there are none.
    pub min: f64,
    /// The greatest; minus infinite when there are none.
    pub max: f64,
}

impl Aggregate {
    /// Of all `values`.
    #[must_use]
    pub fn of(values: &[f32]) -> Self {
        let mut sum = 0.0;
        let mut least = [f32::INFINITY; LANES];
        let mut greatest = [f32::NEG_INFINITY; LANES];
        let mut blocks = values.chunks_exact(BLOCK);
        for block in &mut blocks {
            sum += sum_of(block, &mut least, &mut greatest);
        }
        let rest = blocks.remainder();
        let whole = rest.len() - rest.len() % LANES;
        sum += sum_of(&rest[..whole], &mut least, &mut greatest);
        for &value in &rest[whole..] {
            sum += f64::from(value);
            least[0] = least[0].min(value);
            greatest[0] = greatest[0].max(value);
        }
        let count = values.len() as u64;
        Self {
            count,
            mean: if count == 0 { 0.0 } else { sum / count as f64 },
            min: f64::from(least.into_iter().fold(f32::INFINITY, f32::min)),
            max: f64::from(greatest.into_iter().fold(f32::NEG_INFINITY, f32::max)),
        }
    }
}

/// The sum of `block`, whose length is a multiple of [`LANES`]; takes it into the least and the greatest as well.
#[inline]
fn sum_of(block: &[f32], least: &mut [f32; LANES], greatest: &mut [f32; LANES]) -> f64 {
    let mut sums = [0.0_f32; LANES];
    for line in block.chunks_exact(LANES) {
        for lane in 0..LANES {
            let value = line[lane];
            sums[lane] += value;
            // A comparison instead of `min`: values are finite, and this form is one vector instruction.
            least[lane] = if value < least[lane] { value } else { least[lane] };
            greatest[lane] = if value > greatest[lane] { value } else { greatest[lane] };
        }
    }
    let sum: f64 = sums.iter().map(|&sum| f64::from(sum)).sum();
    if sum.is_finite() { sum } else { exact_sum_of(block) }
}

/// The sum of values whose lanes have left the range of `f32`.
#[cold]
fn exact_sum_of(block: &[f32]) -> f64 {
    block.iter().map(|&value| f64::from(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_the_ends_of_the_range_have_a_mean() {
        for length in [16, 17, 32, 33, 2000] {
            let far = vec![f32::MAX; length];
            assert_eq!(Aggregate::of(&far).mean, f64::from(f32::MAX), "length {length}");
            let ends: Vec<f32> = (0..length).map(|n| [f32::MAX, f32::MIN][n / 16 % 2]).collect();
            let mean: f64 = ends.iter().map(|&v| f64::from(v)).sum::<f64>() / length as f64;
            assert_eq!(Aggregate::of(&ends).mean, mean, "length {length}");
            let sides: Vec<f32> = (0..length).map(|n| [f32::MAX, f32::MIN][n % 2]).collect();
            assert!(Aggregate::of(&sides).mean.is_finite(), "length {length}");
        }
    }

    #[test]
    fn an_aggregate_is_what_a_plain_loop_says_at_every_length() {
        for length in (0..70).chain([1023, 1024, 1025, 5000]) {
            let values: Vec<f32> = (0..length).map(|n| (n * 37 % 101) as f32 - 50.0).collect();
            let found = Aggregate::of(&values);
            let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
            assert_eq!(found.count, values.len() as u64);
            assert!((found.mean * length.max(1) as f64 - sum).abs() < 1e-3, "length {length}");
            let least = values.iter().copied().fold(f32::INFINITY, f32::min);
            let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!((found.min, found.max), (f64::from(least), f64::from(greatest)));
        }
    }
}
