//! Pictures against the world itself: a mirror that takes them in, in whatever rhythm, ends up equal to the rows.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

mod rig;

use netloop::slot::ACK;
use netloop::{CloseReason, Outbound, Slot};
use rig::{Random, Rig, device, options, record};
use twin::mirror::Mirror;
use twin::order::{Order, orders};
use twin::picture::{PictureConsumer, pictures};
use twin::world::{ACTUATOR_ID, Limits, Watch, WorldOptions};
use wire::{Command, SensorType, Status, Tier};

fn watched(options: WorldOptions) -> (Rig, PictureConsumer) {
    let (producer, mut consumer) = pictures();
    consumer.want(true);
    let watch = Watch::new(producer, options.hz, options.sessions_max);
    let mut rig = Rig::new(options);
    rig.world.attach(watch);
    (rig, consumer)
}

/// Takes in what was handed over; gives how many pictures that were.
fn look(mirror: &mut Mirror, consumer: &mut PictureConsumer) -> usize {
    let mut looks = 0;
    while let Some(picture) = consumer.poll() {
        mirror.apply(&picture);
        consumer.recycle(picture);
        looks += 1;
    }
    looks
}

/// Every sensor of the mirror is the world's, bit for bit, and no sensor is missing.
fn assert_equal(mirror: &Mirror, rig: &Rig, seed: u64) {
    assert_eq!(mirror.sensors().len(), rig.world.entities(), "seed {seed}");
    for shown in mirror.sensors() {
        let sensor = rig.world.sensor(mirror.device_of(shown), shown.sensor_id).unwrap();
        assert_eq!(shown.sensor_type, sensor.sensor_type, "seed {seed}");
        assert_eq!(shown.value.to_bits(), sensor.live.value.to_bits(), "seed {seed}");
        assert_eq!(shown.smoothed.to_bits(), sensor.smoothed.to_bits(), "seed {seed}");
        let times = (shown.ts_us, shown.recv_ns, shown.level);
        assert_eq!(times, (sensor.live.ts_us, sensor.live.recv_ns, sensor.live.level));
    }
}

#[test]
fn a_mirror_that_looks_now_and_then_ends_up_equal_to_the_world() {
    for seed in 1..=6 {
        let mut random = Random(seed);
        let limits = [Limits::new(700.0, 100.0, 5.0); SensorType::COUNT];
        let (mut rig, mut consumer) = watched(WorldOptions { limits, ..options() });
        let mut mirror = Mirror::default();
        rig.open(0);
        let mut seqs = vec![0_u32; 3000];
        for _ in 0..400 {
            for _ in 0..random.below(400) {
                let sensor = random.below(3000) as usize;
                let value = random.below(1000) as f64;
                let record = record(sensor as u32 / 5, sensor as u16 % 5, seqs[sensor], value);
                rig.receive(Tier::T1, 0, 0, &record);
                seqs[sensor] += 1;
            }
            rig.tick();
            if random.below(50) == 0 {
                look(&mut mirror, &mut consumer);
            }
        }
        // Whatever was left out while nobody looked follows now.
        for _ in 0..8 {
            rig.ticks(40);
            look(&mut mirror, &mut consumer);
        }
        assert_equal(&mirror, &rig, seed);
        assert_eq!(mirror.rows_waiting(), 0, "seed {seed}");
        let (seen, left_out) = mirror.crossing_counts();
        let counts = rig.world.crossing_counts(SensorType::Temperature);
        assert_eq!(seen + left_out, counts[0] + counts[1], "seed {seed}");
        assert!(seen > 100, "the limits are crossed: {seen}");
    }
}

#[test]
fn rows_beyond_the_budget_come_in_turn_and_none_starves() {
    const SENSORS: u32 = 4000;
    let (mut rig, mut consumer) = watched(options());
    let mut mirror = Mirror::default();
    rig.open(0);
    // Every sensor reports in every tick: several times what a picture has room for.
    for tick in 0..200_u32 {
        for sensor in 0..SENSORS {
            let record = record(sensor / 5, (sensor % 5) as u16, tick, f64::from(tick));
            assert!(rig.receive(Tier::T1, 0, 0, &record));
        }
        rig.tick();
        look(&mut mirror, &mut consumer);
    }
    assert!(mirror.rows_waiting() > 0, "the budget is exceeded");
    let oldest = mirror.sensors().iter().map(|sensor| sensor.value as u32).min().unwrap();
    assert!(oldest > 150, "the sensor that waits longest stands at tick {oldest} of 200");
}

