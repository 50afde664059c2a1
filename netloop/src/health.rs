//! Whether a peer is still there, and how well its path carries: healthy, degraded, probing or failed.
//!
//! A session is looked at when it may have been silent for a while, never with each packet: it notes when it was last heard,
//! and one timer in a wheel follows lazily. A peer that is silent is asked by a PING, which costs one packet, and what it
//! answers, or that it does not, decides. The idle timeout of QUIC closes the session in the end; this says so before.

use std::time::{Duration, Instant};

use crate::{Engine, Now, PathStep, session::Phase, wheel::Wheel};

/// How a peer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Health {
    /// It was heard, and what is sent to it arrives.
    #[default]
    Healthy,
    /// It is heard, but its path loses, or carries much slower than it did.
    Degraded,
    /// It has been silent, and is asked whether it is there.
    Probing,
    /// It has not answered: without a sign of it the idle timeout will close the session.
    Failed,
}

impl Health {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Probing, Self::Failed];

    /// Its name, as in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Probing => "probing",
            Self::Failed => "failed",
        }
    }
}

/// What the path of a session has done, as counted since its begin.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PathCounts {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) rtt: Duration,
    pub(crate) rtt_min: Duration,
}

/// When silence means what. All follow from the idle timeout, which both ends agree on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Silence after which a peer is asked.
    ask: Duration,
    /// How often it is asked.
    again: Duration,
    /// Silence after which it has failed.
    fail: Duration,
}

impl Patience {
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        Self { ask: idle_timeout * 2 / 5, again: idle_timeout / 10, fail: idle_timeout * 7 / 10 }
    }
}

/// What is known of one peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) health: Health,
    pub(crate) heard: Instant,
    /// The counts at the last look that judged them.
    sent: u64,
    lost: u64,
}

/// What a look decides, beside the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Send a PING.
    pub(crate) ask: bool,
    pub(crate) next: Instant,
}

/// Losses are judged over at least so many packets: one of a handful says nothing.
const JUDGED_PACKETS: u64 = 32;
/// A path that loses one packet of so many is degraded; with half of that it is healthy again.
const LOSS_PART: u64 = 20;
/// A path whose round trip is so many times its least, and at least [`SLOW`], is degraded.
const SLOWER: u32 = 8;
const SLOW: Duration = Duration::from_millis(20);

impl Peer {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { health: Health::Healthy, heard: now, sent: 0, lost: 0 }
    }

    /// Judges the peer, and says what to do next.
    pub(crate) fn look(&mut self, now: Instant, path: &PathCounts, patience: &Patience) -> Look {
        let silent = now.saturating_duration_since(self.heard);
        if silent >= patience.fail {
            self.health = Health::Failed;
            return Look { ask: true, next: now + patience.again };
        }
        if silent >= patience.ask {
            self.health = Health::Probing;
            return Look { ask: true, next: now + patience.again };
        }
        let was_silent = matches!(self.health, Health::Probing | Health::Failed);
        let sent = path.sent.saturating_sub(self.sent);
        if was_silent || sent >= JUDGED_PACKETS {
            let lost = path.lost.saturating_sub(self.lost);
            // Losses while it was silent are what its silence was.
            let part = if self.health == Health::Degraded { 2 * LOSS_PART } else { LOSS_PART };
            let loses = !was_silent && lost * part >= sent;
            let slow = path.rtt >= SLOW && path.rtt > path.rtt_min * SLOWER;
            self.health = if loses || slow { Health::Degraded } else { Health::Healthy };
            (self.sent, self.lost) = (path.sent, path.lost);
        }
        Look { ask: false, next: self.heard + patience.ask }
    }
}

/// The looks that are to come.
pub(crate) struct Looks {
    pub(crate) wheel: Wheel,
    pub(crate) patience: Patience,
    due: Vec<u32>,
}

/// Looks are kept to this grain: 10 ms, because nothing waits for one.
const LOOK_SLOT_NS: u64 = 10_000_000;

impl Looks {
    pub(crate) fn new(now: Instant, idle_timeout: Duration) -> Self {
        let patience = Patience::new(idle_timeout);
        Self { wheel: Wheel::new(now, LOOK_SLOT_NS), patience, due: Vec::new() }
    }
}

impl Engine {
    /// The health of a session's peer; `None` when the session is gone.
    #[must_use]
    pub fn health(&mut self, session: crate::SessionId) -> Option<Health> {
        self.session(session).map(|open| open.peer.health)
    }

    /// A session is open: it is looked at from now on.
    pub(crate) fn begin_looks(&mut self, now: Now, place: u32) {
        let first = now.instant + self.looks.patience.ask;
        self.looks.wheel.arm(place, first);
        self.tally.health[Health::Healthy as usize] += 1;
    }

