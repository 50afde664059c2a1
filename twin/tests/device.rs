//! The device of `netloop/examples`, which is all that a device needs to be, beside a twin.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

#[expect(dead_code, reason = "an example has a main of its own")]
#[path = "../../netloop/examples/device.rs"]
mod device;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use process::{Serve, pollux};
use serde_json::{Value, json};
use twin::client::{Client, ClientError};

const DEVICE: &str = "6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10";
const LOOKS_MAX: u32 = 3000;
const LOOK: Duration = Duration::from_millis(20);

/// Asks until the answer satisfies.
fn await_answer(client: &Client, path: &str, satisfied: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..LOOKS_MAX {
        match client.get(path) {
            Ok(answer) if satisfied(&answer) => return answer,
            _ => std::thread::park_timeout(LOOK),
        }
    }
    panic!("{path} never satisfied; now: {:#}", client.get(path).unwrap());
}

fn state(answer: Result<Value, ClientError>) -> (String, Value) {
    let answer = answer.unwrap();
    (answer["state"].as_str().unwrap().to_owned(), answer["holds"].clone())
}

#[test]
fn the_device_of_the_examples_reports_obeys_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(pollux(folder.path(), &["certs", "init", "--device", DEVICE]).code, Some(0));
    let twin = Serve::start(folder.path());
    let client = Client::new(&twin.http.to_string(), None).unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let (at, certs, end) = (twin.quic, folder.path().join("certs"), Arc::clone(&enough));
    let device = std::thread::spawn(move || {
        device::run(at, &certs, DEVICE.parse().unwrap(), u64::from(u32::MAX), end)
            .map_err(|error| error.to_string())
    });
    let own = format!("/devices/{DEVICE}");
    await_answer(&client, "/sessions", |page| page["items"][0]["answers_commands"] == true);
    await_answer(&client, &own, |whole| whole["sensors"][0]["type"] == "temperature");
    let heat = |to: f64| {
        let asked = json!({ "value": to, "type": "temperature" });
        client.post(&format!("{own}/sensors/100/setpoint"), Some(&asked))
    };
    assert_eq!(state(heat(95.0)), ("out_of_range".to_owned(), Value::Null));
    assert_eq!(state(heat(85.0)), ("acknowledged".to_owned(), json!(85.0)));
    // Some degrees warmer: so many events were sent as well.
    await_answer(&client, &own, |whole| whole["sensors"][0]["value"].as_f64() > Some(23.0));
    client.post("/stop", None).unwrap();
    await_answer(&client, "/stop", |stop| stop["acknowledged"] == 1);
    client.post("/stop/clear", None).unwrap();
    await_answer(&client, "/stop", |stop| stop["stopped"] == false && stop["acknowledged"] == 1);
    enough.store(true, Ordering::Relaxed);
    let (offered, temperature) = device.join().unwrap().unwrap();
    assert!(temperature > 22.0, "{temperature}");
    await_answer(&client, "/sessions", |page| page["items"][0]["closed"] == "peer:done");
    let summary = twin.end();
    for (tier, offered) in ["t1", "t2"].into_iter().zip(offered) {
        let account = &summary["tiers"][tier];
        assert_eq!(
            (&account["offered"], &account["residual"]),
            (&json!(offered), &json!(0)),
            "{account:#}"
        );
    }
    assert_eq!(summary["tiers"]["t2"]["applied"], offered[1], "events are lost nowhere");
    assert!(offered[1] >= 3, "{offered:?}");
}
