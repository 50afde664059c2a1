//! What the fleet's thread tells the cold one while it runs: counters, and the latencies of each second.
//!
//! The fleet never waits for the reader and never allocates for it. When no empty interval has come back it goes on
//! recording into the one that it has.

use std::fmt;

use hdrhistogram::Histogram;
use netloop::Counter;

use crate::exchange::{self, ColdEnd, HotEnd};
use crate::interval::{histogram, record_n};

/// Counters with one writer, the fleet.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Progress {
    /// Sessions that are open.
    pub sessions: Counter,
    /// Records sent, for each tier.
    pub sent: [Counter; 3],
    /// Commands acknowledged.
    pub acknowledged: Counter,
    /// Records that were due and not sent, for each tier.
    pub shed: [Counter; 3],
    /// The worst lateness since the start, in nanoseconds.
    pub late_ns_max: Counter,
    /// Sessions whose path takes no more at the moment.
    pub blocked: Counter,
    /// Sessions that ended before they were finished.
    pub lost: Counter,
    /// Handshakes that failed.
    pub handshakes_failed: Counter,
}

impl Progress {
    /// The line of one second, given what was sent up to the line before.
    #[must_use]
    pub fn line(&self, sent_before: u64, seconds: f64) -> Line<'_> {
        Line { progress: self, sent_before, seconds }
    }

    /// Records sent on all tiers.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.iter().map(Counter::value).sum()
    }
}

/// One line of progress.
#[derive(Debug)]
pub struct Line<'a> {
    progress: &'a Progress,
    sent_before: u64,
    seconds: f64,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { progress, sent_before, seconds } = self;
        let sent = progress.sent();
        let rate = sent.saturating_sub(*sent_before) as f64 / seconds.max(1e-9);
        let shed: u64 = progress.shed.iter().map(Counter::value).sum();
        write!(
            f,
            "{} sessions, {rate:.0} records/s, {sent} sent, {} commands acknowledged, {shed} shed, late {:.1} ms at worst, {} blocked",
            progress.sessions.value(),
            progress.acknowledged.value(),
            progress.late_ns_max.value() as f64 / 1e6,
            progress.blocked.value(),
        )?;
        let (lost, failed) = (progress.lost.value(), progress.handshakes_failed.value());
        if lost + failed > 0 {
            write!(f, ", {lost} sessions lost, {failed} handshakes failed")?;
        }
        Ok(())
    }
}

/// What a fleet measures, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadLatency {
    /// Due to handed to QUIC, for each T1 record that was sent and has a due time: none without a rate.
    Lateness,
    /// A command sent to its ack handled.
    RoundTrip,
    /// A command due to its ack handled: corrected for coordinated omission.
    RoundTripIntended,
}

impl LoadLatency {
    /// All of them, in the order of their histograms.
    pub const ALL: [Self; 3] = [Self::Lateness, Self::RoundTrip, Self::RoundTripIntended];

    /// Name in reports and of its files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lateness => "lateness",
            Self::RoundTrip => "round_trip",
            Self::RoundTripIntended => "round_trip_intended",
        }
    }
}

/// The latencies of one stretch of time.
#[derive(Debug)]
pub struct LoadInterval {
    /// Begin, in nanoseconds since the start of the fleet.
    pub since_ns: u64,
    /// End, in nanoseconds since the start of the fleet.
    pub until_ns: u64,
    histograms: [Histogram<u64>; LoadLatency::ALL.len()],
}

impl LoadInterval {
    fn new() -> Box<Self> {
        let histograms = std::array::from_fn(|_| histogram());
        Box::new(Self { since_ns: 0, until_ns: 0, histograms })
    }

    /// Records `count` times the same latency, in nanoseconds.
    pub fn record_n(&mut self, latency: LoadLatency, ns: u64, count: u64) {
        record_n(&mut self.histograms[latency as usize], ns, count);
    }

    /// What was recorded of one latency.
    #[must_use]
    pub const fn histogram(&self, latency: LoadLatency) -> &Histogram<u64> {
        &self.histograms[latency as usize]
    }
}

/// The cold thread has given it back long before the second is over.
const SPARES: usize = 1;

/// The two ends of the way of intervals, and the one to record into first.
pub(super) fn exchange() -> (HotEnd<LoadInterval>, ColdEnd<LoadInterval>, Box<LoadInterval>) {
    exchange::exchange(SPARES, LoadInterval::new)
}

/// Hands the interval over, if an empty one is there to go on with.
pub(super) fn swap(hot: &HotEnd<LoadInterval>, current: &mut Box<LoadInterval>, now_ns: u64) {
    hot.swap(current, |done, next| (done.until_ns, next.since_ns) = (now_ns, now_ns));
}

/// Gives every interval that was handed over to `read`, and returns it emptied.
pub(super) fn drain(cold: &ColdEnd<LoadInterval>, read: &mut dyn FnMut(&LoadInterval)) {
    while let Some(mut interval) = cold.poll() {
        read(&interval);
        interval.histograms.iter_mut().for_each(Histogram::reset);
        cold.recycle(interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_gets_longer_intervals_and_every_value() {
        let (hot, cold, mut current) = exchange();
        for second in 1..=10 {
            current.record_n(LoadLatency::Lateness, second * 1_000, 3);
            swap(&hot, &mut current, second);
        }
        let mut spans = Vec::new();
        let mut count = 0;
        drain(&cold, &mut |interval| {
            spans.push((interval.since_ns, interval.until_ns));
            count += interval.histogram(LoadLatency::Lateness).len();
        });
        assert_eq!(spans, [(0, 1)]);
        swap(&hot, &mut current, 11);
        drain(&cold, &mut |interval| {
            spans.push((interval.since_ns, interval.until_ns));
            count += interval.histogram(LoadLatency::Lateness).len();
        });
        assert_eq!(spans[1], (1, 11));
        assert_eq!(count, 30);
    }

    #[test]
    fn the_line_names_what_went_wrong_only_when_it_did() {
        let progress = Progress::default();
        progress.sessions.set(3);
        progress.sent[0].set(1_500);
        assert_eq!(
            progress.line(500, 1.0).to_string(),
            "3 sessions, 1000 records/s, 1500 sent, 0 commands acknowledged, 0 shed, late 0.0 ms at worst, 0 blocked"
        );
        progress.lost.set(2);
        let line = progress.line(500, 1.0).to_string();
        assert!(line.ends_with(", 2 sessions lost, 0 handshakes failed"), "{line}");
    }
}
