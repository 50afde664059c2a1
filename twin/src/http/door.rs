//! The door of the surface: lets connections in, no more than so many, over TLS where a certificate is named.
//!
//! Whoever says nothing, or too slowly, or takes no answers is closed, and sooner than that where an operator needs the place
//! (`places.rs`), so that nobody keeps an operator out by waiting. A certificate that was replaced on disk is shown to the
//! connections after that.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use netloop::certificates_from_pem_file;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::HttpTls;
use crate::credentials::{Stamps, stamps};

use super::Surface;
use super::guard::Refusal;
use super::patience::{Patient, WRITE_PATIENCE};
use super::places::{Place, Places};
use super::problem::Problem;

/// The head of a request has to be there after so long, also that of the next one on a connection that is kept.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// A whole request is answered within this: a setpoint waits two seconds for its device.
const REQUEST_PATIENCE: Duration = Duration::from_secs(15);
/// A handshake is done within this.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the head of a request, and of what is read ahead.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// How soon the system is asked again that had no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Where the surface is reached.
pub struct Door {
    listener: TcpListener,
    tls: Option<Arc<DoorTls>>,
    write_patience: Duration,
}

/// What the door shows, and whom it asks for what.
pub struct DoorTls {
    files: HttpTls,
    shown: Mutex<Shown>,
}

struct Shown {
    config: Arc<ServerConfig>,
    /// The files as they were when they were last read, and when they were last looked at.
    read: Stamps,
    seen: Stamps,
    failed: Option<Failed>,
}

/// The last time that the files could not be used: what was said of it, and looks since.
struct Failed {
    words: String,
    looks: u32,
}

/// Files that could not be used are tried again after so many looks, of which there is one a second.
const RETRY_LOOKS: u32 = 10;

const TAKEN: &str = "because the cold thread has not panicked";

impl DoorTls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file is missing or malformed, or the key does not fit its certificate.
    pub fn load(files: &HttpTls) -> anyhow::Result<Arc<Self>> {
        let seen = stamps(files.paths());
        let config = server_config(files)?;
        let shown = Mutex::new(Shown { config, read: seen.clone(), seen, failed: None });
        Ok(Arc::new(Self { files: files.clone(), shown }))
    }

    /// Reads the files again once they have changed, and have then stayed as they are from one look to the next.
    pub(crate) fn poll(&self) {
        let mut shown = self.shown.lock().expect(TAKEN);
        let now = stamps(self.files.paths());
        let settled = now == shown.seen && now != shown.read;
        shown.seen.clone_from(&now);
        let again = shown.failed.as_mut().is_some_and(|failed| {
            failed.looks += 1;
            failed.looks >= RETRY_LOOKS
        });
        if !settled && !again {
            return;
        }
        shown.read = now;
        match server_config(&self.files) {
            Ok(config) => {
                (shown.config, shown.failed) = (config, None);
                tracing::info!("the certificate of http.addr was read again");
            }
            Err(error) => {
                let words = format!("the certificate of http.addr stays as it was: {error:#}");
                // What is tried again for the same reason is no news.
                if settled || shown.failed.as_ref().is_none_or(|failed| failed.words != words) {
                    tracing::error!("{words}");
                }
                shown.failed = Some(Failed { words, looks: 0 });
            }
        }
    }

    fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.shown.lock().expect(TAKEN).config).into()
    }
}

fn server_config(files: &HttpTls) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = certificates_from_pem_file(&files.cert).context("http.cert")?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|reason| {
        anyhow::anyhow!("http.key {}: no usable private key: {reason}", files.key.display())
    })?;
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(path)?, provider);
            let verifier = verifier.build().context("http.client_ca")?;
            builder.with_client_cert_verifier(netloop::short_chains(verifier))
        }
    };
    let mut config =
        builder.with_single_cert(chain, key).context("http.cert and http.key do not fit")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(path: &Path) -> anyhow::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for authority in certificates_from_pem_file(path).context("http.client_ca")? {
        roots.add(authority).context("http.client_ca")?;
    }
    Ok(Arc::new(roots))
}

impl Door {
    /// A door at a listener, with TLS where there is any.
    #[must_use]
    pub const fn new(listener: TcpListener, tls: Option<Arc<DoorTls>>) -> Self {
        Self { listener, tls, write_patience: WRITE_PATIENCE }
    }

