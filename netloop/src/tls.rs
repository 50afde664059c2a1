//! Certificates, keys and the TLS 1.3 that QUIC runs on.
//!
//! TLS 1.3 only; AES-128-GCM is preferred, the fastest cipher on every host with AES instructions. Cryptography is
//! ring's, but for the key exchange. Errors name the file and the reason; nothing here makes certificates, and nothing accepts a peer unchecked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn_proto::crypto::{
    self,
    rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::alpn::{ByProtocol, H3};
use crate::handshake::Handshakes;
use crate::{Renewal, Trust, key_exchange};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM file could not be read, or holds nothing of what was looked for.
    #[error("{}: no usable {wanted}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was looked for in it: a certificate or a private key.
        wanted: &'static str,
        /// What the reader said.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate and the key cannot be used together, or not at all.
    #[error("certificate and key cannot be used together")]
    CertificateAndKey(#[source] rustls::Error),
    /// A certificate cannot serve as a root of trust.
    #[error("trusted certificate {index} cannot be a root")]
    Root {
        /// Its position in the list, from 0.
        index: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// No roots: whoever has none can trust nobody.
    #[error("no trusted certificate was given")]
    NoRoots,
    /// A revocation list is malformed, or signed by no authority that is trusted.
    #[error("revocation list {index} is malformed, or not signed by a trusted authority")]
    RevocationList {
        /// Its position in the list, from 0.
        index: usize,
    },
}

/// What a server shows to its peers.
#[derive(Debug)]
pub struct ServerTls {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    protocols: Vec<Vec<u8>>,
    trust: Arc<Trust>,
    /// What browsers are shown instead, if they may come.
    browsers: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl ServerTls {
    /// Reads the certificate chain (leaf first) and the private key, both PEM.
    ///
    /// # Errors
    ///
    /// [`TlsError::File`] when a file is missing, unreadable, or without a certificate or key.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let private_key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
            path: key.to_owned(),
            wanted: "private key",
            source,
        })?;
        Ok(Self::from_der(certificates_from_pem_file(chain)?, private_key))
    }

    /// Takes the certificate chain (leaf first) and the private key as they are.
    #[must_use]
    pub fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        let (protocols, trust) = (vec![wire::ALPN.to_vec()], Arc::new(Trust::off()));
        Self { chain, key, protocols, trust, browsers: None }
    }

    /// Offers another application protocol on the same socket, after those offered so far.
    #[must_use]
    pub fn with_protocol(mut self, alpn: &[u8]) -> Self {
        self.protocols.push(alpn.to_vec());
        self
    }

    /// Asks peers for what `trust` asks for. The engine needs the same, by [`crate::Engine::renew`].
    #[must_use]
    pub fn with_trust(mut self, trust: Arc<Trust>) -> Self {
        self.trust = trust;
        self
    }

    /// Lets browsers in, which ask for HTTP/3, and shows them this certificate. They are asked for none.
    #[must_use]
    pub fn with_browsers(
        mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        self.browsers = Some((chain, key));
        self
    }

    /// Whom the server trusts.
    #[must_use]
    pub const fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The server's certificates, its own first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What an engine in the server's role is renewed with.
    ///
    /// # Errors
    ///
    /// As [`Self::into_quic`].
    pub fn into_renewal(mut self) -> Result<Renewal, TlsError> {
        let trust = Arc::clone(&self.trust);
        let Some((chain, key)) = self.browsers.take() else {
            return Ok(Renewal { crypto: self.into_quic()?, trust });
        };
        let mut browsers = Self::from_der(chain, key);
        browsers.protocols = vec![H3.to_vec()];
        let (devices, browsers) = (self.into_quic()?, browsers.into_quic()?);
        Ok(Renewal { crypto: Arc::new(ByProtocol { devices, browsers }), trust })
    }

    /// The server's half of the handshake, for quinn-proto.
    ///
    /// # Errors
    ///
    /// [`TlsError::CertificateAndKey`] when they do not belong together or are of a kind that ring does not know.
    pub fn into_quic(self) -> Result<Arc<dyn crypto::ServerConfig>, TlsError> {
        let builder = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3 because `provider` lists its suites");
        let builder = match self.trust.verifier() {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_single_cert(self.chain, self.key).map_err(TlsError::CertificateAndKey)?;
        config.alpn_protocols = self.protocols;
        // The server's order counts: a peer without AES instructions is served what the server prefers all the same,
        // because a server on one core pays for every peer.
        config.ignore_client_order = true;
        // QUIC knows two values: none, and this one, which leaves the limit to the stream windows.
        config.max_early_data_size = u32::MAX;
        // A session that comes back is given a new one; a second ticket would halve the peers that the cache remembers.
        config.send_tls13_tickets = 1;
        let tls = Arc::new(config);
        let first = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().and_then(|of| of.quic_suite());
        let first = first.expect("AES-128-GCM is a cipher of QUIC because RFC 9001 asks for it");
        let quic = QuicServerConfig::with_initial(Arc::clone(&tls), first)
            .expect("the first cipher is AES-128-GCM because it is taken as such");
        Ok(Arc::new(Handshakes::new(tls, first, quic)))
    }
}

