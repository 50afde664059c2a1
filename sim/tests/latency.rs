//! The latencies of a plant under each class of fault, as a text in the repository: a change is seen in review.
//!
//! All of it is virtual time, so the figures are exact and the same everywhere. `WRITE_GOLDEN=1 cargo test -p sim --test
//! latency` writes the text anew; the commit says why it is another one.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use std::fmt::Write;

use sim::{DevicePlan, Fault, Kind, Samples, Scenario, Timing, run};

const SEEDS: u64 = 4;
const FAULTS_US: u64 = 2_000_000;
const HEAL_US: u64 = 1_500_000;

/// Ten devices on a path of a millisecond, two sensors each at 100 Hz, one worker that rests as it does by default.
fn plant(seed: u64, kind: Option<Kind>, length_us: u64) -> Scenario {
    let device = |number| DevicePlan {
        number,
        sensors: 2,
        period_us: 10_000,
        t2_every: 5,
        t3_every: 10,
        hello: true,
        delay_us: 1_000,
        heedless: false,
    };
    let from_us = (FAULTS_US - length_us) / 2;
    let fault = |kind| Fault {
        from_us,
        until_us: from_us + length_us,
        device: None,
        kind,
        number: 0,
        runs: None,
    };
    Scenario {
        seed,
        workers: 1,
        hz: 1000,
        rest_us: 1000,
        rings: [4096, 1024, 256],
        drain: [4096, 1024, 256],
        rule: true,
        order_every_us: 0,
        devices: (0..10).map(device).collect(),
        faults: kind.map(fault).into_iter().collect(),
        faults_end_us: FAULTS_US,
        heal_us: HEAL_US,
    }
}

fn measure(kind: Option<Kind>, length_us: u64) -> Timing {
    let mut sum = Timing::default();
    for seed in 0..SEEDS {
        let scenario = plant(seed, kind, length_us);
        let outcome = run(&scenario);
        assert_eq!(outcome.violation, None, "{scenario}");
        let add = |to: &mut Samples, from: &Samples| to.add(from);
        add(&mut sum.to_world[0], &outcome.timing.to_world[0]);
        add(&mut sum.to_world[1], &outcome.timing.to_world[1]);
        add(&mut sum.reads, &outcome.timing.reads);
        add(&mut sum.age, &outcome.timing.age);
    }
    sum
}

#[test]
fn latencies_are_those_of_the_golden_file() {
    let classes = [
        ("clean", None, 0),
        ("loss 1 %", Some(Kind::Loss(0.01)), FAULTS_US),
        ("loss 5 %", Some(Kind::Loss(0.05)), FAULTS_US),
        ("bursts of 8 in 200", Some(Kind::Bursts(8.0, 200.0)), FAULTS_US),
        ("reordering by 5 ms", Some(Kind::Reorder(5_000)), FAULTS_US),
        ("duplicates 30 %", Some(Kind::Duplicate(0.3)), FAULTS_US),
        ("40 kB/s", Some(Kind::Rate(40_000, 30_000)), FAULTS_US),
        ("corruption 1 %", Some(Kind::Corrupt(0.01)), FAULTS_US),
        ("blackout 500 ms", Some(Kind::Partition), 500_000),
        ("clock jump 1 h", Some(Kind::ClockJump(3_600_000_000)), FAULTS_US),
        ("no tick for 200 ms", Some(Kind::StallTicks), 200_000),
        ("no worker for 200 ms", Some(Kind::StallWorkers), 200_000),
        ("2,000 handshakes/s", Some(Kind::Flood(2_000)), FAULTS_US),
    ];
    let mut text = String::from(
        "Simulated latency in microseconds: 10 devices, 2 sensors at 100 Hz, path 1 ms, 1,000 Hz, rest 1 ms.\n\n",
    );
    let head =
        "class                 what           count       p50       p99     p99.9       max\n";
    text.push_str(head);
    for (name, kind, length_us) in classes {
        let Timing { to_world: [t1, t2], reads, age } = measure(kind, length_us);
        for (what, samples) in
            [("T1 to world", t1), ("T2 to world", t2), ("T3 read", reads), ("age", age)]
        {
            writeln!(text, "{name:<21} {what:<11} {samples}").unwrap();
        }
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/latency.txt");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    let expected = std::fs::read_to_string(golden).unwrap();
    for (line, (found, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", line + 1);
    }
    assert_eq!(text, expected);
}
