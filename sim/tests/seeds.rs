//! Hundreds of plants, each drawn from its number: none may break an invariant, and each runs the same way twice.

#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use std::sync::Mutex;

use sim::{Outcome, Sabotage, Scenario, run, run_sabotaged};
use wire::Tier;

/// Seeds of the gate; `scripts/sim.sh` runs others for hours.
const SEEDS: u64 = 500;
/// Of those, so many run twice.
const TWICE: u64 = 40;

/// Runs seeds on all cores, and gives what went wrong in any of them.
fn each(seeds: std::ops::Range<u64>, check: impl Fn(u64) -> Option<String> + Sync) -> Vec<String> {
    let (next, wrongs) = (Mutex::new(seeds), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = { next.lock().unwrap().next() } {
                    let wrong = check(seed);
                    wrongs.lock().unwrap().extend(wrong);
                }
            });
        }
    });
    wrongs.into_inner().unwrap()
}

fn broken(seed: u64) -> Option<String> {
    let scenario = Scenario::draw(seed, false);
    let violation = run(&scenario).violation?;
    Some(format!("{scenario}  {violation}\n"))
}

#[test]
fn no_seed_breaks_what_must_hold() {
    let wrongs = each(0..SEEDS, broken);
    assert!(wrongs.is_empty(), "{} of {SEEDS} seeds:\n{}", wrongs.len(), wrongs.concat());
}

#[test]
fn the_same_seed_is_the_same_run_to_the_last_byte_on_the_wire() {
    let wrongs = each(0..TWICE, |seed| {
        let scenario = Scenario::draw(seed, false);
        let [one, other] = [run(&scenario), run(&scenario)];
        (one != other).then(|| differences(seed, &one, &other))
    });
    assert!(wrongs.is_empty(), "{} of {TWICE} seeds:\n{}", wrongs.len(), wrongs.concat());
}

fn differences(seed: u64, one: &Outcome, other: &Outcome) -> String {
    let tick = one.hashes.iter().zip(&other.hashes).position(|(one, other)| one != other);
    let wires = [one.wire_hash, other.wire_hash];
    format!("seed {seed}: first tick that differs {tick:?}, wire {wires:x?}\n")
}

#[test]
fn different_seeds_are_different_runs() {
    let hashes: std::collections::BTreeSet<u64> =
        (0..20).map(|seed| run(&Scenario::draw(seed, false)).wire_hash).collect();
    assert_eq!(hashes.len(), 20);
}

#[test]
fn a_scenario_takes_no_more_than_twenty_lines() {
    let longest = (0..2_000).map(|seed| Scenario::draw(seed, true).to_string().lines().count());
    assert!(longest.max() <= Some(20));
}

#[test]
fn what_may_not_be_is_seen() {
    let tiers = [Tier::T1, Tier::T2];
    let of_both = [Sabotage::Lose, Sabotage::Repeat, Sabotage::Turn, Sabotage::Swap];
    let planted = of_both.into_iter().flat_map(|of| tiers.map(of));
    // What a read asks for is no value, and the order of reads is nobody's.
    for sabotage in planted.chain([Sabotage::Lose(Tier::T3), Sabotage::Repeat(Tier::T3)]) {
        let mut seen = 0;
        for seed in 0..12 {
            let scenario = Scenario::draw(seed, false);
            seen += u32::from(run_sabotaged(&scenario, Some(sabotage)).violation.is_some());
        }
        assert!(seen >= 3, "{sabotage:?} was seen in {seen} of 12 plants");
    }
}
