//! What a thread does when it has nothing to do: spin, yield, sleep in growing steps, or wait for the kernel.
//!
//! A worker calls [`Idle::idle`] after an empty turn and [`Idle::busy`] after a busy one. Another thread that has put
//! something into a worker's ring calls [`Waker::wake`]; that costs a system call only when the worker sleeps, and a
//! wake is never lost. The tick thread waits for moments instead of events: [`Punctual`].

use std::fmt;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::thread::{ClockId, clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::Timespec;

use crate::quantile::Quantile;

/// How a thread passes the time between two pieces of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdleStrategy {
    /// Never leaves the core: the shortest reaction, and a core of its own is the price.
    Spin,
    /// Offers the core to others after each empty turn.
    Yield,
    /// Spins, then yields, then sleeps in steps that grow to a millisecond; data and wakes end a sleep at once.
    Backoff,
    /// Sleeps until data, a wake or a deadline.
    Wait,
    /// Chosen by the number of cores: see [`IdleStrategy::resolve`].
    #[default]
    Auto,
}

impl IdleStrategy {
    /// Each strategy with the name it has in the configuration.
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Spin, "spin"),
        (Self::Yield, "yield"),
        (Self::Backoff, "backoff"),
        (Self::Wait, "wait"),
        (Self::Auto, "auto"),
    ];

    /// Chooses for [`IdleStrategy::Auto`] on a host with `cores` usable cores, and says why in a sentence for the log.
    ///
    /// Nothing spins unless it was asked to: only the operator knows whether a core is reserved.
    #[must_use]
    pub fn resolve(self, cores: usize) -> (Self, String) {
        match self {
            Self::Auto if cores <= 2 => (
                Self::Wait,
                format!("auto: with {cores} cores a waiting thread must free its core"),
            ),
            Self::Auto => {
                (Self::Backoff, format!("auto: {cores} cores leave room for short spins"))
            }
            chosen => (chosen, format!("{chosen}: set in the configuration")),
        }
    }
}

impl fmt::Display for IdleStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(strategy, _)| strategy == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// The text names no strategy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an idle strategy; allowed are spin, yield, backoff, wait and auto")]
pub struct UnknownIdleStrategy(pub String);

impl FromStr for IdleStrategy {
    type Err = UnknownIdleStrategy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::NAMES.iter().find(|(_, name)| *name == text);
        named.map(|&(strategy, _)| strategy).ok_or_else(|| UnknownIdleStrategy(text.to_owned()))
    }
}

/// What ended a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The thread did not sleep.
    Short,
    /// A wake came, possibly with data.
    Woken,
    /// The socket has data.
    Readable,
    /// The time was up.
    Elapsed,
}

/// One thread's idling: the strategy, and how long nothing has happened.
#[derive(Debug)]
pub struct Idle {
    strategy: IdleStrategy,
    empty_turns: u32,
}

/// Empty turns that [`IdleStrategy::Backoff`] spins: about 20 us of looking at the socket.
const SPIN_TURNS: u32 = 50;
/// Empty turns until it stops yielding, and sleeps.
const YIELD_TURNS: u32 = SPIN_TURNS + 20;
/// The longest sleep of [`IdleStrategy::Backoff`] is 2^10 us.
const BACKOFF_MAX_LOG2_US: u32 = 10;
/// No sleep is longer, so that a watchdog sees a living thread; ten wakes a second cost nothing.
const WAIT_MAX: Duration = Duration::from_millis(100);

impl Idle {
    /// Idles by `strategy`; [`IdleStrategy::Auto`] is resolved for the cores of this host.
    #[must_use]
    pub fn new(strategy: IdleStrategy) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { strategy: strategy.resolve(cores).0, empty_turns: 0 }
    }

    /// The strategy in use; never [`IdleStrategy::Auto`].
    #[must_use]
    pub fn strategy(&self) -> IdleStrategy {
        self.strategy
    }

    /// After a turn that found work.
    #[inline]
    pub fn busy(&mut self) {
        self.empty_turns = 0;
    }

    /// After a turn that found nothing, at `now`: passes the time as the strategy says, no longer than to `deadline`.
    ///
    /// A sleep ends early when `socket` has data or when `sleeper` is woken; a wake since the last pause prevents it.
    pub fn idle(
        &mut self,
        socket: Option<BorrowedFd<'_>>,
        sleeper: Option<&Sleeper>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Pause {
        let step = self.empty_turns;
        self.empty_turns = step.saturating_add(1);
        let longest = match self.strategy {
            IdleStrategy::Spin => return spin(),
            IdleStrategy::Yield => return yield_core(),
            IdleStrategy::Backoff if step < SPIN_TURNS => return spin(),
            IdleStrategy::Backoff if step < YIELD_TURNS => return yield_core(),
            IdleStrategy::Backoff => {
                Duration::from_micros(1 << (step - YIELD_TURNS).min(BACKOFF_MAX_LOG2_US))
            }
            IdleStrategy::Wait | IdleStrategy::Auto => WAIT_MAX,
        };
        let until_deadline = deadline.map_or(longest, |at| at.saturating_duration_since(now));
        let timeout = longest.min(until_deadline);
        if timeout.is_zero() {
            return Pause::Short;
        }
        sleep(socket, sleeper, timeout)
    }
}

