//! The effective configuration, typed.
//!
//! It is laid in layers: defaults, a TOML file, the environment, `--set`. Every key of every layer is
//! checked against one table, so a mistake is found where it was written, with the key, the value and
//! what is allowed. Refuses unknown keys in any layer; nothing of a rejected configuration is used.

mod check;
mod layers;
mod mistake;
mod print;
mod table;
pub mod variable;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use layers::Layers;
pub use mistake::{ConfigError, Rejected, Source};
pub use table::SENSOR_TYPES;

use netloop::{ClientAuth, Congestion};
use serde::{Deserialize, Serialize};
use table::Key;
use wire::SensorType;

/// Everything that can be set, after all layers. [`Config::default`] is what a twin without a file has.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The QUIC side.
    pub net: Net,
    /// What one address may hold and send.
    pub address: Address,
    /// The tick thread.
    pub tick: Tick,
    /// What a thread does when there is nothing to do.
    pub idle: Idle,
    /// What is asked of the host's scheduler.
    pub host: Host,
    /// Capacities of the rings, in records.
    pub ring: Ring,
    /// Bounds of the world.
    pub world: World,
    /// The operator's HTTP surface.
    pub http: Http,
    /// Where certificates lie, and what is asked of devices.
    pub tls: Tls,
    /// Thresholds by sensor type, indexed as [`SENSOR_TYPES`].
    pub thresholds: [Threshold; SensorType::COUNT],
    /// Rules that command actuators.
    pub automation: Automation,
    /// Faults injected on purpose.
    pub fault: Fault,
    /// What is kept of the run, to be replayed.
    pub capture: Capture,
    /// All of it as a file, each key under its explanation.
    pub text: String,
    /// What is said on stderr.
    pub log: Log,
}

impl Default for Config {
    fn default() -> Self {
        Effective::defaults().config
    }
}

impl Config {
    /// Nothing assigned yet: zeros and empty lists, which no twin runs with.
    fn unset() -> Self {
        Self {
            net: Net::default(),
            address: Address::default(),
            tick: Tick::default(),
            idle: Idle::default(),
            host: Host::default(),
            ring: Ring::default(),
            world: World::default(),
            http: Http::default(),
            tls: Tls::default(),
            thresholds: Default::default(),
            automation: Automation::default(),
            fault: Fault::default(),
            capture: Capture::default(),
            text: String::new(),
            log: Log::default(),
        }
    }
}

/// Keys of `[net]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// UDP address to listen on; port 0 takes any free one.
    pub addr: SocketAddr,
    /// Core that the first worker is pinned to; the others take those that follow.
    pub core: Option<usize>,
    /// Threads that serve the sessions.
    pub workers: usize,
    /// Sessions open at the same time.
    pub max_sessions: usize,
    /// Handshakes under way at the same time.
    pub max_handshakes: usize,
    /// Handshakes under way or waiting from which addresses have to prove themselves.
    pub retry_from: usize,
    /// Handshakes begun in a second; 0 is no limit.
    pub accept_rate: u32,
    /// Streams that all devices together may have open.
    pub max_streams: usize,
    /// Receive buffer asked of the kernel, in bytes.
    pub recv_buffer_bytes: usize,
    /// Send buffer asked of the kernel, in bytes.
    pub send_buffer_bytes: usize,
    /// Largest UDP payload sent, in bytes.
    pub mtu_bytes: u16,
    /// What decides how much a session may have in flight.
    pub congestion: Congestion,
    /// Period after which the keys of a session are replaced, in seconds; 0 is none.
    pub key_update_s: u64,
    /// Where what paths do is logged, if it is.
    pub path_log: Option<PathBuf>,
    /// Size that a run adds to that log at most.
    pub path_log_max_bytes: u64,
    /// Silence after which a session is closed, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Period of the worker's keep-alive, in milliseconds; 0 sends none.
    pub keep_alive_ms: u64,
    /// Unidirectional streams (T2) a session may have open.
    pub max_uni_streams: u32,
    /// Bidirectional streams (T3) a session may have open.
    pub max_bi_streams: u32,
    /// Flow-control window of a stream, in bytes.
    pub stream_window_bytes: u32,
    /// Buffer of received DATAGRAM frames per session, in bytes.
    pub datagram_buffer_bytes: usize,
    /// Distinct (device, sensor) keys a session may resolve.
    pub keys_per_session: usize,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([0, 0, 0, 0], 0)),
            core: None,
            workers: 1,
            max_sessions: 0,
            max_handshakes: 0,
            retry_from: 0,
            accept_rate: 0,
            max_streams: 0,
            recv_buffer_bytes: 0,
            send_buffer_bytes: 0,
            mtu_bytes: 0,
            congestion: Congestion::default(),
            key_update_s: 0,
            path_log: None,
            path_log_max_bytes: 0,
            idle_timeout_ms: 0,
            keep_alive_ms: 0,
            max_uni_streams: 0,
            max_bi_streams: 0,
            stream_window_bytes: 0,
            datagram_buffer_bytes: 0,
            keys_per_session: 0,
        }
    }
}

