//! One session that sends a hundred times as much as the others costs them neither records nor their turn, and what is
//! urgent leaves first.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use link::{Pair, Weather, numbered, payload, values};
use netloop::{Phase, SessionId, StreamPriority};
use wire::{Command, Operation, RECORD_BYTES};

const LIMIT: Duration = Duration::from_secs(10);
/// Datagrams of a session that are served before the next session has its turn.
const QUANTUM: usize = 16;

fn sessions(pair: &mut Pair, count: u64) -> Vec<SessionId> {
    let sessions: Vec<_> = (0..count)
        .map(|_| pair.client.engine.connect(pair.now, pair.server.address, "localhost").unwrap())
        .collect();
    pair.run_until("the sessions", LIMIT, |pair| pair.server.engine.open_sessions() == count);
    pair.run_for(Duration::from_millis(50));
    assert!(sessions.iter().all(|id| pair.client.engine.phase(*id) == Some(Phase::Open)));
    sessions
}

fn send(pair: &mut Pair, session: SessionId, seq: u32, records: usize) {
    let batch = payload(&vec![numbered(seq); records]);
    pair.client.engine.send_datagram(session, Bytes::from(batch)).unwrap();
}

/// Whose records come in which order when sessions take turns of [`QUANTUM`] datagrams, in the order of their first one.
fn in_turns(arrived: &[(usize, u32)]) -> Vec<u32> {
    let mut line: VecDeque<usize> = VecDeque::new();
    let mut waiting: BTreeMap<usize, VecDeque<u32>> = BTreeMap::new();
    for (session, seq) in arrived {
        if !line.contains(session) {
            line.push_back(*session);
        }
        waiting.entry(*session).or_default().push_back(*seq);
    }
    let mut served = Vec::new();
    while let Some(session) = line.pop_front() {
        let queue = waiting.get_mut(&session).unwrap();
        served.extend(queue.drain(..queue.len().min(QUANTUM)));
        if !queue.is_empty() {
            line.push_back(session);
        }
    }
    served
}

#[test]
fn what_waits_is_served_in_turns_whoever_sends_more() {
    for seed in 1..=8 {
        let mut pair = Pair::new(seed, Weather::CALM);
        let sessions = sessions(&mut pair, 5);
        // A worker that gets no CPU for twenty milliseconds: the first session has sent 200 datagrams, the others 2 each.
        pair.stalled = true;
        let begin = pair.now.instant;
        let mut arrived = Vec::new();
        for slot in 0..200_u32 {
            pair.run_to(begin + Duration::from_micros(100) * slot);
            arrived.push((0, slot));
            send(&mut pair, sessions[0], slot, 1);
            if pair.dice.chance(0.04) {
                let calm = 1 + pair.dice.next() as usize % 4;
                let seq = 1000 + slot;
                pair.run_to(begin + Duration::from_micros(100) * slot + Duration::from_micros(50));
                arrived.push((calm, seq));
                send(&mut pair, sessions[calm], seq, 1);
            }
        }
        pair.run_to(begin + Duration::from_micros(20_500));
        assert!(pair.server.sink.t1.is_empty());
        pair.stalled = false;
        pair.turn();
        assert_eq!(values(&pair.server.sink.t1), in_turns(&arrived), "seed {seed}");
        assert!(pair.server.engine.tally().rounds >= 200 / QUANTUM as u64);
    }
}

#[test]
fn who_floods_the_t1_ring_sheds_its_own_records_only() {
    let mut pair = Pair::new(1, Weather::CALM);
    let sessions = sessions(&mut pair, 4);
    // Room for 400 records in each period, a quarter of it kept; the first session sends 1,080, the others 5 each.
    let begin = pair.now.instant;
    let mut calm = Vec::new();
    for period in 0..50_u32 {
        pair.server.sink.room_t1 = 400;
        pair.server.sink.kept_t1 = 100;
        for part in 0..45 {
            send(&mut pair, sessions[0], 0, 24);
            pair.run_to(begin + Duration::from_micros(200) * (period * 50 + part + 1));
        }
        for (at, session) in sessions[1..].iter().enumerate() {
            let seq = 1000 * (at as u32 + 1) + period;
            send(&mut pair, *session, seq, 5);
            calm.extend([seq; 5]);
        }
        pair.run_to(begin + Duration::from_millis(10) * (period + 1));
    }
    pair.run_for(Duration::from_millis(5));
    let mut arrived = values(&pair.server.sink.t1);
    arrived.retain(|seq| *seq > 0);
    arrived.sort_unstable();
    calm.sort_unstable();
    assert_eq!(arrived, calm, "seed 1: no record of a calm session is missing");
    let [t1, ..] = pair.server.engine.tally().tiers;
    assert!(t1.shed > 20_000, "{t1:?}");
}

