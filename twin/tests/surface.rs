//! The operator's surface over real HTTP: what is exposed, when it is ready, and what a taken port says.
//!
//! The exposition is read by a small parser of the text format, written from its description, that
//! refuses whatever a scraper would.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use twin::cold::{Cold, Ended};
use twin::http::{Door, Surface, bind};
use twin::interval::{IntervalProducer, Latency, exchange};
use twin::metrics;
use twin::report::{Report, Usage};
use twin::stats::{Direction, TwinStats};

const RSS_BYTES: u64 = 12_345_678;

/// The names that the outside relies on.
const PROMISED: [&str; 38] = [
    "pollux_records_total",
    "pollux_lost_total",
    "pollux_decode_errors_total",
    "pollux_ticks_total",
    "pollux_tick_overruns_total",
    "pollux_tick_duration_seconds",
    "pollux_ingest_latency_seconds",
    "pollux_intended_to_applied_seconds",
    "pollux_tick_rate_hz",
    "pollux_entities",
    "pollux_sessions",
    "pollux_sessions_redundant",
    "pollux_stolen_seconds_total",
    "pollux_stolen_gaps_total",
    "pollux_page_faults_total",
    "pollux_degraded",
    "pollux_socket_drops_total",
    "pollux_ring_depth",
    "pollux_ring_capacity",
    "pollux_commands_total",
    "pollux_commands_unanswered_total",
    "pollux_busy_turns_total",
    "pollux_slabs_replaced_total",
    "pollux_sends_blocked_total",
    "pollux_socket_errors_total",
    "pollux_datagrams_oversized_total",
    "pollux_frames_shed_total",
    "pollux_limits_total",
    "pollux_peer_health",
    "pollux_threshold_crossings_total",
    "pollux_sensor_value",
    "pollux_records_rejected_total",
    "pollux_handshakes_failed_total",
    "pollux_sessions_refused_total",
    "pollux_client_auth",
    "pollux_cert_not_after_timestamp_seconds",
    "process_resident_memory_bytes",
    "pollux_build_info",
];

/// A served surface, stopped when it goes.
struct Served {
    addr: SocketAddr,
    stats: Arc<TwinStats>,
    stop: Arc<AtomicBool>,
    producer: Option<(IntervalProducer, Box<twin::interval::Interval>)>,
    cold: Option<JoinHandle<Ended>>,
}

impl Served {
    fn start() -> Self {
        let stats = Arc::new(TwinStats::new(1));
        let report = Report::create(None, UNIX_EPOCH).unwrap();
        let surface = Surface::new(Arc::clone(&stats), report, || RSS_BYTES);
        let (producer, consumer, first) = exchange(0);
        let stop = Arc::new(AtomicBool::new(false));
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut cold = Cold::new(surface, vec![consumer], Arc::clone(&stop), Usage::default);
        let cold = std::thread::spawn(move || {
            cold.run(Some(Door::new(listener, None)), None, &mut |_| ControlFlow::Continue(()))
                .unwrap()
        });
        Self { addr, stats, stop, producer: Some((producer, first)), cold: Some(cold) }
    }

    /// Status and body of a GET.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: twin\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Asks until the body satisfies, because the cold thread collects ten times a second.
    fn await_body(&self, path: &str, satisfied: impl Fn(&str) -> bool) -> String {
        for _ in 0..100_000 {
            let (_, body) = self.get(path);
            if satisfied(&body) {
                return body;
            }
        }
        panic!("{path} never satisfied; now:\n{}", self.get(path).1);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let ended = self.cold.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert_eq!(ended.unwrap().unwrap(), Ended::Stopped);
        }
    }
}

/// One family: its type, and its samples by name and labels.
#[derive(Default)]
struct Family {
    kind: String,
    samples: BTreeMap<String, f64>,
}

/// Reads an exposition and refuses what a scraper would.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(helped.insert(name.to_owned()), "{name} is helped once");
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(helped.contains(name), "{name} has a help text");
            let family = Family { kind: kind.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} is typed once");
            current = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let value = if value == "+Inf" { f64::INFINITY } else { value.parse().expect(line) };
            let name = series.split('{').next().unwrap();
            let family = families.get_mut(&current).expect("a type before the sample");
            let suffix = name.strip_prefix(current.as_str()).expect("samples lie below their type");
            let allowed: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(allowed.contains(&suffix), "{line}");
            assert_labels(series);
            assert!(family.samples.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    families
}

fn assert_labels(series: &str) {
    let Some((_, labels)) = series.split_once('{') else { return };
    let labels = labels.strip_suffix('}').expect("closed braces");
    for label in labels.split("\",") {
        let (name, value) = label.split_once("=\"").expect("name=\"value\"");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{series}");
        let value = value.strip_suffix('"').unwrap_or(value);
        assert!(!value.contains(['"', '\\', '\n']), "{series}");
    }
}

