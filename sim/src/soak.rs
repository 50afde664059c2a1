//! Seeds for as long as it is let: those that fail are kept and shrunk.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use netloop::Clock;

use crate::plant::run;
use crate::scenario::Scenario;
use crate::shrink::shrink;

/// Runs of a scenario that shrinking may take.
const SHRINK_RUNS: usize = 400;

/// Runs seeds through the plant in a box. Ends with 3 when one fails.
#[derive(Debug, Parser)]
pub struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seeds to run.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// Every so many seeds only, to share them among processes.
    #[arg(long, default_value_t = 1)]
    step: u64,
    /// Ends after this many seconds.
    #[arg(long)]
    for_s: Option<u64>,
    /// Draws large scenarios too.
    #[arg(long)]
    large: bool,
    /// Runs the plant of the speed figure instead: so many sessions at 100 Hz for a minute, without faults.
    #[arg(long, value_name = "SESSIONS")]
    speed: Option<u32>,
    /// Sensors that a session of the plant of the speed figure carries, as a gateway does for what stands behind it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=36))]
    speed_sensors: u16,
    /// Prints every scenario.
    #[arg(long)]
    verbose: bool,
    /// Prints the sum as a JSON object.
    #[arg(long)]
    json: bool,
    /// Writes failing seeds, what they broke, and the least of them into this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    failed: u64,
    records: u64,
    datagrams: u64,
    sessions: u64,
    device_us: u64,
    simulated_us: u64,
}

/// Runs the seeds that were asked for.
///
/// # Errors
/// What failed cannot be kept.
pub fn soak(args: &Args) -> anyhow::Result<ExitCode> {
    let clock = Clock::new();
    let began = clock.now().instant;
    let mut sum = Sum::default();
    for seed in
        (args.from..).step_by(usize::try_from(args.step)?).take(usize::try_from(args.seeds)?)
    {
        let elapsed = clock.now().instant - began;
        if args.for_s.is_some_and(|limit| elapsed >= Duration::from_secs(limit)) {
            break;
        }
        one(args, seed, &mut sum)?;
    }
    say(args, &sum, clock.now().instant - began);
    Ok(if sum.failed > 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

#[expect(clippy::print_stdout, reason = "the verdict is the result")]
fn one(args: &Args, seed: u64, sum: &mut Sum) -> anyhow::Result<()> {
    let drawn = || Scenario::draw(seed, args.large);
    let steady = |sessions| Scenario::steady(seed, sessions, args.speed_sensors);
    let scenario = args.speed.map_or_else(drawn, steady);
    if args.verbose {
        println!("{scenario}");
    }
    let outcome = run(&scenario);
    sum.seeds += 1;
    sum.records += outcome.records;
    sum.datagrams += outcome.datagrams[0];
    sum.sessions += outcome.sessions;
    sum.simulated_us += outcome.simulated_us;
    sum.device_us += outcome.simulated_us * scenario.devices.len() as u64;
    let Some(violation) = outcome.violation else { return Ok(()) };
    sum.failed += 1;
    println!("FAILED {scenario}  {violation}");
    if let Some(folder) = &args.keep {
        let least = shrink(&scenario, SHRINK_RUNS);
        let broken = run(&least).violation.map(|violation| violation.to_string());
        let text = format!(
            "{scenario}\n{violation}\n\nthe least that fails:\n{least}\n{}\n\n{least:#?}\n",
            broken.unwrap_or_default()
        );
        let path = folder.join(format!("seed-{seed}.txt"));
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        std::fs::write(&path, &text).with_context(|| path.display().to_string())?;
        println!("the least that fails: {least}");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the sum is the result")]
fn say(args: &Args, sum: &Sum, elapsed: Duration) {
    let Sum { seeds, failed, records, datagrams, sessions, device_us, simulated_us } = sum;
    let (device_s, simulated_s) = (*device_us as f64 / 1e6, *simulated_us as f64 / 1e6);
    let elapsed_s = elapsed.as_secs_f64();
    if args.json {
        let Args { from, step, large, .. } = args;
        return println!(
            "{{\"from\": {from}, \"step\": {step}, \"large\": {large}, \"seeds\": {seeds}, \"failed\": {failed}, \"device_s\": {device_s:.1}, \"simulated_s\": {simulated_s:.1}, \"records\": {records}, \"datagrams\": {datagrams}, \"sessions\": {sessions}, \"cpu_s\": {:.2}, \"elapsed_s\": {elapsed_s:.2}}}",
            cpu_s(),
        );
    }
    println!(
        "{seeds} seeds, {failed} failed; {device_s:.0} device-seconds, {records} records, {datagrams} datagrams, {sessions} sessions in {elapsed_s:.1} s: {:.1} times real time, {:.0} device-seconds a second",
        simulated_s / elapsed_s,
        device_s / elapsed_s,
    );
}

/// CPU time of this process so far, in seconds.
fn cpu_s() -> f64 {
    let (user_ns, system_ns) = netloop::process_cpu();
    (user_ns + system_ns) as f64 / 1e9
}
