//! The built binary against a broker that is asked nothing but who it is: MQTT begins inside TLS, and only with a broker whose
//! certificate is of the authority and for the name.

#![expect(clippy::unwrap_used, reason = "what tests call may unwrap as tests do")]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustls::{CipherSuite, ProtocolVersion, ServerConnection, StreamOwned};
use transports::tls;

const BINARY: &str = env!("CARGO_BIN_EXE_transports");
/// Type of a TLS record that shakes hands, and of the message in it with which a client begins.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Packet types of MQTT, in the upper half of a packet's first byte.
const CONNECT: u8 = 1;

/// Certificate and key of a broker, which is its own authority.
fn certify(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(folder.join("server.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("server.key"), made.signing_key.serialize_pem()).unwrap();
}

/// Starts an end that trusts the authority in `ca.pem`.
fn start(folder: &Path, end: &str, listener: &TcpListener) -> Child {
    let addr = listener.local_addr().unwrap().to_string();
    Command::new(BINARY)
        .args([end, "--transport", "mqtts0", "--ca", "ca.pem", "--duration-s", "1"])
        .args(["--addr", &addr])
        .args(if end == "load" { ["--rate", "20000"].as_slice() } else { &[] })
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The broker's end of a connection, in the middle of nothing.
fn accept(folder: &Path, listener: &TcpListener) -> StreamOwned<ServerConnection, TcpStream> {
    let config = tls::server(&folder.join("server.pem"), &folder.join("server.key")).unwrap();
    let (stream, _) = listener.accept().unwrap();
    StreamOwned::new(ServerConnection::new(config).unwrap(), stream)
}

/// What the load says to a broker with this certificate, while it trusts that one.
fn refuse(shown: &str, trusted: impl Fn(&Path)) -> Output {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), shown);
    trusted(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let load = start(folder.path(), "load", &listener);
    let mut stream = accept(folder.path(), &listener);
    let mut said = Vec::new();
    assert!(stream.read_to_end(&mut said).is_err());
    assert!(said.is_empty(), "{said:?}");
    drop(stream);
    load.wait_with_output().unwrap()
}

/// Its own certificate is the authority.
fn trust_shown(folder: &Path) {
    std::fs::copy(folder.join("server.pem"), folder.join("ca.pem")).unwrap();
}

/// Lets each end in turn begin with a broker that it trusts.
fn each_end(mut greet: impl FnMut(&str, &Path, &TcpListener)) {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), "localhost");
    trust_shown(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for end in ["serve", "load"] {
        let mut child = start(folder.path(), end, &listener);
        greet(end, folder.path(), &listener);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn both_ends_connect_inside_tls() {
    each_end(|end, folder, listener| {
        let mut stream = accept(folder, listener);
        let mut first = [0; 8];
        stream.read_exact(&mut first).unwrap();
        assert_eq!((first[0] >> 4, &first[4..]), (CONNECT, b"MQTT".as_slice()), "{end}");
        assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let suite = stream.conn.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(stream.conn.server_name(), Some("localhost"));
    });
}

#[test]
fn first_bytes_on_the_wire_are_of_tls() {
    each_end(|end, _, listener| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 6];
        stream.read_exact(&mut first).unwrap();
        assert_eq!((first[0], first[5]), (HANDSHAKE, CLIENT_HELLO), "{end}");
    });
}

#[test]
fn broker_of_another_authority_is_told_nothing() {
    let done = refuse("localhost", |folder| {
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("ca.pem"), other.cert.pem()).unwrap();
    });
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success() && said.contains("certificate"), "{said}");
}

#[test]
fn broker_of_another_name_is_told_nothing() {
    let done = refuse("elsewhere", trust_shown);
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success() && said.contains("not valid for name"), "{said}");
}
