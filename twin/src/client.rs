//! A client of the twin's API, for the shell and the terminal monitor: one request, one answer, in JSON.
//!
//! It speaks HTTP/1.1, over TLS where it knows the twin's authority, and waits no longer than `PATIENCE`. Problems of the
//! twin come back with their own words.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;

/// How long a whole request may take; a setpoint waits two seconds for its device.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer that is longer is none of the twin's.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no twin answers at {addr}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        addr: String,
        /// What the system or the protocol says.
        reason: String,
    },
    /// The twin answered with a problem.
    #[error("{detail}")]
    Problem {
        /// Its status.
        status: StatusCode,
        /// What the twin says of it.
        detail: String,
    },
    /// The client itself cannot be started.
    #[error("the client cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// A file of TLS cannot be used.
    #[error("the client cannot start: {0}")]
    Tls(String),
}

/// A twin, by the address of its surface.
pub struct Client {
    addr: String,
    token: Option<String>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    runtime: Runtime,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// A connection, with TLS or without.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Client {
    /// A client of the twin at `addr`, which is `HOST:PORT`; the token is the first line of a file.
    ///
    /// # Errors
    /// The file cannot be read, or the system gives no runtime.
    pub fn new(addr: &str, token_file: Option<&Path>) -> Result<Self, ClientError> {
        let token = token_file.map(std::fs::read_to_string).transpose()?;
        let token = token.map(|text| text.lines().next().unwrap_or_default().trim().to_owned());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { addr: addr.to_owned(), token, tls: None, runtime })
    }

    /// Asks over TLS from now on: the twin has to show a certificate that an authority of the file `ca` has signed, for the
    /// host of the address, and is shown the certificate and key of `identity` if it wants one. All are PEM.
    ///
    /// # Errors
    /// A file cannot be used, or the address names no host.
    pub fn over_tls(
        mut self,
        ca: &Path,
        identity: Option<(&Path, &Path)>,
    ) -> Result<Self, ClientError> {
        let words = |error: &dyn std::fmt::Display| ClientError::Tls(error.to_string());
        let mut roots = RootCertStore::empty();
        for root in netloop::certificates_from_pem_file(ca).map_err(|error| words(&error))? {
            roots.add(root).map_err(|error| words(&error))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| words(&error))?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = netloop::certificates_from_pem_file(cert).map_err(|e| words(&e))?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| words(&error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| words(&error))?
            }
        };
        let host = self.addr.rsplit_once(':').map_or(&*self.addr, |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        self.tls = Some((Arc::new(config).into(), name.map_err(|error| words(&error))?));
        Ok(self)
    }

    /// What stands at a path of the API, such as `/overview`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(Method::GET, path, None)
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.ask(Method::POST, path, body)
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let answer = async {
            let answer = tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await;
            answer.unwrap_or_else(|_| Err(format!("nothing came within {PATIENCE:?}")))
        };
        let (status, bytes) = self
            .runtime
            .block_on(answer)
            .map_err(|reason| ClientError::Unreachable { addr: self.addr.clone(), reason })?;
        let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() {
            return Ok(said);
        }
        let detail = said["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        Err(ClientError::Problem { status, detail })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect(&self.addr).await.map_err(|error| words(&error))?;
        let stream: Box<dyn Duplex> = match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                Box::new(stream.map_err(|error| words(&error))?)
            }
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
        // It ends with the sender; what goes wrong on it shows at the sender, too.
        drop(tokio::spawn(connection));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(HOST, &self.addr);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(bytes)).map_err(|error| words(&error))?;
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let whole = body.collect().await.map_err(|error| error.to_string())?;
        Ok((status, whole.to_bytes()))
    }
}
