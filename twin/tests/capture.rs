//! A captured run comes back bit for bit, and a damaged file costs no more than its last segment.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod rig;

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use netloop::{Consumer, Slot};
use rig::{Random, Rig, options};
use twin::capture::{
    Allowance, Difference, Ended, Header, ReadError, Reader, Replay, Step, Tail, Writer, Written,
    tap,
};
use twin::config::Keep;
use twin::world::{ACTUATOR_ID, FaultOptions, Limits, Rule, WorldOptions};
use wire::{SensorType, Tier};

const TICKS: u64 = 3_000;

fn header() -> Header {
    Header::of_this_build(rig::START_NS, Keep::First, String::new())
}

fn with_rules(fault: FaultOptions) -> WorldOptions {
    let rule = Rule {
        sensor_type: SensorType::Temperature,
        above: 70.0,
        actuator_id: ACTUATOR_ID,
        setpoint: 20.0,
    };
    let limits = [Limits::new(80.0, 0.0, 2.0); SensorType::COUNT];
    // Few enough for the budget to end within a tick.
    let drain = [150, 60, 40];
    WorldOptions { rules: vec![rule], limits, fault, drain, entities_max: 90, ..options() }
}

fn faults() -> FaultOptions {
    FaultOptions { seed: 7, loss: 0.02, delay_ticks: 3, duplicate: 0.02, corrupt: 0.01 }
}

struct Captured {
    rig: Rig,
    ring: Consumer<Slot>,
    hashes: Vec<u64>,
}

fn run(options: WorldOptions, cells: usize, seed: u64) -> Captured {
    let mut rig = Rig::new(options);
    let (tap, ring) = tap(cells, Arc::clone(&rig.stats));
    rig.lanes.tap = Some(tap);
    let mut random = Random(seed);
    for session in 0..6 {
        rig.open(session);
        rig.hello(session, session % 2);
    }
    let mut hashes = Vec::new();
    for tick in 0..TICKS {
        rig.feed(&mut random, tick);
        rig.tick();
        // Numbers may be missed.
        rig.next_tick += u64::from(random.below(100) == 0);
        hashes.push(rig.world.state_hash());
    }
    let tap = rig.lanes.tap.take().unwrap();
    tap.finish(rig.world.state_hash());
    Captured { rig, ring, hashes }
}

fn write(path: &Path, captured: Captured, bytes_max: u64) -> (Rig, Vec<u64>, Written) {
    let Captured { rig, ring, hashes } = captured;
    let stats = Arc::clone(&rig.stats);
    let writer = Writer::start(path, &header(), Allowance::bytes(bytes_max), ring, stats).unwrap();
    (rig, hashes, writer.finish(rig::patience()).unwrap())
}

#[derive(Debug, Default)]
struct Read {
    hashes: Vec<u64>,
    gaps: Vec<(u64, u64)>,
    end: Option<(u64, u64)>,
    tail: Option<Tail>,
    difference: Option<Difference>,
}

fn replay(bytes: &[u8], options: WorldOptions, each_hash: bool) -> Result<Read, ReadError> {
    let mut reader = Reader::open(Cursor::new(bytes)).unwrap();
    assert_eq!(reader.header(), &header());
    let mut replay = Replay::with_options(options);
    let mut read = Read::default();
    while let Some(step) = reader.next_step()? {
        match step {
            Step::Tick(frame) => {
                replay.apply(&frame);
                read.hashes.push(if each_hash { replay.world().state_hash() } else { 0 });
            }
            Step::Gap { cells, ticks } => read.gaps.push((cells, ticks)),
            Step::Lost { segments } => panic!("{segments} segments are lost"),
            Step::State(_) => panic!("a file that keeps the beginning has no state"),
            Step::End { state_hash, ticks } => {
                assert_eq!(state_hash == replay.world().state_hash(), read.gaps.is_empty());
                read.end = Some((state_hash, ticks));
            }
        }
    }
    (read.tail, read.difference) = (reader.tail(), replay.difference());
    Ok(read)
}

