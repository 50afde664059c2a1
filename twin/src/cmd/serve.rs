//! `pollux serve`: the twin as a service.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use netloop::{ClientAuth, Clock};

use crate::args::{EXIT_FAILED, Output, ServeArgs};
use crate::certs::browser_pair;
use crate::cold::Ended;
use crate::config::{Config, Effective};
use crate::credentials::Credentials;
use crate::host;
use crate::logging;
use crate::notify::Notifier;
use crate::report::Summary;
use crate::runtime::Twin;
use crate::say::{note, print_line};

/// Serves until a signal, the end of `--duration-s`, or the death of a hot thread.
///
/// # Errors
/// The configuration is wrong ([`crate::config::Rejected`]), an address is taken, or a file cannot be read or written.
pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let mut layers = args.layers.layers();
    layers.set.extend(args.capture.map(|path| format!("capture.file={}", path.display())));
    let effective = Effective::load(&layers)?;
    effective.need_files()?;
    let config = effective.config();
    logging::start(config.log.level);
    let now_s = Clock::new().now().unix_ns / 1_000_000_000;
    let browsers = config.admits_browsers().then(|| browser_pair(now_s)).transpose()?;
    let credentials = Credentials::load(&config.tls, browsers)?;
    credentials.warn_of_dates(now_s);
    let mut twin = Twin::start(config, &credentials, args.report.report.as_deref())?;
    twin.watch(config)?;
    announce(&twin, config, &credentials);
    let limit = args.report.duration_s.map(Duration::from_secs);
    let mut notifier = Notifier::of_process();
    notifier.ready();
    let ended = twin.run(limit, &mut |surface| {
        let stats = surface.stats();
        notifier.handle_second(stats.tick.ticks.value(), stats.is_served());
        ControlFlow::Continue(())
    });
    notifier.stopping();
    // In order, whatever has ended the run.
    let (summary, closed) = twin.finish();
    print(&summary, args.report.output)?;
    let ended = ended?;
    closed?;
    Ok(if ended == Ended::Stopped { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

/// Says where the twin listens, whom it trusts and how it idles, once everything is bound.
fn announce(twin: &Twin, config: &Config, credentials: &Credentials) {
    note(format_args!("listening quic {}", twin.quic_addr()));
    if let Some(addr) = twin.http_addr() {
        note(format_args!("listening http {addr}"));
    }
    let trust = &credentials.renewal().trust;
    let (mode, revoked, tokens) = (trust.auth().name(), trust.revoked(), trust.tokens());
    match trust.auth() {
        ClientAuth::Required => {}
        ClientAuth::Optional => {
            note(
                "WARNING: tls.client_auth = optional: whoever shows no certificate writes for every device",
            );
        }
        ClientAuth::Off => {
            note(
                "WARNING: tls.client_auth = off: whoever reaches the port writes for every device",
            );
        }
    }
    note(format_args!(
        "devices: client_auth {mode}, {revoked} certificates revoked, {tokens} tokens"
    ));
    if config.automation.stop_file.is_none() {
        note("automation.stop_file is not set: a restart forgets that the plant is stopped");
    }
    let (idle, hz, cores) = (twin.idle_strategy(), config.tick.hz, host::cores());
    note(format_args!("ready: tick {hz} Hz, idle {idle} ({cores} cores)"));
}

/// Prints the summary in the form that was asked for.
///
/// # Errors
/// It has a number that JSON cannot carry, or stdout takes nothing.
pub fn print(summary: &Summary, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Text => print_line(summary)?,
        Output::Json => print_line(serde_json::to_string(summary)?)?,
    };
    Ok(())
}
