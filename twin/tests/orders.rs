//! Orders of operators and the stop of the plant, through the world in virtual time.

mod rig;

use netloop::slot::{ACK, FAILED};
use netloop::{Answer, Outbound, SessionId, Slot};
use rig::{Rig, device, options, record};
use twin::config::{Effective, Layers};
use twin::interval::Latency;
use twin::order::{
    Order, OrderDesk, OrderEnd, Outcome, StopRequest, StopSource, StopWord, orders, orders_after,
};
use twin::stats::Direction;
use twin::world::{ACTUATOR_ID, CommandEnds, Rule, StopRule, WorldOptions};
use wire::{Command, Operation, Record, SensorType, Status, Tier};

const RULE: Rule = Rule {
    sensor_type: SensorType::Temperature,
    above: 70.0,
    actuator_id: ACTUATOR_ID,
    setpoint: 20.0,
};

fn plant() -> (Rig, OrderDesk) {
    let mut rig = Rig::new(WorldOptions { rules: vec![RULE], ..options() });
    let (desk, port) = orders();
    rig.world.command(port);
    for session in 1..=3 {
        rig.open(session);
        rig.hello(session, 7);
        rig.receive(Tier::T1, session, 7, &record(session, 1, 0, 30.0));
    }
    rig.tick();
    (rig, desk)
}

fn order(number: u32, value: f64) -> Order {
    Order {
        id: 0,
        asked_ns: rig::START_NS,
        device: device(number),
        actuator_id: ACTUATOR_ID,
        sensor_type: SensorType::Temperature,
        via: 1,
        value,
    }
}

/// The next command and its tag, out of the ring that it has to come by.
fn sent(outbound: Option<Outbound>) -> (SessionId, Record, u32) {
    match outbound {
        Some(Outbound::Command { session, request, tag }) => (session, request, tag),
        other => panic!("{other:?} is no command"),
    }
}

fn end(rig: &mut Rig, flags: u8, session: u32, record: &Record, tag: u32) {
    let slot = Slot { flags, hint: tag, session, ..rig.slot(record) };
    rig.port.t3.push(slot).expect("an empty ring has room");
}

fn ended(desk: &mut OrderDesk) -> (u64, Outcome, f64) {
    let OrderEnd { id, outcome, value, .. } = desk.poll().expect("an order has ended");
    (id, outcome, value)
}

#[test]
fn an_order_reaches_its_device_and_comes_back_acknowledged() {
    let (mut rig, mut desk) = plant();
    assert_eq!(desk.push(order(2, 42.0)), Some(1));
    rig.tick();
    let (session, request, tag) = sent(rig.port.outbound.pop());
    assert_eq!((session, request.sensor_id(), request.value()), (SessionId(2), ACTUATOR_ID, 42.0));
    assert_eq!(Command::decode(&request).unwrap().operation(), Some(Operation::Setpoint));
    assert!(desk.poll().is_none(), "nobody has answered");
    end(&mut rig, ACK, 2, &Command::ack(request, Status::Ok, 41.5), tag);
    rig.tick();
    assert_eq!(ended(&mut desk), (1, Outcome::Acknowledged, 41.5));
    assert_eq!(rig.world.actuator(device(2), ACTUATOR_ID).unwrap().acknowledged, 41.5);
    assert_eq!(rig.world.interval_mut().histogram(Latency::OrderToAck).len(), 1);
}