#[test]
fn pictures_come_at_their_rate_and_stop_when_nobody_gives_one_back() {
    let (mut rig, mut consumer) = watched(options());
    let mut mirror = Mirror::default();
    rig.ticks(1000);
    assert_eq!(look(&mut mirror, &mut consumer), 2, "the spare ones, and no more");
    let mut looks = 0;
    for _ in 0..1000 {
        rig.tick();
        looks += look(&mut mirror, &mut consumer);
    }
    assert!((29..=31).contains(&looks), "{looks} pictures in a second");
}

#[test]
fn a_session_is_shown_from_its_opening_to_its_close() {
    let (mut rig, mut consumer) = watched(options());
    let mut mirror = Mirror::default();
    rig.open(3);
    rig.ticks(40);
    look(&mut mirror, &mut consumer);
    let shown = *mirror.sessions().next().unwrap();
    assert_eq!((shown.session.0, shown.device, shown.closed), (3, None, None));
    rig.hello(3, 7);
    rig.ticks(40);
    look(&mut mirror, &mut consumer);
    let shown = *mirror.sessions().next().unwrap();
    assert_eq!((shown.epoch, shown.device.is_some()), (7, true));
    rig.close(3, None);
    rig.ticks(40);
    look(&mut mirror, &mut consumer);
    let shown = *mirror.sessions().next().unwrap();
    let close = shown.closed.unwrap();
    assert_eq!(close.reason, CloseReason::Idle);
    assert!(shown.opened_ns < close.at_ns && close.at_ns <= mirror.at_ns(), "{shown:?}");
}

#[test]
fn a_sensor_is_found_by_its_name() {
    let (mut rig, mut consumer) = watched(options());
    let mut mirror = Mirror::default();
    rig.open(0);
    rig.receive(Tier::T1, 0, 0, &record(8, 2, 0, 4.5));
    rig.ticks(40);
    look(&mut mirror, &mut consumer);
    let number = mirror.sensor(device(8), 2).unwrap();
    assert_eq!(mirror.sensors()[number as usize].value, 4.5);
    assert_eq!(mirror.changed(), [number]);
    assert!(mirror.sensor(device(8), 3).is_none() && mirror.sensor(device(9), 2).is_none());
}

#[test]
fn nothing_of_the_plant_is_shown_to_nobody_and_all_of_it_to_whoever_asks_again() {
    const SENSORS: u32 = 3000;
    let (mut rig, mut consumer) = watched(options());
    let mut mirror = Mirror::default();
    rig.open(0);
    let report = |rig: &mut Rig, seq: u32| {
        for sensor in 0..SENSORS {
            let record = record(sensor / 5, (sensor % 5) as u16, seq, f64::from(seq));
            assert!(rig.receive(Tier::T1, 0, 0, &record));
        }
    };
    consumer.want(false);
    report(&mut rig, 0);
    for _ in 0..8 {
        rig.ticks(40);
        assert!(look(&mut mirror, &mut consumer) > 0, "sessions and crossings are shown");
    }
    assert_eq!((mirror.sensors().len(), mirror.is_complete()), (0, false));
    assert_eq!(mirror.sessions().count(), 1);
    for (seed, seq) in [(1, 1), (2, 2)] {
        consumer.want(true);
        // Nobody reports any more: what stands is shown all the same.
        let mut looks = 0;
        while !mirror.is_complete() {
            rig.ticks(40);
            looks += look(&mut mirror, &mut consumer);
            assert!(looks < 20, "{} of {SENSORS} sensors", mirror.sensors().len());
        }
        assert_equal(&mirror, &rig, seed);
        report(&mut rig, seq);
        rig.ticks(40);
        // Asked again before the tick has seen that nobody looked.
        consumer.want(false);
        mirror.forget_plant();
        assert_eq!((mirror.sensors().len(), mirror.devices().len()), (0, 0));
        if seed == 1 {
            rig.ticks(40);
        }
    }
    consumer.want(true);
    rig.ticks(400);
    while look(&mut mirror, &mut consumer) > 0 {
        rig.ticks(40);
        if mirror.is_complete() {
            break;
        }
    }
    assert_equal(&mirror, &rig, 3);
}

