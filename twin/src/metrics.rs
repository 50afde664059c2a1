//! The metrics, in Prometheus' text format 0.0.4.
//!
//! One table names them all. Labels are drawn from closed sets (tiers, results, sensor types, systems), never from
//! devices, so the number of series does not grow with the plant.

use std::fmt::Write;

use hdrhistogram::Histogram;
use netloop::{ClientAuth, GapCause, Health, Limit};

use crate::config::SENSOR_TYPES;
use crate::degraded::Wish;
use crate::host;
use crate::http::guard::Refusals;
use crate::interval::Latency;
use crate::rates::Sampler;
use crate::stats::{SYSTEMS, TwinStats};
use crate::turned_away;
use crate::world::{Cause, Hop};

/// What an exposition is made from.
pub struct Sources<'a> {
    /// The counters of the hot threads.
    pub stats: &'a TwinStats,
    /// The counts of all workers, added up.
    pub worker: &'a netloop::WorkerStats,
    /// One latency over the whole run.
    pub total: &'a dyn Fn(Latency) -> &'a Histogram<u64>,
    /// Rates, ages and the health of the twin.
    pub sampler: &'a Sampler,
    /// What the surface refused.
    pub refusals: &'a Refusals,
    /// Streams that are watched, over WebSocket and over WebTransport.
    pub viewers: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
}

/// Upper bounds of the buckets, in nanoseconds: 1 us to 10 s in steps of about 2.5. They never change
/// within a version, because sums over instances need equal bounds.
const BOUNDS_NS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Bytes of a cell of a capture.
const CELL_BYTES: u64 = size_of::<netloop::Slot>() as u64;

const TIERS: [&str; 3] = ["t1", "t2", "t3"];

/// One metric: its name, its type, what it means, and how its series are written.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    write: fn(&Sources<'_>, &mut Series<'_>),
}

/// Writes the series of one metric.
struct Series<'a> {
    name: &'static str,
    out: &'a mut String,
}

impl Series<'_> {
    /// One sample; labels are `name="value"` pairs out of our own tables, so nothing needs escaping.
    fn push(&mut self, labels: &str, value: f64) {
        let Self { name, out } = self;
        let result = if labels.is_empty() {
            writeln!(out, "{name} {value}")
        } else {
            writeln!(out, "{name}{{{labels}}} {value}")
        };
        result.expect("because a String takes all");
    }

    fn count(&mut self, labels: &str, value: u64) {
        self.push(labels, value as f64);
    }

    /// Buckets, sum and count. A recorded time falls into the bucket that holds the upper end of its
    /// own HDR cell, at most one per mille above it.
    fn histogram(&mut self, labels: &str, histogram: &Histogram<u64>) {
        let Self { name, out } = self;
        let comma = if labels.is_empty() { "" } else { "," };
        let mut recorded = histogram.iter_recorded().peekable();
        let (mut count, mut sum_ns) = (0_u64, 0.0);
        for bound in BOUNDS_NS.into_iter().chain([u64::MAX]) {
            while let Some(cell) = recorded.next_if(|cell| cell.value_iterated_to() <= bound) {
                count += cell.count_at_value();
                let middle = histogram.median_equivalent(cell.value_iterated_to());
                sum_ns += middle as f64 * cell.count_at_value() as f64;
            }
            let seconds = match bound {
                u64::MAX => "+Inf".to_owned(),
                ns => (ns as f64 / 1e9).to_string(),
            };
            writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{seconds}\"}} {count}")
                .expect("because a String takes all");
        }
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        writeln!(out, "{name}_sum{braces} {}\n{name}_count{braces} {count}", sum_ns / 1e9)
            .expect("because a String takes all");
    }
}

/// The exposition: every metric with its help and type.
#[must_use]
pub fn exposition(sources: &Sources<'_>) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for Metric { name, kind, help, write } in METRICS {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
            .expect("because a String takes all");
        write(sources, &mut Series { name, out: &mut out });
    }
    out
}

