//! Latencies of one interval, recorded by a hot thread and handed to the cold one.
//!
//! All histograms are made at start. A hot thread records into an [`Interval`] that it owns and swaps it
//! for an empty one about once a second; it never waits, never allocates and never shares a lock. When
//! no empty one has come back it goes on with the one it has: an interval gets longer, nothing is lost.

use hdrhistogram::Histogram;

use crate::exchange::{self, ColdEnd, HotEnd};

/// Upper bound of a histogram of latencies: one minute. Longer times are recorded as this.
pub const BOUND_NS: u64 = 60_000_000_000;
/// Upper bound of the histogram of ages: one day. A sensor may report a few times a day; a value that is older is of no device
/// that still does.
pub const AGE_BOUND_NS: u64 = 24 * 60 * BOUND_NS;
/// Three significant digits: a relative error of one per mille, at 220 kB a histogram, and 310 kB up to a day.
const DIGITS: u8 = 3;
/// Intervals beside the one being recorded: the cold thread has given it back long before the second is over.
const SPARES: usize = 1;

/// What is measured, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Start to end of a tick's work.
    TickDuration,
    /// How late a tick started.
    TickJitter,
    /// T1: received from the socket to applied to the world.
    ReceiveToAppliedT1,
    /// T2: received from the socket to applied to the world.
    ReceiveToAppliedT2,
    /// T3: received from the socket to applied to the world.
    ReceiveToAppliedT3,
    /// T1: intended send time to applied, where both ends share a clock.
    IntendedToAppliedT1,
    /// T2: intended send time to applied, where both ends share a clock.
    IntendedToAppliedT2,
    /// T3: intended send time to applied, where both ends share a clock.
    IntendedToAppliedT3,
    /// A command from its sending to its acknowledgement.
    CommandRtt,
    /// Intended send time to received from the socket, where both ends share a clock.
    IntendedToReceived,
    /// Received from the socket to pushed into the ring.
    SocketToRing,
    /// Pushed into the ring to the beginning of the tick that took it.
    RingToTick,
    /// From there to applied.
    TickToApplied,
    /// An order of an operator, from its request to the receipt of the device's acknowledgement.
    OrderToAck,
    /// A stop, from its request to the receipt of each session's acknowledgement.
    StopToAck,
    /// The age of each sensor's value, once a second: from its intended send time.
    Age,
}

impl Latency {
    /// All of them, in the order of their histograms.
    pub const ALL: [Self; 16] = [
        Self::TickDuration,
        Self::TickJitter,
        Self::ReceiveToAppliedT1,
        Self::ReceiveToAppliedT2,
        Self::ReceiveToAppliedT3,
        Self::IntendedToAppliedT1,
        Self::IntendedToAppliedT2,
        Self::IntendedToAppliedT3,
        Self::CommandRtt,
        Self::IntendedToReceived,
        Self::SocketToRing,
        Self::RingToTick,
        Self::TickToApplied,
        Self::OrderToAck,
        Self::StopToAck,
        Self::Age,
    ];

    /// Received to applied, by tier (0 is T1).
    pub const RECEIVE_TO_APPLIED: [Self; 3] =
        [Self::ReceiveToAppliedT1, Self::ReceiveToAppliedT2, Self::ReceiveToAppliedT3];

    /// Intended send time to applied, by tier (0 is T1).
    pub const INTENDED_TO_APPLIED: [Self; 3] =
        [Self::IntendedToAppliedT1, Self::IntendedToAppliedT2, Self::IntendedToAppliedT3];

    /// The hops of a record, in the order of [`Hop`](crate::world::Hop).
    pub const HOPS: [Self; 4] =
        [Self::IntendedToReceived, Self::SocketToRing, Self::RingToTick, Self::TickToApplied];

