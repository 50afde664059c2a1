//! `pollux demo`: the whole system in one process, over real QUIC on loopback.
//!
//! Certificates are made in memory, for both sides. A fleet of industrial devices streams; a rule of the twin cools each device whose
//! temperature passes the threshold; the device acknowledges, and its temperature falls.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use netloop::{ClientAuth, ClientIdentity, Clock, ServerTls, Tokens, Trust};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::args::{
    Batch, DemoArgs, DemoPlant, EXIT_FAILED, FramesPerPacket, Output, Profile, Rate, Sampling,
};
use crate::certs::{self, DevPair};
use crate::cold::Ended;
use crate::config::{Config, Effective, Layers};
use crate::credentials::Credentials;
use crate::http::Surface;
use crate::runtime::Twin;
use crate::say::{note, print_line};
use crate::simulate::{Generator, LoadTls, Plan};
use crate::stats::Direction;

/// Each sensor of the demo reports so often, where no plant is named.
const RATE_HZ: f64 = 20.0;
/// Each sensor also sends an event so often.
const EVENT_RATE_HZ: f64 = 0.2;
/// Each sensor's device also asks the twin for a value so often.
const READ_RATE_HZ: f64 = 0.05;
/// The rule of the demo: above this temperature, in degrees Celsius, the device is cooled to the setpoint.
const COOL_ABOVE_C: f64 = 72.0;
const COOL_TO_C: f64 = 60.0;
/// Reproduces the fleets; each has its own, counted from here.
const SEED: u64 = 1;

