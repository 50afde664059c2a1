//! The table of all keys.
//!
//! A key is described once: its name, its default, what is allowed, what it means and where its value
//! goes. Parsing, checking, `config init`, `config show` and every error are driven by it.

use std::net::SocketAddr;
use std::path::PathBuf;

use netloop::{ClientAuth, Congestion};
use wire::SensorType;

use super::{Commands, Config, IdleStrategy, Keep, LogLevel, Priority, Rule, StopRule};

/// Names of the sensor types, indexed by the value on the wire.
pub const SENSOR_TYPES: [&str; SensorType::COUNT] = {
    let mut names = [""; SensorType::COUNT];
    let mut at = 0;
    while at < names.len() {
        names[at] = SensorType::ALL[at].name();
        at += 1;
    }
    names
};

pub(super) const IDLE_NAMES: &[&str] = &["auto", "spin", "yield", "backoff", "wait"];
const COMMANDS_NAMES: &[&str] = &["all", "stop", "none"];
const PRIORITY_NAMES: &[&str] = &["hot", "normal"];
const CLIENT_AUTH_NAMES: &[&str] = &["required", "optional", "off"];
const KEEP_NAMES: &[&str] = &["first", "last"];
const LEVEL_NAMES: &[&str] = &["error", "warn", "info", "debug", "trace"];

const MIB: u64 = 1 << 20;

/// One key of the configuration.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// As it would be written after `--set key=`.
    pub(crate) default: &'static str,
    pub(crate) kind: Kind,
    pub(crate) doc: &'static str,
}

/// What a value may be, and where it goes.
#[derive(Debug)]
pub(crate) enum Kind {
    Count { min: u64, max: u64, set: fn(&mut Config, u64) },
    PowerOfTwo { min: u64, max: u64, set: fn(&mut Config, u64) },
    Core { set: fn(&mut Config, Option<usize>) },
    Real { min: f64, max: f64, set: fn(&mut Config, f64) },
    Switch { set: fn(&mut Config, bool) },
    Addr { set: fn(&mut Config, SocketAddr) },
    Path { set: fn(&mut Config, PathBuf) },
    PathOrNone { set: fn(&mut Config, Option<PathBuf>) },
    Choice { of: &'static [&'static str], set: fn(&mut Config, usize) },
    StopRules { set: fn(&mut Config, Vec<StopRule>) },
    Rules { set: fn(&mut Config, Vec<Rule>) },
}

const fn key(name: &'static str, default: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, default, kind, doc }
}

/// All keys, section by section.
pub(crate) fn keys() -> impl Iterator<Item = &'static Key> {
    [NET, ADDRESS, TICK, IDLE, HOST, RING, REST, THRESHOLDS, AUTOMATION, FAULT, CAPTURE, LOG]
        .into_iter()
        .flatten()
}

/// Whether keys lie below this name.
pub(super) fn names_section(name: &str) -> bool {
    keys().any(|key| is_below(key.name, name))
}