/// Buckets of one histogram in order of their bounds, then sum and count.
fn histogram(family: &Family, name: &str, label: &str) -> (Vec<(f64, f64)>, f64, f64) {
    let comma = if label.is_empty() { String::new() } else { format!("{label},") };
    let head = format!("{name}_bucket{{{comma}le=\"");
    let mut buckets: Vec<(f64, f64)> = family
        .samples
        .iter()
        .filter_map(|(series, count)| Some((series.strip_prefix(&head)?, *count)))
        .map(|(bound, count)| {
            let bound = bound.trim_end_matches("\"}");
            (if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() }, count)
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let braces = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
    let sample = |suffix: &str| family.samples[&format!("{name}_{suffix}{braces}")];
    (buckets, sample("sum"), sample("count"))
}

#[test]
fn every_promised_metric_is_exposed_and_names_follow_the_conventions() {
    let served = Served::start();
    let families = parse(&served.get("/metrics").1);
    for name in PROMISED {
        assert!(families.contains_key(name), "{name}");
        assert!(metrics::names().any(|known| known == name), "{name}");
    }
    for (name, family) in &families {
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        assert!(family.kind != "histogram" || name.ends_with("_seconds"), "{name}");
        let ours = name.starts_with("pollux_") || name == "process_resident_memory_bytes";
        assert!(ours, "{name}");
    }
    let rss = &families["process_resident_memory_bytes"].samples;
    assert_eq!(rss["process_resident_memory_bytes"], RSS_BYTES as f64);
}

#[test]
fn counters_appear_under_their_labels() {
    let served = Served::start();
    let stats = &served.stats;
    stats.tiers[0].applied.applied.add(1_234_567_890_123);
    stats.tiers[1].ingress.shed.add(2);
    stats.tiers[2].ingress.rejected.add(3);
    stats.tiers[2].applied.rejected.add(4);
    stats.tiers[1].ingress.lost.set(4);
    stats.tiers[1].ingress.lost_max.set(5);
    stats.crossings[1][0].add(6);
    stats.commands(Direction::ToDevice).acknowledged.add(7);
    stats.commands(Direction::ToTwin).reset.add(8);
    stats.workers()[0].t3_busy.add(9);
    stats.aggregates[3].count.set(2);
    stats.aggregates[3].mean.set(-1.5);
    stats.tick.rate_hz.set(999.5);
    let families = parse(&served.get("/metrics").1);
    let sample = |family: &str, series: &str| families[family].samples[series];
    let records = "pollux_records_total";
    assert_eq!(
        sample(records, r#"pollux_records_total{tier="t1",result="applied"}"#),
        1_234_567_890_123.0
    );
    assert_eq!(sample(records, r#"pollux_records_total{tier="t2",result="shed"}"#), 2.0);
    assert_eq!(sample(records, r#"pollux_records_total{tier="t3",result="rejected"}"#), 7.0);
    assert_eq!(families[records].samples.len(), 3 * 5);
    assert_eq!(sample("pollux_lost_total", r#"pollux_lost_total{tier="t2"}"#), 5.0);
    let crossing = r#"pollux_threshold_crossings_total{type="temperature",direction="up"}"#;
    assert_eq!(sample("pollux_threshold_crossings_total", crossing), 6.0);
    let command = r#"pollux_commands_total{direction="to_device",result="acknowledged"}"#;
    assert_eq!(sample("pollux_commands_total", command), 7.0);
    let reset = r#"pollux_commands_total{direction="to_twin",result="reset"}"#;
    assert_eq!(sample("pollux_commands_total", reset), 17.0);
    let values = &families["pollux_sensor_value"].samples;
    assert_eq!(values[r#"pollux_sensor_value{type="pressure",stat="mean"}"#], -1.5);
    assert_eq!(values.len(), 6 + 3, "types without sensors have a count and no values");
    assert_eq!(sample("pollux_tick_rate_hz", "pollux_tick_rate_hz"), 999.5);
}

#[test]
fn histograms_are_cumulative_and_complete() {
    let mut served = Served::start();
    let (mut producer, mut current) = served.producer.take().unwrap();
    for (ns, count) in [(500, 10), (3_000, 20), (2_000_000, 30), (59_000_000_000, 1)] {
        current.record_n(Latency::TickDuration, ns, count);
    }
    current.record_n(Latency::ReceiveToAppliedT3, 40_000, 5);
    assert!(producer.swap(&mut current, 1));
    let text = served
        .await_body("/metrics", |body| body.contains("pollux_tick_duration_seconds_count 61\n"));
    let families = parse(&text);

    let name = "pollux_tick_duration_seconds";
    let (buckets, sum_s, count) = histogram(&families[name], name, "");
    assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)));
    let at = |bound: f64| buckets.iter().find(|(known, _)| *known == bound).unwrap().1;
    assert_eq!(
        (at(1e-6), at(2.5e-6), at(5e-6), at(1e-3), at(2.5e-3), at(10.0)),
        (10.0, 10.0, 30.0, 30.0, 60.0, 60.0)
    );
    let exact_s = (500.0 * 10.0 + 3e3 * 20.0 + 2e6 * 30.0 + 59e9) / 1e9;
    assert!((sum_s / exact_s - 1.0).abs() < 1e-3, "{sum_s} for {exact_s}");

    let name = "pollux_ingest_latency_seconds";
    let (buckets, _, count) = histogram(&families[name], name, "tier=\"t3\"");
    assert_eq!((buckets.len(), count), (23, 5.0));
    assert_eq!(histogram(&families[name], name, "tier=\"t1\"").2, 0.0);
}

#[test]
fn every_latency_is_exposed() {
    let mut served = Served::start();
    let (mut producer, mut current) = served.producer.take().unwrap();
    // As many of each as of no other one.
    for (latency, count) in Latency::ALL.into_iter().zip(101..) {
        current.record_n(latency, 1_000, count);
    }
    assert!(producer.swap(&mut current, 1));
    let text = served
        .await_body("/metrics", |body| body.contains("pollux_tick_duration_seconds_count 101\n"));
    let families = parse(&text);
    let histograms = families.values().filter(|family| family.kind == "histogram");
    let counts: Vec<f64> = histograms
        .flat_map(|family| &family.samples)
        .filter(|(series, _)| series.split('{').next().unwrap().ends_with("_count"))
        .map(|(_, count)| *count)
        .collect();
    for (latency, count) in Latency::ALL.into_iter().zip(101..) {
        assert!(counts.contains(&f64::from(count)), "{} in {counts:?}", latency.name());
    }
}

#[test]
fn readiness_waits_for_the_worker_and_the_tick() {
    let served = Served::start();
    assert_eq!(served.get("/readyz"), (503, "a worker does not listen yet\n".to_owned()));
    served.stats.workers()[0].turns.set(1);
    assert_eq!(served.get("/readyz"), (503, "no tick has run yet\n".to_owned()));
    served.stats.tick.ticks.add(1);
    assert_eq!(served.get("/readyz"), (200, "ready\n".to_owned()));
    served.stats.watch.still.set(1);
    assert_eq!(served.get("/readyz"), (503, "a worker stands still\n".to_owned()));
    assert_eq!(served.get("/nothing").0, 404);
}

#[test]
fn liveness_falls_when_the_tick_stands_still_and_comes_back() {
    let served = Served::start();
    assert_eq!(served.get("/livez").0, 200);
    let still = served.await_body("/livez", |body| body != "live\n");
    assert_eq!(still, "the tick has stood still for a second\n");
    served.stats.tick.ticks.add(1);
    served.await_body("/livez", |body| body == "live\n");
}

#[test]
fn liveness_falls_only_where_every_worker_stands_still() {
    let stats = TwinStats::new(2);
    let served = [0, 1, 2].map(|still| {
        stats.watch.still.set(still);
        stats.is_served()
    });
    assert_eq!(served, [true, true, false]);
    let served = Served::start();
    served.stats.watch.still.set(served.stats.workers().len() as u64);
    let still = served.await_body("/livez", |body| body.contains("worker"));
    assert_eq!(still, "every worker stands still\n");
}

#[test]
fn seconds_that_were_missed_are_not_made_up_for_one_upon_the_other() {
    let surface = {
        let report = Report::create(None, UNIX_EPOCH).unwrap();
        Surface::new(Arc::new(TwinStats::new(1)), report, || 0)
    };
    let stop = Arc::new(AtomicBool::new(false));
    let (clock, mut seconds) = (netloop::Clock::new(), Vec::new());
    let mut cold = Cold::new(surface, Vec::new(), Arc::clone(&stop), Usage::default);
    let ended = cold.run(None, None, &mut |_| {
        seconds.push(clock.now().instant);
        match seconds.len() {
            // The thread gets no time for two seconds.
            1 => std::thread::park_timeout(Duration::from_secs(2)),
            3 => stop.store(true, Ordering::Release),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    assert_eq!(ended.unwrap(), Ended::Stopped);
    let after = seconds[2] - seconds[1];
    assert!(after > Duration::from_millis(800), "{after:?} passed for a second");
}

#[test]
fn a_limit_ends_the_run_and_a_last_collection_leaves_nothing() {
    let stats = Arc::new(TwinStats::new(1));
    let report = Report::create(None, UNIX_EPOCH).unwrap();
    let surface = Surface::new(stats, report, || 0);
    let (producer, consumer, mut current) = exchange(0);
    let stop = Arc::new(AtomicBool::new(false));
    let mut cold = Cold::new(Arc::clone(&surface), vec![consumer], stop, Usage::default);
    let limit = Some(Duration::from_millis(1));
    let ended = cold.run(None, limit, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(ended, Ended::Elapsed);
    current.record_n(Latency::CommandRtt, 5, 6);
    producer.finish(current, 1);
    cold.collect();
    assert_eq!(surface.report().total(Latency::CommandRtt).len(), 6);
}

#[test]
fn a_taken_port_is_named() {
    let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = taken.local_addr().unwrap();
    let error = bind(addr).expect_err("the port is taken").to_string();
    assert!(error.starts_with(&format!("http.addr {addr}: cannot listen: ")), "{error}");
    assert!(error.contains("in use"), "{error}");
}