#[test]
fn a_plant_of_slow_ticks_is_named_as_soon_as_one_of_quick_ticks() {
    const SENSORS: u32 = 4000;
    let told_after_s = |hz: u32| {
        let (mut rig, mut consumer) = watched(WorldOptions { hz, ..options() });
        rig.open(0);
        for sensor in 0..SENSORS {
            rig.receive(Tier::T1, 0, 0, &record(sensor / 5, (sensor % 5) as u16, 0, 1.0));
        }
        let mut mirror = Mirror::default();
        let ticks = (1..).find(|_| {
            rig.tick();
            look(&mut mirror, &mut consumer);
            mirror.is_complete()
        });
        assert_eq!(mirror.sensors().len(), SENSORS as usize, "{hz} Hz");
        f64::from(ticks.unwrap()) / f64::from(hz)
    };
    let (quick, slow) = (told_after_s(1000), told_after_s(50));
    assert!(quick < 0.2 && slow < quick + 0.1, "{quick} s at 1000 Hz, {slow} s at 50 Hz");
}

#[test]
fn actuators_that_change_all_the_time_make_no_plant_that_was_shown_a_part_of_one() {
    const DEVICES: u32 = 2000;
    let (mut rig, mut consumer) = watched(options());
    let (mut desk, port) = orders();
    rig.world.command(port);
    let mut mirror = Mirror::default();
    rig.open(0);
    rig.hello(0, 0);
    for of in 0..DEVICES {
        assert!(rig.receive(Tier::T1, 0, 0, &record(of, 0, 0, 4.5)));
    }
    rig.ticks(400);
    look(&mut mirror, &mut consumer);
    assert!(mirror.is_complete());
    // More of them between two pictures than a picture has room for.
    for number in 0..DEVICES * 4 {
        let given = desk.push(Order {
            id: 0,
            asked_ns: rig::START_NS,
            device: device(number % DEVICES),
            actuator_id: ACTUATOR_ID,
            sensor_type: SensorType::Temperature,
            via: 0,
            value: f64::from(number),
        });
        assert!(given.is_some(), "command {number}");
        if number % 60 == 0 {
            rig.tick();
            while let Some(Outbound::Command { session, request, tag }) = rig.port.outbound.pop() {
                let ack = Command::ack(request, Status::Ok, 1.0);
                let slot = Slot { flags: ACK, hint: tag, session: session.0, ..rig.slot(&ack) };
                rig.port.t3.push(slot).unwrap();
            }
            while desk.poll().is_some() {}
            look(&mut mirror, &mut consumer);
            assert!(mirror.is_complete(), "after command {number}");
        }
    }
    rig.ticks(400);
    look(&mut mirror, &mut consumer);
    assert_eq!(mirror.actuators().len(), DEVICES as usize);
}

#[test]
fn the_sensor_heard_last_leads_to_the_session_that_a_device_has_now() {
    let (mut rig, mut consumer) = watched(options());
    let (mut desk, port) = orders();
    rig.world.command(port);
    let mut mirror = Mirror::default();
    for session in [1, 2] {
        rig.open(session);
        rig.hello(session, session);
        for sensor_id in session as u16..=2 {
            rig.receive(Tier::T1, session, session, &record(8, sensor_id, session, 4.5));
        }
        rig.ticks(40);
        look(&mut mirror, &mut consumer);
        let heard = mirror.heard_last(mirror.device(device(8)).unwrap()).unwrap();
        assert_eq!(heard.sensor_id, 2);
        desk.push(Order {
            id: 0,
            asked_ns: rig::START_NS,
            device: device(8),
            actuator_id: ACTUATOR_ID,
            sensor_type: SensorType::Temperature,
            via: heard.sensor_id,
            value: 1.0,
        });
        rig.tick();
        let sent = rig.port.outbound.pop();
        let Some(Outbound::Command { session: to, .. }) = sent else { panic!("{sent:?}") };
        assert_eq!(to.0, session, "its first sensor is silent since");
        rig.close(session, None);
    }
}
