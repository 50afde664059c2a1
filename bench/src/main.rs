//! `bench`: the experiments that need a program of their own. The others are scripts around `pollux`.

#![forbid(unsafe_code)]

mod callers;
mod command_rtt;
mod connect;
mod end;
mod fleet;
mod flood;
#[path = "../../netloop/tests/forge/mod.rs"]
mod forge;
mod isolation;
mod meter;
mod orders;
mod stream_open;
mod throughput;
mod trust;

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
    /// Sessions with a twin that begin one after the other, anew, resumed, or with data in the first packet.
    Connect(connect::Args),
    /// Floods a server of one's own with datagrams from invented addresses of loopback.
    Flood(flood::Args),
    /// Opens thousands of sessions with a server and holds them, or lets them come and go.
    Hold(callers::Args),
    /// What a loud session, a flood or a storm costs the sessions that are there.
    Isolation(isolation::Args),
    /// A desk that is full of setpoints all the time, and the stop beside them, through a whole twin.
    Orders(orders::Args),
    /// From the opening of a T2 stream to its first record, between two workers on loopback.
    StreamOpen(stream_open::Args),
    /// Bytes a second of T2, over one stream or many.
    Throughput(throughput::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().experiment {
        Experiment::CommandRtt(args) => command_rtt::run(&args),
        Experiment::Connect(args) => connect::run(args),
        Experiment::Flood(args) => flood::run(&args),
        Experiment::Hold(args) => callers::run(&args),
        Experiment::Isolation(args) => isolation::run(&args),
        Experiment::Orders(args) => orders::run(&args),
        Experiment::StreamOpen(args) => stream_open::run(&args),
        Experiment::Throughput(args) => throughput::run(&args),
    }
}
