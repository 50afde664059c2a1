//! Bytes that are wrong: every truncation, every reserved value and every length off by one is a named error.
//!
//! Where bytes are only missing, the decoders of streams ask for more; they never guess.

use wire::{
    Batch, BatchError, CloseCode, Command, ControlError, ControlFrame, DeviceId, HELLO_BYTES,
    Hello, MAGIC, Operation, ParseDeviceError, RECORD_BYTES, Reading, Record, RecordError,
    SensorType, Status, TOTALS_BYTES, Token, Totals,
};

/// The most bytes that a payload of the control stream may have (PROTOCOL.md#control).
const LENGTH_MAX: u16 = 256;

fn record() -> Record {
    Record::encode(&Reading {
        device: DeviceId([7; 16]),
        sensor_id: 3,
        value: 1.5,
        ts_us: 1,
        seq: 2,
        sensor_type: SensorType::Pressure,
    })
}

fn hello() -> Hello {
    Hello { capabilities: 3, epoch: 9, device: DeviceId([7; 16]) }
}

/// A frame header with `length`, and a payload of exactly that many bytes.
fn frame(kind: u16, length: u16) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), length.to_le_bytes()].concat();
    bytes.resize(4 + usize::from(length), 0xa5);
    bytes
}

/// All operations, in the order of their numbers.
const OPERATIONS: [Operation; 4] =
    [Operation::Read, Operation::Setpoint, Operation::Stop, Operation::Clear];

#[test]
fn only_whole_records_are_a_batch() {
    let payload = record().as_bytes().repeat(40);
    for payload_bytes in 0..=payload.len() {
        let decoded = Batch::decode(&payload[..payload_bytes]).map(|batch| batch.len());
        let expected = match (payload_bytes / RECORD_BYTES, payload_bytes % RECORD_BYTES) {
            (0, 0) => Err(BatchError::Empty),
            (records, 0) => Ok(records),
            _ => Err(BatchError::Ragged { payload_bytes }),
        };
        assert_eq!(decoded, expected, "{payload_bytes} bytes");
    }
}

#[test]
fn a_batch_is_borrowed_at_any_address() {
    let payload = record().as_bytes().repeat(3);
    for offset in 0..16 {
        let mut memory = vec![0; offset];
        memory.extend_from_slice(&payload);
        let batch = Batch::decode(&memory[offset..]).unwrap();
        assert_eq!(batch.records(), [record(); 3]);
        assert!(std::ptr::addr_eq(batch.records().as_ptr(), memory[offset..].as_ptr()));
    }
}

#[test]
fn a_stream_yields_its_whole_records_and_keeps_the_tail() {
    let payload = record().as_bytes().repeat(3);
    for length in 0..=payload.len() {
        let (records, tail) = Batch::decode_prefix(&payload[..length]);
        assert_eq!(records, vec![record(); length / RECORD_BYTES]);
        assert_eq!(tail, &payload[length - length % RECORD_BYTES..length]);
    }
}

#[test]
fn every_unassigned_type_is_rejected() {
    for kind in 0..=u8::MAX {
        let decoded = record().with_kind(kind).decode().map(|reading| reading.sensor_type as u8);
        let expected = if kind < 6 { Ok(kind) } else { Err(RecordError::ReservedType(kind)) };
        assert_eq!(decoded, expected);
        assert_eq!(record().with_kind(kind).check(), expected.map(|_| ()));
    }
}

#[test]
fn no_value_that_is_not_finite_passes() {
    const EXPONENT: u64 = 0x7ff << 52;
    let mantissas = std::iter::once(0).chain((0..52).map(|bit| 1 << bit)).chain([(1 << 52) - 1]);
    for mantissa in mantissas {
        for sign in [0, 1 << 63] {
            let value = f64::from_bits(sign | EXPONENT | mantissa);
            assert_eq!(record().with_value(value).check(), Err(RecordError::NotFinite), "{value}");
            let below = f64::from_bits(sign | (EXPONENT - (1 << 52)) | mantissa);
            assert_eq!(record().with_value(below).check(), Ok(()), "{below}");
        }
    }
}

