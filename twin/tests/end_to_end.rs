//! The built binary against itself: certificates, a twin, loads on every tier, signals, and what goes wrong at the doors.
//!
//! Both sides count, and the counts have to be equal to the record. Nothing here depends on how fast the machine is.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

mod process;

use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use hdrhistogram::serialization::interval_log::IntervalLogIterator;
use process::{GATEWAY, Running, Serve, into_head, plant, pollux};
use serde_json::Value;
use twin::interval::Latency;

const T1_APPLIED: &str = r#"pollux_records_total{tier="t1",result="applied"}"#;
const TIERS: [&str; 3] = ["t1", "t2", "t3"];

/// A plant of a hundred sensors behind four sessions.
const FLEET: [&str; 4] = ["--devices", "20", "--sessions", "4"];

/// Runs a load to its end and gives the summaries of the twin and of the load.
fn carry(load: &[&str]) -> (Value, Value) {
    let plant = plant();
    let twin = Serve::start(plant.path());
    let report = ["--report", "load"];
    let ended = twin.simulate(&[&FLEET[..], &report, load].concat()).end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let load = ended.json();
    assert_eq!(load["sessions"]["finished"], 4, "{load:#}");
    let twin = twin.end();
    let latencies = Latency::ALL.map(Latency::name);
    assert_report_reads(&plant.path().join("report"), &latencies, &twin);
    let latencies = ["lateness", "round_trip", "round_trip_intended"];
    assert_report_reads(&plant.path().join("load"), &latencies, &load);
    (twin, load)
}

