//! The command line: what a run may vary, with the value that a careful user would settle on as its
//! default.
//!
//! Everything else about the peer is fixed in code, next to the reason for it. Nothing is read from
//! the environment.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, ValueEnum, value_parser};

/// The ordinary build of the twin: quinn, tokio, bounded channels and bevy_ecs.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Args {
    /// UDP address to listen on; port 0 lets the system choose, and `listening ADDR` on stdout says
    /// which.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) addr: SocketAddr,

    /// Certificate chain of the server, PEM.
    #[arg(long)]
    pub(crate) cert: PathBuf,

    /// Private key of the server, PEM.
    #[arg(long)]
    pub(crate) key: PathBuf,

    /// Ticks a second.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) tick_hz: u32,

    /// Stop after this many seconds; without it, at SIGINT or SIGTERM.
    #[arg(long)]
    pub(crate) duration_s: Option<u64>,

    /// What one item of the T1 channel holds.
    #[arg(long, value_enum, default_value_t = Channel::Datagrams)]
    pub(crate) channel: Channel,

    /// Items that the T1 channel holds; the default is the prototype's.
    #[arg(long, default_value_t = 1_024, value_parser = value_parser!(u32).range(1..))]
    pub(crate) t1_items: u32,

    /// Records that one tick applies at most, so that an overload cannot keep it from ending. A T1
    /// datagram is applied whole, so a tick may exceed the limit by less than one datagram. The
    /// default is more than a full T1 channel of full datagrams: smaller limits make ticks shorter
    /// under overload, and cost up to half of the records applied.
    #[arg(long, default_value_t = 65_536, value_parser = value_parser!(u32).range(1..))]
    pub(crate) drain_max: u32,

    /// UDP receive buffer to ask the kernel for, in bytes.
    #[arg(long, default_value_t = 4 << 20)]
    pub(crate) rcvbuf_bytes: usize,

    /// Write `summary.json` into this directory, which is created if it is missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,

    /// Form of the summary on stdout.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// What one item of the T1 channel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Channel {
    /// One record: the first version that everybody writes.
    Records,
    /// All records of one datagram in a `Vec`: the second version, after a look at the profile.
    Datagrams,
}

impl Channel {
    /// The name of the choice, as it is typed and as the summary repeats it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Datagrams => "datagrams",
        }
    }
}

/// Form of the summary on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A few lines for a reader.
    Text,
    /// The JSON document that `--report` writes.
    Json,
}
