//! The command line.
//!
//! Codes: 0 done, 1 failed, 2 wrong usage, 3 a stated goal was not met, 78 wrong configuration.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

use crate::config::Layers;

/// Something failed; a line on stderr says what.
pub const EXIT_FAILED: u8 = 1;
/// The command line asks for nothing that can be done.
pub const EXIT_USAGE: u8 = 2;
/// A goal that the command line states was not met.
pub const EXIT_GOAL: u8 = 3;
/// The configuration is wrong; `EX_CONFIG` of sysexits, so that a supervisor does not try again.
pub const EXIT_CONFIG: u8 = 78;

const CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a stated goal was not met, 78 wrong configuration.
Results go to stdout, everything else to stderr.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "pollux", version, about = "Industrial digital twin: devices in over QUIC, a fixed-tick world inside.", after_help = CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole system in one process, over real QUIC on loopback.
    Demo(DemoArgs),
    /// Serve a plant.
    Serve(ServeArgs),
    /// Make the world of a capture again, and compare every tick.
    Replay(ReplayArgs),
    /// Show what is in a capture.
    Inspect(InspectArgs),
    /// Offer the load of a plant to a twin.
    Simulate(SimulateArgs),
    /// Make certificates for development.
    Certs(CertsArgs),
    /// Write, check or show the configuration.
    Config(ConfigArgs),
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct LayerArgs {
    /// A TOML file; `pollux config init` writes one.
    #[arg(long, value_name = "FILE", env = "POLLUX_CONFIG")]
    pub config: Option<PathBuf>,
    /// Sets one key, above the file and above POLLUX_SECTION__KEY of the environment.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl LayerArgs {
    /// The layers of this command line and this process' environment.
    #[must_use]
    pub fn layers(self) -> Layers {
        Layers::of_process(self.config, self.set)
    }
}

/// Form of the result on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON object as the last line.
    Json,
}

/// What a run leaves behind.
#[derive(Clone, Debug, Default, Args)]
pub struct ReportArgs {
    /// Writes histograms (.hlog, .hgrm) and summary.json into this folder.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Ends by itself after this many seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration_s: Option<u64>,
    /// Form of the summary on stdout.
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: Output,
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Examples:
  pollux certs init && pollux serve
  pollux serve --config pollux.toml --set tick.hz=500
  pollux serve --set net.addr=127.0.0.1:0 --duration-s 60 --report report -o json")]
pub struct ServeArgs {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub layers: LayerArgs,
    /// What the run leaves behind.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Keeps everything that the tick thread consumes in this file, for `pollux replay`; as --set capture.file=FILE.
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
}

/// Arguments of `replay`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  pollux replay monday.capture
  pollux replay monday.capture --check -o json
  pollux replay monday.capture --until 120000 --speed 1")]
pub struct ReplayArgs {
    /// The capture.
    pub file: PathBuf,
    /// Ends after the tick of this number.
    #[arg(long, value_name = "TICK")]
    pub until: Option<u64>,
    /// How fast: as fast as it goes, or so many times the speed of the run.
    #[arg(long, value_name = "max|N", default_value = "max", value_parser = speed)]
    pub speed: Speed,
    /// Ends with code 3 unless the world is the same after every tick, to an orderly end.
    #[arg(long)]
    pub check: bool,
    /// Form of the result on stdout.
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: Output,
}

/// How fast a capture is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as it goes.
    Max,
    /// So many times the speed of the run.
    Times(f64),
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if (0.001..=1e6).contains(&times) => Ok(Speed::Times(times)),
        _ => Err("must be a number from 0.001 to 1000000, or max".to_owned()),
    }
}

/// Arguments of `inspect`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  pollux inspect monday.capture
  pollux inspect monday.capture --records > monday.csv")]
pub struct InspectArgs {
    /// The capture.
    pub file: PathBuf,
    /// Prints every record as a line of CSV instead.
    #[arg(long)]
    pub records: bool,
    /// Form of the result on stdout.
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: Output,
}

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  pollux demo
  pollux demo --devices 1000 --duration-s 30")]
pub struct DemoArgs {
    /// Simulated devices, five sensors and an actuator each.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub devices: u32,
    /// Ends by itself after this many seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration_s: Option<u64>,
}

/// Sensors of a simulated device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// One sensor.
    Single,
    /// Temperature, humidity, pressure, voltage and current, and an actuator.
    #[default]
    Industrial,
}

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Times per second.
    Hz(f64),
    /// As often as the other end takes it.
    Max,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(hz) if (0.0..=1e7).contains(&hz) => Ok(Self::Hz(hz)),
            _ => Err("must be a number from 0 to 10000000, or max".to_owned()),
        }
    }
}