#[test]
fn every_order_ends_once_whatever_becomes_of_it() {
    let (mut rig, mut desk) = plant();
    let strange = Order { device: device(99), ..order(1, 1.0) };
    let sensor = Order { actuator_id: 1, ..order(1, 1.0) };
    for order in [strange, sensor, order(1, 1.0), order(1, 2.0), order(2, 3.0), order(3, 4.0)] {
        desk.push(order).unwrap();
    }
    rig.tick();
    let ends = [ended(&mut desk), ended(&mut desk), ended(&mut desk)];
    assert_eq!(ends.map(|end| end.0), [1, 2, 3]);
    assert_eq!(ends.map(|end| end.1), [Outcome::Unknown, Outcome::Unknown, Outcome::Replaced]);
    let (_, first, replaced) = sent(rig.port.outbound.pop());
    let (_, _, _) = sent(rig.port.outbound.pop());
    let (_, refused, tag) = sent(rig.port.outbound.pop());
    let (_, failed, failing) = sent(rig.port.outbound.pop());
    end(&mut rig, ACK, 1, &Command::ack(first, Status::Ok, 1.0), replaced);
    end(&mut rig, ACK, 2, &Command::ack(refused, Status::OutOfRange, 9.0), tag);
    end(&mut rig, FAILED, 3, &failed, failing);
    rig.tick();
    assert_eq!(ended(&mut desk), (5, Outcome::Rejected(Status::OutOfRange), 9.0));
    assert_eq!(ended(&mut desk).1, Outcome::Reset);
    rig.ticks(1001);
    assert_eq!(ended(&mut desk), (4, Outcome::Expired, 2.0));
    assert!(desk.poll().is_none() && !desk.is_waiting());
    let ends = rig.world.command_ends();
    let one_each = CommandEnds { rejected: 1, reset: 1, expired: 1, replaced: 1, ..ends };
    assert_eq!((ends, ends.acknowledged, ends.unreachable), (one_each, 0, 0), "four were sent");
    assert_eq!(rig.stats.commands(Direction::ToDevice).replaced.value(), 1);
    rig.close(1, None);
    desk.push(order(1, 5.0)).unwrap();
    rig.tick();
    assert_eq!(ended(&mut desk).1, Outcome::Unreachable);
}

#[test]
fn a_stop_reaches_every_session_by_its_own_ring_and_is_repeated_until_answered() {
    let (mut rig, mut desk) = plant();
    desk.push(order(1, 50.0)).unwrap();
    assert_eq!(desk.set_stopped(true, rig::START_NS), 1);
    rig.receive(Tier::T1, 2, 7, &record(2, 1, 1, 2000.0));
    rig.tick();
    assert!(rig.port.outbound.pop().is_none(), "neither order nor rule goes to a stopped plant");
    assert_eq!(ended(&mut desk).1, Outcome::Stopped);
    let stops = [(); 3].map(|()| sent(rig.port.stops.pop()));
    assert_eq!(stops.map(|stop| stop.0), [1, 2, 3].map(SessionId));
    let (_, request, _) = stops[0];
    assert_eq!(Command::decode(&request).unwrap().operation(), Some(Operation::Stop));
    end(&mut rig, ACK, 1, &Command::ack(stops[0].1, Status::Ok, 0.0), stops[0].2);
    end(&mut rig, FAILED, 2, &stops[1].1, stops[1].2);
    rig.close(3, None);
    rig.tick();
    let stop = &rig.stats.stop;
    let tally = |rig: &Rig| {
        let stop = &rig.stats.stop;
        (stop.concerned.value(), stop.acknowledged.value(), stop.gone.value())
    };
    assert_eq!((stop.word().0, stop.refused.value()), (1, 0));
    assert_eq!(tally(&rig), (3, 1, 1));
    assert!(rig.port.stops.pop().is_none());
    rig.ticks(250);
    let (session, again, tag) = sent(rig.port.stops.pop());
    assert_eq!(session, SessionId(2));
    end(&mut rig, ACK, 2, &Command::ack(again, Status::Ok, 0.0), tag);
    rig.ticks(1000);
    assert_eq!(tally(&rig), (3, 2, 1));
    assert!(rig.port.stops.pop().is_none(), "everybody has answered or is gone");
    assert_eq!(rig.world.interval_mut().histogram(Latency::StopToAck).len(), 2);
}

#[test]
fn a_stop_reaches_the_session_in_the_last_place_of_the_last_worker() {
    let set = ["net.workers=3", "net.max_sessions=4"].map(str::to_owned).into();
    let effective = Effective::load(&Layers { set, ..Layers::default() });
    let config = effective.expect("the settings are good").config().clone();
    let mut rig = Rig::new(WorldOptions::new(&config, [11, 13]));
    let (desk, port) = orders();
    rig.world.command(port);
    // Three workers that hold two sessions each have places 0 to 5.
    for session in [0, 5] {
        rig.open(session);
        rig.hello(session, 7);
    }
    rig.tick();
    desk.set_stopped(true, rig::START_NS);
    rig.tick();
    let told: Vec<_> =
        std::iter::from_fn(|| rig.port.stops.pop().map(|s| sent(Some(s)).0)).collect();
    assert_eq!((told, rig.stats.stop.concerned.value()), ([0, 5].map(SessionId).into(), 2));
}

/// Two workers, the second of which has `sessions` sessions that answer nothing; the first has none.
fn two_workers(sessions: u32) -> (Rig, OrderDesk) {
    let options = WorldOptions { sessions_max: 4096, ..options() };
    let mut rig = Rig::with_workers(options, &rig::CAPACITIES, 2);
    let (desk, port) = orders();
    rig.world.command(port);
    for session in (1..).step_by(2).take(sessions as usize) {
        rig.open(session);
        rig.hello(session, 7);
        rig.tick();
    }
    (rig, desk)
}

