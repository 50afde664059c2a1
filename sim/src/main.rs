//! `sim`: runs seeds for as long as it is let, keeps those that fail, and shrinks them.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> anyhow::Result<ExitCode> {
    sim::soak(&sim::Args::parse())
}
