//! T3: what the last byte of a command and of its ack means. PROTOCOL.md#t3.
//!
//! The low five bits are the sensor type; the upper three are the operation in a request and the status in an ack. A
//! request whose operation nobody handles is no error of form: its stream is reset with [`CloseCode::NoHandler`].
//!
//! [`CloseCode::NoHandler`]: crate::CloseCode::NoHandler

use crate::{Record, RecordError, SensorType};

const TYPE_BITS: u8 = 0x1f;
const UPPER_SHIFT: u8 = 5;

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Tell the latest raw value of the sensor.
    Read = 0,
    /// Make the record's value the setpoint of the actuator.
    Setpoint = 1,
    /// Stop everything that this session speaks for, until [`Operation::Clear`].
    Stop = 2,
    /// End what [`Operation::Stop`] began.
    Clear = 3,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Done; the ack's value is the value that now holds.
    Ok = 0,
    /// No such sensor or actuator.
    Unknown = 1,
    /// The policy of the receiver forbids it.
    Refused = 2,
    /// The value is outside what the actuator can do.
    OutOfRange = 3,
}

impl Operation {
    /// The operation with this number, if it is assigned.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Read),
            1 => Some(Self::Setpoint),
            2 => Some(Self::Stop),
            3 => Some(Self::Clear),
            _ => None,
        }
    }
}

impl Status {
    /// The status with this number, if it is assigned.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Ok),
            1 => Some(Self::Unknown),
            2 => Some(Self::Refused),
            3 => Some(Self::OutOfRange),
            _ => None,
        }
    }
}

/// A T3 record, looked at as a command or as its ack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Command {
    /// Device, sensor, value, time and sequence, and the last byte as it came.
    pub record: Record,
    /// What the sensor measures or the actuator sets.
    pub sensor_type: SensorType,
    /// The upper three bits of the last byte, not interpreted.
    pub upper: u8,
}

impl Command {
    /// Checks a T3 record: a finite value and an assigned type in the low five bits.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn decode(record: &Record) -> Result<Self, RecordError> {
        let low = record.kind() & TYPE_BITS;
        record.with_kind(low).check()?;
        let sensor_type = SensorType::from_u8(low).ok_or(RecordError::ReservedType(low))?;
        Ok(Self { record: *record, sensor_type, upper: record.kind() >> UPPER_SHIFT })
    }

    /// The operation of a request; none when nobody has assigned it.
    #[must_use]
    pub const fn operation(&self) -> Option<Operation> {
        Operation::from_u8(self.upper)
    }

    /// The status of an ack; none when nobody has assigned it.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        Status::from_u8(self.upper)
    }

    /// The request that asks for `operation` on the sensor of `record`, whose last byte is a plain sensor type.
    #[must_use]
    pub const fn request(record: Record, operation: Operation) -> Record {
        let low = record.kind() & TYPE_BITS;
        record.with_kind((operation as u8) << UPPER_SHIFT | low)
    }

    /// The ack of `request`: the same record with a status, and with the value that now holds.
    #[must_use]
    pub fn ack(request: Record, status: Status, value: f64) -> Record {
        let low = request.kind() & TYPE_BITS;
        request.with_value(value).with_kind((status as u8) << UPPER_SHIFT | low)
    }
}
