//! `pollux replay` and `pollux inspect` as a user drives them: the verdict, its exit code, and the records as lines.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod process;
mod rig;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rig::{Rig, record};
use serde_json::Value;
use twin::capture::{Allowance, Header, Writer, tap};
use twin::config::{Effective, Keep};
use twin::world::WorldOptions;
use wire::Tier;

const TICKS: u64 = 200;
/// In this tick a threshold is crossed.
const CROSSING: u64 = 60;
const SENSORS: u16 = 3;

/// Captures a run under the thresholds of the default configuration, which says that it was made with `config`.
fn capture(folder: &Path, config: &str) -> PathBuf {
    capture_within(folder, config, (Keep::First, u64::MAX))
}

/// The same into a file of so many bytes at most.
fn capture_within(folder: &Path, config: &str, (keep, bytes_max): (Keep, u64)) -> PathBuf {
    let path = folder.join("run.capture");
    let defaults = Effective::load_text(Path::new("defaults"), "").unwrap();
    let mut rig = Rig::new(WorldOptions::new(defaults.config(), [1, 2]));
    let (tap, ring) = tap(1 << 14, Arc::clone(&rig.stats));
    rig.lanes.tap = Some(tap);
    rig.open(1);
    for tick in 0..TICKS {
        for sensor in 0..SENSORS {
            let value = if tick == CROSSING { 1e6 } else { 20.0 };
            rig.receive(Tier::T1, 1, 0, &record(1, sensor, tick as u32, value));
        }
        rig.tick();
    }
    rig.lanes.tap.take().unwrap().finish(rig.world.state_hash());
    let header = Header::of_this_build(rig::START_NS, keep, config.to_owned());
    let stats = Arc::clone(&rig.stats);
    let written = Writer::start(&path, &header, Allowance::bytes(bytes_max), ring, stats)
        .unwrap()
        .finish(rig::patience())
        .unwrap();
    assert_eq!(written.bytes, path.metadata().unwrap().len());
    path
}

fn pollux(args: &[&str], path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollux"));
    command.args(args).arg(path).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_replay_of_the_same_world_succeeds_and_is_exact() {
    let folder = tempfile::tempdir().unwrap();
    let path = capture(folder.path(), "");
    let output = pollux(&["replay", "--check", "-o", "json"], &path);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let outcome = json(&output);
    assert_eq!(outcome["exact"], true, "{outcome:#}");
    assert_eq!((&outcome["ticks"], &outcome["same_end"]), (&TICKS.into(), &true.into()));
    assert_eq!(outcome["records"], TICKS * u64::from(SENSORS));
    assert_eq!((&outcome["first_difference"], &outcome["tail"]), (&Value::Null, &"whole".into()));
    let half = pollux(&["replay", "--check", "--until", "99", "-o", "json"], &path);
    let outcome = json(&half);
    assert_eq!((half.status.code(), &outcome["ticks"]), (Some(0), &100.into()));
    assert_eq!((&outcome["last_tick"], &outcome["tail"]), (&99.into(), &"not reached".into()));
}

#[test]
fn a_check_that_fails_ends_with_3_and_names_the_first_tick_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = capture(folder.path(), "[thresholds.temperature]\nhigh = 1e9\n");
    let output = pollux(&["replay", "--check", "-o", "json"], &path);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let outcome = json(&output);
    assert_eq!(
        (&outcome["first_difference"], &outcome["exact"]),
        (&CROSSING.into(), &false.into())
    );
    let told = pollux(&["replay", "--check"], &path);
    assert_eq!(told.status.code(), Some(3));
    let first = format!("DIFFERS: tick {CROSSING} is the first whose world is another one");
    assert!(text(&told).contains(&first), "{}", text(&told));
    let unread =
        process::into_head(folder.path(), 0, &["replay", "--check", path.to_str().unwrap()]);
    assert_eq!(unread.code, Some(3), "whether anybody reads the verdict or not");
    // Up to a tick before that one there is nothing that differs.
    let until = |tick: u64| {
        let output =
            pollux(&["replay", "--check", "-o", "json", "--until", &tick.to_string()], &path);
        (output.status.code(), json(&output)["exact"].clone())
    };
    assert_eq!(until(CROSSING - 1), (Some(0), true.into()));
    assert_eq!(until(CROSSING), (Some(3), false.into()));
    // Without --check it tells the same, and succeeds.
    assert_eq!(pollux(&["replay"], &path).status.code(), Some(0));
}

