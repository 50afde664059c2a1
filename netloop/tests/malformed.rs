//! Bad input costs the datagram, the stream or the handshake that it came in, a counter, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use link::{DEVICE, Dice, Pair, Weather, no_handler, numbered, payload, record, values};
use netloop::{Answer, CloseReason, Datagram, SessionEvent, SessionId, StreamPriority};
use wire::{CloseCode, Command, Operation, Reading, Record, SensorType, Status, Tier};

const LIMIT: Duration = Duration::from_secs(60);

fn bad() -> Record {
    numbered(99).with_value(f64::NAN)
}

fn reserved() -> Record {
    numbered(98).with_kind(SensorType::COUNT as u8)
}

fn write_once(pair: &mut Pair, session: SessionId, bytes: &[u8], fin: bool) {
    let stream = pair.client.engine.open_stream(session, StreamPriority::Normal).unwrap();
    assert_eq!(pair.client.engine.write_stream(session, stream, bytes), Ok(bytes.len()));
    if fin {
        pair.client.engine.finish_stream(session, stream);
    }
    pair.run_for(Duration::from_millis(20));
}

/// The session still carries a record on every tier.
fn assert_alive(pair: &mut Pair, session: SessionId) {
    let before = pair.server.sink.t1.len();
    pair.client.engine.send_datagram(session, Bytes::from(payload(&[numbered(1)]))).unwrap();
    pair.run_until("a good record", LIMIT, |pair| pair.server.sink.t1.len() == before + 1);
    let before = pair.server.sink.t2.len();
    write_once(pair, session, &payload(&[numbered(2)]), true);
    assert_eq!(pair.server.sink.t2.len(), before + 1);
}

#[test]
fn ragged_datagram_is_one_decode_error_and_nothing_of_it_is_used() {
    let mut pair = Pair::new(1, Weather::CALM);
    let session = pair.connect();
    for cut in [1, 38, 40, 77] {
        let bytes = payload(&[numbered(1), numbered(2)]);
        pair.client.engine.send_datagram(session, Bytes::from(bytes[..cut].to_vec())).unwrap();
    }
    pair.run_for(Duration::from_millis(20));
    let tally = pair.server.engine.tally().tiers[Tier::T1.index()];
    assert_eq!((tally.decode_errors, tally.received), (4, 0));
    assert_alive(&mut pair, session);
}

#[test]
fn bad_record_in_a_datagram_is_rejected_alone() {
    let mut pair = Pair::new(1, Weather::CALM);
    let session = pair.connect();
    let batch = payload(&[numbered(1), bad(), numbered(2), reserved(), numbered(3)]);
    pair.client.engine.send_datagram(session, Bytes::from(batch)).unwrap();
    pair.run_until("the rest", LIMIT, |pair| pair.server.sink.t1.len() == 3);
    assert_eq!(values(&pair.server.sink.t1), [1, 2, 3]);
    let tally = pair.server.engine.tally().tiers[Tier::T1.index()];
    assert_eq!((tally.received, tally.rejected, tally.decode_errors), (5, 2, 0));
}

#[test]
fn bad_record_stops_its_stream_and_those_before_it_stand() {
    for bad in [bad(), reserved()] {
        let mut pair = Pair::new(1, Weather::CALM);
        let session = pair.connect();
        let bytes = payload(&[numbered(1), numbered(2), bad, numbered(3)]);
        write_once(&mut pair, session, &bytes, false);
        assert_eq!(values(&pair.server.sink.t2), [1, 2]);
        let tally = pair.server.engine.tally().tiers[Tier::T2.index()];
        assert_eq!((tally.rejected, tally.decode_errors), (1, 1));
        assert_alive(&mut pair, session);
    }
}

#[test]
fn stream_that_ends_inside_a_record_is_one_decode_error() {
    let mut pair = Pair::new(1, Weather::CALM);
    let session = pair.connect();
    let bytes = payload(&[numbered(1), numbered(2)]);
    write_once(&mut pair, session, &bytes[..60], true);
    assert_eq!(values(&pair.server.sink.t2), [1]);
    assert_eq!(pair.server.engine.tally().tiers[Tier::T2.index()].decode_errors, 1);
    assert_alive(&mut pair, session);
}

#[test]
fn another_version_is_refused_when_it_is_seen() {
    for fin in [false, true] {
        let mut pair = Pair::plain(1, Weather::CALM);
        let session = pair.connect();
        write_once(&mut pair, session, &[&wire::MAGIC[..], &[2, 0]].concat(), fin);
        let told = |event: &SessionEvent| matches!(event, SessionEvent::Closed { session: of, reason, .. } if *of == session && *reason == CloseReason::Peer(Some(CloseCode::BadVersion)));
        assert!(pair.client.sink.events.iter().any(told), "{:?}", pair.client.sink.events);
        assert_eq!(pair.server.engine.open_sessions(), 0);
    }
}