#[test]
fn a_worker_that_takes_no_stops_is_in_the_way_of_no_other() {
    let (mut rig, desk) = two_workers(600);
    desk.set_stopped(true, rig::START_NS);
    // Asked four times a second, its sessions have filled its ring of stops by now, and nobody takes any.
    rig.ticks(1000);
    rig.open(600);
    rig.hello(600, 7);
    rig.ticks(4);
    let (session, request, tag) = sent(rig.port.stops.pop());
    assert_eq!(session, SessionId(600), "who comes later is told what holds");
    end(&mut rig, ACK, 600, &Command::ack(request, Status::Ok, 0.0), tag);
    desk.set_stopped(false, rig::START_NS);
    rig.ticks(4);
    let (session, request, _) = sent(rig.port.stops.pop());
    assert_eq!(Command::decode(&request).unwrap().operation(), Some(Operation::Clear));
    assert_eq!(session, SessionId(600));
    while rig.others[0].stops.pop().is_some() {}
    rig.ticks(4);
    let (_, request, _) = sent(rig.others[0].stops.pop());
    let operation = Command::decode(&request).unwrap().operation();
    assert_eq!(operation, Some(Operation::Clear), "a worker that takes turns again goes on");
}

#[test]
fn the_sessions_of_a_worker_that_is_gone_count_as_gone() {
    let (mut rig, desk) = two_workers(300);
    desk.set_stopped(true, rig::START_NS);
    rig.ticks(4);
    rig.open(601);
    rig.hello(601, 7);
    rig.others.clear();
    rig.ticks(4);
    let stop = &rig.stats.stop;
    assert_eq!((stop.concerned.value(), stop.gone.value()), (301, 301));
    desk.set_stopped(false, rig::START_NS);
    rig.ticks(4);
    assert_eq!(rig.stats.stop.concerned.value(), 0, "a second request waits for none of them");
}

#[test]
fn a_session_that_comes_later_does_not_make_a_stop_slow() {
    let (mut rig, desk) = two_workers(2);
    desk.set_stopped(true, rig::START_NS);
    rig.ticks(4);
    while rig.others[0].stops.pop().is_some() {}
    rig.ticks(5_000);
    rig.open(600);
    rig.hello(600, 7);
    rig.ticks(4);
    while let Some(stop) = rig.port.stops.pop() {
        let (session, request, tag) = sent(Some(stop));
        end(&mut rig, ACK, session.0, &Command::ack(request, Status::Ok, 0.0), tag);
    }
    rig.ticks(4);
    assert_eq!((rig.stats.stop.concerned.value(), rig.stats.stop.acknowledged.value()), (3, 1));
    assert_eq!(rig.world.interval_mut().histogram(Latency::StopToAck).len(), 0);
}

#[test]
fn who_comes_back_is_told_what_holds_and_a_clear_lets_orders_through() {
    let (mut rig, mut desk) = plant();
    rig.open(4);
    rig.hello(4, 7);
    rig.ticks(2);
    assert!(rig.port.stops.pop().is_none(), "nothing was ever asked for");
    desk.set_stopped(true, rig::START_NS);
    rig.tick();
    while rig.port.stops.pop().is_some() {}
    desk.set_stopped(false, rig::START_NS);
    rig.tick();
    let cleared = std::iter::from_fn(|| rig.port.stops.pop()).map(|clear| sent(Some(clear)).1);
    let operations: Vec<_> = cleared.map(|r| Command::decode(&r).unwrap().operation()).collect();
    assert_eq!(operations, [Some(Operation::Clear); 4]);
    rig.open(5);
    rig.hello(5, 7);
    rig.ticks(2);
    assert_eq!(sent(rig.port.stops.pop()).0, SessionId(5), "it may stand since an earlier session");
    desk.push(order(1, 50.0)).unwrap();
    rig.tick();
    assert_eq!(sent(rig.port.outbound.pop()).1.value(), 50.0);
}

