//! Devices that are turned away: one line in the log for many of them, with why and how many.
//!
//! A worker only counts them, for a stranger can knock a hundred thousand times a second. The cold thread looks at the counters
//! once a second: the first one is told at once, and while more come, lines come ever more seldom, up to [`WAIT_MAX`] apart,
//! each with all since the line before. Who it was is not told: before the handshake is over nobody knows.

use std::fmt::Write;
use std::time::{Duration, Instant};

use netloop::{Limit, Refusal, WorkerStats};

use crate::stats::Counter;

/// The least time between two lines.
pub const WAIT_MIN: Duration = Duration::from_secs(10);
/// The most.
pub const WAIT_MAX: Duration = Duration::from_secs(640);

/// Handshakes that failed so far, by reason.
pub fn handshakes_failed(worker: &WorkerStats) -> impl Iterator<Item = (&'static str, u64)> {
    let refused = Limit::ALL.into_iter().filter(|limit| limit.answer() == "refuse");
    let refused = refused.map(|limit| worker.limited(limit)).sum();
    let of_all = [
        ("refused", refused),
        ("tls", worker.handshakes_tls.value()),
        ("timeout", worker.handshakes_timeout.value()),
        ("other", worker.handshakes_other.value()),
    ];
    of_all.into_iter().chain(by_refusal(&worker.handshakes_turned_away))
}

/// Sessions that were closed so far because of who the device is, by reason.
pub fn sessions_refused(worker: &WorkerStats) -> impl Iterator<Item = (&'static str, u64)> {
    by_refusal(&worker.sessions_refused)
}

/// Counters of refusals, each with its name.
fn by_refusal(counters: &[Counter; Refusal::COUNT]) -> impl Iterator<Item = (&'static str, u64)> {
    let named = Refusal::ALL.iter().zip(counters);
    named.map(|(refusal, counter)| (refusal.name(), counter.value()))
}

/// What was told of them, and when the next line may come.
#[derive(Debug)]
pub struct TurnedAway {
    told: Vec<u64>,
    next: Option<Instant>,
    wait: Duration,
}

impl Default for TurnedAway {
    fn default() -> Self {
        Self { told: Vec::new(), next: None, wait: WAIT_MIN }
    }
}

impl TurnedAway {
    /// The reasons and numbers that a line has to tell at `now`; none where nobody was turned away, or the line before is too
    /// young.
    #[must_use]
    pub fn poll(&mut self, now: Instant, worker: &WorkerStats) -> Option<String> {
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        let reasons = handshakes_failed(worker).chain(sessions_refused(worker));
        let (names, counts): (Vec<_>, Vec<_>) = reasons.unzip();
        self.told.resize(counts.len(), 0);
        let line = line(&names, &counts, &self.told);
        // A quiet wait ends the row of lines: the next one who is turned away is told at once.
        self.wait = match (&line, self.next) {
            (Some(_), Some(_)) => (self.wait * 2).min(WAIT_MAX),
            _ => WAIT_MIN,
        };
        self.next = line.is_some().then(|| now + self.wait);
        self.told = counts;
        line
    }
}

/// `untrusted 3, token 1`: how far each count has grown. A reason that handshakes and sessions have in common is told once.
fn line(names: &[&str], counts: &[u64], told: &[u64]) -> Option<String> {
    let mut grown: Vec<(&str, u64)> = Vec::new();
    for ((&name, count), told) in names.iter().zip(counts).zip(told) {
        match grown.iter_mut().find(|(known, _)| *known == name) {
            Some((_, more)) => *more += count - told,
            None => grown.push((name, count - told)),
        }
    }
    let mut words = String::new();
    for (name, more) in grown.into_iter().filter(|(_, more)| *more > 0) {
        let comma = if words.is_empty() { "" } else { ", " };
        write!(words, "{comma}{name} {more}").expect("a string takes all, because it grows");
    }
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use netloop::Clock;

    use super::*;

    /// Polls once a second while `each` counts, and gives the seconds and words of the lines.
    fn told(seconds: u64, mut each: impl FnMut(u64, &WorkerStats)) -> Vec<(u64, String)> {
        let (began, worker) = (Clock::new().now().instant, WorkerStats::default());
        let mut away = TurnedAway::default();
        let lines = (0..seconds).filter_map(|second| {
            each(second, &worker);
            let line = away.poll(began + Duration::from_secs(second), &worker);
            line.map(|line| (second, line))
        });
        lines.collect()
    }

    #[test]
    fn nothing_is_told_where_nobody_is_turned_away() {
        assert_eq!(told(100, |_, _| ()), []);
    }

    #[test]
    fn the_first_is_told_at_once_and_a_reason_is_told_once() {
        let lines = told(9, |second, worker| {
            if second == 3 {
                worker.handshakes_turned_away[Refusal::Untrusted as usize].add(2);
                worker.sessions_refused[Refusal::Untrusted as usize].add(1);
                worker.sessions_refused[Refusal::Token as usize].add(1);
                worker.handshakes_timeout.add(5);
            }
        });
        assert_eq!(lines, [(3, "timeout 5, untrusted 3, token 1".to_owned())]);
    }

    #[test]
    fn lines_of_a_flood_come_ever_more_seldom_and_leave_nobody_out() {
        let lines = told(3000, |_, worker| worker.handshakes_tls.add(1000));
        let seconds: Vec<u64> = lines.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 10, 30, 70, 150, 310, 630, 1270, 1910, 2550]);
        let count = |(_, line): &(u64, String)| line.strip_prefix("tls ").unwrap().parse::<u64>();
        let total: u64 = lines.iter().map(|line| count(line).unwrap()).sum();
        assert_eq!(total, 2551 * 1000);
    }

    #[test]
    fn after_a_quiet_wait_the_next_is_told_at_once_again() {
        let lines = told(200, |second, worker| {
            if second < 30 || second == 150 {
                worker.handshakes_other.add(1);
            }
        });
        let expected = [(0, 1), (10, 10), (30, 19), (150, 1)];
        assert_eq!(lines, expected.map(|(second, count)| (second, format!("other {count}"))));
    }
}
