//! The closed loop: a rule fires, the device acknowledges, and the world knows.

mod rig;

use netloop::slot::{ACK, FAILED};
use netloop::{Outbound, SessionId, Slot};
use rig::{Rig, device, options, record};
use twin::interval::Latency;
use twin::order::{Order, Outcome, orders};
use twin::world::{
    ACTUATOR_ID, ActuatorState, ActuatorStatus, CommandEnds, LaneCapacities, Rule, WorldOptions,
};
use wire::{Command, Operation, Record, SensorType, Status, Tier};

const RULE: Rule = Rule {
    sensor_type: SensorType::Temperature,
    above: 70.0,
    actuator_id: ACTUATOR_ID,
    setpoint: 20.0,
};

fn rig_with_rule() -> Rig {
    let mut rig = Rig::new(WorldOptions { rules: vec![RULE], ..options() });
    rig.open(1);
    rig.hello(1, 7);
    rig
}

fn report(rig: &mut Rig, seq: u32, value: f64) {
    rig.receive(Tier::T1, 1, 7, &record(1, 1, seq, value));
    rig.tick();
}

fn command(rig: &mut Rig) -> (Record, u32) {
    match rig.port.outbound.pop() {
        Some(Outbound::Command { session: SessionId(1), request, tag }) => (request, tag),
        other => panic!("{other:?} is no command to session 1"),
    }
}

fn end(rig: &mut Rig, flags: u8, record: &Record, tag: u32) {
    let slot = Slot { flags, hint: tag, session: 1, ..rig.slot(record) };
    rig.port.t3.push(slot).expect("an empty ring has room");
    rig.tick();
}

fn actuator(rig: &Rig) -> ActuatorState {
    rig.world.actuator(device(1), ACTUATOR_ID).expect("a rule has made it")
}

#[test]
fn a_record_in_the_name_of_an_actuator_is_rejected_and_the_world_can_be_restored() {
    let mut rig = rig_with_rule();
    report(&mut rig, 0, 80.0);
    let before = rig.world.state_hash();
    rig.open(2);
    rig.hello(2, 8);
    rig.receive(Tier::T1, 2, 8, &record(1, ACTUATOR_ID, 0, 1.0));
    rig.receive(Tier::T1, 2, 8, &record(1, ACTUATOR_ID, 1, 1.0));
    rig.tick();
    let totals = rig.totals(Tier::T1);
    assert_eq!((totals.rejected, totals.lost, totals.residual), (2, 0, 0));
    assert_eq!(rig.world.state_hash(), before, "the way of its last command stays as it was");
    let mut restored = Rig::new(WorldOptions { rules: vec![RULE], ..options() });
    rig.world.with_saved(|saved| restored.world.restore(&saved)).expect("what was saved is whole");
    assert_eq!(restored.world.state_hash(), rig.world.state_hash());
}

#[test]
fn commands_that_have_ended_take_no_room_of_later_ones() {
    let mut rig = Rig::new(options());
    let (mut desk, port) = orders();
    rig.world.command(port);
    rig.open(1);
    rig.hello(1, 7);
    report(&mut rig, 0, 20.0);
    // More than can be on their way at the same time, and all of them within the deadline of the first.
    let each_tick = 64;
    for tick in 0..300 {
        for number in 0..each_tick {
            let device = device(1);
            let (actuator_id, value) = (ACTUATOR_ID + number, f64::from(tick));
            let sensor_type = SensorType::Temperature;
            let (id, asked_ns, via) = (0, rig::START_NS, 1);
            let order = Order { id, asked_ns, device, actuator_id, sensor_type, via, value };
            desk.push(order).expect("room because all before it have ended");
        }
        rig.tick();
        for _ in 0..each_tick {
            let (request, tag) = command(&mut rig);
            let ack = Command::ack(request, Status::Ok, request.value());
            let slot = Slot { flags: ACK, hint: tag, session: 1, ..rig.slot(&ack) };
            rig.port.t3.push(slot).expect("an empty ring has room");
        }
        rig.tick();
        let outcomes: Vec<_> = std::iter::from_fn(|| desk.poll()).map(|end| end.outcome).collect();
        assert_eq!(outcomes, [Outcome::Acknowledged; 64], "tick {tick}");
    }
}

#[test]
fn a_rule_commands_once_and_the_ack_is_visible_in_the_world() {
    let mut rig = rig_with_rule();
    report(&mut rig, 0, 60.0);
    assert!(rig.port.outbound.pop().is_none() && rig.world.actuator(device(1), 100).is_none());
    report(&mut rig, 1, 90.0);
    let (request, tag) = command(&mut rig);
    let decoded = Command::decode(&request).unwrap();
    assert_eq!(decoded.operation(), Some(Operation::Setpoint));
    assert_eq!((request.device(), request.sensor_id()), (device(1), ACTUATOR_ID));
    assert_eq!((request.value(), decoded.sensor_type), (20.0, SensorType::Temperature));
    assert_eq!(actuator(&rig).status, ActuatorStatus::Pending as u32);
    report(&mut rig, 2, 95.0);
    assert!(rig.port.outbound.pop().is_none(), "it is on its way already");
    end(&mut rig, ACK, &Command::ack(request, Status::Ok, 20.5), tag);
    let state = actuator(&rig);
    assert_eq!(state.status, ActuatorStatus::Acknowledged as u32);
    assert_eq!((state.requested, state.acknowledged), (20.0, 20.5));
    assert_eq!(rig.world.interval_mut().histogram(Latency::CommandRtt).len(), 1);
    report(&mut rig, 3, 99.0);
    assert!(rig.port.outbound.pop().is_none(), "it holds the setpoint already");
    let ends = CommandEnds { acknowledged: 1, ..CommandEnds::default() };
    assert_eq!(rig.world.command_ends(), ends);
    assert_eq!(rig.totals(Tier::T3).residual, 0, "ends of our commands are no records of T3");
}

