//! The report's files, read back with the parsers of the format, and the exchange that feeds it.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use twin::histograms::write_percentiles;
use twin::interval::{AGE_BOUND_NS, BOUND_NS, Latency, exchange, histogram, record_n};
use twin::rates::Sampler;
use twin::report::{Activity, Report, Summary, Usage};
use twin::stats::TwinStats;

const SECOND_NS: u64 = 1_000_000_000;

fn started() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

/// Intervals of an hlog: begin, length, histogram.
fn read_log(path: &Path) -> Vec<(Duration, Duration, Histogram<u64>)> {
    use base64_of_the_log as base64;
    let text = std::fs::read(path).unwrap();
    IntervalLogIterator::new(&text)
        .map(|entry| entry.expect("a line that the format knows"))
        .filter_map(|entry| match entry {
            LogEntry::Interval(interval) => Some(interval),
            LogEntry::BaseTime(_) | LogEntry::StartTime(_) => None,
        })
        .map(|interval| {
            let bytes = base64::decode(interval.encoded_histogram());
            let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            (interval.start_timestamp(), interval.duration(), histogram)
        })
        .collect()
}

/// The alphabet of RFC 4648, decoded without a dependency of its own.
mod base64_of_the_log {
    pub(super) fn decode(text: &str) -> Vec<u8> {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bits = text.bytes().filter(|byte| *byte != b'=').map(|byte| {
            alphabet.iter().position(|known| *known == byte).expect("a byte of the alphabet") as u32
        });
        let (mut word, mut width, mut bytes) = (0_u32, 0, Vec::new());
        for value in bits {
            word = (word << 6) | value;
            width += 6;
            if width >= 8 {
                width -= 8;
                bytes.push((word >> width) as u8);
            }
        }
        bytes
    }
}

#[test]
fn percentile_table_of_a_known_histogram_is_the_classic_one() {
    let mut known = histogram();
    for step in 1..=8 {
        record_n(&mut known, step * 100, 1);
    }
    let mut text = Vec::new();
    write_percentiles(&known, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/known.hgrm");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap());
}

#[test]
fn interval_logs_read_back_as_they_were_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = Report::create(Some(folder.path()), started()).unwrap();
    let (mut producer, mut consumer, mut current) = exchange(0);
    for second in 0..5_u64 {
        for n in 0..100 {
            current.record(Latency::TickDuration, 1_000 * (second + 1) + n);
        }
        current.record_n(Latency::ReceiveToAppliedT2, 7_000 + second, 3);
        assert!(producer.swap(&mut current, (second + 1) * SECOND_NS));
        let interval = consumer.poll().expect("what was handed over");
        report.add(&interval);
        consumer.recycle(interval);
    }
    report.finish(&serde_json::json!({ "kept": true })).unwrap();

    let ticks = read_log(&folder.path().join("tick_duration.hlog"));
    assert_eq!(ticks.len(), 5);
    for (second, (since, length, histogram)) in ticks.iter().enumerate() {
        assert_eq!(*since, Duration::from_secs(second as u64));
        assert_eq!(*length, Duration::from_secs(1));
        assert_eq!(histogram.len(), 100);
        let least = 1_000 * (second as u64 + 1);
        assert!(histogram.equivalent(histogram.min(), least), "interval {second}");
    }
    let t2 = read_log(&folder.path().join("receive_to_applied_t2.hlog"));
    assert_eq!(t2.iter().map(|(_, _, histogram)| histogram.len()).sum::<u64>(), 15);
    assert!(read_log(&folder.path().join("command_rtt.hlog")).is_empty());

    for latency in Latency::ALL {
        let table = folder.path().join(format!("{}.hgrm", latency.name()));
        let text = std::fs::read_to_string(table).unwrap();
        let count = format!("Total count    = {:12}", report.total(latency).len());
        assert!(text.contains(&count), "{}", latency.name());
    }
    let summary = std::fs::read(folder.path().join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary["kept"], true);
}

#[test]
fn log_heads_carry_the_start() {
    let folder = tempfile::tempdir().unwrap();
    drop(Report::create(Some(folder.path()), started()).unwrap());
    let text = std::fs::read(folder.path().join("tick_jitter.hlog")).unwrap();
    let entries: Vec<_> = IntervalLogIterator::new(&text).map(Result::unwrap).collect();
    let start = Duration::from_secs(1_767_225_600);
    assert_eq!(entries, [LogEntry::StartTime(start), LogEntry::BaseTime(start)]);
}