/// Forty sessions always have more than the ring of T2 takes, which is always full but for a little.
#[test]
fn a_full_t2_ring_is_shared_by_all_that_wait_for_it() {
    const SESSIONS: u64 = 40;
    const ROOM: usize = 10;
    const PERIODS: usize = 400;
    let mut pair = Pair::new(6, Weather::CALM);
    let sessions = sessions(&mut pair, SESSIONS);
    pair.server.sink.room_t2 = 0;
    let bulk = payload(&vec![numbered(1); 1000]);
    let mut streams = Vec::new();
    for session in &sessions {
        streams.push(pair.client.engine.open_stream(*session, StreamPriority::Normal).unwrap());
    }
    for _ in 0..PERIODS {
        for (session, stream) in sessions.iter().zip(&streams) {
            // As much as the windows allow.
            let _ = pair.client.engine.write_stream(*session, *stream, &bulk);
        }
        pair.server.sink.room_t2 = ROOM;
        pair.run_for(Duration::from_millis(1));
    }
    let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
    for slot in &pair.server.sink.t2 {
        *taken.entry(slot.session).or_default() += 1;
    }
    let fair = pair.server.sink.t2.len() / SESSIONS as usize;
    assert!(fair > PERIODS * ROOM / SESSIONS as usize / 2, "{fair}");
    assert_eq!(taken.len(), SESSIONS as usize, "seed 6: {taken:?}");
    assert!(taken.values().all(|of| (fair / 2..=fair * 2).contains(of)), "seed 6: {taken:?}");
}

fn ask(pair: &mut Pair, session: SessionId, seq: u32) {
    let request = Command::request(numbered(seq), Operation::Read);
    pair.client.engine.open_command(session, request, seq).unwrap();
}

/// The connection ids of what the client sends now, one for each datagram.
fn sent_to(pair: &mut Pair) -> Vec<[u8; 8]> {
    let (mut sent, mut buffer) = (Vec::new(), Vec::new());
    while pair.client.engine.poll_transmit(pair.now, 1, &mut buffer).is_some() {
        sent.push(buffer[1..9].try_into().unwrap());
    }
    sent
}

#[test]
fn a_command_leaves_before_the_bulk_of_another_session() {
    let mut pair = Pair::new(3, Weather::CALM);
    let sessions = sessions(&mut pair, 2);
    let stream = pair.client.engine.open_stream(sessions[0], StreamPriority::Normal).unwrap();
    let bulk = payload(&vec![numbered(1); 5000]);
    assert!(pair.client.engine.write_stream(sessions[0], stream, &bulk).is_ok());
    ask(&mut pair, sessions[1], 9);
    let sent = sent_to(&mut pair);
    assert!(sent.len() > 5, "{}", sent.len());
    assert!(sent[1..].iter().all(|id| *id != sent[0]), "the command is the first, and alone");
}

#[test]
fn sessions_with_bulk_send_in_turns() {
    let mut pair = Pair::new(4, Weather::CALM);
    let sessions = sessions(&mut pair, 2);
    let mut streams = Vec::new();
    for session in &sessions {
        let stream = pair.client.engine.open_stream(*session, StreamPriority::Normal).unwrap();
        streams.push(stream);
    }
    let bulk = payload(&vec![numbered(1); 5000]);
    let write = |pair: &mut Pair, at: usize| {
        let _ = pair.client.engine.write_stream(sessions[at], streams[at], &bulk);
    };
    // Until the windows are wide open, so that either could send for long.
    for _ in 0..40 {
        (0..2).for_each(|at| write(&mut pair, at));
        pair.run_for(Duration::from_millis(5));
    }
    pair.run_for(Duration::from_millis(200));
    (0..2).for_each(|at| write(&mut pair, at));
    let sent = sent_to(&mut pair);
    let mut runs = vec![0];
    for pair in sent.windows(2) {
        *runs.last_mut().unwrap() += 1;
        if pair[0] != pair[1] {
            runs.push(0);
        }
    }
    assert!(runs.len() >= 3, "{runs:?}");
    assert!(runs[..2].iter().all(|run| *run <= 44), "one full transmit in a turn: {runs:?}");
}

#[test]
fn streams_leave_by_their_priority() {
    /// More than the first flight of a session.
    const RECORDS: usize = 1500;
    let mut pair = Pair::new(5, Weather::CALM);
    let session = pair.connect();
    let mut write = |priority, seq| {
        let stream = pair.client.engine.open_stream(session, priority).unwrap();
        let bytes = payload(&vec![numbered(seq); RECORDS]);
        let written = pair.client.engine.write_stream(session, stream, &bytes);
        assert_eq!(written, Ok(RECORDS * RECORD_BYTES), "the windows hold it");
        pair.client.engine.finish_stream(session, stream);
    };
    write(StreamPriority::Background, 1);
    write(StreamPriority::Low, 2);
    write(StreamPriority::Normal, 3);
    ask(&mut pair, session, 9);
    pair.run_until("the command", LIMIT, |pair| !pair.server.sink.t3.is_empty());
    let before = pair.server.sink.t2.len();
    assert!(before < RECORDS, "{before} records went before the command");
    pair.run_until("all records", LIMIT, |pair| pair.server.sink.t2.len() == 3 * RECORDS);
    let order = values(&pair.server.sink.t2);
    assert!(order.is_sorted_by(|a, b| a >= b), "normal, then low, then background");
}
