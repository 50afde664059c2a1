//! Who looks at the plant: the mirror of its sensors is kept while somebody does, and for a while after.
//!
//! A plant of many sensors takes as much memory in the mirror as half of its rows, and the tick has to show them. So both are
//! asked for when somebody looks; whoever is the first to do so waits until the plant is there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;

/// How long the plant is kept after the last look.
const KEPT_NS: u64 = 60_000_000_000;
/// Whoever has waited so long gets what there is.
const PATIENCE: Duration = Duration::from_secs(5);

/// The looks at the plant.
#[derive(Debug, Default)]
pub struct Looks {
    /// There is a plant that can be shown.
    is_open: AtomicBool,
    /// When the plant is no longer kept, in nanoseconds since the beginning.
    until_ns: AtomicU64,
    shown: Notify,
}

impl Looks {
    /// States that there is a plant that can be shown.
    pub fn open(&self) {
        self.is_open.store(true, Relaxed);
    }

    /// Notes that somebody looks.
    pub fn note(&self, now_ns: u64) {
        self.until_ns.store(now_ns + KEPT_NS, Relaxed);
    }

    /// Whether the plant has to be shown: to so many viewers, or to whoever has looked a while ago.
    #[must_use]
    pub fn is_wanted(&self, viewers: u64, now_ns: u64) -> bool {
        if viewers > 0 {
            self.note(now_ns);
        }
        now_ns < self.until_ns.load(Relaxed)
    }

    /// Wakes whoever waits for the plant.
    pub fn note_picture(&self) {
        self.shown.notify_waiters();
    }

    /// Looks, and waits until `is_complete` or until patience ends.
    pub(super) async fn see(&self, now_ns: u64, is_complete: impl Fn() -> bool) {
        self.note(now_ns);
        if !self.is_open.load(Relaxed) {
            return;
        }
        let complete = async {
            loop {
                let shown = self.shown.notified();
                if is_complete() {
                    return;
                }
                shown.await;
            }
        };
        // Whoever has waited for so long is better off with a part of the plant than with nothing.
        tokio::time::timeout(PATIENCE, complete).await.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plant_is_kept_while_somebody_views_it_and_a_minute_longer() {
        let looks = Looks::default();
        assert!(!looks.is_wanted(0, 1), "nobody has looked");
        assert!(looks.is_wanted(2, 5));
        assert!(looks.is_wanted(0, 5 + KEPT_NS - 1) && !looks.is_wanted(0, 5 + KEPT_NS));
        looks.note(KEPT_NS);
        assert!(looks.is_wanted(0, KEPT_NS * 2 - 1) && !looks.is_wanted(0, KEPT_NS * 2));
    }
}
