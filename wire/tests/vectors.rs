//! The golden vectors: the bytes of PROTOCOL.md, written down for people, decode to these values and encode back.
//!
//! A vector that fails is a break of the protocol, not a test to update: deployed devices speak these bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use wire::{
    Batch, Command, ControlFrame, DeviceId, Hello, Operation, Reading, Record, SensorType, Status,
    Token, Totals, capability,
};

const TS_US: u64 = 1_763_690_400_000_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The bytes of a vector: hexadecimal pairs, blanks, and comments from `#` to the end of the line.
fn vector(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let code = text.lines().map(|line| line.split('#').next().unwrap_or(""));
    let pairs = code.flat_map(str::split_whitespace);
    let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16));
    bytes.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn device(text: &str) -> DeviceId {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn plant_device() -> DeviceId {
    device("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
}

fn last_device() -> DeviceId {
    device("ffffffff-ffff-ffff-ffff-ffffffffffff")
}

fn first_device() -> DeviceId {
    device("00000000-0000-4000-8000-000000000001")
}

#[track_caller]
fn check_batch(name: &str, expected: &[Reading]) {
    let bytes = vector(name);
    let batch = Batch::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let readings: Vec<_> = batch.records().iter().map(Record::decode).collect();
    let expected_readings: Vec<_> = expected.iter().copied().map(Ok).collect();
    assert_eq!(readings, expected_readings, "{name}");
    let encoded: Vec<u8> =
        expected.iter().flat_map(|reading| *Record::encode(reading).as_bytes()).collect();
    assert_eq!(encoded, bytes, "{name}");
}

/// A T3 record whose type byte is plain; operation or status are added by the code under test.
fn plain(sensor_id: u16, value: f64, seq: u32, sensor_type: SensorType) -> Record {
    let device = plant_device();
    Record::encode(&Reading { device, sensor_id, value, ts_us: TS_US, seq, sensor_type })
}

#[track_caller]
fn check_t3(name: &str, encoded: Record) -> Command {
    let bytes = vector(name);
    assert_eq!(encoded.as_bytes().as_slice(), bytes, "{name}");
    let batch = Batch::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(batch.len(), 1);
    Command::decode(&batch.records()[0]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn one_record_reads_and_writes() {
    let reading = Reading {
        device: plant_device(),
        sensor_id: 3,
        value: 21.5,
        ts_us: TS_US,
        seq: 7,
        sensor_type: SensorType::Temperature,
    };
    check_batch("batch_one", &[reading]);
}

#[test]
fn every_assigned_type_reads_and_writes() {
    let values = [0.1, -40.0, 55.25, 101.325, 230.0, -0.0];
    let reading = |index: u8| Reading {
        device: plant_device(),
        sensor_id: 0x100 + u16::from(index),
        value: values[usize::from(index)],
        ts_us: TS_US + u64::from(index),
        seq: u32::from(index),
        sensor_type: SensorType::from_u8(index).unwrap(),
    };
    let expected: Vec<Reading> = (0..6).map(reading).collect();
    assert_eq!(expected.len(), SensorType::COUNT, "a new type needs a record in the vector");
    check_batch("batch_all_types", &expected);
}

#[test]
fn the_ends_of_every_field_read_and_write() {
    let lowest = Reading {
        device: first_device(),
        sensor_id: 0,
        value: f64::MIN,
        ts_us: 0,
        seq: 0,
        sensor_type: SensorType::Generic,
    };
    let highest = Reading {
        device: last_device(),
        sensor_id: u16::MAX,
        value: f64::MAX,
        ts_us: u64::MAX,
        seq: u32::MAX,
        sensor_type: SensorType::Current,
    };
    let subnormal =
        Reading { value: f64::from_bits(1), sensor_type: SensorType::Generic, ..highest };
    check_batch("batch_extremes", &[lowest, highest, subnormal]);
}

#[test]
fn a_read_and_its_acks_read_and_write() {
    let request = plain(9, 0.0, 41, SensorType::Voltage);
    let command = check_t3("t3_read_request", Command::request(request, Operation::Read));
    assert_eq!(command.operation(), Some(Operation::Read));
    assert_eq!(command.sensor_type, SensorType::Voltage);

    let ack = check_t3("t3_read_ack", Command::ack(command.record, Status::Ok, 229.75));
    assert_eq!((ack.status(), ack.record.value()), (Some(Status::Ok), 229.75));
    let ack = check_t3("t3_unknown", Command::ack(command.record, Status::Unknown, 0.0));
    assert_eq!(ack.status(), Some(Status::Unknown));
}

#[test]
fn a_setpoint_and_its_refusals_read_and_write() {
    let request = plain(2, 18.0, 42, SensorType::Temperature);
    let command = check_t3("t3_setpoint_request", Command::request(request, Operation::Setpoint));
    assert_eq!(command.operation(), Some(Operation::Setpoint));
    assert_eq!(command.sensor_type, SensorType::Temperature);

    for (name, status) in
        [("t3_setpoint_refused", Status::Refused), ("t3_setpoint_out_of_range", Status::OutOfRange)]
    {
        let ack = check_t3(name, Command::ack(command.record, status, 20.0));
        assert_eq!((ack.status(), ack.sensor_type), (Some(status), SensorType::Temperature));
        assert_eq!(
            (ack.record.seq(), ack.record.ts_us()),
            (42, TS_US),
            "an ack repeats its request"
        );
    }
}

#[test]
fn a_stop_and_a_clear_read_and_write() {
    for (name, operation, seq) in
        [("t3_stop_request", Operation::Stop, 1), ("t3_clear_request", Operation::Clear, 2)]
    {
        let request = plain(0, 0.0, seq, SensorType::Generic);
        let command = check_t3(name, Command::request(request, operation));
        assert_eq!(command.operation(), Some(operation));
    }
}

#[test]
fn a_hello_reads_and_writes() {
    let hello = Hello {
        capabilities: capability::COMMANDS | capability::TOTALS,
        epoch: 1_763_690_400,
        device: plant_device(),
    };
    let bytes = vector("hello");
    assert_eq!(Hello::decode(&bytes), Ok(Some((hello, bytes.len()))));
    assert_eq!(hello.encode().as_slice(), bytes);
}

#[test]
fn a_hello_with_a_token_reads_and_writes() {
    let hello =
        Hello { capabilities: capability::COMMANDS, epoch: 1_763_690_400, device: plant_device() };
    let bytes = vector("hello_token");
    assert_eq!(Hello::decode(&bytes), Ok(Some((hello, bytes.len()))));
    assert_eq!(Token::of_hello(&bytes), b"secret of a metr");
    let token = Token::new(b"secret of a metr").unwrap();
    let (encoded, length) = hello.encode_with_token(&token);
    assert_eq!(encoded[..length], bytes);
    assert!(Token::of_hello(&vector("hello")).is_empty());
    assert!(Token::of_hello(&vector("hello_longer")).is_empty());
}

#[test]
fn a_longer_hello_of_a_later_minor_form_is_understood() {
    let hello = Hello {
        capabilities: capability::COMMANDS | 1 << 31,
        epoch: u32::MAX,
        device: last_device(),
    };
    assert_eq!(Hello::decode(&vector("hello_longer")), Ok(Some((hello, 44))));
}

#[test]
fn a_whole_control_stream_reads_and_writes() {
    let bytes = vector("hello_totals");
    let hello = Hello { capabilities: capability::TOTALS, epoch: 5, device: first_device() };
    let totals = Totals { offered: [1_000_000, 1 << 40, 0] };

    let (decoded, mut at) = Hello::decode(&bytes).unwrap().unwrap();
    assert_eq!(decoded, hello);
    let mut frames = Vec::new();
    while let Some((frame, taken)) = ControlFrame::decode(&bytes[at..]).unwrap() {
        frames.push(frame);
        at += taken;
    }
    assert_eq!(frames, [ControlFrame::Unknown(9), ControlFrame::Totals(totals)]);
    assert_eq!(at, bytes.len());

    let encoded = [hello.encode().as_slice(), b"\x09\x00\x03\x00abc", &totals.encode()].concat();
    assert_eq!(encoded, bytes);
}

#[test]
fn every_vector_is_read_by_a_test() {
    let source = include_str!("vectors.rs");
    let names: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 13, "{names:?}");
    for name in names {
        assert!(source.contains(&format!("\"{name}\"")), "no test reads {name}.hex");
    }
}