    /// A session that was open is over.
    pub(crate) fn end_looks(&mut self, place: u32) {
        if let Some(session) = self.session_at(place) {
            let health = session.peer.health as usize;
            self.tally.health[health] -= 1;
        }
    }

    /// Looks at the sessions whose time it is.
    pub(crate) fn poll_looks(&mut self, now: Now) {
        let mut due = std::mem::take(&mut self.looks.due);
        self.looks.wheel.poll(now.instant, &mut |place| due.push(place));
        for place in due.drain(..) {
            self.look_at(now, place);
        }
        self.looks.due = due;
    }

    fn look_at(&mut self, now: Now, place: u32) {
        let (patience, key_update) = (self.looks.patience, self.limits.key_update);
        let Some(session) = self.session_at(place) else { return };
        // A look that was meant for the session before it may find a viewer in its place.
        let is_looked_at = matches!(session.phase, Phase::Open | Phase::Finishing)
            && session.viewer.is_none()
            && session.ended.is_none();
        if !is_looked_at {
            return;
        }
        let counts = session.path_counts();
        let before = session.peer.health;
        let look = session.peer.look(now.instant, &counts, &patience);
        let after = session.peer.health;
        if look.ask {
            session.connection.ping();
        }
        let update = key_update.is_some_and(|period| now.instant - session.keys_from >= period);
        if update {
            session.connection.force_key_update();
            session.keys_from = now.instant;
        }
        self.tally.key_updates += u64::from(update);
        let rtt_ns = u64::try_from(counts.rtt_min.as_nanos()).unwrap_or(u64::MAX);
        let quickest_ns = Some(self.tally.rtt_min_ns).filter(|&known_ns| known_ns > 0);
        self.tally.rtt_min_ns = quickest_ns.map_or(rtt_ns, |known_ns| known_ns.min(rtt_ns));
        if before != after {
            self.tally.health[before as usize] -= 1;
            self.tally.health[after as usize] += 1;
            self.tally.health_changes[after as usize] += 1;
        }
        if look.ask {
            self.mark_dirty(place);
        }
        self.report_path(now, place, PathStep::Alive);
        self.looks.wheel.arm(place, look.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    fn calm(sent: u64) -> PathCounts {
        let rtt = Duration::from_micros(300);
        PathCounts { sent, lost: 0, rtt, rtt_min: rtt }
    }

    #[test]
    fn silence_is_asked_then_failed_and_a_sign_heals() {
        let begin = Now::simulated().instant;
        let patience = Patience::new(IDLE);
        let mut peer = Peer::new(begin);
        let mut seen = vec![(0, peer.health)];
        let mut at = begin;
        let mut asked = 0;
        while at < begin + IDLE {
            let look = peer.look(at, &calm(0), &patience);
            asked += u32::from(look.ask);
            assert!(look.next > at, "time goes on");
            if seen.last().is_some_and(|(_, health)| *health != peer.health) {
                seen.push(((at - begin).as_secs(), peer.health));
            }
            at = look.next;
        }
        assert_eq!(seen, [(0, Health::Healthy), (4, Health::Probing), (7, Health::Failed)]);
        assert_eq!(asked, 6, "once a second");
        peer.heard = at;
        let look = peer.look(at, &calm(9), &patience);
        assert_eq!((peer.health, look.ask), (Health::Healthy, false));
    }

    #[test]
    fn a_path_that_loses_is_degraded_until_it_loses_half_as_much() {
        let now = Now::simulated().instant;
        let patience = Patience::new(IDLE);
        let mut peer = Peer::new(now);
        let mut counts = calm(0);
        let mut step = |peer: &mut Peer, sent, lost| {
            counts.sent += sent;
            counts.lost += lost;
            peer.look(now, &counts, &patience);
            peer.health
        };
        assert_eq!(step(&mut peer, 10, 5), Health::Healthy, "too few to judge");
        assert_eq!(step(&mut peer, 990, 55), Health::Degraded, "6 %");
        assert_eq!(step(&mut peer, 1000, 30), Health::Degraded, "3 %");
        assert_eq!(step(&mut peer, 1000, 20), Health::Healthy, "2 %");
        assert_eq!(step(&mut peer, 1000, 40), Health::Healthy, "4 %");
    }

    #[test]
    fn a_path_that_became_slow_is_degraded() {
        let now = Now::simulated().instant;
        let mut peer = Peer::new(now);
        let mut counts = calm(100);
        counts.rtt = Duration::from_millis(15);
        peer.look(now, &counts, &Patience::new(IDLE));
        assert_eq!(peer.health, Health::Healthy, "slower, but not slow");
        counts.sent += 100;
        counts.rtt = Duration::from_millis(25);
        peer.look(now, &counts, &Patience::new(IDLE));
        assert_eq!(peer.health, Health::Degraded);
    }
}
