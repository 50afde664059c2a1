//! A capture that is written round is replayed from its first state on, and comes to the same worlds as the run.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use netloop::{Consumer, Slot};
use rig::{Random, Rig, device};
use twin::capture::{Allowance, Ended, Header, Reader, Replay, Step, Tail, Writer, tap};
use twin::config::{Effective, Keep};
use twin::order::{Order, StopRequest, StopWord, orders_after};
use twin::stats::TwinStats;
use twin::world::{ACTUATOR_ID, Saved, SavedError, WorldOptions};
use wire::SensorType;

const TICKS: u64 = 4_000;
const SESSIONS: u32 = 6;
const CELLS: usize = 1 << 22;

/// Budgets that end within a tick, limits that are reached, rules that fire, and every fault.
const CONFIG: &str = r#"
[tick]
drain_t1 = 150
drain_t2 = 60
drain_t3 = 40
[world]
entities_max = 110
[thresholds.temperature]
high = 60.0
low = 40.0
hysteresis = 2.0
[[automation.rules]]
sensor_type = "temperature"
above = 50
setpoint = 20.0
[fault]
seed = 7
loss = 0.02
delay_ticks = 3
duplicate = 0.02
corrupt = 0.01
"#;

fn options(config: &str) -> WorldOptions {
    WorldOptions::new(Effective::load_text(Path::new("test"), config).unwrap().config(), [1, 2])
}

struct Run {
    cells: Vec<Slot>,
    /// The hash of the world after each tick.
    hashes: BTreeMap<u64, u64>,
    end: u64,
}

/// A run with orders of operators and stops of the plant.
fn run(config: &str, seed: u64) -> Run {
    let mut rig = Rig::new(options(config));
    // As after a restart in some of them: stopped from the beginning.
    let held = StopRequest { word: StopWord(seed % 2), ..StopRequest::default() };
    let (mut desk, port) = orders_after(held);
    rig.world.command(port);
    let (tap, ring) = tap(CELLS, Arc::clone(&rig.stats));
    rig.lanes.tap = Some(tap);
    let mut random = Random(seed);
    for session in 0..SESSIONS {
        rig.open(session);
        rig.hello(session, session % 2);
    }
    let mut hashes = BTreeMap::new();
    for tick in 0..TICKS {
        rig.feed(&mut random, tick);
        while desk.poll().is_some() {}
        if random.below(20) == 0 {
            desk.push(Order {
                id: 0,
                asked_ns: rig::START_NS,
                device: device(random.below(40) as u32),
                actuator_id: ACTUATOR_ID + random.below(2) as u16,
                sensor_type: SensorType::Temperature,
                via: 1,
                value: random.below(50) as f64,
            });
        }
        if random.below(250) == 0 {
            desk.set_stopped(random.below(3) == 0, rig::START_NS + tick);
        }
        hashes.insert(rig.next_tick, 0);
        rig.tick();
        *hashes.last_entry().unwrap().get_mut() = rig.world.state_hash();
        // Numbers may be missed.
        rig.next_tick += u64::from(random.below(100) == 0);
    }
    let tap = rig.lanes.tap.take().unwrap();
    let end = rig.world.state_hash();
    tap.finish(end);
    Run { cells: all(ring), hashes, end }
}

fn all(mut ring: Consumer<Slot>) -> Vec<Slot> {
    let mut cells = Vec::new();
    ring.pop_chunk(CELLS, |front, back| cells.extend([front, back].concat()));
    cells
}

/// The file that these cells make, and what the writer has counted.
fn file_of(cells: &[Slot], config: &str, bytes_max: u64) -> (Vec<u8>, Ended, Arc<TwinStats>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    let (mut producer, consumer) = netloop::ring(CELLS);
    producer.push_slice(cells);
    let header = Header::of_this_build(rig::START_NS, Keep::Last, config.to_owned());
    let stats = Arc::<TwinStats>::default();
    let writer =
        Writer::start(&path, &header, Allowance::bytes(bytes_max), consumer, Arc::clone(&stats))
            .unwrap();
    let ended = writer.finish(rig::patience()).unwrap().ended;
    (fs::read(&path).unwrap(), ended, stats)
}

