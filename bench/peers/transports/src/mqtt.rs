//! MQTT 3.1.1 through a broker, by rumqttc: one topic, QoS 0 or 1, in plain text or over TLS.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use rumqttc::{
    Client, Connection, ConnectionError, Event, MqttOptions, Outgoing, Packet, QoS,
    TlsConfiguration, Transport,
};
use rustls::ClientConfig;

use crate::args::Shape;
use crate::inlet::Inlet;
use crate::source::{Due, Source};
use crate::tls::SERVER_NAME;

const TOPIC: &str = "t1";
/// Unacknowledged publishes of QoS 1, as the broker is configured for.
const INFLIGHT: u16 = 1000;
/// Requests between the program and rumqttc.
const REQUESTS: usize = 16_384;
/// The end of a load waits this long for the last publish to leave.
const DRAIN: Duration = Duration::from_secs(10);

/// Subscribes, says that it is ready once the broker has agreed, and hands over what comes.
///
/// # Errors
/// The broker cannot be reached or is not who it has to be, or a payload holds something else than records.
pub fn serve(
    addr: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    qos: u8,
    inlet: &mut Inlet,
    ready: impl Fn(),
) -> anyhow::Result<()> {
    let (client, mut connection) = connect(addr, tls, "pollux-peer-serve")?;
    client.subscribe(TOPIC, level(qos))?;
    for event in connection.iter() {
        match event? {
            Event::Incoming(Packet::SubAck(_)) => ready(),
            Event::Incoming(Packet::Publish(publish)) => {
                ensure!(inlet.accept(&publish.payload), "a payload without records");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Publishes a load that begins when the broker has agreed, and waits until the last of it has left.
///
/// # Errors
/// The broker cannot be reached, is not who it has to be, or ends the connection.
pub fn load(
    addr: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    qos: u8,
    shape: &Shape,
) -> anyhow::Result<Source> {
    let (client, connection) = connect(addr, tls, "pollux-peer-load")?;
    let left = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&left);
    // rumqttc moves nothing unless somebody polls its connection.
    let (agree, agreed) = channel();
    let pump = std::thread::spawn(move || pump(connection, &agree, &counter));
    let join = || pump.join().map_err(|_| anyhow!("the connection's thread has panicked"));
    if agreed.recv().is_err() {
        let error = join()?.map_or_else(|| anyhow!("the broker has closed"), Into::into);
        return Err(error);
    }
    let mut source = Source::begin(shape);
    let mut payload = Vec::with_capacity(source.payload_max());
    let mut published = 0;
    loop {
        match source.poll(&mut payload) {
            Due::Payload => {
                if let Err(error) = client.publish(TOPIC, level(qos), false, payload.as_slice()) {
                    // Nobody takes publishes any more, for a reason that the connection knows.
                    return Err(join()?.map_or(error.into(), Into::into));
                }
                published += 1;
            }
            Due::Later => source.rest(),
            Due::Over => break,
        }
    }
    let step = Duration::from_millis(10);
    for _ in 0..DRAIN.as_millis() / step.as_millis() {
        if left.load(Ordering::Relaxed) >= published {
            client.disconnect()?;
            // The broker closes, which is an error to rumqttc and the end here.
            join()?;
            return Ok(source);
        }
        std::thread::sleep(step);
    }
    // What a broker did not take is undelivered, and counted as such by the receiver.
    Ok(source)
}

/// Moves a connection until it ends, tells that the broker has agreed, and counts the publishes that have left.
fn pump(
    mut connection: Connection,
    agree: &Sender<()>,
    left: &AtomicU64,
) -> Option<ConnectionError> {
    for event in connection.iter() {
        match event {
            // The load may have ended meanwhile, and with it who listens.
            Ok(Event::Incoming(Packet::ConnAck(_))) => drop(agree.send(())),
            Ok(Event::Outgoing(Outgoing::Publish(_))) => {
                left.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) => return Some(error),
        }
    }
    None
}

fn connect(
    addr: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    name: &str,
) -> anyhow::Result<(Client, Connection)> {
    let host = if tls.is_some() { name_of(addr)? } else { addr.ip().to_string() };
    let mut options = MqttOptions::new(name, host, addr.port());
    options.set_inflight(INFLIGHT).set_keep_alive(Duration::from_secs(30));
    if let Some(config) = tls {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config)));
    }
    let (client, mut connection) = Client::new(options, REQUESTS);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.eventloop.set_network_options(network);
    Ok((client, connection))
}

/// The broker by the name in its certificate: rumqttc connects to the host that it verifies, so that the name has to be the
/// address here.
fn name_of(addr: SocketAddr) -> anyhow::Result<String> {
    let mut addresses = (SERVER_NAME, addr.port()).to_socket_addrs().context(SERVER_NAME)?;
    ensure!(addresses.any(|one| one == addr), "{SERVER_NAME} is not {} here", addr.ip());
    Ok(SERVER_NAME.to_owned())
}

fn level(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}
