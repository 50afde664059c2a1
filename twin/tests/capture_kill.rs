//! A twin that is killed in the middle of a capture leaves a file that opens, and loses its last segment at most.
//!
//! `CAPTURE_KILLS=200 cargo test -p twin --test capture_kill` kills as often.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use netloop::{Clock, wait_until};
use twin::capture::{Reader, Replay, SEGMENT_CELLS_MAX, Step, Tail};
use twin::simulate::Seeded;

const KILLS: u64 = 6;
const SEGMENT_BYTES_MAX: u64 = SEGMENT_CELLS_MAX as u64 * 64 + 4096;

/// Starts a demo that captures, and kills it after as much time. Its ring is small, so that it sheds too.
fn kill_after(path: &Path, delay: Duration, ring: u64) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pollux"))
        .args(["demo", "--devices", "60"])
        .env("POLLUX_CAPTURE__FILE", path)
        .env("POLLUX_CAPTURE__RING", ring.to_string())
        .env("POLLUX_TICK__HZ", "4000")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("twin on"));
    wait_until(Clock::new().now().instant + delay, Duration::ZERO);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_killed_capture_opens_and_replays_to_its_last_whole_segment() {
    let kills = std::env::var("CAPTURE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut random = Seeded::new(0x6b11, kills);
    let (mut torn, mut ticks, mut records) = (0, 0, 0);
    for kill in 0..kills {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("killed.capture");
        let delay = Duration::from_millis(50 + random.below(500));
        kill_after(&path, delay, 1 << (10 + random.below(9)));
        let bytes = path.metadata().unwrap().len();
        let mut reader = Reader::open(File::open(&path).unwrap()).unwrap();
        let mut replay = Replay::new(reader.header()).unwrap();
        let mut whole = true;
        while let Some(step) = reader.next_step().unwrap() {
            match step {
                Step::Tick(frame) if whole => {
                    assert_eq!(replay.apply(&frame), None, "kill {kill} after {delay:?}");
                }
                Step::Tick(_) => {}
                Step::Gap { .. } => whole = false,
                Step::End { .. } => panic!("kill {kill}: nobody has ended it"),
            }
        }
        match reader.tail() {
            Some(Tail::Open) => {}
            Some(Tail::Torn { bytes }) => {
                assert!(bytes <= SEGMENT_BYTES_MAX, "kill {kill}: {bytes} bytes are lost");
                torn += 1;
            }
            other => panic!("kill {kill}: {other:?}"),
        }
        assert!(reader.bytes() + SEGMENT_BYTES_MAX >= bytes - 16_384, "kill {kill}: {bytes} bytes");
        let (tail, replayed) = (reader.tail(), replay.ticks());
        eprintln!("kill {kill} after {delay:?}: {bytes} bytes, {tail:?}, {replayed} ticks");
        ticks += replay.ticks();
        records += replay.records();
    }
    eprintln!("{kills} kills, {torn} torn tails, {ticks} ticks and {records} records replayed");
    assert!(ticks > 0);
}

#[test]
fn a_disk_that_takes_no_more_ends_the_capture_and_not_the_plant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.capture");
    let pollux = env!("CARGO_BIN_EXE_pollux");
    let init = ["certs", "init", "--dir", "certs"];
    let made = Command::new(pollux).current_dir(&folder).args(init).output().unwrap();
    assert!(made.status.success());
    // A limit of the size of files stands for a full disk: the marks of some thousand ticks reach it.
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$@\"";
    let settings = "--set net.addr=127.0.0.1:0 --set http.enabled=false --set tick.hz=4000";
    let output = Command::new("bash")
        .current_dir(&folder)
        .args(["-c", script, "bash", pollux, "serve", "--duration-s", "5", "-o", "json"])
        .args(settings.split(' '))
        .arg("--capture")
        .arg(&path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("the capture cannot be written and ends"), "{told}");
    assert!(told.contains("the capture is not whole"), "{told}");
    let mut reader = Reader::open(File::open(&path).unwrap()).unwrap();
    let mut replay = Replay::new(reader.header()).unwrap();
    while let Some(step) = reader.next_step().unwrap() {
        if let Step::Tick(frame) = step {
            assert_eq!(replay.apply(&frame), None);
        }
    }
    assert_eq!(reader.tail(), Some(Tail::Open), "it ends behind its last whole segment");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let ran = summary["ticks"].as_u64().unwrap();
    assert!(replay.ticks() > 100 && ran > replay.ticks(), "{ran} ticks, {}", replay.ticks());
}