/// Names of all metrics, as they stand in the exposition.
pub fn names() -> impl Iterator<Item = &'static str> {
    METRICS.iter().map(|metric| metric.name)
}

const fn counter(
    name: &'static str,
    help: &'static str,
    write: fn(&Sources<'_>, &mut Series<'_>),
) -> Metric {
    Metric { name, kind: "counter", help, write }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    write: fn(&Sources<'_>, &mut Series<'_>),
) -> Metric {
    Metric { name, kind: "gauge", help, write }
}

const fn latency(
    name: &'static str,
    help: &'static str,
    write: fn(&Sources<'_>, &mut Series<'_>),
) -> Metric {
    Metric { name, kind: "histogram", help, write }
}

const METRICS: &[Metric] = &[
    counter("pollux_records_total", "Records by tier and what became of them.", records),
    counter(
        "pollux_records_rejected_total",
        "Records rejected before the world, by tier and reason.",
        rejected,
    ),
    counter("pollux_lost_total", "Records missing on the network, by tier.", |from, to| {
        by_tier(to, |tier| from.stats.tiers[tier].ingress.lost_max.value());
    }),
    counter("pollux_decode_errors_total", "Payloads that are no records, by tier.", |from, to| {
        by_tier(to, |tier| from.stats.tiers[tier].ingress.decode_errors.value());
    }),
    counter("pollux_ticks_total", "Ticks that ran.", |from, to| {
        to.count("", from.stats.tick.ticks.value());
    }),
    counter(
        "pollux_tick_overruns_total",
        "Ticks that ended after the next one was due.",
        |from, to| to.count("", from.stats.tick.overruns.value()),
    ),
    counter("pollux_ticks_missed_total", "Ticks that never ran.", |from, to| {
        to.count("", from.stats.tick.missed.value());
    }),
    latency("pollux_tick_duration_seconds", "Work of a tick.", |from, to| {
        to.histogram("", (from.total)(Latency::TickDuration));
    }),
    counter("pollux_system_duration_seconds_total", "Work of a tick, by system.", |from, to| {
        for (name, system) in SYSTEMS.iter().zip(&from.stats.systems) {
            to.push(&format!("system=\"{name}\""), system.total_ns.value() as f64 / 1e9);
        }
    }),
    counter("pollux_system_runs_total", "Runs of the systems of a tick.", |from, to| {
        for (name, system) in SYSTEMS.iter().zip(&from.stats.systems) {
            to.count(&format!("system=\"{name}\""), system.runs.value());
        }
    }),
    latency(
        "pollux_ingest_latency_seconds",
        "From the socket to the world, by tier.",
        |from, to| {
            for (tier, latency) in TIERS.iter().zip(Latency::RECEIVE_TO_APPLIED) {
                to.histogram(&format!("tier=\"{tier}\""), (from.total)(latency));
            }
        },
    ),
    latency(
        "pollux_intended_to_applied_seconds",
        "From the intended send time to the world, by tier, where both ends share a clock.",
        |from, to| {
            for (tier, latency) in TIERS.iter().zip(Latency::INTENDED_TO_APPLIED) {
                to.histogram(&format!("tier=\"{tier}\""), (from.total)(latency));
            }
        },
    ),
    latency("pollux_hop_seconds", "Stretches of a record's way to its row, by hop.", |from, to| {
        for (hop, latency) in Hop::NAMES.iter().zip(Latency::HOPS) {
            to.histogram(&format!("hop=\"{hop}\""), (from.total)(latency));
        }
    }),
    counter(
        "pollux_outliers_total",
        "Records that took longer than tick.outlier_us, by tier and what kept them.",
        |from, to| {
            for (tier, ledger) in TIERS.iter().zip(&from.stats.ledger) {
                for (cause, records) in Cause::NAMES.iter().zip(&ledger.outliers) {
                    to.count(&format!("tier=\"{tier}\",cause=\"{cause}\""), records.value());
                }
            }
        },
    ),
    latency("pollux_tick_jitter_seconds", "How late a tick started.", |from, to| {
        to.histogram("", (from.total)(Latency::TickJitter));
    }),
    latency("pollux_command_rtt_seconds", "Round trip of a command.", |from, to| {
        to.histogram("", (from.total)(Latency::CommandRtt));
    }),
    gauge("pollux_tick_rate_hz", "Ticks per second, over the last second.", |from, to| {
        let stands = from.sampler.rates().tick_stands;
        to.push("", if stands { 0.0 } else { from.stats.tick.rate_hz.value() });
    }),
    gauge("pollux_entities", "Entities in the world.", |from, to| {
        to.count("", from.stats.tick.entities.value());
    }),
    gauge("pollux_sessions", "Open sessions.", |from, to| {
        to.count("", from.worker.sessions_open());
    }),
    gauge(
        "pollux_sessions_redundant",
        "Open sessions whose device or gateway holds another one in the same boot.",
        |from, to| to.count("", from.stats.tick.redundant_sessions.value()),
    ),
    gauge(
        "pollux_ring_depth",
        "Slots of a ring in use, by tier: one for a record that came alone, fewer for those of a batch.",
        |from, to| {
            by_tier(to, |tier| from.stats.tiers[tier].ingress.ring_depth.value());
        },
    ),
    gauge("pollux_ring_capacity", "Slots of a ring, by tier.", |from, to| {
        by_tier(to, |tier| from.stats.tiers[tier].ingress.ring_capacity.value());
    }),
    gauge("pollux_in_flight", "Records between device and world, by tier.", |from, to| {
        by_tier(to, |tier| from.stats.tiers[tier].ingress.in_flight.value());
    }),
    gauge(
        "pollux_accounting_residual",
        "Records without an outcome, by tier; 0 at rest.",
        |from, to| {
            for (name, tier) in TIERS.iter().zip(&from.stats.tiers) {
                to.push(&format!("tier=\"{name}\""), tier.totals().residual as f64);
            }
        },
    ),
    counter("pollux_commands_total", "Commands by direction and result.", commands),
    counter(
        "pollux_commands_unanswered_total",
        "Commands of devices whose session was over before their answer.",
        |from, to| to.count("", from.worker.t3_unanswered.value()),
    ),
    counter(
        "pollux_threshold_crossings_total",
        "Threshold crossings by sensor type and direction.",
        crossings,
    ),
    gauge("pollux_sensor_value", "Smoothed values by sensor type.", sensor_values),
    counter("pollux_busy_seconds_total", "Time at work by thread.", |from, to| {
        to.push("thread=\"worker\"", from.worker.busy_ns.value() as f64 / 1e9);
        to.push("thread=\"tick\"", from.stats.tick.busy_ns.value() as f64 / 1e9);
    }),
    counter(
        "pollux_stolen_seconds_total",
        "Time beyond an empty turn in gaps of over 1 us of workers that spin, by cause.",
        |from, to| {
            for (cause, ns) in GapCause::ALL.iter().zip(&from.worker.gap_ns) {
                to.push(&format!("cause=\"{}\"", cause.name()), ns.value() as f64 / 1e9);
            }
        },
    ),
    counter(
        "pollux_stolen_gaps_total",
        "Gaps of over 1 us in the turns of workers that spin, by cause.",
        |from, to| {
            for (cause, count) in GapCause::ALL.iter().zip(&from.worker.gaps) {
                to.count(&format!("cause=\"{}\"", cause.name()), count.value());
            }
        },
    ),
    counter(
        "pollux_page_faults_total",
        "Pages that the kernel had to find for a hot thread since its start, by thread and source.",
        |from, to| {
            let threads =
                [("worker", &from.worker.page_faults), ("tick", &from.stats.tick.page_faults)];
            for (thread, [minor, major]) in threads {
                to.count(&format!("thread=\"{thread}\",source=\"memory\""), minor.value());
                to.count(&format!("thread=\"{thread}\",source=\"disk\""), major.value());
            }
        },
    ),
    gauge("pollux_locked_memory_bytes", "Memory of the process that is locked.", |_, to| {
        to.count("", netloop::locked_bytes().unwrap_or_default());
    }),
    gauge(
        "pollux_degraded",
        "1 for what was asked of the host and not given; see the log at start.",
        |from, to| {
            for (wish, lacks) in Wish::ALL.iter().zip(&from.stats.degraded) {
                to.count(&format!("what=\"{}\"", wish.name()), lacks.value());
            }
        },
    ),
    counter("pollux_budgets_spent_total", "Turns and ticks cut short by a budget.", |from, to| {
        let budgets = &from.worker.budget_exhausted;
        to.count("budget=\"receive\"", budgets.recv.value());
        to.count("budget=\"session\"", budgets.session.value());
        to.count("budget=\"rounds\"", budgets.rounds.value());
        to.count("budget=\"handshakes\"", budgets.handshakes.value());
        to.count("budget=\"send\"", budgets.send.value());
        to.count("budget=\"tick\"", from.stats.tick.budgets_spent.value());
    }),
    counter(
        "pollux_capture_ticks_total",
        "Ticks that went into the file of the capture, those that it has shed, and those that came after the file had ended.",
        |from, to| {
            let of = &from.stats.capture;
            to.count("result=\"captured\"", of.written_ticks.value());
            to.count("result=\"shed\"", of.shed_ticks.value());
            to.count("result=\"unwritten\"", of.unwritten_ticks.value());
        },
    ),
    gauge("pollux_capture_bytes", "Size of the capture.", |from, to| {
        to.count("", from.stats.capture.written_bytes.value());
    }),
    counter(
        "pollux_capture_unwritten_bytes_total",
        "What came for the capture after its file had ended, full or refused.",
        |from, to| to.count("", from.stats.capture.unwritten_cells.value() * CELL_BYTES),
    ),
    counter(
        "pollux_capture_states_total",
        "States of the world that went into a capture that is written round.",
        |from, to| to.count("", from.stats.capture.states.value()),
    ),
    counter("pollux_turns_total", "Turns of the workers.", |from, to| {
        to.count("", from.worker.turns.value());
    }),
    counter(
        "pollux_busy_turns_total",
        "Turns of the workers that found something to do.",
        |from, to| to.count("", from.worker.busy_turns.value()),
    ),
    counter("pollux_datagrams_total", "UDP datagrams by direction.", |from, to| {
        to.count("direction=\"received\"", from.worker.datagrams_in.value());
        to.count("direction=\"sent\"", from.worker.datagrams_out.value());
    }),
    gauge(
        "pollux_workers_still",
        "Workers that take no turns although they were woken.",
        |from, to| {
            to.count("", from.stats.watch.still.value());
        },
    ),
    counter("pollux_worker_stalls_total", "Workers seen to stand still.", |from, to| {
        to.count("", from.stats.watch.stalls.value());
    }),
    counter(
        "pollux_worker_stand_ins_total",
        "Workers whose socket the next one served, because they stood still.",
        |from, to| to.count("", from.stats.watch.stood_in.value()),
    ),
    counter(
        "pollux_datagrams_passed_total",
        "UDP datagrams of a session of another worker, by result.",
        |from, to| {
            to.count("result=\"passed\"", from.worker.datagrams_passed.value());
            to.count("result=\"lost\"", from.worker.datagrams_passed_lost.value());
        },
    ),
    counter(
        "pollux_socket_drops_total",
        "UDP datagrams that the kernel discarded because the receive buffer was full.",
        |from, to| {
            let addr = from.stats.quic_addr.get();
            // What cannot be read is left out: a zero would be taken for a restart.
            if let Some(drops) = addr.and_then(|addr| netloop::socket_drops(*addr).ok()) {
                to.count("", drops);
            }
        },
    ),
    counter(
        "pollux_socket_errors_total",
        "Calls to the sockets of devices that failed, by call; an empty or a full socket is no failure.",
        |from, to| {
            to.count("call=\"receive\"", from.worker.recv_errors.value());
            to.count("call=\"send\"", from.worker.send_errors.value());
        },
    ),
    counter(
        "pollux_sends_blocked_total",
        "Sends that found the buffer of a socket full; what they carried is sent later.",
        |from, to| to.count("", from.worker.send_would_block.value()),
    ),
    counter(
        "pollux_slabs_replaced_total",
        "Receive slabs made anew because bytes of theirs were still in use: streams that arrive in pieces.",
        |from, to| to.count("", from.worker.slab_replaced.value()),
    ),
    counter(
        "pollux_datagrams_oversized_total",
        "UDP datagrams that the kernel discarded because the path carries none so large: probes of it.",
        |from, to| to.count("", from.worker.datagrams_oversized.value()),
    ),
    counter(
        "pollux_frames_shed_total",
        "DATAGRAM frames that QUIC discarded because its queue was full, counted when their session ends; their records count as lost.",
        |from, to| to.count("", from.worker.shed_quic_datagrams.value()),
    ),
    counter(
        "pollux_datagrams_rejected_total",
        "UDP datagrams that belong to no session and open none.",
        |from, to| to.count("", from.worker.garbage_datagrams.value()),
    ),
    counter("pollux_handshakes_failed_total", "Handshakes that failed, by reason.", |from, to| {
        by_reason(to, turned_away::handshakes_failed(from.worker))
    }),
    counter(
        "pollux_sessions_refused_total",
        "Sessions closed because of who the device is, by reason.",
        |from, to| by_reason(to, turned_away::sessions_refused(from.worker)),
    ),
    gauge("pollux_client_auth", "1 for what is asked of devices, by mode.", |from, to| {
        for (mode, shown) in ClientAuth::ALL.iter().zip(&from.stats.identity.client_auth) {
            to.count(&format!("mode=\"{}\"", mode.name()), shown.value());
        }
    }),
    latency(
        "pollux_order_seconds",
        "From an operator's order to the device's acknowledgement.",
        |from, to| {
            to.histogram("", (from.total)(Latency::OrderToAck));
        },
    ),
    latency(
        "pollux_stop_seconds",
        "From a stop to the acknowledgement of each session that was there.",
        |from, to| {
            to.histogram("", (from.total)(Latency::StopToAck));
        },
    ),
    gauge("pollux_stopped", "1 while the plant is stopped by a command.", |from, to| {
        to.count("", from.stats.stop.word().is_stopped().into());
    }),
    gauge(
        "pollux_stop_sessions",
        "Sessions by what became of the latest stop or clear.",
        |from, to| {
            let stop = &from.stats.stop;
            to.count("state=\"concerned\"", stop.concerned.value());
            to.count("state=\"acknowledged\"", stop.acknowledged.value());
            to.count("state=\"refused\"", stop.refused.value());
            to.count("state=\"gone\"", stop.gone.value());
        },
    ),
    counter(
        "pollux_requests_refused_total",
        "Requests of operators that were refused, by reason.",
        |from, to| {
            for (reason, count) in from.refusals.counts() {
                to.count(&format!("reason=\"{reason}\""), count);
            }
        },
    ),
    gauge("pollux_viewers", "Streams that are watched, by what carries them.", |from, to| {
        let closed = from.worker.viewers_closed.value();
        let browsers = from.worker.viewers_opened.value().saturating_sub(closed);
        to.count("by=\"webtransport\"", browsers.min(from.viewers));
        to.count("by=\"websocket\"", from.viewers.saturating_sub(browsers));
    }),
    gauge(
        "pollux_clock_offset_seconds",
        "How far the clocks of devices are ahead of the twin's, by the quickest record of ten seconds.",
        |from, to| {
            if let Some((offset, _)) = from.sampler.clock(from.stats.rtt_min_ns()) {
                to.push("", offset);
            }
        },
    ),
    gauge(
        "pollux_clock_uncertainty_seconds",
        "By how much pollux_clock_offset_seconds may be wrong: half of the quickest round trip.",
        |from, to| {
            if let Some((_, uncertainty)) = from.sampler.clock(from.stats.rtt_min_ns()) {
                to.push("", uncertainty);
            }
        },
    ),
    gauge(
        "pollux_twin_alignment_ratio",
        "Applied by offered over ten seconds, by tier.",
        |from, to| {
            for (tier, ratio) in TIERS.iter().zip(from.sampler.rates().alignment) {
                to.push(&format!("tier=\"{tier}\""), ratio);
            }
        },
    ),
    latency(
        "pollux_age_of_information_seconds",
        "Ages of all sensors' values, looked at once a second.",
        |from, to| {
            to.histogram("", (from.total)(Latency::Age));
        },
    ),
    gauge("pollux_worst_age_seconds", "Age of the oldest value.", |from, to| {
        to.push("", from.sampler.ages().worst_s);
    }),
    gauge(
        "pollux_timely_ratio",
        "Sensors whose value is younger than half a second.",
        |from, to| {
            to.push("", from.sampler.ages().timely);
        },
    ),
    gauge("pollux_availability_ratio", "Due ticks that ran, over ten seconds.", |from, to| {
        to.push("", from.sampler.rates().availability);
    }),
    gauge("pollux_odte_ratio", "Timeliness times reliability times availability.", |from, to| {
        to.push("", from.sampler.odte());
    }),
    gauge(
        "pollux_cert_not_after_timestamp_seconds",
        "When the first certificate of a chain runs out.",
        |from, to| {
            let identity = &from.stats.identity;
            let dates =
                [("server", &identity.server_not_after_s), ("ca", &identity.authority_not_after_s)];
            for (cert, date) in dates.into_iter().filter(|(_, date)| date.value() > 0) {
                to.count(&format!("cert=\"{cert}\""), date.value());
            }
        },
    ),
    gauge("pollux_certs_revoked", "Certificates of devices that are revoked.", |from, to| {
        to.count("", from.stats.identity.revoked.value());
    }),
    gauge("pollux_tokens", "Devices that have a token.", |from, to| {
        to.count("", from.stats.identity.tokens.value());
    }),
    counter(
        "pollux_certs_reloads_total",
        "How often certificates were read again, by result.",
        |from, to| {
            let reloads = &from.stats.identity.reloads;
            to.count("result=\"done\"", reloads.done.value());
            to.count("result=\"failed\"", reloads.failed.value());
        },
    ),
    gauge("pollux_peer_health", "Open sessions by the health of their peer.", |from, to| {
        for (state, count) in Health::ALL.into_iter().zip(&from.worker.health) {
            to.count(&format!("state=\"{}\"", state.name()), count.value());
        }
    }),
    counter(
        "pollux_peer_health_changes_total",
        "Times a peer came into a state of health from another.",
        |from, to| {
            for (state, count) in Health::ALL.into_iter().zip(&from.worker.health_changes) {
                to.count(&format!("state=\"{}\"", state.name()), count.value());
            }
        },
    ),
    counter("pollux_key_updates_total", "Sessions whose keys were replaced.", |from, to| {
        to.count("", from.worker.key_updates.value());
    }),
    counter("pollux_limits_total", "Limits that were reached, by limit and answer.", |from, to| {
        for limit in Limit::ALL {
            let labels = format!("limit=\"{}\",answer=\"{}\"", limit.name(), limit.answer());
            to.count(&labels, from.worker.limited(limit));
        }
    }),
    gauge("process_resident_memory_bytes", "Resident memory.", |from, to| {
        to.count("", from.rss_bytes);
    }),
    gauge("pollux_build_info", "Always 1; its labels say what runs.", |_, to| {
        let [version, revision, rustc] =
            [host::VERSION, host::REVISION, host::RUSTC].map(|text| text.replace(['"', '\\'], ""));
        to.count(&format!("version=\"{version}\",revision=\"{revision}\",rustc=\"{rustc}\""), 1);
    }),
];