    /// Where it is.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// What it shows, where it speaks TLS.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<DoorTls>> {
        self.tls.clone()
    }

    /// Lets connections in for as long as it is polled.
    pub(crate) async fn serve(self, router: Router, surface: Arc<Surface>) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let places = Arc::<Places>::default();
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            };
            let Some(place) = places.lend(peer.ip()).map(Arc::new) else {
                surface.refusals().add(Refusal::Connections);
                continue;
            };
            let (router, surface) = (router.clone(), Arc::clone(&surface));
            // Answers are written whole, and shall not wait for the acknowledgement of what went before.
            let _ = stream.set_nodelay(true);
            // Below TLS, which would take what the peer does not.
            let stream = Patient::new(stream, self.write_patience);
            let tls = self.tls.clone();
            drop(tokio::spawn(async move {
                tokio::select! {
                    () = greet(stream, tls, router, &surface, &place) => {}
                    () = place.given_away() => surface.refusals().add(Refusal::Connections),
                }
            }));
        }
    }
}

/// Serves one connection, behind TLS where there is any.
async fn greet(
    stream: Patient<TcpStream>,
    tls: Option<Arc<DoorTls>>,
    router: Router,
    surface: &Surface,
    place: &Arc<Place>,
) {
    let Some(tls) = tls else { return converse(stream, router, place).await };
    match tokio::time::timeout(HANDSHAKE_PATIENCE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            if tls.files.client_ca.is_some() {
                place.keep();
            }
            converse(stream, router, place).await;
        }
        _ => surface.refusals().add(Refusal::Tls),
    }
}

/// Serves the requests of one connection, each with the place that it came on, which the guard keeps for who may ask. What goes
/// wrong on it is its own affair.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    place: &Arc<Place>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(place));
        router.call(request)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX);
    let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

/// Ends a request that takes too long, such as one whose body never comes.
pub(super) async fn hurry(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::late(format!("not done within {REQUEST_PATIENCE:?}")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::AsyncWriteExt;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::report::Report;
    use crate::stats::TwinStats;

    const PATIENCE: Duration = Duration::from_millis(100);
    /// Answers to so many requests fit into no buffers of two kernels.
    const REQUESTS: usize = 1 << 20;

    /// Asks on and on and never reads an answer, until the other end gives up.
    async fn ask(mut stream: impl AsyncWrite + Unpin) {
        let request = b"GET /metrics HTTP/1.1\r\nHost: twin\r\n\r\n";
        for _ in 0..REQUESTS {
            if stream.write_all(request).await.is_err() {
                return;
            }
        }
        panic!("all {REQUESTS} requests were taken");
    }

    /// The address of a door that is served from now on, with this certificate if there is one.
    fn served(config: Option<ServerConfig>) -> SocketAddr {
        let tls = config.map(|config| {
            let files = HttpTls { cert: "cert".into(), key: "key".into(), client_ca: None };
            let (read, seen) = (stamps(files.paths()), stamps(files.paths()));
            let shown = Shown { config: Arc::new(config), read, seen, failed: None };
            Arc::new(DoorTls { files, shown: Mutex::new(shown) })
        });
        let listener = super::super::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let door = Door { write_patience: PATIENCE, ..Door::new(listener, tls) };
        let addr = door.addr().unwrap();
        let report = Report::create(None, UNIX_EPOCH).unwrap();
        let surface = Surface::new(Arc::new(TwinStats::new(1)), report, || 0);
        drop(tokio::spawn(door.serve(super::super::router(Arc::clone(&surface)), surface)));
        addr
    }

    /// Both ends of TLS with a certificate of its own.
    fn tls() -> (ServerConfig, TlsConnector) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["twin".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (server, Arc::new(client).into())
    }

    #[tokio::test]
    async fn whoever_never_reads_the_answers_loses_the_place() {
        ask(TcpStream::connect(served(None)).await.unwrap()).await;
    }

    #[tokio::test]
    async fn whoever_never_reads_the_answers_loses_the_place_over_tls_too() {
        let (server, connector) = tls();
        let stream = TcpStream::connect(served(Some(server))).await.unwrap();
        let name = ServerName::try_from("twin").unwrap();
        ask(connector.connect(name, stream).await.unwrap()).await;
    }
}