/// Every latency has an interval log and a percentile table that read, and the summary is that of stdout.
fn assert_report_reads(folder: &Path, latencies: &[&str], summary: &Value) {
    for name in latencies {
        let log = std::fs::read(folder.join(format!("{name}.hlog"))).unwrap();
        let entries = IntervalLogIterator::new(&log).map(Result::unwrap).count();
        assert!(entries >= 2, "{name}.hlog has its start and its base");
        let table = std::fs::read_to_string(folder.join(format!("{name}.hgrm"))).unwrap();
        let (head, rows) = table.split_once('\n').unwrap();
        assert!(head.contains("Percentile") && head.contains("TotalCount"), "{name}: {head}");
        for row in rows.lines().filter(|row| !row.is_empty() && !row.starts_with('#')) {
            let cells: Vec<f64> =
                row.split_whitespace().map(|cell| cell.parse().unwrap()).collect();
            assert!((3..=4).contains(&cells.len()), "{name}: {row}");
        }
    }
    let written = std::fs::read(folder.join("summary.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), *summary);
}

/// Both sides agree on each tier, and every record has its outcome.
fn assert_accounts_agree(twin: &Value, load: &Value) {
    for tier in TIERS {
        let account = &twin["tiers"][tier];
        let count = |name: &str| account[name].as_u64().unwrap();
        assert_eq!(account["offered"], load["sent"][tier], "{tier}: {account:#} {load:#}");
        assert_eq!(account["residual"], 0, "{tier}: {account:#}");
        let outcomes = ["applied", "duplicate", "stale", "rejected", "shed"].map(count);
        assert_eq!(count("lost"), count("offered") - outcomes.iter().sum::<u64>(), "{account:#}");
        for name in ["rejected", "decode_errors", "in_flight"] {
            assert_eq!(count(name), 0, "{tier} {name}: {account:#}");
        }
    }
    for tier in ["t2", "t3"] {
        let account = &twin["tiers"][tier];
        assert_eq!(account["applied"], load["sent"][tier], "{tier} is reliable: {account:#}");
        assert_eq!(account["applied"], load["acknowledged"][tier], "{tier}: {load:#}");
    }
}

#[test]
fn t1_is_accounted_for_to_the_record() {
    let (twin, load) = carry(&["--rate-hz", "50", "--count", "5000"]);
    assert_accounts_agree(&twin, &load);
    assert_eq!(twin["entities"], 100, "{twin:#}");
    assert_eq!(load["sent"]["t1"].as_u64().unwrap() + load["shed"]["t1"].as_u64().unwrap(), 5000);
    assert!(twin["latency_ns"]["receive_to_applied_t1"]["count"].as_u64() > Some(0), "{twin:#}");
}

#[test]
fn t2_is_acknowledged_to_the_record() {
    let (twin, load) = carry(&["--rate-hz", "0", "--t2-rate-hz", "20", "--count", "3000"]);
    assert_accounts_agree(&twin, &load);
    assert_eq!((&load["sent"]["t1"], &load["sent"]["t2"]), (&0.into(), &3000.into()));
}

#[test]
fn t3_is_answered_to_the_command() {
    let (twin, load) = carry(&["--rate-hz", "0", "--t3-rate-hz", "5", "--count", "500"]);
    assert_accounts_agree(&twin, &load);
    assert_eq!((&load["sent"]["t1"], &load["sent"]["t3"]), (&0.into(), &500.into()));
    assert_eq!(load["latency_ns"]["round_trip"]["count"], 500);
}

#[test]
fn all_tiers_together_are_accounted_for() {
    let rates = ["--rate-hz", "50", "--t2-rate-hz", "10", "--t3-rate-hz", "2"];
    let (twin, load) = carry(&[&rates[..], &["--count", "10000"]].concat());
    assert_accounts_agree(&twin, &load);
    assert!(TIERS.iter().all(|tier| load["sent"][tier].as_u64() > Some(0)), "{load:#}");
}

#[test]
fn the_surface_answers_under_load_and_a_signal_drains() {
    let plant = plant();
    let twin = Serve::start(plant.path());
    let load = twin.simulate(&["--devices", "20", "--t2-rate-hz", "5", "--t3-rate-hz", "1"]);
    twin.await_metric(T1_APPLIED, 1000.0);
    twin.await_metric(r#"pollux_commands_total{direction="to_twin",result="acknowledged"}"#, 1.0);
    assert_eq!(twin.get("/livez"), (200, "live\n".to_owned()));
    assert_eq!(twin.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(twin.get("/nothing").0, 404);
    assert_eq!(twin.metric("pollux_sessions"), 20.0);
    assert_eq!(twin.metric("pollux_entities"), 100.0);
    let summary = twin.end();
    for tier in TIERS {
        let account = &summary["tiers"][tier];
        assert_eq!((&account["residual"], &account["in_flight"]), (&0.into(), &0.into()));
        assert!(account["applied"].as_u64() > Some(0), "{account:#}");
    }
    // The devices would wait for the twin to come back; a signal ends them as well.
    load.terminate();
    let load = load.end();
    assert_eq!(load.code, Some(0), "{}", load.stderr);
    assert_eq!(load.json()["sessions"]["lost"], 20, "{}", load.stdout);
}

#[test]
fn wrong_configuration_names_key_value_and_what_is_allowed() {
    let plant = plant();
    for (set, parts) in [
        ("tick.hertz=1000", ["tick.hertz", "1000", "did you mean tick.hz?"]),
        ("tick.hz=often", ["tick.hz", "often", "from 1 to"]),
        ("tick.hz=0", ["tick.hz", "0", "from 1 to"]),
        ("idle.strategy=doze", ["idle.strategy", "doze", "backoff"]),
    ] {
        let ended = pollux(plant.path(), &["serve", "--set", set]);
        assert_eq!(ended.code, Some(78), "{}", ended.stderr);
        assert!(parts.iter().all(|part| ended.stderr.contains(part)), "{set}: {}", ended.stderr);
        assert!(ended.stdout.is_empty() && !ended.stderr.contains("panicked"));
    }
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let plant = plant();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp, tcp) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let serve = |net: &str, http: &str| {
        let (net, http) = (format!("net.addr={net}"), format!("http.addr={http}"));
        pollux(plant.path(), &["serve", "--set", &net, "--set", &http])
    };
    let free = "127.0.0.1:0";
    let ended = serve(&udp.to_string(), free);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.complaint(), format!("pollux: net.addr: {udp} is in use by another socket"));
    let ended = serve(free, &tcp.to_string());
    assert_eq!(ended.code, Some(1));
    // The C library words the reason; the number is the kernel's.
    let beginning = format!("pollux: http.addr {tcp}: cannot listen: ");
    let complaint = ended.complaint();
    assert!(complaint.starts_with(&beginning) && complaint.contains("os error 98"), "{complaint}");
}

#[test]
fn a_missing_file_is_named_with_its_reason_once() {
    let folder = tempfile::tempdir().unwrap();
    let load = ["simulate", "--addr", "127.0.0.1:9", "--ca", "absent.pem"];
    for (args, code, path, reason) in [
        (&["serve"][..], 78, "certs/server.key", "does not exist; `pollux certs init`"),
        (&load, 1, "absent.pem", "No such file"),
    ] {
        let ended = pollux(folder.path(), args);
        assert_eq!(ended.code, Some(code));
        let complaint = ended.stderr;
        let line = complaint.lines().find(|line| line.contains(path)).unwrap_or_default();
        assert_eq!(complaint.matches(path).count(), 1, "{complaint}");
        assert_eq!(line.matches(reason).count(), 1, "{complaint}");
    }
}

#[test]
fn a_stranger_to_the_authority_ends_its_handshake_alone() {
    let plant = plant();
    assert_eq!(pollux(plant.path(), &["certs", "init", "--dir", "other"]).code, Some(0));
    let twin = Serve::start(plant.path());
    let addr = twin.quic.to_string();
    let args = ["simulate", "--addr", &addr, "--ca", "other/ca.pem", "--devices", "1"];
    let ended = pollux(plant.path(), &args);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let beginning = format!("pollux: cannot connect to {addr} as localhost: TLS broke off");
    let complaint = ended.complaint();
    assert!(complaint.starts_with(&beginning) && complaint.contains("certificate"), "{complaint}");
    twin.await_metric(r#"pollux_handshakes_failed_total{reason="tls"}"#, 1.0);

    let named = twin.simulate(&["--devices", "1", "--server-name", "elsewhere"]).end();
    assert_eq!(named.code, Some(1), "{}", named.stderr);
    assert!(named.complaint().contains("as elsewhere: "), "{}", named.stderr);
    assert_eq!(twin.metric("pollux_sessions"), 0.0);

    let served = twin.simulate(&["--devices", "1", "--count", "10"]).end();
    assert_eq!(served.code, Some(0), "{}", served.stderr);
    assert_eq!(twin.end()["tiers"]["t1"]["residual"], 0);
}

#[test]
fn garbage_costs_a_count_and_nothing_else() {
    const GARBAGE: u32 = 300;
    let plant = plant();
    let twin = Serve::start(plant.path());
    let load = twin.simulate(&[&FLEET[..], &["--rate-hz", "50", "--t2-rate-hz", "5"]].concat());
    twin.await_metric(T1_APPLIED, 500.0);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for length in (0..GARBAGE).map(|n| 1 + n as usize * 5 % 1400) {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 32) as u8
            })
            .collect();
        socket.send_to(&bytes, twin.quic).unwrap();
    }
    twin.await_metric("pollux_datagrams_rejected_total", f64::from(GARBAGE));
    assert_eq!(twin.metric("pollux_datagrams_rejected_total"), f64::from(GARBAGE));
    for reason in ["refused", "tls", "timeout", "other"] {
        let series = format!("pollux_handshakes_failed_total{{reason=\"{reason}\"}}");
        assert_eq!(twin.metric(&series), 0.0, "{reason}");
    }
    assert_eq!(twin.metric("pollux_sessions"), 4.0);
    load.terminate();
    let load = load.end();
    assert_eq!(load.code, Some(0), "{}", load.stderr);
    assert_eq!(load.json()["sessions"]["lost"], 0);
    assert_accounts_agree(&twin.end(), &load.json());
}

