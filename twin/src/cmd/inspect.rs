//! `pollux inspect`: what is in a capture.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use netloop::{Run, SessionEvent, Slot, slot};
use serde::Serialize;
use uuid::Uuid;
use wire::{DeviceId, Record, SensorType, Tier};

use crate::args::{InspectArgs, Output};
use crate::capture::{Frame, Header, Replay, Step};
use crate::say;

use super::replay::{open, tail_name};

/// What a capture holds.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// What it says of itself, without the configuration.
    pub build: String,
    /// When the run began, in nanoseconds since the Unix epoch.
    pub began_ns: u64,
    /// From the first tick to the last, in seconds.
    pub duration_s: f64,
    /// First and last tick.
    pub ticks: Option<(u64, u64)>,
    /// Ticks that were captured.
    pub ticks_captured: u64,
    /// Ticks that were shed by the capture, and in how many gaps.
    pub ticks_shed: u64,
    /// Places at which something is missing.
    pub gaps: u64,
    /// Number of the first segment in the file: when it is not 0, what came before is gone.
    pub first_segment: u64,
    /// States of the world.
    pub states: u64,
    /// The tick behind which a replay of a file without its beginning begins; crossings are not known without one.
    pub state_tick: Option<u64>,
    /// Segments that cannot be read, with the ticks that lay in them.
    pub segments_lost: u64,
    /// Ticks that never ran: numbers that were skipped.
    pub ticks_missed: u64,
    /// Records by tier.
    pub records: BTreeMap<&'static str, u64>,
    /// Most records of one tick.
    pub records_max: u64,
    /// Records a second, over the whole run.
    pub records_per_s: f64,
    /// Sessions that were opened.
    pub sessions: u64,
    /// Sessions that ended.
    pub sessions_closed: u64,
    /// Devices that sent records.
    pub devices: usize,
    /// Commands of devices.
    pub commands: u64,
    /// Ends of commands of the twin.
    pub command_ends: u64,
    /// Thresholds crossed since the run began, by sensor type: upwards, downwards.
    pub crossings: BTreeMap<&'static str, [u64; 2]>,
    /// How the file ends: whole, open or torn.
    pub tail: &'static str,
    /// Bytes of the last segment, where it is torn.
    pub torn_bytes: u64,
    /// Segments and their bytes.
    pub segments: (u64, u64),
}

/// Runs the command.
///
/// # Errors
/// The file is no capture, or its cells make no sense, or this build does not know its configuration.
pub fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    if args.records {
        return records(args);
    }
    let contents = contents(args)?;
    match args.output {
        Output::Text => say::print(&contents)?,
        Output::Json => say::print_line(serde_json::to_string(&contents)?)?,
    };
    Ok(ExitCode::SUCCESS)
}

fn contents(args: &InspectArgs) -> anyhow::Result<Contents> {
    let mut reader = open(&args.file)?;
    let mut replay = Replay::new(reader.header())?;
    let first_segment = reader.first_segment();
    let mut seen = Seen { first_segment, ..Seen::default() };
    while let Some(step) = reader.next_step()? {
        match step {
            Step::Tick(frame) => {
                seen.add(&frame);
                // Crossings are those of a world, and that of a file without its beginning is known from its first state on.
                if first_segment == 0 || seen.state_tick.is_some() {
                    replay.apply(&frame);
                }
            }
            Step::State(state) => {
                seen.states += 1;
                if first_segment > 0 && seen.state_tick.is_none() {
                    replay.restore(&state)?;
                    seen.state_tick = Some(state.tick);
                }
            }
            Step::Lost { segments } => {
                seen.segments_lost += segments;
                seen.adrift = true;
            }
            Step::Gap { ticks, .. } => {
                seen.gaps += 1;
                seen.ticks_shed += ticks;
            }
            Step::End { .. } => {}
        }
    }
    let mut torn_bytes = 0;
    let tail = tail_name(reader.tail(), &mut torn_bytes);
    let segments = (reader.segments(), reader.bytes());
    Ok(seen.contents(reader.header(), &replay, (tail, torn_bytes, segments)))
}

