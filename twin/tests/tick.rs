//! The tick thread on a real clock: nothing here depends on how fast it is.

mod rig;

use std::sync::Arc;
use std::time::{Duration, Instant};

use netloop::{Clock, Stop, wake_line};
use rig::{Rig, options, record};
use twin::interval::Latency;
use twin::tick::{TickOptions, TickThread};
use twin::world::FaultOptions;
use wire::Tier;

#[test]
fn the_end_drains_the_rings_and_hands_the_last_latencies_over() {
    let Rig { world, port, lanes, stats, producer, mut consumer, .. } = {
        let mut rig = Rig::new(options());
        rig.open(1);
        for seq in 0..5000 {
            rig.receive(Tier::T1, 1, 0, &record(seq % 50, 1, seq / 50, 1.0));
        }
        rig
    };
    let (waker, _sleeper) = wake_line().unwrap();
    let started: Instant = Clock::new().now().instant;
    let tick_options = TickOptions { hz: 1000, spin: Duration::ZERO, catch_up: 0 };
    let published = Arc::clone(&stats);
    let thread = TickThread::new(world, lanes, producer, stats, vec![waker], tick_options, started);
    let stop = Stop::new();
    // Told to end before it starts: what waits in the rings is applied all the same.
    stop.drain();
    std::thread::spawn(move || thread.run(&stop)).join().unwrap();
    let totals = published.tiers[0].totals();
    assert_eq!((totals.applied, totals.in_flight, totals.residual), (5000, 0, 0));
    let last = consumer.poll().unwrap();
    assert_eq!(last.histogram(Latency::ReceiveToAppliedT1).len(), 5000);
    let ticks = published.tick.ticks.value();
    assert!(ticks > 0 && last.histogram(Latency::TickDuration).len() == ticks);
    assert_eq!(last.histogram(Latency::TickJitter).len(), ticks);
    assert_eq!(port.t1.depth(), 0);
}

#[test]
fn the_end_applies_what_fault_injection_holds_back() {
    let fault = FaultOptions { delay_ticks: 2000, ..FaultOptions::default() };
    let mut rig = Rig::new(twin::world::WorldOptions { fault, ..options() });
    rig.open(1);
    for seq in 0..500 {
        rig.receive(Tier::T1, 1, 0, &record(seq % 50, 1, seq / 50, 1.0));
    }
    let Rig { world, port: _port, lanes, stats, producer, .. } = rig;
    let started: Instant = Clock::new().now().instant;
    let tick_options = TickOptions { hz: 1000, spin: Duration::ZERO, catch_up: 0 };
    let published = Arc::clone(&stats);
    let thread = TickThread::new(world, lanes, producer, stats, vec![], tick_options, started);
    let stop = Stop::new();
    stop.drain();
    std::thread::spawn(move || thread.run(&stop)).join().unwrap();
    let totals = published.tiers[0].totals();
    assert_eq!((totals.applied, totals.in_flight, totals.residual), (500, 0, 0));
    assert!(published.tick.ticks.value() > 2000);
}
