//! What the host does not give although it was asked for: one line at start, and a gauge for each.
//!
//! Fewer cores, a limit or a missing permission make a twin slower or less safe, never absent: it runs without, and
//! says so once, in a form that an alarm can use.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::stats::Counter;

/// What is asked of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A core for each hot thread.
    Cores,
    /// The cores of `net.core` and `tick.core`.
    Pinning,
    /// That hot threads go first, `host.priority`.
    Priority,
    /// That no page leaves memory, `host.lock_memory`.
    MemoryLock,
    /// That hot threads cannot do what they never need, `host.confine`.
    Confinement,
    /// `net.recv_buffer_bytes`.
    ReceiveBuffer,
    /// Sleeps that end on time.
    Timers,
    /// `automation.stop_file`.
    StopFile,
}

impl Wish {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Cores,
        Self::Pinning,
        Self::Priority,
        Self::MemoryLock,
        Self::Confinement,
        Self::ReceiveBuffer,
        Self::Timers,
        Self::StopFile,
    ];

    /// Its name, as in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cores => "cores",
            Self::Pinning => "pinning",
            Self::Priority => "priority",
            Self::MemoryLock => "memory_lock",
            Self::Confinement => "confinement",
            Self::ReceiveBuffer => "receive_buffer",
            Self::Timers => "timers",
            Self::StopFile => "stop_file",
        }
    }
}

/// What was not given, and why.
type Lack = (Wish, String);

/// Where a starting thread tells what it did not get. The line ends when every thread has dropped its own.
#[derive(Debug, Clone)]
pub struct Teller(Sender<Lack>);

impl Teller {
    /// Tells of one wish that was not met.
    pub fn tell(&self, wish: Wish, why: String) {
        // Without a listener nobody wants to know.
        let _ = self.0.send((wish, why));
    }
}

/// What all parts of a twin have not got.
#[derive(Debug)]
pub struct Lacks(Receiver<Lack>);

/// A line from those who start to the one who says what they lack.
#[must_use]
pub fn lacks() -> (Teller, Lacks) {
    let (sender, receiver) = channel();
    (Teller(sender), Lacks(receiver))
}

impl Lacks {
    /// Waits until everybody has started, sets the gauges, and gives the line for the log; none where all was given.
    #[must_use]
    pub fn settle(self, gauges: &[Counter; Wish::ALL.len()]) -> Option<String> {
        let mut told: Vec<String> = Vec::new();
        for (wish, why) in self.0 {
            gauges[wish as usize].set(1);
            let words = format!("{}: {why}", wish.name());
            // Several workers lack the same thing for the same reason.
            if !told.contains(&words) {
                told.push(words);
            }
        }
        told.sort_unstable();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lacks_of_all_threads_make_one_line_and_set_their_gauges() {
        let (teller, lacks) = lacks();
        let other = teller.clone();
        let thread = std::thread::spawn(move || {
            other.tell(Wish::Priority, "niceness 0 instead of -10".to_owned());
            other.tell(Wish::Pinning, "net-1 not on core 9".to_owned());
        });
        teller.tell(Wish::Priority, "niceness 0 instead of -10".to_owned());
        drop(teller);
        thread.join().unwrap();
        let gauges = Default::default();
        let line = lacks.settle(&gauges).unwrap();
        assert_eq!(line, "pinning: net-1 not on core 9; priority: niceness 0 instead of -10");
        let set = Wish::ALL.map(|wish| gauges[wish as usize].value());
        assert_eq!(set, [0, 1, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn nothing_is_said_where_all_was_given() {
        let (teller, lacks) = lacks();
        drop(teller);
        assert_eq!(lacks.settle(&Default::default()), None);
    }
}
