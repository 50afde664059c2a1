//! The command line.
//!
//! Codes: 0 done, 1 failed, 2 wrong usage, 3 a stated goal was not met, 69 no twin answers, 78 wrong configuration. A reader
//! that leaves changes none of them.

mod certs;
mod simulate;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use uuid::Uuid;
use wire::SensorType;

use crate::client::{Client, ClientError};
use crate::config::{Layers, variable};
use crate::http::LEVELS;

pub use self::certs::{
    CertsArgs, CertsCommand, CertsEnrollArgs, CertsInitArgs, CertsRevokeArgs, CertsRotateArgs,
    CertsShowArgs, CertsTokenArgs, HolderArgs,
};
pub use self::simulate::{Batch, FramesPerPacket, Profile, Rate, Sampling, SimulateArgs};

/// Something failed; a line on stderr says what.
pub const EXIT_FAILED: u8 = 1;
/// The command line asks for nothing that can be done.
pub const EXIT_USAGE: u8 = 2;
/// A goal that the command line states was not met.
pub const EXIT_GOAL: u8 = 3;
/// The twin cannot be reached; `EX_UNAVAILABLE` of sysexits.
pub const EXIT_UNREACHABLE: u8 = 69;
/// The configuration is wrong; `EX_CONFIG` of sysexits, so that a supervisor does not try again.
pub const EXIT_CONFIG: u8 = 78;

const CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a stated goal was not met, 69 no twin answers,
78 wrong configuration.
Results go to stdout, everything else to stderr. A reader that leaves, such as head, ends a command
in order and changes no code.";

/// Columns of the help at most: longer lines are hard to read on any terminal.
const HELP_COLUMNS: usize = 100;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "pollux", version, max_term_width = HELP_COLUMNS, about = "Industrial digital twin: devices in over QUIC, a fixed-tick world inside.", after_help = CODES)]
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
    /// Ask a running twin, and command its plant.
    Ctl(CtlArgs),
    /// Watch a running twin in the terminal.
    Monitor(MonitorArgs),
    /// Make certificates for development.
    Certs(CertsArgs),
    /// Write, check or show the configuration.
    Config(ConfigArgs),
    /// Say whether this host is fit for a twin and for figures, and what to change.
    Doctor(DoctorArgs),
    /// Print what a shell needs to complete the arguments of this program.
    Completions(CompletionsArgs),
    /// Write the manual pages of this program and its commands.
    Manual(ManualArgs),
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct LayerArgs {
    /// A TOML file; `pollux config init` writes one.
    #[arg(long, value_name = "FILE", env = variable::CONFIG)]
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
  pollux inspect monday.capture --records > monday.csv
  pollux inspect monday.capture --records -o json | head")]
pub struct InspectArgs {
    /// The capture.
    pub file: PathBuf,
    /// Prints every record as a line instead: CSV, or with -o json an object each.
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
  pollux demo --plant factory --http 127.0.0.1:9100
  pollux demo --devices 1000 --duration-s 30")]
pub struct DemoArgs {
    /// Simulated devices, five sensors and an actuator each.
    #[arg(long, value_name = "N", default_value_t = 200, conflicts_with = "plant", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub devices: u32,
    /// A plant with rates of its own instead.
    #[arg(long, value_enum, value_name = "NAME")]
    pub plant: Option<DemoPlant>,
    /// Where the dashboard is served; port 0 takes any free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub http: SocketAddr,
    /// Ends by itself after this many seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration_s: Option<u64>,
}

/// Plants of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoPlant {
    /// 50 arms of five sensors at 100 Hz, and 500 sensors at 10 Hz.
    Factory,
    /// 100 vehicles of five sensors at 20 Hz, with events.
    Warehouse,
    /// 1,000 sensors at 1 Hz.
    Building,
}

/// A host and a port. A host with colons in it stands in brackets, so that its last part is not taken for a port.
fn host_port(text: &str) -> Result<String, String> {
    let named = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains([':', '[', ']']) && port.parse::<u16>().is_ok()
    });
    if named || text.parse::<SocketAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("must be HOST:PORT, such as twin:4433 or [::1]:4433".to_owned())
    }
}

/// A host and a port, also as people copy them from a browser: TLS is asked for by --ca and not by the scheme.
fn surface_addr(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let addr = bare.map_or(text, |bare| bare.trim_end_matches('/'));
    host_port(addr).map_err(|_| "must be HOST:PORT, such as 127.0.0.1:9100".to_owned())
}

/// Where a running twin is asked.
#[derive(Clone, Debug, Args)]
pub struct SurfaceArgs {
    /// The http.addr of the twin.
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9100",
        env = variable::ADDR,
        value_parser = surface_addr
    )]
    pub addr: String,
    /// File whose first line is the token of the twin.
    #[arg(long, global = true, value_name = "FILE", env = variable::TOKEN_FILE)]
    pub token_file: Option<PathBuf>,
    /// Asks over TLS: the authorities of the twin's http.cert, PEM.
    #[arg(long, global = true, value_name = "FILE", env = variable::CA)]
    pub ca: Option<PathBuf>,
    /// The certificate to show, where the twin has an http.client_ca, PEM.
    #[arg(long, global = true, value_name = "FILE", requires_all = ["ca", "key"])]
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, global = true, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