    /// Name in reports and of its files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TickDuration => "tick_duration",
            Self::TickJitter => "tick_jitter",
            Self::ReceiveToAppliedT1 => "receive_to_applied_t1",
            Self::ReceiveToAppliedT2 => "receive_to_applied_t2",
            Self::ReceiveToAppliedT3 => "receive_to_applied_t3",
            Self::IntendedToAppliedT1 => "intended_to_applied_t1",
            Self::IntendedToAppliedT2 => "intended_to_applied_t2",
            Self::IntendedToAppliedT3 => "intended_to_applied_t3",
            Self::CommandRtt => "command_rtt",
            Self::IntendedToReceived => "intended_to_received",
            Self::SocketToRing => "socket_to_ring",
            Self::RingToTick => "ring_to_tick",
            Self::TickToApplied => "tick_to_applied",
            Self::OrderToAck => "order_to_ack",
            Self::StopToAck => "stop_to_ack",
            Self::Age => "age",
        }
    }

    /// The longest that is told apart, in nanoseconds; what is longer is recorded as this.
    const fn bound_ns(self) -> u64 {
        match self {
            Self::Age => AGE_BOUND_NS,
            _ => BOUND_NS,
        }
    }

    /// An empty histogram up to its bound.
    fn histogram(self) -> Histogram<u64> {
        bounded(self.bound_ns())
    }
}

/// An empty histogram of latencies.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    bounded(BOUND_NS)
}

fn bounded(bound_ns: u64) -> Histogram<u64> {
    Histogram::new_with_bounds(1, bound_ns, DIGITS)
        .expect("because bounds and digits are constants that hdrhistogram allows")
}

/// Records `count` times a latency; one beyond the bound of the histogram counts as the bound.
pub fn record_n(histogram: &mut Histogram<u64>, latency_ns: u64, count: u64) {
    histogram.saturating_record_n(latency_ns.min(histogram.high()), count);
}

/// The latencies of one stretch of time.
#[derive(Debug)]
pub struct Interval {
    /// Begin, in nanoseconds since the start of the report.
    pub since_ns: u64,
    /// End, in nanoseconds since the start of the report; set by [`IntervalProducer::swap`].
    pub until_ns: u64,
    histograms: [Histogram<u64>; Latency::ALL.len()],
}

impl Interval {
    fn new() -> Box<Self> {
        let histograms = Latency::ALL.map(Latency::histogram);
        Box::new(Self { since_ns: 0, until_ns: 0, histograms })
    }

    /// Records one latency, in nanoseconds.
    pub fn record(&mut self, latency: Latency, ns: u64) {
        self.record_n(latency, ns, 1);
    }

    /// Records the same latency `count` times, in nanoseconds.
    pub fn record_n(&mut self, latency: Latency, ns: u64, count: u64) {
        record_n(&mut self.histograms[latency as usize], ns, count);
    }

    /// What was recorded of one latency.
    #[must_use]
    pub fn histogram(&self, latency: Latency) -> &Histogram<u64> {
        &self.histograms[latency as usize]
    }

    /// Empties all histograms and keeps their memory.
    fn clear(&mut self) {
        self.histograms.iter_mut().filter(|one| !one.is_empty()).for_each(Histogram::reset);
    }
}

/// Makes the two ends of an exchange and the interval to record into first, which begins at `now_ns`.
#[must_use]
pub fn exchange(now_ns: u64) -> (IntervalProducer, IntervalConsumer, Box<Interval>) {
    let (hot, cold, mut first) = exchange::exchange(SPARES, Interval::new);
    first.since_ns = now_ns;
    (IntervalProducer(hot), IntervalConsumer(cold), first)
}

/// The hot thread's end.
#[derive(Debug)]
pub struct IntervalProducer(HotEnd<Interval>);

impl IntervalProducer {
    /// Hands the interval over, ended at `now_ns`, and leaves an empty one that begins there. Without an
    /// empty one it changes nothing and says `false`: recording goes on in the same interval.
    pub fn swap(&mut self, current: &mut Box<Interval>, now_ns: u64) -> bool {
        self.0.swap(current, |done, next| (done.until_ns, next.since_ns) = (now_ns, now_ns))
    }

    /// Hands over the last interval, ended at `now_ns`.
    pub fn finish(self, mut last: Box<Interval>, now_ns: u64) {
        last.until_ns = now_ns;
        self.0.finish(last);
    }
}

/// The cold thread's end.
#[derive(Debug)]
pub struct IntervalConsumer(ColdEnd<Interval>);

impl IntervalConsumer {
    /// The oldest interval that was handed over.
    pub fn poll(&mut self) -> Option<Box<Interval>> {
        self.0.poll()
    }

    /// Empties an interval and gives it back to the hot thread.
    pub fn recycle(&mut self, mut interval: Box<Interval>) {
        interval.clear();
        self.0.recycle(interval);
    }
}