#[test]
fn a_clear_reaches_every_session_of_a_plant_that_nobody_has_stopped() {
    let (mut rig, desk) = plant();
    desk.set_stopped(false, rig::START_NS);
    rig.tick();
    let told = std::iter::from_fn(|| rig.port.stops.pop()).map(|clear| sent(Some(clear)).1);
    let operations: Vec<_> = told.map(|r| Command::decode(&r).unwrap().operation()).collect();
    assert_eq!(operations, [Some(Operation::Clear); 3], "they may stand since an earlier run");
    assert_eq!(rig.stats.stop.concerned.value(), 3);
}

#[test]
fn a_stop_that_was_held_over_a_restart_is_told_and_holds_from_the_first_tick_on() {
    let mut rig = Rig::new(WorldOptions { rules: vec![RULE], ..options() });
    let (word, source) = (StopWord(5), StopSource::Rule);
    let (mut desk, port) = orders_after(StopRequest { word, source, asked_ns: rig::START_NS });
    rig.world.command(port);
    desk.push(order(1, 50.0)).unwrap();
    rig.tick();
    assert_eq!((rig.stats.stop.word(), ended(&mut desk).1), (word, Outcome::Stopped));
    rig.open(1);
    rig.hello(1, 7);
    rig.receive(Tier::T1, 1, 7, &record(1, 1, 0, 90.0));
    rig.ticks(2);
    assert!(rig.port.outbound.pop().is_none(), "no rule commands");
    let (session, told, _) = sent(rig.port.stops.pop());
    let operation = Command::decode(&told).unwrap().operation();
    assert_eq!((session, operation), (SessionId(1), Some(Operation::Stop)));
}

#[test]
fn a_late_answer_to_an_earlier_request_counts_for_nothing() {
    let (mut rig, desk) = plant();
    desk.set_stopped(true, rig::START_NS);
    rig.tick();
    let (_, stop, tag) = sent(rig.port.stops.pop());
    while rig.port.stops.pop().is_some() {}
    desk.set_stopped(false, rig::START_NS);
    rig.tick();
    end(&mut rig, ACK, 1, &Command::ack(stop, Status::Ok, 0.0), tag);
    rig.tick();
    assert_eq!(rig.stats.stop.acknowledged.value(), 0);
    let (_, clear, tag) = sent(rig.port.stops.pop());
    end(&mut rig, ACK, 1, &Command::ack(clear, Status::Ok, 0.0), tag);
    rig.tick();
    assert_eq!(rig.stats.stop.acknowledged.value(), 1);
}

#[test]
fn a_device_stops_the_plant_where_it_may_and_only_an_operator_clears_it() {
    for (device_stop, status) in [(true, Status::Ok), (false, Status::Refused)] {
        let mut rig = Rig::new(WorldOptions { device_stop, ..options() });
        let (desk, port) = orders();
        rig.world.command(port);
        rig.open(1);
        rig.hello(1, 7);
        rig.tick();
        let stop = Command::request(record(1, 0, 0, 0.0), Operation::Stop);
        let slot = Slot { session: 1, hint: 5, ..rig.slot(&stop) };
        rig.push(Tier::T3, slot);
        rig.tick();
        let Some(Outbound::Answer { token: 5, answer: Answer::Ack(ack), .. }) =
            rig.port.outbound.pop()
        else {
            panic!("a stop is answered");
        };
        assert_eq!(Command::decode(&ack).unwrap().status(), Some(status));
        assert_eq!(desk.stop_asked().is_stopped(), device_stop);
        rig.tick();
        assert_eq!(rig.port.stops.pop().is_some(), device_stop, "every session is told");
        if device_stop {
            assert_eq!(desk.stop_source(), StopSource::Device);
            desk.set_stopped(false, rig::START_NS);
            assert_eq!(desk.stop_source(), StopSource::Operator);
        }
    }
}

#[test]
fn a_rule_stops_the_plant_as_soon_as_a_sensor_is_above_its_value() {
    let rule = StopRule { sensor_type: SensorType::Temperature, above: 90.0 };
    let mut rig = Rig::new(WorldOptions { stop_rules: vec![rule], ..options() });
    let (desk, port) = orders();
    rig.world.command(port);
    rig.open(1);
    rig.hello(1, 7);
    for (seq, value) in (0..).zip([89.0, 90.0, 95.0]) {
        assert!(!desk.stop_asked().is_stopped(), "at {seq}");
        rig.receive(Tier::T1, 1, 7, &record(1, 1, seq, value));
        rig.tick();
    }
    assert!(desk.stop_asked().is_stopped(), "the mean of the three is above it");
    assert_eq!(desk.stop_source(), StopSource::Rule);
    rig.tick();
    assert!(rig.port.stops.pop().is_some(), "and the session is told in the next tick");
}
