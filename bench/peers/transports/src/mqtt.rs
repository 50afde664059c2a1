//! MQTT 3.1.1 through a broker, by rumqttc: one topic, QoS 0 or 1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use rumqttc::{Client, Connection, Event, MqttOptions, Outgoing, Packet, QoS};

use crate::inlet::Inlet;
use crate::source::{Due, Source};

const TOPIC: &str = "t1";
/// Unacknowledged publishes of QoS 1, as the broker is configured for.
const INFLIGHT: u16 = 1000;
/// Requests between the program and rumqttc.
const REQUESTS: usize = 16_384;
/// The end of a load waits this long for the last publish to leave.
const DRAIN: Duration = Duration::from_secs(10);

fn connect(addr: SocketAddr, name: &str) -> (Client, Connection) {
    let mut options = MqttOptions::new(name, addr.ip().to_string(), addr.port());
    options.set_inflight(INFLIGHT).set_keep_alive(Duration::from_secs(30));
    let (client, mut connection) = Client::new(options, REQUESTS);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.eventloop.set_network_options(network);
    (client, connection)
}

/// Subscribes, says that it is ready once the broker has agreed, and hands over what comes.
///
/// # Errors
/// The broker cannot be reached, or a payload holds something else than records.
pub fn serve(addr: SocketAddr, qos: u8, inlet: &mut Inlet, ready: impl Fn()) -> anyhow::Result<()> {
    let (client, mut connection) = connect(addr, "pollux-peer-serve");
    client.subscribe(TOPIC, level(qos))?;
    for event in connection.iter() {
        match event? {
            Event::Incoming(Packet::SubAck(_)) => ready(),
            Event::Incoming(Packet::Publish(publish)) => {
                anyhow::ensure!(inlet.accept(&publish.payload), "a payload without records");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Publishes a load, and waits until the last of it has left.
///
/// # Errors
/// The broker cannot be reached.
pub fn load(addr: SocketAddr, qos: u8, source: &mut Source) -> anyhow::Result<()> {
    let (client, mut connection) = connect(addr, "pollux-peer-load");
    let left = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&left);
    // rumqttc moves nothing unless somebody polls its connection.
    let pump = std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Outgoing(Outgoing::Publish(_))) => {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    let mut payload = Vec::with_capacity(source.payload_max());
    let mut published = 0;
    loop {
        match source.poll(&mut payload) {
            Due::Payload => {
                client.publish(TOPIC, level(qos), false, payload.as_slice())?;
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
            return pump.join().map_err(|_| anyhow!("the connection's thread has panicked"));
        }
        std::thread::sleep(step);
    }
    // What a broker did not take is undelivered, and counted as such by the receiver.
    Ok(())
}

fn level(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}
