//! Pins the calling thread to a core, and says honestly whether that worked.
//!
//! A core that is missing or forbidden (a container's cpuset, a smaller machine) shows in the result; it never stops the
//! thread from running.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where the thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The core that was asked for.
    pub requested: Option<usize>,
    /// The core that the thread is bound to; nothing when it roams.
    pub core: Option<usize>,
}

impl Pinned {
    /// For a gauge: the core, or -1 for a thread that roams.
    #[must_use]
    pub fn gauge(self) -> i64 {
        self.core.and_then(|core| i64::try_from(core).ok()).unwrap_or(-1)
    }

    /// Whether the wish was met; a thread that asked for no core has its wish.
    #[must_use]
    pub fn satisfied(self) -> bool {
        self.requested == self.core
    }
}

/// Binds the calling thread to `core`; without a core it stays where the scheduler puts it.
pub fn pin(core: Option<usize>) -> Pinned {
    let Some(requested) = core else { return Pinned { requested: None, core: None } };
    let allowed = allowed_cores();
    let bound = allowed.contains(&requested) && bind(requested);
    if !bound {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::debug!(
            thread,
            requested,
            ?allowed,
            "core not available; the thread is not pinned"
        );
    }
    Pinned { requested: core, core: core.filter(|_| bound) }
}

/// The cores that the calling thread may use, in order; none where the kernel does not say.
fn allowed_cores() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
}

/// Binds the calling thread to one of its cores.
fn bind(core: usize) -> bool {
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).is_ok()
}

/// Keeps the calling thread, and those that it starts later, off these cores. Where it may use no others, it gives up the
/// first of them, and so on: the last core is the last that others come to. Returns how many it keeps off.
pub fn keep_off(cores: &[usize]) -> usize {
    let Ok(allowed) = sched_getaffinity(None) else { return 0 };
    for first in 0..cores.len() {
        let mut left = allowed;
        cores[first..]
            .iter()
            .filter(|core| **core < CpuSet::MAX_CPU)
            .for_each(|core| left.unset(*core));
        if left.count() > 0 && sched_setaffinity(None, &left).is_ok() {
            return cores.len() - first;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_keeps_off_the_last_cores_as_long_as_others_are_left() {
        let cores = allowed_cores();
        let run = |off: Vec<usize>| {
            let thread = std::thread::spawn(move || {
                let kept_off = keep_off(&off);
                (kept_off, allowed_cores())
            });
            thread.join().unwrap()
        };
        assert_eq!(run(Vec::new()), (0, cores.clone()));
        let [first, others @ ..] = &cores[..] else { unreachable!("a process has a core") };
        assert_eq!(run(others.to_vec()), (others.len(), vec![*first]));
        // All of them: the first one is given up.
        assert_eq!(run(cores.clone()), (others.len(), vec![*first]));
        // Cores that nobody has cost none of those that there are.
        assert_eq!(run(vec![100_000]), (1, cores));
    }

    #[test]
    fn thread_runs_on_the_core_it_was_given() {
        let core = allowed_cores()[0];
        // A thread of its own: the binding would otherwise stay with the test runner's.
        let (pinned, allowed) =
            std::thread::spawn(move || (pin(Some(core)), allowed_cores())).join().unwrap();
        assert_eq!(pinned, Pinned { requested: Some(core), core: Some(core) });
        assert!(pinned.satisfied());
        assert_eq!(allowed, [core]);
    }

    #[test]
    fn missing_core_is_reported_and_survived() {
        let pinned = pin(Some(100_000));
        assert_eq!(pinned, Pinned { requested: Some(100_000), core: None });
        assert_eq!(pinned.gauge(), -1);
        assert!(!pinned.satisfied());
    }

    #[test]
    fn thread_without_a_core_roams() {
        assert_eq!(pin(None).gauge(), -1);
        assert!(pin(None).satisfied());
    }
}
