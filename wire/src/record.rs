//! The record: 39 bytes, little-endian, no padding. The layout is drawn in PROTOCOL.md#record.
//!
//! [`Record`] is the bytes with accessors, [`Reading`] is the same as values. A [`Record`] may hold anything;
//! [`Record::check`] applies every rule of that section, once.

use bytemuck::{Pod, Zeroable};

use crate::{DeviceId, SensorType};

/// Size of a record on the wire, in bytes.
pub const RECORD_BYTES: usize = 39;

/// The only source of offsets.
mod field {
    use std::ops::Range;

    pub(super) const DEVICE: Range<usize> = 0..16;
    pub(super) const SENSOR_ID: Range<usize> = 16..18;
    pub(super) const VALUE: Range<usize> = 18..26;
    pub(super) const TS_US: Range<usize> = 26..34;
    pub(super) const SEQ: Range<usize> = 34..38;
    pub(super) const SENSOR_TYPE: usize = 38;
}

const _: () = assert!(field::DEVICE.end == field::SENSOR_ID.start);
const _: () = assert!(field::SENSOR_ID.end == field::VALUE.start);
const _: () = assert!(field::VALUE.end == field::TS_US.start);
const _: () = assert!(field::TS_US.end == field::SEQ.start);
const _: () = assert!(field::SEQ.end == field::SENSOR_TYPE);
const _: () = assert!(field::SENSOR_TYPE + 1 == RECORD_BYTES);
const _: () = assert!(size_of::<Record>() == RECORD_BYTES && align_of::<Record>() == 1);

/// The bytes of one record, at any address.
///
/// The alignment is 1, so that a payload is a slice of records where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Record([u8; RECORD_BYTES]);

/// A record as values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The device that measured.
    pub device: DeviceId,
    /// Which of the device's sensors.
    pub sensor_id: u16,
    /// The measured value in the unit of its sensor type; finite.
    pub value: f64,
    /// When the device meant to send it, in microseconds since the Unix epoch.
    pub ts_us: u64,
    /// Counts the records of this sensor on this tier; wraps.
    pub seq: u32,
    /// What was measured.
    pub sensor_type: SensorType,
}

/// Why a record is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The value is infinite or not a number.
    #[error("the value is not finite")]
    NotFinite,
    /// The sensor type byte is one that version 1 does not assign.
    #[error("the sensor type {0:#04x} is not assigned")]
    ReservedType(u8),
}

impl Record {
    /// The record that holds `reading`.
    #[must_use]
    pub fn encode(reading: &Reading) -> Self {
        let mut bytes = [0; RECORD_BYTES];
        bytes[field::DEVICE].copy_from_slice(&reading.device.0);
        bytes[field::SENSOR_ID].copy_from_slice(&reading.sensor_id.to_le_bytes());
        bytes[field::VALUE].copy_from_slice(&reading.value.to_le_bytes());
        bytes[field::TS_US].copy_from_slice(&reading.ts_us.to_le_bytes());
        bytes[field::SEQ].copy_from_slice(&reading.seq.to_le_bytes());
        bytes[field::SENSOR_TYPE] = reading.sensor_type as u8;
        Self(bytes)
    }

    /// The values, after every rule was checked.
    ///
    /// # Errors
    /// As [`Record::check`].
    pub fn decode(&self) -> Result<Reading, RecordError> {
        self.check()?;
        Ok(Reading {
            device: self.device(),
            sensor_id: self.sensor_id(),
            value: self.value(),
            ts_us: self.ts_us(),
            seq: self.seq(),
            sensor_type: SensorType::from_u8(self.kind())
                .expect("the type is assigned because check() passed"),
        })
    }

    /// Applies the rules for a record on T1 and T2: a finite value and an assigned type.
    ///
    /// # Errors
    /// The first rule that is broken.
    #[inline]
    pub fn check(&self) -> Result<(), RecordError> {
        /// All bits of the exponent set means infinite or not a number (IEEE 754-2019, 3.4).
        const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
        if self.value().to_bits() & EXPONENT == EXPONENT {
            return Err(RecordError::NotFinite);
        }
        if self.kind() as usize >= SensorType::COUNT {
            return Err(RecordError::ReservedType(self.kind()));
        }
        Ok(())
    }

    /// The 39 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; RECORD_BYTES] {
        &self.0
    }

    /// The record that these bytes are; nothing is checked.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; RECORD_BYTES]) -> Self {
        Self(bytes)
    }

    /// Device and sensor id together: the first 18 bytes, which name one sensor of the plant.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8; 18] {
        self.0.first_chunk().expect("18 bytes are there because a record has 39")
    }

    /// The device that measured.
    #[inline]
    #[must_use]
    pub fn device(&self) -> DeviceId {
        DeviceId(self.array(field::DEVICE.start))
    }

    /// Which of the device's sensors.
    #[inline]
    #[must_use]
    pub fn sensor_id(&self) -> u16 {
        u16::from_le_bytes(self.array(field::SENSOR_ID.start))
    }

    /// The measured value, as it came.
    #[inline]
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_le_bytes(self.array(field::VALUE.start))
    }

    /// Intended send time in microseconds since the Unix epoch.
    #[inline]
    #[must_use]
    pub fn ts_us(&self) -> u64 {
        u64::from_le_bytes(self.array(field::TS_US.start))
    }

    /// Counts the records of this sensor on this tier; wraps.
    #[inline]
    #[must_use]
    pub fn seq(&self) -> u32 {
        u32::from_le_bytes(self.array(field::SEQ.start))
    }

    /// The last byte: the sensor type, and on T3 the operation or status above it.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.0[field::SENSOR_TYPE]
    }

    /// The same record with another value, for an ack that answers a read.
    #[must_use]
    pub fn with_value(mut self, value: f64) -> Self {
        self.0[field::VALUE].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// The same record with another last byte.
    #[must_use]
    pub const fn with_kind(mut self, kind: u8) -> Self {
        self.0[field::SENSOR_TYPE] = kind;
        self
    }

    #[inline]
    fn array<const N: usize>(&self, start: usize) -> [u8; N] {
        *self.0[start..].first_chunk().expect("the field fits because it lies inside the record")
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("device", &self.device())
            .field("sensor_id", &self.sensor_id())
            .field("value", &self.value())
            .field("ts_us", &self.ts_us())
            .field("seq", &self.seq())
            .field("kind", &self.kind())
            .finish()
    }
}
