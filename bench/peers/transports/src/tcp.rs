//! TCP and TLS: a length of two bytes before each payload, written together, decoded where it was read.
//!
//! Written as somebody would who knows it: no delay, large reads and writes, one system call for many payloads.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use crate::args::Shape;
use crate::inlet::Inlet;
use crate::source::{Due, Source};
use crate::tls::SERVER_NAME;

const READ_BYTES: usize = 256 << 10;
const WRITE_BYTES: usize = 32 << 10;

/// Takes one connection and hands over what it brings.
///
/// # Errors
/// The connection breaks, or brings something else than records.
pub fn serve(
    listener: &TcpListener,
    tls: Option<Arc<ServerConfig>>,
    inlet: &mut Inlet,
) -> anyhow::Result<()> {
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    match tls {
        None => receive(stream, inlet),
        Some(config) => {
            let connection = ServerConnection::new(config)?;
            receive(rustls::StreamOwned::new(connection, stream), inlet)
        }
    }
}

fn receive(mut stream: impl Read, inlet: &mut Inlet) -> anyhow::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(()),
            // A TLS peer that ends without a goodbye has sent all it had.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => filled += read?,
        }
        let mut at = 0;
        while let Some((length, rest)) = buffer[at..filled].split_first_chunk::<2>() {
            let Some(payload) = rest.get(..usize::from(u16::from_be_bytes(*length))) else { break };
            anyhow::ensure!(inlet.accept(payload), "a payload holds something else than records");
            at += 2 + payload.len();
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}

/// Sends a load over one connection, which is there when it begins.
///
/// # Errors
/// The connection breaks.
pub fn load(
    addr: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    shape: &Shape,
) -> anyhow::Result<Source> {
    let stream = TcpStream::connect(addr).with_context(|| addr.to_string())?;
    stream.set_nodelay(true)?;
    let source = match tls {
        None => {
            let mut source = Source::begin(shape);
            send(&stream, &mut source)?;
            source
        }
        Some(config) => {
            let mut connection = ClientConnection::new(config, ServerName::try_from(SERVER_NAME)?)?;
            while connection.is_handshaking() {
                connection.complete_io(&mut &stream)?;
            }
            let mut source = Source::begin(shape);
            send(rustls::Stream::new(&mut connection, &mut &stream), &mut source)?;
            connection.send_close_notify();
            while connection.wants_write() {
                connection.write_tls(&mut &stream)?;
            }
            source
        }
    };
    // Until the receiver has read everything: a socket that is closed with tickets of TLS unread resets the connection.
    stream.shutdown(Shutdown::Write)?;
    std::io::copy(&mut &stream, &mut std::io::sink())?;
    Ok(source)
}

fn send(mut stream: impl Write, source: &mut Source) -> anyhow::Result<()> {
    let mut payload = Vec::with_capacity(source.payload_max());
    let mut out: Vec<u8> = Vec::with_capacity(2 * WRITE_BYTES);
    loop {
        let due = source.poll(&mut payload);
        if due == Due::Payload {
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            out.extend_from_slice(&payload);
        }
        if out.len() >= WRITE_BYTES || due != Due::Payload {
            stream.write_all(&out)?;
            stream.flush()?;
            out.clear();
        }
        match due {
            Due::Payload => {}
            Due::Later => source.rest(),
            Due::Over => return Ok(()),
        }
    }
}
