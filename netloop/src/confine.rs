//! Takes from a hot thread what it never needs: after this it can neither open a file or a socket, nor start a program.
//!
//! Whoever finds a way into the code that reads packets has the thread's memory and its one socket, and not the host. What
//! is not in the list below fails with EPERM; nothing is killed, so that a system library that tries something new goes
//! without it. The threads that are not hot keep what they have.

use std::collections::BTreeMap;

use nix::libc::{self, c_long};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Why a thread is not confined.
#[derive(Debug, thiserror::Error)]
#[error("the system does not filter calls: {0}")]
pub struct ConfineError(String);

/// What a hot thread calls: packets, waiting, memory, time, and its own end.
const ALLOWED: &[c_long] = &[
    // Packets, and the wake line.
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendto,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    // Waiting.
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Time and numbers.
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_getcpu,
    libc::SYS_sched_getaffinity,
    // The thread itself, its panics and its end.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    // What musl's abort raises its signal with.
    libc::SYS_tkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Confines the calling thread, for good.
///
/// # Errors
/// The kernel has no filter of system calls, or does not allow it here; the thread is as it was then.
pub fn confine() -> Result<(), ConfineError> {
    apply_filter(&program()?).map_err(|error| ConfineError(error.to_string()))
}

fn program() -> Result<BpfProgram, ConfineError> {
    let unknown = |error: seccompiler::BackendError| ConfineError(error.to_string());
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(unknown)?;
    let rules: BTreeMap<_, _> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)
        .and_then(BpfProgram::try_from)
        .map_err(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_raises_its_signal_with_either_c_library() {
        assert!([libc::SYS_tgkill, libc::SYS_tkill].iter().all(|call| ALLOWED.contains(call)));
    }
}
