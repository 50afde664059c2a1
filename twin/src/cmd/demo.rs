//! `pollux demo`: the whole system in one process, over real QUIC on loopback.
//!
//! Certificates are made in memory. A fleet of industrial devices streams; a rule of the twin cools each device whose
//! temperature passes the threshold; the device acknowledges, and its temperature falls.

use std::process::ExitCode;
use std::time::Duration;

use netloop::{Clock, ServerTls};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::args::{Batch, DemoArgs, EXIT_FAILED, FramesPerPacket, Output, Profile, Rate};
use crate::certs;
use crate::cold::Ended;
use crate::config::{Effective, Layers};
use crate::http::Surface;
use crate::runtime::Twin;
use crate::simulate::{Generator, Plan};
use crate::stats::Direction;

/// Each sensor of the demo reports so often.
const RATE_HZ: f64 = 20.0;
/// Each sensor also sends an event so often.
const EVENT_RATE_HZ: f64 = 0.2;
/// Each sensor's device also asks the twin for a value so often.
const READ_RATE_HZ: f64 = 0.05;
/// The rule of the demo: above this temperature, in degrees Celsius, the device is cooled to the setpoint.
const COOL_ABOVE_C: f64 = 72.0;
const COOL_TO_C: f64 = 60.0;
/// Reproduces the fleet.
const SEED: u64 = 1;

/// Runs until a signal or the end of `--duration-s`, with one line a second.
///
/// # Errors
/// A certificate cannot be made, no socket can be bound, or a thread dies.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let dev = certs::development(Clock::new().now().unix_ns / 1_000_000_000)?;
    let chain = dev.chain_der.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(dev.key_der));
    let effective = config()?;
    let config = effective.config();
    let mut twin = Twin::start(&effective, ServerTls::from_der(chain, key), None)?;
    eprintln!("twin on {}, {} devices of five sensors", twin.quic_addr(), args.devices);
    if let Some(addr) = twin.http_addr() {
        eprintln!("metrics on http://{addr}/metrics");
    }
    let roots = vec![CertificateDer::from(dev.ca_der)];
    let plan = plan(&twin, args.devices);
    let mut fleet = Generator::start(plan, roots, config.net.mtu_bytes, None)?;
    let mut line = Line { applied: 0 };
    let limit = args.duration_s.map(Duration::from_secs);
    let ended = twin.run(limit, &mut |surface| line.show(surface))?;
    // The devices leave in order, so that the account of what they offered is exact.
    fleet.stop();
    while !fleet.wait(Duration::from_millis(50))? {}
    fleet.finish(crate::runtime::usage)?;
    crate::cmd::serve::print(&twin.finish()?, Output::Text)?;
    Ok(if ended == Ended::Stopped { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS })
}

/// The defaults on free ports of loopback, with the rule of the demo.
fn config() -> anyhow::Result<Effective> {
    let keep = ["net.addr=127.0.0.1:0", "http.addr=127.0.0.1:0", "net.max_sessions=4096"];
    let mut layers = Layers::of_process(None, keep.map(str::to_owned).to_vec());
    let effective = Effective::load(&layers)?;
    if !effective.config().automation.rules.is_empty() {
        return Ok(effective);
    }
    layers.set.push(format!(
        "automation.rules=[{{ sensor_type = \"temperature\", above = {COOL_ABOVE_C:?}, setpoint = {COOL_TO_C:?} }}]"
    ));
    Ok(Effective::load(&layers)?)
}

fn plan(twin: &Twin, devices: u32) -> Plan {
    Plan {
        remote: twin.quic_addr(),
        server_name: "localhost".to_owned(),
        devices,
        sessions: Plan::default_sessions(devices),
        profile: Profile::Industrial,
        rate: Rate::Hz(RATE_HZ),
        t2_rate_hz: EVENT_RATE_HZ,
        t3_rate_hz: READ_RATE_HZ,
        count: None,
        duration: None,
        batch: Batch::Auto,
        frames_per_packet: FramesPerPacket::Auto,
        linger: Duration::ZERO,
        seed: SEED,
    }
}

/// The line of each second.
struct Line {
    applied: u64,
}

impl Line {
    #[expect(clippy::print_stdout, reason = "the live line is what the demo is for")]
    fn show(&mut self, surface: &Surface) {
        let stats = surface.stats();
        let tiers = [0, 1, 2].map(|tier| stats.tiers[tier].totals());
        let applied: u64 = tiers.iter().map(|tier| tier.applied).sum();
        let (shed, lost) = (tiers[0].shed, tiers[0].lost);
        let temperature = &stats.aggregates[wire::SensorType::Temperature.index()];
        let commands = stats.commands(Direction::ToDevice).acknowledged.value();
        println!(
            "{:5} sessions {:8} entities {:9} records/s  tick {:6.1} Hz  overruns {:4}  shed {shed}  lost {lost}  \
             temperature {:5.2} C mean {:5.2} max  setpoints {commands}",
            stats.worker().sessions_open(),
            stats.tick.entities.value(),
            applied - std::mem::replace(&mut self.applied, applied),
            stats.tick.rate_hz.value(),
            stats.tick.overruns.value(),
            temperature.mean.value(),
            temperature.max.value(),
        );
    }
}