/// What a client shows to a server that asks who it is.
#[derive(Debug)]
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientIdentity {
    /// Reads the certificate chain (leaf first) and the private key, both PEM.
    ///
    /// # Errors
    ///
    /// [`TlsError::File`] when a file is missing, unreadable, or without a certificate or key.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let ServerTls { chain, key, .. } = ServerTls::from_pem_files(chain, key)?;
        Ok(Self { chain, key })
    }

    /// Takes the certificate chain (leaf first) and the private key as they are.
    #[must_use]
    pub const fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        Self { chain, key }
    }
}

/// The client's half of the handshake, for quinn-proto: trusts servers whose chain ends in one of `roots`.
///
/// # Errors
///
/// [`TlsError::Root`] names the certificate that cannot be a root, [`TlsError::NoRoots`] says that there is none.
pub fn client_tls(
    roots: impl IntoIterator<Item = CertificateDer<'static>>,
    alpn: &[u8],
) -> Result<Arc<QuicClientConfig>, TlsError> {
    client_tls_as(None, roots, alpn)
}

/// As [`client_tls`], for a client that shows a certificate of its own.
///
/// # Errors
///
/// As there, and [`TlsError::CertificateAndKey`] when the client's do not belong together.
pub fn client_tls_as(
    identity: Option<ClientIdentity>,
    roots: impl IntoIterator<Item = CertificateDer<'static>>,
    alpn: &[u8],
) -> Result<Arc<QuicClientConfig>, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3 because `provider` lists its suites")
        .with_root_certificates(root_store(roots)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(ClientIdentity { chain, key }) => {
            builder.with_client_auth_cert(chain, key).map_err(TlsError::CertificateAndKey)?
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_early_data = true;
    Ok(Arc::new(
        QuicClientConfig::try_from(config)
            .expect("AES-128-GCM is there because `provider` lists it first"),
    ))
}

/// Authorities to verify a peer with.
pub(crate) fn root_store(
    roots: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for (index, root) in roots.into_iter().enumerate() {
        store.add(root).map_err(|source| TlsError::Root { index, source })?;
    }
    if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(store) }
}

/// Every certificate of a PEM file, in its order.
///
/// # Errors
///
/// [`TlsError::File`] when the file is missing, unreadable, malformed, or holds no certificate.
pub fn certificates_from_pem_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refuse = |source| TlsError::File { path: path.to_owned(), wanted: "certificate", source };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(refuse)?.collect();
    match certificates.map_err(refuse)? {
        none if none.is_empty() => Err(refuse(rustls_pki_types::pem::Error::NoItemsFound)),
        some => Ok(some),
    }
}

/// Every revocation list of a PEM file, in its order, as DER.
///
/// # Errors
///
/// [`TlsError::File`] when the file is missing, unreadable, malformed, or holds no list.
pub fn revocation_lists_from_pem_file(path: &Path) -> Result<Vec<Vec<u8>>, TlsError> {
    let refuse =
        |source| TlsError::File { path: path.to_owned(), wanted: "revocation list", source };
    let lists: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_file_iter(path).map_err(refuse)?.collect();
    let lists = lists.map_err(refuse)?;
    if lists.is_empty() {
        return Err(refuse(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(lists.iter().map(|list| list.as_ref().to_vec()).collect())
}

/// ring, with its ciphers in the order of their cost per packet, and a faster key exchange.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: key_exchange::groups(),
        ..default_provider()
    })
}
