//! The report of a run of the twin: every latency, the account of each tier, and the host.
//!
//! With a folder it leaves `NAME.hlog` and `NAME.hgrm` for each latency and `summary.json`; without one
//! it still adds up, for the last line on stdout and for `/metrics`. It reads no clock: times come with
//! the intervals, and what the process used comes as [`Usage`]. Files are written on a thread of their own, so that a disk
//! costs the report alone, whatever it does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::histograms::{LatencyLog, LatencySummary, LogFile, WriteError, write_file};
use crate::host::Host;
use crate::interval::{Interval, Latency};
use crate::scribe::Scribe;
use crate::stats::{Counter, Ledger, SYSTEMS, System, TierTotals, TwinStats};
use crate::world::{Cause, Hop};
use wire::Tier;

/// What the process used up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// CPU time in user mode, in nanoseconds.
    pub cpu_user_ns: u64,
    /// CPU time in the kernel, in nanoseconds.
    pub cpu_system_ns: u64,
}

/// What the process used while records were applied.
///
/// Whoever polls it decides how fine it is. It leaves out what start, waiting for the first device and the end cost, so
/// that a short run and a long one say the same of a record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    applied: u64,
    /// CPU time at the last look before the first applied record, in nanoseconds.
    before: Option<u64>,
    first: Option<u64>,
    last: Option<u64>,
}

impl Activity {
    /// Notes that `applied` records are applied, and what the process has used by now.
    pub fn observe(&mut self, applied: u64, usage: Usage) {
        let now = Some(usage.cpu_user_ns + usage.cpu_system_ns);
        if applied == 0 {
            self.before = now;
        } else if applied != self.applied {
            self.first = self.first.or(self.before).or(now);
            self.last = now;
        }
        self.applied = applied;
    }

    /// CPU time of the process from the last look before the first applied record to the first one behind the last, in
    /// nanoseconds.
    #[must_use]
    pub fn cpu_ns(&self) -> u64 {
        self.first.zip(self.last).map_or(0, |(first, last)| last.saturating_sub(first))
    }
}

/// Adds up the intervals of a run.
pub struct Report {
    logs: Vec<LatencyLog>,
    files: Option<Files>,
}

/// Where a report goes.
struct Files {
    folder: PathBuf,
    /// Until the first line, which starts the thread: so it runs where the cold thread runs, as that one has settled.
    logs: Vec<LogFile>,
    scribe: Option<Scribe>,
}

impl Report {
    /// An empty report. A folder is created if it is not there; files of an earlier report in it are
    /// replaced.
    ///
    /// # Errors
    ///
    /// The folder or a file in it cannot be written.
    pub fn create(folder: Option<&Path>, started: SystemTime) -> Result<Self, WriteError> {
        let files = folder.map(|folder| Files::create(folder, started)).transpose()?;
        let logs = Latency::ALL.map(|latency| LatencyLog::without_file(latency.name())).into();
        Ok(Self { logs, files })
    }

    /// Adds an interval. A log that cannot be written ends, and that is said.
    pub fn add(&mut self, interval: &Interval) {
        let since = Duration::from_nanos(interval.since_ns);
        let length = Duration::from_nanos(interval.until_ns.saturating_sub(interval.since_ns));
        for (latency, log) in Latency::ALL.into_iter().zip(&mut self.logs) {
            let histogram = interval.histogram(latency);
            if histogram.is_empty() {
                continue;
            }
            log.note(histogram);
            let Some(scribe) = self.files.as_mut().and_then(Files::scribe) else { continue };
            match log.line(histogram, since, length) {
                Ok(line) => scribe.push(latency as usize, line.to_vec()),
                Err(error) => tracing::error!(%error, "an interval has no form for the report"),
            }
        }
    }

    /// One latency over all intervals added so far.
    #[must_use]
    pub fn total(&self, latency: Latency) -> &Histogram<u64> {
        self.logs[latency as usize].total()
    }

