//! Samples of a case: each long enough for the clock, their median as the answer.

use crate::case::Case;
use crate::clock::thread_cpu_ns;

/// A sample lasts at least this long, so that reading the clock (about 0.3 us) and its resolution do not count.
const SAMPLE_NS_MIN: u64 = 1_000_000;
/// The fewest and the most samples of a case, whatever the budget.
const SAMPLES_MIN: usize = 7;
const SAMPLES_MAX: usize = 60;

/// The times of one run of the work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) median_ns: f64,
    pub(crate) best_ns: f64,
    pub(crate) samples: usize,
    pub(crate) runs_per_sample: u64,
}

/// Takes samples until `budget_ns` is spent.
pub(crate) fn measure(case: &mut dyn Case, budget_ns: u64) -> Times {
    let runs = calibrate(case);
    let end_ns = thread_cpu_ns() + budget_ns;
    let mut samples = Vec::with_capacity(SAMPLES_MAX);
    while samples.len() < SAMPLES_MIN || (samples.len() < SAMPLES_MAX && thread_cpu_ns() < end_ns) {
        samples.push(sample_ns(case, runs) as f64 / runs as f64);
    }
    samples.sort_by(f64::total_cmp);
    Times {
        median_ns: samples[samples.len() / 2],
        best_ns: samples[0],
        samples: samples.len(),
        runs_per_sample: runs,
    }
}

/// Runs that fill a sample. Finding the number warms the caches too.
fn calibrate(case: &mut dyn Case) -> u64 {
    let mut runs = 1;
    loop {
        let took_ns = sample_ns(case, runs);
        if took_ns >= SAMPLE_NS_MIN {
            return runs;
        }
        // A little more than the rule of three asks for, but no leap from a first run that was cold or too short.
        let wanted = runs * SAMPLE_NS_MIN * 11 / 10 / took_ns.max(1) + 1;
        runs = wanted.clamp(runs + 1, runs * 16);
    }
}

fn sample_ns(case: &mut dyn Case, runs: u64) -> u64 {
    let start_ns = thread_cpu_ns();
    case.run(runs);
    thread_cpu_ns() - start_ns
}
