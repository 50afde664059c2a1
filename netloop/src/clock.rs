//! The only file that reads clocks; everything else takes time as an argument.
//!
//! A [`Now`] pairs the monotonic clock, which deadlines use, with wall time, which records carry. Reading it costs one
//! clock read. Wall time does not go backwards when the system clock is set back by a little: it then runs slower until the
//! system clock has caught up. A clock that was far off is followed at once, in either direction, because certificates are
//! judged by it; so a length of time is taken from the monotonic clock, wherever more than one resync may lie within it.
#![expect(clippy::disallowed_methods, reason = "this is the one file that reads the clocks")]

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock, for deadlines.
    pub instant: Instant,
    /// Nanoseconds since the Unix epoch, for records. Never decreases between two reads of one [`Clock`] without a
    /// [`Clock::resync`] between them, nor across one that did not step.
    pub unix_ns: u64,
}

impl Now {
    /// A moment of virtual time, for simulations: any instant will do, and wall time starts at a round number.
    #[must_use]
    pub fn simulated() -> Self {
        Self { instant: Instant::now(), unix_ns: 1_700_000_000_000_000_000 }
    }

    /// The moment `duration` later; tests step virtual time with it.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self { instant: self.instant + duration, unix_ns: self.unix_ns + nanos(duration) }
    }
}

/// Gives [`Now`]. One for each thread; its owner calls [`Clock::resync`] about once a second.
#[derive(Clone, Debug)]
pub struct Clock {
    instant: Instant,
    unix_ns: u64,
    /// How far wall time was ahead of the system clock at the last resync.
    ahead_ns: u64,
}

/// Wall time that is ahead loses an eighth of its speed until it is right again: a step of 100 ms is gone after a
/// second, and two readings in order stay in order.
const SLEW_SHIFT: u32 = 3;

/// Further than this the clock does not slew but steps. It is more than a leap second and than what keepers of time correct
/// without being asked, and gone after 16 s, in which dates of certificates, whole seconds, come out right all the same; it is also
/// how far apart a world takes two receipts to be out of order (`twin/src/world/fold.rs`). A clock that was wrong by days would
/// need eight times as long, and refuse every device meanwhile.
const SLEW_NS_MAX: u64 = 2_000_000_000;

impl Clock {
    /// A clock that agrees with the system's.
    #[must_use]
    pub fn new() -> Self {
        let (instant, unix_ns) = read_pair();
        Self { instant, unix_ns, ahead_ns: 0 }
    }

    /// A clock that shows something else until it is resynced, as one without a battery does before it is set.
    #[must_use]
    pub fn wrong(unix_ns: u64) -> Self {
        Self { unix_ns, ..Self::new() }
    }

    /// Reads the clock, once.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Now {
        let instant = Instant::now();
        Now { instant, unix_ns: self.unix_ns_at(instant) }
    }

    /// Follows the system clock: forward at once, backward by running slower, or at once where it was set back by seconds. Gives by
    /// how many nanoseconds it was set where that is more than running slower would mend.
    pub fn resync(&mut self) -> Option<i64> {
        let (instant, system_unix_ns) = read_pair();
        self.anchor(instant, system_unix_ns)
    }

    /// Puts a time that the kernel took on this clock's own basis, which may still be ahead of the system's; `now` is a moment about
    /// as late. What the system clock was set by since the last resync is not known here.
    #[inline]
    #[must_use]
    pub fn own_ns(&self, kernel_unix_ns: u64, now: Instant) -> u64 {
        kernel_unix_ns + self.ahead_ns - self.slewed_ns(self.elapsed_ns(now))
    }

    fn anchor(&mut self, instant: Instant, system_unix_ns: u64) -> Option<i64> {
        let shown_unix_ns = self.unix_ns_at(instant);
        let ahead_ns = shown_unix_ns.saturating_sub(system_unix_ns);
        let steps_back = ahead_ns > SLEW_NS_MAX;
        self.instant = instant;
        self.unix_ns = if steps_back { system_unix_ns } else { shown_unix_ns.max(system_unix_ns) };
        self.ahead_ns = if steps_back { 0 } else { ahead_ns };
        let set_ns = system_unix_ns.wrapping_sub(shown_unix_ns) as i64;
        (set_ns.unsigned_abs() > SLEW_NS_MAX).then_some(set_ns)
    }

    #[inline]
    fn unix_ns_at(&self, instant: Instant) -> u64 {
        let elapsed_ns = self.elapsed_ns(instant);
        self.unix_ns + elapsed_ns - self.slewed_ns(elapsed_ns)
    }

    #[inline]
    fn elapsed_ns(&self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.instant))
    }

    /// What running slower has mended so long after the last resync.
    #[inline]
    fn slewed_ns(&self, elapsed_ns: u64) -> u64 {
        (elapsed_ns >> SLEW_SHIFT).min(self.ahead_ns)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// CPU time of the calling thread in nanoseconds. Costs a system call: for reports, not for the turn.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Resident memory of the process in bytes.
///
/// # Errors
///
/// When `/proc` cannot be read, or does not have the form that Linux gives it.
pub fn rss_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages
        .map(|pages| pages * rustix::param::page_size() as u64)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/statm"))
}

