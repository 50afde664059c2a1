//! The built server over real QUIC on loopback: what a client sends on each tier arrives in the
//! world, and is counted.
//!
//! The client encodes records by itself, so a mistake in the server's codec cannot hide.

#![expect(clippy::unwrap_used, reason = "a failed step of the client is a failed test")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use quinn::{
    ClientConfig, Connection, Endpoint,
    crypto::rustls::QuicClientConfig,
    rustls::{self, RootCertStore, pki_types::CertificateDer},
};
use serde_json::Value;

const RECORD_BYTES: usize = 39;
const BATCH_RECORDS: u32 = 25;
const T1_RECORDS: u32 = 10_000;
const T2_RECORDS: u32 = 1_000;
const SENSORS: u32 = 50;

/// A running server; killed when a test fails before it has ended.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    addr: std::net::SocketAddr,
    dir: PathBuf,
    ca: CertificateDer<'static>,
}

impl Server {
    fn start(name: &str, channel: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(dir.join("server.pem"), issued.cert.pem()).unwrap();
        std::fs::write(dir.join("server.key"), issued.signing_key.serialize_pem()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_quinn-bevy"))
            .current_dir(&dir)
            .args(["--cert", "server.pem", "--key", "server.key", "--report", "report"])
            .args(["--channel", channel, "--duration-s", "60", "-o", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening ").unwrap().parse().unwrap();
        Self { child, stdout, addr, dir, ca: issued.cert.der().clone() }
    }

    async fn connect(&self) -> (Endpoint, Connection) {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"pollux/1".to_vec()];
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(
            QuicClientConfig::try_from(tls).unwrap(),
        )));
        let connection = endpoint.connect(self.addr, "localhost").unwrap().await.unwrap();
        (endpoint, connection)
    }

    /// Ends the server by SIGTERM and gives its summary, which stdout and the report must agree on.
    fn finish(mut self) -> Value {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let mut printed = String::new();
        self.stdout.read_to_string(&mut printed).unwrap();
        assert!(self.child.wait().unwrap().success());
        let written = std::fs::read_to_string(self.dir.join("report/summary.json")).unwrap();
        assert_eq!(printed, written);
        serde_json::from_str(&written).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A temperature of 20 degrees from one of [`SENSORS`] sensors of one device.
fn record(seq: u32) -> [u8; RECORD_BYTES] {
    let mut bytes = [0xd0; RECORD_BYTES];
    bytes[16..18].copy_from_slice(&((seq % SENSORS) as u16).to_le_bytes());
    bytes[18..26].copy_from_slice(&20.0_f64.to_le_bytes());
    bytes[26..34].copy_from_slice(&1_700_000_000_000_000_u64.to_le_bytes());
    bytes[34..38].copy_from_slice(&seq.to_le_bytes());
    bytes[38] = 1;
    bytes
}

fn batch(first_seq: u32) -> Vec<u8> {
    (first_seq..first_seq + BATCH_RECORDS).flat_map(record).collect()
}

async fn send_t1(connection: &Connection) {
    for first_seq in (0..T1_RECORDS).step_by(BATCH_RECORDS as usize) {
        connection.send_datagram_wait(batch(first_seq).into()).await.unwrap();
    }
}

async fn send_t2(connection: &Connection, payload: &[u8]) {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(payload).await.unwrap();
    stream.finish().unwrap();
    // Completes when the server has read to the end, or has stopped the stream.
    stream.stopped().await.unwrap();
}

/// Sends one command; gives its ack, or `None` when the server reset the stream.
async fn send_t3(connection: &Connection, request: &[u8]) -> Option<Vec<u8>> {
    let (mut stream, mut reply) = connection.open_bi().await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.finish().unwrap();
    reply.read_to_end(2 * RECORD_BYTES).await.ok()
}

/// Waits until the server has seen every DATAGRAM frame sent so far: all have left the send buffer,
/// and a command that was sent after them is answered. Loopback keeps the order of packets.
async fn flush_t1(connection: &Connection, full_space: usize) {
    while connection.datagram_send_buffer_space() < full_space {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(send_t3(connection, &record(u32::MAX)).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tier_reaches_the_world() {
    let server = Server::start("every_tier", "datagrams");
    let (_endpoint, connection) = server.connect().await;
    let full_space = connection.datagram_send_buffer_space();
    send_t1(&connection).await;
    send_t2(&connection, b"pollux\x01\nanything at all").await;
    let events: Vec<u8> = (0..T2_RECORDS).flat_map(record).collect();
    send_t2(&connection, &events).await;

    let mut request = record(7);
    request[38] |= 0b0110_0000;
    assert_eq!(send_t3(&connection, &request).await.unwrap(), record(7));

    flush_t1(&connection, full_space).await;
    let summary = server.finish();
    assert_eq!(summary["received_t1"], T1_RECORDS);
    assert_eq!(summary["received_t2"], T2_RECORDS);
    assert_eq!(summary["received_t3"], 2);
    assert_eq!(summary["received"], T1_RECORDS + T2_RECORDS + 2);
    assert_eq!(summary["applied"], summary["received"]);
    assert_eq!(summary["shed_channel"], 0);
    assert_eq!(summary["shed_quic_datagrams"], 0);
    assert_eq!(summary["decode_errors"], 0);
    assert_eq!(summary["sessions"], 1);
    assert_eq!(summary["entities"], SENSORS);
    assert_eq!(summary["latency_ns"]["receive_to_applied_t1"]["count"], T1_RECORDS);
    assert!(summary["packets"].as_u64().unwrap() >= u64::from(T1_RECORDS / BATCH_RECORDS));
    assert!(summary["active_s"].as_f64().unwrap() > 0.0);
    assert!(summary["ticks"].as_u64().unwrap() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_for_each_channel_item_is_applied_or_shed() {
    let server = Server::start("records", "records");
    let (_endpoint, connection) = server.connect().await;
    let full_space = connection.datagram_send_buffer_space();
    send_t1(&connection).await;
    flush_t1(&connection, full_space).await;
    let summary = server.finish();
    assert_eq!(summary["received_t1"], T1_RECORDS);
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("applied") + count("shed_channel"), u64::from(T1_RECORDS) + 1);
    assert!(count("applied") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_input_is_counted_and_costs_no_session() {
    let server = Server::start("malformed", "datagrams");
    let (_endpoint, connection) = server.connect().await;
    let full_space = connection.datagram_send_buffer_space();
    let mut unnamed_type = record(1);
    unnamed_type[38] = 6;

    // One decode error each: a ragged datagram, an unnamed type, a ragged stream tail, a bad record
    // on a stream.
    connection.send_datagram_wait(batch(0)[..100].to_vec().into()).await.unwrap();
    connection.send_datagram_wait([unnamed_type, record(2)].concat().into()).await.unwrap();
    send_t2(&connection, &[record(3).as_slice(), &record(4)[..10]].concat()).await;
    send_t2(&connection, &[unnamed_type, record(5)].concat()).await;
    // A fifth: a command that is cut short gets no ack.
    assert_eq!(send_t3(&connection, &record(6)[..38]).await, None);

    flush_t1(&connection, full_space).await;
    let summary = server.finish();
    assert_eq!(summary["decode_errors"], 5);
    assert_eq!(summary["received_t1"], 1);
    assert_eq!(summary["received_t2"], 1);
    assert_eq!(summary["received_t3"], 1);
    assert_eq!(summary["applied"], 3);
    assert_eq!(summary["sessions"], 1);
}
