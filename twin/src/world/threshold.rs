//! Thresholds with hysteresis, by sensor type.
//!
//! The smoothed value is compared, so that noise of one record raises no alarm. A crossing is counted once, on the way
//! out; the value must come back by the hysteresis before the same crossing can count again. Going straight from one
//! side to the other is a crossing of the other side.

/// Which way a value left its band.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// Above the high threshold.
    Up = 0,
    /// Below the low threshold.
    Down = 1,
}

/// Where a sensor stands; kept as a byte in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Between the thresholds.
    Normal = 0,
    /// Above the high one, or not yet back from it.
    High = 1,
    /// Below the low one, or not yet back from it.
    Low = 2,
}

/// The thresholds of one sensor type, in its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// For each [`Level`] the least and the greatest value that keep it; the last is of no level, and nothing keeps it.
    keeps: [[f64; 2]; 4],
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

impl Limits {
    /// Limits that nothing crosses.
    pub const NONE: Self = Self::new(f64::INFINITY, f64::NEG_INFINITY, 0.0);

    /// Above `high` is up, below `low` is down; `hysteresis` is how far back a value must come. Infinite thresholds
    /// switch their side off.
    #[must_use]
    pub const fn new(high: f64, low: f64, hysteresis: f64) -> Self {
        let mut keeps = [[f64::INFINITY, f64::NEG_INFINITY]; 4];
        keeps[Level::Normal as usize] = [low, high];
        keeps[Level::High as usize] = [high - hysteresis, f64::INFINITY];
        keeps[Level::Low as usize] = [f64::NEG_INFINITY, low + hysteresis];
        Self { keeps }
    }

    /// Whether `level` (a [`Level`] as a byte) stays as it is at this value.
    #[inline]
    #[must_use]
    pub fn keeps(&self, level: u8, value: f64) -> bool {
        let [least, greatest] = self.keeps[usize::from(level) % self.keeps.len()];
        least <= value && value <= greatest
    }

    /// The level that follows `level` (a [`Level`] as a byte) at this value.
    #[must_use]
    pub fn step(&self, level: u8, value: f64) -> Level {
        let [low, high] = self.keeps[Level::Normal as usize];
        if level == Level::High as u8 && self.keeps(level, value) {
            Level::High
        } else if level == Level::Low as u8 && self.keeps(level, value) {
            Level::Low
        } else if value > high {
            Level::High
        } else if value < low {
            Level::Low
        } else {
            Level::Normal
        }
    }
}

impl Level {
    /// The crossing that reaching this level from `before` is.
    #[inline]
    #[must_use]
    pub fn crossing(self, before: u8) -> Option<Direction> {
        match self {
            Self::High if before != Self::High as u8 => Some(Direction::Up),
            Self::Low if before != Self::Low as u8 => Some(Direction::Down),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crossings(limits: &Limits, values: &[f64]) -> Vec<Option<Direction>> {
        let mut level = Level::Normal as u8;
        let step = |value: &f64| {
            let next = limits.step(level, *value);
            let crossing = next.crossing(level);
            level = next as u8;
            crossing
        };
        values.iter().map(step).collect()
    }

    #[test]
    fn a_value_must_come_back_by_the_hysteresis_to_cross_again() {
        let limits = Limits::new(80.0, 0.0, 2.0);
        let (up, down) = (Some(Direction::Up), Some(Direction::Down));
        assert_eq!(
            crossings(&limits, &[79.0, 80.0, 80.1, 78.0, 80.5, 77.9, 81.0]),
            [None, None, up, None, None, None, up]
        );
        assert_eq!(
            crossings(&limits, &[0.0, -0.1, 2.0, -1.0, 2.1, -1.0]),
            [None, down, None, None, None, down]
        );
    }

    #[test]
    fn a_jump_across_the_band_is_a_crossing_of_the_other_side() {
        let limits = Limits::new(80.0, 0.0, 2.0);
        let (up, down) = (Some(Direction::Up), Some(Direction::Down));
        assert_eq!(crossings(&limits, &[90.0, -5.0, 90.0]), [up, down, up]);
    }

    #[test]
    fn infinite_thresholds_are_never_crossed() {
        let values = [f64::MAX, f64::MIN, 0.0, f64::MAX];
        assert_eq!(crossings(&Limits::NONE, &values), [None; 4]);
    }
}
