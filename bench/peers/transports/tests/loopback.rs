//! The built binary against itself: what is sent over TCP and TLS is applied to the record, and nothing twice.

#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_transports");

fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// Starts a receiver on a free port and gives its address.
fn serve(folder: &Path, transport: &str) -> (Child, String) {
    let arguments = ["serve", "--addr", "127.0.0.1:0", "--duration-s", "4", "--report", "serve"];
    let mut child = Command::new(BINARY)
        .args(arguments)
        .args(["--transport", transport])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with("listening ")).unwrap();
    (child, line["listening ".len()..].to_owned())
}

fn carry(transport: &str, batch: &str) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certs = folder.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    for name in ["ca.pem", "server.pem"] {
        std::fs::write(certs.join(name), made.cert.pem()).unwrap();
    }
    std::fs::write(certs.join("server.key"), made.signing_key.serialize_pem()).unwrap();
    let (mut child, addr) = serve(folder.path(), transport);
    let shape = ["--duration-s", "1", "--rate", "20000", "--sensors", "100", "--report", "load"];
    let done = Command::new(BINARY)
        .args(["load", "--transport", transport, "--addr", &addr])
        .args(shape)
        .args(["--batch", batch])
        .current_dir(folder.path())
        .status();
    assert!(done.unwrap().success());
    assert!(child.wait().unwrap().success());
    let sent = json(&folder.path().join("load/summary.json"))["sent"].as_u64().unwrap();
    let twin = json(&folder.path().join("serve/summary.json"));
    assert!(sent > 1000, "{sent}");
    assert_eq!(twin["tiers"]["t1"]["applied"], sent);
    assert_eq!(twin["tiers"]["t1"]["residual"], 0);
    assert_eq!(twin["entities"], 100);
}

#[test]
fn everything_that_tcp_carries_is_applied() {
    carry("tcp", "36");
}

#[test]
fn everything_that_tcp_carries_one_by_one_is_applied() {
    carry("tcp", "1");
}

#[test]
fn everything_that_tls_carries_is_applied() {
    carry("tls", "36");
}
