//! What the process has used: CPU time and memory, as the kernel accounts them.

use anyhow::Context as _;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};

/// CPU time of all threads since the start of the process, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    /// In user space.
    pub(crate) user_s: f64,
    /// In the kernel.
    pub(crate) system_s: f64,
}

impl CpuTime {
    /// Reads the clock of the process: about a microsecond.
    pub(crate) fn now() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF)
            .expect("getrusage of the own process succeeds because it takes no other argument");
        Self { user_s: seconds(usage.user_time()), system_s: seconds(usage.system_time()) }
    }

    /// User and system time together, in seconds.
    pub(crate) fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }
}

/// Resident memory of the process, in bytes.
pub(crate) fn rss_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let kib: u64 = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok()
        })
        .context("/proc/self/status has no VmRSS line")?;
    Ok(kib * 1_024)
}

/// A kernel time as seconds.
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}