/// Records that share a DATAGRAM frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// The client packs what is there.
    Auto,
    /// So many.
    Records(u16),
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            // 1,680 records are 65,520 bytes, the largest UDP payload.
            Ok(records @ 1..=1680) => Ok(Self::Records(records)),
            _ => Err("must be a number of records from 1 to 1680, or auto".to_owned()),
        }
    }
}

/// DATAGRAM frames that share a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FramesPerPacket {
    /// As many as fit.
    #[default]
    Auto,
    /// One.
    #[value(name = "1")]
    One,
}

/// Arguments of `simulate`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Rates are per sensor. The generator is open-loop: every record carries the time at which it was due.

Examples:
  pollux simulate --addr 127.0.0.1:4433 --ca certs/ca.pem
  pollux simulate --addr twin.local:4433 --ca ca.pem --devices 1000 --rate-hz 20 --duration-s 60
  pollux simulate --addr 127.0.0.1:4433 --ca certs/ca.pem --sessions 1 --rate-hz max --batch 36")]
pub struct SimulateArgs {
    /// The twin.
    #[arg(long, value_name = "HOST:PORT")]
    pub addr: String,
    /// The authority that signed the twin's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// Devices.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub devices: u32,
    /// QUIC sessions that carry them; one each up to 1000, then shared.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sessions: Option<u32>,
    /// Sensors of each device.
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    pub profile: Profile,
    /// T1 records per sensor and second, or max.
    #[arg(long, value_name = "F|max", default_value = "20")]
    pub rate_hz: Rate,
    /// T2 records per sensor and second.
    #[arg(long, value_name = "F", default_value_t = 0.0, value_parser = hz)]
    pub t2_rate_hz: f64,
    /// T3 commands per sensor and second.
    #[arg(long, value_name = "F", default_value_t = 0.0, value_parser = hz)]
    pub t3_rate_hz: f64,
    /// Ends after so many records on all tiers together.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Records in a DATAGRAM frame, or auto.
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub batch: Batch,
    /// DATAGRAM frames in a packet.
    #[arg(long, value_enum, value_name = "1|auto", default_value_t)]
    pub frames_per_packet: FramesPerPacket,
    /// How long a record may wait for company, in microseconds.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub linger_us: u64,
    /// Largest UDP payload to search the path for, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1452, value_parser = clap::value_parser!(u16).range(1200..=65_527))]
    pub mtu: u16,
    /// The name in the twin's certificate; without it the host of --addr, or localhost for this machine.
    #[arg(long, value_name = "HOST")]
    pub server_name: Option<String>,
    /// Prints a line each second also when stderr is no terminal.
    #[arg(short, long)]
    pub verbose: bool,
    /// Reproduces devices and waveforms.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// What the run leaves behind.
    #[command(flatten)]
    pub report: ReportArgs,
}

fn hz(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(hz) if (0.0..=1e7).contains(&hz) => Ok(hz),
        _ => Err("must be a number from 0 to 10000000".to_owned()),
    }
}

/// Arguments of `certs`.
#[derive(Clone, Debug, Args)]
pub struct CertsArgs {
    /// What to make.
    #[command(subcommand)]
    pub command: CertsCommand,
}

/// Subcommands of `certs`.
#[derive(Clone, Debug, Subcommand)]
pub enum CertsCommand {
    /// Make an authority, a server and devices; or add devices to an authority that is there.
    Init(CertsInitArgs),
}

/// Arguments of `certs init`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Writes ca.pem, ca.key, server.pem, server.key and device-UUID.pem and .key; keys are readable by
their owner only. ECDSA P-256; ten years for the authority, 825 days for all others.

Examples:
  pollux certs init
  pollux certs init --name twin.local --name 192.168.1.20
  pollux certs init --device 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10")]
pub struct CertsInitArgs {
    /// The folder.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub dir: PathBuf,
    /// A name or address of the server, beside localhost, 127.0.0.1 and ::1.
    #[arg(long, value_name = "HOST")]
    pub name: Vec<String>,
    /// A device that gets a certificate.
    #[arg(long, value_name = "UUID")]
    pub device: Vec<Uuid>,
    /// Replaces an authority that is there, and what it signed.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `config`.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// Subcommands of `config`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write a commented file: to --config FILE, which must not exist yet, or to stdout.
    #[command(after_help = "\
Examples:
  pollux config init > pollux.toml
  pollux config init --config pollux.toml --set tick.hz=500")]
    Init(LayerArgs),
    /// Check all layers and say what is wrong, each with its place; code 78 if anything is.
    #[command(after_help = "\
Examples:
  pollux config check --config pollux.toml
  POLLUX_NET__ADDR=0.0.0.0:5000 pollux config check")]
    Check(LayerArgs),
    /// Print the value in force of every key, and where it came from.
    #[command(after_help = "\
Examples:
  pollux config show --config pollux.toml
  pollux config show --set net.addr=127.0.0.1:0")]
    Show(LayerArgs),
}
