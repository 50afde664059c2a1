//! The host and the build behind a number: no figure leaves without them.
//!
//! What cannot be read is "unknown" or 0; nothing here fails.

use std::fs;
use std::sync::OnceLock;

use serde::Serialize;

/// Version of the product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Revision that was built, or "unknown".
pub const REVISION: &str = env!("BUILD_REVISION");
/// Compiler that built it, or "unknown".
pub const RUSTC: &str = env!("BUILD_RUSTC");

/// Where a run took place, and what ran.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Model of the first core.
    pub cpu_model: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Architecture of the binary.
    pub arch: &'static str,
    /// Memory of the machine, in bytes.
    pub memory_bytes: u64,
    /// Compiler that built the binary.
    pub rustc: &'static str,
    /// Revision that was built.
    pub revision: &'static str,
}

impl Host {
    /// Reads what the kernel says of this machine.
    #[must_use]
    pub fn read() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        // Boards name themselves in the device tree and leave the model of their cores out.
        let board = fs::read_to_string("/proc/device-tree/model").unwrap_or_default();
        Self {
            cpu_model: field(&cpus, "model name")
                .or_else(|| known(board.trim_end_matches('\0')))
                .unwrap_or_else(|| "unknown".to_owned()),
            cores: cores(),
            kernel: known(kernel.trim()).unwrap_or_else(|| "unknown".to_owned()),
            arch: std::env::consts::ARCH,
            memory_bytes: field(&memory, "MemTotal").map_or(0, |text| kilobytes(&text)),
            rustc: RUSTC,
            revision: REVISION,
        }
    }
}

/// Cores that this process may use, as it was when they were first counted: before threads are pinned, because the system
/// tells each thread of its own alone, and one that keeps off hot cores has fewer.
#[must_use]
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(0, usize::from))
}

/// Processes that want to run, on average over the last minute.
#[must_use]
pub fn load_1m() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The first `name : value` line of a file in /proc.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .and_then(|(_, value)| known(value.trim()))
}

fn kilobytes(text: &str) -> u64 {
    text.trim_end_matches("kB").trim().parse().map_or(0, |kilobytes: u64| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_keeps_off_a_core_still_counts_it() {
        let count = cores();
        let thread = std::thread::spawn(|| {
            netloop::keep_off(&[0]);
            Host::read().cores
        });
        assert_eq!(thread.join().unwrap(), count);
    }
}
