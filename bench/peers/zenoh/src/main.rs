//! `zenoh-peer`: the records of Pollux over Zenoh, into the same world.
//!
//! Two peers, an explicit endpoint, no scouting, Zenoh's own batching on; what its reference calls reliable is `Reliable`
//! with `Block`, the other form is `BestEffort` with `Drop`. The link decides what that means: over QUIC with mixed
//! reliability, best effort travels in DATAGRAM frames.

#![forbid(unsafe_code)]

mod args;
mod ends;

use clap::Parser;

use args::{Cli, Command};

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(args) => ends::serve(&args),
        Command::Load(args) => ends::load(&args),
    }
}