#[test]
fn a_reboot_forgets_the_setpoint_and_is_told_again() {
    let mut rig = rig_with_rule();
    report(&mut rig, 0, 90.0);
    let (request, tag) = command(&mut rig);
    end(&mut rig, ACK, &Command::ack(request, Status::Ok, 20.0), tag);
    rig.hello(1, 8);
    rig.receive(Tier::T1, 1, 8, &record(1, 1, 0, 90.0));
    rig.tick();
    let (again, later) = command(&mut rig);
    assert_eq!((again.value(), again.seq()), (20.0, request.seq() + 1));
    assert_ne!(later, tag);
}

#[test]
fn a_failed_command_is_repeated_after_its_deadline_and_not_before() {
    let mut rig = rig_with_rule();
    report(&mut rig, 0, 90.0);
    let (request, tag) = command(&mut rig);
    end(&mut rig, FAILED, &request, tag);
    assert_eq!(actuator(&rig).status, ActuatorStatus::Failed as u32);
    for seq in 1..999 {
        report(&mut rig, seq, 90.0);
        assert!(rig.port.outbound.pop().is_none(), "seq {seq}");
    }
    report(&mut rig, 999, 90.0);
    let (_, tag) = command(&mut rig);
    end(&mut rig, ACK, &Command::ack(request, Status::Refused, 0.0), tag);
    let ends = rig.world.command_ends();
    assert_eq!((ends.reset, ends.rejected, ends.acknowledged), (1, 1, 0));
}

#[test]
fn a_command_without_an_end_expires_and_its_late_ack_changes_nothing() {
    let mut rig = rig_with_rule();
    report(&mut rig, 0, 90.0);
    let (request, tag) = command(&mut rig);
    rig.ticks(1001);
    assert_eq!(actuator(&rig).status, ActuatorStatus::Expired as u32);
    end(&mut rig, ACK, &Command::ack(request, Status::Ok, 20.0), tag);
    assert_eq!(actuator(&rig).status, ActuatorStatus::Expired as u32);
    assert_eq!(rig.world.command_ends().expired, 1);
    assert_eq!(rig.stats.commands[1].expired.value(), 1);
    report(&mut rig, 1, 90.0);
    let (_, next) = command(&mut rig);
    end(&mut rig, ACK, &Command::ack(request, Status::Ok, 1.0), tag);
    assert_eq!(actuator(&rig).status, ActuatorStatus::Pending as u32, "tag {tag} is not {next}");
}

#[test]
fn a_device_that_answers_no_commands_is_counted_unreachable() {
    let mut rig = Rig::new(WorldOptions { rules: vec![RULE], ..options() });
    rig.open(1);
    report(&mut rig, 0, 90.0);
    assert!(rig.port.outbound.pop().is_none());
    assert_eq!(rig.world.command_ends().unreachable, 1);
}

#[test]
fn a_device_that_moved_to_another_session_is_found_again() {
    let mut rig = rig_with_rule();
    rig.open(2);
    rig.hello(2, 7);
    report(&mut rig, 0, 20.0);
    // Session 2 learns the row, then session 1 is resolved last, and closes.
    rig.receive(Tier::T1, 2, 7, &record(1, 1, 1, 20.0));
    rig.tick();
    rig.close(2, None);
    for seq in 2..1200 {
        report(&mut rig, seq, 90.0);
    }
    let (request, _) = command(&mut rig);
    assert_eq!(request.value(), 20.0);
    assert!(rig.world.command_ends().unreachable > 0);
}

#[test]
fn every_sensor_of_a_burst_is_looked_after() {
    let capacities = LaneCapacities { outbound: 1 << 14, ..rig::CAPACITIES };
    let options = || WorldOptions { rules: vec![RULE], ..options() };
    let mut rig = Rig::with_capacities(options(), &capacities);
    rig.open(1);
    rig.hello(1, 7);
    let devices = 10_000;
    for (seq, value, ticks) in [(0, 20.0, 10), (1, 200.0, 1)] {
        for number in 0..devices {
            rig.receive(Tier::T1, 1, 7, &record(number, 1, seq, value));
        }
        rig.ticks(ticks);
    }
    // The value of one that waits may have gone down meanwhile; its command is not needed any more.
    rig.receive(Tier::T1, 1, 7, &record(devices - 1, 1, 2, -1000.0));
    let mut restored = Rig::with_capacities(options(), &capacities);
    rig.world.with_saved(|saved| restored.world.restore(&saved)).expect("what was saved is whole");
    rig.ticks(2);
    let asked: Vec<_> = std::iter::from_fn(|| rig.port.outbound.pop())
        .map(|outbound| match outbound {
            Outbound::Command { request, .. } => request.device(),
            other => panic!("{other:?} is no command"),
        })
        .collect();
    assert_eq!(asked, (0..devices - 1).map(device).collect::<Vec<_>>());
    restored.ticks(2);
    let late = std::iter::from_fn(|| restored.port.outbound.pop()).count();
    assert_eq!(late, devices as usize - 4096, "and a world that was restored goes on with them");
}
