//! Keeps the memory of the process where it is: every page in place before it is used, and none of it in swap.
//!
//! A page that has to be found costs a hot thread some microseconds, one that has to be read from a disk costs it
//! milliseconds. Locked memory is filled as it is mapped, so that growth is paid where it is asked for. It is asked for and
//! never taken: a limit that memory would outgrow later is worse than none, because an allocation would then fail.

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Why memory is not locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The process may lock so many bytes, which is less than it may need.
    #[error(
        "the limit of locked memory is {0} bytes; set it to infinity (LimitMEMLOCK=infinity in a unit)"
    )]
    Limited(u64),
    /// The system refuses.
    #[error("the system does not lock memory: {0}")]
    Refused(Errno),
}

/// Locks everything that the process has mapped and will map.
///
/// # Errors
/// The limit of the process is finite and cannot be raised, or the system refuses; memory is as it was then.
pub fn lock_memory() -> Result<(), LockError> {
    // Whoever has the capability has no limit.
    let free = capabilities(None).is_ok_and(|of| of.effective.contains(CapabilitySet::IPC_LOCK));
    if let Some(bytes) = getrlimit(Resource::Memlock).current.filter(|_| !free) {
        let endless = Rlimit { current: None, maximum: None };
        setrlimit(Resource::Memlock, endless).map_err(|_| LockError::Limited(bytes))?;
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(LockError::Refused)
}

/// Bytes of the process that are locked.
///
/// # Errors
/// When `/proc` cannot be read, or does not have the form that Linux gives it.
pub fn locked_bytes() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "/proc/self/status"))
}