#[test]
fn unhandled_command_is_reset_and_counted() {
    let mut pair = Pair::new(1, Weather::CALM);
    let session = pair.connect();
    pair.server.sink.answer = no_handler;
    let request = Command::request(numbered(5), Operation::Read).with_kind(0b1110_0001);
    pair.client.engine.open_command(session, request, 11).unwrap();
    pair.run_until("the reset", LIMIT, |pair| pair.client.sink.acks.len() == 1);
    let end = pair.client.sink.acks[0];
    assert_eq!((end.hint, end.flags), (11, netloop::slot::FAILED));
    assert_eq!(record(&end), request);
    assert_eq!(pair.server.engine.tally().no_handler, 1);
    assert_alive(&mut pair, session);
}

#[test]
fn command_with_a_bad_record_is_rejected_and_its_stream_reset() {
    let mut pair = Pair::new(1, Weather::CALM);
    let session = pair.connect();
    pair.client.engine.open_command(session, bad(), 1).unwrap();
    pair.run_until("the reset", LIMIT, |pair| pair.client.sink.acks.len() == 1);
    assert_eq!(pair.client.sink.acks[0].flags, netloop::slot::FAILED);
    assert_eq!(pair.server.engine.tally().tiers[Tier::T3.index()].rejected, 1);
    assert!(pair.server.sink.t3.is_empty());
    assert_alive(&mut pair, session);
}

#[test]
fn command_round_trip_carries_the_ack() {
    for seed in 1..=4 {
        let mut pair = Pair::new(seed, Weather::lossy(0.05));
        let session = pair.connect();
        let setpoint = Command::request(numbered(5), Operation::Setpoint);
        pair.client.engine.open_command(session, setpoint, 3).unwrap();
        pair.run_until("the ack", LIMIT, |pair| pair.client.sink.acks.len() == 1);
        let end = pair.client.sink.acks[0];
        let ack = Command::decode(&record(&end)).unwrap();
        assert_eq!((ack.status(), ack.record.value()), (Some(Status::Ok), 42.0), "seed {seed}");
        // And from the twin to the device.
        let at_server = pair.server_session();
        pair.server.engine.open_command(at_server, setpoint, 4).unwrap();
        pair.run_until("the device's ack", LIMIT, |pair| pair.server.sink.acks.len() == 1);
        assert_eq!(pair.server.sink.acks[0].hint, 4);
        assert_eq!(values(&pair.client.sink.t3), [5]);
    }
}

#[test]
fn late_answer_reaches_the_command_by_its_token() {
    let mut pair = Pair::new(1, Weather::CALM);
    let session = pair.connect();
    pair.server.sink.answer = |_| Answer::Later;
    let read = Command::request(numbered(5), Operation::Read);
    pair.client.engine.open_command(session, read, 3).unwrap();
    pair.run_until("the command", LIMIT, |pair| pair.server.sink.t3.len() == 1);
    let asked = pair.server.sink.t3[0];
    let ack = Command::ack(record(&asked), Status::Unknown, 0.0);
    pair.server.engine.answer(SessionId(asked.session), asked.hint, Answer::Ack(ack));
    // A second answer under the same token finds nobody and changes nothing.
    pair.server.engine.answer(SessionId(asked.session), asked.hint, Answer::Ack(ack));
    pair.run_until("the ack", LIMIT, |pair| pair.client.sink.acks.len() == 1);
    let end = Command::decode(&record(&pair.client.sink.acks[0])).unwrap();
    assert_eq!(end.status(), Some(Status::Unknown));
}

#[test]
fn open_commands_fail_when_the_session_ends() {
    let mut pair = Pair::new(1, Weather::CALM);
    pair.connect();
    pair.client.sink.answer = |_| Answer::Later;
    let at_server = pair.server_session();
    let setpoint = Command::request(numbered(5), Operation::Setpoint);
    pair.server.engine.open_command(at_server, setpoint, 4).unwrap();
    pair.run_until("the command", LIMIT, |pair| pair.client.sink.t3.len() == 1);
    pair.client.engine.close_all(pair.now, wire::CloseCode::Shutdown);
    pair.run_until("its failure", LIMIT, |pair| pair.server.sink.acks.len() == 1);
    assert_eq!(pair.server.sink.acks[0].flags, netloop::slot::FAILED);
}

#[test]
fn commands_of_a_session_that_falls_silent_end_at_the_time_of_its_end() {
    let mut pair = Pair::new(1, Weather::CALM);
    pair.connect();
    let at_server = pair.server_session();
    // Nothing passes any more, so no datagram has a time to lend.
    pair.carries_bytes = 0;
    let setpoint = Command::request(numbered(5), Operation::Setpoint);
    pair.server.engine.open_command(at_server, setpoint, 4).unwrap();
    pair.run_until("its failure", LIMIT, |pair| pair.server.sink.acks.len() == 1);
    let end = &pair.server.sink.acks[0];
    assert_eq!((end.flags, end.recv_ns), (netloop::slot::FAILED, pair.now.unix_ns));
}

