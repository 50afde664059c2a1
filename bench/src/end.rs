//! One end of an experiment: what all of them need of a worker, of a sink, and of the server that is named on the command
//! line.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use netloop::{
    ClientIdentity, Engine, Idle, IdleStrategy, Port, Socket, Worker, WorkerConfig, WorkerStats,
    certificates_from_pem_file, client_tls_as, wake_line,
};
use quinn_proto::crypto::ClientConfig;
use wire::ALPN;

/// Lets a port take nothing: what only sends has no use for what comes.
macro_rules! takes_nothing {
    ($port:ty) => {
        impl netloop::Sink for $port {
            fn push_t1(&mut self, run: &netloop::Run<'_>) -> usize {
                run.records.len()
            }
            fn free_t2(&self) -> usize {
                1 << 20
            }
            fn push_t2(&mut self, _: &netloop::Run<'_>) {}
            fn free_t3(&self) -> usize {
                1
            }
            fn handle_command(&mut self, _: netloop::Slot) -> netloop::Answer {
                netloop::Answer::Reset(wire::CloseCode::NoHandler)
            }
            fn handle_ack(&mut self, _: netloop::Slot) {}
        }
    };
}

pub(crate) use takes_nothing;

/// A worker that may sleep, and that rests so long.
pub(crate) fn worker<P: Port>(
    engine: Engine,
    socket: Socket,
    port: P,
    idle: IdleStrategy,
    rest: Duration,
) -> anyhow::Result<Worker<P>> {
    let (_, sleeper) = wake_line()?;
    let idle = (Idle::new(idle), Some(sleeper));
    let config = WorkerConfig { rest, ..WorkerConfig::default() };
    Ok(Worker::new(engine, socket, port, idle, config, WorkerStats::shared()))
}

/// The server of an experiment, and what is shown to it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Server {
    /// The server.
    #[arg(long)]
    pub(crate) addr: SocketAddr,
    /// The authority that signed its certificate (PEM).
    #[arg(long)]
    ca: PathBuf,
    /// The certificate that the sessions show (PEM).
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
}

impl Server {
    /// The client's half of the handshake with it, which resumes no session of another one.
    pub(crate) fn tls(&self) -> anyhow::Result<Arc<dyn ClientConfig>> {
        let shown = self.cert.as_ref().zip(self.key.as_ref());
        let shown = shown.map(|(cert, key)| ClientIdentity::from_pem_files(cert, key));
        let authorities = certificates_from_pem_file(&self.ca)?;
        Ok(client_tls_as(shown.transpose()?, authorities, ALPN)?)
    }
}
