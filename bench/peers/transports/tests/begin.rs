//! The built binary against ends that take their time over a greeting: a load begins once it is connected, so that no record was
//! due before the other end had agreed to take any.

#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::{ServerConnection, StreamOwned};
use transports::tls;
use wire::{Batch, RECORD_BYTES};

/// Types of packets of MQTT, in the upper half of a packet's first byte.
const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
/// An agreement of MQTT: no session was there, accepted.
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// What a server of NATS says first.
const INFO: &str = r#"{"server_id":"t","server_name":"t","version":"2.10.0","proto":1,"host":"127.0.0.1","port":4222,"headers":true,"max_payload":1048576}"#;

/// Starts a paced load of single records, and takes its connection.
fn start(folder: &Path, transport: &str) -> (Child, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_transports"))
        .args(["load", "--ca", "server.pem", "--duration-s", "1", "--rate", "1000", "--batch", "1"])
        .args(["--transport", transport, "--addr", &listener.local_addr().unwrap().to_string()])
        .current_dir(folder)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (child, listener.accept().unwrap().0)
}

/// Lets a load greet an end, which gives the moment at which it agreed and the payload that came first, and compares.
fn begins_once_agreed(transport: &str, greet: impl FnOnce(&Path, TcpStream) -> (u64, Vec<u8>)) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("server.key"), made.signing_key.serialize_pem()).unwrap();
    let (mut child, stream) = start(folder.path(), transport);
    let (agreed_us, payload) = greet(folder.path(), stream);
    child.kill().unwrap();
    child.wait().unwrap();
    let first_us = Batch::decode(&payload).unwrap().records()[0].ts_us();
    assert!(first_us >= agreed_us, "due {} us before", agreed_us.saturating_sub(first_us));
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

fn exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// A packet of MQTT: its type, and what is behind its length, which is below 128 here.
fn packet(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let head = exactly(stream, 2);
    (head[0] >> 4, exactly(stream, usize::from(head[1])))
}

#[test]
fn load_over_tls_begins_behind_the_handshake() {
    begins_once_agreed("tls", |folder, stream| {
        let config = tls::server(&folder.join("server.pem"), &folder.join("server.key")).unwrap();
        // The client has its hello out by now, and waits for the answer.
        stream.peek(&mut [0]).unwrap();
        let agreed_us = now_us();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let length = exactly(&mut stream, 2);
        assert_eq!(usize::from(u16::from_be_bytes([length[0], length[1]])), RECORD_BYTES);
        (agreed_us, exactly(&mut stream, RECORD_BYTES))
    });
}

#[test]
fn load_over_mqtt_begins_behind_the_agreement() {
    begins_once_agreed("mqtt0", |_, mut stream| {
        assert_eq!(packet(&mut stream).0, CONNECT);
        let agreed_us = now_us();
        stream.write_all(&CONNACK).unwrap();
        let (kind, publish) = packet(&mut stream);
        assert_eq!(kind, PUBLISH);
        (agreed_us, publish[publish.len() - RECORD_BYTES..].to_vec())
    });
}

#[test]
fn load_over_nats_begins_behind_the_first_pong() {
    begins_once_agreed("nats", |_, mut stream| {
        stream.write_all(format!("INFO {INFO}\r\n").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut until = |word: &str| {
            let mut line = String::new();
            while !line.starts_with(word) {
                line.clear();
                assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the load has gone");
            }
        };
        until("PING");
        let agreed_us = now_us();
        stream.write_all(b"PONG\r\n").unwrap();
        until("PUB");
        (agreed_us, exactly(&mut reader, RECORD_BYTES))
    });
}
