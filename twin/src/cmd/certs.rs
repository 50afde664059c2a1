//! `pollux certs`: certificates for development, as files.

use std::process::ExitCode;

use crate::args::{CertsArgs, CertsCommand};
use crate::certs::{AUTHORITY_DAYS, LEAF_DAYS, Request, init};

/// Runs the command at the given time, in seconds since 1970.
///
/// # Errors
///
/// The certificates could not be made; nothing that existed was replaced without `--force`.
#[expect(clippy::print_stdout, reason = "the list of files is the result")]
pub fn run(args: CertsArgs, now_unix_s: u64) -> anyhow::Result<ExitCode> {
    let CertsCommand::Init(args) = args.command;
    let request =
        Request { folder: args.dir, names: args.name, devices: args.device, force: args.force };
    for path in init(&request, now_unix_s)? {
        println!("{}", path.display());
    }
    eprintln!(
        "for development: ECDSA P-256, the authority for {AUTHORITY_DAYS} days, all others for {LEAF_DAYS}"
    );
    Ok(ExitCode::SUCCESS)
}