    /// The percentiles of every latency, by name.
    #[must_use]
    pub fn latencies(&self) -> BTreeMap<&'static str, LatencySummary> {
        self.logs.iter().map(|log| (log.name(), log.summary())).collect()
    }

    /// Ends the logs and writes percentile tables and `summary.json`, if there is a folder.
    ///
    /// # Errors
    ///
    /// A file could not be written, now or before, or the disk takes longer than some seconds. What can be written is.
    pub fn finish(&mut self, summary: &impl Serialize) -> Result<(), WriteError> {
        let Some(mut files) = self.files.take() else { return Ok(()) };
        let table = |log: &LatencyLog| {
            let path = files.folder.join(log.name()).with_extension("hgrm");
            (path, log.table())
        };
        let mut last: Vec<_> = self.logs.iter().map(table).collect();
        let path = files.folder.join(SUMMARY);
        last.push((path.clone(), summary_text(&path, summary)?));
        files.scribe();
        match files.scribe {
            Some(scribe) => scribe.finish(last),
            None => Err(WriteError::new(&files.folder, &"the system gives no thread that writes")),
        }
    }
}

impl Files {
    /// A folder, and the logs in it with their heads.
    fn create(folder: &Path, started: SystemTime) -> Result<Self, WriteError> {
        std::fs::create_dir_all(folder).map_err(|reason| WriteError::new(folder, &reason))?;
        let logs = Latency::ALL
            .into_iter()
            .map(|latency| LogFile::create(latency.name(), folder, started))
            .collect::<Result<_, _>>()?;
        Ok(Self { folder: folder.to_owned(), logs, scribe: None })
    }

    /// The thread that writes, started if it was not before. None where the system gives none, which is said once.
    fn scribe(&mut self) -> Option<&mut Scribe> {
        if self.scribe.is_none() && !self.logs.is_empty() {
            let started = Scribe::start(&self.folder, std::mem::take(&mut self.logs));
            let failed =
                |error: &std::io::Error| tracing::error!(%error, "the report has no thread");
            self.scribe = started.inspect_err(failed).ok();
        }
        self.scribe.as_mut()
    }
}

/// Writes `summary.json` into a folder.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_summary(folder: &Path, summary: &impl Serialize) -> Result<(), WriteError> {
    let path = folder.join(SUMMARY);
    write_file(&path, &summary_text(&path, summary)?)
}

const SUMMARY: &str = "summary.json";

fn summary_text(path: &Path, summary: &impl Serialize) -> Result<Vec<u8>, WriteError> {
    let text = serde_json::to_string_pretty(summary);
    Ok((text.map_err(|reason| WriteError::new(path, &reason))? + "\n").into_bytes())
}

/// What a run of the twin came to; the object that `-o json` prints and `summary.json` holds.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Length of the run, in seconds.
    pub duration_s: f64,
    /// Ticks that ran.
    pub ticks: u64,
    /// Ticks that ended after the next one was due.
    pub tick_overruns: u64,
    /// Ticks that never ran, because they were too far behind.
    pub ticks_missed: u64,
    /// Entities in the world at the end.
    pub entities: u64,
    /// Sessions open at the end of the run, before it closed them.
    pub sessions: u64,
    /// Resident memory at the end of the run, before its threads gave theirs back, in bytes.
    pub rss_bytes: u64,
    /// CPU time in user mode, in seconds.
    pub cpu_user_s: f64,
    /// CPU time in the kernel, in seconds.
    pub cpu_system_s: f64,
    /// Time that the hot threads spent at work.
    pub busy_ns: Busy,
    /// CPU time of each hot thread; what it was preempted for is in its busy time, but not here.
    pub thread_cpu_ns: Busy,
    /// UDP datagrams received.
    pub packets: u64,
    /// From the last tick before the first applied record to the last tick that applied one, in seconds.
    pub active_s: f64,
    /// CPU time of the process in that time, to a tenth of a second more at both ends, in seconds.
    pub active_cpu_s: f64,
    /// The account of each tier.
    pub tiers: Tiers,
    /// Percentiles by latency, in nanoseconds.
    pub latency_ns: BTreeMap<&'static str, LatencySummary>,
    /// What the hops of the records took, by tier.
    pub ledger: BTreeMap<&'static str, LedgerSums>,
    /// Times of the systems of a tick, by name.
    pub systems: BTreeMap<&'static str, SystemTimes>,
    /// The idle strategy that was in force.
    pub idle_strategy: String,
    /// Where it ran.
    pub host: Host,
}