/// What was counted so far.
#[derive(Default)]
struct Seen {
    span: Option<[(u64, u64); 2]>,
    ticks: u64,
    gaps: u64,
    ticks_shed: u64,
    first_segment: u64,
    states: u64,
    state_tick: Option<u64>,
    segments_lost: u64,
    /// Segments are missing before the next tick.
    adrift: bool,
    missed: u64,
    records: [u64; Tier::COUNT],
    records_max: u64,
    opened: u64,
    closed: u64,
    ends: u64,
    devices: std::collections::BTreeSet<DeviceId>,
}

impl Seen {
    fn add(&mut self, frame: &Frame<'_>) {
        let at = (frame.tick, frame.began_ns);
        let [first, last] = self.span.unwrap_or([at, at]);
        if !std::mem::take(&mut self.adrift) {
            self.missed += frame.tick.saturating_sub(last.0 + 1);
        }
        self.span = Some([first, at]);
        self.ticks += 1;
        let records = frame.records();
        for (sum, count) in self.records.iter_mut().zip(records) {
            *sum += count;
        }
        self.records_max = self.records_max.max(records.iter().sum());
        for event in frame.events {
            match event {
                SessionEvent::Opened { .. } => self.opened += 1,
                SessionEvent::Closed { .. } => self.closed += 1,
                SessionEvent::Hello { .. } | SessionEvent::Failed { .. } => {}
            }
        }
        let slots = Tier::ALL.into_iter().flat_map(|tier| frame.runs(tier)).flat_map(Run::slots);
        let mut last = None;
        for slot in slots {
            self.ends += u64::from(slot.flags & (slot::ACK | slot::FAILED) != 0);
            let device = Record::from_bytes(slot.record).device();
            if last != Some(device) {
                self.devices.insert(device);
                last = Some(device);
            }
        }
    }

    fn contents(
        self,
        header: &Header,
        replay: &Replay,
        (tail, torn_bytes, segments): (&'static str, u64, (u64, u64)),
    ) -> Contents {
        let [first, last] = self.span.unwrap_or_default();
        let duration_s = last.1.saturating_sub(first.1) as f64 / 1e9;
        let all: u64 = self.records.iter().sum();
        let Header { version, revision, rustc, arch, began_ns, .. } = header;
        let crossings = SensorType::ALL.into_iter();
        Contents {
            build: format!("pollux {version} {revision}, {rustc}, {arch}"),
            began_ns: *began_ns,
            duration_s,
            ticks: self.span.map(|_| (first.0, last.0)),
            ticks_captured: self.ticks,
            ticks_shed: self.ticks_shed,
            gaps: self.gaps,
            first_segment: self.first_segment,
            states: self.states,
            state_tick: self.state_tick,
            segments_lost: self.segments_lost,
            ticks_missed: self.missed.saturating_sub(self.ticks_shed),
            records: Tier::ALL.iter().map(|tier| tier.name()).zip(self.records).collect(),
            records_max: self.records_max,
            records_per_s: all as f64 / duration_s.max(1e-9),
            sessions: self.opened,
            sessions_closed: self.closed,
            devices: self.devices.len(),
            commands: self.records[Tier::T3.index()] - self.ends,
            command_ends: self.ends,
            crossings: crossings
                .map(|of| (of.name(), replay.world().crossing_counts(of)))
                .filter(|(_, counts)| counts.iter().sum::<u64>() > 0)
                .collect(),
            tail,
            torn_bytes,
            segments,
        }
    }
}

/// The form of `-o text`.
impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.ticks.unwrap_or_default();
        writeln!(f, "{}", self.build)?;
        writeln!(
            f,
            "{:.3} s, ticks {first} to {last}: {} captured, {} missed by the run, {} shed by the capture in {} gaps",
            self.duration_s, self.ticks_captured, self.ticks_missed, self.ticks_shed, self.gaps,
        )?;
        let [t1, t2, t3] = Tier::ALL.map(|tier| self.records[tier.name()]);
        writeln!(
            f,
            "{t1} records on T1, {t2} on T2, {t3} on T3; {:.0} a second, {} in one tick at most",
            self.records_per_s, self.records_max,
        )?;
        writeln!(
            f,
            "{} devices, {} sessions opened, {} closed, {} commands of devices, {} ends of commands to devices",
            self.devices, self.sessions, self.sessions_closed, self.commands, self.command_ends,
        )?;
        for (name, [up, down]) in &self.crossings {
            writeln!(f, "{name} crossed its thresholds {up} times upwards, {down} downwards")?;
        }
        let (segments, bytes) = self.segments;
        if self.first_segment > 0 {
            write!(
                f,
                "the beginning is gone: the first segment is number {}; ",
                self.first_segment
            )?;
            match self.state_tick {
                Some(tick) => writeln!(f, "a replay begins behind tick {tick}")?,
                None => writeln!(f, "crossings are not known, and nothing can be replayed")?,
            }
        }
        if self.segments_lost > 0 {
            writeln!(f, "{} segments are damaged and left out", self.segments_lost)?;
        }
        write!(f, "{segments} segments, {bytes} bytes, the end is {}", self.tail)?;
        match self.torn_bytes {
            0 => writeln!(f),
            torn => writeln!(f, ": {torn} bytes of the last segment are lost"),
        }
    }
}

