//! `zenoh-peer`: the records of Pollux over Zenoh, into the same world.
//!
//! Two peers, an explicit endpoint, no scouting, Zenoh's own batching on; what its reference calls reliable is `Reliable`
//! with `Block`, the other form is `BestEffort` with `Drop`. The link decides what that means: over QUIC with mixed
//! reliability, best effort travels in DATAGRAM frames.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand, ValueEnum};
use transports::args::Shape;
use transports::host::Host;
use transports::source::{Due, Source};
use zenoh::Wait;
use zenoh::qos::{CongestionControl, Reliability};

const KEY: &str = "plant/t1";

/// The whole command line.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive, and apply to the world.
    Serve(ServeArgs),
    /// Offer a load.
    Load(LoadArgs),
}

/// How Zenoh carries samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Link {
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
struct Way {
    /// The link.
    #[arg(long, value_enum)]
    link: Link,
    /// The receiver, with a name that its certificate has where the link is QUIC.
    #[arg(long)]
    addr: String,
    /// Folder of `pollux certs init`; QUIC only.
    #[arg(long, default_value = "certs")]
    certs: PathBuf,
}

#[derive(Clone, Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    way: Way,
    /// Ticks a second.
    #[arg(long, default_value_t = 1000)]
    tick_hz: u32,
    /// Writes histograms and summary.json into this folder.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Ends by itself after this many seconds.
    #[arg(long)]
    duration_s: Option<u64>,
}

#[derive(Clone, Debug, Args)]
struct LoadArgs {
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    shape: Shape,
}

impl Way {
    fn open(&self, side: &str) -> anyhow::Result<zenoh::Session> {
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

    fn is_reliable(&self) -> bool {
        matches!(self.link, Link::Tcp | Link::Quic)
    }
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(args) => serve(&args),
        Command::Load(args) => load(&args),
    }
}

#[expect(clippy::print_stdout, reason = "the summary is the result")]
fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let name = format!("zenoh-{:?}", args.way.link).to_lowercase();
    let (host, inlet) = Host::start(&name, args.tick_hz, args.report.as_deref())?;
    let session = args.way.open("listen/endpoints")?;
    // Zenoh may call back from several of its threads.
    let inlet = Mutex::new(inlet);
    let subscriber = session
        .declare_subscriber(KEY)
        .callback(move |sample| {
            let mut inlet = inlet.lock().expect("no other callback has panicked");
            if !inlet.accept(&sample.payload().to_bytes()) {
                eprintln!("zenoh-peer: a payload holds something else than records");
            }
        })
        .wait()
        .map_err(|error| anyhow!("{error}"))?;
    eprintln!("listening {}", args.way.addr);
    let summary = host.run(args.duration_s.map(Duration::from_secs))?;
    drop(subscriber);
    println!("{}", serde_json::to_string(&summary)?);
    // Zenoh's own threads are in no hurry to end.
    std::process::exit(0)
}

fn load(args: &LoadArgs) -> anyhow::Result<()> {
    netloop::sharpen_timers();
    let session = args.way.open("connect/endpoints")?;
    let reliable = args.way.is_reliable();
    let publisher = session
        .declare_publisher(KEY)
        .reliability(if reliable { Reliability::Reliable } else { Reliability::BestEffort })
        .congestion_control(if reliable {
            CongestionControl::Block
        } else {
            CongestionControl::Drop
        })
        .wait()
        .map_err(|error| anyhow!("{error}"))?;
    while !publisher.matching_status().wait().map_err(|error| anyhow!("{error}"))?.matching() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut source = Source::begin(&args.shape);
    let mut payload = Vec::with_capacity(source.payload_max());
    loop {
        match source.poll(&mut payload) {
            Due::Payload => {
                publisher.put(payload.as_slice()).wait().map_err(|error| anyhow!("{error}"))?;
            }
            Due::Later => source.rest(),
            Due::Over => break,
        }
    }
    // What waits in Zenoh's queues leaves before its session closes.
    std::thread::sleep(Duration::from_millis(500));
    session.close().wait().map_err(|error| anyhow!("{error}"))?;
    Ok(source.report(&args.shape)?)
}
