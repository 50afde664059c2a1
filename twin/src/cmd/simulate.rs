//! `pollux simulate`: offers the load of a plant to a twin and says what became of it.

use std::{
    io::IsTerminal,
    net::{SocketAddr, ToSocketAddrs},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use netloop::ClientIdentity;
use signal_hook::{consts::TERM_SIGNALS, flag};

use crate::{
    args::{EXIT_FAILED, Output, SimulateArgs},
    report::Usage,
    say::{note, print_line},
    simulate::{Generator, LoadTls, Plan, Sessions, Summary},
};

/// How often a signal is looked for.
const POLL: Duration = Duration::from_millis(50);
/// Polls between two lines of progress.
const POLLS_PER_LINE: u32 = 20;

/// Runs until the plan is fulfilled, a signal asks for the end, or nobody reads the lines of progress. Fails where the
/// plan came to its end and no session was closed in order.
///
/// # Errors
/// The arguments fit no plan, nothing could connect, or the report cannot be written.
pub fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let signalled = Arc::new(AtomicBool::new(false));
    for &signal in TERM_SIGNALS {
        // The second signal ends the process at once: the first one set the flag.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&signalled))?;
        flag::register(signal, Arc::clone(&signalled))?;
    }
    let plan = plan(args)?;
    plan.check()?;
    let tls = tls(args)?;
    let shows = args.verbose || std::io::stderr().is_terminal();
    let mut generator = Generator::start(plan, tls, args.report.report.clone())?;
    let mut line = Line { polls: 0, sent: 0, shows };
    let mut stopping = false;
    while !generator.wait(POLL)? {
        let read = line.poll(&generator);
        if !stopping && (!read || signalled.load(Ordering::Relaxed)) {
            stopping = true;
            generator.stop();
        }
    }
    let summary = generator.finish(usage)?;
    print(&summary, args.report.output)?;
    // The line that says so was printed with the summary.
    let failed = !stopping && has_lost_all(&summary.sessions);
    Ok(if failed { EXIT_FAILED.into() } else { ExitCode::SUCCESS })
}

/// Whether no session was closed in order, of those that there were.
const fn has_lost_all(sessions: &Sessions) -> bool {
    sessions.opened > 0 && sessions.finished == 0
}

/// The line of each second on stderr.
struct Line {
    polls: u32,
    sent: u64,
    shows: bool,
}

impl Line {
    /// Says it when it is time. False when whoever asked for it has left.
    fn poll(&mut self, generator: &Generator) -> bool {
        self.polls += 1;
        if !self.shows || self.polls < POLLS_PER_LINE {
            return true;
        }
        let progress = generator.progress();
        let seconds = (POLL * POLLS_PER_LINE).as_secs_f64();
        let read = note(progress.line(self.sent, seconds));
        self.polls = 0;
        self.sent = progress.sent();
        read
    }
}

fn print(summary: &Summary, output: Output) -> anyhow::Result<()> {
    let sessions = &summary.sessions;
    let unfinished = sessions.planned.saturating_sub(sessions.finished);
    if unfinished > 0 {
        let planned = sessions.planned;
        note(format_args!("pollux: {unfinished} of {planned} sessions did not close in order"));
    }
    match output {
        Output::Text => print_line(summary)?,
        Output::Json => print_line(serde_json::to_string(summary)?)?,
    };
    Ok(())
}

fn plan(args: &SimulateArgs) -> anyhow::Result<Plan> {
    let remote = resolve(&args.addr)?;
    let server_name = args.server_name.clone().unwrap_or_else(|| server_name(&args.addr, remote));
    Ok(Plan {
        remote,
        server_name,
        devices: args.devices,
        sessions: args.sessions.unwrap_or_else(|| Plan::default_sessions(args.devices)),
        profile: args.profile,
        rate: args.rate_hz,
        t2_rate_hz: args.t2_rate_hz,
        t3_rate_hz: args.t3_rate_hz,
        count: args.count,
        duration: args.report.duration_s.map(Duration::from_secs),
        sampling: args.sampling,
        batch: args.batch,
        frames_per_packet: args.frames_per_packet,
        linger: Duration::from_micros(args.linger_us),
        mtu_bytes: args.mtu,
        stock_congestion: args.stock_congestion,
        seed: args.seed,
    })
}

fn tls(args: &SimulateArgs) -> anyhow::Result<LoadTls> {
    let roots = netloop::certificates_from_pem_file(&args.ca)?;
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some(ClientIdentity::from_pem_files(cert, key)?),
        _ => None,
    };
    Ok(LoadTls { roots, identity })
}

fn resolve(addr: &str) -> anyhow::Result<SocketAddr> {
    let found = addr.to_socket_addrs();
    let mut found = found.with_context(|| format!("--addr {addr}: the name does not resolve"))?;
    match found.next() {
        Some(remote) => Ok(remote),
        None => bail!("--addr {addr}: the name has no address"),
    }
}

/// The host of the address; development certificates know this machine as localhost.
fn server_name(addr: &str, remote: SocketAddr) -> String {
    if remote.ip().is_loopback() {
        return "localhost".to_owned();
    }
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.trim_matches(['[', ']']).to_owned()
}

fn usage() -> Usage {
    let (cpu_user_ns, cpu_system_ns) = netloop::process_cpu();
    Usage { rss_bytes: netloop::rss_bytes().unwrap_or_default(), cpu_user_ns, cpu_system_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_fails_where_each_of_its_sessions_was_lost() {
        let lost_all =
            |opened, finished| has_lost_all(&Sessions { opened, finished, ..Sessions::default() });
        assert!(lost_all(20, 0));
        assert!(!lost_all(20, 1) && !lost_all(20, 20) && !lost_all(0, 0));
    }

    #[test]
    fn the_server_name_is_the_host_unless_it_is_this_machine() {
        let name = |addr: &str, remote: &str| server_name(addr, remote.parse().unwrap());
        assert_eq!(name("127.0.0.1:4433", "127.0.0.1:4433"), "localhost");
        assert_eq!(name("twin.local:4433", "192.168.1.20:4433"), "twin.local");
        assert_eq!(name("[fe80::7]:4433", "[fe80::7]:4433"), "fe80::7");
    }
}
