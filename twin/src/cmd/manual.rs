//! `pollux completions` and `pollux manual`: the command line, told to a shell and to `man`.

use std::fs::create_dir_all;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::generate;

use crate::args::{Cli, CompletionsArgs, ManualArgs};
use crate::say::print;

/// Prints the script for a shell.
///
/// # Errors
/// Stdout takes nothing.
pub fn completions(args: CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "pollux", &mut script);
    print(String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a page for the program and one for each of its commands.
///
/// # Errors
/// The folder cannot be made, or a page cannot be written.
pub fn manual(args: &ManualArgs) -> anyhow::Result<ExitCode> {
    let pages = create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.dir));
    pages.with_context(|| format!("--dir {}", args.dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
