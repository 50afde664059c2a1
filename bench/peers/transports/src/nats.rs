//! NATS core through its server, by async-nats: one subject, no acknowledgement.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::BytesMut;
use futures_util::StreamExt;

use crate::args::Shape;
use crate::inlet::Inlet;
use crate::source::{Due, Source};

const SUBJECT: &str = "t1";
/// Messages that may wait for the program; with the default of 65,536 the client drops in silence at full rate.
const SUBSCRIPTION: usize = 1 << 20;
/// Requests between the program and the client.
const REQUESTS: usize = 65_536;
/// Payloads are cut from pieces of this size, so that none is allocated alone.
const SLAB_BYTES: usize = 1 << 20;

async fn connect(addr: SocketAddr) -> anyhow::Result<async_nats::Client> {
    let options = async_nats::ConnectOptions::new()
        .subscription_capacity(SUBSCRIPTION)
        .client_capacity(REQUESTS);
    options.connect(addr.to_string()).await.with_context(|| addr.to_string())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Subscribes, says that it is ready once the server knows, and hands over what comes.
///
/// # Errors
/// The server cannot be reached, or a payload holds something else than records.
pub fn serve(addr: SocketAddr, inlet: &mut Inlet, ready: impl Fn()) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let client = connect(addr).await?;
        let mut messages = client.subscribe(SUBJECT).await?;
        client.flush().await?;
        ready();
        while let Some(message) = messages.next().await {
            anyhow::ensure!(inlet.accept(&message.payload), "a payload without records");
        }
        Ok(())
    })
}

/// Publishes a load that begins when the server has answered, and waits until it has taken all of it.
///
/// # Errors
/// The server cannot be reached.
pub fn load(addr: SocketAddr, shape: &Shape) -> anyhow::Result<Source> {
    runtime()?.block_on(async {
        // Behind INFO, CONNECT, PING and PONG.
        let client = connect(addr).await?;
        let mut source = Source::begin(shape);
        let mut payload = Vec::with_capacity(source.payload_max());
        let mut slab = BytesMut::with_capacity(SLAB_BYTES);
        loop {
            match source.poll(&mut payload) {
                Due::Payload => {
                    if slab.capacity() < payload.len() {
                        slab = BytesMut::with_capacity(SLAB_BYTES);
                    }
                    slab.extend_from_slice(&payload);
                    client.publish(SUBJECT, slab.split().freeze()).await?;
                }
                // The client writes by itself, on a thread of the runtime: this one may sleep, and to less than the
                // millisecond that the runtime's own timers know.
                Due::Later => source.rest(),
                Due::Over => break,
            }
        }
        client.flush().await?;
        Ok(source)
    })
}
