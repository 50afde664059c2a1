//! The least of a scenario that still fails.
//!
//! Faults are cut out, devices are cut out, and what is left of the faults is made shorter, again and again until nothing
//! more can go. Each fault draws for itself, so the others strike as before.

use crate::plant::run;
use crate::scenario::Scenario;

/// Cuts as much out of a failing scenario as it can do without, in at most `runs_max` runs.
#[must_use]
pub fn shrink(scenario: &Scenario, runs_max: usize) -> Scenario {
    let mut least = scenario.clone();
    let mut runs = 0;
    loop {
        let before = least.clone();
        for candidate in candidates(&before) {
            if runs == runs_max {
                return least;
            }
            runs += 1;
            if run(&candidate).violation.is_some() {
                least = candidate;
                break;
            }
        }
        if least == before {
            return least;
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
    for at in 0..of.devices.len() {
        push(&|scenario| scenario.devices[at].sensors = 1);
        push(&|scenario| scenario.devices[at].t2_every = 0);
        push(&|scenario| scenario.devices[at].t3_every = 0);
    }
    less
}
