//! `bench`: the experiments that need a program of their own. The others are scripts around `pollux`.

#![forbid(unsafe_code)]

mod command_rtt;

use clap::{Parser, Subcommand};

/// Experiments of Pollux; each prints one JSON object.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Debug, Subcommand)]
enum Experiment {
    /// Round trip of a T3 command between two workers on loopback, with no tick in between.
    CommandRtt(command_rtt::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().experiment {
        Experiment::CommandRtt(args) => command_rtt::run(&args),
    }
}
