//! What the kernel counts of the process and of a thread: CPU time, pages that it had to find, and how often the thread lost
//! its core.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// CPU time of the process in nanoseconds: (user, system). Their sum is exact to a microsecond; how it is shared out between
/// the two follows the kernel's samples. Zeros where the system refuses to tell. Costs a system call.
#[must_use]
pub fn process_cpu() -> (u64, u64) {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return (0, 0) };
    let ns = |time: TimeVal| u64::try_from(time.num_microseconds()).unwrap_or(0) * 1_000;
    (ns(usage.user_time()), ns(usage.system_time()))
}

/// Counts since the thread began. Costs a system call: for once a second and for what is rare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadUsage {
    /// Pages that were found without reading from a disk.
    pub minor_faults: u64,
    /// Pages that were read from a disk.
    pub major_faults: u64,
    /// Times that the thread gave its core away.
    pub waits: u64,
    /// Times that its core was taken from it.
    pub preemptions: u64,
}

impl ThreadUsage {
    /// That of the calling thread.
    #[must_use]
    pub fn of_this_thread() -> Self {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return Self::default() };
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        Self {
            minor_faults: count(usage.minor_page_faults()),
            major_faults: count(usage.major_page_faults()),
            waits: count(usage.voluntary_context_switches()),
            preemptions: count(usage.involuntary_context_switches()),
        }
    }
}
