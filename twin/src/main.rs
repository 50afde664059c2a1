//! `pollux`: the industrial digital twin in one binary.
//!
//! Reads the command line, starts one command, and turns what it says into an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use twin::args::{Cli, Command, EXIT_CONFIG, EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE};
use twin::certs::CertsError;
use twin::client::ClientError;
use twin::cmd;
use twin::config::Rejected;
use twin::say::note;
use twin::simulate::{FleetError, GeneratorError, PlanError};

/// No thread waits for another one's allocation; the heap of musl alone would have one lock.
#[cfg(target_env = "musl")]
#[global_allocator]
static HEAP: netloop::Heap = netloop::Heap;

fn main() -> ExitCode {
    netloop::prepare_heap();
    run(Cli::parse().command).unwrap_or_else(|error| {
        note(format_args!("pollux: {error:#}"));
        ExitCode::from(code_of(&error))
    })
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<Rejected>() {
        EXIT_CONFIG
    } else if error.is::<PlanError>() || is_wrong_name(error) {
        EXIT_USAGE
    } else if is_unanswered(error) {
        EXIT_UNREACHABLE
    } else {
        EXIT_FAILED
    }
}

fn is_wrong_name(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(CertsError::is_usage)
}

fn is_unanswered(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Unreachable { .. }))
        || matches!(
            error.downcast_ref(),
            Some(GeneratorError::Fleet { reason: FleetError::NoAnswer, .. })
        )
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => cmd::demo::run(&args),
        Command::Serve(args) => cmd::serve::run(args),
        Command::Replay(args) => cmd::replay::run(&args),
        Command::Inspect(args) => cmd::inspect::run(&args),
        Command::Simulate(args) => cmd::simulate::run(&args),
        Command::Ctl(args) => cmd::ctl::run(&args),
        Command::Monitor(args) => cmd::monitor::run(&args),
        Command::Certs(args) => cmd::certs::run(args, unix_s()),
        Command::Config(args) => cmd::config::run(args),
        Command::Doctor(args) => cmd::doctor::run(args),
        Command::Completions(args) => cmd::manual::completions(args),
        Command::Manual(args) => cmd::manual::manual(&args),
    }
}

/// The date that certificates begin with.
fn unix_s() -> u64 {
    netloop::Clock::new().now().unix_ns / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_without_an_answer_ends_with_the_code_of_a_twin_that_is_not_there() {
        let code = |reason: FleetError| {
            let remote = ([127, 0, 0, 1], 9).into();
            let server_name = "localhost".to_owned();
            let failed = GeneratorError::Fleet { remote, server_name, reason };
            code_of(&failed.into())
        };
        assert_eq!(code(FleetError::NoAnswer), EXIT_UNREACHABLE);
        assert_eq!(code(FleetError::Tls { alert: 48 }), EXIT_FAILED);
    }
}