impl Net {
    /// Sessions that each worker may hold: its part of all of them, rounded up.
    #[must_use]
    pub const fn sessions_per_worker(&self) -> usize {
        self.max_sessions.div_ceil(self.workers)
    }

    /// Places of the sessions of all workers. They interleave, so that there may be more of them than `max_sessions`: every
    /// table of sessions by place has this size.
    #[must_use]
    pub const fn session_places(&self) -> usize {
        self.sessions_per_worker() * self.workers
    }
}

/// Keys of `[address]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Sessions of one address at the same time.
    pub max_sessions: usize,
    /// Handshakes of one address at the same time.
    pub max_handshakes: usize,
    /// Streams that one address may have open.
    pub max_streams: usize,
    /// UDP datagrams of one address in a second; 0 is no limit.
    pub datagrams_per_s: u64,
    /// Bytes of UDP payload of one address in a second; 0 is no limit.
    pub bytes_per_s: u64,
}

/// Keys of `[tick]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Ticks per second.
    pub hz: u32,
    /// Core that the tick thread is pinned to.
    pub core: Option<usize>,
    /// Ticks that may be behind the schedule and still run.
    pub catch_up: u32,
    /// A record that took longer is an outlier, in microseconds.
    pub outlier_us: u64,
    /// Records drained from the ring of each tier in one tick, T1 first.
    pub drain: [usize; 3],
}

/// Keys of `[idle]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Idle {
    /// Strategy of the worker.
    pub strategy: IdleStrategy,
    /// How long a waiting worker rests after its socket ran dry, in microseconds.
    pub rest_us: u64,
    /// How long the tick thread spins before each deadline, in microseconds.
    pub tick_spin_us: u64,
}

/// Keys of `[host]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// How the threads are ranked.
    pub priority: Priority,
    /// Whether the memory of the process is locked.
    pub lock_memory: bool,
    /// Whether hot threads lose the system calls that they never need.
    pub confine: bool,
}

/// How the scheduler ranks the threads of a twin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Hot threads go first, as far as the system allows, and the cold one last.
    #[default]
    Hot,
    /// As every other thread of the host.
    Normal,
}

impl Priority {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 2] = [Self::Hot, Self::Normal];
}

/// What a thread does when a turn found nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdleStrategy {
    /// Chosen by the number of cores.
    #[default]
    Auto,
    /// Never leaves its core.
    Spin,
    /// Offers its core to others and comes back.
    Yield,
    /// Spins, then yields, then sleeps.
    Backoff,
    /// Sleeps until the kernel has something.
    Wait,
}

impl IdleStrategy {
    /// All strategies, in the order of their names.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Spin, Self::Yield, Self::Backoff, Self::Wait];

    /// The name that the configuration uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        table::IDLE_NAMES[self as usize]
    }
}

/// Keys of `[ring]`: capacities in records, each a power of two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ring {
    /// Capacity of the rings from worker to tick, T1 first.
    pub tiers: [usize; 3],
    /// Capacity of the ring from tick to worker.
    pub out: usize,
}

/// Keys of `[world]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Entities the world holds at most.
    pub entities_max: usize,
}

impl Config {
    /// Whether browsers may come to the port of the devices.
    #[must_use]
    pub const fn admits_browsers(&self) -> bool {
        self.http.enabled && self.http.webtransport
    }

    /// The cores that workers and tick thread are pinned to, that of the tick last.
    #[must_use]
    pub fn hot_cores(&self) -> Vec<usize> {
        self.worker_cores().into_iter().flatten().chain(self.tick.core).collect()
    }

    /// The first worker is pinned to `net.core`, the others take those that follow.
    fn worker_cores(&self) -> Option<Range<usize>> {
        self.net.core.map(|first| first..first + self.net.workers.max(1))
    }

