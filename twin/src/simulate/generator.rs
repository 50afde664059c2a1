//! A fleet on a thread of its own, with its socket: what `simulate` and the demo run.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use netloop::{
    BindError, ClientIdentity, Clock, Engine, Idle, IdleStrategy, Socket, SocketOptions, Stop,
    Waker, Worker, WorkerConfig, WorkerStats, sharpen_timers, wake_line,
};
use rustls::pki_types::CertificateDer;
use wire::{ALPN, Hello, capability};

use super::{
    device::gateway_id,
    drain::DRAIN_NS_MAX,
    fleet::{Fleet, FleetError, Outcome},
    plan::Plan,
    progress::{LoadInterval, Progress},
    report::{Latencies, Summary, Traffic},
    seeded::Seeded,
};
use crate::{histograms::WriteError, report::Usage};

/// Why a load could not be offered.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// The authority cannot be used.
    #[error(transparent)]
    Tls(#[from] netloop::TlsError),
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No thread, or no descriptor to wake it.
    #[error("the generator cannot start")]
    Start(#[from] io::Error),
    /// The thread of the fleet ended by a panic, which has been printed.
    #[error("the thread of the generator ended by a panic")]
    Panicked,
    /// Nothing could connect.
    #[error("cannot connect to {remote} as {server_name}: {reason}")]
    Fleet {
        /// The twin that was asked.
        remote: SocketAddr,
        /// The name that its certificate must have.
        server_name: String,
        /// Why.
        reason: FleetError,
    },
    /// The report cannot be written.
    #[error(transparent)]
    Report(#[from] WriteError),
}

/// Which twin a load is for, and whom it comes from.
#[derive(Debug)]
pub struct LoadTls {
    /// Authorities, one of which has signed the twin's certificate.
    pub roots: Vec<CertificateDer<'static>>,
    /// What the load shows to a twin that asks; it has to be granted all devices of the plan.
    pub identity: Option<ClientIdentity>,
}

impl From<Vec<CertificateDer<'static>>> for LoadTls {
    /// A load that shows nothing.
    fn from(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots, identity: None }
    }
}

type Intervals = Box<dyn FnMut(&mut dyn FnMut(&LoadInterval)) + Send>;

/// A load that is being offered.
pub struct Generator {
    plan: Plan,
    thread: JoinHandle<Fleet>,
    /// Closed by the thread when it ends.
    ended: Receiver<()>,
    stop: Stop,
    waker: Waker,
    progress: Arc<Progress>,
    stats: Arc<WorkerStats>,
    intervals: Intervals,
    latencies: Latencies,
    folder: Option<PathBuf>,
}

impl Generator {
    /// Starts to offer the load to a twin. Latencies go into the folder, if there is one.
    ///
    /// # Errors
    /// The certificates, the socket, the thread or the folder.
    pub fn start(
        plan: Plan,
        tls: impl Into<LoadTls>,
        folder: Option<PathBuf>,
    ) -> Result<Self, GeneratorError> {
        let now = Clock::new().now();
        let LoadTls { roots, identity } = tls.into();
        let tls = netloop::client_tls_as(identity, roots, ALPN)?;
        let hello = Hello {
            capabilities: capability::COMMANDS | capability::TOTALS,
            epoch: (now.unix_ns / 1_000_000_000) as u32,
            device: gateway_id(plan.seed),
        };
        let limits = plan.limits();
        let engine = Engine::client(tls, Some(hello), limits, now, connection_seed(now.unix_ns));
        let socket = Socket::bind(local_address(plan.remote), SocketOptions::default())?;
        let started = SystemTime::UNIX_EPOCH + Duration::from_nanos(now.unix_ns);
        let latencies = Latencies::create(folder.as_deref(), started)?;
        let (waker, sleeper) = wake_line()?;
        let (stop, stats) = (Stop::new(), WorkerStats::shared());
        let fleet = Fleet::new(plan.clone(), stop.clone());
        let (progress, intervals) = (fleet.progress(), Box::new(fleet.intervals()));
        let config = WorkerConfig {
            drain_max: Duration::from_nanos(2 * DRAIN_NS_MAX),
            ..WorkerConfig::default()
        };
        let idle = (Idle::new(IdleStrategy::Auto), Some(sleeper));
        let worker = Worker::new(engine, socket, fleet, idle, config, Arc::clone(&stats));
        let (until, (alive, ended)) = (stop.clone(), channel::<()>());
        let thread = std::thread::Builder::new().name("fleet".to_owned()).spawn(move || {
            let _alive = alive;
            sharpen_timers();
            worker.run(&until)
        })?;
        Ok(Self { plan, thread, ended, stop, waker, progress, stats, intervals, latencies, folder })
    }

    /// What the fleet counts.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Asks for an orderly end; it takes a few seconds at most.
    pub fn stop(&self) {
        self.stop.drain();
        self.waker.wake();
    }

    /// Waits for the end, but not longer than `timeout`, and takes over the latencies so far. True at the end.
    ///
    /// # Errors
    /// The latencies cannot be written.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, GeneratorError> {
        let ended = self.ended.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected);
        self.collect()?;
        Ok(ended)
    }

    fn collect(&mut self) -> Result<(), WriteError> {
        let (intervals, latencies) = (&mut self.intervals, &mut self.latencies);
        let mut written = Ok(());
        intervals(&mut |interval| {
            if written.is_ok() {
                written = latencies.add(interval);
            }
        });
        written
    }

    /// Waits for the end, and says what the load came to. `usage` is asked once the thread is gone.
    ///
    /// # Errors
    /// Nothing could connect, the thread panicked, or the report cannot be written.
    pub fn finish(mut self, usage: impl FnOnce() -> Usage) -> Result<Summary, GeneratorError> {
        self.collect()?;
        let fleet = self.thread.join().map_err(|_| GeneratorError::Panicked)?;
        let mut intervals = fleet.intervals();
        let (outcome, last) = fleet.finish().map_err(|reason| GeneratorError::Fleet {
            remote: self.plan.remote,
            server_name: self.plan.server_name.clone(),
            reason,
        })?;
        let mut written = Ok(());
        intervals(&mut |interval| {
            if written.is_ok() {
                written = self.latencies.add(interval);
            }
        });
        written?;
        self.latencies.add(&last)?;
        let summary = summary(&outcome, &self.plan, &self.stats, usage(), &self.latencies);
        self.latencies.finish(self.folder.as_deref(), &summary)?;
        Ok(summary)
    }
}

fn summary(
    outcome: &Outcome,
    plan: &Plan,
    stats: &WorkerStats,
    usage: Usage,
    latencies: &Latencies,
) -> Summary {
    let traffic = Traffic { packets: stats.datagrams_out.value(), bytes: stats.bytes_out.value() };
    Summary::of(outcome, plan.carriers(), traffic, usage, latencies)
}

/// Any port of the family of the twin's address.
fn local_address(remote: SocketAddr) -> SocketAddr {
    match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Different in every run, whatever the seed of the plan: a twin still remembers the connection ids of the last one.
fn connection_seed(unix_ns: u64) -> [u8; 32] {
    let mut seeded = Seeded::new(unix_ns, u64::from(std::process::id()));
    let mut bytes = [0; 32];
    for word in bytes.chunks_exact_mut(8) {
        word.copy_from_slice(&seeded.next().to_le_bytes());
    }
    bytes
}