#[test]
fn a_replay_has_the_same_rows_after_every_tick() {
    for (seed, fault) in [(1, FaultOptions::default()), (2, FaultOptions::default()), (3, faults())]
    {
        eprintln!("seed {seed}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.capture");
        let captured = run(with_rules(fault), 1 << 22, seed);
        let (rig, hashes, written) = write(&path, captured, u64::MAX);
        let bytes = fs::read(&path).unwrap();
        assert_eq!((written.ended, written.bytes), (Ended::Whole, bytes.len() as u64));
        // The rig has known its world only for what it counts: everything has happened in it.
        assert!(rig.world.command_ends().acknowledged > 10, "{:?}", rig.world.command_ends());
        assert!(rig.stats.tick.budgets_spent.value() > 0, "a budget has ended in a tick");
        assert!(rig.world.outcomes(Tier::T1).rejected_total() > 0, "the world was full");
        let read = replay(&bytes, with_rules(fault), true).unwrap();
        assert!(read.hashes == hashes, "seed {seed}: every world is the same");
        assert_eq!((read.difference, read.gaps.len()), (None, 0));
        assert_eq!(read.end, Some((*hashes.last().unwrap(), TICKS)));
        assert_eq!(read.tail, Some(Tail::Whole));
    }
}

#[test]
fn a_replay_names_the_tick_in_which_its_world_turns_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    let (_, hashes, _) = write(&path, run(with_rules(faults()), 1 << 22, 4), u64::MAX);
    let others = WorldOptions { entities_max: 89, ..with_rules(faults()) };
    let mut reader = Reader::open(fs::File::open(&path).unwrap()).unwrap();
    let mut replay = Replay::with_options(others);
    let mut at = 0;
    let found = loop {
        let Some(Step::Tick(frame)) = reader.next_step().unwrap() else { panic!("no difference") };
        let difference = replay.apply(&frame);
        let differs = replay.world().state_hash() != hashes[at];
        assert_eq!(difference.is_some(), differs, "tick {}", frame.tick);
        if let Some(difference) = difference {
            break difference;
        }
        at += 1;
    };
    assert_ne!(found.captured, found.replayed);
    assert!(at > 0 && found.tick >= at as u64, "{found:?}");
}

#[test]
fn a_cut_file_loses_its_last_segment_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    let (_, hashes, written) = write(&path, run(with_rules(faults()), 1 << 22, 5), u64::MAX);
    let bytes = fs::read(&path).unwrap();
    assert!(written.segments > 5);
    let mut random = Random(9);
    for _ in 0..40 {
        let cut = 4096 + random.below(bytes.len() as u64 - 4096) as usize;
        let whole = replay(&bytes[..cut], with_rules(faults()), false).unwrap();
        let lost = match whole.tail.unwrap() {
            Tail::Torn { bytes } => bytes,
            Tail::Open => 0,
            Tail::Whole => panic!("cut at {cut}"),
        };
        assert!(lost <= (1 << 20) + 4096, "at most a segment: {lost} bytes");
        assert_eq!(whole.difference, None);
        assert!(whole.hashes.len() < hashes.len() && whole.end.is_none());
    }
}

#[test]
fn a_changed_byte_ends_the_file_before_its_segment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    write(&path, run(with_rules(faults()), 1 << 22, 6), u64::MAX);
    let bytes = fs::read(&path).unwrap();
    let mut random = Random(11);
    for _ in 0..40 {
        let mut broken = bytes.clone();
        let at = random.below(broken.len() as u64) as usize;
        broken[at] ^= 1 << random.below(8);
        let Ok(mut reader) = Reader::open(Cursor::new(&broken)) else { continue };
        let mut replay = Replay::with_options(with_rules(faults()));
        while let Some(step) = reader.next_step().unwrap() {
            if let Step::Tick(frame) = step {
                assert_eq!(replay.apply(&frame), None, "byte {at}");
            }
        }
        assert!(matches!(reader.tail(), Some(Tail::Torn { .. } | Tail::Whole)), "byte {at}");
    }
}

