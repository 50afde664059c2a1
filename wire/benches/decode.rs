//! What a record costs before it reaches a ring: borrowing a payload, checking its records, reading a field, encoding.
//!
//! 36 records are what fits into one packet of 1,452 bytes; throughput is counted in records.

use divan::Bencher;
use divan::counter::ItemsCount;
use wire::{Batch, Command, DeviceId, Operation, Reading, Record, SensorType};

const RECORDS: [usize; 3] = [1, 36, 1024];

fn main() {
    divan::main();
}

fn reading(index: usize) -> Reading {
    Reading {
        device: DeviceId([index as u8; 16]),
        sensor_id: index as u16,
        value: index as f64 * 0.25,
        ts_us: 1_763_690_400_000_000 + index as u64,
        seq: index as u32,
        sensor_type: SensorType::ALL[index % SensorType::COUNT],
    }
}

fn payload(records: usize) -> Vec<u8> {
    (0..records).flat_map(|index| *Record::encode(&reading(index)).as_bytes()).collect()
}

#[divan::bench(args = RECORDS)]
fn borrow_and_check(bencher: Bencher<'_, '_>, records: usize) {
    let payload = payload(records);
    bencher.counter(ItemsCount::new(records)).bench(|| {
        let batch =
            Batch::decode(divan::black_box(&payload)).expect("whole because it was built so");
        batch.records().iter().filter(|record| record.check().is_ok()).count()
    });
}

#[divan::bench(args = RECORDS)]
fn borrow_check_and_sum(bencher: Bencher<'_, '_>, records: usize) {
    let payload = payload(records);
    bencher.counter(ItemsCount::new(records)).bench(|| {
        let batch =
            Batch::decode(divan::black_box(&payload)).expect("whole because it was built so");
        let valid = batch.records().iter().filter(|record| record.check().is_ok());
        valid.map(Record::value).sum::<f64>()
    });
}

#[divan::bench(args = RECORDS)]
fn decode_to_readings(bencher: Bencher<'_, '_>, records: usize) {
    let payload = payload(records);
    bencher.counter(ItemsCount::new(records)).bench(|| {
        let batch =
            Batch::decode(divan::black_box(&payload)).expect("whole because it was built so");
        for record in batch.records() {
            divan::black_box(record.decode().expect("valid because it was encoded"));
        }
    });
}

#[divan::bench(args = RECORDS)]
fn encode_into_payload(bencher: Bencher<'_, '_>, records: usize) {
    let readings: Vec<Reading> = (0..records).map(reading).collect();
    let mut payload = vec![0; records * wire::RECORD_BYTES];
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        let places = payload.chunks_exact_mut(wire::RECORD_BYTES);
        for (place, reading) in places.zip(divan::black_box(&readings)) {
            place.copy_from_slice(Record::encode(reading).as_bytes());
        }
        divan::black_box(&payload);
    });
}

#[divan::bench]
fn decode_command(bencher: Bencher<'_, '_>) {
    let request = Command::request(Record::encode(&reading(1)), Operation::Setpoint);
    bencher.counter(ItemsCount::new(1_usize)).bench(|| Command::decode(divan::black_box(&request)));
}
