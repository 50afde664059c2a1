//! How soon a thread that wakes may run, where others use the core.
//!
//! From version 6.12 on, Linux lets a thread choose the slice in which it gets its share of a core. The share stays what it
//! is, so that no permission is needed, but of two threads that have a share left, the one whose slice ends first runs
//! first: a thread that wakes for a few microseconds at a time need not wait until another one has used up its 3 ms
//! (earliest eligible virtual deadline first: Stoica and Abdel-Wahab 1995; `sched(7)`, `sched_setattr(2)`). Threads of a
//! real-time class keep it as it is. Older systems leave everything as it was, and say so in the answer.

#![allow(unsafe_code, reason = "the two system calls have no safe form; the proofs stand below")]

use std::time::Duration;

use nix::libc;

/// The class of every thread that asked for none, which libc counts as an `int` and the system as `u32`.
const ORDINARY: u32 = libc::SCHED_OTHER.unsigned_abs();

/// Gives the calling thread slices of this length, and returns the length that the system keeps for it: zero where it keeps
/// none, because it is older, refuses the call, or runs the thread in a class of its own.
///
/// Threads that it starts later have the same slice.
pub fn set_slice(wanted: Duration) -> Duration {
    let kept = shorten(wanted)
        .and_then(|()| attributes())
        .map_or(0, |attributes| attributes.sched_runtime);
    let kept = Duration::from_nanos(kept);
    if kept != wanted {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::debug!(
            thread,
            ?wanted,
            ?kept,
            "the system does not slice the thread's time as asked"
        );
    }
    kept
}

/// Sets the slice, and nothing else, of a thread of the ordinary class.
fn shorten(wanted: Duration) -> Option<()> {
    let mut attributes = attributes().filter(|attributes| attributes.sched_policy == ORDINARY)?;
    attributes.sched_runtime = u64::try_from(wanted.as_nanos()).ok()?;
    // SAFETY: thread 0 is the calling one. The pointer is to a whole `sched_attr` that nobody else sees during the call, and
    // its first member says its length: the system reads that much, and writes at most that member, where it refuses it.
    let answer = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw mut attributes, 0) };
    (answer == 0).then_some(())
}

/// How the calling thread is scheduled.
fn attributes() -> Option<libc::sched_attr> {
    const BYTES: u32 = size_of::<libc::sched_attr>() as u32;
    let mut found = libc::sched_attr {
        size: 0,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: thread 0 is the calling one. The pointer is to a whole `sched_attr` that nobody else sees during the call, and
    // the system writes at most `BYTES` bytes, its length; every pattern of bits is a value of each member.
    let answer = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, BYTES, 0) };
    (answer == 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Duration = Duration::from_micros(100);

    #[test]
    fn thread_has_the_slice_that_it_asked_for_and_keeps_class_and_rank() {
        let thread = std::thread::spawn(|| {
            let before = attributes().unwrap();
            let kept = set_slice(WANTED);
            (before, kept, attributes().unwrap())
        });
        let (before, kept, after) = thread.join().unwrap();
        assert_eq!(
            (before.sched_policy, before.sched_nice),
            (after.sched_policy, after.sched_nice)
        );
        assert_eq!(Duration::from_nanos(after.sched_runtime), kept);
        // A system older than 6.12 knows no slices, and says so by zero before and after.
        let granted = if before.sched_runtime == 0 { Duration::ZERO } else { WANTED };
        assert_eq!(kept, granted);
    }

    #[test]
    fn slice_that_no_system_counts_changes_nothing() {
        let thread = std::thread::spawn(|| {
            let before = attributes().unwrap().sched_runtime;
            (shorten(Duration::MAX), before, attributes().unwrap().sched_runtime)
        });
        let (set, before, after) = thread.join().unwrap();
        assert_eq!((set, before), (None, after));
    }
}
