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

/// Starts a demo that captures, and kills it after as much time from the moment on when its file is `ready`.
fn kill_after(path: &Path, delay: Duration, settings: &[(&str, &str)], ready: impl Fn() -> bool) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pollux"))
        .args(["demo", "--devices", "60"])
        .env("POLLUX_CAPTURE__FILE", path)
        .env("POLLUX_TICK__HZ", "4000")
        .envs(settings.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("twin on"));
    let wait = |time| wait_until(Clock::new().now().instant + time, Duration::ZERO);
    while !ready() {
        wait(Duration::from_millis(20));
    }
    wait(delay);
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
        // Its ring is small, so that it sheds too.
        let ring = (1 << (10 + random.below(9))).to_string();
        kill_after(&path, delay, &[("POLLUX_CAPTURE__RING", &ring)], || true);
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
                Step::Lost { .. } | Step::State(_) => {
                    panic!("kill {kill}: it was not written round");
                }
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

/// Number of the first segment that a capture holds; 0 while its header is not whole.
fn first_segment(path: &Path) -> u64 {
    let reader = File::open(path).ok().and_then(|file| Reader::open(file).ok());
    reader.map_or(0, |reader| reader.first_segment())
}

/// Ticks of a capture that is written round: the first and the last one, and how many; none may be lost between them. From
/// the first state on they are replayed, and have to come to the same world.
fn ticks_of(reader: &mut Reader<File>) -> (u64, u64, u64) {
    let (mut first, mut last, mut count) = (None, 0, 0);
    let mut replay = Replay::new(reader.header()).unwrap();
    let mut restored = false;
    while let Some(step) = reader.next_step().unwrap() {
        match step {
            Step::Tick(frame) => {
                assert!(first.is_none() || frame.tick > last, "{} behind {last}", frame.tick);
                first = first.or(Some(frame.tick));
                (last, count) = (frame.tick, count + 1);
                if restored {
                    assert_eq!(replay.apply(&frame), None);
                }
            }
            Step::State(state) => {
                if !std::mem::replace(&mut restored, true) {
                    replay.restore(&state).unwrap();
                }
            }
            Step::Lost { segments } => panic!("{segments} segments are lost behind tick {last}"),
            Step::Gap { ticks, .. } => panic!("{ticks} ticks are shed behind tick {last}"),
            Step::End { .. } => {}
        }
    }
    assert!(replay.ticks() * 4 > count, "{} of {count} ticks are replayed", replay.ticks());
    (first.unwrap(), last, count)
}

#[test]
fn a_killed_capture_that_was_written_round_keeps_its_latest_segments() {
    let kills = std::env::var("CAPTURE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    // A lap takes a second or two, so they are fewer.
    let kills = (kills / 2).clamp(1, 20);
    let mut random = Seeded::new(0x6b12, kills);
    for kill in 0..kills {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("round.capture");
        let delay = Duration::from_millis(random.below(400));
        // The ring has room for whatever a busy host does: behind a gap there is nothing to replay.
        let settings = [
            ("POLLUX_CAPTURE__KEEP", "last"),
            ("POLLUX_CAPTURE__MAX_BYTES", "1048576"),
            ("POLLUX_CAPTURE__RING", "1048576"),
        ];
        kill_after(&path, delay, &settings, || first_segment(&path) > 0);
        let bytes = path.metadata().unwrap().len();
        let mut reader = Reader::open(File::open(&path).unwrap()).unwrap();
        let (first, last, count) = ticks_of(&mut reader);
        let (begins, tail) = (reader.first_segment(), reader.tail());
        eprintln!(
            "kill {kill}: {bytes} bytes, {count} ticks, {first} to {last}, from segment {begins} on, {tail:?}"
        );
        assert!(begins > 0 && first > 0 && count > 100 && bytes <= 1 << 20);
        // An eighth of the file is the most that a segment takes.
        assert!(
            matches!(tail, Some(Tail::Open | Tail::Torn { bytes: 1..=131_072 })),
            "kill {kill}: {tail:?}"
        );
    }
}

/// Captures a twin that nobody talks to, into a file that may have so many KiB: a limit of the size of files stands for a full
/// disk, and the marks of some thousand ticks reach it. Gives what was told, and the summary.
fn serve_within(folder: &Path, path: &Path, kib: u32, keep: &str) -> (String, serde_json::Value) {
    let pollux = env!("CARGO_BIN_EXE_pollux");
    let init = ["certs", "init", "--dir", "certs"];
    let made = Command::new(pollux).current_dir(folder).args(init).output().unwrap();
    assert!(made.status.success());
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
    let settings = "--set net.addr=127.0.0.1:0 --set http.enabled=false --set tick.hz=4000";
    let output = Command::new("bash")
        .current_dir(folder)
        .args(["-c", &script, "bash", pollux, "serve", "--duration-s", "5", "-o", "json"])
        .args(settings.split(' '))
        .args(["--set", &format!("capture.keep={keep}")])
        .arg("--capture")
        .arg(path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    (told, serde_json::from_str(stdout.lines().last().unwrap()).unwrap())
}

#[test]
fn a_disk_that_takes_no_more_ends_the_capture_and_not_the_plant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.capture");
    let (told, summary) = serve_within(folder.path(), &path, 100, "first");
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
    let ran = summary["ticks"].as_u64().unwrap();
    assert!(replay.ticks() > 100 && ran > replay.ticks(), "{ran} ticks, {}", replay.ticks());
}

#[test]
fn a_disk_that_takes_no_more_is_the_end_of_a_lap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.capture");
    let (told, summary) = serve_within(folder.path(), &path, 400, "last");
    assert!(told.contains("the capture is written round"), "{told}");
    assert!(told.contains("the capture holds what came latest"), "{told}");
    let mut reader = Reader::open(File::open(&path).unwrap()).unwrap();
    let (_, last, count) = ticks_of(&mut reader);
    assert_eq!(reader.tail(), Some(Tail::Whole));
    let ran = summary["ticks"].as_u64().unwrap();
    assert!(reader.first_segment() > 0 && count > 100 && count < ran, "{count} of {ran} ticks");
    assert!(last + 1 >= ran, "the last of {ran} ticks is there: {last}");
}
