//! A flood of datagrams from invented addresses, for a server of one's own.
//!
//! All of 127/8 belongs to this host, so that a flood on loopback comes from sixteen million addresses and its answers harm
//! nobody. The packets are made beforehand; sending them is cheap.

use std::{net::SocketAddr, time::Duration};

use clap::ValueEnum;
use netloop::{Clock, Engine, SessionLimits, Socket, SocketOptions, Stop, WouldBlock, wait_until};

use crate::{forge::Forge, trust::Trust};

/// What the datagrams hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contents {
    /// The first packet of a handshake, each under a connection id of its own.
    Initials,
    /// What no connection can be made of: random bytes of the form of a short header.
    Garbage,
}

/// Arguments of the flood.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server, on this host.
    #[arg(long)]
    addr: SocketAddr,
    /// What the datagrams hold.
    #[arg(long, value_enum, default_value = "initials")]
    contents: Contents,
    /// Datagrams in a second.
    #[arg(long, default_value_t = 50_000)]
    rate: u32,
    /// How long.
    #[arg(long, default_value_t = 10)]
    duration_s: u64,
}

/// Datagrams, ready to be sent again and again.
pub(crate) struct Flood {
    socket: Socket,
    /// Of one length, so that the kernel sends several in one call.
    packets: Vec<Vec<u8>>,
    next: usize,
    dice: u64,
    pub(crate) sent: u64,
    pub(crate) refused: u64,
}

/// Different packets: with Retry each of them is new to the server whenever it comes.
const PACKETS: u64 = 8192;
/// Datagrams of one call, all from one address.
const RUN: usize = 8;
/// How evenly it is sent.
const STEP: Duration = Duration::from_micros(500);

impl Flood {
    pub(crate) fn new(contents: Contents) -> anyhow::Result<Self> {
        let packets = match contents {
            Contents::Initials => initials()?,
            Contents::Garbage => (0..PACKETS).map(garbage).collect(),
        };
        let options = SocketOptions { recv_buffer_bytes: 4096, ..SocketOptions::default() };
        let socket = Socket::bind(([0, 0, 0, 0], 0).into(), options)?;
        Ok(Self { socket, packets, next: 0, dice: 1, sent: 0, refused: 0 })
    }

    /// Sends until `stop`, in real time.
    pub(crate) fn run(&mut self, remote: SocketAddr, rate: u32, stop: &Stop) {
        let begin = Clock::new().now().instant;
        for step in 1.. {
            if stop.is_draining() {
                return;
            }
            let due = u64::from(rate) * step * STEP.as_micros() as u64 / 1_000_000;
            while self.sent + self.refused < due {
                self.send_run(remote);
            }
            wait_until(begin + STEP * u32::try_from(step).unwrap_or(u32::MAX), Duration::ZERO);
        }
    }

    fn send_run(&mut self, remote: SocketAddr) {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let [_, b, c, d, ..] = self.dice.to_be_bytes();
        let length = self.packets[0].len();
        let mut contents = Vec::with_capacity(RUN * length);
        for _ in 0..RUN {
            contents.extend_from_slice(&self.packets[self.next % self.packets.len()]);
            self.next += 1;
        }
        let transmit = quinn_proto::Transmit {
            destination: remote,
            ecn: None,
            size: contents.len(),
            segment_size: Some(length),
            src_ip: Some([127, b.max(1), c, d.clamp(1, 254)].into()),
        };
        match self.socket.send(&transmit, &contents) {
            Ok(()) => self.sent += RUN as u64,
            Err(WouldBlock) => self.refused += RUN as u64,
        }
    }
}

fn initials() -> anyhow::Result<Vec<Vec<u8>>> {
    let now = Clock::new().now();
    let limits = SessionLimits::default();
    let mut client = Engine::client(Trust::new()?.client, None, limits, now, [7; 32]);
    client.connect(now, ([127, 0, 0, 1], 1).into(), "localhost")?;
    let mut first = Vec::new();
    client.poll_transmit(now, 1, &mut first);
    let forge = Forge::new(&first);
    let mix = |n: u64| n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Ok((0..PACKETS).map(|n| forge.initial(mix(n))).collect())
}

fn garbage(n: u64) -> Vec<u8> {
    let mut bits = n;
    let mut byte = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (bits >> 56) as u8
    };
    let mut packet: Vec<u8> = (0..1200).map(|_| byte()).collect();
    packet[0] = 0x40 | packet[0] & 0x3f;
    packet
}

/// Floods and says how much was sent.
#[expect(clippy::print_stdout, reason = "the object is the result")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut flood = Flood::new(args.contents)?;
    let stop = Stop::new();
    let (until, length) = (stop.clone(), Duration::from_secs(args.duration_s));
    let begin = Clock::new().now();
    let timer = std::thread::spawn(move || {
        wait_until(begin.instant + length, Duration::ZERO);
        until.drain();
    });
    flood.run(args.addr, args.rate, &stop);
    let _ = timer.join();
    let spent_s = (Clock::new().now().unix_ns - begin.unix_ns) as f64 / 1e9;
    println!(
        "{}",
        serde_json::json!({
            "experiment": "flood", "contents": format!("{:?}", args.contents).to_lowercase(),
            "sent": flood.sent, "refused_by_kernel": flood.refused,
            "rate_per_s": flood.sent as f64 / spent_s,
        })
    );
    Ok(())
}
