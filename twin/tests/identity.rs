//! The built binary and its certificates: who may load a twin, and what changes while it runs.
#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

mod process;

use std::path::Path;

use process::{GATEWAY, Serve, plant, pollux};

const T1_APPLIED: &str = r#"pollux_records_total{tier="t1",result="applied"}"#;
const T1_FORBIDDEN: &str = r#"pollux_records_rejected_total{tier="t1",reason="forbidden"}"#;
const RELOADED: &str = r#"pollux_certs_reloads_total{result="done"}"#;
const NOT_RELOADED: &str = r#"pollux_certs_reloads_total{result="failed"}"#;
const DEVICE: &str = "6f0e1c1e-8a5f-4b0e-9a57-3d1d2f6f5a10";
const SMALL: [&str; 4] = ["--devices", "4", "--sessions", "2"];

fn certs(folder: &Path, args: &[&str]) -> String {
    let ended = pollux(folder, &[&["certs"], args].concat());
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    ended.stdout
}

/// The pair of a holder, as arguments of `simulate`.
fn pair(holder: &str) -> [String; 4] {
    let file = |end: &str| format!("certs/{holder}.{end}");
    ["--cert".to_owned(), file("pem"), "--key".to_owned(), file("key")]
}

#[test]
fn a_load_without_a_certificate_is_turned_away_and_says_why() {
    let plant = plant();
    let twin = Serve::start(plant.path());
    let ended = twin.simulate_as(&[], &SMALL).end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let why = "TLS broke off (alert 116): the twin asks for a device certificate";
    assert!(ended.complaint().ends_with(why), "{}", ended.stderr);
    twin.await_metric(r#"pollux_handshakes_failed_total{reason="no_certificate"}"#, 2.0);
    assert_eq!(twin.metric(r#"pollux_handshakes_failed_total{reason="tls"}"#), 0.0);
    assert_eq!(twin.metric(r#"pollux_client_auth{mode="required"}"#), 1.0);
    let served = twin.simulate(&[&SMALL[..], &["--count", "100"]].concat()).end();
    assert_eq!(served.code, Some(0), "{}", served.stderr);
    assert_eq!(twin.end()["tiers"]["t1"]["residual"], 0);
}

#[test]
fn a_certificate_without_its_key_is_wrong_usage() {
    let plant = plant();
    let args = ["simulate", "--addr", "127.0.0.1:9", "--ca", "certs/ca.pem"];
    for half in [&GATEWAY[..2], &GATEWAY[2..]] {
        assert_eq!(pollux(plant.path(), &[&args[..], half].concat()).code, Some(2));
    }
}

#[test]
fn what_a_gateway_may_not_write_is_rejected_and_counted_to_the_record() {
    let plant = plant();
    // Devices of the load have random UUIDs: about half of them begin so.
    let prefixes: Vec<String> = (0..8).map(|digit| format!("--prefix={digit}")).collect();
    let mut args = vec!["enroll", "--gateway", "half"];
    args.extend(prefixes.iter().map(String::as_str));
    certs(plant.path(), &args);
    let twin = Serve::start(plant.path());
    let pair = pair("gateway-half");
    let pair = pair.each_ref().map(String::as_str);
    let rates = ["--rate-hz", "50", "--t2-rate-hz", "5", "--count", "4000"];
    let load = [&["--devices", "40", "--sessions", "2"], &rates[..]].concat();
    let ended = twin.simulate_as(&pair, &load).end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let load = ended.json();
    let forbidden = twin.metric(T1_FORBIDDEN);
    let twin = twin.end();
    for tier in ["t1", "t2"] {
        let account = &twin["tiers"][tier];
        assert_eq!(account["residual"], 0, "{account:#}");
        assert_eq!(account["offered"], load["sent"][tier], "{account:#}");
        assert!(account["applied"].as_u64() > Some(0), "{account:#}");
        assert!(account["rejected"].as_u64() > Some(0), "{account:#}");
    }
    assert_eq!(twin["tiers"]["t1"]["rejected"].as_f64(), Some(forbidden));
}

#[test]
fn weaker_modes_are_said_loudly_and_let_anybody_in() {
    for mode in ["optional", "off"] {
        let plant = plant();
        let set = format!("tls.client_auth={mode}");
        let mut twin = Serve::start_with(plant.path(), &["--set", &set]);
        twin.await_line("ready:");
        let warning = format!("WARNING: tls.client_auth = {mode}: whoever");
        assert!(twin.heard().contains(&warning), "{}", twin.heard());
        assert_eq!(twin.metric(&format!("pollux_client_auth{{mode=\"{mode}\"}}")), 1.0);
        assert_eq!(twin.metric(r#"pollux_client_auth{mode="required"}"#), 0.0);
        let ended = twin.simulate_as(&[], &[&SMALL[..], &["--count", "100"]].concat()).end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(twin.end()["tiers"]["t1"]["rejected"], 0);
    }
}

#[test]
fn what_cannot_be_trusted_is_named_before_anything_is_served() {
    let broken: [(&str, i32, &str); 4] = [
        ("tls.ca=absent.pem", 78, "tls.ca = \"absent.pem\" (from --set): does not exist"),
        ("tls.crl=absent.pem", 78, "makes one; \"none\" where nothing is ever revoked"),
        ("tls.tokens=certs/ca.pem", 1, "line 1: must be a device UUID and the SHA-256"),
        ("tls.key=certs/ca.key", 1, "certificate and key cannot be used together"),
    ];
    let plant = plant();
    for (set, code, said) in broken {
        let ended = pollux(plant.path(), &["serve", "--set", "net.addr=127.0.0.1:0", "--set", set]);
        assert_eq!(ended.code, Some(code), "{set}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{set}: {}", ended.stderr);
    }
}

#[test]
fn certificates_change_under_a_load_that_stays() {
    let plant = plant();
    let twin = Serve::start(plant.path());
    let load = twin.simulate(&[&SMALL[..], &["--rate-hz", "50"]].concat());
    twin.await_metric(T1_APPLIED, 100.0);
    let expiry = r#"pollux_cert_not_after_timestamp_seconds{cert="server"}"#;
    let before =
        (std::fs::read(plant.path().join("certs/server.pem")).unwrap(), twin.metric(expiry));
    certs(plant.path(), &["rotate", "--server"]);
    assert_ne!(std::fs::read(plant.path().join("certs/server.pem")).unwrap(), before.0);
    twin.await_metric(RELOADED, 1.0);
    assert!(twin.metric(expiry) >= before.1 && before.1 > 1e9);
    assert_eq!(
        twin.metric(r#"pollux_cert_not_after_timestamp_seconds{cert="ca"}"#) as u64 / 1_000_000_000,
        2
    );
    twin.await_metric(T1_APPLIED, twin.metric(T1_APPLIED) + 200.0);

    // What cannot be used changes nothing; the old set stays in force, for old and for new sessions.
    std::fs::write(plant.path().join("certs/crl.pem"), "garbage").unwrap();
    twin.await_metric(NOT_RELOADED, 1.0);
    let second = twin.simulate(&[&SMALL[..], &["--count", "50", "--seed", "2"]].concat()).end();
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    twin.await_metric(T1_APPLIED, twin.metric(T1_APPLIED) + 200.0);
    load.terminate();
    let load = load.end();
    assert_eq!(load.code, Some(0), "{}", load.stderr);
    assert_eq!(load.json()["sessions"]["lost"], 0, "{}", load.stdout);
    assert_eq!(twin.end()["tiers"]["t1"]["residual"], 0);
}

#[test]
fn a_revoked_gateway_is_out_and_the_other_one_stays() {
    let plant = plant();
    certs(plant.path(), &["enroll", "--gateway", "other", "--all"]);
    let twin = Serve::start(plant.path());
    let pair = pair("gateway-other");
    let pair = pair.each_ref().map(String::as_str);
    let stays = twin.simulate(&[&SMALL[..], &["--rate-hz", "50"]].concat());
    let goes = twin.simulate_as(&pair, &[&SMALL[..], &["--seed", "2", "--rate-hz", "50"]].concat());
    twin.await_metric("pollux_sessions", 4.0);
    // The pair that it has now is not the first one: revoking reaches those that were replaced.
    certs(plant.path(), &["rotate", "--gateway", "other"]);
    certs(plant.path(), &["revoke", "--gateway", "other"]);
    twin.await_metric(r#"pollux_sessions_refused_total{reason="revoked"}"#, 2.0);
    twin.await_metric(r#"pollux_handshakes_failed_total{reason="revoked"}"#, 2.0);
    assert_eq!(twin.metric("pollux_certs_revoked"), 2.0);
    assert_eq!(twin.metric("pollux_sessions"), 2.0);
    twin.await_metric(T1_APPLIED, twin.metric(T1_APPLIED) + 200.0);
    let [stays, goes] = [stays, goes].map(|load| {
        load.terminate();
        let ended = load.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.json()["sessions"].clone()
    });
    assert_eq!((&stays["opened"], &stays["lost"]), (&2.into(), &0.into()), "{stays:#}");
    // Calls that the twin refuses by the certificate were never sessions.
    let counts = ["opened", "reopened", "lost", "finished"].map(|name| goes[name].as_u64());
    assert_eq!(counts, [Some(2), Some(0), Some(2), Some(0)], "{goes:#}");
    assert!(goes["handshakes_failed"].as_u64() >= Some(2), "{goes:#}");
    assert_eq!(twin.end()["tiers"]["t1"]["residual"], 0);
}

#[test]
fn sighup_reads_again_at_once_what_has_not_changed() {
    let plant = plant();
    let twin = Serve::start(plant.path());
    twin.hang_up();
    twin.await_metric(RELOADED, 1.0);
    assert_eq!(twin.metric(NOT_RELOADED), 0.0);
    twin.end();
}

#[test]
fn shown_certificates_are_text_for_people_and_json_for_programs() {
    let plant = plant();
    certs(plant.path(), &["enroll", "--device", DEVICE]);
    let text = certs(plant.path(), &["show", "certs"]);
    for said in
        ["certs/server.pem\n", "name      localhost\n", &format!("urn:uuid:{DEVICE}"), ": valid\n"]
    {
        assert!(text.contains(said), "{said} in {text}");
    }
    certs(plant.path(), &["revoke", "--device", DEVICE]);
    let file = format!("certs/device-{DEVICE}.pem");
    let shown: serde_json::Value =
        serde_json::from_str(&certs(plant.path(), &["show", &file, "-o", "json"])).unwrap();
    assert_eq!(shown[0]["standing"], "revoked", "{shown:#}");
    assert_eq!(shown[0]["names"][0], format!("urn:uuid:{DEVICE}"));
    let dates =
        ["not_before_unix_s", "not_after_unix_s"].map(|date| shown[0][date].as_i64().unwrap());
    assert_eq!((dates[1] - dates[0]) / 86_400, 826);
}
