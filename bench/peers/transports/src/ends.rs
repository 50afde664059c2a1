//! The two ends of a run: a receiver with a world behind it, and a sender.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::args::{LoadArgs, ServeArgs, Transport};
use crate::host::Host;
use crate::inlet::Inlet;
#[cfg(feature = "mqtt")]
use crate::mqtt;
#[cfg(feature = "nats")]
use crate::nats;
use crate::{tcp, tls};

/// Receives until a signal comes or its time is over, and prints the account.
///
/// # Errors
/// The report cannot be written, or the tick thread has panicked.
#[expect(clippy::print_stdout, reason = "the summary is the result")]
pub fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let name = format!("{:?}", args.transport).to_lowercase();
    let (host, inlet) = Host::start(&name, args.tick_hz, !args.unplaced, args.report.as_deref())?;
    let receiver = args.clone();
    // The thread ends with the process: a transport blocks in its socket.
    std::thread::Builder::new().name("net-0".to_owned()).spawn(move || {
        if let Err(error) = receive(&receiver, inlet) {
            eprintln!("transports: {error:#}");
        }
    })?;
    let summary = host.run(args.duration_s.map(Duration::from_secs))?;
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}

fn receive(args: &ServeArgs, mut inlet: Inlet) -> anyhow::Result<()> {
    let ready = || listening(args.addr);
    match args.transport {
        Transport::Tcp | Transport::Tls => {
            let config = match args.transport {
                Transport::Tls => Some(tls::server(&args.cert, &args.key)?),
                _ => None,
            };
            let listener = TcpListener::bind(args.addr)?;
            listening(listener.local_addr()?);
            tcp::serve(&listener, config, &mut inlet)
        }
        #[cfg(feature = "mqtt")]
        Transport::Mqtt0 => mqtt::serve(args.addr, None, 0, &mut inlet, ready),
        #[cfg(feature = "mqtt")]
        Transport::Mqtt1 => mqtt::serve(args.addr, None, 1, &mut inlet, ready),
        #[cfg(feature = "mqtt")]
        Transport::Mqtts0 => {
            mqtt::serve(args.addr, Some(tls::client(&args.ca)?), 0, &mut inlet, ready)
        }
        #[cfg(feature = "mqtt")]
        Transport::Mqtts1 => {
            mqtt::serve(args.addr, Some(tls::client(&args.ca)?), 1, &mut inlet, ready)
        }
        #[cfg(feature = "nats")]
        Transport::Nats => nats::serve(args.addr, &mut inlet, ready),
        #[cfg(not(all(feature = "mqtt", feature = "nats")))]
        _ => {
            let _ = ready;
            anyhow::bail!("this transport was not built in")
        }
    }
}

fn listening(addr: SocketAddr) {
    eprintln!("listening {addr}");
}

/// Offers a load to its end.
///
/// # Errors
/// The other end cannot be reached, or the report cannot be written.
pub fn load(args: &LoadArgs) -> anyhow::Result<()> {
    // Otherwise each pause of 10 us becomes one of 60.
    netloop::sharpen_timers();
    let shape = &args.shape;
    let source = match args.transport {
        Transport::Tcp => tcp::load(args.addr, None, shape)?,
        Transport::Tls => tcp::load(args.addr, Some(tls::client(&args.ca)?), shape)?,
        #[cfg(feature = "mqtt")]
        Transport::Mqtt0 => mqtt::load(args.addr, None, 0, shape)?,
        #[cfg(feature = "mqtt")]
        Transport::Mqtt1 => mqtt::load(args.addr, None, 1, shape)?,
        #[cfg(feature = "mqtt")]
        Transport::Mqtts0 => mqtt::load(args.addr, Some(tls::client(&args.ca)?), 0, shape)?,
        #[cfg(feature = "mqtt")]
        Transport::Mqtts1 => mqtt::load(args.addr, Some(tls::client(&args.ca)?), 1, shape)?,
        #[cfg(feature = "nats")]
        Transport::Nats => nats::load(args.addr, shape)?,
        #[cfg(not(all(feature = "mqtt", feature = "nats")))]
        _ => anyhow::bail!("this transport was not built in"),
    };
    Ok(source.report(shape)?)
}