/// What a replay from the state `from` on, counted from 0, came to: its state's tick, the ticks behind it, the hash of its end.
fn replay(bytes: &[u8], from: usize, hashes: &BTreeMap<u64, u64>) -> Option<(u64, u64, u64)> {
    let mut reader = Reader::open(Cursor::new(bytes)).unwrap();
    let mut replay = Replay::new(reader.header()).unwrap();
    let (mut states, mut began, mut end) = (0, None, 0);
    while let Some(step) = reader.next_step().unwrap() {
        match step {
            Step::State(state) => {
                if states == from {
                    replay.restore(&state).unwrap();
                    began = Some(state.tick);
                    assert_eq!(replay.world().state_hash(), hashes[&state.tick]);
                }
                states += 1;
            }
            Step::Tick(frame) if began.is_some() => {
                assert_eq!(replay.apply(&frame), None, "tick {} differs", frame.tick);
                assert_eq!(replay.world().state_hash(), hashes[&frame.tick], "tick {}", frame.tick);
            }
            Step::End { state_hash, .. } => end = state_hash,
            Step::Tick(_) => {}
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(reader.tail(), Some(Tail::Whole));
    began.map(|tick| (tick, replay.ticks(), end))
}

#[test]
fn a_file_that_is_written_round_is_replayed_from_each_of_its_states() {
    let mut replayed = 0;
    for (seed, bytes_max) in [(31, 1 << 20), (32, 1_700_000), (33, 4 << 20)] {
        let run = run(CONFIG, seed);
        let (bytes, ended, stats) = file_of(&run.cells, CONFIG, bytes_max);
        assert_eq!(ended, Ended::Round, "seed {seed}");
        assert!(stats.capture.states.value() > 5, "seed {seed}");
        let mut states = 0;
        while let Some((tick, ticks, end)) = replay(&bytes, states, &run.hashes) {
            let behind = run.hashes.range(tick + 1..).count() as u64;
            assert_eq!((ticks, end), (behind, run.end), "seed {seed}, state {states}");
            if states == 0 {
                // A quarter of a lap lies between two states, which take their room as well.
                let in_file = bytes.len() as u64 * TICKS / (run.cells.len() as u64 * 64);
                assert!(ticks > in_file / 3, "seed {seed}: {ticks} of about {in_file} ticks");
            }
            states += 1;
        }
        assert!(states > 0, "seed {seed}: there is always a whole one");
        replayed += states;
    }
    assert!(replayed > 3, "{replayed} states");
}

#[test]
fn a_file_that_has_room_for_the_whole_run_is_replayed_from_its_states_as_well() {
    let run = run("", 41);
    let (bytes, ended, _) = file_of(&run.cells, "", 1 << 26);
    assert_eq!(ended, Ended::Whole);
    assert_eq!(replay(&bytes, 0, &run.hashes).map(|(_, _, end)| end), Some(run.end));
    // From its beginning, it is as if there were none.
    let mut reader = Reader::open(Cursor::new(&bytes)).unwrap();
    let mut replay = Replay::new(reader.header()).unwrap();
    while let Some(step) = reader.next_step().unwrap() {
        if let Step::Tick(frame) = step {
            assert_eq!(replay.apply(&frame), None);
        }
    }
    assert_eq!((replay.ticks(), replay.world().state_hash()), (TICKS, run.end));
}

#[test]
fn a_capture_whose_world_would_be_another_one_gets_no_state() {
    let run = run(CONFIG, 51);
    // Of another configuration: its replay differs from the run.
    let (bytes, ended, stats) = file_of(&run.cells, "[world]\nentities_max = 50\n", 1 << 20);
    assert_eq!((ended, stats.capture.states.value()), (Ended::Round, 0));
    assert_eq!(replay(&bytes, 0, &run.hashes), None);
}

#[test]
fn a_file_without_room_for_a_state_gets_none() {
    let run = run(CONFIG, 52);
    let (bytes, ended, stats) = file_of(&run.cells, CONFIG, 60_000);
    assert_eq!((ended, stats.capture.states.value()), (Ended::Round, 0));
    assert_eq!(replay(&bytes, 0, &run.hashes), None);
}

/// The plant whose digest goes on with another row.
fn with_digest_row(text: &str, row: &str) -> String {
    let mut plant: serde_json::Value = serde_json::from_str(text).unwrap();
    plant["digest"]["row"] = serde_json::from_str(row).unwrap();
    plant.to_string()
}

#[test]
fn a_state_whose_parts_contradict_each_other_is_refused() {
    let run = run(CONFIG, 61);
    let (bytes, ..) = file_of(&run.cells, CONFIG, 1 << 20);
    let mut reader = Reader::open(Cursor::new(&bytes)).unwrap();
    let mut refused = 0;
    while let Some(step) = reader.next_step().unwrap() {
        let Step::State(state) = step else { continue };
        let Saved { plant, held, rows } = state.saved;
        let text = std::str::from_utf8(plant).unwrap();
        let restore = |config: &str, saved: Saved<'_>| {
            let mut world = Replay::with_options(options(config));
            world.restore(&twin::capture::State { tick: state.tick, saved })
        };
        assert!(restore(CONFIG, state.saved).is_ok());
        let broken = text.replacen("\"rows\":[", "\"rows\":[134217727,", 1);
        assert_ne!(broken, text, "a session has rows");
        let beyond = ["134217727", "18446744073709551615"].map(|row| with_digest_row(text, row));
        let strange = [
            (CONFIG, Saved { plant: &plant[1..], ..state.saved }),
            (CONFIG, Saved { rows: &rows[..rows.len() - 1], ..state.saved }),
            (CONFIG, Saved { held: &held[..held.len() - 1], ..state.saved }),
            (CONFIG, Saved { plant: broken.as_bytes(), ..state.saved }),
            (CONFIG, Saved { plant: beyond[0].as_bytes(), ..state.saved }),
            (CONFIG, Saved { plant: beyond[1].as_bytes(), ..state.saved }),
            ("", state.saved),
            ("[world]\nentities_max = 5\n[fault]\nloss = 0.1\n", state.saved),
        ];
        for (config, saved) in strange {
            let error = restore(config, saved).unwrap_err();
            refused += u64::from(matches!(error, SavedError::Contradiction(_)));
        }
    }
    assert!(refused >= 8, "{refused} contradictions");
}
