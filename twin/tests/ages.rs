//! Ages of all values, against what the records say: every sensor is looked at once a second, of whatever type it is.

mod rig;

use rig::{Rig, START_NS, TICK_NS, options, reading};
use twin::interval::Latency;
use twin::mirror::Mirror;
use twin::picture::pictures;
use twin::world::Watch;
use wire::{Reading, Record, SensorType, Tier};

const SENSORS: u32 = 2500;
const TICKS_PER_S: u64 = 1000;

/// Every sensor whose number is a multiple of `step` reports a value that was sent just now.
fn report(rig: &mut Rig, step: usize) {
    let since_us = (rig.now_ns - START_NS) / 1000;
    for number in (0..SENSORS).step_by(step) {
        let sensor_type = SensorType::ALL[number as usize % SensorType::COUNT];
        let ts_us = START_NS / 1000 + since_us;
        let reading = reading(number / 5, (number % 5) as u16, since_us as u32, 1.0);
        let record = Record::encode(&Reading { sensor_type, ts_us, ..reading });
        assert!(rig.receive(Tier::T1, 0, 0, &record));
    }
}

#[test]
fn every_sensor_is_looked_at_once_a_second() {
    let mut rig = Rig::new(options());
    rig.open(0);
    rig.tick();
    assert!(rig.world.interval_mut().histogram(Latency::Age).is_empty(), "nothing has an age yet");
    report(&mut rig, 1);
    // The first round was over an empty plant.
    rig.ticks(TICKS_PER_S - 1);
    for seconds in 1..=3 {
        rig.ticks(TICKS_PER_S);
        let looked = rig.world.interval_mut().histogram(Latency::Age).len();
        assert_eq!(looked, seconds * u64::from(SENSORS));
    }
}

#[test]
fn a_round_finds_the_oldest_value_the_timely_ones_and_the_quickest_record() {
    let mut rig = Rig::new(options());
    rig.open(0);
    report(&mut rig, 1);
    let sent_ns = rig.now_ns;
    // Half of them go on; the round of the third second finds both halves.
    for _ in 0..29 {
        rig.ticks(TICKS_PER_S / 10);
        report(&mut rig, 2);
    }
    let ages = &rig.stats.ages;
    let values = (ages.sensors.value(), ages.timely.value(), ages.fresh.value());
    let half = u64::from(SENSORS / 2);
    assert_eq!(values, (u64::from(SENSORS), half, half));
    let worst_ns = ages.worst_ns.value();
    assert!((2000 * TICK_NS..=rig.now_ns - sent_ns).contains(&worst_ns), "{worst_ns}");
    let worst = twin::world::RowRef::from_bits(ages.worst.value() as u32);
    assert!(worst.sensor_type().is_some(), "{worst:?} is a sensor");
    // What the rig takes from a device to the twin.
    assert_eq!(ages.quickest_ns.value(), TICK_NS / 2);
}

#[test]
fn a_plant_that_grows_within_a_round_is_still_looked_at_within_a_second() {
    let mut rig = Rig::new(options());
    rig.open(0);
    report(&mut rig, 50);
    // The round of the second second has begun with the few sensors of the first one.
    rig.ticks(TICKS_PER_S + 10);
    assert_eq!(rig.stats.ages.sensors.value(), 50);
    report(&mut rig, 1);
    rig.ticks(TICKS_PER_S);
    assert_eq!(rig.stats.ages.sensors.value(), u64::from(SENSORS));
}

#[test]
fn a_dead_sensor_grows_old_although_its_clock_is_ahead() {
    let mut rig = Rig::new(options());
    let (producer, mut looks) = pictures();
    looks.want(true);
    rig.world.attach(Watch::new(producer, 1000, 64));
    rig.open(0);
    let ahead = Reading { ts_us: START_NS / 1000 + 3_600_000_000, ..reading(0, 0, 0, 1.0) };
    assert!(rig.receive(Tier::T1, 0, 0, &Record::encode(&ahead)));
    rig.tick();
    let received_ns = rig.now_ns;
    let mut mirror = Mirror::default();
    for _ in 0..10 {
        rig.ticks(TICKS_PER_S / 2);
        while let Some(picture) = looks.poll() {
            mirror.apply(&picture);
            looks.recycle(picture);
        }
    }
    let ages = &rig.stats.ages;
    assert_eq!((ages.sensors.value(), ages.timely.value()), (1, 0));
    // The last round was a second ago at most.
    let age_ns = rig.now_ns - received_ns;
    let oldest_ns = age_ns - TICKS_PER_S * TICK_NS..=age_ns + 2 * TICK_NS;
    assert!(oldest_ns.contains(&ages.worst_ns.value()), "{}", ages.worst_ns.value());
    let shown_ns = mirror.age_ns(&mirror.sensors()[0]);
    assert!(oldest_ns.contains(&shown_ns), "{shown_ns}");
}