#[test]
fn the_demo_closes_its_loop_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Running::start(folder.path(), &["demo", "--duration-s", "3"]).end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let setpoints = ended.stdout.lines().filter_map(|line| line.rsplit_once("setpoints "));
    let acknowledged = setpoints.map(|(_, count)| count.parse::<u64>().unwrap()).max();
    assert!(acknowledged > Some(0), "{}", ended.stdout);
    let residuals = ended.stdout.lines().find_map(|line| line.strip_prefix("residual"));
    let residuals: Vec<&str> = residuals.unwrap().split_whitespace().collect();
    assert_eq!(residuals, ["0"; 3], "{}", ended.stdout);
}

#[test]
fn a_demo_whose_reader_leaves_ends_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let ended = into_head(folder.path(), 3, &["demo", "--devices", "5"]);
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 3), "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_load_whose_reader_leaves_closes_its_sessions_with_their_totals() {
    let plant = plant();
    let twin = Serve::start(plant.path());
    let addr = twin.quic.to_string();
    let args = ["simulate", "--addr", &addr, "--ca", "certs/ca.pem", "--verbose"];
    let ended = into_head(plant.path(), 1, &[&args[..], &GATEWAY, &FLEET].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert!(ended.stdout.starts_with("4 sessions, ") && ended.stderr.is_empty());
    let account = &twin.end()["tiers"]["t1"];
    assert!(account["offered"].as_u64() > Some(0), "{account:#}");
    assert_eq!(account["residual"], 0, "{account:#}");
}