#[test]
fn the_value_is_judged_before_the_type() {
    let both = record().with_value(f64::NAN).with_kind(200);
    assert_eq!(both.decode(), Err(RecordError::NotFinite));
    assert_eq!(Command::decode(&both), Err(RecordError::NotFinite));
}

#[test]
fn every_last_byte_of_a_command_is_split_or_rejected() {
    for kind in 0..=u8::MAX {
        let (upper, low) = (kind >> 5, kind & 0x1f);
        let decoded = Command::decode(&record().with_kind(kind));
        if low >= 6 {
            assert_eq!(decoded, Err(RecordError::ReservedType(low)));
            continue;
        }
        let command = decoded.unwrap();
        assert_eq!((command.upper, command.sensor_type as u8), (upper, low));
        assert_eq!(command.record.kind(), kind, "the byte is kept as it came");
        let operation = OPERATIONS.get(usize::from(upper)).copied();
        assert_eq!(command.operation(), operation);
        let statuses = [Status::Ok, Status::Unknown, Status::Refused, Status::OutOfRange];
        assert_eq!(command.status(), statuses.get(usize::from(upper)).copied());
    }
}

#[test]
fn an_ack_drops_the_operation_of_its_request() {
    for upper in 0..8 {
        let request = record().with_kind(upper << 5 | 2);
        assert_eq!(Command::ack(request, Status::Refused, 0.0).kind(), 2 << 5 | 2);
        assert_eq!(Command::request(request, Operation::Setpoint).kind(), 1 << 5 | 2);
    }
}

#[test]
fn a_cut_hello_asks_for_more() {
    let bytes = hello().encode();
    for length in 0..HELLO_BYTES {
        assert_eq!(Hello::decode(&bytes[..length]), Ok(None), "{length} bytes");
    }
    let longer = [bytes.as_slice(), b"next"].concat();
    assert_eq!(Hello::decode(&longer), Ok(Some((hello(), HELLO_BYTES))));
}

#[test]
fn any_other_magic_is_refused_at_its_first_wrong_byte() {
    for at in 0..MAGIC.len() {
        for wrong in (0..=u8::MAX).filter(|byte| *byte != MAGIC[at]) {
            let mut bytes = hello().encode();
            bytes[at] = wrong;
            assert_eq!(Hello::decode(&bytes), Err(ControlError::Magic));
            assert_eq!(Hello::decode(&bytes[..=at]), Err(ControlError::Magic));
            assert_eq!(Hello::decode(&bytes[..at]), Ok(None));
        }
    }
}

