//! What a load came to: the object that `simulate -o json` prints, and its form for people.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use serde::Serialize;
use wire::Tier;

use super::{
    fleet::Outcome,
    progress::{LoadInterval, LoadLatency},
};
use crate::{
    histograms::{LatencyLog, LatencySummary, WriteError},
    host::Host,
    report::{Usage, write_latencies, write_summary},
};

/// What the socket of the fleet did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// UDP payloads sent; each is one QUIC packet, but for those of handshakes that hold two.
    pub packets: u64,
    /// Bytes of UDP payload sent.
    pub bytes: u64,
}

/// Adds up the latencies of a load.
pub struct Latencies {
    logs: Vec<LatencyLog>,
}

impl Latencies {
    /// No latencies yet. A folder is created if it is not there; interval logs grow in it.
    ///
    /// # Errors
    /// The folder or a file in it cannot be written.
    pub fn create(
        folder: Option<&Path>,
        started: std::time::SystemTime,
    ) -> Result<Self, WriteError> {
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(|reason| WriteError::new(folder, &reason))?;
        }
        let logs = LoadLatency::ALL
            .into_iter()
            .map(|latency| LatencyLog::create(latency.name(), folder, started))
            .collect::<Result<_, _>>()?;
        Ok(Self { logs })
    }

    /// Adds the latencies of an interval.
    ///
    /// # Errors
    /// A log cannot be written.
    pub fn add(&mut self, interval: &LoadInterval) -> Result<(), WriteError> {
        let since = Duration::from_nanos(interval.since_ns);
        let length = Duration::from_nanos(interval.until_ns.saturating_sub(interval.since_ns));
        for (latency, log) in LoadLatency::ALL.into_iter().zip(&mut self.logs) {
            log.add(interval.histogram(latency), since, length)?;
        }
        Ok(())
    }

    /// Writes the percentile tables and `summary.json`, if there is a folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(&mut self, folder: Option<&Path>, summary: &Summary) -> Result<(), WriteError> {
        self.logs.iter_mut().try_for_each(LatencyLog::finish)?;
        folder.map_or(Ok(()), |folder| write_summary(folder, summary))
    }

    fn summaries(&self) -> BTreeMap<&'static str, LatencySummary> {
        self.logs.iter().map(|log| (log.name(), log.summary())).collect()
    }
}

/// What a load came to.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// From the first turn to the last, in seconds.
    pub duration_s: f64,
    /// From the beginning of the schedule to the beginning of the orderly end, in seconds.
    pub active_s: f64,
    /// Records sent.
    pub sent: Tiers,
    /// T2 records in sessions that closed in order, on streams that the twin did not stop; T3 commands with an ack. T1 is
    /// never acknowledged.
    pub acknowledged: Tiers,
    /// Records that were due and could not be sent in time.
    pub shed: Tiers,
    /// Records sent per second of [`Summary::active_s`].
    pub rate_per_s: TierRates,
    /// The form in which T1 left.
    pub wire: Wire,
    /// Sessions and what became of them.
    pub sessions: Sessions,
    /// Commands of either side.
    pub commands: Commands,
    /// Lateness and round trips, in nanoseconds.
    pub latency_ns: BTreeMap<&'static str, LatencySummary>,
    /// CPU time in user mode, in seconds.
    pub cpu_user_s: f64,
    /// CPU time in the kernel, in seconds.
    pub cpu_system_s: f64,
    /// CPU time of all kinds for one record sent, in nanoseconds.
    pub cpu_ns_per_record: f64,
    /// Resident memory at the end, in bytes.
    pub rss_bytes: u64,
    /// Where it ran.
    pub host: Host,
}

/// A count for each tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tiers {
    /// DATAGRAM frames.
    pub t1: u64,
    /// Unidirectional streams.
    pub t2: u64,
    /// Bidirectional streams.
    pub t3: u64,
}

/// A rate for each tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct TierRates {
    /// DATAGRAM frames.
    pub t1: f64,
    /// Unidirectional streams.
    pub t2: f64,
    /// Bidirectional streams.
    pub t3: f64,
}

/// The form in which T1 left, and what the socket sent in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Wire {
    /// DATAGRAM frames.
    pub frames: u64,
    /// Records in a frame, on average.
    pub records_per_frame: f64,
    /// Most records in a frame.
    pub records_per_frame_max: u64,
    /// UDP payloads sent, those of handshakes and acknowledgements included.
    pub packets: u64,
    /// DATAGRAM frames for each packet, on average.
    pub frames_per_packet: f64,
    /// Bytes of UDP payload sent.
    pub bytes: u64,
    /// Bytes of UDP payload for each record, on average.
    pub bytes_per_record: f64,
}

