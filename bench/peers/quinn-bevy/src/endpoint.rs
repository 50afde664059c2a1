//! The quinn endpoint: certificate, transport settings, UDP socket, and the loop that accepts
//! sessions.
//!
//! Settings are quinn's defaults except where its documentation, or a first look at the counters,
//! sends every user of datagrams at a high rate to a different value. Each exception says why.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use anyhow::Context as _;
use quinn::{
    Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
    rustls::{
        self,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinSet;

use crate::{
    args::Args,
    feed::Feed,
    session::{self, Counters},
};

/// Protocol name of the device side.
const ALPN: &[u8] = b"pollux/1";

/// Bytes of received datagrams that quinn keeps for a session whose task has not run yet. The
/// default of 1.25 MB discards the oldest silently once a scheduler slice lasts longer than it
/// covers.
const DATAGRAM_BUFFER_BYTES: usize = 4 << 20;

/// Streams that a session may have open at once in each direction, above quinn's 100 so that events
/// and commands of a gateway with many devices do not wait for one another.
const STREAMS_MAX: u32 = 1_024;

/// Time that sessions get to say goodbye at the end of a run.
const GOODBYE: Duration = Duration::from_secs(2);

/// A bound endpoint and the receive buffer that the kernel granted it.
pub(crate) struct Listener {
    /// Accepts sessions as soon as it exists.
    pub(crate) endpoint: Endpoint,
    /// Receive buffer as the kernel reports it, in bytes; Linux doubles what is asked and caps it
    /// at `rmem_max`.
    pub(crate) rcvbuf_bytes: usize,
}

/// Binds the address. Must be called within the tokio runtime.
pub(crate) fn listen(args: &Args) -> anyhow::Result<Listener> {
    let socket = Socket::new(Domain::for_address(args.addr), Type::DGRAM, Some(Protocol::UDP))?;
    // The default of 208 KiB loses packets at 100,000 a second.
    socket.set_recv_buffer_size(args.rcvbuf_bytes).context("size the UDP receive buffer")?;
    socket.bind(&args.addr.into()).with_context(|| format!("bind {}", args.addr))?;
    let rcvbuf_bytes = socket.recv_buffer_size()?;
    let config = server_config(args)?;
    let endpoint = Endpoint::new(
        EndpointConfig::default(),
        Some(config),
        UdpSocket::from(socket),
        Arc::new(TokioRuntime),
    )?;
    Ok(Listener { endpoint, rcvbuf_bytes })
}

/// Accepts sessions until `stop` completes, then closes them and waits for their tasks.
pub(crate) async fn serve(
    endpoint: &Endpoint,
    feed: Feed,
    counters: &Arc<Counters>,
    stop: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let mut sessions = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            stopped = &mut stop => {
                stopped?;
                break;
            }
            incoming = endpoint.accept() => {
                let incoming = incoming.context("the endpoint closed by itself")?;
                sessions.spawn(session::run(incoming, feed.clone(), Arc::clone(counters)));
            }
            Some(ended) = sessions.join_next() => ended.context("a session panicked")?,
        }
    }
    endpoint.close(VarInt::from_u32(0), b"shutdown");
    while let Some(ended) = sessions.join_next().await {
        ended.context("a session panicked")?;
    }
    // Nobody minds when a client that is already gone makes this run into its limit.
    let _ = tokio::time::timeout(GOODBYE, endpoint.wait_idle()).await;
    Ok(())
}

/// TLS 1.3 with the certificate of the command line, and the transport settings.
fn server_config(args: &Args) -> anyhow::Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&args.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("read the certificate chain {}", args.cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(&args.key)
        .with_context(|| format!("read the private key {}", args.key.display()))?;
    // ring is quinn's default provider.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("use the certificate with its key")?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport_config()));
    Ok(config)
}

/// What differs from quinn's defaults. MTU discovery, GSO, GRO and the congestion controller stay
/// as they are: they are on, and this side sends little but acknowledgements. Their rate is the
/// sender's to ask for, and quinn honours it.
fn transport_config() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        // A quiet device stays connected: a third of the idle timeout, which is quinn's default of
        // 30 s.
        .keep_alive_interval(Some(Duration::from_secs(10)));
    transport
}
