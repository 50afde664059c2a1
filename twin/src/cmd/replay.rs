//! `pollux replay`: the world of a capture again, tick by tick, as fast as it goes or in the time of the run.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use netloop::{Clock, Now, wait_until};
use serde::Serialize;
use wire::SensorType;

use crate::args::{EXIT_GOAL, Output, ReplayArgs, Speed};
use crate::capture::{Difference, Reader, Replay, Step, Tail};
use crate::say;

/// What a replay came to.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// The tick after which the state held that the replay began with; none where the file begins with the run.
    pub state_tick: Option<u64>,
    /// Ticks in the file before that state, which were passed over.
    pub skipped_ticks: u64,
    /// Ticks that were replayed.
    pub ticks: u64,
    /// The last of them.
    pub last_tick: Option<u64>,
    /// Records that were replayed, of all tiers.
    pub records: u64,
    /// Entities in the world at the end.
    pub entities: usize,
    /// Thresholds crossed, in either direction.
    pub crossings: u64,
    /// Hash of the world at the end, in hexadecimal.
    pub state_hash: String,
    /// Ticks that the capture has shed, before the first of which the replay is exact.
    pub shed_ticks: u64,
    /// Segments that cannot be read, before the first of which the replay is exact.
    pub lost_segments: u64,
    /// The first tick that differs, if one does.
    pub first_difference: Option<u64>,
    /// Whether the world at the end is the one that the run ended with; none where the run has no orderly end.
    pub same_end: Option<bool>,
    /// How the file ends: whole, open or torn.
    pub tail: &'static str,
    /// Bytes of the last segment, where it is torn.
    pub torn_bytes: u64,
    /// Whether every tick to an orderly end was the same, or to the one that was asked for; false where none was compared.
    pub exact: bool,
    /// Time of the replay, in seconds.
    pub elapsed_s: f64,
    /// Records replayed in a second.
    pub records_per_s: f64,
}

/// Runs the command.
///
/// # Errors
/// The file is no capture, or its cells make no sense, or this build does not know its configuration.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let outcome = replay(args)?;
    match args.output {
        Output::Text => say::print(&outcome)?,
        Output::Json => say::print_line(serde_json::to_string(&outcome)?)?,
    };
    let failed = args.check && !outcome.exact;
    Ok(if failed { ExitCode::from(EXIT_GOAL) } else { ExitCode::SUCCESS })
}

/// Opens a capture.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn open(path: &Path) -> anyhow::Result<Reader<File>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Reader::open(file).with_context(|| path.display().to_string())
}

fn replay(args: &ReplayArgs) -> anyhow::Result<Outcome> {
    let mut reader = open(&args.file)?;
    let mut outcome = Outcome::default();
    let mut replay =
        begin(&mut reader, &mut outcome).with_context(|| args.file.display().to_string())?;
    let clock = Clock::new();
    let mut pace = Pacer { speed: args.speed, began: clock.now(), first_ns: None };
    let mut cut = false;
    while let Some(step) = reader.next_step()? {
        match step {
            Step::Tick(frame) if args.until.is_some_and(|until| frame.tick > until) => {
                cut = true;
                break;
            }
            Step::Tick(frame) => {
                pace.wait(frame.began_ns);
                outcome.last_tick = Some(frame.tick);
                // Behind what is missing the world is another one, and that is known.
                let whole = outcome.shed_ticks == 0 && outcome.lost_segments == 0;
                let difference = replay.apply(&frame).filter(|_| whole);
                outcome.first_difference =
                    outcome.first_difference.or(difference.map(|Difference { tick, .. }| tick));
            }
            Step::Gap { ticks, .. } => outcome.shed_ticks += ticks.max(1),
            Step::Lost { segments } => outcome.lost_segments += segments,
            Step::State(_) => {}
            Step::End { state_hash, .. } => {
                outcome.same_end = Some(replay.world().state_hash() == state_hash);
            }
        }
    }
    let elapsed = clock.now().instant - pace.began.instant;
    finish(&mut outcome, &replay, elapsed);
    outcome.tail = tail_name(reader.tail(), &mut outcome.torn_bytes);
    let compared = outcome.ticks > 0 || !cut;
    let ended = cut || outcome.same_end == Some(true);
    let whole = outcome.shed_ticks == 0 && outcome.lost_segments == 0;
    outcome.exact = compared && ended && whole && outcome.first_difference.is_none();
    Ok(outcome)
}

