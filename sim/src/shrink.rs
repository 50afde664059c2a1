//! The least of a scenario that still fails.
//!
//! Faults are cut out, devices are cut out, and what is left of the faults is made shorter, again and again until nothing
//! more can go. Each fault draws for itself, so the others strike as before. Then the losses are written down as lengths of
//! runs, which strike the same datagrams, and runs are cut out too.

use crate::plant::{Outcome, run};
use crate::scenario::{Runs, Scenario};

/// Cuts as much out of a failing scenario as it can do without, in at most `runs_max` runs.
#[must_use]
pub fn shrink(scenario: &Scenario, runs_max: usize) -> Scenario {
    shrink_by(scenario, runs_max, |outcome| outcome.violation.is_some())
}

/// As [`shrink`]; `fails` tells what of an outcome is a failure.
pub fn shrink_by(
    scenario: &Scenario,
    runs_max: usize,
    fails: impl Fn(&Outcome) -> bool,
) -> Scenario {
    let mut runs = 0;
    let mut cut = |mut least: Scenario, candidates: fn(&Scenario) -> Vec<Scenario>| loop {
        let mut smaller = None;
        for candidate in candidates(&least) {
            if runs == runs_max {
                return least;
            }
            runs += 1;
            if fails(&run(&candidate)) {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(smaller) => least = smaller,
            None => return least,
        }
    };
    let least = cut(scenario.clone(), candidates);
    let written = write_down(&least, &run(&least));
    cut(written, fewer_losses)
}

/// The scenario with what its faults lost as lengths of runs.
#[must_use]
pub fn write_down(scenario: &Scenario, outcome: &Outcome) -> Scenario {
    let mut written = scenario.clone();
    for fault in written.faults.iter_mut().filter(|fault| fault.kind.loses()) {
        let of_fault = outcome.losses.iter().filter(|(number, _)| *number == fault.number);
        fault.runs = Some(of_fault.map(|(_, runs)| runs.clone()).collect());
    }
    written
}

/// Scenarios that lose a little less, the boldest cut first.
fn fewer_losses(of: &Scenario) -> Vec<Scenario> {
    let mut less = Vec::new();
    for (fault, paths) in of.faults.iter().enumerate() {
        for (path, runs) in paths.runs.iter().flatten().enumerate() {
            let mut push = |lengths: Vec<u32>| {
                let mut scenario = of.clone();
                let runs = &mut scenario.faults[fault].runs;
                runs.as_mut().expect("the fault has runs because one of them was found")[path]
                    .lengths = lengths;
                less.push(scenario);
            };
            cut_runs(runs, &mut push);
        }
    }
    less
}

/// Shorter run lengths of a path: nothing lost, half of the runs, a run less, a run of half the length or one shorter.
fn cut_runs(Runs { lengths, .. }: &Runs, push: &mut dyn FnMut(Vec<u32>)) {
    let losing = lengths.len() / 2;
    if losing == 0 {
        return;
    }
    push(Vec::new());
    if losing > 1 {
        push(lengths[..losing / 2 * 2].to_vec());
    }
    for at in (1..lengths.len()).step_by(2) {
        let mut without = lengths[..at - 1].to_vec();
        without.push(lengths[at - 1] + lengths[at] + lengths.get(at + 1).unwrap_or(&0));
        without.extend(lengths.get(at + 2..).unwrap_or(&[]));
        push(without);
    }
    for at in (1..lengths.len()).step_by(2) {
        for less in [lengths[at] / 2, 1].into_iter().filter(|less| (1..lengths[at]).contains(less))
        {
            let mut shorter = lengths.clone();
            shorter[at] -= less;
            match shorter.get_mut(at + 1) {
                Some(passing) => *passing += less,
                None => shorter.push(less),
            }
            push(shorter);
        }
    }
}

/// Scenarios that are a little less, the boldest cut first.
fn candidates(of: &Scenario) -> Vec<Scenario> {
    let mut less = Vec::new();
    let mut push = |change: &dyn Fn(&mut Scenario)| {
        let mut scenario = of.clone();
        change(&mut scenario);
        if scenario != *of {
            less.push(scenario);
        }
    };
    push(&|scenario| scenario.faults.truncate(scenario.faults.len() / 2));
    push(&|scenario| drop(scenario.faults.drain(..scenario.faults.len() / 2)));
    for at in 0..of.faults.len() {
        push(&|scenario| {
            scenario.faults.remove(at);
        });
    }
    for at in 0..of.devices.len() {
        push(&|scenario| {
            if scenario.devices.len() > 1 {
                let number = scenario.devices.remove(at).number;
                scenario.faults.retain(|fault| fault.device != Some(number));
            }
        });
    }
    for at in 0..of.faults.len() {
        push(&|scenario| {
            let fault = &mut scenario.faults[at];
            fault.until_us -= (fault.until_us - fault.from_us) / 2;
        });
        push(&|scenario| {
            let fault = &mut scenario.faults[at];
            fault.from_us += (fault.until_us - fault.from_us) / 2;
        });
    }
    push(&|scenario| scenario.workers = 1);
    push(&|scenario| scenario.rest_us = 0);
    push(&|scenario| scenario.rule = false);
    push(&|scenario| scenario.order_every_us = 0);
    for at in 0..of.devices.len() {
        push(&|scenario| scenario.devices[at].sensors = 1);
        push(&|scenario| scenario.devices[at].t2_every = 0);
        push(&|scenario| scenario.devices[at].t3_every = 0);
    }
    less
}
