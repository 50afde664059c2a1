//! Bugs that the plant in a box has found, each as the least scenario that shows it, with its story.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use sim::{DevicePlan, Fault, Kind, Scenario, run};

const DEVICE: DevicePlan = DevicePlan {
    number: 0,
    sensors: 1,
    period_us: 10_000,
    t2_every: 0,
    t3_every: 0,
    hello: true,
    delay_us: 40_000,
    heedless: false,
};

fn scenario(device: DevicePlan, faults: &[(u64, u64, Kind)]) -> Scenario {
    let fault = |(number, &(from_us, until_us, kind))| Fault {
        from_us,
        until_us,
        device: None,
        kind,
        number,
        runs: None,
    };
    Scenario {
        seed: 0,
        workers: 1,
        hz: 200,
        rest_us: 0,
        rings: [4096, 1024, 256],
        drain: [4096, 1024, 256],
        rule: false,
        order_every_us: 0,
        devices: vec![device],
        faults: (0..).zip(faults).map(fault).collect(),
        faults_end_us: faults.iter().map(|(_, until_us, _)| *until_us).max().unwrap_or(0),
        heal_us: 4_000_000,
    }
}

/// Seed 210. An operator stopped the plant, and cleared the stop 45 ms later. The datagram with the stop was lost; the clear,
/// on a stream of its own, arrived first, and the stop behind it was obeyed: the twin said that the plant works, and the
/// device stood until the next stop. Requests are numbered, and a device obeys none that is behind the latest one
/// (PROTOCOL.md#t3).
#[test]
fn a_stop_that_its_own_end_has_overtaken_is_not_obeyed() {
    let faults = [(165_000, 205_000, Kind::Deaf), (170_000, 215_000, Kind::Stop)];
    let outcome = run(&scenario(DEVICE, &faults));
    assert_eq!(outcome.violation, None);
    let heedless = run(&scenario(DevicePlan { heedless: true, ..DEVICE }, &faults));
    let what = heedless.violation.unwrap().what;
    assert_eq!(what, "device 0 is still stopped");
}

/// Seed 1001526. A device that heard nothing for a while gave its session up and called again, and as it had met the twin
/// before, its hello came with its first packet. The worker told of the hello at once, and of the session when the handshake
/// was done; the world knew no session of that name yet and forgot the hello. Values came in as ever, and no command found a
/// way to the device for as long as that session lasted. A hello is told of behind its session, and of no handshake that
/// fails: early data can be replayed by anybody who has seen it.
#[test]
fn a_device_whose_hello_came_early_can_be_commanded() {
    let faults = [(300_000, 1_900_000, Kind::Deaf)];
    let plant = Scenario { order_every_us: 40_000, ..scenario(DEVICE, &faults) };
    let outcome = run(&plant);
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.sessions, 2, "it has called again");
}

/// Seed 1004892, in which the plant was right and its judge was not. The path delayed the first datagrams of a handshake by 600
/// ms, and the device had another address before it was done. QUIC lets nobody move in a handshake, so that both ends waited;
/// for three probe timeouts, which such a round trip makes 11 s. Then the device called again. The time to heal allows for it.
#[test]
fn a_session_that_moves_in_its_handshake_is_given_up_and_comes_back() {
    let faults = [(14_222, 14_223, Kind::Delay(600_000)), (285_779, 285_780, Kind::Address)];
    let device = DevicePlan { number: 1, t2_every: 3, hello: false, delay_us: 10_000, ..DEVICE };
    let plant = scenario(device, &faults);
    let early = Scenario { seed: 1_004_892, hz: 500, heal_us: 2_000_000, ..plant };
    assert!(run(&early).violation.is_some(), "after two seconds it still waits");
    let patient = Scenario { heal_us: early.heal_us + early.given_up_us(), ..early };
    let outcome = run(&patient);
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.sessions, 2, "the first one opened at the device alone");
}

/// Seed 1013281, as it was drawn. What the twin answered to a call was lost for a second. Its next answer named the first
/// packet of the device, which took that second for the round trip, and of the device's last words in the handshake nothing
/// arrived: it said them again 6.4 s later, to a twin that had long given the handshake up, and would have called again after
/// 15 s of calm. A call that is no session in time is given up by the device itself.
#[test]
fn a_call_whose_answers_were_lost_is_given_up_and_made_again() {
    assert_eq!(run(&Scenario::draw(1_013_281, true)).violation, None);
}
