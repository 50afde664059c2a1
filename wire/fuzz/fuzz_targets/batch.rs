//! Any payload as a batch, and each of its records on every tier: no panic, and what decodes encodes to itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Batch, Command, RECORD_BYTES, Record, Status};

fuzz_target!(|payload: &[u8]| {
    let (records, tail) = Batch::decode_prefix(payload);
    assert_eq!(records.len() * RECORD_BYTES + tail.len(), payload.len());
    assert!(tail.len() < RECORD_BYTES);
    match Batch::decode(payload) {
        Ok(batch) => assert!(tail.is_empty() && batch.records() == records),
        Err(_) => assert!(records.is_empty() || !tail.is_empty()),
    }
    for (record, bytes) in records.iter().zip(payload.chunks_exact(RECORD_BYTES)) {
        assert_eq!(record.as_bytes().as_slice(), bytes);
        check(record);
    }
});

fn check(record: &Record) {
    match record.decode() {
        Ok(reading) => {
            assert!(reading.value.is_finite());
            assert_eq!(Record::encode(&reading), *record);
            assert_eq!(record.check(), Ok(()));
        }
        Err(error) => assert_eq!(record.check(), Err(error)),
    }
    if let Ok(command) = Command::decode(record) {
        assert_eq!(command.upper << 5 | command.sensor_type as u8, record.kind());
        let ack = Command::decode(&Command::ack(*record, Status::Refused, 1.0));
        let ack = ack.expect("an ack decodes because its request did");
        assert_eq!((ack.status(), ack.sensor_type), (Some(Status::Refused), command.sensor_type));
    }
}