#[test]
fn a_ring_that_is_full_sheds_ticks_of_the_capture_and_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    let captured = run(with_rules(faults()), 1 << 14, 7);
    let shed = captured.rig.stats.capture.shed_ticks.value();
    let kept = captured.rig.stats.capture.ticks.value();
    assert_eq!((shed + kept, shed > 2_000), (TICKS, true));
    write(&path, captured, u64::MAX);
    let bytes = fs::read(&path).unwrap();
    let read = replay(&bytes, with_rules(faults()), false).unwrap();
    assert_eq!((read.hashes.len() as u64, read.difference), (kept, None));
    // The end found no room either, and nobody says that it is there.
    assert_eq!((read.end, read.tail), (None, Some(Tail::Open)));
}

#[test]
fn a_capture_goes_on_after_a_gap_and_claims_no_sameness_behind_it() {
    let mut rig = Rig::new(options());
    let (tap, ring) = tap(64, Arc::clone(&rig.stats));
    rig.lanes.tap = Some(tap);
    rig.open(1);
    let mut ring = ring;
    let mut cells = Vec::new();
    for seq in 0..200 {
        for sensor in 0..(if seq == 100 { 80 } else { 3 }) {
            rig.receive(Tier::T1, 1, 0, &rig::record(1, sensor, seq, 1.0));
        }
        rig.tick();
        ring.pop_chunk(64, |front, back| cells.extend([front, back].concat()));
    }
    let (shed, kept) = (&rig.stats.capture.shed_ticks, &rig.stats.capture.ticks);
    assert_eq!((shed.value(), kept.value()), (1, 199));
    rig.lanes.tap.take().unwrap().finish(rig.world.state_hash());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    let (mut producer, consumer) = netloop::ring(1 << 14);
    producer.push_slice(&cells);
    ring.pop_chunk(64, |front, back| {
        producer.push_slice(front);
        producer.push_slice(back);
    });
    let stats = Arc::clone(&rig.stats);
    let written = Writer::start(&path, &header(), Allowance::bytes(u64::MAX), consumer, stats)
        .unwrap()
        .finish(rig::patience())
        .unwrap();
    assert_eq!(written.ended, Ended::Whole);
    let read = replay(&fs::read(&path).unwrap(), options(), false).unwrap();
    assert_eq!((read.gaps.len(), read.gaps[0].1), (1, 1), "{:?}", read.gaps);
    assert_eq!((read.hashes.len(), read.tail), (199, Some(Tail::Whole)));
}

#[test]
fn a_full_file_keeps_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    let captured = run(with_rules(faults()), 1 << 22, 8);
    let (rig, _, written) = write(&path, captured, 4 << 20);
    let bytes = fs::read(&path).unwrap();
    assert_eq!((written.ended, written.bytes), (Ended::Full, bytes.len() as u64));
    assert!(bytes.len() <= 4 << 20 && rig.stats.capture.unwritten_cells.value() > 0);
    let read = replay(&bytes, with_rules(faults()), false).unwrap();
    assert_eq!((read.difference, read.tail), (None, Some(Tail::Open)));
    assert!(read.hashes.len() > 100);
    let counts = &rig.stats.capture;
    let [ticks, written, unwritten] =
        [&counts.ticks, &counts.written_ticks, &counts.unwritten_ticks].map(|of| of.value());
    assert_eq!((written, written + unwritten), (read.hashes.len() as u64, ticks));
}

