//! Parting from threads: waiting for their end with a bound, because a disk that hangs holds its thread for as long as it
//! likes.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netloop::{Clock, wait_until};
use thiserror::Error;

/// How often it is looked whether a thread has ended.
const LOOK: Duration = Duration::from_millis(2);

/// How a thread has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Left {
    /// It has not ended in time, and is left where it is.
    #[error("does not end, and is left")]
    Hangs,
    /// It has panicked.
    #[error("has panicked")]
    Panicked,
}

/// Until when threads are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience(Instant);

impl Patience {
    /// So long from now on.
    #[must_use]
    pub fn of(time: Duration) -> Self {
        Self(Clock::new().now().instant + time)
    }

    /// Waits for the end of a thread, which is looked for once at least.
    ///
    /// # Errors
    /// It has not ended in time, or it has panicked.
    pub fn join<T>(self, thread: JoinHandle<T>) -> Result<T, Left> {
        let clock = Clock::new();
        while !thread.is_finished() {
            let now = clock.now().instant;
            if now >= self.0 {
                return Err(Left::Hangs);
            }
            wait_until((now + LOOK).min(self.0), Duration::ZERO);
        }
        thread.join().map_err(|_| Left::Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::spawn;

    use super::*;

    #[test]
    fn a_thread_that_hangs_is_left_and_one_that_has_panicked_is_told() {
        let (held, holds) = channel::<()>();
        let hangs = spawn(move || holds.recv());
        assert_eq!(Patience::of(Duration::ZERO).join(hangs), Err(Left::Hangs));
        drop(held);
        let minute = Patience::of(Duration::from_secs(60));
        assert_eq!(minute.join(spawn(|| panic!("on purpose"))), Err::<(), _>(Left::Panicked));
        assert_eq!(minute.join(spawn(|| 7)), Ok(7));
    }
}