/// A time of each hot thread, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Busy {
    /// Of the worker; busy is a turn that found work.
    pub worker: u64,
    /// Of the tick thread; busy is a tick without the wait for it.
    pub tick: u64,
}

/// The times of one system of a tick.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SystemTimes {
    /// How often it ran.
    pub runs: u64,
    /// Time of all its runs, in nanoseconds.
    pub total_ns: u64,
    /// Time of the longest of them, in nanoseconds.
    pub max_ns: u64,
}

/// The ledger of one tier: the hops of a record add up to its way from end to end.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerSums {
    /// Records in it: those that were applied.
    pub records: u64,
    /// Of those: without a clock shared with the sender, so that the network is left out of their way.
    pub unclocked: u64,
    /// Time from end to end, of all records, in nanoseconds.
    pub end_to_end_ns: u64,
    /// Time of each hop, of all records, in nanoseconds.
    pub hops_ns: BTreeMap<&'static str, u64>,
    /// What the hops leave unexplained of the time from end to end, in nanoseconds; 0, or there is a bug.
    pub residual_ns: i64,
    /// Records that took longer than `tick.outlier_us`, by what took most of their time.
    pub outliers: BTreeMap<&'static str, Outliers>,
}

/// Outliers of one cause.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outliers {
    /// How many.
    pub records: u64,
    /// The longest of them from end to end, in nanoseconds.
    pub longest_ns: u64,
}

impl LedgerSums {
    fn of(stats: &Ledger) -> Self {
        let hops_ns: BTreeMap<_, _> =
            Hop::NAMES.into_iter().zip(stats.hops_ns.iter().map(Counter::value)).collect();
        let explained_ns = hops_ns.values().copied().fold(0, u64::wrapping_add);
        let outliers = stats.outliers.iter().zip(&stats.longest_ns).map(|(records, longest_ns)| {
            Outliers { records: records.value(), longest_ns: longest_ns.value() }
        });
        Self {
            records: stats.records.value(),
            unclocked: stats.unclocked.value(),
            end_to_end_ns: stats.total_ns.value(),
            residual_ns: stats.total_ns.value().wrapping_sub(explained_ns).cast_signed(),
            hops_ns,
            outliers: Cause::NAMES.into_iter().zip(outliers).collect(),
        }
    }
}

/// The accounts of all tiers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tiers {
    /// Telemetry in DATAGRAM frames.
    pub t1: TierTotals,
    /// Events on unidirectional streams.
    pub t2: TierTotals,
    /// Commands on bidirectional streams.
    pub t3: TierTotals,
}

impl Summary {
    /// Puts a summary together at the end of a run of `duration`.
    #[must_use]
    pub fn of(
        report: &Report,
        stats: &TwinStats,
        usage: Usage,
        activity: &Activity,
        duration: Duration,
        idle_strategy: &str,
    ) -> Self {
        let worker = stats.worker();
        let [t1, t2, t3] = [0, 1, 2].map(|tier| stats.tiers[tier].totals());
        Self {
            duration_s: duration.as_secs_f64(),
            ticks: stats.tick.ticks.value(),
            tick_overruns: stats.tick.overruns.value(),
            ticks_missed: stats.tick.missed.value(),
            entities: stats.tick.entities.value(),
            sessions: worker.sessions_open(),
            rss_bytes: usage.rss_bytes,
            cpu_user_s: Duration::from_nanos(usage.cpu_user_ns).as_secs_f64(),
            cpu_system_s: Duration::from_nanos(usage.cpu_system_ns).as_secs_f64(),
            busy_ns: Busy { worker: worker.busy_ns.value(), tick: stats.tick.busy_ns.value() },
            thread_cpu_ns: Busy { worker: worker.cpu_ns.value(), tick: stats.tick.cpu_ns.value() },
            packets: worker.datagrams_in.value(),
            active_s: Duration::from_nanos(stats.tick.active_ns.value()).as_secs_f64(),
            active_cpu_s: Duration::from_nanos(activity.cpu_ns()).as_secs_f64(),
            tiers: Tiers { t1, t2, t3 },
            latency_ns: report.latencies(),
            ledger: Tier::ALL
                .map(|tier| (tier.name(), LedgerSums::of(&stats.ledger[tier.index()])))
                .into(),
            systems: system_times(stats),
            idle_strategy: idle_strategy.to_owned(),
            host: Host::read(),
        }
    }
}