    /// The first and the last core of the workers where the tick thread is to share one of them with a worker that never
    /// sleeps. A worker that does sleep leaves it the core, which is right where there are few.
    fn shared_core(&self) -> Option<(usize, usize)> {
        let restless = matches!(self.idle.strategy, IdleStrategy::Spin | IdleStrategy::Yield);
        let workers = self.worker_cores().filter(|_| restless)?;
        workers.contains(&self.tick.core?).then_some((workers.start, workers.end - 1))
    }
}

/// Keys of `[http]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Address of the dashboard, the API and `/metrics`; port 0 takes any free one.
    pub addr: SocketAddr,
    /// Whether the surface is served at all.
    pub enabled: bool,
    /// File whose first line is the token that everybody has to know who asks.
    pub token_file: Option<PathBuf>,
    /// The certificate that the surface shows; without one it speaks no TLS.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Whoever asks has to show a certificate that one of these authorities has signed.
    pub client_ca: Option<PathBuf>,
    /// What may be commanded over HTTP.
    pub commands: Commands,
    /// Whether browsers may watch over WebTransport, on the port of the devices.
    pub webtransport: bool,
}

/// The files of the surface's own TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// Authorities of those who ask, PEM, where they have to show a certificate.
    pub client_ca: Option<PathBuf>,
}

impl HttpTls {
    /// All files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.cert, &self.key].into_iter().chain(&self.client_ca).map(PathBuf::as_path)
    }
}

impl Http {
    /// The files of its TLS, where it speaks any.
    #[must_use]
    pub fn tls(&self) -> Option<HttpTls> {
        let (cert, key) = (self.cert.clone()?, self.key.clone()?);
        Some(HttpTls { cert, key, client_ca: self.client_ca.clone() })
    }
}

/// What operators may command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commands {
    /// Setpoints, stop and clear.
    #[default]
    All,
    /// Stop, and nothing else.
    Stop,
    /// Nothing: the surface only shows.
    None,
}

impl Commands {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 3] = [Self::All, Self::Stop, Self::None];

    /// The name that the configuration uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Stop => "stop",
            Self::None => "none",
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            enabled: false,
            token_file: None,
            cert: None,
            key: None,
            client_ca: None,
            commands: Commands::default(),
            webtransport: false,
        }
    }
}

/// Keys of `[tls]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// The server's certificate chain, PEM.
    pub cert: PathBuf,
    /// The server's private key, PEM.
    pub key: PathBuf,
    /// What is asked of a device.
    pub client_auth: ClientAuth,
    /// The authorities of devices, PEM.
    pub ca: PathBuf,
    /// The certificates of devices that are revoked, PEM.
    pub crl: Option<PathBuf>,
    /// Digests of the tokens of devices without a certificate.
    pub tokens: Option<PathBuf>,
}

/// Keys of `[thresholds.TYPE]`, in the unit of the type.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Threshold {
    /// A value above it crosses upwards; `inf` switches it off.
    pub high: f64,
    /// A value below it crosses downwards; `-inf` switches it off.
    pub low: f64,
    /// How far a value must come back before the same crossing counts again.
    pub hysteresis: f64,
}

/// Keys of `[automation]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Automation {
    /// The rules, in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// What stops the plant.
    pub stop_rules: Vec<StopRule>,
    /// Whether a device may stop the plant.
    pub device_stop: bool,
    /// The file that keeps the stop over a restart.
    pub stop_file: Option<PathBuf>,
}

/// While a sensor of a type is above a value, the plant is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopRule {
    /// Index into [`SENSOR_TYPES`].
    pub sensor_type: usize,
    /// Smoothed value above which it stops, in the unit of the type.
    pub above: f64,
}

/// One rule: while a sensor of a type is above a value, its device's actuator holds a setpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Index into [`SENSOR_TYPES`].
    pub sensor_type: usize,
    /// Smoothed value above which the rule fires, in the unit of the type.
    pub above: f64,
    /// What the actuator is told then.
    pub setpoint: f64,
}

/// Keys of `[fault]`: all zero injects nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    /// Reproduces a run.
    pub seed: u64,
    /// Probability that a record is discarded.
    pub loss: f64,
    /// Ticks by which records are held back.
    pub delay_ticks: u32,
    /// Probability that a record arrives twice.
    pub duplicate: f64,
    /// Probability that a byte of a record is changed.
    pub corrupt: f64,
}

