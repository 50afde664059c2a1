//! What each tier promises, over a link that loses, reorders, duplicates and delays.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::time::Duration;

use bytes::Bytes;
use link::{Pair, Weather, numbered, payload, values};
use netloop::{Answer, SendError, SessionEvent, SessionLimits, StreamPriority, slot};
use wire::{CloseCode, Command, Operation, Tier, Totals};

const LIMIT: Duration = Duration::from_secs(120);

fn weathers() -> impl Iterator<Item = (u64, Weather)> {
    (1..=8).map(|seed| {
        let loss = [0.0, 0.01, 0.05, 0.2][seed as usize % 4];
        (seed, Weather { duplicate: loss, ..Weather::lossy(loss) })
    })
}

/// Writes all of `bytes` to one T2 stream, as windows allow, and finishes it.
fn send_stream(pair: &mut Pair, session: netloop::SessionId, bytes: &[u8]) {
    let stream = pair.client.engine.open_stream(session, StreamPriority::Normal).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        match pair.client.engine.write_stream(session, stream, &bytes[sent..]) {
            Ok(written) => sent += written,
            Err(SendError::Blocked) => assert!(pair.step(), "seed {}", pair.seed),
            Err(error) => panic!("seed {}: {error}", pair.seed),
        }
    }
    pair.client.engine.finish_stream(session, stream);
}

#[test]
fn t2_arrives_whole_and_in_order_in_any_weather() {
    for (seed, weather) in weathers() {
        let mut pair = Pair::new(seed, weather);
        let session = pair.connect();
        let records: Vec<_> = (0..5000).map(numbered).collect();
        send_stream(&mut pair, session, &payload(&records));
        pair.run_until("all of T2", LIMIT, |pair| pair.server.sink.t2.len() == 5000);
        assert_eq!(values(&pair.server.sink.t2), (0..5000).collect::<Vec<_>>(), "seed {seed}");
        assert!(weather.loss == 0.0 || pair.lost > 0, "the link lost nothing");
    }
}

