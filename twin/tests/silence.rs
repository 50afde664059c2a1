//! A number that leaps must not silence its sensor.
//!
//! Symptom: after one record whose sequence number was broken, or after a device had booted without a hello, its sensor
//! stood still for ever: every later record was stale. Cause: a number up to 2^31 ahead was believed without a limit, and
//! all that followed lay behind it. The rule now asks the time as well, and a session without a hello begins anew.

mod rig;

use netloop::{NO_HINT, Slot};
use rig::{Rig, device, options, reading};
use twin::world::SEEN_BITS;
use wire::{Reading, Record, Tier};

/// A record whose time runs on its own, whatever its number.
fn timed(seq: u32, ts_us: u64) -> Record {
    Record::encode(&Reading { ts_us, value: ts_us as f64, ..reading(1, 1, seq, 0.0) })
}

/// The time of the latest value of the only sensor.
fn latest_us(rig: &Rig) -> u64 {
    rig.world.sensor(device(1), 1).expect("a sensor because it was sent a record").live.ts_us
}

#[test]
fn one_broken_number_costs_at_most_the_memory() {
    let records = 200;
    for bit in 0..u32::BITS {
        for first in [0, 5000, 0xffff_ff00, 0x7fff_fff0] {
            let mut rig = Rig::new(options());
            rig.open(1);
            rig.hello(1, 7);
            for step in 0..records {
                let seq = u32::wrapping_add(first, step);
                let seq = if step == 50 { seq ^ 1 << bit } else { seq };
                rig.receive(Tier::T1, 1, 7, &timed(seq, 1000 + u64::from(step)));
            }
            rig.tick();
            let totals = rig.totals(Tier::T1);
            let silent = u64::from(records) - totals.applied;
            assert!(silent <= u64::from(SEEN_BITS), "bit {bit} first {first}: {totals:?}");
            assert_eq!(latest_us(&rig), 1000 + u64::from(records) - 1, "bit {bit} first {first}");
            assert_eq!(totals.residual, 0);
        }
    }
}

#[test]
fn a_late_record_far_behind_stays_stale() {
    let mut rig = Rig::new(options());
    rig.open(1);
    rig.hello(1, 7);
    for step in 0..100 {
        rig.receive(Tier::T1, 1, 7, &timed(step, 1000 + u64::from(step)));
    }
    rig.receive(Tier::T1, 1, 7, &timed(2, 1002));
    // The time that holds is no newer time.
    rig.receive(Tier::T1, 1, 7, &timed(3, 1099));
    rig.tick();
    let totals = rig.totals(Tier::T1);
    assert_eq!((totals.applied, totals.stale, latest_us(&rig)), (100, 2, 1099));
}

#[test]
fn a_boot_without_a_hello_begins_anew_whatever_number_and_clock_it_has() {
    for numbers_before in [5, 40, 1000] {
        let mut rig = Rig::new(options());
        rig.open(1);
        for step in 0..numbers_before {
            rig.receive(Tier::T1, 1, 0, &timed(step, 1_000_000 + u64::from(step)));
        }
        rig.tick();
        rig.close(1, None);
        rig.open(2);
        // The device has lost its clock as well.
        for step in 0..10 {
            rig.receive(Tier::T1, 2, 0, &timed(step, 7 + u64::from(step)));
        }
        rig.tick();
        let totals = rig.totals(Tier::T1);
        assert_eq!((totals.applied, totals.lost), (u64::from(numbers_before) + 10, 0));
        assert_eq!((latest_us(&rig), totals.residual), (16, 0));
    }
}

#[test]
fn a_session_without_a_hello_does_not_begin_anew_by_being_looked_up() {
    let mut rig = Rig::new(options());
    rig.open(1);
    for step in [0, 1, 2, 1, 2] {
        // Without a hint, every record is looked up by its key.
        let slot = rig.slot(&timed(step, 1000 + u64::from(step)));
        rig.push(Tier::T1, Slot { session: 1, hint: NO_HINT, ..slot });
        rig.tick();
    }
    let totals = rig.totals(Tier::T1);
    assert_eq!((totals.applied, totals.duplicate), (3, 2));
}

#[test]
fn a_clock_that_is_set_back_silences_no_device_that_boots() {
    let mut rig = Rig::new(options());
    let hour_ns = 3_600_000_000_000;
    for (session, back_ns) in [(1, 0), (2, hour_ns), (3, hour_ns), (4, 1_000_000_000)] {
        rig.now_ns -= back_ns;
        rig.open(session);
        rig.hello(session, session);
        for step in 0..3 {
            let us = u64::from(session * 100 + step);
            rig.receive(Tier::T1, session, session, &timed(step, us));
            rig.tick();
        }
        let expected = if back_ns == 1_000_000_000 { 302 } else { u64::from(session) * 100 + 2 };
        assert_eq!(latest_us(&rig), expected, "session {session}");
    }
    // Set back by less than a late record may be old, the clock holds the device up for no longer than that.
    rig.now_ns += 2_000_000_000;
    rig.receive(Tier::T1, 4, 4, &timed(3, 403));
    rig.tick();
    assert_eq!(latest_us(&rig), 403);
}

#[test]
fn a_late_record_of_an_earlier_boot_is_stale() {
    let mut rig = Rig::new(options());
    for session in [1, 2] {
        rig.open(session);
        rig.hello(session, session);
    }
    let late = rig.slot(&timed(0, 100));
    rig.tick();
    rig.receive(Tier::T1, 2, 2, &timed(0, 200));
    rig.tick();
    rig.push(Tier::T2, Slot { session: 1, epoch: 1, hint: NO_HINT, ..late });
    rig.tick();
    assert_eq!((latest_us(&rig), rig.totals(Tier::T2).stale), (200, 1));
}