/// Sessions and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// Sessions that were asked for at the same time.
    pub planned: u64,
    /// Admitted by the twin.
    pub opened: u64,
    /// Admitted in place of a lost one.
    pub reopened: u64,
    /// Ended before they were finished.
    pub lost: u64,
    /// Closed in order, with their totals.
    pub finished: u64,
    /// Handshakes that failed, or whose certificate the twin refused.
    pub handshakes_failed: u64,
}

/// Commands of either side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Commands {
    /// Of the fleet: ended without an ack.
    pub failed: u64,
    /// Of the fleet: an ack whose status is not ok.
    pub refused: u64,
    /// Of the twin: answered.
    pub answered: u64,
}

fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}

impl From<[u64; Tier::COUNT]> for Tiers {
    fn from([t1, t2, t3]: [u64; Tier::COUNT]) -> Self {
        Self { t1, t2, t3 }
    }
}

impl Summary {
    /// Puts together what a load of so many planned sessions came to.
    #[must_use]
    pub fn of(
        outcome: &Outcome,
        planned: u32,
        traffic: Traffic,
        usage: Usage,
        latencies: &Latencies,
    ) -> Self {
        let records: u64 = outcome.sent.iter().sum();
        let active_s = outcome.active_ns as f64 / 1e9;
        let [t1, t2, t3] =
            outcome.sent.map(|sent| if active_s > 0.0 { sent as f64 / active_s } else { 0.0 });
        Self {
            duration_s: outcome.duration_ns as f64 / 1e9,
            active_s,
            sent: outcome.sent.into(),
            acknowledged: outcome.acknowledged.into(),
            shed: outcome.shed.into(),
            rate_per_s: TierRates { t1, t2, t3 },
            wire: Wire {
                frames: outcome.form.frames,
                records_per_frame: ratio(outcome.form.records, outcome.form.frames),
                records_per_frame_max: outcome.form.records_max,
                packets: traffic.packets,
                frames_per_packet: ratio(outcome.form.frames, traffic.packets),
                bytes: traffic.bytes,
                bytes_per_record: ratio(traffic.bytes, records),
            },
            sessions: Sessions {
                planned: planned.into(),
                opened: outcome.sessions_opened,
                reopened: outcome.sessions_reopened,
                lost: outcome.sessions_lost,
                finished: outcome.sessions_finished,
                handshakes_failed: outcome.handshakes_failed,
            },
            commands: Commands {
                failed: outcome.commands_failed,
                refused: outcome.commands_refused,
                answered: outcome.commands_answered,
            },
            latency_ns: latencies.summaries(),
            cpu_user_s: usage.cpu_user_ns as f64 / 1e9,
            cpu_system_s: usage.cpu_system_ns as f64 / 1e9,
            cpu_ns_per_record: ratio(usage.cpu_user_ns + usage.cpu_system_ns, records),
            rss_bytes: usage.rss_bytes,
            host: Host::read(),
        }
    }
}

/// The form of `-o text`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sessions, wire) = (&self.sessions, &self.wire);
        writeln!(
            f,
            "{:.1} s, {:.1} s of load, {:.1} s CPU ({:.0} ns a record), {:.1} MB resident",
            self.duration_s,
            self.active_s,
            self.cpu_user_s + self.cpu_system_s,
            self.cpu_ns_per_record,
            self.rss_bytes as f64 / 1e6,
        )?;
        writeln!(
            f,
            "sessions: {} of {} opened, {} finished, {} lost, {} reopened, {} handshakes failed",
            sessions.opened - sessions.reopened,
            sessions.planned,
            sessions.finished,
            sessions.lost,
            sessions.reopened,
            sessions.handshakes_failed,
        )?;
        writeln!(
            f,
            "wire: {:.1} records in a frame (at most {}), {:.2} frames in a packet,\n      \
             {:.1} bytes a record, {} packets",
            wire.records_per_frame,
            wire.records_per_frame_max,
            wire.frames_per_packet,
            wire.bytes_per_record,
            wire.packets,
        )?;
        writeln!(
            f,
            "\n{:5}{:>15}{:>15}{:>13}{:>15}",
            "tier", "sent", "acknowledged", "shed", "sent per s"
        )?;
        let (sent, acked, shed, rate) = (self.sent, self.acknowledged, self.shed, self.rate_per_s);
        writeln!(f, "{:5}{:>15}{:>15}{:>13}{:>15.0}", "t1", sent.t1, "-", shed.t1, rate.t1)?;
        writeln!(f, "{:5}{:>15}{:>15}{:>13}{:>15.0}", "t2", sent.t2, acked.t2, shed.t2, rate.t2)?;
        writeln!(f, "{:5}{:>15}{:>15}{:>13}{:>15.0}", "t3", sent.t3, acked.t3, shed.t3, rate.t3)?;
        write_latencies(f, &self.latency_ns)
    }
}
