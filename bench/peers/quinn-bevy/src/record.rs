//! The record of the wire: 39 bytes, little-endian, no padding. Decoding checks length and sensor
//! type, nothing else.
//!
//! A hand-written codec of this size is what an ordinary build has; the layout is that of
//! `wire/PROTOCOL.md`.

use uuid::Uuid;

/// Bytes of one record.
pub(crate) const RECORD_BYTES: usize = 39;

/// Sensor types that have a name; a record with a higher code is refused.
pub(crate) const SENSOR_TYPES: usize = 6;

/// Bits of the last byte that hold the sensor type. The upper three carry the operation or the
/// status on T3.
const SENSOR_TYPE_MASK: u8 = 0x1f;

/// One reading of one sensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Record {
    /// Device that sent it.
    pub(crate) device: Uuid,
    /// Sensor of that device.
    pub(crate) sensor_id: u16,
    /// The reading, in the unit of its type.
    pub(crate) value: f64,
    /// Time at which it was meant to be sent, in microseconds of the Unix epoch.
    pub(crate) ts_us: u64,
    /// Sequence number of the sensor.
    pub(crate) seq: u32,
    /// Generic, temperature, humidity, pressure, voltage or current: 0 to 5.
    pub(crate) sensor_type: u8,
}

impl Record {
    /// Reads one record, or gives `None` when the length or the sensor type is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_BYTES] = bytes.try_into().ok()?;
        let sensor_type = bytes[38] & SENSOR_TYPE_MASK;
        if usize::from(sensor_type) >= SENSOR_TYPES {
            return None;
        }
        Some(Self {
            device: Uuid::from_bytes(array(bytes, 0)),
            sensor_id: u16::from_le_bytes(array(bytes, 16)),
            value: f64::from_le_bytes(array(bytes, 18)),
            ts_us: u64::from_le_bytes(array(bytes, 26)),
            seq: u32::from_le_bytes(array(bytes, 34)),
            sensor_type,
        })
    }

    /// Writes the record. Its last byte has status 0, so an encoded record is also the ack of a T3
    /// exchange.
    pub(crate) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..16].copy_from_slice(self.device.as_bytes());
        bytes[16..18].copy_from_slice(&self.sensor_id.to_le_bytes());
        bytes[18..26].copy_from_slice(&self.value.to_le_bytes());
        bytes[26..34].copy_from_slice(&self.ts_us.to_le_bytes());
        bytes[34..38].copy_from_slice(&self.seq.to_le_bytes());
        bytes[38] = self.sensor_type;
        bytes
    }
}

/// The records of a T1 payload, or `None` when it is empty or not made of whole records.
pub(crate) fn whole_records(payload: &[u8]) -> Option<std::slice::ChunksExact<'_, u8>> {
    (!payload.is_empty() && payload.len().is_multiple_of(RECORD_BYTES))
        .then(|| payload.chunks_exact(RECORD_BYTES))
}

/// `N` bytes from `offset`.
fn array<const N: usize>(bytes: &[u8; RECORD_BYTES], offset: usize) -> [u8; N] {
    bytes[offset..offset + N]
        .try_into()
        .expect("offset + N is at most 39 because callers are above")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Record {
        Record {
            device: Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            sensor_id: 0x1211,
            value: -12.5,
            ts_us: 0x2221_201f_1e1d_1c1b,
            seq: 0x2625_2423,
            sensor_type: 4,
        }
    }

    #[test]
    fn record_lies_on_the_wire_where_the_protocol_says() {
        let mut expected = [0_u8; RECORD_BYTES];
        for (at, byte) in (1_u8..=18).enumerate() {
            expected[at] = byte;
        }
        expected[18..26].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0x29, 0xc0]);
        for (at, byte) in (0x1b_u8..=0x26).enumerate() {
            expected[26 + at] = byte;
        }
        expected[38] = 4;
        assert_eq!(reading().encode(), expected);
        assert_eq!(Record::decode(&expected), Some(reading()));
    }

    #[test]
    fn wrong_length_and_unnamed_type_are_refused() {
        let mut bytes = reading().encode();
        assert_eq!(Record::decode(&bytes[..38]), None);
        bytes[38] = SENSOR_TYPES as u8;
        assert_eq!(Record::decode(&bytes), None);
        assert!(whole_records(&[]).is_none());
        assert!(whole_records(&[0; 40]).is_none());
        assert_eq!(whole_records(&[0; 78]).unwrap().len(), 2);
    }

    #[test]
    fn operation_bits_are_no_part_of_the_type() {
        let mut bytes = reading().encode();
        bytes[38] |= 0b1110_0000;
        assert_eq!(Record::decode(&bytes), Some(reading()));
    }
}
