//! A turn of the server's engine, in memory: what QUIC, decoding and the slots cost, without a kernel.
//!
//! A client engine makes the packets and takes the acknowledgements, outside the measured time.
#![allow(clippy::unwrap_used, reason = "a benchmark panics where its set-up fails")]

mod pair;

use std::{cell::RefCell, time::Duration};

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use wire::{DeviceId, Reading, Record, SensorType};

use pair::pair;

fn main() {
    divan::main();
}

fn batch(records: usize) -> Bytes {
    let reading = |n: usize| Reading {
        device: DeviceId([n as u8; 16]),
        sensor_id: n as u16,
        value: n as f64,
        ts_us: 0,
        seq: 0,
        sensor_type: SensorType::Temperature,
    };
    (0..records).flat_map(|n| *Record::encode(&reading(n)).as_bytes()).collect()
}

/// Packets in a turn, few enough for the congestion window that a session begins with.
const PACKETS: usize = 12;

/// One turn with 12 packets of one DATAGRAM frame each; the figure is for a record.
#[divan::bench(args = [1, 5, 36], sample_size = 1, sample_count = 2000)]
fn turn(bencher: Bencher<'_, '_>, records: usize) {
    let (client, server, session, now) = pair();
    let (client, server) = (RefCell::new(client), RefCell::new(server));
    let (now, answers) = (RefCell::new(now), RefCell::new(Vec::new()));
    let payload = batch(records);
    bencher
        .counter(ItemsCount::new(PACKETS * records))
        .with_inputs(|| {
            let mut now = now.borrow_mut();
            let mut client = client.borrow_mut();
            let mut packets = client.turn(*now, 4433, answers.take());
            while packets.len() < PACKETS {
                // Time for the sender's pacing.
                *now = now.plus(Duration::from_millis(1));
                client.engine.send_datagram(session, payload.clone()).unwrap();
                packets.extend(client.turn(*now, 4433, Vec::new()));
            }
            (*now, packets)
        })
        .bench_local_values(|(now, packets)| {
            let mut server = server.borrow_mut();
            let sent = server.turn(now, 9000, packets);
            server.sink.empty();
            answers.borrow_mut().extend(sent);
        });
}