fn system_times(stats: &TwinStats) -> BTreeMap<&'static str, SystemTimes> {
    let times = |system: &System| SystemTimes {
        runs: system.runs.value(),
        total_ns: system.total_ns.value(),
        max_ns: system.max_ns.value(),
    };
    SYSTEMS.into_iter().zip(stats.systems.iter().map(times)).collect()
}

/// The form of `-o text`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu_s = self.cpu_user_s + self.cpu_system_s;
        writeln!(
            f,
            "{:.1} s, {} ticks ({} overruns, {} missed), {cpu_s:.1} s CPU, {:.1} MB resident",
            self.duration_s,
            self.ticks,
            self.tick_overruns,
            self.ticks_missed,
            self.rss_bytes as f64 / 1e6,
        )?;
        writeln!(
            f,
            "{} entities, {} sessions, idle {}",
            self.entities, self.sessions, self.idle_strategy
        )?;
        write_tiers(f, &self.tiers)?;
        write_latencies(f, &self.latency_ns)?;
        let host = &self.host;
        write!(
            f,
            "host: {}, {} cores, Linux {}, {}, {:.1} GB\nbuilt: {}, revision {}",
            host.cpu_model,
            host.cores,
            host.kernel,
            host.arch,
            host.memory_bytes as f64 / 1e9,
            host.rustc,
            host.revision,
        )
    }
}

/// The account, an outcome a line: what was offered is the sum of those below it, up to the residual.
fn write_tiers(f: &mut fmt::Formatter<'_>, tiers: &Tiers) -> fmt::Result {
    writeln!(f, "\n{:24}{:>16}{:>16}{:>16}", "records", "t1", "t2", "t3")?;
    let of = [tiers.t1, tiers.t2, tiers.t3];
    let mut line = |name: &str, cells: [String; 3]| {
        let [t1, t2, t3] = cells;
        writeln!(f, "{name:24}{t1:>16}{t2:>16}{t3:>16}")
    };
    line("offered", of.map(|tier| tier.offered.to_string()))?;
    line("applied", of.map(|tier| tier.applied.to_string()))?;
    line("duplicate", of.map(|tier| tier.duplicate.to_string()))?;
    line("stale", of.map(|tier| tier.stale.to_string()))?;
    line("rejected", of.map(|tier| tier.rejected.to_string()))?;
    line("shed", of.map(|tier| tier.shed.to_string()))?;
    line("lost", of.map(|tier| tier.lost.to_string()))?;
    line("in_flight", of.map(|tier| tier.in_flight.to_string()))?;
    line("residual", of.map(|tier| tier.residual.to_string()))?;
    line("decode_errors", of.map(|tier| tier.decode_errors.to_string()))
}

/// The table of latencies that have been seen, in microseconds.
///
/// # Errors
///
/// The formatter fails.
pub fn write_latencies(
    f: &mut fmt::Formatter<'_>,
    latencies: &BTreeMap<&'static str, LatencySummary>,
) -> fmt::Result {
    writeln!(
        f,
        "\n{:24}{:>12}{:>12}{:>12}{:>12}{:>12}{:>13}",
        "latency (us)", "p50", "p90", "p99", "p99.9", "max", "count"
    )?;
    for (name, latency) in latencies.iter().filter(|(_, latency)| latency.count > 0) {
        write!(f, "{name:24}")?;
        for ns in [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max] {
            write!(f, "{:>12.1}", ns as f64 / 1e3)?;
        }
        writeln!(f, "{:>13}", latency.count)?;
    }
    writeln!(f)
}