#[test]
fn an_end_behind_shed_ticks_says_how_many_there_are() {
    let mut rig = Rig::new(options());
    let (tap, mut ring) = tap(64, Arc::clone(&rig.stats));
    rig.lanes.tap = Some(tap);
    rig.open(1);
    for seq in 0..40 {
        rig.receive(Tier::T1, 1, 0, &rig::record(1, 1, seq, 1.0));
        rig.tick();
    }
    let shed = rig.stats.capture.shed_ticks.value();
    assert!(shed > 10);
    let tap = rig.lanes.tap.take().unwrap();
    let (mut producer, consumer) = netloop::ring(128);
    let mut forward = |ring: &mut Consumer<Slot>, cells| {
        ring.pop_chunk(cells, |front, back| {
            producer.push_slice(front);
            producer.push_slice(back);
        })
    };
    // Less than half of the ring is free, and more than the end needs.
    forward(&mut ring, 4);
    assert!(tap.can_finish());
    tap.finish(rig.world.state_hash());
    forward(&mut ring, 64);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    let stats = Arc::clone(&rig.stats);
    let writer = Writer::start(&path, &header(), Allowance::bytes(u64::MAX), consumer, stats);
    writer.unwrap().finish(rig::patience()).unwrap();
    let read = replay(&fs::read(&path).unwrap(), options(), false).unwrap();
    assert_eq!((read.gaps.len(), read.gaps[0].1, read.tail), (1, shed, Some(Tail::Whole)));
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    fs::write(&path, "dear").unwrap();
    let (_, ring) = tap(64, Arc::default());
    let refused = Writer::start(&path, &header(), Allowance::bytes(u64::MAX), ring, Arc::default());
    assert!(refused.err().unwrap().to_string().contains("run.capture"));
    assert_eq!(fs::read(&path).unwrap(), b"dear");
}

/// What a file that is written round holds.
#[derive(Debug, PartialEq)]
struct Round {
    first_segment: u64,
    bytes: u64,
    /// Number, digest, and a hash of everything that it took, of each tick.
    ticks: Vec<(u64, u64, u64)>,
    lost: u64,
    tail: Tail,
}

fn read_round(bytes: &[u8]) -> Round {
    let mut reader = Reader::open(Cursor::new(bytes)).unwrap();
    let first_segment = reader.first_segment();
    let (mut ticks, mut lost) = (Vec::new(), 0);
    while let Some(step) = reader.next_step().unwrap() {
        match step {
            Step::Tick(frame) => {
                let mut taken = ecs::Fold::new();
                let chunks = Tier::ALL.into_iter().flat_map(|tier| frame.chunks(tier));
                chunks.for_each(|slots| taken.write(bytemuck::cast_slice(slots)));
                ticks.push((frame.tick, frame.digest, taken.finish()));
            }
            Step::Lost { segments } => lost += segments,
            Step::Gap { .. } => panic!("the ring had room"),
            Step::State(_) | Step::End { .. } => {}
        }
    }
    Round { first_segment, bytes: reader.bytes(), ticks, lost, tail: reader.tail().unwrap() }
}

/// Every cell of a run.
fn cells(seed: u64) -> Vec<Slot> {
    let Captured { mut ring, .. } = run(with_rules(faults()), 1 << 22, seed);
    let mut cells = Vec::new();
    ring.pop_chunk(1 << 22, |front, back| cells.extend([front, back].concat()));
    cells
}

/// The file of these cells.
fn file_of(cells: &[Slot], keep: Keep, bytes_max: u64) -> (Vec<u8>, Written) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.capture");
    let (mut producer, consumer) = netloop::ring(1 << 22);
    producer.push_slice(cells);
    let header = Header { keep, ..header() };
    let written =
        Writer::start(&path, &header, Allowance::bytes(bytes_max), consumer, Arc::default())
            .unwrap();
    let written = written.finish(rig::patience()).unwrap();
    (fs::read(&path).unwrap(), written)
}

/// Whether these are some of the ticks of the whole run, in their order.
fn is_within(ticks: &[(u64, u64, u64)], whole: &[(u64, u64, u64)]) -> bool {
    let mut rest = whole.iter();
    ticks.iter().all(|tick| rest.any(|of| of == tick))
}