/// The world that the file begins with: an empty one, or where its beginning is gone, that of the first state in it.
fn begin<R: Read + Seek>(reader: &mut Reader<R>, outcome: &mut Outcome) -> anyhow::Result<Replay> {
    let mut replay = Replay::new(reader.header())?;
    let first = reader.first_segment();
    if first == 0 {
        return Ok(replay);
    }
    while let Some(step) = reader.next_step()? {
        match step {
            Step::State(state) => {
                replay.restore(&state)?;
                outcome.state_tick = Some(state.tick);
                return Ok(replay);
            }
            Step::Tick(_) => outcome.skipped_ticks += 1,
            Step::Gap { .. } | Step::Lost { .. } | Step::End { .. } => {}
        }
    }
    anyhow::bail!(
        "the capture begins with segment {first}, and no state of the world is in it, so it cannot be replayed; `pollux inspect` shows what is there"
    )
}

fn finish(outcome: &mut Outcome, replay: &Replay, elapsed: Duration) {
    let world = replay.world();
    let crossings = SensorType::ALL.into_iter().flat_map(|of| world.crossing_counts(of));
    outcome.ticks = replay.ticks();
    outcome.records = replay.records();
    outcome.entities = world.entities();
    outcome.crossings = crossings.sum();
    outcome.state_hash = format!("{:016x}", world.state_hash());
    outcome.elapsed_s = elapsed.as_secs_f64();
    outcome.records_per_s = outcome.records as f64 / outcome.elapsed_s.max(1e-9);
}

/// The name of how a file ends, and the bytes that are lost with it.
pub fn tail_name(tail: Option<Tail>, torn_bytes: &mut u64) -> &'static str {
    match tail {
        Some(Tail::Whole) => "whole",
        Some(Tail::Torn { bytes }) => {
            *torn_bytes = bytes;
            "torn"
        }
        Some(Tail::Open) => "open",
        None => "not reached",
    }
}

/// Waits until a tick is due again.
struct Pacer {
    speed: Speed,
    began: Now,
    first_ns: Option<u64>,
}

impl Pacer {
    fn wait(&mut self, began_ns: u64) {
        let Speed::Times(times) = self.speed else { return };
        let first_ns = *self.first_ns.get_or_insert(began_ns);
        let offset = Duration::from_nanos(began_ns.saturating_sub(first_ns)).div_f64(times);
        wait_until(self.began.instant + offset, Duration::ZERO);
    }
}

/// The form of `-o text`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ticks, {} records, {} entities, {} crossings in {:.3} s: {:.2} million records/s",
            self.ticks,
            self.records,
            self.entities,
            self.crossings,
            self.elapsed_s,
            self.records_per_s / 1e6,
        )?;
        if let Some(tick) = self.state_tick {
            let skipped = self.skipped_ticks;
            writeln!(
                f,
                "began with the state after tick {tick}; {skipped} ticks before it are in the file"
            )?;
        }
        match self.last_tick.or(self.state_tick) {
            Some(tick) => writeln!(f, "world {} after tick {tick}", self.state_hash)?,
            None => writeln!(f, "world {} before any tick", self.state_hash)?,
        }
        let (lost, shed) = (self.lost_segments, self.shed_ticks);
        match self.first_difference {
            Some(tick) => {
                writeln!(f, "DIFFERS: tick {tick} is the first whose world is another one")
            }
            None if lost > 0 => writeln!(f, "{lost} segments are damaged: exact only before them"),
            None if shed > 0 => {
                writeln!(f, "{shed} ticks were shed by the capture: exact only before them")
            }
            None if self.ticks == 0 => writeln!(f, "no tick was replayed, so none was compared"),
            None => writeln!(f, "the same after every tick"),
        }?;
        match (self.tail, self.same_end) {
            (_, Some(true)) => writeln!(f, "the end is the same"),
            (_, Some(false)) => writeln!(f, "DIFFERS: the end is another one"),
            ("torn", _) => writeln!(f, "the last segment is torn: {} bytes lost", self.torn_bytes),
            ("open", _) => writeln!(f, "the capture has no orderly end"),
            _ => Ok(()),
        }
    }
}
