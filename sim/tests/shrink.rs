//! A failing scenario is made as small as it can be: what was lost is written down as lengths of runs, and cut.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use sim::{Kind, Runs, Scenario, run, shrink_by, write_down};

/// Runs that a shrinking may take.
const RUNS_MAX: usize = 400;

/// The first seeds whose faults lose datagrams by chance.
fn losing() -> impl Iterator<Item = Scenario> {
    let loses = |of: &Scenario| {
        of.faults.iter().any(|of| matches!(of.kind, Kind::Loss(_) | Kind::Bursts(..)))
    };
    (0..).map(|seed| Scenario::draw(seed, false)).filter(loses)
}

fn lost(scenario: &Scenario) -> u32 {
    let runs = scenario.faults.iter().flat_map(|fault| fault.runs.iter().flatten());
    runs.flat_map(|Runs { lengths, .. }| lengths.iter().skip(1).step_by(2)).sum()
}

#[test]
fn losses_that_are_written_down_strike_the_same_datagrams() {
    let mut written_down = 0;
    for scenario in losing().take(8) {
        let drawn = run(&scenario);
        let written = write_down(&scenario, &drawn);
        written_down += lost(&written);
        assert_eq!(run(&written), drawn, "seed {}", scenario.seed);
    }
    assert!(written_down > 20, "{written_down} losses");
}

#[test]
fn a_scenario_shrinks_to_the_losses_that_it_fails_by() {
    // As if it were a failure that the network loses three datagrams.
    let fails = |outcome: &sim::Outcome| outcome.datagrams[1] >= 3;
    let loses_alone = |of: &Scenario| {
        of.faults.iter().all(|of| matches!(of.kind, Kind::Loss(_) | Kind::Bursts(..)))
            && fails(&run(of))
    };
    let scenario = losing().find(loses_alone).unwrap();
    let least = shrink_by(&scenario, RUNS_MAX, fails);
    assert!(fails(&run(&least)), "{least}");
    assert_eq!((least.devices.len(), least.faults.len()), (1, 1), "{scenario} becomes {least}");
    assert_eq!(lost(&least), 3, "{scenario} becomes {least:#?}");
}