fn by_tier(to: &mut Series<'_>, value: impl Fn(usize) -> u64) {
    for (tier, name) in TIERS.iter().enumerate() {
        to.count(&format!("tier=\"{name}\""), value(tier));
    }
}

fn records(from: &Sources<'_>, to: &mut Series<'_>) {
    for (name, tier) in TIERS.iter().zip(&from.stats.tiers) {
        let totals = tier.totals();
        let results = [
            ("applied", totals.applied),
            ("duplicate", totals.duplicate),
            ("stale", totals.stale),
            ("rejected", totals.rejected),
            ("shed", totals.shed),
        ];
        for (result, count) in results {
            to.count(&format!("tier=\"{name}\",result=\"{result}\""), count);
        }
    }
}

/// What was rejected for the device that it names, and what for its layout.
fn rejected(from: &Sources<'_>, to: &mut Series<'_>) {
    let reasons = from.worker.forbidden.iter().zip(&from.worker.malformed);
    for (name, (forbidden, malformed)) in TIERS.iter().zip(reasons) {
        to.count(&format!("tier=\"{name}\",reason=\"forbidden\""), forbidden.value());
        to.count(&format!("tier=\"{name}\",reason=\"layout\""), malformed.value());
    }
}

fn by_reason(to: &mut Series<'_>, reasons: impl Iterator<Item = (&'static str, u64)>) {
    for (reason, count) in reasons {
        to.count(&format!("reason=\"{reason}\""), count);
    }
}

