//! The workers of a twin: sockets that share a port, an engine and a port of rings for each, and the ways between them.
//!
//! Everything that can fail happens before any of them runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use netloop::{
    AddressLimits, Engine, Handover, HandshakeLimits, Idle, IdleStrategy, Naming, Now, Posts,
    Renewal, Renewer, RingPort, SessionLimits, Socket, SocketOptions, ViewerDesk, Waker, Worker,
    WorkerConfig, WorkerNumber, WorkerStats, renewals, viewer_lane, wake_line,
};

use crate::config::Config;
use crate::degraded::{Teller, Wish};

/// Workers that are ready to run.
pub(super) struct Workers {
    pub(super) workers: Vec<Worker<RingPort>>,
    /// Those of the workers, in order.
    pub(super) wakers: Vec<Waker>,
    /// What leads to the workers, in order.
    pub(super) renewers: Vec<Renewer>,
    /// Where browsers are served that come to the workers, in order.
    pub(super) desks: Vec<ViewerDesk>,
    /// Where the watchdog sees and moves them.
    pub(super) posts: Posts,
    pub(super) addr: SocketAddr,
    pub(super) idle: IdleStrategy,
}

/// What the workers have in common.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Config,
    pub(super) renewal: &'a Renewal,
    pub(super) now: Now,
    /// Decides what connection ids look like; no peer may know it.
    pub(super) seed: [u8; 32],
}

/// Sockets on one port, as many as there are workers, so that the kernel spreads the devices over them.
///
/// # Errors
/// The address is taken, also by a twin that would share it, or does not belong to this host.
pub(super) fn bind(config: &Config, teller: &Teller) -> anyhow::Result<Vec<Socket>> {
    let mut options = SocketOptions {
        recv_buffer_bytes: config.net.recv_buffer_bytes,
        send_buffer_bytes: config.net.send_buffer_bytes,
        ..SocketOptions::default()
    };
    let first = Socket::bind(config.net.addr, options).context("net.addr")?;
    let (asked, granted) = (config.net.recv_buffer_bytes, first.recv_buffer_bytes());
    if granted < asked {
        let why = format!("the kernel granted {granted} of {asked} bytes (net.core.rmem_max)");
        teller.tell(Wish::ReceiveBuffer, why);
    }
    if config.net.workers == 1 {
        return Ok(vec![first]);
    }
    // The first was opened to see that nobody else has the port; a port is shared only among sockets that all want it.
    let addr = SocketAddr::new(config.net.addr.ip(), first.local_addr().port());
    drop(first);
    options.reuse_port = true;
    let open = |_| Socket::bind(addr, options).context("net.addr");
    (0..config.net.workers).map(open).collect()
}

impl Workers {
    /// Puts the workers together.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub(super) fn new(
        shared: &Shared<'_>,
        sockets: Vec<Socket>,
        ports: Vec<RingPort>,
        stats: &[Arc<WorkerStats>],
    ) -> anyhow::Result<Self> {
        let &Shared { config, renewal, now, seed } = shared;
        let addr = sockets.first().context("a twin has a worker")?.local_addr();
        let count = u8::try_from(sockets.len()).context("net.workers")?;
        let lines: Vec<_> = sockets.iter().map(|_| wake_line()).collect::<Result<_, _>>()?;
        let (wakers, sleepers): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
        let (renewers, renewals): (Vec<_>, Vec<_>) = ports.iter().map(|_| renewals()).unzip();
        let (desks, viewers): (Vec<_>, Vec<_>) = wakers.iter().cloned().map(viewer_lane).unzip();
        let ports = ports.into_iter().zip(renewals).zip(viewers);
        let rest = Duration::from_micros(config.idle.rest_us);
        let worker_config = WorkerConfig { rest, ..WorkerConfig::default() };
        let limits = limits(config);
        let (posts, ways) = Handover::between(seed, &wakers, &sockets)?;
        let parts = sockets.into_iter().zip(ports).zip(sleepers).zip(stats);
        let idle = Idle::new(strategy(config)).strategy();
        let make = |(index, ((((socket, ((port, renewals), viewers)), sleeper), stats), way))| {
            let worker = WorkerNumber::new(index, count);
            let naming = Naming { seed, worker };
            let mut engine =
                Engine::server(Arc::clone(&renewal.crypto), limits.clone(), now, naming);
            engine.renew(now, renewal.clone());
            let port = RingPort { renewals: Some(renewals), viewers: Some(viewers), ..port };
            if port.paths.is_some() {
                engine.report_paths();
            }
            let idle = (Idle::new(idle), Some(sleeper));
            let stats = Arc::clone(stats);
            let made = Worker::new(engine, socket, port, idle, worker_config.clone(), stats);
            if count > 1 { made.sharing(way) } else { made }
        };
        let workers = (0..count).zip(parts.zip(ways)).map(make).collect();
        Ok(Self { workers, wakers, renewers, desks, posts, addr, idle })
    }
}

fn strategy(config: &Config) -> IdleStrategy {
    config
        .idle
        .strategy
        .name()
        .parse()
        .expect("both name the same strategies because the key table allows no other")
}

/// The limits of one worker's sessions: its part of what all of them may have. What an address may have is for each worker, but
/// for handshakes: of these it has its part too, because one address must never hold all that a worker has room for.
fn limits(config: &Config) -> SessionLimits {
    let (net, address) = (&config.net, &config.address);
    SessionLimits {
        sessions_max: net.sessions_per_worker(),
        handshakes: HandshakeLimits {
            at_once_max: net.max_handshakes.div_ceil(net.workers),
            retry_from: net.retry_from.div_ceil(net.workers),
            per_s: net.accept_rate.div_ceil(net.workers as u32),
            ..HandshakeLimits::default()
        },
        address: AddressLimits {
            sessions_max: address.max_sessions,
            handshakes_max: address.max_handshakes.div_ceil(net.workers),
            streams_max: address.max_streams,
            datagrams_per_s: address.datagrams_per_s,
            bytes_per_s: address.bytes_per_s,
        },
        streams_max: net.max_streams.div_ceil(net.workers),
        congestion: net.congestion,
        key_update: (net.key_update_s > 0).then(|| Duration::from_secs(net.key_update_s)),
        idle_timeout: Duration::from_millis(net.idle_timeout_ms),
        keep_alive: (net.keep_alive_ms > 0).then(|| Duration::from_millis(net.keep_alive_ms)),
        uni_streams_max: net.max_uni_streams,
        bi_streams_max: net.max_bi_streams,
        stream_window_bytes: net.stream_window_bytes,
        datagram_buffer_bytes: net.datagram_buffer_bytes,
        mtu_bytes: net.mtu_bytes,
        keys_max: net.keys_per_session,
        ..SessionLimits::default()
    }
}