fn spin() -> Pause {
    std::hint::spin_loop();
    Pause::Short
}

fn yield_core() -> Pause {
    std::thread::yield_now();
    Pause::Short
}

/// Announces the sleep, sleeps, and takes the announcement back.
fn sleep(socket: Option<BorrowedFd<'_>>, sleeper: Option<&Sleeper>, timeout: Duration) -> Pause {
    if sleeper.is_some_and(|sleeper| !sleeper.announce()) {
        return Pause::Woken;
    }
    let (readable, rung) =
        wait_readable(socket, sleeper.map(|sleeper| sleeper.bell.fd.as_fd()), timeout);
    let woken = sleeper.is_some_and(|sleeper| sleeper.retract(rung));
    match (woken, readable) {
        (true, _) => Pause::Woken,
        (false, true) => Pause::Readable,
        (false, false) => Pause::Elapsed,
    }
}

/// Which of the descriptors became readable in time. A signal ends the wait early, which the caller's next turn
/// makes good.
fn wait_readable(
    first: Option<BorrowedFd<'_>>,
    second: Option<BorrowedFd<'_>>,
    timeout: Duration,
) -> (bool, bool) {
    let timeout = timespec(timeout);
    let of = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    match (first.map(of), second.map(of)) {
        (Some(first), Some(second)) => {
            let [first, second] = poll_all([first, second], &timeout);
            (first, second)
        }
        (Some(first), None) => (poll_all([first], &timeout)[0], false),
        (None, Some(second)) => (false, poll_all([second], &timeout)[0]),
        (None, None) => {
            poll_all([], &timeout);
            (false, false)
        }
    }
}

