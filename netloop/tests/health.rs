//! Peers that fall silent are asked, fail and come back, and paths that lose are told from those that do not.
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

mod link;

use std::time::Duration;

use link::{Pair, Weather, numbered};
use netloop::{Health, SessionLimits};
use wire::{Command, Operation};

fn pair(weather: Weather) -> Pair {
    let silent = SessionLimits { keep_alive: None, ..SessionLimits::default() };
    Pair::with_limits(1, weather, silent.clone(), silent)
}

fn healths(pair: &Pair) -> [u64; 4] {
    pair.server.engine.tally().health
}

#[test]
fn a_peer_that_answers_probes_stays_and_one_that_does_not_fails() {
    let mut pair = pair(Weather::CALM);
    pair.connect();
    let session = pair.server_session();
    // Nobody says anything for a minute: without probes the idle timeout of ten seconds would end the session.
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.server.engine.health(session), Some(Health::Healthy), "seed 1");
    assert_eq!(healths(&pair), [1, 0, 0, 0]);
    pair.weather.loss = 1.0;
    let mut seen = vec![Health::Healthy];
    for _ in 0..200 {
        pair.run_for(Duration::from_millis(50));
        let health = pair.server.engine.health(session).unwrap();
        if seen.last() != Some(&health) {
            seen.push(health);
        }
        if health == Health::Failed {
            break;
        }
    }
    assert_eq!(seen, [Health::Healthy, Health::Probing, Health::Failed], "seed 1");
    assert_eq!(healths(&pair), [0, 0, 0, 1]);
    pair.weather.loss = 0.0;
    pair.run_for(Duration::from_secs(3));
    assert_eq!(pair.server.engine.health(session), Some(Health::Healthy), "it was heard again");
    pair.weather.loss = 1.0;
    pair.run_for(Duration::from_secs(30));
    assert_eq!((healths(&pair), pair.server.engine.open_sessions()), ([0; 4], 0));
}

#[test]
fn a_path_that_loses_is_degraded_until_it_does_not() {
    let mut pair = Pair::new(2, Weather::CALM);
    let session = pair.connect();
    let at_server = pair.server_session();
    let ask = |pair: &mut Pair, seconds: u32| {
        for seq in 0..seconds * 20 {
            let request = Command::request(numbered(seq), Operation::Read);
            // None is free while answers are lost and sent again.
            let _ = pair.client.engine.open_command(session, request, seq);
            pair.run_for(Duration::from_millis(50));
        }
    };
    ask(&mut pair, 12);
    assert_eq!(pair.server.engine.health(at_server), Some(Health::Healthy), "seed 2");
    pair.weather.loss = 0.2;
    ask(&mut pair, 20);
    assert_eq!(pair.server.engine.health(at_server), Some(Health::Degraded), "seed 2");
    pair.weather.loss = 0.0;
    ask(&mut pair, 20);
    assert_eq!(pair.server.engine.health(at_server), Some(Health::Healthy), "seed 2");
    assert!(pair.server.engine.tally().health_changes[Health::Degraded as usize] >= 1);
}