/// Runs until a signal, the end of `--duration-s`, or until nobody reads its line of each second.
///
/// # Errors
/// A certificate cannot be made, no socket can be bound, or a thread dies.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let now_s = Clock::new().now().unix_ns / 1_000_000_000;
    let dev = certs::development(now_s)?;
    let authorities = [CertificateDer::from(dev.ca_der)];
    let trust = Trust::new(ClientAuth::Required, &authorities, &[], Tokens::default())?;
    let (chain, key) = pair(dev.server);
    let config = config(args)?;
    let browsers = config.admits_browsers().then(|| certs::browser_pair(now_s)).transpose()?;
    let tls = ServerTls::from_der(chain, key);
    let credentials = Credentials::new(tls, trust, &authorities, browsers)?;
    let (chain, key) = pair(dev.gateway);
    let mut twin = Twin::start(&config, &credentials, None)?;
    let groups = groups(args);
    for group in &groups {
        let Group { devices, rate_hz, .. } = group;
        let quic = twin.quic_addr();
        note(format_args!("twin on {quic}, {devices} devices of five sensors at {rate_hz} Hz"));
    }
    if let Some(addr) = twin.http_addr() {
        note(format_args!("dashboard on http://{addr}/, metrics on http://{addr}/metrics"));
    }
    let mut fleets = Vec::new();
    for (seed, group) in (SEED..).zip(&groups) {
        let plan = plan(&twin, group, seed, config.net.mtu_bytes);
        let identity = Some(ClientIdentity::from_der(chain.clone(), key.clone_key()));
        let tls = LoadTls { roots: authorities.to_vec(), identity };
        fleets.push(Generator::start(plan, tls, None)?);
    }
    let mut line = Line { applied: 0 };
    let limit = args.duration_s.map(Duration::from_secs);
    let ended = twin.run(limit, &mut |surface| match line.show(surface) {
        Ok(true) => ControlFlow::Continue(()),
        // Why it cannot be printed is said at the end, where the account meets the same.
        Ok(false) | Err(_) => ControlFlow::Break(()),
    })?;
    twin.note_full();
    // The devices leave in order, so that the account of what they offered is exact.
    fleets.iter().for_each(Generator::stop);
    for mut fleet in fleets {
        while !fleet.wait(Duration::from_millis(50))? {}
        fleet.finish(crate::runtime::usage)?;
    }
    let (summary, closed) = twin.finish();
    crate::cmd::serve::print(&summary, Output::Text)?;
    closed?;
    Ok(if ended == Ended::Stopped { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

fn pair(dev: DevPair) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = dev.chain_der.into_iter().map(CertificateDer::from).collect();
    (chain, PrivatePkcs8KeyDer::from(dev.key_der).into())
}

/// The defaults on free ports of loopback, with the rule of the demo.
fn config(args: &DemoArgs) -> anyhow::Result<Config> {
    let http = format!("http.addr={}", args.http);
    let keep = ["net.addr=127.0.0.1:0", &http, "net.max_sessions=4096"];
    let mut layers = Layers::of_process(None, keep.map(str::to_owned).to_vec());
    let effective = Effective::load(&layers)?;
    if !effective.config().automation.rules.is_empty() {
        return Ok(effective.config().clone());
    }
    layers.set.push(format!(
        "automation.rules=[{{ sensor_type = \"temperature\", above = {COOL_ABOVE_C:?}, setpoint = {COOL_TO_C:?} }}]"
    ));
    Ok(Effective::load(&layers)?.config().clone())
}

/// Devices that report alike.
#[derive(Debug, Clone, Copy)]
struct Group {
    devices: u32,
    /// Each sensor reports so often.
    rate_hz: f64,
    /// Each sensor also sends an event so often.
    event_rate_hz: f64,
}

/// The devices of the plant that was asked for.
fn groups(args: &DemoArgs) -> Vec<Group> {
    let group = |devices, rate_hz, event_rate_hz| Group { devices, rate_hz, event_rate_hz };
    match args.plant {
        None => vec![group(args.devices, RATE_HZ, EVENT_RATE_HZ)],
        Some(DemoPlant::Factory) => vec![group(50, 100.0, 0.2), group(100, 10.0, 0.2)],
        Some(DemoPlant::Warehouse) => vec![group(100, 20.0, 2.0)],
        Some(DemoPlant::Building) => vec![group(200, 1.0, 0.0)],
    }
}

fn plan(twin: &Twin, group: &Group, seed: u64, mtu_bytes: u16) -> Plan {
    let Group { devices, rate_hz, event_rate_hz } = *group;
    Plan {
        remote: twin.quic_addr(),
        server_name: "localhost".to_owned(),
        devices,
        sessions: Plan::default_sessions(devices),
        profile: Profile::Industrial,
        rate: Rate::Hz(rate_hz),
        t2_rate_hz: event_rate_hz,
        t3_rate_hz: READ_RATE_HZ,
        count: None,
        duration: None,
        sampling: Sampling::Cyclic,
        batch: Batch::Auto,
        frames_per_packet: FramesPerPacket::Auto,
        stock_congestion: false,
        linger: Duration::ZERO,
        mtu_bytes,
        seed,
    }
}

/// The line of each second.
struct Line {
    applied: u64,
}

impl Line {
    /// Prints it. True while somebody reads.
    fn show(&mut self, surface: &Surface) -> std::io::Result<bool> {
        let stats = surface.stats();
        let tiers = [0, 1, 2].map(|tier| stats.tiers[tier].totals());
        let applied: u64 = tiers.iter().map(|tier| tier.applied).sum();
        let (shed, lost) = (tiers[0].shed, tiers[0].lost);
        let temperature = &stats.aggregates[wire::SensorType::Temperature.index()];
        let commands = stats.commands(Direction::ToDevice).acknowledged.value();
        print_line(format_args!(
            "{:5} sessions {:8} entities {:9} records/s  tick {:6.1} Hz  overruns {:4}  missed {:4}  shed {shed}  lost {lost}  \
             temperature {:5.2} C mean {:5.2} max  setpoints {commands}",
            stats.worker().sessions_open(),
            stats.tick.entities.value(),
            applied - std::mem::replace(&mut self.applied, applied),
            stats.tick.rate_hz.value(),
            stats.tick.overruns.value(),
            stats.tick.missed.value(),
            temperature.mean.value(),
            temperature.max.value(),
        ))
    }
}