#[test]
fn latency_beyond_the_bound_counts_as_the_bound() {
    let mut one = histogram();
    record_n(&mut one, u64::MAX, 2);
    record_n(&mut one, 0, 1);
    assert_eq!(one.len(), 3);
    assert!(one.equivalent(one.max(), BOUND_NS));
    assert_eq!(one.min(), 0);
}

#[test]
fn ages_of_sensors_that_report_every_few_minutes_are_told_as_they_are() {
    let (mut report, mut sampler) = (Report::create(None, started()).unwrap(), Sampler::default());
    let (mut producer, mut consumer, mut current) = exchange(0);
    current.record_n(Latency::Age, 300 * SECOND_NS, 3);
    current.record(Latency::Age, u64::MAX);
    assert!(producer.swap(&mut current, SECOND_NS));
    let interval = consumer.poll().unwrap();
    sampler.note_ages(interval.histogram(Latency::Age));
    report.add(&interval);
    assert!((299.0..301.0).contains(&sampler.ages().p50_s), "{}", sampler.ages().p50_s);
    let total = report.total(Latency::Age);
    assert!(total.equivalent(total.value_at_quantile(0.5), 300 * SECOND_NS));
    assert!(total.equivalent(total.max(), AGE_BOUND_NS), "what is older counts as the bound");
}

#[test]
fn without_an_empty_interval_recording_goes_on_in_the_same_one() {
    let (mut producer, mut consumer, mut current) = exchange(10);
    current.record(Latency::CommandRtt, 1);
    assert!(producer.swap(&mut current, SECOND_NS));
    current.record(Latency::CommandRtt, 2);
    assert!(!producer.swap(&mut current, 2 * SECOND_NS), "the spare is at the cold thread");
    current.record(Latency::CommandRtt, 3);
    assert_eq!(current.histogram(Latency::CommandRtt).len(), 2);

    let first = consumer.poll().expect("the first");
    assert_eq!((first.since_ns, first.until_ns), (10, SECOND_NS));
    consumer.recycle(first);
    assert!(producer.swap(&mut current, 3 * SECOND_NS));
    assert_eq!(current.histogram(Latency::CommandRtt).len(), 0, "it came back empty");
    assert_eq!(current.since_ns, 3 * SECOND_NS);
    producer.finish(current, 4 * SECOND_NS);
    let rest: Vec<_> = std::iter::from_fn(|| consumer.poll()).collect();
    let spans: Vec<_> = rest.iter().map(|interval| interval.since_ns..interval.until_ns).collect();
    assert_eq!(spans, [SECOND_NS..3 * SECOND_NS, 3 * SECOND_NS..4 * SECOND_NS]);
    let counts: Vec<_> =
        rest.iter().map(|interval| interval.histogram(Latency::CommandRtt).len()).collect();
    assert_eq!(counts, [2, 0]);
}

#[test]
fn nothing_is_lost_between_two_threads() {
    const RECORDED: u64 = 200_000;
    let (mut producer, mut consumer, mut current) = exchange(0);
    let recording = std::thread::spawn(move || {
        for n in 0..RECORDED {
            current.record(Latency::SocketToRing, n % 1_000 + 1);
            if n % 100 == 0 {
                producer.swap(&mut current, n);
            }
        }
        producer.finish(current, RECORDED);
    });
    let mut report = Report::create(None, started()).unwrap();
    let mut until_ns = 0;
    while until_ns < RECORDED {
        if let Some(interval) = consumer.poll() {
            assert_eq!(interval.since_ns, until_ns, "intervals meet without a gap");
            until_ns = interval.until_ns;
            report.add(&interval);
            consumer.recycle(interval);
        } else {
            std::thread::yield_now();
        }
    }
    recording.join().unwrap();
    assert_eq!(report.total(Latency::SocketToRing).len(), RECORDED);
}

/// Counters of a run in which one record of T1 has no outcome, and five of T3 have one too many.
fn counted() -> TwinStats {
    let stats = TwinStats::default();
    stats.tick.ticks.set(1000);
    stats.tick.overruns.add(3);
    stats.tick.missed.set(4);
    let tier = &stats.tiers[0];
    tier.ingress.offered.add(100);
    tier.applied.applied.add(60);
    tier.applied.duplicate.add(1);
    tier.applied.stale.add(2);
    tier.applied.rejected.add(3);
    tier.ingress.rejected.add(4);
    tier.ingress.shed.add(10);
    tier.ingress.lost.add(15);
    tier.ingress.in_flight.set(4);
    tier.ingress.decode_errors.add(9);
    stats.tiers[2].applied.applied.add(5);
    stats
}

