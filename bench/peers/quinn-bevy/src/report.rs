//! The summary of a run: one JSON object, with the same names as the product's where both have the
//! figure.

use std::{
    collections::BTreeMap,
    fmt, fs,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    args::{Args, Output},
    endpoint::Listener,
    meter::Active,
    session::Counters,
    tick::Ticked,
    usage::{self, CpuTime},
};

/// Everything that a run has to say. Times in seconds, latencies in nanoseconds, counts in records
/// unless named otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    name: &'static str,
    version: &'static str,
    channel: &'static str,
    tick_hz: u32,
    t1_items: u32,
    drain_max: u32,
    rcvbuf_granted_bytes: usize,
    duration_s: f64,
    /// From the first applied record to the end of the last tick that applied one.
    active_s: f64,
    /// CPU time of the process within `active_s`.
    active_cpu_s: f64,
    received: u64,
    received_t1: u64,
    received_t2: u64,
    received_t3: u64,
    applied: u64,
    shed_channel: u64,
    /// DATAGRAM frames that quinn discarded because their session's task came too late.
    shed_quic_datagrams: u64,
    decode_errors: u64,
    ticks: u64,
    tick_overruns: u64,
    threshold_crossings: u64,
    sessions: u64,
    handshakes_failed: u64,
    entities: usize,
    /// UDP packets received, summed over the sessions.
    packets: u64,
    cpu_user_s: f64,
    cpu_system_s: f64,
    rss_bytes: u64,
    latency_ns: BTreeMap<&'static str, Percentiles>,
}

/// The usual percentiles of one histogram, in its unit.
#[derive(Debug, Serialize)]
struct Percentiles {
    p50: u64,
    p90: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
    count: u64,
}

impl Summary {
    /// Collects what the parts of the run counted. Sessions and tick thread must have ended.
    pub(crate) fn new(
        args: &Args,
        listener: &Listener,
        counters: &Counters,
        ticked: &Ticked,
        duration: Duration,
    ) -> anyhow::Result<Self> {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let [t1, t2, t3] =
            [&counters.received_t1, &counters.received_t2, &counters.received_t3].map(load);
        let cpu = CpuTime::now();
        let meter = &ticked.meter;
        Ok(Self {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            channel: args.channel.name(),
            tick_hz: args.tick_hz,
            t1_items: args.t1_items,
            drain_max: args.drain_max,
            rcvbuf_granted_bytes: listener.rcvbuf_bytes,
            duration_s: duration.as_secs_f64(),
            active_s: meter.active.as_ref().map_or(0.0, Active::elapsed_s),
            active_cpu_s: meter.active.as_ref().map_or(0.0, Active::cpu_s),
            received: t1 + t2 + t3,
            received_t1: t1,
            received_t2: t2,
            received_t3: t3,
            applied: meter.applied,
            shed_channel: load(&counters.shed_channel),
            shed_quic_datagrams: load(&counters.datagrams_received)
                .saturating_sub(load(&counters.datagrams_read)),
            decode_errors: load(&counters.decode_errors),
            ticks: ticked.ticks,
            tick_overruns: ticked.overruns,
            threshold_crossings: ticked.crossings,
            sessions: load(&counters.sessions),
            handshakes_failed: load(&counters.handshakes_failed),
            entities: ticked.entities,
            packets: load(&counters.packets),
            cpu_user_s: cpu.user_s,
            cpu_system_s: cpu.system_s,
            rss_bytes: usage::rss_bytes()?,
            latency_ns: BTreeMap::from([
                ("receive_to_applied_t1", Percentiles::of(&meter.receive_to_applied_t1)),
                ("intended_to_applied_t1", Percentiles::of(&meter.intended_to_applied_t1)),
            ]),
        })
    }

    /// Writes `summary.json` where `--report` says, and prints the summary in the form that `-o`
    /// says.
    pub(crate) fn publish(&self, args: &Args) -> anyhow::Result<()> {
        let json = serde_json::to_string(self)?;
        if let Some(dir) = &args.report {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
            let path = dir.join("summary.json");
            fs::write(&path, format!("{json}\n"))
                .with_context(|| format!("write {}", path.display()))?;
        }
        match args.output {
            Output::Text => println!("{self}"),
            Output::Json => println!("{json}"),
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.latency_ns["receive_to_applied_t1"];
        let rate = if self.active_s > 0.0 { self.applied as f64 / self.active_s } else { 0.0 };
        writeln!(
            f,
            "applied   {} of {} received, {rate:.0} a second",
            self.applied, self.received
        )?;
        writeln!(
            f,
            "shed      {} records by the channel, {} datagrams by quinn; {} decode errors",
            self.shed_channel, self.shed_quic_datagrams, self.decode_errors
        )?;
        writeln!(f, "ticks     {}, {} overran", self.ticks, self.tick_overruns)?;
        writeln!(f, "cpu       {:.3} s in {:.3} s active", self.active_cpu_s, self.active_s)?;
        write!(
            f,
            "latency   receive to applied: p50 {} us, p99 {} us, max {} us",
            latency.p50 / 1_000,
            latency.p99 / 1_000,
            latency.max / 1_000
        )
    }
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
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
