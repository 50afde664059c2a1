//! What is encoded decodes to the same, and what decodes encodes to the same bytes, for inputs that nobody chose.
//!
//! Each test draws from a generator with a seed that its failure prints.

use wire::{
    Batch, Command, ControlFrame, DeviceId, Hello, Operation, RECORD_BYTES, Reading, Record,
    SensorType, Status, Totals,
};

const ROUNDS: u64 = 20_000;

/// The splitmix64 generator: the whole state is the seed, and every seed is good.
struct Draw(u64);

impl Draw {
    fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.u64().to_le_bytes()[3])
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.u64() % bound as u64).expect("it fits because it is below the bound")
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Any finite value, with all magnitudes and both zeros.
    fn value(&mut self) -> f64 {
        loop {
            let value = f64::from_bits(self.u64());
            if value.is_finite() {
                return value;
            }
        }
    }

    fn reading(&mut self) -> Reading {
        Reading {
            device: DeviceId(self.bytes()),
            sensor_id: u16::from_le_bytes(self.bytes()),
            value: self.value(),
            ts_us: self.u64(),
            seq: u32::from_le_bytes(self.bytes()),
            sensor_type: self.pick(&SensorType::ALL),
        }
    }
}

/// Runs `property` with a generator for each of [`ROUNDS`] seeds; a failure is preceded by its seed.
fn for_all(property: impl Fn(&mut Draw)) {
    for seed in 0..ROUNDS {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            property(&mut Draw(seed));
        }));
        if let Err(panic) = outcome {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_reading_survives_the_record() {
    for_all(|draw| {
        let reading = draw.reading();
        let record = Record::encode(&reading);
        assert_eq!(record.decode(), Ok(reading));
        assert_eq!(record.value().to_bits(), reading.value.to_bits(), "the sign of zero is kept");
        assert_eq!(record.key()[..16], reading.device.0);
        assert_eq!(record.key()[16..], reading.sensor_id.to_le_bytes());
    });
}

#[test]
fn any_record_that_decodes_encodes_to_itself() {
    let decoded = std::cell::Cell::new(0);
    for_all(|draw| {
        let mut bytes: [u8; RECORD_BYTES] = draw.bytes();
        bytes[RECORD_BYTES - 1] %= 8;
        let record = Record::from_bytes(bytes);
        if let Ok(reading) = record.decode() {
            assert_eq!(Record::encode(&reading), record);
            decoded.set(decoded.get() + 1);
        }
    });
    assert!(decoded.get() > ROUNDS / 2, "only {} of {ROUNDS} decoded", decoded.get());
}

#[test]
fn a_batch_keeps_order_and_number() {
    for_all(|draw| {
        let readings: Vec<Reading> = (0..=draw.below(40)).map(|_| draw.reading()).collect();
        let payload: Vec<u8> =
            readings.iter().flat_map(|reading| *Record::encode(reading).as_bytes()).collect();
        let batch = Batch::decode(&payload).unwrap();
        assert_eq!(batch.len(), readings.len());
        assert_eq!(Batch::capacity(payload.len()), readings.len());
        for (record, reading) in batch.records().iter().zip(&readings) {
            assert_eq!(record.decode(), Ok(*reading));
        }
    });
}

#[test]
fn a_stream_cut_anywhere_yields_the_same_records() {
    for_all(|draw| {
        let records: Vec<Record> =
            (0..draw.below(20)).map(|_| Record::encode(&draw.reading())).collect();
        let bytes: Vec<u8> = records.iter().flat_map(|record| *record.as_bytes()).collect();
        let (mut received, mut pending) = (Vec::new(), Vec::new());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + draw.below(rest.len()));
            pending.extend_from_slice(piece);
            let (whole, tail) = Batch::decode_prefix(&pending);
            received.extend_from_slice(whole);
            pending = tail.to_vec();
            rest = after;
        }
        assert_eq!(received, records);
        assert!(pending.is_empty());
    });
}

#[test]
fn a_command_and_its_ack_keep_all_but_what_they_change() {
    let operations = [Operation::Read, Operation::Setpoint, Operation::Stop, Operation::Clear];
    let statuses = [Status::Ok, Status::Unknown, Status::Refused, Status::OutOfRange];
    for_all(|draw| {
        let reading = draw.reading();
        let operation = draw.pick(&operations);
        let request = Command::request(Record::encode(&reading), operation);
        let command = Command::decode(&request).unwrap();
        assert_eq!(command.operation(), Some(operation));
        assert_eq!(command.sensor_type, reading.sensor_type);

        let (status, value) = (draw.pick(&statuses), draw.value());
        let ack = Command::decode(&Command::ack(request, status, value)).unwrap();
        assert_eq!(ack.status(), Some(status));
        let plain = ack.record.with_kind(reading.sensor_type as u8);
        assert_eq!(plain.decode(), Ok(Reading { value, ..reading }));
    });
}

#[test]
fn a_hello_and_totals_survive_the_stream() {
    for_all(|draw| {
        let hello = Hello {
            capabilities: u32::from_le_bytes(draw.bytes()),
            epoch: u32::from_le_bytes(draw.bytes()),
            device: DeviceId(draw.bytes()),
        };
        let bytes = hello.encode();
        assert_eq!(Hello::decode(&bytes), Ok(Some((hello, bytes.len()))));

        let totals = Totals { offered: [draw.u64(), draw.u64(), draw.u64()] };
        let bytes = totals.encode();
        let decoded = ControlFrame::decode(&bytes);
        assert_eq!(decoded, Ok(Some((ControlFrame::Totals(totals), bytes.len()))));
    });
}

#[test]
fn a_device_id_survives_its_text() {
    for_all(|draw| {
        let device = DeviceId(draw.bytes());
        let text = device.to_string();
        assert_eq!(text.len(), 36);
        assert_eq!(text.parse(), Ok(device));
        assert_eq!(text.replace('-', "").to_uppercase().parse(), Ok(device));
    });
}
