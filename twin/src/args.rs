//! The command line.
//!
//! Codes: 0 done, 1 failed, 2 wrong usage, 3 a stated goal was not met, 69 no twin answers, 78 wrong configuration. A reader
//! that leaves changes none of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;
use wire::SensorType;

use crate::client::{Client, ClientError};
use crate::config::{Layers, variable};
use crate::http::LEVELS;

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
Results go to stdout, everything else to stderr. A reader that leaves, such as head, ends a command in
order and changes no code.";

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

/// Which sensor of a session reports next on T1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sampling {
    /// Each in its turn, the same in every round.
    #[default]
    Cyclic,
    /// One drawn for each record, as behind a gateway that reports changes.
    Random,
}

/// Arguments of `simulate`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Rates are per sensor. The generator is open-loop: every record carries the time at which it was due.

Examples:
  pollux simulate --addr 127.0.0.1:4433 --ca certs/ca.pem --cert certs/gateway-plant.pem --key certs/gateway-plant.key
  pollux simulate --addr twin.local:4433 --ca ca.pem --cert plant.pem --key plant.key --devices 1000 --duration-s 60
  pollux simulate --addr 127.0.0.1:4433 --ca certs/ca.pem --sessions 1 --rate-hz max --batch 36

The last one needs a twin with tls.client_auth = off.")]
pub struct SimulateArgs {
    /// The twin.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub addr: String,
    /// The authority that signed the twin's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// The certificate of the gateway that the devices are behind (PEM): what the twin asks for.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The private key of --cert (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
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
    /// Which sensor of a session reports next on T1.
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    pub sampling: Sampling,
    /// Records in a DATAGRAM frame, or auto.
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub batch: Batch,
    /// DATAGRAM frames in a packet.
    #[arg(long, value_enum, value_name = "1|auto", default_value_t)]
    pub frames_per_packet: FramesPerPacket,
    /// How long a record may wait for company, in microseconds.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub linger_us: u64,
    /// Largest UDP payload to search the path for, in bytes. Beyond Ethernet's, a load without a rate begins a second later.
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

fn hz(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(hz) if (0.0..=1e7).contains(&hz) => Ok(hz),
        _ => Err("must be a number from 0 to 10000000".to_owned()),
    }
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
Keys: Tab and 1 to 4 change the page, p pauses, ? shows the keys, q ends. It reads and commands nothing.

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
    /// Give certificates to devices and gateways.
    Enroll(CertsEnrollArgs),
    /// Replace keys and certificates by new ones for the same names.
    Rotate(CertsRotateArgs),
    /// Revoke every certificate of a device or gateway.
    Revoke(CertsRevokeArgs),
    /// Show certificates: names, validity, and whether they are revoked.
    Show(CertsShowArgs),
    /// Make a token for a device without a certificate.
    Token(CertsTokenArgs),
}

/// Arguments of `certs init`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Writes ca.pem, ca.key, crl.pem, server.pem, server.key, and device-UUID.pem and .key or gateway-NAME.pem and
.key; keys are readable by their owner only. ECDSA P-256; ten years for the authority, 825 days for all others.

Examples:
  pollux certs init
  pollux certs init --gateway plant
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
    /// A gateway that gets a certificate for every device.
    #[arg(long, value_name = "NAME")]
    pub gateway: Vec<String>,
    /// Replaces an authority that is there, and what it signed.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `certs enroll`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  pollux certs enroll --device 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10
  pollux certs enroll --gateway hall-3 --prefix 6f0e --behind 7a1e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10
  pollux certs enroll --gateway plant --all")]
pub struct CertsEnrollArgs {
    /// The folder of the authority.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub dir: PathBuf,
    /// A device that gets a certificate.
    #[arg(long, value_name = "UUID", required_unless_present = "gateway")]
    pub device: Vec<Uuid>,
    /// A gateway that gets a certificate.
    #[arg(long, value_name = "NAME", requires = "grant")]
    pub gateway: Option<String>,
    /// A device behind the gateway.
    #[arg(long, value_name = "UUID", group = "grant", requires = "gateway")]
    pub behind: Vec<Uuid>,
    /// First hexadecimal digits of the UUIDs of devices behind the gateway.
    #[arg(long, value_name = "HEX", group = "grant", requires = "gateway")]
    pub prefix: Vec<String>,
    /// Every device is behind the gateway.
    #[arg(long, group = "grant", requires = "gateway", conflicts_with_all = ["behind", "prefix"])]
    pub all: bool,
}

/// Whose certificates a command is about.
#[derive(Clone, Debug, Default, Args)]
pub struct HolderArgs {
    /// The folder of the authority.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub dir: PathBuf,
    /// A device.
    #[arg(long, value_name = "UUID", group = "holder")]
    pub device: Vec<Uuid>,
    /// A gateway.
    #[arg(long, value_name = "NAME", group = "holder")]
    pub gateway: Vec<String>,
}

/// Arguments of `certs rotate`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("holder").required(true).multiple(true), after_help = "\
A running twin takes its new certificate within a second. The old ones stay valid until they run out, unless --revoke.

Examples:
  pollux certs rotate --server
  pollux certs rotate --gateway plant --revoke")]
pub struct CertsRotateArgs {
    /// Whose.
    #[command(flatten)]
    pub holders: HolderArgs,
    /// The twin.
    #[arg(long, group = "holder")]
    pub server: bool,
    /// Revokes the certificates that are replaced.
    #[arg(long)]
    pub revoke: bool,
}

/// Arguments of `certs revoke`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("holder").required(true).multiple(true), after_help = "\
A running twin that reads crl.pem closes their sessions within a second.

Examples:
  pollux certs revoke --device 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10
  pollux certs revoke --serial 3fa2c8d91b")]
pub struct CertsRevokeArgs {
    /// Whose.
    #[command(flatten)]
    pub holders: HolderArgs,
    /// The serial number of one certificate, as `show` prints it.
    #[arg(long, value_name = "HEX", group = "holder")]
    pub serial: Vec<String>,
}

/// Arguments of `certs show`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Held against the ca.pem and crl.pem that lie beside a certificate, or in the folder above it.

Examples:
  pollux certs show
  pollux certs show certs/server.pem -o json")]
pub struct CertsShowArgs {
    /// Certificates (PEM), or folders of them.
    #[arg(value_name = "PATH", default_value = "certs")]
    pub paths: Vec<PathBuf>,
    /// Form of the result.
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t)]
    pub output: Output,
}

/// Arguments of `certs token`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The token is printed once; the list holds its SHA-256. A new token takes the place of the device's old one.

Examples:
  pollux certs token --device 6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10 --tokens certs/tokens")]
pub struct CertsTokenArgs {
    /// The device.
    #[arg(long, value_name = "UUID")]
    pub device: Uuid,
    /// The list, which `tls.tokens` of the twin names; created if it is not there.
    #[arg(long, value_name = "FILE")]
    pub tokens: PathBuf,
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