/// A record as a line; the names of its fields are the head of the CSV.
#[derive(Debug, Serialize)]
struct Row {
    tick: u64,
    tier: &'static str,
    session: u32,
    epoch: u32,
    device: String,
    sensor: u16,
    r#type: u8,
    seq: u32,
    ts_us: u64,
    recv_ns: u64,
    value: f64,
}

const HEAD: &str = "tick,tier,session,epoch,device,sensor,type,seq,ts_us,recv_ns,value";

impl Row {
    fn of(tick: u64, tier: Tier, slot: &Slot) -> Self {
        let record = Record::from_bytes(slot.record);
        Self {
            tick,
            tier: tier.name(),
            session: slot.session,
            epoch: slot.epoch,
            device: Uuid::from_bytes(record.device().0).to_string(),
            sensor: record.sensor_id(),
            r#type: record.kind(),
            seq: record.seq(),
            ts_us: record.ts_us(),
            recv_ns: slot.recv_ns,
            value: record.value(),
        }
    }

    fn write(&self, out: &mut impl Write, output: Output) -> std::io::Result<()> {
        match output {
            Output::Text => writeln!(out, "{self}"),
            Output::Json => {
                serde_json::to_writer(&mut *out, self)?;
                writeln!(out)
            }
        }
    }
}

/// A line of CSV.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tick, tier, session, epoch, device, sensor, r#type, .. } = self;
        let Self { seq, ts_us, recv_ns, value, .. } = self;
        write!(f, "{tick},{tier},{session},{epoch},{device},{sensor},{type},{seq},{ts_us},")?;
        write!(f, "{recv_ns},{value:?}")
    }
}

/// Prints every record as a line, as long as somebody reads.
fn records(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let mut reader = open(&args.file)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut read = match args.output {
        Output::Text => say::is_read(writeln!(out, "{HEAD}"))?,
        Output::Json => true,
    };
    while read && let Some(step) = reader.next_step()? {
        if let Step::Tick(frame) = step {
            read = say::is_read(write_frame(&mut out, &frame, args.output))?;
        }
    }
    say::is_read(out.flush())?;
    Ok(ExitCode::SUCCESS)
}

fn write_frame(out: &mut impl Write, frame: &Frame<'_>, output: Output) -> std::io::Result<()> {
    for tier in Tier::ALL {
        for slot in frame.runs(tier).flat_map(Run::slots) {
            Row::of(frame.tick, tier, &slot).write(out, output)?;
        }
    }
    Ok(())
}
