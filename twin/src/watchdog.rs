//! Looks from the cold thread whether the workers still take turns, says where one stands still, and lets the next stand in.
//!
//! It counts looks and reads no clock: when the host takes the cold thread's time too, nothing is called still that merely
//! shared its fate. A worker that may only be asleep is woken first; one that then takes no turn is still.

use std::sync::Arc;
use std::time::Duration;

use netloop::Posts;

use crate::stats::TwinStats;

/// Time between two looks.
pub const LOOK: Duration = Duration::from_millis(25);
/// Looks without a turn after which a worker is woken.
const WAKE_LOOKS: u32 = 1;
/// Looks without a turn after which a worker stands still: it is known within 100 ms.
const STILL_LOOKS: u32 = 3;
/// Looks without a turn after which the next worker stands in, which ends the sessions: half a second.
const DESERTED_LOOKS: u32 = 20;

/// What is known of one worker.
#[derive(Debug, Default)]
struct Seen {
    turns: u64,
    /// Looks since its last turn.
    looks: u32,
}

/// What a look found out about a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It may be asleep.
    Quiet,
    /// It takes no turn although it was woken.
    Still,
    /// It has stood still for so long that its devices need another worker.
    Deserted,
    /// It takes turns again after it stood still.
    Back,
}

impl Seen {
    fn look(&mut self, turns: u64) -> Option<Found> {
        if turns != self.turns {
            let was_still = self.looks >= STILL_LOOKS;
            *self = Self { turns, looks: 0 };
            return was_still.then_some(Found::Back);
        }
        self.looks += 1;
        match self.looks {
            WAKE_LOOKS => Some(Found::Quiet),
            STILL_LOOKS => Some(Found::Still),
            DESERTED_LOOKS => Some(Found::Deserted),
            _ => None,
        }
    }

    const fn is_still(&self) -> bool {
        self.looks >= STILL_LOOKS
    }
}

/// The watch over the workers of a twin.
pub struct Watchdog {
    stats: Arc<TwinStats>,
    posts: Posts,
    seen: Vec<Seen>,
}

impl Watchdog {
    /// Over the workers of `stats`, which stand at `posts`.
    #[must_use]
    pub fn new(stats: Arc<TwinStats>, posts: Posts) -> Self {
        let seen = stats.workers().iter().map(|_| Seen::default()).collect();
        Self { stats, posts, seen }
    }

    /// Looks at each worker once. To be called every [`LOOK`], from one thread.
    pub fn look(&mut self) {
        for worker in 0..self.seen.len() {
            let turns = self.stats.workers()[worker].turns.value();
            if let Some(found) = self.seen[worker].look(turns) {
                self.act(worker, found);
            }
        }
        let still = self.seen.iter().filter(|seen| seen.is_still()).count();
        self.stats.watch.still.set(still as u64);
    }

    fn act(&self, worker: usize, found: Found) {
        match found {
            Found::Quiet => self.posts.wake(worker),
            Found::Still => {
                let stage = self.stats.workers()[worker].stage.value().name();
                tracing::error!(worker, stage, "a worker stands still");
                self.stats.watch.stalls.add(1);
            }
            Found::Deserted if self.seen.len() > 1 => {
                tracing::error!(
                    worker,
                    "the next worker stands in; its sessions have to come back"
                );
                self.posts.desert(worker);
                self.stats.watch.stood_in.add(1);
            }
            // A worker alone has no neighbour. Where all stand still, neither the supervisor nor a probe is told that the twin is
            // alive, and whoever runs it starts it again.
            Found::Deserted => {}
            Found::Back => {
                tracing::warn!(worker, "the worker takes turns again");
                self.posts.resume(worker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use netloop::{Handover, wake_line};

    use super::*;

    fn watchdog(workers: usize) -> (Watchdog, Arc<TwinStats>) {
        let stats = Arc::new(TwinStats::new(workers));
        let wakers: Vec<_> = (0..workers).map(|_| wake_line().unwrap().0).collect();
        let (posts, _) = Handover::between([1; 32], &wakers, &[]).unwrap();
        (Watchdog::new(Arc::clone(&stats), posts), stats)
    }

    #[test]
    fn worker_without_a_turn_is_still_within_100_ms() {
        let (mut watchdog, stats) = watchdog(2);
        let mut looks = 0;
        while stats.watch.stalls.value() == 0 {
            stats.workers()[0].turns.add(1);
            watchdog.look();
            looks += 1;
        }
        // The stall may begin right after a look.
        assert!(LOOK * (looks + 1) <= Duration::from_millis(100), "{looks} looks");
        assert_eq!(stats.watch.still.value(), 1);
    }

    #[test]
    fn worker_that_moves_again_is_no_longer_still() {
        let (mut watchdog, stats) = watchdog(2);
        for _ in 0..DESERTED_LOOKS {
            stats.workers()[1].turns.add(1);
            watchdog.look();
        }
        let watch = &stats.watch;
        assert_eq!((watch.still.value(), watch.stalls.value(), watch.stood_in.value()), (1, 1, 1));
        stats.workers()[0].turns.add(1);
        watchdog.look();
        assert_eq!((watch.still.value(), watch.stalls.value(), watch.stood_in.value()), (0, 1, 1));
    }

    #[test]
    fn nobody_stands_in_for_a_worker_alone() {
        let (mut watchdog, stats) = watchdog(1);
        for _ in 0..2 * DESERTED_LOOKS {
            watchdog.look();
        }
        let watch = &stats.watch;
        assert_eq!((watch.still.value(), watch.stalls.value(), watch.stood_in.value()), (1, 1, 0));
    }

    #[test]
    fn worker_that_takes_a_turn_when_woken_is_never_still() {
        let mut seen = Seen::default();
        for turns in 0..100 {
            let found = (seen.look(turns), seen.look(turns));
            assert!(found.0 != Some(Found::Still) && found.1 != Some(Found::Still), "{found:?}");
        }
    }
}
