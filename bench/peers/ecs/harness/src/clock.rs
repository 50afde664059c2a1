//! Time and memory as the kernel accounts them.

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};

/// CPU time of this thread, in nanoseconds: what others do on the machine is not in it.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("the clock of the own thread because Linux always has it");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// Pages of this process that were first touched so far.
pub(crate) fn minor_faults() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the usage of the own process");
    usage.minor_page_faults() as u64
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kib = kib.ok_or_else(|| anyhow::anyhow!("/proc/self/status has no VmRSS"))?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}