/// Keys of `[capture]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capture {
    /// The file that the run is captured in.
    pub file: Option<PathBuf>,
    /// Size of the file at most, in bytes.
    pub max_bytes: u64,
    /// What it keeps once it has that size.
    pub keep: Keep,
    /// Capacity of the ring before the file, in cells of 64 bytes.
    pub ring: usize,
}

/// What of a run the file of its capture keeps once it has reached its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The beginning, from which alone the world can be made again.
    #[default]
    First,
    /// What came latest.
    Last,
}

impl Keep {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 2] = [Self::First, Self::Last];
}

/// Keys of `[log]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// The least severe line that is written.
    pub level: LogLevel,
}

/// Severity of a line on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing but failures.
    Error,
    /// And what degrades.
    Warn,
    /// And what starts, stops and is chosen.
    #[default]
    Info,
    /// And every session.
    Debug,
    /// And every datagram.
    Trace,
}

impl LogLevel {
    /// All levels, most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
}

/// A configuration together with where each of its values came from.
#[derive(Clone, Debug)]
pub struct Effective {
    config: Config,
    entries: Vec<Entry>,
}

/// One key of the table with the value in force.
#[derive(Clone, Debug)]
struct Entry {
    key: &'static Key,
    value: toml::Value,
    source: Source,
}

impl Effective {
    /// What a twin has that is told nothing.
    #[must_use]
    pub fn defaults() -> Self {
        Self::lay(Vec::new(), Vec::new())
            .expect("the defaults are allowed because each is asserted")
    }

    /// Lays the layers over each other and checks every value.
    ///
    /// # Errors
    ///
    /// All mistakes of all layers at once.
    pub fn load(layers: &Layers) -> Result<Self, Rejected> {
        let mut mistakes = Vec::new();
        let settings = layers.settings(&mut mistakes);
        Self::lay(settings, mistakes)
    }

    /// The configuration that a TOML text holds, and nothing else; `path` names it in mistakes.
    ///
    /// # Errors
    ///
    /// All mistakes at once.
    pub fn load_text(path: &Path, text: &str) -> Result<Self, Rejected> {
        let (mut settings, mut mistakes) = (Vec::new(), Vec::new());
        layers::read_text(path, text, &mut settings, &mut mistakes);
        Self::lay(settings, mistakes)
    }

    fn lay(
        settings: Vec<layers::Setting>,
        mut mistakes: Vec<ConfigError>,
    ) -> Result<Self, Rejected> {
        let mut config = Config::unset();
        let mut entries = Vec::new();
        for key in table::keys() {
            let value = key.kind.literal(key.default);
            assert!(key.kind.assign(&value, &mut config), "{}: its default is allowed", key.name);
            entries.push(Entry { key, value, source: Source::Default });
        }
        for setting in settings {
            let Some(entry) = entries.iter_mut().find(|entry| entry.key.name == setting.key) else {
                mistakes.push(check::unknown(setting));
                continue;
            };
            entry.value = entry.key.kind.read(setting.value);
            entry.source = setting.source;
            // Checked even where a higher layer has the last word: a mistake does not wait for the
            // day on which that layer is gone.
            if !entry.key.kind.assign(&entry.value, &mut config) {
                mistakes.push(check::invalid(entry, entry.key.kind.allowed()));
            }
        }
        if mistakes.is_empty() {
            check::relations(&config, &entries, &mut mistakes);
        }
        config.text = print::to_toml(&entries);
        if mistakes.is_empty() { Ok(Self { config, entries }) } else { Err(Rejected(mistakes)) }
    }

    /// Says which files are not there that a twin needs to serve.
    ///
    /// # Errors
    ///
    /// All of them at once, each with what makes it.
    pub fn need_files(&self) -> Result<(), Rejected> {
        let missing = check::files(&self.config, &self.entries);
        if missing.is_empty() { Ok(()) } else { Err(Rejected(missing)) }
    }

    /// The typed values.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many keys there are, and how many of them a layer above the defaults has set.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let set = self.entries.iter().filter(|entry| entry.source != Source::Default).count();
        (self.entries.len(), set)
    }

    /// One `key = value  # source` line for each key.
    #[must_use]
    pub fn show(&self) -> String {
        print::show(&self.entries)
    }

    /// A TOML file with these values, each key under its explanation.
    #[must_use]
    pub fn to_toml(&self) -> String {
        print::to_toml(&self.entries)
    }
}
