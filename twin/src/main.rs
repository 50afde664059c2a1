//! `pollux`: the industrial digital twin in one binary.
//!
//! Reads the command line, starts one command, and turns what it says into an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use twin::args::{Cli, Command, EXIT_CONFIG, EXIT_FAILED};
use twin::cmd;
use twin::config::Rejected;

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|error| {
        eprintln!("pollux: {error:#}");
        ExitCode::from(if error.is::<Rejected>() { EXIT_CONFIG } else { EXIT_FAILED })
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Simulate(args) => cmd::simulate::run(&args),
        Command::Certs(args) => cmd::certs::run(args, unix_s()),
        Command::Config(args) => cmd::config::run(args),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "one date for certificates, before any thread starts"
)]
fn unix_s() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
