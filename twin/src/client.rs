//! A client of the twin's API, for the shell and the terminal monitor: one request, one answer, in JSON.
//!
//! It speaks HTTP/1.1, over TLS where it knows the twin's authority, and waits no longer than `PATIENCE`. Problems of the
//! twin come back with their own words.

use std::path::{Path, PathBuf};
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

/// How long a whole request may take. The twin waits five seconds at most until the plant is shown, and a setpoint two more for
/// its device; it gives a request up after fifteen.
const PATIENCE: Duration = Duration::from_secs(10);
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
    #[error("the client cannot start")]
    Start(#[from] std::io::Error),
    /// A file that the command line names cannot be used.
    #[error("{flag} {}: {reason}", path.display())]
    File {
        /// The argument that names it.
        flag: &'static str,
        /// The file as it was named.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS cannot be spoken with the host of the address, or not at all.
    #[error("TLS to {addr}: {reason}")]
    Tls {
        /// Where the twin is.
        addr: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A twin, by the address of its surface.
pub struct Client {
    addr: String,
    /// What is shown, and the file that it comes from.
    token: Option<(String, PathBuf)>,
    tls: Option<Tls>,
    runtime: Runtime,
}

/// How TLS is spoken, and the file of authorities that it trusts.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    ca: PathBuf,
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
        let token = token_file.map(read_token).transpose()?;
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
        let words = |error: &dyn std::fmt::Display| ClientError::Tls {
            addr: self.addr.clone(),
            reason: error.to_string(),
        };
        let mut roots = RootCertStore::empty();
        for root in netloop::certificates_from_pem_file(ca).map_err(unusable("--ca", ca))? {
            roots.add(root).map_err(unusable("--ca", ca))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| words(&error))?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = netloop::certificates_from_pem_file(cert);
                let chain = chain.map_err(unusable("--cert", cert))?;
                let held = PrivateKeyDer::from_pem_file(key).map_err(unusable("--key", key))?;
                builder.with_client_auth_cert(chain, held).map_err(unusable("--key", key))?
            }
        };
        let host = self.addr.rsplit_once(':').map_or(&*self.addr, |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|error| words(&error))?;
        self.tls = Some(Tls { connector: Arc::new(config).into(), name, ca: ca.to_owned() });
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
        let mut detail = said["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        if status == StatusCode::UNAUTHORIZED {
            detail += &match &self.token {
                None => "; none was sent, --token-file names the file that holds it".to_owned(),
                Some((_, path)) => format!("; that of --token-file {} is another", path.display()),
            };
        }
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
            Some(Tls { connector, name, ca }) => {
                let stream = connector.connect(name.clone(), stream).await;
                let words = |error| format!("{error}, by TLS with --ca {}", ca.display());
                Box::new(stream.map_err(words)?)
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
        if let Some((token, _)) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(bytes)).map_err(|error| words(&error))?;
        let response = sender.send_request(request).await.map_err(|error| match &self.tls {
            None if error.is_parse() => format!("{error}; where it speaks TLS, give --ca"),
            _ => words(&error),
        })?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let whole = body.collect().await.map_err(|error| error.to_string())?;
        Ok((status, whole.to_bytes()))
    }
}

/// The token that a file holds, with its name.
fn read_token(path: &Path) -> Result<(String, PathBuf), ClientError> {
    let text = std::fs::read_to_string(path).map_err(unusable("--token-file", path))?;
    let token = text.lines().next().unwrap_or_default().trim();
    // What else stands in a header would fail each request, with words that name no file.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("--token-file", path)("its first line is no token"));
    }
    Ok((token.to_owned(), path.to_owned()))
}

/// What is said of a file that cannot be used, with all causes; a reader of PEM names the file by itself.
fn unusable<E: Into<Box<dyn std::error::Error>>>(
    flag: &'static str,
    path: &Path,
) -> impl Fn(E) -> ClientError + use<E> {
    let path = path.to_owned();
    move |error| {
        let error = error.into();
        let causes = std::iter::successors(Some(&*error), |error| error.source());
        let reason = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let named = format!("{}: ", path.display());
        let reason = reason.strip_prefix(&named).unwrap_or(&reason).to_owned();
        ClientError::File { flag, path: path.clone(), reason }
    }
}