fn poll_all<const N: usize>(mut fds: [PollFd<'_>; N], timeout: &Timespec) -> [bool; N] {
    // Where it fails, it has written nothing.
    let _ = poll(&mut fds, Some(timeout));
    fds.map(|fd| !fd.revents().is_empty())
}

/// The sleeping thread's end of a wake-up line.
#[derive(Debug)]
pub struct Sleeper {
    bell: Arc<Bell>,
}

/// The waking threads' end. Clones wake the same sleeper.
#[derive(Clone, Debug)]
pub struct Waker {
    bell: Arc<Bell>,
}

/// The word that both ends swap, and the descriptor that ends a sleep.
///
/// Every access to the word is a read-modify-write, so all of them happen in one order. If the waker's swap comes first,
/// the sleeper finds `NOTIFIED`, does not sleep, and (acquire, from the waker's release) sees what was pushed before the
/// wake. If the sleeper's comes first, the waker finds `SLEEPING` and writes to the descriptor. There is no third case,
/// so no wake is lost, and no fence is needed.
#[derive(Debug)]
struct Bell {
    word: AtomicU32,
    fd: OwnedFd,
}

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
const NOTIFIED: u32 = 2;

/// Makes a wake-up line: one end wakes, the other sleeps.
///
/// # Errors
///
/// When the kernel has no descriptor left.
pub fn wake_line() -> std::io::Result<(Waker, Sleeper)> {
    let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let bell = Arc::new(Bell { word: AtomicU32::new(AWAKE), fd });
    Ok((Waker { bell: Arc::clone(&bell) }, Sleeper { bell }))
}

impl Waker {
    /// Makes the sleeper take a turn soon; everything this thread wrote before is visible in that turn.
    #[inline]
    pub fn wake(&self) {
        if self.bell.word.swap(NOTIFIED, Ordering::AcqRel) == SLEEPING {
            self.ring_bell();
        }
    }

    #[cold]
    fn ring_bell(&self) {
        // Fails only when the counter would overflow, and then the sleeper is awake already.
        let _ = rustix::io::write(&self.bell.fd, &1_u64.to_ne_bytes());
    }
}

impl Sleeper {
    /// Says that a sleep begins; refuses when a wake has come since the last one ended.
    fn announce(&self) -> bool {
        let word = &self.bell.word;
        let announced =
            word.compare_exchange(AWAKE, SLEEPING, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !announced {
            word.swap(AWAKE, Ordering::AcqRel);
        }
        announced
    }

    /// Says that the sleep is over, and whether a wake ended it. `rung`: the descriptor was seen readable.
    ///
    /// The waker of this sleep may have swapped and not yet written. Its write then ends the next sleep at once, for nothing,
    /// and is read by that one: left there, it would end all that follow.
    fn retract(&self, rung: bool) -> bool {
        let woken = rung | (self.bell.word.swap(AWAKE, Ordering::AcqRel) == NOTIFIED);
        if woken {
            let _ = rustix::io::read(&self.bell.fd, &mut [0_u8; 8]);
        }
        woken
    }
}

/// Sleeps until `spin` before `deadline`, spins the rest, and returns the moment at which it returns.
///
/// The sleep is absolute, so that a preemption while preparing it cannot make it longer. A deadline that has passed
/// returns at once.
#[expect(clippy::disallowed_methods, reason = "waiting for a moment needs to know when it is")]
pub fn wait_until(deadline: Instant, spin: Duration) -> Instant {
    loop {
        let now = Instant::now();
        let ahead = deadline.saturating_duration_since(now);
        if ahead.is_zero() {
            return now;
        }
        if ahead <= spin {
            std::hint::spin_loop();
            continue;
        }
        let wake_at = monotonic() + timespec(ahead - spin);
        // A signal ends the sleep early; the loop then sleeps the rest.
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &wake_at);
    }
}

/// The clock that absolute sleeps go by, of the C library: rustix asks the system how to read it without entering the kernel,
/// which a confined thread may not, and would then enter the kernel for good.
fn monotonic() -> Timespec {
    use nix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("the monotonic clock can be read because every Linux has it");
    Timespec { tv_sec: now.tv_sec(), tv_nsec: now.tv_nsec() }
}

/// Waits for moments that come again and again, and returns at them instead of after them.
///
/// A sleep ends some time after it was to end, on a virtual machine tens of microseconds. A [`Punctual`] learns how late
/// the earlier quarter of this thread's sleeps ends, sleeps so much shorter, and spins what is left when it was early.
#[derive(Debug, Clone)]
pub struct Punctual {
    late: Quantile,
}

/// Sleeps that end before the moment, which then spin for a few microseconds, to those that do not.
const EARLY: [u64; 2] = [16, 48];
/// No sleep is shortened by more, so that a host under load does not make its threads spin.
const EARLY_NS_MAX: u64 = 100_000;

impl Default for Punctual {
    fn default() -> Self {
        Self { late: Quantile::new(0, EARLY, EARLY_NS_MAX) }
    }
}

impl Punctual {
    /// Waits until `deadline`, the last `spin` of it without sleeping, and returns the moment at which it returns.
    ///
    /// At least half of the time before `spin` is slept, also when sleeps end later than that: a thread whose moments are
    /// closer than the host can tell apart comes late, and does not take a core for itself.
    #[expect(clippy::disallowed_methods, reason = "waiting for a moment needs to know when it is")]
    pub fn wait_until(&mut self, deadline: Instant, spin: Duration) -> Instant {
        let now = Instant::now();
        let ahead = deadline.saturating_duration_since(now).saturating_sub(spin);
        if !ahead.is_zero() {
            let sleep_end = now + self.sleep(ahead);
            let woken = wait_until(sleep_end, Duration::ZERO);
            let late = woken.saturating_duration_since(sleep_end);
            self.late.learn(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
        }
        wait_until(deadline, Duration::MAX)
    }

    /// How long to sleep where the moment is `ahead`.
    fn sleep(&self, ahead: Duration) -> Duration {
        ahead - Duration::from_nanos(self.late.ns()).min(ahead / 2)
    }
}

/// Asks the kernel to end this thread's sleeps on time instead of up to 50 us late. Returns whether it agreed.
pub fn sharpen_timers() -> bool {
    set_current_timer_slack(NonZeroU64::new(1)).is_ok()
}

fn timespec(duration: Duration) -> Timespec {
    // Sleeps are bounded far below the 292 years that fit.
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waker swaps, and its thread stands still until the sleeper has come back for another reason.
    #[test]
    fn a_bell_that_rings_late_ends_one_sleep_and_no_other() {
        let (waker, sleeper) = wake_line().unwrap();
        assert!(sleeper.announce());
        assert_eq!(waker.bell.word.swap(NOTIFIED, Ordering::AcqRel), SLEEPING);
        assert!(sleeper.retract(false), "the wake is noticed without its bell");
        waker.ring_bell();
        let pause = || sleep(None, Some(&sleeper), Duration::from_millis(2));
        assert_eq!([pause(), pause(), pause()], [Pause::Woken, Pause::Elapsed, Pause::Elapsed]);
        // The line still works.
        waker.wake();
        assert_eq!([pause(), pause()], [Pause::Woken, Pause::Elapsed]);
    }

    #[test]
    fn sleep_is_shorter_by_what_sleeps_are_late_and_at_least_half_the_time() {
        let mut punctual = Punctual::default();
        let micros = Duration::from_micros;
        assert_eq!(punctual.sleep(micros(1_000)), micros(1_000));
        for _ in 0..1_000_000 {
            punctual.late.learn(60_000);
        }
        assert_eq!(punctual.sleep(micros(1_000)), micros(940));
        assert_eq!(punctual.sleep(micros(50)), micros(25));
        assert_eq!(punctual.sleep(Duration::ZERO), Duration::ZERO);
    }
}