#[test]
fn first_stream_without_magic_is_t2() {
    // A plain client that knows nothing of the control stream.
    for len in [1, 5, 13, 200] {
        let mut pair = Pair::plain(1, Weather::CALM);
        let session = pair.connect();
        let records: Vec<_> = (0..len).map(numbered).collect();
        write_once(&mut pair, session, &payload(&records), true);
        assert_eq!(values(&pair.server.sink.t2), (0..len).collect::<Vec<_>>());
        assert_eq!(pair.server.sink.t2[0].epoch, 0);
        assert_eq!(pair.server.engine.tally().bad_control, 0);
    }
}

#[test]
fn hello_of_another_version_closes_the_session() {
    let mut pair = Pair::plain(1, Weather::CALM);
    let session = pair.connect();
    let mut bytes = link::hello().encode();
    bytes[8] = 9;
    write_once(&mut pair, session, &bytes, false);
    pair.run_until("the close", LIMIT, |pair| {
        pair.client.engine.phase(session) != Some(netloop::Phase::Open)
    });
    let Some(SessionEvent::Closed { reason, .. }) = pair.client.sink.events.last() else {
        panic!("no close")
    };
    assert_eq!(*reason, netloop::CloseReason::Peer(Some(wire::CloseCode::BadVersion)));
    assert_eq!(pair.server.engine.tally().bad_control, 1);
}

#[test]
fn broken_control_stream_costs_itself_and_the_session_lives() {
    let hello = link::hello().encode();
    let mut long = hello;
    long[10] = 39;
    let mut frame = hello.to_vec();
    frame.extend([9, 0, 1, 2]);
    let mut cut = hello.to_vec();
    cut.extend([9, 0, 8, 0, 1]);
    // Totals that no device can have offered.
    let mut many = hello.to_vec();
    many.extend(wire::Totals { offered: [u64::MAX; 3] }.encode());
    let broken = [(&long[..], false), (&frame, false), (&cut, true), (&hello[..20], true)];
    for (bytes, fin) in broken.into_iter().chain([(&many[..], true)]) {
        let mut pair = Pair::plain(1, Weather::CALM);
        let session = pair.connect();
        write_once(&mut pair, session, bytes, fin);
        assert_eq!(pair.server.engine.tally().bad_control, 1, "{bytes:?}");
        assert_alive(&mut pair, session);
    }
}

#[test]
fn totals_hold_when_the_control_stream_ends_behind_them() {
    let totals = wire::Totals { offered: [9, 0, 0] };
    for fin in [false, true] {
        let mut pair = Pair::plain(1, Weather::CALM);
        let session = pair.connect();
        let frames = [&link::hello().encode()[..], &totals.encode()].concat();
        write_once(&mut pair, session, &frames, fin);
        let now = pair.now;
        pair.client.engine.close_all(now, CloseCode::Done);
        pair.run_until("the close", LIMIT, |pair| pair.closed().is_some());
        let Some(SessionEvent::Closed { totals: told, .. }) = pair.closed() else { return };
        assert_eq!(*told, fin.then_some(totals), "more could have come behind them without an end");
    }
}

#[test]
fn cut_magic_is_a_cut_record() {
    let mut pair = Pair::plain(1, Weather::CALM);
    let session = pair.connect();
    write_once(&mut pair, session, &wire::MAGIC[..5], true);
    assert_eq!(pair.server.engine.tally().tiers[Tier::T2.index()].decode_errors, 1);
    assert_alive(&mut pair, session);
}

#[test]
fn garbage_on_the_socket_costs_a_counter() {
    let mut pair = Pair::new(1, Weather::CALM);
    let session = pair.connect();
    let mut dice = Dice(77);
    for length in 1..1500 {
        let mut bytes: Vec<u8> = (0..length).map(|_| dice.next() as u8).collect();
        // Short headers with unknown connection ids: what a stray packet looks like.
        bytes[0] &= 0x7f;
        pair.server.engine.handle_datagram(
            pair.now,
            Datagram {
                remote: ([10, 9, 9, 9], 1000 + length as u16).into(),
                local_ip: None,
                ecn: None,
                payload: BytesMut::from(&bytes[..]),
                recv_ns: 0,
            },
        );
    }
    assert_eq!(pair.server.engine.open_sessions(), 1);
    assert_alive(&mut pair, session);
}

#[test]
fn sensors_of_one_session_get_dense_hints() {
    let mut pair = Pair::new(1, Weather::CALM);
    let session = pair.connect();
    let sensor = |id: u16, seq| {
        Record::encode(&Reading {
            device: DEVICE,
            sensor_id: id,
            value: 1.0,
            ts_us: 0,
            seq,
            sensor_type: SensorType::Current,
        })
    };
    for seq in 0..3 {
        let batch: Vec<_> = (0..20).map(|id| sensor(id, seq)).collect();
        pair.client.engine.send_datagram(session, Bytes::from(payload(&batch))).unwrap();
    }
    pair.run_until("three batches", LIMIT, |pair| pair.server.sink.t1.len() == 60);
    for slot in &pair.server.sink.t1 {
        assert_eq!(slot.hint, u32::from(record(slot).sensor_id()));
    }
}
