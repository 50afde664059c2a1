//! `pollux doctor`: whether this host is fit for what it is asked, and what to change.

use std::process::ExitCode;

use serde::Serialize;

use crate::args::{DoctorArgs, EXIT_GOAL, Output};
use crate::config::Effective;
use crate::doctor::{Needs, Root, Verdict, examine};
use crate::say::print_line;

/// The verdict as JSON, in one object that names what it is.
#[derive(Serialize)]
struct Doctor<'a> {
    doctor: &'a Verdict,
}

/// Examines the host; a host that does not qualify is a goal that was not met.
///
/// # Errors
/// The configuration is wrong ([`crate::config::Rejected`]), or stdout takes nothing.
pub fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let effective = Effective::load(&args.layers.layers())?;
    let root = args.root.as_deref().map_or_else(Root::live, Root::folder);
    let verdict = examine(&root, &Needs::of(effective.config()));
    match args.output {
        Output::Text => print_line(&verdict)?,
        Output::Json => print_line(serde_json::to_string(&Doctor { doctor: &verdict })?)?,
    };
    Ok(if verdict.qualifies { ExitCode::SUCCESS } else { ExitCode::from(EXIT_GOAL) })
}
