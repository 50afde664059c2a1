//! `transports`: the records of Pollux over TCP, TLS, MQTT or NATS.

#![forbid(unsafe_code)]

use clap::Parser;
use transports::args::{Cli, Command};
use transports::ends;

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(args) => ends::serve(&args),
        Command::Load(args) => ends::load(&args),
    }
}
