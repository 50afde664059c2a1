//! The command line, and what it means to Zenoh.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand, ValueEnum};
use transports::args::Shape;
use zenoh::Wait;

/// The whole command line.
#[derive(Debug, Parser)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Receive, and apply to the world.
    Serve(ServeArgs),
    /// Offer a load.
    Load(LoadArgs),
}

/// How Zenoh carries samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Link {
    /// TCP in plain text, reliable.
    Tcp,
    /// UDP in plain text, best effort.
    Udp,
    /// QUIC streams, reliable.
    Quic,
    /// QUIC with mixed reliability: best effort in DATAGRAM frames.
    Quicmix,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Way {
    /// The link.
    #[arg(long, value_enum)]
    pub(crate) link: Link,
    /// The receiver, with a name that its certificate has where the link is QUIC.
    #[arg(long)]
    pub(crate) addr: String,
    /// Folder of `pollux certs init`; QUIC only.
    #[arg(long, default_value = "certs")]
    pub(crate) certs: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) way: Way,
    /// Ticks a second.
    #[arg(long, default_value_t = 1000)]
    pub(crate) tick_hz: u32,
    /// Takes the place on the host of any process, and not the one that `pollux serve` asks for.
    #[arg(long)]
    pub(crate) unplaced: bool,
    /// Writes histograms and summary.json into this folder.
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
    /// Ends by itself after this many seconds.
    #[arg(long)]
    pub(crate) duration_s: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) way: Way,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

impl Way {
    pub(crate) fn open(&self, side: &str) -> anyhow::Result<zenoh::Session> {
        let locator = match self.link {
            Link::Tcp => format!("tcp/{}", self.addr),
            Link::Udp => format!("udp/{}", self.addr),
            Link::Quic => format!("quic/{}", self.addr),
            Link::Quicmix => format!("quic/{}?mixed_rel=1", self.addr),
        };
        let file = |name: &str| serde_json::json!(self.certs.join(name)).to_string();
        let mut config = zenoh::Config::default();
        let settings = [
            ("mode", "\"peer\"".to_owned()),
            ("scouting/multicast/enabled", "false".to_owned()),
            ("scouting/gossip/enabled", "false".to_owned()),
            ("transport/link/rx/buffer_size", (1 << 20).to_string()),
            ("transport/link/tls/root_ca_certificate", file("ca.pem")),
            ("transport/link/tls/listen_certificate", file("server.pem")),
            ("transport/link/tls/listen_private_key", file("server.key")),
            (side, serde_json::json!([locator]).to_string()),
        ];
        for (key, value) in settings {
            config.insert_json5(key, &value).map_err(|error| anyhow!("{key}: {error}"))?;
        }
        zenoh::open(config).wait().map_err(|error| anyhow!("{locator}: {error}"))
    }

    pub(crate) fn is_reliable(&self) -> bool {
        matches!(self.link, Link::Tcp | Link::Quic)
    }
}