#[test]
fn a_torn_file_is_said_to_be_torn_and_is_not_exact() {
    let folder = tempfile::tempdir().unwrap();
    let path = capture(folder.path(), "");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5_000]).unwrap();
    let output = pollux(&["replay", "--check", "-o", "json"], &path);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let outcome = json(&output);
    assert_eq!((&outcome["tail"], &outcome["first_difference"]), (&"torn".into(), &Value::Null));
    assert!(outcome["torn_bytes"].as_u64().unwrap() > 0, "{outcome:#}");
    let told = text(&pollux(&["inspect"], &path));
    assert!(told.contains("of the last segment are lost"), "{told}");
    std::fs::write(&path, b"no capture").unwrap();
    let refused = pollux(&["replay"], &path);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("this is no capture of pollux"));
}

#[test]
fn what_is_in_a_capture_is_told_and_its_records_are_csv() {
    let folder = tempfile::tempdir().unwrap();
    let path = capture(folder.path(), "");
    let contents = json(&pollux(&["inspect", "-o", "json"], &path));
    assert_eq!(contents["records"]["t1"], TICKS * u64::from(SENSORS), "{contents:#}");
    assert_eq!(contents["sessions"], 1);
    assert_eq!((&contents["devices"], &contents["gaps"]), (&1.into(), &0.into()));
    assert_eq!(contents["ticks"], serde_json::json!([0, TICKS - 1]));
    let crossings = contents["crossings"].as_object().unwrap();
    assert!(!crossings.is_empty(), "{contents:#}");
    let csv = text(&pollux(&["inspect", "--records"], &path));
    let mut lines = csv.lines();
    let head = "tick,tier,session,epoch,device,sensor,type,seq,ts_us,recv_ns,value";
    assert_eq!(lines.next(), Some(head));
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len() as u64, TICKS * u64::from(SENSORS));
    assert!(lines.iter().all(|line| line.len() == head.split(',').count()));
    let crossing = &lines[CROSSING as usize * usize::from(SENSORS)];
    assert_eq!((crossing[0], crossing[1], crossing[10]), ("60", "t1", "1000000.0"));
    assert_eq!(crossing[5], "0");
}

#[test]
fn records_are_lines_of_json_for_programs_and_a_reader_may_leave() {
    let folder = tempfile::tempdir().unwrap();
    let path = capture(folder.path(), "");
    let csv = text(&pollux(&["inspect", "--records"], &path));
    let told = text(&pollux(&["inspect", "--records", "-o", "json"], &path));
    let names: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() + 1, csv.lines().count());
    for (line, row) in lines.iter().zip(csv.lines().skip(1)) {
        let cells = names.iter().map(|&name| match &line[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        assert_eq!(cells.collect::<Vec<_>>().join(","), row);
        assert_eq!(line.as_object().unwrap().len(), names.len());
    }
    // More than a pipe holds, so that the command meets its end.
    assert!(told.len() > 100_000, "{} bytes", told.len());
    let ended = process::into_head(
        folder.path(),
        1,
        &["inspect", path.to_str().unwrap(), "--records", "-o", "json"],
    );
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1), "{}", ended.stdout);
}