#[test]
fn t2_streams_are_each_in_order_beside_each_other() {
    let mut pair = Pair::new(3, Weather::lossy(0.05));
    let session = pair.connect();
    let streams: Vec<_> = (0..7)
        .map(|_| pair.client.engine.open_stream(session, StreamPriority::Normal).unwrap())
        .collect();
    for step in 0..100 {
        for (nth, stream) in streams.iter().enumerate() {
            // Ten bytes at a time: record borders and writes never meet.
            let records: Vec<_> = (0..10).map(|n| numbered(nth as u32 * 1000 + n)).collect();
            let bytes = payload(&records);
            let end = ((step + 1) * 10).min(bytes.len());
            let start = (step * 10).min(end);
            pair.client.engine.write_stream(session, *stream, &bytes[start..end]).unwrap();
        }
        pair.step();
    }
    for stream in streams {
        pair.client.engine.finish_stream(session, stream);
    }
    pair.run_until("seven streams", LIMIT, |pair| pair.server.sink.t2.len() == 70);
    for nth in 0..7 {
        let of_stream = values(&pair.server.sink.t2).into_iter().filter(|v| v / 1000 == nth);
        assert_eq!(
            of_stream.collect::<Vec<_>>(),
            (nth * 1000..nth * 1000 + 10).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_thousand_streams_stay_open_beside_each_other() {
    let limits = SessionLimits { uni_streams_max: 1100, ..SessionLimits::default() };
    let mut pair = Pair::with_limits(4, Weather::CALM, limits, SessionLimits::default());
    let session = pair.connect();
    let mut streams = Vec::new();
    // A few at first, and as many as the server allows once it has seen them used.
    while streams.len() < 1000 {
        match pair.client.engine.open_stream(session, StreamPriority::Normal) {
            Ok(stream) => {
                let first = payload(&[numbered(streams.len() as u32)]);
                pair.client.engine.write_stream(session, stream, &first).unwrap();
                streams.push(stream);
            }
            Err(_) => assert!(pair.step(), "seed 4: no further stream after {}", streams.len()),
        }
    }
    pair.run_until("the first records", LIMIT, |pair| pair.server.sink.t2.len() == 1000);
    for (nth, stream) in streams.iter().enumerate().rev() {
        let second = payload(&[numbered(1000 + nth as u32)]);
        pair.client.engine.write_stream(session, *stream, &second).unwrap();
        pair.client.engine.finish_stream(session, *stream);
    }
    pair.run_until("all records", LIMIT, |pair| pair.server.sink.t2.len() == 2000);
    let mut arrived = values(&pair.server.sink.t2);
    arrived.sort_unstable();
    assert_eq!(arrived, (0..2000).collect::<Vec<_>>());
}

#[test]
fn t1_arrives_at_most_once_and_losses_are_known_after_an_orderly_close() {
    for (seed, weather) in weathers() {
        let mut pair = Pair::new(seed, weather);
        let session = pair.connect();
        let mut offered = 0;
        for burst in 0..200 {
            let records: Vec<_> = (0..20).map(|n| numbered(burst * 20 + n)).collect();
            let batch = Bytes::from(payload(&records));
            while pair.client.engine.send_datagram(session, batch.clone())
                == Err(SendError::Blocked)
            {
                pair.step();
            }
            offered += 20;
            pair.step();
        }
        let totals = Totals { offered: [offered, 0, 0] };
        pair.client.engine.finish(session, totals);
        pair.run_until("the close", LIMIT, |pair| pair.closed().is_some());
        let Some(SessionEvent::Closed { tally, totals: told, .. }) = pair.closed() else {
            panic!("seed {seed}: no close")
        };
        let seen = values(&pair.server.sink.t1);
        let mut unique = seen.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "seed {seed}: a record came twice");
        assert_eq!(tally[Tier::T1.index()].received, seen.len() as u64, "seed {seed}");
        assert_eq!(*told, Some(totals), "seed {seed}");
        let lost = offered - seen.len() as u64;
        assert_eq!(lost == 0, weather.loss == 0.0, "seed {seed}: {lost} lost");
        assert_eq!(pair.server.engine.tally().shed_quic_datagrams, 0, "seed {seed}");
    }
}

#[test]
fn every_slot_knows_its_sensor_session_epoch_and_time() {
    let mut pair = Pair::new(1, Weather::CALM);
    let session = pair.connect();
    let records = [numbered(0), numbered(1), numbered(2)];
    pair.client.engine.send_datagram(session, Bytes::from(payload(&records))).unwrap();
    pair.run_until("the batch", LIMIT, |pair| pair.server.sink.t1.len() == 3);
    let at_server = pair.server_session();
    for slot in &pair.server.sink.t1 {
        assert_eq!((slot.hint, slot.session, slot.epoch), (0, at_server.0, link::hello().epoch));
        assert_eq!(slot.recv_ns, pair.now.unix_ns);
    }
}

/// The worker was away while a device said hello and went on: what came behind the hello is of its epoch.
#[test]
fn records_behind_the_hello_of_the_same_turn_have_its_epoch() {
    let mut pair = Pair::new(4, Weather::CALM);
    let session = pair.client.engine.connect(pair.now, pair.server.address, "localhost").unwrap();
    pair.run_until("the client's end of the handshake", LIMIT, |pair| {
        pair.client.engine.phase(session) == Some(netloop::Phase::Open)
    });
    pair.stalled = true;
    let begin = pair.now.instant;
    for seq in 0..8 {
        let record = Bytes::from(payload(&[numbered(seq)]));
        pair.client.engine.send_datagram(session, record).unwrap();
        pair.run_to(begin + Duration::from_micros(300) * (seq + 1));
    }
    pair.run_to(begin + Duration::from_millis(5));
    assert!(pair.server.sink.t1.is_empty());
    pair.stalled = false;
    pair.run_for(Duration::from_millis(5));
    assert_eq!(values(&pair.server.sink.t1), (0..8).collect::<Vec<_>>());
    let epochs: Vec<_> = pair.server.sink.t1.iter().map(|slot| slot.epoch).collect();
    assert_eq!(epochs, [link::hello().epoch; 8]);
    let times: Vec<_> = pair.server.sink.t1.iter().map(|slot| slot.recv_ns).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "each has its own receive time: {times:?}");
}

/// Writes up to `wish` bytes to streams, as far as the windows of the session allow, ends them, and says how many they were.
fn fill_windows(pair: &mut Pair, session: netloop::SessionId, wish: usize) -> usize {
    let bytes = payload(&vec![numbered(1); wish.div_ceil(wire::RECORD_BYTES)]);
    let mut written = 0;
    while let Ok(stream) = pair.client.engine.open_stream(session, StreamPriority::Normal) {
        let before = written;
        // What QUIC keeps of a session until it is acknowledged is a window as well.
        for _ in 0..200 {
            let left = &bytes[written..wish];
            written += pair.client.engine.write_stream(session, stream, left).unwrap_or(0);
            pair.step();
        }
        pair.client.engine.finish_stream(session, stream);
        if written == before {
            break;
        }
    }
    written
}

#[test]
fn totals_wait_for_the_windows_and_arrive_whole() {
    let totals = Totals { offered: [1, 2, 3] };
    let windows = {
        let mut pair = Pair::new(8, Weather::CALM);
        let session = pair.connect();
        pair.server.sink.room_t2 = 0;
        fill_windows(&mut pair, session, 16 << 20)
    };
    assert!(windows < 16 << 20);
    for room in [0, 1, 27, 28] {
        let mut pair = Pair::new(8, Weather::CALM);
        let session = pair.connect();
        pair.server.sink.room_t2 = 0;
        assert_eq!(fill_windows(&mut pair, session, windows - room), windows - room);
        pair.client.engine.finish(session, totals);
        pair.run_for(Duration::from_secs(1));
        assert!(pair.closed().is_none());
        pair.server.sink.room_t2 = 1 << 20;
        // Nothing has to arrive for the server to go on with what waits: a worker looks again by itself.
        while pair.server.engine.is_backlogged() {
            pair.turn();
        }
        pair.run_until("the close", LIMIT, |pair| pair.closed().is_some());
        let Some(SessionEvent::Closed { totals: told, reason, .. }) = pair.closed() else {
            panic!()
        };
        assert_eq!(*told, Some(totals), "room for {room} bytes");
        assert_eq!(*reason, netloop::CloseReason::Peer(Some(CloseCode::Done)));
        assert_eq!(pair.server.engine.tally().bad_control, 0);
    }
}

#[test]
fn totals_of_a_session_that_saw_the_wall_clock_set_back_are_judged_by_its_length() {
    // More than a device offers in a second, and less than in eight.
    let totals = Totals { offered: [500_000_000, 0, 0] };
    let mut pair = Pair::new(10, Weather::CALM);
    let session = pair.connect();
    pair.run_for(Duration::from_secs(8));
    pair.now.unix_ns -= 900 * 86_400_000_000_000;
    pair.client.engine.finish(session, totals);
    pair.run_until("the close", LIMIT, |pair| pair.closed().is_some());
    let Some(SessionEvent::Closed { totals: told, .. }) = pair.closed() else { panic!() };
    assert_eq!(*told, Some(totals));
}

#[test]
fn orderly_close_tells_both_ends() {
    let mut pair = Pair::new(9, Weather::lossy(0.05));
    let session = pair.connect();
    pair.client.engine.finish(session, Totals::default());
    pair.run_until("the close", LIMIT, |pair| pair.closed().is_some());
    let at_client = pair.client.sink.events.last().unwrap();
    let done = netloop::CloseReason::Local(CloseCode::Done);
    assert!(
        matches!(at_client, SessionEvent::Closed { reason, .. } if *reason == done),
        "{at_client:?}"
    );
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.server.engine.ids().count() + pair.client.engine.ids().count(), 0);
}