#[test]
fn summary_has_every_field_and_the_account_adds_up() {
    let stats = counted();
    let report = Report::create(None, started()).unwrap();
    let usage =
        Usage { rss_bytes: 1 << 20, cpu_user_ns: 1_500_000_000, cpu_system_ns: 250_000_000 };
    let mut activity = Activity::default();
    for (applied, cpu_ms) in [(0, 7), (90, 20), (100, 57), (100, 90)] {
        let usage = Usage { cpu_user_ns: cpu_ms * 1_000_000, ..Usage::default() };
        activity.observe(applied, usage);
    }
    stats.tick.active_ns.set(1_000_000_000);
    let summary = Summary::of(&report, &stats, usage, &activity, Duration::from_secs(2), "wait");
    let json = serde_json::to_value(&summary).unwrap();
    let names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "active_cpu_s",
        "active_s",
        "busy_ns",
        "cpu_system_s",
        "cpu_user_s",
        "duration_s",
        "entities",
        "host",
        "idle_strategy",
        "latency_ns",
        "ledger",
        "packets",
        "rss_bytes",
        "sessions",
        "systems",
        "thread_cpu_ns",
        "tick_overruns",
        "ticks",
        "ticks_missed",
        "tiers",
    ];
    assert_eq!(sorted(names), expected);
    assert_eq!(json["duration_s"], 2.0);
    assert_eq!(json["cpu_user_s"], 1.5);
    assert_eq!((&json["active_s"], &json["active_cpu_s"]), (&1.0.into(), &0.05.into()));
    assert_eq!((&json["tick_overruns"], &json["ticks_missed"]), (&3.into(), &4.into()));
    assert_eq!(json["tiers"]["t1"]["rejected"], 7);
    assert_eq!(json["tiers"]["t1"]["residual"], 1);
    assert_eq!(json["tiers"]["t1"]["decode_errors"], 9);
    assert_eq!(json["tiers"]["t3"]["residual"], -5, "more outcomes than offers show as negative");
    for latency in Latency::ALL {
        let fields = json["latency_ns"][latency.name()].as_object().unwrap();
        let names = sorted(fields.keys().map(String::as_str).collect());
        assert_eq!(names, ["count", "max", "p50", "p90", "p99", "p99_9"]);
    }
    let host = json["host"].as_object().unwrap();
    assert!(host["cores"].as_u64().unwrap() > 0);
    assert!(host["memory_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(host["arch"], std::env::consts::ARCH);
    assert!(host["rustc"].as_str().unwrap().starts_with("rustc "));
}

#[test]
fn summary_as_text_fits_a_terminal_and_has_an_outcome_a_line() {
    let report = Report::create(None, started()).unwrap();
    let (usage, activity) = (Usage::default(), Activity::default());
    let summary =
        Summary::of(&report, &counted(), usage, &activity, Duration::from_secs(2), "wait");
    let text = summary.to_string();
    for part in ["1000 ticks (3 overruns, 4 missed)", "idle wait", "\nhost: ", "\nbuilt: rustc "] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let account = [
        ["records", "t1", "t2", "t3"],
        ["offered", "100", "0", "0"],
        ["applied", "60", "0", "5"],
        ["duplicate", "1", "0", "0"],
        ["stale", "2", "0", "0"],
        ["rejected", "7", "0", "0"],
        ["shed", "10", "0", "0"],
        ["lost", "15", "0", "0"],
        ["in_flight", "4", "0", "0"],
        ["residual", "1", "0", "-5"],
        ["decode_errors", "9", "0", "0"],
    ];
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.windows(account.len()).any(|lines| lines == account), "{text}");
    // The name of a processor is as long as its maker wants.
    let ours = text.lines().filter(|line| !line.starts_with("host: "));
    let long: Vec<&str> = ours.filter(|line| line.chars().count() > 100).collect();
    assert!(long.is_empty(), "{long:?}");
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("report");
    let error = Report::create(Some(&below), started()).err().expect("a file is no folder");
    assert!(error.to_string().starts_with(&below.display().to_string()), "{error}");
}
