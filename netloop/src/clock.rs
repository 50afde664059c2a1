//! The only file that reads clocks; everything else takes time as an argument.
//!
//! A [`Now`] pairs the monotonic clock, which deadlines use, with wall time, which records carry. Reading it costs one
//! clock read. Wall time never goes backwards, also when the system clock is set back: it then runs slower until the
//! system clock has caught up.
#![expect(clippy::disallowed_methods, reason = "this is the one file that reads the clocks")]

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock, for deadlines.
    pub instant: Instant,
    /// Nanoseconds since the Unix epoch, for records. Never decreases between two reads of one [`Clock`].
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

impl Clock {
    /// A clock that agrees with the system's.
    #[must_use]
    pub fn new() -> Self {
        let (instant, unix_ns) = read_pair();
        Self { instant, unix_ns, ahead_ns: 0 }
    }

    /// Reads the clock, once.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Now {
        let instant = Instant::now();
        Now { instant, unix_ns: self.unix_ns_at(instant) }
    }

    /// Follows the system clock: forward at once, backward by running slower.
    pub fn resync(&mut self) {
        let (instant, system_unix_ns) = read_pair();
        self.anchor(instant, system_unix_ns);
    }

    fn anchor(&mut self, instant: Instant, system_unix_ns: u64) {
        let shown_unix_ns = self.unix_ns_at(instant);
        self.instant = instant;
        self.unix_ns = shown_unix_ns.max(system_unix_ns);
        self.ahead_ns = shown_unix_ns.saturating_sub(system_unix_ns);
    }

    #[inline]
    fn unix_ns_at(&self, instant: Instant) -> u64 {
        let elapsed_ns = nanos(instant.saturating_duration_since(self.instant));
        self.unix_ns + elapsed_ns - (elapsed_ns >> SLEW_SHIFT).min(self.ahead_ns)
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