#[test]
fn an_ack_that_comes_with_the_close_is_taken_and_only_the_others_fail() {
    for room in [1 << 20, 0] {
        let mut pair = Pair::new(9, Weather::CALM);
        let session = pair.connect();
        pair.client.sink.room_t3 = room;
        for (tag, answered) in [(0, false), (1, true)] {
            if !answered {
                pair.server.sink.answer = |_| Answer::Later;
            }
            let request = Command::request(numbered(tag), Operation::Read);
            pair.client.engine.open_command(session, request, tag).unwrap();
            let asked = pair.server.sink.t3.len() + 1;
            pair.run_until("the command", LIMIT, |pair| pair.server.sink.t3.len() == asked);
            pair.server.sink.answer = link::Collector::default().answer;
        }
        // Behind the ack, so that both arrive between two turns of the client.
        let at_server = pair.server_session();
        pair.server.engine.close(pair.now, at_server, CloseCode::Shutdown);
        pair.run_for(Duration::from_secs(1));
        if room == 0 {
            assert_eq!(pair.client.sink.acks.len(), 0);
            pair.client.sink.room_t3 = 2;
        }
        pair.run_until("the close", LIMIT, |pair| {
            let closed = |event: &SessionEvent| matches!(event, SessionEvent::Closed { .. });
            pair.client.sink.events.iter().any(closed)
        });
        let ends = pair.client.sink.acks.iter().map(|end| (end.hint, end.flags));
        assert_eq!(ends.collect::<Vec<_>>(), [(1, slot::ACK), (0, slot::FAILED)]);
    }
}

