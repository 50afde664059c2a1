//! The log of paths: a line of JSON for each session's begin and end, and every few seconds what its path does.
//!
//! It is written where `net.path_log` asks for it, on the cold thread, and ends at its size, with a line that says so: a file
//! that nobody watches may not fill a disk. What cannot be written is said once, and costs the log, never the twin.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use netloop::{Consumer, PathReport, PathStep};
use serde_json::json;

/// The file, and where the workers' reports come from.
pub struct PathLog {
    reports: Vec<Consumer<PathReport>>,
    /// Gone once it is full or failed.
    file: Option<BufWriter<File>>,
    written_bytes: u64,
    max_bytes: u64,
}

/// Reports written in one look: a thousand sessions that come back at once take a tenth of a second.
const WRITTEN_MAX: usize = 512;

impl PathLog {
    /// Appends to a file, up to `max_bytes` more.
    ///
    /// # Errors
    /// The file cannot be opened for writing.
    pub fn open(
        path: &Path,
        max_bytes: u64,
        reports: Vec<Consumer<PathReport>>,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { reports, file: Some(BufWriter::new(file)), written_bytes: 0, max_bytes })
    }

    /// Writes what the workers have told.
    pub fn poll(&mut self) {
        let mut left = WRITTEN_MAX;
        for at in 0..self.reports.len() {
            while left > 0
                && let Some(report) = self.reports[at].pop()
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

    use netloop::{CloseReason, EarlyData, Health, SessionId, ring};

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

    #[test]
    fn lines_tell_what_was_reported_until_the_file_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("paths.jsonl");
        let (mut producer, consumer) = ring(16);
        for step in [PathStep::Opened, PathStep::Alive, PathStep::Closed(CloseReason::Idle)] {
            producer.push(report(step)).unwrap();
        }
        let mut log = PathLog::open(&path, 1 << 20, vec![consumer]).unwrap();
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
        let (mut producer, consumer) = ring(16);
        let mut log = PathLog::open(&path, 600, vec![consumer]).unwrap();
        (0..10).for_each(|_| producer.push(report(PathStep::Alive)).unwrap());
        log.poll();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() < 8, "{text}");
        assert!(text.ends_with("{\"max_bytes\":600,\"step\":\"full\"}\n"), "{text}");
    }
}
