//! Where an entity lies, in four bytes: a table and a row of it.
//!
//! A table is the archetype of one sensor type, or that of the actuators. Rows keep their place while nothing is despawned,
//! so a reference stays good for as long as the structure it was made in.

use bytemuck::{Pod, Zeroable};
use wire::SensorType;

const ROW_BITS: u32 = 27;
const ROW_MASK: u32 = (1 << ROW_BITS) - 1;

/// Number of the table of actuators, out of the way of every sensor type that five bits on the wire can name.
const ACTUATORS: u32 = 30;

/// Most rows that a table may have.
pub const ROWS_MAX: usize = 1 << ROW_BITS;

/// A packed (table, row).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub struct RowRef(u32);

impl RowRef {
    /// No row: what a table of references is filled with.
    pub const NONE: Self = Self(u32::MAX);

    /// The row of a sensor.
    ///
    /// # Panics
    /// `row` is [`ROWS_MAX`] or more; the limit of entities keeps it below.
    #[must_use]
    pub fn sensor(sensor_type: SensorType, row: usize) -> Self {
        Self::new(sensor_type as u32, row)
    }

    /// The row of an actuator.
    ///
    /// # Panics
    /// As [`RowRef::sensor`].
    #[must_use]
    pub fn actuator(row: usize) -> Self {
        Self::new(ACTUATORS, row)
    }

    fn new(table: u32, row: usize) -> Self {
        assert!(row < ROWS_MAX, "the limit of entities keeps rows within 27 bits");
        Self(table << ROW_BITS | row as u32)
    }

    /// The reference as one number.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The reference that [`RowRef::to_bits`] turned into `bits`.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The row `by` places behind this one, in the same table, which has so many.
    #[inline]
    #[must_use]
    pub(super) const fn offset(self, by: usize) -> Self {
        Self(self.0 + by as u32)
    }

    /// The table: for a sensor the byte of its type.
    #[inline]
    #[must_use]
    pub const fn table(self) -> usize {
        (self.0 >> ROW_BITS) as usize
    }

    /// The row in its table.
    #[inline]
    #[must_use]
    pub const fn row(self) -> usize {
        (self.0 & ROW_MASK) as usize
    }

    /// The type of the sensor that lies there, if it is one.
    #[inline]
    #[must_use]
    pub const fn sensor_type(self) -> Option<SensorType> {
        SensorType::from_u8((self.0 >> ROW_BITS) as u8)
    }

    /// True for the row of an actuator.
    #[inline]
    #[must_use]
    pub const fn is_actuator(self) -> bool {
        self.0 >> ROW_BITS == ACTUATORS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_gives_back_what_it_was_made_of() {
        for sensor_type in SensorType::ALL {
            for row in [0, 1, 12_345, ROWS_MAX - 1] {
                let reference = RowRef::sensor(sensor_type, row);
                assert_eq!((reference.table(), reference.row()), (sensor_type.index(), row));
                assert_eq!(reference.sensor_type(), Some(sensor_type));
                assert!(!reference.is_actuator());
            }
        }
        let actuator = RowRef::actuator(ROWS_MAX - 1);
        assert!(actuator.is_actuator() && actuator.sensor_type().is_none());
        assert_ne!(actuator, RowRef::NONE);
        assert!(RowRef::NONE.sensor_type().is_none() && !RowRef::NONE.is_actuator());
    }
}
