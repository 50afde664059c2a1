//! The arguments of `simulate`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::{ReportArgs, host_port};

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
  pollux simulate --addr 127.0.0.1:4433 --ca certs/ca.pem \\
      --cert certs/gateway-plant.pem --key certs/gateway-plant.key
  pollux simulate --addr twin.local:4433 --ca ca.pem --cert plant.pem --key plant.key \\
      --devices 1000 --duration-s 60
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
    /// Sends as most other QUIC clients do: ten packets before the first answer, and less after each loss, down to two.
    #[arg(long)]
    pub stock_congestion: bool,
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
