//! The log of paths: a line of JSON for each session's begin and end, and every few seconds what its path does.
//!
//! It is written where `net.path_log` asks for it, on a thread of its own, and ends at its size, with a line that says so: a
//! file that nobody watches may not fill a disk. What cannot be written is said once, and costs the log, never the twin. Where
//! the disk hangs, the rings of the workers' reports fill; what they have no room for is shed and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use netloop::{Clock, Consumer, Counter, PathReport, PathStep, Stop, keep_off, wait_until};
use serde_json::json;

use crate::parting::{Left, Patience};

/// The file, and where the workers' reports come from.
pub struct PathLog {
    reports: Vec<Reports>,
    /// Shed reports that were said.
    shed_said: u64,
    /// Gone once it is full or failed.
    file: Option<BufWriter<File>>,
    written_bytes: u64,
    max_bytes: u64,
}

/// Reports of one worker.
pub struct Reports {
    /// Those that it told.
    pub ring: Consumer<PathReport>,
    /// How many more found no room there.
    pub shed: Arc<Counter>,
}

/// Reports written in one look: a thousand sessions that come back at once take a tenth of a second.
const WRITTEN_MAX: usize = 512;
/// How often it is looked for reports.
const LOOK: Duration = Duration::from_millis(100);
/// Stack of the thread, all of it in place where memory is locked.
const STACK_BYTES: usize = 1 << 18;

/// The thread that writes a log.
pub struct Logging {
    stop: Stop,
    thread: JoinHandle<()>,
}

impl Logging {
    /// Writes what is left, and ends. The workers have to have ended before.
    ///
    /// # Errors
    /// The thread does not end in time, or has panicked.
    pub fn finish(self, patience: Patience) -> Result<(), Left> {
        self.stop.drain();
        patience.join(self.thread)
    }
}

impl PathLog {
    /// Appends to a file, up to `max_bytes` more.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub fn open(path: &Path, max_bytes: u64, reports: Vec<Reports>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let file = Some(BufWriter::new(file));
        Ok(Self { reports, shed_said: 0, file, written_bytes: 0, max_bytes })
    }

    /// Writes on a thread of its own, off these cores.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut self, off: Vec<usize>) -> io::Result<Logging> {
        let stop = Stop::new();
        let until = stop.clone();
        let run = move || {
            keep_off(&off);
            let clock = Clock::new();
            loop {
                // Asked before the rings are emptied, so that nothing that came before the end is left behind.
                let ending = until.is_draining();
                while self.poll() == WRITTEN_MAX {}
                if ending {
                    return;
                }
                wait_until(clock.now().instant + LOOK, Duration::ZERO);
            }
        };
        let builder = std::thread::Builder::new().name("path-log".to_owned());
        let thread = builder.stack_size(STACK_BYTES).spawn(run)?;
        Ok(Logging { stop, thread })
    }

    /// Writes what the workers have told, and says how many reports it has taken.
    pub fn poll(&mut self) -> usize {
        let mut left = WRITTEN_MAX;
        for at in 0..self.reports.len() {
            while left > 0
                && let Some(report) = self.reports[at].ring.pop()
            {
                left -= 1;
                if let Err(error) = self.write(&report) {
                    tracing::error!(%error, "the log of paths cannot be written, and ends");
                    self.file = None;
                }
            }
        }
        // What is buffered is written by the next one at the latest.
        let _ = self.file.as_mut().map(BufWriter::flush);
        self.say_shed();
        WRITTEN_MAX - left
    }

    fn say_shed(&mut self) {
        let shed = self.reports.iter().map(|reports| reports.shed.value()).sum();
        if shed > self.shed_said {
            self.shed_said = shed;
            tracing::warn!(shed, "the log of paths does not keep up, and lines are missing in it");
        }
    }

    fn write(&mut self, report: &PathReport) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = format!("{}\n", line(report));
        self.written_bytes += line.len() as u64;
        if self.written_bytes > self.max_bytes {
            writeln!(file, "{}", json!({ "step": "full", "max_bytes": self.max_bytes }))?;
            file.flush()?;
            self.file = None;
            tracing::warn!(max_bytes = self.max_bytes, "the log of paths is full, and ends");
            return Ok(());
        }
        file.write_all(line.as_bytes())
    }
}

fn line(report: &PathReport) -> serde_json::Value {
    let step = match report.step {
        PathStep::Opened => "opened".to_owned(),
        PathStep::Alive => "alive".to_owned(),
        PathStep::Closed(reason) => format!("closed: {reason:?}"),
    };
    json!({
        "unix_ns": report.unix_ns,
        "session": report.session.0,
        "step": step,
        "remote": report.remote.to_string(),
        "health": report.health.name(),
        "rtt_us": report.rtt_us[0],
        "rtt_min_us": report.rtt_us[1],
        "window_bytes": report.window_bytes,
        "congestion_events": report.congestion_events,
        "mtu_bytes": report.mtu_bytes,
        "packets_sent": report.packets[0],
        "packets_lost": report.packets[1],
        "datagrams_in": report.datagrams[0],
        "datagrams_out": report.datagrams[1],
        "bytes_in": report.bytes[0],
        "bytes_out": report.bytes[1],
        "datagram_frames_in": report.datagram_frames[0],
        "stream_frames_in": report.stream_frames[0],
        "stream_frames_out": report.stream_frames[1],
        "acks_in": report.ack_frames[0],
        "acks_out": report.ack_frames[1],
        "streams": report.streams,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use netloop::{CloseReason, EarlyData, Health, Producer, SessionId, ring};

    use super::*;

    fn report(step: PathStep) -> PathReport {
        PathReport {
            unix_ns: 17,
            session: SessionId(3),
            step,
            remote: SocketAddr::from(([10, 0, 0, 7], 9000)),
            health: Health::Degraded,
            early: EarlyData::None,
            rtt_us: [250, 200],
            window_bytes: 23_232,
            congestion_events: 1,
            mtu_bytes: 1452,
            packets: [40, 3],
            datagrams: [50, 40],
            bytes: [5_000, 4_000],
            datagram_frames: [30, 0],
            stream_frames: [4, 2],
            ack_frames: [20, 25],
            streams: 1,
        }
    }

    fn reports(capacity: usize) -> (Producer<PathReport>, Reports) {
        let (producer, ring) = ring(capacity);
        (producer, Reports { ring, shed: Arc::default() })
    }

    #[test]
    fn lines_tell_what_was_reported_until_the_file_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("paths.jsonl");
        let (mut producer, one) = reports(16);
        for step in [PathStep::Opened, PathStep::Alive, PathStep::Closed(CloseReason::Idle)] {
            producer.push(report(step)).unwrap();
        }
        let mut log = PathLog::open(&path, 1 << 20, vec![one]).unwrap();
        log.poll();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let steps: Vec<_> = lines.iter().map(|line| line["step"].as_str().unwrap()).collect();
        assert_eq!(steps, ["opened", "alive", "closed: Idle"]);
        assert_eq!(
            (&lines[0]["packets_lost"], &lines[0]["health"]),
            (&3.into(), &"degraded".into())
        );
        assert_eq!(lines[0]["remote"], "10.0.0.7:9000");
        let (mut producer, one) = reports(16);
        let mut log = PathLog::open(&path, 600, vec![one]).unwrap();
        (0..10).for_each(|_| producer.push(report(PathStep::Alive)).unwrap());
        log.poll();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() < 8, "{text}");
        assert!(text.ends_with("{\"max_bytes\":600,\"step\":\"full\"}\n"), "{text}");
    }
}