#[test]
fn silent_peer_is_closed_after_the_idle_timeout() {
    let mut pair = Pair::new(5, Weather::CALM);
    pair.connect();
    pair.weather.loss = 1.0;
    pair.run_until("the idle timeout", Duration::from_secs(60), |pair| pair.closed().is_some());
    let Some(SessionEvent::Closed { reason, .. }) = pair.closed() else { panic!() };
    assert_eq!(*reason, netloop::CloseReason::Idle);
    assert_eq!(pair.server.engine.open_sessions(), 0);
}

#[test]
fn keep_alive_holds_an_idle_session_open() {
    let mut pair = Pair::new(5, Weather::CALM);
    let session = pair.connect();
    pair.run_for(Duration::from_secs(300));
    assert_eq!(pair.client.engine.phase(session), Some(netloop::Phase::Open));
    assert_eq!(pair.server.engine.open_sessions(), 1);
}

#[test]
fn call_that_nobody_answers_is_given_up_in_time_and_another_one_succeeds() {
    let limits = netloop::SessionLimits {
        handshake_timeout: Duration::from_secs(3),
        idle_timeout: Duration::from_secs(60),
        ..Default::default()
    };
    let silent = Weather { loss: 1.0, ..Weather::CALM };
    let mut pair = Pair::with_limits(6, silent, limits.clone(), limits);
    let begin = pair.now.instant;
    let call = pair.client.engine.connect(pair.now, pair.server.address, "localhost").unwrap();
    let reason = |pair: &Pair| {
        pair.client.sink.events.iter().find_map(|event| match event {
            SessionEvent::Failed { session, reason } if *session == call => Some(*reason),
            _ => None,
        })
    };
    pair.run_until("the end of the call", LIMIT, |pair| reason(pair).is_some());
    assert_eq!(reason(&pair), Some(netloop::CloseReason::Idle));
    let passed = pair.now.instant - begin;
    assert!((3.0..3.1).contains(&passed.as_secs_f64()), "after {passed:?}");
    assert_eq!(pair.client.engine.tally().handshakes_timeout, 1);
    pair.weather = Weather::CALM;
    pair.connect();
    // Time in which a call would be given up that is a session already.
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.server.engine.open_sessions(), 1);
}

#[test]
fn session_beyond_the_limit_is_refused() {
    let limits = netloop::SessionLimits { sessions_max: 1, ..Default::default() };
    let mut pair = Pair::with_limits(2, Weather::CALM, limits, Default::default());
    pair.connect();
    let second = pair.client.engine.connect(pair.now, pair.server.address, "localhost").unwrap();
    pair.run_until("the refusal", LIMIT, |pair| {
        let failed = |e: &SessionEvent| {
            matches!(e, SessionEvent::Failed { session, .. } if *session == second)
        };
        pair.client.sink.events.iter().any(failed)
    });
    assert_eq!(pair.server.engine.tally().limited(netloop::Limit::Sessions), 1);
    assert_eq!(pair.server.engine.open_sessions(), 1);
}
