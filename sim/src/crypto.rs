//! TLS without chance: real certificates, real ciphers, and keys that a seed decides.
//!
//! Everything that rustls draws comes from a generator of this thread ([`reseed`]). Signatures are Ed25519, which needs
//! no random number. The key exchange is an exclusive or, which hides nothing and costs nothing: ring makes its own keys
//! from the system and cannot be told otherwise. Ciphers, packet numbers, alerts and the order of the handshake are those
//! of the product.

use std::{
    cell::RefCell,
    sync::{Arc, OnceLock},
    time::Duration,
};

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    ClientConfig, Error, NamedGroup, RootCertStore, ServerConfig,
    crypto::{
        ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
        SupportedKxGroup,
        ring::{cipher_suite, default_provider},
    },
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    time_provider::TimeProvider,
};

use crate::chance::Chance;

/// The name that devices call the twin by.
pub(crate) const SERVER_NAME: &str = "localhost";

const PURPOSE: u64 = 0x7415;

thread_local! {
    /// Of the thread, because rustls wants a provider that lives for ever, and a simulation has one thread.
    static DRAWS: RefCell<Chance> = const { RefCell::new(Chance::new(0, PURPOSE)) };
}

/// Begins the sequence of everything that TLS draws on this thread.
pub(crate) fn reseed(seed: u64) {
    DRAWS.with_borrow_mut(|draws| *draws = Chance::new(seed, PURPOSE));
}

fn draw(into: &mut [u8]) {
    DRAWS.with_borrow_mut(|draws| {
        for to in into.chunks_mut(8) {
            to.copy_from_slice(&draws.word().to_le_bytes()[..to.len()]);
        }
    });
}

/// The server's half of the handshake, as `netloop::ServerTls` sets it up.
pub(crate) fn server() -> Arc<QuicServerConfig> {
    let (certificate, key) = identity();
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Noon))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3 because `provider` lists its suites")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together because `identity` made both");
    config.alpn_protocols = vec![wire::ALPN.to_vec()];
    config.ignore_client_order = true;
    config.max_early_data_size = u32::MAX;
    Arc::new(QuicServerConfig::try_from(config).expect(AES))
}

/// The client's half, as `netloop::client_tls` sets it up.
pub(crate) fn client() -> Arc<QuicClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(identity().0).expect("it can be a root because `identity` made it so");
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(Noon))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3 because `provider` lists its suites")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![wire::ALPN.to_vec()];
    config.enable_early_data = true;
    Arc::new(QuicClientConfig::try_from(config).expect(AES))
}

const AES: &str = "AES-128-GCM is there because `provider` lists it first";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![&Open],
        secure_random: &Drawn,
        ..default_provider()
    })
}

/// A self-signed certificate whose every byte is the same in every run, and its key.
fn identity() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    /// PKCS#8 of an Ed25519 key (RFC 8410, section 7) up to its 32 bytes.
    const PREFIX: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    static CERTIFICATE: OnceLock<CertificateDer<'static>> = OnceLock::new();
    let mut pkcs8 = PREFIX.to_vec();
    pkcs8.extend([0x51; 32]);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8));
    let certificate = CERTIFICATE.get_or_init(|| {
        let pair = rcgen::KeyPair::from_der_and_sign_algo(&key, &rcgen::PKCS_ED25519)
            .expect("any 32 bytes are a key of Ed25519");
        let parameters = rcgen::CertificateParams::new([SERVER_NAME.to_owned()])
            .expect("the name is one of DNS");
        parameters.self_signed(&pair).expect("Ed25519 signs anything").der().clone()
    });
    (certificate.clone(), key)
}

/// All random numbers of rustls itself.
#[derive(Debug)]
struct Drawn;

impl SecureRandom for Drawn {
    fn fill(&self, into: &mut [u8]) -> Result<(), GetRandomFailed> {
        draw(into);
        Ok(())
    }
}

/// Tickets and certificates are judged at one moment that never passes.
#[derive(Debug)]
struct Noon;

impl TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000)))
    }
}

/// A key exchange that anybody can follow, under the name of one of the same size.
#[derive(Debug)]
struct Open;

impl SupportedKxGroup for Open {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut share = [0; SHARE_BYTES];
        draw(&mut share);
        Ok(Box::new(Share(share)))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

const SHARE_BYTES: usize = 32;

struct Share([u8; SHARE_BYTES]);

impl ActiveKeyExchange for Share {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        if peer.len() != SHARE_BYTES {
            return Err(rustls::PeerMisbehaved::InvalidKeyShare.into());
        }
        let secret: Vec<u8> = self.0.iter().zip(peer).map(|(own, peer)| own ^ peer).collect();
        Ok(SharedSecret::from(&secret[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.0
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}