/// The tightest of three attempts: a preemption between the two reads would otherwise become an error of milliseconds.
fn read_pair() -> (Instant, u64) {
    let mut best = (Duration::MAX, Instant::now(), 0);
    for _ in 0..3 {
        let before = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let gap = before.elapsed();
        if gap < best.0 {
            best = (gap, before + gap / 2, nanos(unix));
        }
    }
    (best.1, best.2)
}

/// 64 bits of nanoseconds reach to the year 2554.
#[inline]
fn nanos(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Refusal, Trust,
        identity::{Credential, Proof},
    };

    #[test]
    fn clock_starts_at_system_time() {
        let before = nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        let shown = Clock::new().now().unix_ns;
        let after = nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        // A microsecond of tolerance: the anchor is the middle of a pair of reads.
        assert!(before <= shown + 1_000 && shown <= after + 1_000, "{before} {shown} {after}");
    }

    #[test]
    fn system_clock_set_forward_is_followed_at_once() {
        let mut clock = Clock::new();
        let at = clock.instant + Duration::from_secs(1);
        let ahead = clock.unix_ns + 60_000_000_000;
        clock.anchor(at, ahead);
        assert_eq!(clock.unix_ns_at(at), ahead);
    }

    #[test]
    fn system_clock_set_back_never_turns_time_back_and_is_reached() {
        let mut clock = Clock::new();
        let (start, start_ns) = (clock.instant, clock.unix_ns);
        // The system clock steps back by 300 ms at second 1, and the clock resyncs every second.
        let system = |at: Instant| start_ns + nanos(at - start) - 300_000_000;
        let mut shown = start_ns;
        for step in 1..=500_u64 {
            let at = start + Duration::from_millis(step * 10);
            if step >= 100 && step % 100 == 0 {
                clock.anchor(at, system(at));
            }
            let next = clock.unix_ns_at(at);
            assert!(next > shown, "step {step}: {next} after {shown}");
            shown = next;
        }
        let end = start + Duration::from_secs(5);
        assert_eq!(shown, system(end), "an eighth of 4 s covers the 300 ms");
    }

    /// What an engine says of a certificate that is valid now, by the date that a clock shows.
    fn judge(clock: &Clock, at: Instant, not_after_s: u64) -> Result<(), Refusal> {
        let proof = Proof::Certificate(Credential { id: [0; 16], not_after_s });
        Trust::off().check(&proof, clock.unix_ns_at(at) / 1_000_000_000)
    }

    #[test]
    fn system_clock_that_was_days_ahead_is_right_with_the_resync_after_it_was_set_back() {
        let mut clock = Clock::new();
        let (mut at, right_ns) = (clock.instant, clock.unix_ns);
        let (wrong_ns, not_after_s) = (900 * 86_400_000_000_000, right_ns / 1_000_000_000 + 86_400);
        at += Duration::from_secs(1);
        assert_eq!(clock.anchor(at, right_ns + wrong_ns), Some(wrong_ns as i64 - 1_000_000_000));
        assert_eq!(judge(&clock, at, not_after_s), Err(Refusal::Expired));
        at += Duration::from_secs(1);
        assert_eq!(clock.anchor(at, right_ns), Some(-(wrong_ns as i64) - 1_000_000_000));
        assert_eq!(judge(&clock, at, not_after_s), Ok(()));
        assert_eq!(clock.unix_ns_at(at + Duration::from_secs(8)), right_ns + 8_000_000_000);
        assert_eq!(clock.anchor(at + Duration::from_secs(9), right_ns + 9_000_000_000), None);
    }

    #[test]
    fn a_time_of_the_kernel_is_as_long_ago_as_it_was_while_the_clock_runs_slower() {
        let mut clock = Clock::new();
        let at = clock.instant + Duration::from_secs(1);
        let set_ns = clock.unix_ns + 1_000_000_000 - 300_000_000;
        assert_eq!(clock.anchor(at, set_ns), None);
        for after_ms in [0, 1, 1_000, 2_400, 10_000] {
            let after = Duration::from_millis(after_ms);
            let kernel_ns = set_ns + nanos(after) - 40_000;
            let own_ns = clock.own_ns(kernel_ns, at + after);
            assert_eq!(clock.unix_ns_at(at + after) - own_ns, 40_000, "{after_ms} ms later");
        }
    }

    #[test]
    fn work_shows_in_the_cpu_clocks() {
        let before = thread_cpu_ns();
        let mut sum = 0_u64;
        while thread_cpu_ns() - before < 30_000_000 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        let (user, system) = crate::process_cpu();
        assert!(user + system >= 30_000_000, "30 ms of work: {user} + {system}");
        assert!(rss_bytes().unwrap() > 100_000);
    }
}