#[test]
fn every_other_version_is_refused_before_its_length() {
    for version in (0..=u16::MAX).filter(|version| *version != 1) {
        let mut bytes = hello().encode();
        bytes[8..10].copy_from_slice(&version.to_le_bytes());
        bytes[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
        for seen in 10..=12 {
            assert_eq!(Hello::decode(&bytes[..seen]), Err(ControlError::Version(version)));
        }
    }
}

#[test]
fn every_length_of_a_hello_is_held_to_its_limits() {
    for length in 0..=u16::MAX {
        let mut bytes = hello().encode().to_vec();
        bytes[10..12].copy_from_slice(&length.to_le_bytes());
        bytes.resize(usize::from(LENGTH_MAX) + 1, 0);
        let expected = if (40..=LENGTH_MAX).contains(&length) {
            Ok(Some((hello(), usize::from(length))))
        } else {
            Err(ControlError::Length(usize::from(length)))
        };
        assert_eq!(Hello::decode(&bytes), expected);
        if expected.is_ok() {
            assert_eq!(Hello::decode(&bytes[..usize::from(length) - 1]), Ok(None));
        }
    }
}

#[test]
fn every_length_of_a_token_is_held_to_its_limits() {
    for length in 1..=u16::MAX {
        let mut bytes = hello().encode().to_vec();
        bytes[10..12].copy_from_slice(&LENGTH_MAX.to_le_bytes());
        bytes[36..38].copy_from_slice(&length.to_le_bytes());
        bytes.resize(usize::from(LENGTH_MAX), 0x55);
        let allowed = (16..=128).contains(&length);
        let expected = if allowed {
            Ok(Some((hello(), usize::from(LENGTH_MAX))))
        } else {
            Err(ControlError::Length(usize::from(length)))
        };
        assert_eq!(Hello::decode(&bytes), expected);
        // What is wrong is refused as soon as it is seen.
        assert_eq!(Hello::decode(&bytes[..38]).is_err(), !allowed);
        if allowed {
            assert_eq!(Token::of_hello(&bytes), vec![0x55; usize::from(length)]);
            assert!(Token::new(&bytes[40..][..usize::from(length)]).is_some());
        }
    }
    for length in [0, 15, 129] {
        assert!(Token::new(&vec![1; length]).is_none());
    }
}

#[test]
fn a_token_beyond_its_hello_is_refused() {
    let (mut bytes, length) = hello().encode_with_token(&Token::new(&[7; 20]).unwrap());
    assert_eq!(length, 60);
    bytes[10..12].copy_from_slice(&59_u16.to_le_bytes());
    assert_eq!(Hello::decode(&bytes), Err(ControlError::Length(20)));
}

#[test]
fn a_token_is_not_printed() {
    let token = Token::new(b"0123456789abcdef").unwrap();
    assert_eq!(format!("{token:?}"), "Token(16 bytes)");
}

#[test]
fn cut_frames_ask_for_more() {
    for (kind, length) in [(1, 24), (1, 30), (0, 0), (2, 5), (u16::MAX, LENGTH_MAX)] {
        let bytes = frame(kind, length);
        for cut in 0..bytes.len() {
            assert_eq!(ControlFrame::decode(&bytes[..cut]), Ok(None), "kind {kind}, {cut} bytes");
        }
        let (_, taken) = ControlFrame::decode(&bytes).unwrap().unwrap();
        assert_eq!(taken, bytes.len());
    }
}

#[test]
fn every_length_of_a_frame_is_held_to_its_limits() {
    for length in 0..=u16::MAX {
        let refused = Err(ControlError::Length(usize::from(length)));
        let totals = ControlFrame::decode(&frame(1, length)).map(|decoded| decoded.unwrap().1);
        let unknown = ControlFrame::decode(&frame(2, length)).map(|decoded| decoded.unwrap().1);
        let whole = Ok(4 + usize::from(length));
        assert_eq!(totals, if (24..=LENGTH_MAX).contains(&length) { whole } else { refused });
        assert_eq!(unknown, if length <= LENGTH_MAX { whole } else { refused });
    }
}

#[test]
fn every_kind_but_totals_is_skipped() {
    for kind in (0..=u16::MAX).filter(|kind| *kind != 1) {
        let decoded = ControlFrame::decode(&frame(kind, 7));
        assert_eq!(decoded, Ok(Some((ControlFrame::Unknown(kind), 11))));
    }
}

#[test]
fn totals_with_more_than_they_need_are_read() {
    let totals = Totals { offered: [1, 2, 3] };
    let mut bytes = totals.encode().to_vec();
    bytes[2] += 2;
    bytes.extend([0xff; 2]);
    let decoded = ControlFrame::decode(&bytes);
    assert_eq!(decoded, Ok(Some((ControlFrame::Totals(totals), TOTALS_BYTES + 2))));
}

#[test]
fn close_codes_beyond_the_table_are_unknown() {
    for (number, code) in (0..).zip(CloseCode::ALL) {
        assert_eq!(CloseCode::from_u64(number), Some(code));
    }
    for number in (12..2000).chain([1 << 32, (1 << 32) + 4, u64::MAX]) {
        assert_eq!(CloseCode::from_u64(number), None, "{number}");
    }
}

#[test]
fn text_that_is_no_uuid_is_refused() {
    let id = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
    for length in 0..id.len() {
        assert_eq!(id[..length].parse::<DeviceId>(), Err(ParseDeviceError), "{}", &id[..length]);
    }
    for bad in
        ["6ba7b810-9dad-41d1-80b4-00c04fd430c8a", "6ba7b810-9dad-41d1-80b4-00c04fd430cg", "é"]
    {
        assert_eq!(bad.parse::<DeviceId>(), Err(ParseDeviceError), "{bad}");
    }
}
