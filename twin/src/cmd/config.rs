//! `pollux config`: a commented file, a check, and the values in force.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::args::{ConfigArgs, ConfigCommand, LayerArgs};
use crate::config::{Effective, Layers};
use crate::say;

/// Runs the command.
///
/// # Errors
///
/// The configuration is wrong ([`crate::config::Rejected`]), or a file cannot be written.
pub fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ConfigCommand::Init(args) => init(args),
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Show(args) => show(args),
    }
}

fn init(args: LayerArgs) -> anyhow::Result<ExitCode> {
    // The file is what is being made, so it is no layer here.
    let text = Effective::load(&Layers::of_process(None, args.set))?.to_toml();
    let Some(path) = args.config else {
        say::print(text)?;
        return Ok(ExitCode::SUCCESS);
    };
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{}: cannot be written", path.display()))?;
    say::print_line(path.display())?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: LayerArgs) -> anyhow::Result<ExitCode> {
    let effective = Effective::load(&args.layers())?;
    let (keys, set) = effective.counts();
    say::print_line(format_args!(
        "the configuration is right: {set} of {keys} keys set, the others at their defaults"
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: LayerArgs) -> anyhow::Result<ExitCode> {
    say::print(Effective::load(&args.layers())?.show())?;
    Ok(ExitCode::SUCCESS)
}
