//! TLS set-up: what is refused and how, and that a handshake agrees on the protocol and the cipher.
#![allow(clippy::unwrap_used, reason = "what fails in a test shall fail the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use netloop::{ServerTls, TlsError, certificates_from_pem_file, client_tls};
use quinn_proto::Side;
use quinn_proto::crypto::{ClientConfig as _, Session};
use quinn_proto::transport_parameters::TransportParameters;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// QUIC version 1.
const VERSION: u32 = 1;

fn certified() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["plant".to_owned()]).unwrap()
}

fn key_of(certified: &CertifiedKey<KeyPair>) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()).into()
}

/// What a peer that sends no transport parameter gets.
fn defaults() -> TransportParameters {
    TransportParameters::read(Side::Client, &mut &[][..]).unwrap()
}

fn write(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Carries handshake bytes to and fro until neither side has anything to say; what belongs
/// to different keys is carried apart, as QUIC does.
fn shake_hands(client: &mut dyn Session, server: &mut dyn Session) -> Result<(), String> {
    for _ in 0..20 {
        for round in [true, false] {
            let (from, to): (&mut dyn Session, &mut dyn Session) =
                if round { (&mut *client, &mut *server) } else { (&mut *server, &mut *client) };
            loop {
                let mut bytes = Vec::new();
                let new_keys = from.write_handshake(&mut bytes).is_some();
                if !bytes.is_empty() {
                    to.read_handshake(&bytes).map_err(|error| error.to_string())?;
                }
                if !new_keys {
                    break;
                }
            }
        }
    }
    if client.is_handshaking() || server.is_handshaking() {
        return Err("the handshake did not end".to_owned());
    }
    Ok(())
}

fn connect(
    server: ServerTls,
    root: CertificateDer<'static>,
    name: &str,
    alpn: &[u8],
) -> Result<Option<Vec<u8>>, String> {
    let params = defaults();
    let client = client_tls([root], alpn).unwrap();
    let mut client = client.start_session(VERSION, name, &params).unwrap();
    let mut server = server.into_quic().unwrap().start_session(VERSION, &params);
    shake_hands(&mut *client, &mut *server)?;
    let data = client.handshake_data().unwrap();
    let data = data.downcast::<quinn_proto::crypto::rustls::HandshakeData>().unwrap();
    Ok(data.protocol)
}

#[test]
fn peers_agree_on_the_protocol() {
    let certified = certified();
    let root = certified.cert.der().clone();
    let server =
        || ServerTls::from_der(vec![root.clone()], key_of(&certified)).with_protocol(b"h3");
    let agreed = connect(server(), root.clone(), "plant", wire::ALPN);
    assert_eq!(agreed, Ok(Some(b"pollux/1".to_vec())));
    assert_eq!(connect(server(), root.clone(), "plant", b"h3"), Ok(Some(b"h3".to_vec())));
    assert!(connect(server(), root.clone(), "plant", b"other/9").is_err());
}

#[test]
fn client_refuses_a_server_it_does_not_trust() {
    let (shown, trusted) = (certified(), certified());
    let server = || ServerTls::from_der(vec![shown.cert.der().clone()], key_of(&shown));
    let stranger = connect(server(), trusted.cert.der().clone(), "plant", wire::ALPN);
    assert!(stranger.unwrap_err().contains("certificate"));
    let misnamed = connect(server(), shown.cert.der().clone(), "other", wire::ALPN);
    assert!(misnamed.unwrap_err().contains("certificate"));
}

/// The client here prefers ChaCha20, and the server's preference wins.
#[test]
fn server_chooses_aes_128() {
    let certified = certified();
    let root = certified.cert.der().clone();
    let server = ServerTls::from_der(vec![root.clone()], key_of(&certified)).into_quic().unwrap();
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.reverse();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![wire::ALPN.to_vec()];
    let mut client = rustls::quic::ClientConnection::new(
        Arc::new(client),
        rustls::quic::Version::V1,
        "plant".try_into().unwrap(),
        Vec::new(),
    )
    .unwrap();
    let mut server = server.start_session(VERSION, &defaults());
    let mut bytes = Vec::new();
    client.write_hs(&mut bytes);
    server.read_handshake(&bytes).unwrap();
    bytes.clear();
    server.write_handshake(&mut bytes);
    client.read_hs(&bytes).unwrap();
    let suite = client.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}

#[test]
fn pem_files_give_what_der_gives() {
    let certified = certified();
    let chain = write("chain.pem", &certified.cert.pem());
    let key = write("key.pem", &certified.signing_key.serialize_pem());
    let server = ServerTls::from_pem_files(&chain, &key).unwrap();
    let root = certificates_from_pem_file(&chain).unwrap().remove(0);
    assert!(connect(server, root, "plant", wire::ALPN).is_ok());
}

#[test]
fn missing_file_is_named() {
    let absent = Path::new("/nowhere/chain.pem");
    let error = certificates_from_pem_file(absent).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/chain.pem: no usable certificate");
    // The reason is the source, so that a chain of causes says it once.
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn file_without_a_key_is_named() {
    let certified = certified();
    let chain = write("only-chain.pem", &certified.cert.pem());
    let error = ServerTls::from_pem_files(&chain, &chain).unwrap_err();
    assert!(matches!(&error, TlsError::File { wanted: "private key", .. }), "{error:?}");
    let empty = write("empty.pem", "nothing here\n");
    let error = certificates_from_pem_file(&empty).unwrap_err();
    assert!(matches!(&error, TlsError::File { wanted: "certificate", .. }), "{error:?}");
}

#[test]
fn key_of_another_certificate_is_refused() {
    let (one, other) = (certified(), certified());
    let server = ServerTls::from_der(vec![one.cert.der().clone()], key_of(&other));
    assert!(matches!(server.into_quic(), Err(TlsError::CertificateAndKey(_))));
}

#[test]
fn client_without_roots_is_refused() {
    assert!(matches!(client_tls([], wire::ALPN), Err(TlsError::NoRoots)));
    let garbage = CertificateDer::from(vec![1, 2, 3]);
    assert!(matches!(client_tls([garbage], wire::ALPN), Err(TlsError::Root { index: 0, .. })));
}
