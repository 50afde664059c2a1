//! Disks that are full, that hang, and that hold what a run before has left: they cost what is written there, and the twin
//! goes on and ends in order.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod process;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::process::Command;

use process::{Serve, plant, pollux};
use rustix::process::{Resource, Rlimit, prlimit};

const CAPTURE_BYTES: &str = "pollux_capture_bytes";

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A named pipe that is full: who writes to it waits for as long as the file lives that this gives.
fn full_pipe(path: &Path) -> File {
    const O_NONBLOCK: i32 = 0o4000;
    make_pipe(path);
    let mut pipe =
        OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(path).unwrap();
    // In pages and then in bytes, for a whole page may have no place where a byte has one.
    for bytes in [&[0; 4096][..], &[0]] {
        while pipe
            .write(bytes)
            .map_err(|error| assert_eq!(error.kind(), ErrorKind::WouldBlock))
            .is_ok()
        {}
    }
    pipe
}

#[test]
fn a_twin_that_was_killed_starts_again_and_its_capture_is_kept() {
    let plant = plant();
    for _ in 0..2 {
        let twin = Serve::start_with(plant.path(), &["--capture", "run.capture"]);
        twin.await_metric(CAPTURE_BYTES, 16_384.0);
        // Dropped, and so killed.
    }
    for name in ["run.capture", "run.capture.1"] {
        let inspected = pollux(plant.path(), &["inspect", name, "-o", "json"]);
        assert_eq!(inspected.code, Some(0), "{name}: {}", inspected.stderr);
        assert!(inspected.json()["ticks_captured"].as_u64().unwrap() > 0, "{name}");
    }
}

#[test]
fn a_report_on_a_full_disk_costs_what_was_refused_and_nothing_else() {
    let plant = plant();
    fs::create_dir(plant.path().join("report")).unwrap();
    symlink("/dev/full", plant.path().join("report/tick_duration.hlog")).unwrap();
    let twin = Serve::start(plant.path());
    twin.await_metric("pollux_tick_duration_seconds_count", 3000.0);
    assert_eq!(twin.get("/readyz").0, 200);
    let running = twin.into_running();
    running.terminate();
    let ended = running.end();
    // What was asked for is not all there, and the file is named.
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.complaint().contains("tick_duration.hlog"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("ERROR").count(), 1, "{}", ended.stderr);
    let written = fs::read(plant.path().join("report/summary.json")).unwrap();
    assert_eq!(ended.json(), serde_json::from_slice::<serde_json::Value>(&written).unwrap());
    assert!(plant.path().join("report/tick_jitter.hgrm").exists());
}

#[test]
fn a_log_of_paths_that_hangs_costs_the_log() {
    let plant = plant();
    let _full = full_pipe(&plant.path().join("paths"));
    let twin = Serve::start_with(plant.path(), &["--set", "net.path_log=paths"]);
    let load = twin.simulate(&["--devices", "2", "--sessions", "2", "--count", "1"]).end();
    assert_eq!(load.code, Some(0), "{}", load.stderr);
    assert_eq!(twin.get("/readyz").0, 200);
    let running = twin.into_running();
    running.terminate();
    let ended = running.end();
    assert!(ended.json()["ticks"].as_u64().unwrap() > 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("the log of paths"), "{}", ended.stderr);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_report_that_hangs_does_not_keep_the_twin_from_its_end() {
    let plant = plant();
    fs::create_dir(plant.path().join("report")).unwrap();
    make_pipe(&plant.path().join("report/summary.json"));
    let running = Serve::start(plant.path()).into_running();
    running.terminate();
    let ended = running.end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.complaint().contains("report"), "{}", ended.stderr);
    assert!(ended.json()["ticks"].as_u64().unwrap() > 0);
}

#[test]
fn a_second_signal_ends_at_once() {
    let plant = plant();
    fs::create_dir(plant.path().join("report")).unwrap();
    make_pipe(&plant.path().join("report/summary.json"));
    let ended = Serve::start(plant.path()).into_running().insist();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
}

#[test]
fn a_capture_that_is_written_round_grows_again_once_the_disk_has_room() {
    let plant = plant();
    // A limit of the size of files stands for a full disk, and can be lifted from outside.
    let sets = ["capture.keep=last", "capture.max_bytes=1048576", "tick.hz=4000"];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let more: Vec<_> = ["--capture", "run.capture"].into_iter().chain(sets).collect();
    let twin = Serve::start_behind(plant.path(), "trap '' XFSZ; ulimit -S -f 400", &more);
    twin.await_metric(CAPTURE_BYTES, 300_000.0);
    // By the second of these it goes round.
    let written = |twin: &Serve| twin.metric("pollux_ticks_total");
    twin.await_metric("pollux_ticks_total", written(&twin) + 12_000.0);
    assert!(twin.metric(CAPTURE_BYTES) <= 409_600.0);
    let none = Rlimit { current: None, maximum: None };
    prlimit(Some(twin.pid()), Resource::Fsize, none).unwrap();
    twin.await_metric(CAPTURE_BYTES, 800_000.0);
    let running = twin.into_running();
    running.terminate();
    let ended = running.end();
    assert_eq!(ended.stderr.matches("the disk is full").count(), 1, "{}", ended.stderr);
    assert!(plant.path().join("run.capture").metadata().unwrap().len() <= 1 << 20);
}
