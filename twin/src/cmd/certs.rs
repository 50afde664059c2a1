//! `pollux certs`: a small authority, as files in a folder.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::args::{
    CertsArgs, CertsCommand, CertsEnrollArgs, CertsInitArgs, CertsRevokeArgs, CertsRotateArgs,
    CertsShowArgs, CertsTokenArgs, HolderArgs, Output,
};
use crate::certs::{self, AUTHORITY_DAYS, CertsError, Grant, Holder, LEAF_DAYS, Request};
use crate::say::{note, print_line};

/// Runs the command at the given time, in seconds since 1970.
///
/// # Errors
///
/// The command could not be carried out; nothing that existed was replaced unasked.
pub fn run(args: CertsArgs, now_unix_s: u64) -> anyhow::Result<ExitCode> {
    match args.command {
        CertsCommand::Init(args) => init(args, now_unix_s)?,
        CertsCommand::Enroll(args) => enroll(&args, now_unix_s)?,
        CertsCommand::Rotate(args) => rotate(&args, now_unix_s)?,
        CertsCommand::Revoke(args) => revoke(&args, now_unix_s)?,
        CertsCommand::Show(args) => show(&args, now_unix_s)?,
        CertsCommand::Token(args) => token(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn init(args: CertsInitArgs, now_unix_s: u64) -> anyhow::Result<()> {
    let CertsInitArgs { dir, name, device, gateway, force } = args;
    let request = Request { folder: dir, names: name, devices: device, gateways: gateway, force };
    list(&certs::init(&request, now_unix_s)?)?;
    note(format_args!(
        "for development: ECDSA P-256, the authority for {AUTHORITY_DAYS} days, all others for {LEAF_DAYS}"
    ));
    Ok(())
}

fn enroll(args: &CertsEnrollArgs, now_unix_s: u64) -> anyhow::Result<()> {
    let mut grants: Vec<Grant> = args.device.iter().map(|device| Grant::device(*device)).collect();
    if let Some(name) = &args.gateway {
        grants.push(if args.all {
            Grant::gateway_of_all(name)?
        } else {
            Grant::gateway(name, &args.behind, &args.prefix)?
        });
    }
    list(&certs::enroll(&args.dir, &grants, now_unix_s)?)?;
    Ok(())
}

fn rotate(args: &CertsRotateArgs, now_unix_s: u64) -> anyhow::Result<()> {
    let mut holders = holders(&args.holders)?;
    holders.extend(args.server.then_some(Holder::Server));
    list(&certs::rotate(&args.holders.dir, &holders, args.revoke, now_unix_s)?)?;
    Ok(())
}

fn revoke(args: &CertsRevokeArgs, now_unix_s: u64) -> anyhow::Result<()> {
    let holders = holders(&args.holders)?;
    let (path, added) = certs::revoke(&args.holders.dir, &holders, &args.serial, now_unix_s)?;
    print_line(path.display())?;
    note(format_args!(
        "{added} certificates revoked; a twin that reads this list closes their sessions"
    ));
    Ok(())
}

fn show(args: &CertsShowArgs, now_unix_s: u64) -> anyhow::Result<()> {
    let shown = certs::show(&args.paths, now_unix_s)?;
    match args.output {
        Output::Json => print_line(serde_json::to_string(&shown)?)?,
        Output::Text => print_lines(&shown)?,
    };
    Ok(())
}

fn token(args: &CertsTokenArgs) -> anyhow::Result<()> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("the system gives no random numbers")?;
    print_line(certs::token(&args.tokens, args.device, &secret)?)?;
    Ok(())
}

fn holders(args: &HolderArgs) -> Result<Vec<Holder>, CertsError> {
    let devices = args.device.iter().map(|device| Ok(Holder::Device(*device)));
    devices.chain(args.gateway.iter().map(|name| Holder::gateway(name))).collect()
}

fn list(paths: &[PathBuf]) -> std::io::Result<bool> {
    print_lines(paths.iter().map(|path| path.display()))
}

fn print_lines(lines: impl IntoIterator<Item: Display>) -> std::io::Result<bool> {
    lines.into_iter().try_fold(true, |read, line| Ok(read && print_line(line)?))
}
