//! The command line, the same for every transport.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(about = "The records of Pollux over other transports, into the same world.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The two ends.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive, and apply to the world.
    Serve(ServeArgs),
    /// Offer a load.
    Load(LoadArgs),
}

/// How records are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Payloads with a length before each, in plain text.
    Tcp,
    /// The same over TLS 1.3, AES-128-GCM.
    Tls,
    /// MQTT 3.1.1 through a broker, QoS 0, in plain text.
    Mqtt0,
    /// The same, QoS 1.
    Mqtt1,
    /// MQTT 3.1.1 through a broker, QoS 0, both ways over TLS 1.3, AES-128-GCM.
    Mqtts0,
    /// The same, QoS 1.
    Mqtts1,
    /// NATS core through its server, in plain text.
    Nats,
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// How.
    #[arg(long, value_enum)]
    pub transport: Transport,
    /// Where to listen, or where the broker is.
    #[arg(long)]
    pub addr: SocketAddr,
    /// Certificate chain of the receiver, PEM; TLS over TCP only.
    #[arg(long, default_value = "certs/server.pem")]
    pub cert: PathBuf,
    /// Its key, PEM; TLS over TCP only.
    #[arg(long, default_value = "certs/server.key")]
    pub key: PathBuf,
    /// The authority of the broker's certificate, PEM; MQTT over TLS only.
    #[arg(long, default_value = "certs/ca.pem")]
    pub ca: PathBuf,
    /// Ticks a second.
    #[arg(long, default_value_t = 1000)]
    pub tick_hz: u32,
    /// Takes the place on the host of any process, and not the one that `pollux serve` asks for.
    #[arg(long)]
    pub unplaced: bool,
    /// Writes histograms and summary.json into this folder.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Ends by itself after this many seconds.
    #[arg(long)]
    pub duration_s: Option<u64>,
}

/// Arguments of `load`.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// How.
    #[arg(long, value_enum)]
    pub transport: Transport,
    /// The receiver, or the broker.
    #[arg(long)]
    pub addr: SocketAddr,
    /// The authority of the receiver's or the broker's certificate, PEM; TLS only.
    #[arg(long, default_value = "certs/ca.pem")]
    pub ca: PathBuf,
    /// What is offered.
    #[command(flatten)]
    pub shape: Shape,
}

/// A load, whatever carries it.
#[derive(Clone, Debug, Args)]
pub struct Shape {
    /// Sensors, five to a device.
    #[arg(long, default_value_t = 10_000)]
    pub sensors: u32,
    /// Records a second over all sensors; without it, as fast as the transport takes them.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Records in a message at most: what is due is sent, nothing waits for company.
    #[arg(long, default_value_t = 36)]
    pub batch: usize,
    /// How long.
    #[arg(long, default_value_t = 5)]
    pub duration_s: u64,
    /// Writes summary.json into this folder.
    #[arg(long)]
    pub report: Option<PathBuf>,
}
