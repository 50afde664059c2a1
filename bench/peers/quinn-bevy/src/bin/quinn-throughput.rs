//! How many bytes a second quinn carries from one endpoint to another, over one stream or over many together: the peer of
//! `bench throughput`.
//!
//! Two endpoints in one process, each on a tokio runtime of its own thread and core, with the windows and the packets of
//! the other side. The receiver takes chunks as quinn has them and counts their bytes; it checks no record and makes none.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Parser;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
    rustls::{
        RootCertStore,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    },
};
use socket2::{Domain, Protocol, Socket, Type};

/// Arguments of the experiment.
#[derive(Debug, Parser)]
struct Args {
    /// Streams together.
    #[arg(long, default_value_t = 1)]
    streams: u32,
    /// How long it is measured.
    #[arg(long, default_value_t = 4)]
    duration_s: u64,
    /// Largest UDP payload, in bytes.
    #[arg(long, default_value_t = 1452)]
    mtu: u16,
}

/// Bytes of one write: what the other side writes at once.
const WRITE_BYTES: usize = 4096 * 39;
/// Receive and send buffers of the sockets, in bytes, as on the other side.
const BUFFER_BYTES: [usize; 2] = [4 << 20, 1 << 20];

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let certificate = certified.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let server = server_config(&args, certificate.clone(), key)?;
    let client = client_config(&args, certificate)?;

    let counted = Arc::new(AtomicU64::new(0));
    let ended = Arc::new(AtomicBool::new(false));
    let (tell, addr) = std::sync::mpsc::channel();
    let count = Arc::clone(&counted);
    let receiver = thread::spawn(move || run_on(0, receive(server, &tell, count)));
    let addr = addr.recv().context("the receiver did not start")?;
    let until = Arc::clone(&ended);
    let streams = args.streams;
    let sender = thread::spawn(move || run_on(1, send(client, addr, streams, until)));

    thread::sleep(Duration::from_secs(1));
    let (began, before) = (Instant::now(), counted.load(Ordering::Relaxed));
    thread::sleep(Duration::from_secs(args.duration_s));
    let (elapsed, after) = (began.elapsed(), counted.load(Ordering::Relaxed));
    ended.store(true, Ordering::Relaxed);
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
    println!(
        "{}",
        serde_json::json!({
            "experiment": "quinn-throughput", "streams": args.streams, "mtu": args.mtu,
            "duration_s": args.duration_s,
            "bytes_per_s": (after - before) as f64 / elapsed.as_secs_f64(),
        })
    );
    Ok(())
}

/// Runs a side on a runtime of its own, on this thread and this core.
fn run_on(core: usize, side: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core).context("number the core")?;
    // With fewer cores the system places the thread, as it does for the other side.
    let _ = sched_setaffinity(Pid::from_raw(0), &cores);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(side)
}

async fn receive(
    config: ServerConfig,
    tell: &std::sync::mpsc::Sender<SocketAddr>,
    counted: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let endpoint = endpoint(Some(config))?;
    tell.send(endpoint.local_addr()?)?;
    let connection = endpoint.accept().await.context("nobody came")?.await?;
    // The sender closes the connection when it is over.
    while let Ok(mut stream) = connection.accept_uni().await {
        let counted = Arc::clone(&counted);
        tokio::spawn(async move {
            while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
                counted.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            }
        });
    }
    Ok(())
}

async fn send(
    config: ClientConfig,
    addr: SocketAddr,
    streams: u32,
    ended: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let mut endpoint = endpoint(None)?;
    endpoint.set_default_client_config(config);
    let connection = endpoint.connect(addr, "localhost")?.await?;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..streams {
        writers.spawn(write(connection.clone(), Arc::clone(&ended)));
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    connection.close(VarInt::from_u32(0), b"done");
    endpoint.wait_idle().await;
    Ok(())
}

async fn write(connection: Connection, ended: Arc<AtomicBool>) -> anyhow::Result<()> {
    let bytes = vec![7; WRITE_BYTES];
    let mut stream = connection.open_uni().await?;
    while !ended.load(Ordering::Relaxed) {
        stream.write_all(&bytes).await?;
    }
    Ok(())
}

fn endpoint(config: Option<ServerConfig>) -> anyhow::Result<Endpoint> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(BUFFER_BYTES[0])?;
    socket.set_send_buffer_size(BUFFER_BYTES[1])?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let socket = std::net::UdpSocket::from(socket);
    Ok(Endpoint::new(EndpointConfig::default(), config, socket, Arc::new(TokioRuntime))?)
}

/// The windows of `bench throughput`; everything else is quinn's default.
fn transport(args: &Args) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(args.mtu)
        .mtu_discovery_config(None)
        .max_concurrent_uni_streams(VarInt::from_u32(args.streams + 8))
        .stream_receive_window(VarInt::from_u32(4 << 20))
        .receive_window(VarInt::from_u32(16 << 20))
        .send_window(8 << 20);
    Arc::new(transport)
}

fn server_config(
    args: &Args,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
) -> anyhow::Result<ServerConfig> {
    let mut config = ServerConfig::with_single_cert(vec![certificate], key.into())?;
    config.transport_config(transport(args));
    Ok(config)
}

fn client_config(
    args: &Args,
    certificate: CertificateDer<'static>,
) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut config = ClientConfig::with_root_certificates(Arc::new(roots))?;
    config.transport_config(transport(args));
    Ok(config)
}