#[test]
fn a_file_that_is_written_round_holds_the_latest_ticks() {
    let cells = cells(21);
    let whole = read_round(&file_of(&cells, Keep::First, u64::MAX).0);
    assert_eq!((whole.ticks.len() as u64, whole.first_segment), (TICKS, 0));
    for bytes_max in [100_000, 1 << 20, 2_500_000, 4 << 20] {
        let (bytes, written) = file_of(&cells, Keep::Last, bytes_max);
        assert_eq!((written.ended, written.bytes), (Ended::Round, bytes.len() as u64));
        assert!(bytes.len() as u64 <= bytes_max);
        let round = read_round(&bytes);
        assert_eq!((round.lost, round.tail), (0, Tail::Whole), "{bytes_max}");
        assert!(round.first_segment > 0 && round.first_segment < written.segments);
        assert!(round.bytes >= bytes_max / 8 * 5, "{} of {bytes_max} bytes are used", round.bytes);
        assert!(!round.ticks.is_empty() && whole.ticks.ends_with(&round.ticks), "{bytes_max}");
    }
    let (bytes, written) = file_of(&cells, Keep::Last, u64::MAX);
    assert_eq!((written.ended, read_round(&bytes)), (Ended::Whole, whole));
}

#[test]
fn a_damaged_segment_in_the_middle_of_a_lap_costs_itself_and_is_said() {
    let cells = cells(22);
    let whole = read_round(&file_of(&cells, Keep::First, u64::MAX).0);
    let (bytes, _) = file_of(&cells, Keep::Last, 2 << 20);
    let intact = read_round(&bytes);
    let mut random = Random(12);
    let mut lost = 0;
    for _ in 0..60 {
        let mut broken = bytes.clone();
        let at = 4096 + random.below(broken.len() as u64 - 4096) as usize;
        // Half of them in a header, which is at the beginning of a page.
        let at = if random.below(2) == 0 { at } else { at - at % 4096 + at % 40 };
        broken[at] ^= 1 << random.below(8);
        let round = read_round(&broken);
        assert!(is_within(&round.ticks, &whole.ticks), "byte {at}");
        assert!(round.lost <= 1, "byte {at}: {} segments", round.lost);
        assert!(round.ticks.len() * 4 > intact.ticks.len() * 3, "byte {at} costs too much");
        let silent =
            (round.lost, round.tail, round.first_segment) == (0, intact.tail, intact.first_segment);
        assert_eq!(silent, round.ticks == intact.ticks, "byte {at}");
        lost += round.lost;
    }
    assert!(lost > 10, "{lost} segments in all");
}

#[test]
fn a_write_that_is_cut_in_a_later_lap_costs_its_segment() {
    const SEGMENT: usize = (((1 << 20) - 4096) / 8 / 4096) * 64 - 1;
    let cells = cells(23);
    let whole = read_round(&file_of(&cells, Keep::First, u64::MAX).0);
    let mut random = Random(13);
    let mut cuts = 0;
    for _ in 0..12 {
        let segments = 10 + random.below(20) as usize;
        let (before, _) = file_of(&cells[..segments * SEGMENT], Keep::Last, 1 << 20);
        let (after, _) = file_of(&cells[..(segments + 1) * SEGMENT], Keep::Last, 1 << 20);
        if before.len() != after.len() {
            continue;
        }
        let old = read_round(&before);
        let at = before.iter().zip(&after).position(|(before, after)| before != after).unwrap();
        let at = at - at % 4096;
        for pages in 0..=(SEGMENT + 1) / 64 {
            let mut torn = before.clone();
            torn[at..at + pages * 4096].copy_from_slice(&after[at..at + pages * 4096]);
            let round = read_round(&torn);
            let is_whole = pages == (SEGMENT + 1) / 64;
            let is_said = matches!(round.tail, Tail::Torn { bytes: 1..=131_072 });
            assert_eq!(is_said, !is_whole && pages > 0, "{pages} pages: {:?}", round.tail);
            assert_eq!(round.lost, 0);
            assert!(is_within(&round.ticks, &whole.ticks));
            assert!(is_whole || round.ticks.last() == old.ticks.last(), "nothing else is lost");
            cuts += 1;
        }
    }
    assert!(cuts > 100);
}
