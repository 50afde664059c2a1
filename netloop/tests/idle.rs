//! Idling: what is chosen, what ends a sleep, and that no wake is lost.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netloop::{
    Clock, Idle, IdleStrategy, Pause, Punctual, Socket, SocketOptions, ring, wait_until, wake_line,
};

fn now() -> Instant {
    Clock::new().now().instant
}

#[test]
fn names_of_strategies_are_read_back() {
    for name in ["spin", "yield", "backoff", "wait", "auto"] {
        assert_eq!(name.parse::<IdleStrategy>().unwrap().to_string(), name);
    }
    let error = "sleep".parse::<IdleStrategy>().unwrap_err().to_string();
    assert_eq!(
        error,
        "`sleep` is not an idle strategy; allowed are spin, yield, backoff, wait and auto"
    );
}

#[test]
fn auto_frees_the_core_on_small_hosts() {
    assert_eq!(IdleStrategy::Auto.resolve(1).0, IdleStrategy::Wait);
    assert_eq!(IdleStrategy::Auto.resolve(2).0, IdleStrategy::Wait);
    assert_eq!(IdleStrategy::Auto.resolve(4).0, IdleStrategy::Backoff);
    let (chosen, reason) = IdleStrategy::Spin.resolve(1);
    assert_eq!((chosen, reason.as_str()), (IdleStrategy::Spin, "spin: set in the configuration"));
}

#[test]
fn wake_before_the_sleep_prevents_it() {
    let (waker, sleeper) = wake_line().unwrap();
    let mut idle = Idle::new(IdleStrategy::Wait);
    waker.wake();
    waker.wake();
    assert_eq!(idle.idle(None, Some(&sleeper), None, now()), Pause::Woken);
    // Two wakes are one: the next sleep lasts.
    let deadline = Some(now() + Duration::from_millis(2));
    assert_eq!(idle.idle(None, Some(&sleeper), deadline, now()), Pause::Elapsed);
}

#[test]
fn data_ends_a_sleep() {
    let local = "127.0.0.1:0".parse().unwrap();
    let socket = Socket::bind(local, SocketOptions::default()).unwrap();
    let (_waker, sleeper) = wake_line().unwrap();
    let mut idle = Idle::new(IdleStrategy::Wait);
    let source = std::net::UdpSocket::bind(local).unwrap();
    source.send_to(b"x", socket.local_addr()).unwrap();
    assert_eq!(idle.idle(Some(socket.as_fd()), Some(&sleeper), None, now()), Pause::Readable);
}

#[test]
fn passed_deadline_allows_no_sleep() {
    let at = now();
    let mut idle = Idle::new(IdleStrategy::Wait);
    assert_eq!(idle.idle(None, None, Some(at), at), Pause::Short);
}

#[test]
fn backoff_sleeps_only_after_many_empty_turns_and_starts_over_when_busy() {
    let mut idle = Idle::new(IdleStrategy::Backoff);
    let turns_until_sleep = |idle: &mut Idle| {
        (0..1_000).take_while(|_| idle.idle(None, None, None, now()) == Pause::Short).count()
    };
    let first = turns_until_sleep(&mut idle);
    assert!((10..500).contains(&first), "{first}");
    assert_eq!(turns_until_sleep(&mut idle), 0, "still idle: it keeps sleeping");
    idle.busy();
    assert_eq!(turns_until_sleep(&mut idle), first);
}

#[test]
fn spin_and_yield_never_sleep() {
    for strategy in [IdleStrategy::Spin, IdleStrategy::Yield] {
        let mut idle = Idle::new(strategy);
        assert!((0..10_000).all(|_| idle.idle(None, None, None, now()) == Pause::Short));
    }
}

/// The consumer sleeps whenever the ring is empty. A lost wake would show as a sleep that ran to its end although the
/// ring was not empty before it began, so none may end so while values are outstanding.
#[test]
fn no_wake_is_lost_between_two_threads() {
    const VALUES: u64 = 100_000;
    let (waker, sleeper) = wake_line().unwrap();
    let (mut producer, mut consumer) = ring(64);
    let answered = Arc::new(AtomicBool::new(true));
    let asking = Arc::clone(&answered);
    let pushing = thread::spawn(move || {
        for value in 0..VALUES {
            // One value at a time: each must wake the sleeper anew.
            while !asking.swap(false, Ordering::AcqRel) {
                thread::yield_now();
            }
            producer.push(value).unwrap();
            waker.wake();
        }
    });
    let mut idle = Idle::new(IdleStrategy::Wait);
    let (mut expected, mut elapsed_with_value) = (0, 0);
    let mut elapsed = false;
    while expected < VALUES {
        if let Some(value) = consumer.pop() {
            assert_eq!(value, expected);
            expected += 1;
            elapsed_with_value += u64::from(elapsed);
            elapsed = false;
            answered.store(true, Ordering::Release);
        } else {
            elapsed = idle.idle(None, Some(&sleeper), None, now()) == Pause::Elapsed;
        }
    }
    pushing.join().unwrap();
    // A value may come by chance right after a sleep of 100 ms that the scheduler's delays made run to its end.
    assert!(elapsed_with_value <= 10, "{elapsed_with_value} values came without their wake");
}

#[test]
fn wait_until_returns_at_the_deadline_and_not_before() {
    for spin in [Duration::ZERO, Duration::from_micros(200)] {
        let deadline = now() + Duration::from_millis(3);
        assert!(wait_until(deadline, spin) >= deadline);
    }
    let before = now();
    assert!(wait_until(before, Duration::ZERO) >= before);
}

#[test]
fn punctual_waits_return_at_their_moments_and_never_before() {
    let mut punctual = Punctual::default();
    let mut deadline = now();
    for wait in 0..300 {
        deadline += Duration::from_micros(200);
        let spin = Duration::from_micros(if wait % 3 == 0 { 50 } else { 0 });
        let returned = punctual.wait_until(deadline, spin);
        assert!(returned >= deadline, "wait {wait} is {:?} early", deadline - returned);
    }
    let before = now();
    assert!(punctual.wait_until(before, Duration::ZERO) >= before);
}

#[test]
fn timers_can_be_sharpened() {
    assert!(thread::spawn(netloop::sharpen_timers).join().unwrap());
}
