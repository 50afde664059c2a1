//! How the scheduler ranks the calling thread against its neighbours.
//!
//! Hot threads run a little at a time and must not wait for others to use up their slices; cold threads can. Niceness is
//! asked for, never taken: where the system refuses it, the thread runs as any other, which shows in the result.
//! Real-time classes are refused here on purpose, because a worker at full load would starve its host.

use rustix::process::{getpriority_process, setpriority_process};

/// Gives the calling thread this niceness, from -20 (goes first) to 19 (goes last), and returns what it runs with. Below
/// the present one the system wants `CAP_SYS_NICE` or a limit (`LimitNICE=` in a unit) that allows it.
///
/// In Linux niceness belongs to a thread, and is inherited by the threads that it starts later.
pub fn set_niceness(wanted: i32) -> i32 {
    // Without a process given, the call is about the calling thread.
    let refused = setpriority_process(None, wanted).err();
    let niceness = getpriority_process(None).unwrap_or(0);
    if let Some(error) = refused {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::debug!(thread, wanted, niceness, %error, "the system does not rank the thread as asked");
    }
    niceness
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_goes_last_if_it_asks_for_that_and_takes_no_other_with_it() {
        let before = getpriority_process(None).unwrap();
        let thread = std::thread::spawn(|| (set_niceness(19), getpriority_process(None).unwrap()));
        assert_eq!(thread.join().unwrap(), (19, 19));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