#[test]
fn what_is_left_of_a_run_can_be_read_and_is_replayed_from_its_first_state_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = capture_within(folder.path(), "", (Keep::Last, 60_000));
    let contents = json(&pollux(&["inspect", "-o", "json"], &path));
    assert!(contents["first_segment"].as_u64().unwrap() > 0, "{contents:#}");
    assert_eq!((&contents["tail"], &contents["segments_lost"]), (&"whole".into(), &0.into()));
    assert_eq!(contents["crossings"], whole_contents()["crossings"], "those of the whole run");
    assert!(contents["states"].as_u64().unwrap() > 0, "{contents:#}");
    let (first, last) = (&contents["ticks"][0], &contents["ticks"][1]);
    assert_eq!(last, TICKS - 1);
    let first = first.as_u64().unwrap();
    assert!(first > 0 && first < TICKS - 50, "{contents:#}");
    assert_eq!(contents["ticks_captured"], TICKS - first);
    assert_eq!(contents["ticks_missed"], 0);
    let told = text(&pollux(&["inspect"], &path));
    assert!(told.contains("the beginning is gone"), "{told}");
    // Every record of the ticks that are there, as the file of the whole run has it.
    let others = tempfile::tempdir().unwrap();
    let whole = text(&pollux(&["inspect", "--records"], &capture(others.path(), "")));
    let csv = text(&pollux(&["inspect", "--records"], &path));
    let skipped = first as usize * usize::from(SENSORS);
    let expected: Vec<&str> =
        whole.lines().take(1).chain(whole.lines().skip(1 + skipped)).collect();
    assert_eq!(csv.lines().collect::<Vec<_>>(), expected);
    let output = pollux(&["replay", "--check", "-o", "json"], &path);
    let outcome = json(&output);
    assert_eq!((output.status.code(), &outcome["exact"]), (Some(0), &true.into()), "{outcome:#}");
    let state_tick = outcome["state_tick"].as_u64().unwrap();
    assert_eq!(contents["state_tick"], state_tick);
    assert_eq!(outcome["skipped_ticks"], state_tick + 1 - first);
    assert_eq!(outcome["ticks"], TICKS - 1 - state_tick);
    let told = text(&pollux(&["replay"], &path));
    assert!(told.contains(&format!("began with the state after tick {state_tick}")), "{told}");
    // Where nothing is compared, nothing is proven.
    let before = state_tick.to_string();
    let output = pollux(&["replay", "--check", "-o", "json", "--until", &before], &path);
    let outcome = json(&output);
    assert_eq!((output.status.code(), &outcome["exact"]), (Some(3), &false.into()), "{outcome:#}");
    assert_eq!((&outcome["ticks"], &outcome["last_tick"]), (&0.into(), &Value::Null));
    let told = text(&pollux(&["replay", "--until", &before], &path));
    let words = format!("after tick {before}\nno tick was replayed, so none was compared");
    assert!(told.contains(&words), "{told}");
    // A file that has room for all of it is replayed as any other.
    let roomy = tempfile::tempdir().unwrap();
    let path = capture_within(roomy.path(), "", (Keep::Last, u64::MAX));
    assert_eq!(pollux(&["replay", "--check"], &path).status.code(), Some(0));
}

/// What is in the capture of the whole run.
fn whole_contents() -> Value {
    let folder = tempfile::tempdir().unwrap();
    json(&pollux(&["inspect", "-o", "json"], &capture(folder.path(), "")))
}

#[test]
fn what_is_left_of_a_run_without_a_state_can_be_read_and_is_not_replayed() {
    let folder = tempfile::tempdir().unwrap();
    // Its replay would not come to the same end from the crossing on, so that no state goes in any more.
    let other = "[thresholds.temperature]\nhigh = 1e9\n";
    let path = capture_within(folder.path(), other, (Keep::Last, 40_000));
    let contents = json(&pollux(&["inspect", "-o", "json"], &path));
    assert_eq!((&contents["states"], &contents["state_tick"]), (&0.into(), &Value::Null));
    assert_eq!(contents["crossings"], serde_json::json!({}), "nobody knows them");
    let refused = pollux(&["replay", "--check"], &path);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("it cannot be replayed; `pollux inspect` shows what is there"), "{told}");
}
