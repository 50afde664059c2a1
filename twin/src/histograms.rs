//! Histograms on disk: interval logs (`.hlog`) and percentile tables (`.hgrm`).
//!
//! Both are the formats that the tools around HdrHistogram read and plot. Interval logs are appended to
//! as time goes, so that a long run keeps one histogram in memory for each name and not its history.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde::Serialize;
use thiserror::Error;

use crate::interval::histogram;

/// Steps of a percentile table for each halving of the distance to 100 %, as HdrHistogram's own tools.
const STEPS_PER_HALF: u32 = 5;
/// Percentile tables are in microseconds with three digits, so that every nanosecond shows.
const NS_PER_UNIT: f64 = 1_000.0;

/// Why a file of a report could not be written.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct WriteError {
    path: PathBuf,
    reason: String,
}

impl WriteError {
    pub(crate) fn new(path: &Path, reason: &impl ToString) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// One latency over the whole run, and its interval log if a folder was named.
pub struct LatencyLog {
    name: &'static str,
    total: Histogram<u64>,
    file: Option<LogFile>,
    serializer: V2DeflateSerializer,
    scratch: Vec<u8>,
}

impl LatencyLog {
    /// A log without anything in it. With a folder, `NAME.hlog` is created there and its times count from
    /// `started`.
    ///
    /// # Errors
    ///
    /// The file cannot be created or written.
    pub fn create(
        name: &'static str,
        folder: Option<&Path>,
        started: SystemTime,
    ) -> Result<Self, WriteError> {
        let file = folder.map(|folder| LogFile::create(name, folder, started)).transpose()?;
        Ok(Self { file, ..Self::without_file(name) })
    }

    /// A log without anything in it, whose lines are written by somebody else, if at all.
    #[must_use]
    pub(crate) fn without_file(name: &'static str) -> Self {
        // As long as the latencies that are added: ages have a longer bound than others.
        let mut total = histogram();
        total.auto(true);
        let (serializer, scratch) = (V2DeflateSerializer::new(), Vec::new());
        Self { name, total, file: None, serializer, scratch }
    }

    /// Name of the latency.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Everything added so far.
    #[must_use]
    pub fn total(&self) -> &Histogram<u64> {
        &self.total
    }

    /// Adds an interval that began `since` after the start. Intervals in which nothing happened leave no
    /// line.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn add(
        &mut self,
        interval: &Histogram<u64>,
        since: Duration,
        length: Duration,
    ) -> Result<(), WriteError> {
        if interval.is_empty() {
            return Ok(());
        }
        self.note(interval);
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let added = self.line(interval, since, length).map_err(|reason| file.error(&reason));
        let added = added.and_then(|line| file.append(line));
        self.file = Some(file);
        added
    }

    /// Adds an interval to the total alone.
    pub(crate) fn note(&mut self, interval: &Histogram<u64>) {
        self.total.add(interval).expect("because the total grows to what is added");
    }

    /// The line of an interval in an interval log.
    pub(crate) fn line(
        &mut self,
        interval: &Histogram<u64>,
        since: Duration,
        length: Duration,
    ) -> io::Result<&[u8]> {
        self.scratch.clear();
        // A writer without head lines: the head was written once, and a writer that lived as long as the
        // log would have to borrow from it.
        IntervalLogWriterBuilder::new()
            .begin_log_with(&mut self.scratch, &mut self.serializer)
            .and_then(|mut writer| {
                writer.write_histogram(interval, since, length, None).map_err(io::Error::other)
            })?;
        Ok(&self.scratch)
    }

    /// Flushes the log and writes `NAME.hgrm` beside it.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.flush()?;
        write_file(&file.path.with_extension("hgrm"), &self.table())
    }

    /// The percentile table over everything.
    #[must_use]
    pub(crate) fn table(&self) -> Vec<u8> {
        let mut text = Vec::new();
        write_percentiles(&self.total, &mut text).expect("memory takes everything");
        text
    }

    /// The percentiles that a summary states.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        LatencySummary::of(&self.total)
    }
}

/// An interval log on disk.
pub(crate) struct LogFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl LogFile {
    /// `NAME.hlog` in a folder, with its head.
    pub(crate) fn create(
        name: &str,
        folder: &Path,
        started: SystemTime,
    ) -> Result<Self, WriteError> {
        let path = folder.join(format!("{name}.hlog"));
        let file = File::create(&path).map_err(|reason| WriteError::new(&path, &reason))?;
        let mut log = Self { path, file: BufWriter::new(file) };
        write_head(name, started, &mut log.file).map_err(|reason| log.error(&reason))?;
        Ok(log)
    }

    /// Appends a line.
    pub(crate) fn append(&mut self, line: &[u8]) -> Result<(), WriteError> {
        self.file.write_all(line).map_err(|reason| self.error(&reason))
    }

    /// Writes what was appended.
    pub(crate) fn flush(&mut self) -> Result<(), WriteError> {
        self.file.flush().map_err(|reason| self.error(&reason))
    }

    fn error(&self, reason: &io::Error) -> WriteError {
        WriteError::new(&self.path, reason)
    }
}

/// Writes a whole file.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    std::fs::write(path, bytes).map_err(|reason| WriteError::new(path, &reason))
}

fn write_head(name: &str, started: SystemTime, file: &mut impl Write) -> io::Result<()> {
    writeln!(file, "#[{name}: nanoseconds, the column of maxima included]")?;
    writeln!(file, "#[Histogram log format version 1.3]")?;
    IntervalLogWriterBuilder::new()
        .with_start_time(started)
        .with_base_time(started)
        .begin_log_with(file, &mut V2DeflateSerializer::new())?;
    writeln!(
        file,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )
}

/// Percentiles of one latency, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LatencySummary {
    /// Half of all are at most this.
    pub p50: u64,
    /// Nine of ten are at most this.
    pub p90: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// 999 of 1000 are at most this.
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
    /// How many there are; with 0 the others say nothing.
    pub count: u64,
}

impl LatencySummary {
    /// The percentiles of a histogram.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
            max: histogram.max(),
            count: histogram.len(),
        }
    }
}

/// Writes the percentile table in HdrHistogram's classic form, in microseconds.
///
/// # Errors
///
/// The writer fails.
pub fn write_percentiles(histogram: &Histogram<u64>, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut total = 0;
    for step in histogram.iter_quantiles(STEPS_PER_HALF) {
        total += step.count_since_last_iteration();
        let value = histogram.highest_equivalent(step.value_iterated_to()) as f64 / NS_PER_UNIT;
        let quantile = step.quantile_iterated_to();
        write!(out, "{value:12.3} {quantile:2.12} {total:10}")?;
        if quantile < 1.0 {
            write!(out, " {:14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(out)?;
    }
    let real = |ns: f64| ns / NS_PER_UNIT;
    let (mean, deviation) = (real(histogram.mean()), real(histogram.stdev()));
    let max = real(histogram.max() as f64);
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len())?;
    // The sub-buckets that three digits need: the power of two above 2 x 10^3.
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 2048)
}