fn commands(from: &Sources<'_>, to: &mut Series<'_>) {
    // What found the ring full never reached the world, which counts the others.
    let busy = [from.worker.t3_busy.value(), 0];
    let directions = ["to_twin", "to_device"].iter().zip(busy);
    for ((direction, busy), commands) in directions.zip(&from.stats.commands) {
        let results = [
            ("acknowledged", commands.acknowledged.value()),
            ("rejected", commands.rejected.value()),
            ("reset", commands.reset.value() + busy),
            ("expired", commands.expired.value()),
            ("replaced", commands.replaced.value()),
            ("unreachable", commands.unreachable.value()),
        ];
        for (result, count) in results {
            to.count(&format!("direction=\"{direction}\",result=\"{result}\""), count);
        }
    }
}

fn crossings(from: &Sources<'_>, to: &mut Series<'_>) {
    for (name, [up, down]) in SENSOR_TYPES.iter().zip(&from.stats.crossings) {
        to.count(&format!("type=\"{name}\",direction=\"up\""), up.value());
        to.count(&format!("type=\"{name}\",direction=\"down\""), down.value());
    }
}

/// A type without sensors has a count and no values: a mean of nothing is no zero.
fn sensor_values(from: &Sources<'_>, to: &mut Series<'_>) {
    for (name, aggregate) in SENSOR_TYPES.iter().zip(&from.stats.aggregates) {
        let count = aggregate.count.value();
        to.count(&format!("type=\"{name}\",stat=\"count\""), count);
        if count > 0 {
            to.push(&format!("type=\"{name}\",stat=\"mean\""), aggregate.mean.value());
            to.push(&format!("type=\"{name}\",stat=\"min\""), aggregate.min.value());
            to.push(&format!("type=\"{name}\",stat=\"max\""), aggregate.max.value());
        }
    }
}