pub(super) fn is_below(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

// Casts below narrow a count that its `max` has already bounded.
const NET: &[Key] = &[
    key(
        "net.addr",
        "0.0.0.0:4433",
        Kind::Addr { set: |c, v| c.net.addr = v },
        "UDP address that devices connect to. Port 0 takes any free port and prints it.",
    ),
    key(
        "net.core",
        "none",
        Kind::Core { set: |c, v| c.net.core = v },
        "Core that the first worker is pinned to; the others take those that follow.",
    ),
    key(
        "net.workers",
        "1",
        Kind::Count { min: 1, max: 16, set: |c, v| c.net.workers = v as usize },
        "Threads that serve the sessions, each with a socket and rings of its own on the same port.",
    ),
    key(
        "net.max_sessions",
        "1024",
        Kind::Count { min: 1, max: 1 << 20, set: |c, v| c.net.max_sessions = v as usize },
        "Sessions open at the same time; further ones are refused and counted.",
    ),
    key(
        "net.max_handshakes",
        "1024",
        Kind::Count { min: 1, max: 1 << 20, set: |c, v| c.net.max_handshakes = v as usize },
        "Handshakes under way at the same time; further ones wait, and beyond 2048 are ignored until they come again.",
    ),
    key(
        "net.retry_from",
        "32",
        Kind::Count { min: 0, max: 1 << 20, set: |c, v| c.net.retry_from = v as usize },
        "Handshakes under way or waiting from which an address has to prove that it is there (Retry) before anything is kept for it. 0 asks always.",
    ),
    key(
        "net.accept_rate",
        "2000",
        Kind::Count { min: 0, max: 1_000_000, set: |c, v| c.net.accept_rate = v as u32 },
        "Handshakes begun in a second; further ones wait, so that a plant that comes back at once does not take the worker from the sessions that are there. 0 is no limit.",
    ),
    key(
        "net.max_streams",
        "65536",
        Kind::Count { min: 1, max: 1 << 24, set: |c, v| c.net.max_streams = v as usize },
        "Streams that all devices together may have open; one more is stopped.",
    ),
    key(
        "net.recv_buffer_bytes",
        "4194304",
        Kind::Count {
            min: 4096,
            max: 1024 * MIB,
            set: |c, v| c.net.recv_buffer_bytes = v as usize,
        },
        "Receive buffer asked of the kernel. It grants at most net.core.rmem_max, and what it granted is said at start.",
    ),
    key(
        "net.send_buffer_bytes",
        "4194304",
        Kind::Count {
            min: 4096,
            max: 1024 * MIB,
            set: |c, v| c.net.send_buffer_bytes = v as usize,
        },
        "Send buffer asked of the kernel, at most net.core.wmem_max.",
    ),
    key(
        "net.mtu_bytes",
        "1452",
        Kind::Count { min: 1200, max: 65_527, set: |c, v| c.net.mtu_bytes = v as u16 },
        "Largest UDP payload that paths are searched for. 1452 fits an Ethernet frame of 1500 bytes over IPv6, 8952 one of 9000; QUIC needs 1200.",
    ),
    key(
        "net.congestion",
        "cubic",
        Kind::Choice { of: &Congestion::NAMES, set: |c, v| c.net.congestion = Congestion::ALL[v] },
        "What decides how much a session may have in flight. cubic and newreno do not let single losses hold T1 back; bbr sends at the rate that it has measured.",
    ),
    key(
        "net.key_update_s",
        "3600",
        Kind::Count { min: 0, max: 1 << 31, set: |c, v| c.net.key_update_s = v },
        "Period after which the keys of a session are replaced, without interrupting it. 0 leaves it to the limits of the cipher.",
    ),
    key(
        "net.path_log",
        "none",
        Kind::PathOrNone { set: |c, v| c.net.path_log = v },
        "Appends to this file a line of JSON for each session's begin and end, and every few seconds what its path does: round trip, losses, window, MTU, frames.",
    ),
    key(
        "net.path_log_max_bytes",
        "67108864",
        Kind::Count { min: 4096, max: 1 << 50, set: |c, v| c.net.path_log_max_bytes = v },
        "What a run adds to that file at most; then it ends, and says so.",
    ),
    key(
        "net.idle_timeout_ms",
        "10000",
        Kind::Count { min: 100, max: 3_600_000, set: |c, v| c.net.idle_timeout_ms = v },
        "Silence after which a session is closed.",
    ),
    key(
        "net.keep_alive_ms",
        "0",
        Kind::Count { min: 0, max: 3_600_000, set: |c, v| c.net.keep_alive_ms = v },
        "Period of keep-alive from the twin's side; below net.idle_timeout_ms. 0 leaves it to the devices.",
    ),
    key(
        "net.max_uni_streams",
        "16",
        Kind::Count { min: 1, max: 65_536, set: |c, v| c.net.max_uni_streams = v as u32 },
        "T2 streams that a session may have open.",
    ),
    key(
        "net.max_bi_streams",
        "64",
        Kind::Count { min: 1, max: 65_536, set: |c, v| c.net.max_bi_streams = v as u32 },
        "T3 streams that a session may have open.",
    ),
    key(
        "net.stream_window_bytes",
        "262144",
        Kind::Count { min: 4096, max: 64 * MIB, set: |c, v| c.net.stream_window_bytes = v as u32 },
        "Flow-control window of a stream: what a device may send on T2 before the twin has read it.",
    ),
    key(
        "net.datagram_buffer_bytes",
        "262144",
        Kind::Count {
            min: 4096,
            max: 64 * MIB,
            set: |c, v| c.net.datagram_buffer_bytes = v as usize,
        },
        "Received T1 payloads that a session may hold before the worker takes them. Beyond it QUIC discards, and that is counted as shed.",
    ),
    key(
        "net.keys_per_session",
        "65536",
        Kind::Count { min: 1, max: 1 << 24, set: |c, v| c.net.keys_per_session = v as usize },
        "Distinct (device, sensor) pairs that a session may name.",
    ),
];

const ADDRESS: &[Key] = &[
    key(
        "address.max_sessions",
        "16384",
        Kind::Count { min: 1, max: 1 << 20, set: |c, v| c.address.max_sessions = v as usize },
        "Sessions that one address may have open. A gateway is one address for all devices behind it; in IPv6 the first 64 bits are the address. Each worker counts for itself.",
    ),
    key(
        "address.max_handshakes",
        "256",
        Kind::Count { min: 1, max: 1 << 20, set: |c, v| c.address.max_handshakes = v as usize },
        "Handshakes of one address at the same time; one more is refused. Each worker has its part of them.",
    ),
    key(
        "address.max_streams",
        "16384",
        Kind::Count { min: 1, max: 1 << 24, set: |c, v| c.address.max_streams = v as usize },
        "Streams that one address may have open; one more is stopped.",
    ),
    key(
        "address.datagrams_per_s",
        "0",
        Kind::Count { min: 0, max: 1 << 30, set: |c, v| c.address.datagrams_per_s = v },
        "UDP datagrams that one address may send in a second; further ones are ignored, which QUIC takes for loss. 0 is no limit.",
    ),
    key(
        "address.bytes_per_s",
        "0",
        Kind::Count { min: 0, max: 1 << 40, set: |c, v| c.address.bytes_per_s = v },
        "Bytes of UDP payload that one address may send in a second; further datagrams are ignored. 0 is no limit.",
    ),
];

const TICK: &[Key] = &[
    key(
        "tick.hz",
        "1000",
        Kind::Count { min: 1, max: 20_000, set: |c, v| c.tick.hz = v as u32 },
        "Ticks per second. Overruns are counted, never hidden.",
    ),
    key(
        "tick.core",
        "none",
        Kind::Core { set: |c, v| c.tick.core = v },
        "Core that the tick thread is pinned to; that of a worker only where it sleeps: idle.strategy neither spin nor yield. Threads that are not hot keep off these cores, as far as there are others.",
    ),
    key(
        "tick.catch_up",
        "100",
        Kind::Count { min: 0, max: 100_000, set: |c, v| c.tick.catch_up = v as u32 },
        "Ticks that run late, one after the other, after a delay. What lies further back is missed, and counted.",
    ),
    key(
        "tick.outlier_us",
        "10000",
        Kind::Count { min: 1, max: 60_000_000, set: |c, v| c.tick.outlier_us = v },
        "A record that took longer from its intended send time to its row is an outlier, and is counted by what kept it.",
    ),
    key(
        "tick.drain_t1",
        "65536",
        Kind::Count { min: 1, max: 1 << 24, set: |c, v| c.tick.drain[0] = v as usize },
        "T1 records applied in one tick at most; one of a sensor that is new counts as 32.",
    ),
    key(
        "tick.drain_t2",
        "16384",
        Kind::Count { min: 1, max: 1 << 24, set: |c, v| c.tick.drain[1] = v as usize },
        "T2 records applied in one tick at most; one of a sensor that is new counts as 32.",
    ),
    key(
        "tick.drain_t3",
        "1024",
        Kind::Count { min: 1, max: 1 << 24, set: |c, v| c.tick.drain[2] = v as usize },
        "T3 commands handled in one tick at most.",
    ),
];

const IDLE: &[Key] = &[
    key(
        "idle.strategy",
        "auto",
        Kind::Choice { of: IDLE_NAMES, set: |c, v| c.idle.strategy = IdleStrategy::ALL[v] },
        "What the worker does when there is nothing to do. auto looks at the number of cores and says what it chose.",
    ),
    key(
        "idle.rest_us",
        "1000",
        Kind::Count { min: 0, max: 10_000, set: |c, v| c.idle.rest_us = v },
        "How long a worker that waits rests after its socket ran dry, so that packets are taken together; never into a tick. 0 takes each at once, for more CPU.",
    ),
    key(
        "idle.tick_spin_us",
        "0",
        Kind::Count { min: 0, max: 1_000_000, set: |c, v| c.idle.tick_spin_us = v },
        "How long the tick thread spins before each tick instead of sleeping: less jitter for more CPU.",
    ),
];

const HOST: &[Key] = &[
    key(
        "host.priority",
        "hot",
        Kind::Choice { of: PRIORITY_NAMES, set: |c, v| c.host.priority = Priority::ALL[v] },
        "hot: worker and tick thread go before other threads of the host, as far as the system allows. normal: as all others.",
    ),
    key(
        "host.lock_memory",
        "true",
        Kind::Switch { set: |c, v| c.host.lock_memory = v },
        "Keeps all memory of the twin in place, so that no hot thread waits for a page: where the limit of locked memory allows it.",
    ),
    key(
        "host.confine",
        "true",
        Kind::Switch { set: |c, v| c.host.confine = v },
        "Takes from worker and tick threads what they never need, such as opening a file or a socket or starting a program: where the kernel can (seccomp).",
    ),
];

const RING_MAX: u64 = 1 << 26;
const RING: &[Key] = &[
    key(
        "ring.t1",
        "131072",
        Kind::PowerOfTwo { min: 64, max: RING_MAX, set: |c, v| c.ring.tiers[0] = v as usize },
        "Slots between worker and tick for T1, 64 bytes each: one takes a record, and 23 the 36 of a full datagram. A full ring sheds and counts.",
    ),
    key(
        "ring.t2",
        "16384",
        Kind::PowerOfTwo { min: 64, max: RING_MAX, set: |c, v| c.ring.tiers[1] = v as usize },
        "Slots between worker and tick for T2. A full ring leaves bytes in QUIC's flow control.",
    ),
    key(
        "ring.t3",
        "4096",
        Kind::PowerOfTwo { min: 64, max: RING_MAX, set: |c, v| c.ring.tiers[2] = v as usize },
        "Slots between worker and tick for T3, a command each. A full ring resets the stream with a code that says so.",
    ),
    key(
        "ring.out",
        "4096",
        Kind::PowerOfTwo { min: 64, max: RING_MAX, set: |c, v| c.ring.out = v as usize },
        "Replies and actuator commands from tick to worker.",
    ),
];

const REST: &[Key] = &[
    key(
        "world.entities_max",
        "1048576",
        Kind::Count { min: 1, max: 1 << 27, set: |c, v| c.world.entities_max = v as usize },
        "Entities that the world holds at most; records of further ones are rejected and counted.",
    ),
    key(
        "http.addr",
        "127.0.0.1:9100",
        Kind::Addr { set: |c, v| c.http.addr = v },
        "TCP address of the dashboard, the API and /metrics. Port 0 takes any free port and prints it. Beyond loopback it needs http.cert, and http.token_file or http.client_ca.",
    ),
    key(
        "http.enabled",
        "true",
        Kind::Switch { set: |c, v| c.http.enabled = v },
        "Whether http.addr is served.",
    ),
    key(
        "http.token_file",
        "none",
        Kind::Path { set: |c, v| c.http.token_file = (v.as_os_str() != "none").then_some(v) },
        "File whose first line is the token that API, streams and /metrics ask for; none asks for none.",
    ),
    key(
        "http.cert",
        "none",
        Kind::PathOrNone { set: |c, v| c.http.cert = v },
        "Certificate chain of http.addr, PEM; none speaks no TLS. It is read again when it changes.",
    ),
    key(
        "http.key",
        "none",
        Kind::PathOrNone { set: |c, v| c.http.key = v },
        "Private key of http.cert, PEM.",
    ),
    key(
        "http.client_ca",
        "none",
        Kind::PathOrNone { set: |c, v| c.http.client_ca = v },
        "Authorities of operators, PEM, and not those of devices: whoever asks at http.addr has to show a certificate that one of them has signed. none asks for none.",
    ),
    key(
        "http.commands",
        "all",
        Kind::Choice { of: COMMANDS_NAMES, set: |c, v| c.http.commands = Commands::ALL[v] },
        "What may be commanded over HTTP: all (setpoints, stop and clear), stop (only that), or none.",
    ),
    key(
        "http.webtransport",
        "true",
        Kind::Switch { set: |c, v| c.http.webtransport = v },
        "Whether browsers may watch over WebTransport, on net.addr. They need a ticket from http.addr for it; without it they use WebSocket.",
    ),
    key(
        "tls.cert",
        "certs/server.pem",
        Kind::Path { set: |c, v| c.tls.cert = v },
        "The server's certificate chain (PEM); `pollux certs init` makes one for development.",
    ),
    key(
        "tls.key",
        "certs/server.key",
        Kind::Path { set: |c, v| c.tls.key = v },
        "The server's private key (PEM, PKCS #8).",
    ),
    key(
        "tls.client_auth",
        "required",
        Kind::Choice { of: CLIENT_AUTH_NAMES, set: |c, v| c.tls.client_auth = ClientAuth::ALL[v] },
        "What a device has to prove. required: a certificate or a token, and it writes for what that names. optional: a device that shows neither writes for every device. off: nothing is asked.",
    ),
    key(
        "tls.ca",
        "certs/ca.pem",
        Kind::Path { set: |c, v| c.tls.ca = v },
        "The authorities that sign the certificates of devices (PEM). Not read where tls.client_auth is off, nor are the two below.",
    ),
    key(
        "tls.crl",
        "certs/crl.pem",
        Kind::PathOrNone { set: |c, v| c.tls.crl = v },
        "The certificates of devices that are revoked (PEM); `pollux certs revoke` adds to it. All files of this section are read again when they change, and at SIGHUP.",
    ),
    key(
        "tls.tokens",
        "none",
        Kind::PathOrNone { set: |c, v| c.tls.tokens = v },
        "Devices without a certificate: on each line a UUID and the SHA-256 of its token; `pollux certs token` makes one.",
    ),
];

/// The three keys of one sensor type.
macro_rules! thresholds {
    ($($index:literal $name:literal $unit:literal $low:literal $high:literal $hysteresis:literal;)*) => {
        &[$(
            key(
                concat!("thresholds.", $name, ".high"),
                $high,
                Kind::Real {
                    min: f64::NEG_INFINITY,
                    max: f64::INFINITY,
                    set: |c, v| c.thresholds[$index].high = v,
                },
                concat!("A ", $name, " above it crosses upwards (", $unit, "); inf switches it off."),
            ),
            key(
                concat!("thresholds.", $name, ".low"),
                $low,
                Kind::Real {
                    min: f64::NEG_INFINITY,
                    max: f64::INFINITY,
                    set: |c, v| c.thresholds[$index].low = v,
                },
                concat!("A ", $name, " below it crosses downwards (", $unit, "); -inf switches it off."),
            ),
            key(
                concat!("thresholds.", $name, ".hysteresis"),
                $hysteresis,
                Kind::Real {
                    min: 0.0,
                    max: f64::MAX,
                    set: |c, v| c.thresholds[$index].hysteresis = v,
                },
                concat!("How far a ", $name, " must come back before it can cross again (", $unit, ")."),
            ),
        )*]
    };
}

const THRESHOLDS: &[Key] = thresholds![
    0 "generic" "any unit" "-inf" "inf" "0";
    1 "temperature" "degrees Celsius" "0" "80" "2";
    2 "humidity" "percent" "10" "90" "2";
    3 "pressure" "kilopascal" "80" "600" "5";
    4 "voltage" "volt" "207" "253" "2";
    5 "current" "ampere" "-inf" "32" "1";
];

const AUTOMATION: &[Key] = &[
    key(
        "automation.rules",
        "[]",
        Kind::Rules { set: |c, v| c.automation.rules = v },
        "Rules that close a loop, e.g. [{ sensor_type = \"temperature\", above = 70.0, setpoint = 20.0 }]: while a sensor of that type is above the value, the actuator of its device gets the setpoint.",
    ),
    key(
        "automation.stop_rules",
        "[]",
        Kind::StopRules { set: |c, v| c.automation.stop_rules = v },
        "What stops the plant by itself, e.g. [{ sensor_type = \"temperature\", above = 95.0 }]: as soon as a sensor of that type is above the value. A command over a network, no safety function.",
    ),
    key(
        "automation.device_stop",
        "true",
        Kind::Switch { set: |c, v| c.automation.device_stop = v },
        "Whether a device may stop the plant, by operation 2 of T3. To clear a stop is left to operators.",
    ),
    key(
        "automation.stop_file",
        "none",
        Kind::PathOrNone { set: |c, v| c.automation.stop_file = v },
        "A file that keeps whether the plant is stopped, in a folder that the twin may write; without one a restart forgets it. One that is there and cannot be read stops the plant until an operator clears it.",
    ),
];

const FAULT: &[Key] = &[
    key(
        "fault.seed",
        "1",
        Kind::Count { min: 0, max: i64::MAX as u64, set: |c, v| c.fault.seed = v },
        "Reproduces the faults of a run.",
    ),
    key(
        "fault.loss",
        "0",
        Kind::Real { min: 0.0, max: 1.0, set: |c, v| c.fault.loss = v },
        "Probability that a record is discarded before it is applied.",
    ),
    key(
        "fault.delay_ticks",
        "0",
        Kind::Count { min: 0, max: 60_000, set: |c, v| c.fault.delay_ticks = v as u32 },
        "Ticks by which records are held back.",
    ),
    key(
        "fault.duplicate",
        "0",
        Kind::Real { min: 0.0, max: 1.0, set: |c, v| c.fault.duplicate = v },
        "Probability that a record arrives twice.",
    ),
    key(
        "fault.corrupt",
        "0",
        Kind::Real { min: 0.0, max: 1.0, set: |c, v| c.fault.corrupt = v },
        "Probability that a byte of a record is changed.",
    ),
];

const CAPTURE: &[Key] = &[
    key(
        "capture.file",
        "none",
        Kind::PathOrNone { set: |c, v| c.capture.file = v },
        "Keeps everything that the tick thread consumes in this file, to be read by `pollux replay` and `pollux inspect`. The captures of the three runs before are kept beside it, with .1, .2 and .3 behind the name, .1 the latest of them; anything else that has the name is refused.",
    ),
    key(
        "capture.max_bytes",
        "1073741824",
        Kind::Count { min: MIB, max: 1 << 50, set: |c, v| c.capture.max_bytes = v },
        "Size of that file at most, and of each that is kept beside it; `capture.keep` says what it holds then.",
    ),
    key(
        "capture.keep",
        "first",
        Kind::Choice { of: KEEP_NAMES, set: |c, v| c.capture.keep = Keep::ALL[v] },
        "What the file keeps when the run is longer. first: the beginning, which can be replayed; then the capture ends, and that is said. last: what came latest, in a file that is written round. States of the world go into it, four in a lap, so that it can be replayed from the first of them on. A second world on the capture's own thread makes them: it costs the memory of the world once more.",
    ),
    key(
        "capture.ring",
        "262144",
        Kind::PowerOfTwo { min: 1024, max: RING_MAX, set: |c, v| c.capture.ring = v as usize },
        "Cells of 64 bytes between the tick thread and the file. A full ring sheds whole ticks of the capture, never of the plant.",
    ),
];

const LOG: &[Key] = &[key(
    "log.level",
    "info",
    Kind::Choice { of: LEVEL_NAMES, set: |c, v| c.log.level = LogLevel::ALL[v] },
    "The least severe line that is written to stderr.",
)];
