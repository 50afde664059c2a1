//! Certificates that live as long as an experiment, and what both ends make of them.

use std::sync::Arc;

use netloop::{ServerTls, client_tls};
use quinn_proto::crypto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use wire::ALPN;

/// TLS of a server and of the clients that trust it, under the name `localhost`.
pub(crate) struct Trust {
    pub(crate) server: Arc<dyn crypto::ServerConfig>,
    pub(crate) client: Arc<dyn crypto::ClientConfig>,
    /// What a client of its own making has to trust.
    pub(crate) certificate: CertificateDer<'static>,
}

impl Trust {
    /// A new key pair, certificate and both configurations.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key: PrivateKeyDer<'static> =
            PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let server = ServerTls::from_der(vec![certificate.clone()], key).into_quic()?;
        let client = client_tls([certificate.clone()], ALPN)?;
        Ok(Self { server, client, certificate })
    }
}