impl SurfaceArgs {
    /// A client that asks there.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn client(&self) -> Result<Client, ClientError> {
        let client = Client::new(&self.addr, self.token_file.as_deref())?;
        let identity = self.cert.as_deref().zip(self.key.as_deref());
        match &self.ca {
            None => Ok(client),
            Some(ca) => client.over_tls(ca, identity),
        }
    }
}

/// Form of a list on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// For people.
    #[default]
    Table,
    /// As the twin says it.
    Json,
    /// RFC 4180, with a head.
    Csv,
}

/// Arguments of `ctl`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  pollux ctl devices --sort-age --limit 5
  pollux ctl read 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10
  pollux ctl setpoint 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10 100 21.5
  pollux ctl stop && pollux ctl clear
  pollux ctl sensors --level high -o csv")]
pub struct CtlArgs {
    /// Where the twin is asked.
    #[command(flatten)]
    pub surface: SurfaceArgs,
    /// Form of what it says.
    #[arg(short, long, global = true, value_enum, value_name = "FORM", default_value_t)]
    pub output: Listing,
    /// What to do.
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// Subcommands of `ctl`.
#[derive(Clone, Debug, Subcommand)]
pub enum CtlCommand {
    /// Set an actuator, and wait for its device; code 1 unless it acknowledges.
    Setpoint {
        /// The device.
        device: Uuid,
        /// Which of its actuators.
        actuator: u16,
        /// The value, in the unit of the actuator.
        #[arg(allow_negative_numbers = true)]
        value: f64,
        /// What the actuator sets, if the twin does not know it yet.
        #[arg(long = "type", value_name = "TYPE", value_parser = SensorType::ALL.map(SensorType::name))]
        sensor_type: Option<String>,
    },
    /// The latest values of a device, or of one of its sensors.
    Read {
        /// The device.
        device: Uuid,
        /// Which of its sensors.
        sensor: Option<u16>,
    },
    /// Stop the plant; code 1 unless every session acknowledges. A command over a network, no safety function.
    Stop,
    /// Clear the stop.
    Clear,
    /// Devices.
    Devices {
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
        /// Those with the oldest value first.
        #[arg(long = "sort-age")]
        sort: bool,
    },
    /// Sensors.
    Sensors {
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
        /// normal, high or low.
        #[arg(long, value_name = "LEVEL", value_parser = LEVELS)]
        level: Option<String>,
        /// The latest value is at least so old, in milliseconds.
        #[arg(long, value_name = "MS")]
        min_age_ms: Option<u64>,
    },
    /// Sessions.
    Sessions {
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
    },
    /// Crossings of thresholds, the latest first.
    Crossings {
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
    },
    /// Commands of operators, the latest first.
    Commands {
        /// Which part of the list.
        #[command(flatten)]
        page: PageArgs,
    },
}

/// Which part of a list is shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct PageArgs {
    /// Items at most.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Items to pass over.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub after: u32,
}

impl PageArgs {
    /// As parameters of a request.
    #[must_use]
    pub fn query(&self) -> String {
        format!("limit={}&after={}", self.limit, self.after)
    }
}

/// Arguments of `monitor`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Keys: Tab and 1 to 4 change the page, p pauses, ? shows the keys, q ends. It reads and commands
nothing.

Examples:
  pollux monitor
  pollux monitor --addr 192.168.1.20:9100 --token-file token
  pollux monitor --once -o json")]
pub struct MonitorArgs {
    /// Where the twin is asked.
    #[command(flatten)]
    pub surface: SurfaceArgs,
    /// Looks once, prints what it sees, and ends.
    #[arg(long)]
    pub once: bool,
    /// Form of what --once prints.
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: Output,
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

/// Arguments of `doctor`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Nothing is changed. A required condition that is not met ends with code 3.

Examples:
  pollux doctor
  pollux doctor --config pollux.toml
  pollux doctor --set net.core=2 --set tick.core=3 -o json")]
pub struct DoctorArgs {
    /// Where the configuration comes from: it says which cores are hot and how large the buffers are.
    #[command(flatten)]
    pub layers: LayerArgs,
    /// Reads proc and sys below this folder instead of those of this machine.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Form of the verdict on stdout.
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: Output,
}

/// Arguments of `completions`.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "\
Examples:
  pollux completions bash > /usr/share/bash-completion/completions/pollux
  pollux completions zsh > /usr/local/share/zsh/site-functions/_pollux
  pollux completions fish > ~/.config/fish/completions/pollux.fish")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// Arguments of `manual`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Writes pollux.1 and a page for each command, such as pollux-serve.1, and replaces those that are
there.

Examples:
  pollux manual --dir /usr/local/share/man/man1 && man pollux-serve")]
pub struct ManualArgs {
    /// The folder, which is made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}
