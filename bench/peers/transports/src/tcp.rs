//! TCP and TLS: a length of two bytes before each payload, written together, decoded where it was read.
//!
//! Written as somebody would who knows it: no delay, large reads and writes, one system call for many payloads.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use wire::RECORD_BYTES;

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
        let came = Came::of(&mut buffer[..filled])?;
        if came.payloads > 0 {
            inlet.accept_joined(&buffer[..came.joined], came.payloads);
        }
        buffer.copy_within(came.taken..filled, 0);
        filled -= came.taken;
    }
}

/// What one read, and what was left of the one before it, brought.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    payloads: u64,
    /// Bytes of all payloads, which are one behind the other at the front.
    joined: usize,
    /// Bytes that they took with their lengths; behind them begins one that is not whole yet.
    taken: usize,
}

impl Came {
    /// Moves whole payloads together, so that the world gets all at once, at one time: records that were sent one by one cost
    /// the clock and the ring no more than those that were sent as a batch.
    fn of(bytes: &mut [u8]) -> anyhow::Result<Self> {
        let mut came = Self { payloads: 0, joined: 0, taken: 0 };
        while let Some((length, rest)) = bytes[came.taken..].split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if rest.len() < length {
                break;
            }
            let whole = length > 0 && length.is_multiple_of(RECORD_BYTES);
            anyhow::ensure!(whole, "a payload holds something else than records");
            let begin = came.taken + 2;
            bytes.copy_within(begin..begin + length, came.joined);
            came.payloads += 1;
            came.joined += length;
            came.taken = begin + length;
        }
        Ok(came)
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
        let due = source.take(&mut payload);
        if due == Due::Payload {
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            out.extend_from_slice(&payload);
        }
        if out.len() >= WRITE_BYTES || due != Due::Payload {
            stream.write_all(&out)?;
            stream.flush()?;
            out.clear();
            if due == Due::Later {
                source.rest();
            }
            source.look();
        }
        if due == Due::Over {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Payloads of so many records each, of bytes that tell them apart, with a length before each.
    fn framed(records: &[usize]) -> Vec<u8> {
        let payload = |(number, count): (usize, &usize)| vec![number as u8; count * RECORD_BYTES];
        let payloads = records.iter().enumerate().map(payload);
        payloads
            .flat_map(|payload| [&(payload.len() as u16).to_be_bytes(), &*payload].concat())
            .collect()
    }

    #[test]
    fn payloads_of_one_read_are_joined_and_the_next_one_is_kept() {
        let mut bytes = framed(&[1, 3, 1]);
        let whole = bytes.len();
        bytes.extend_from_slice(&framed(&[2])[..50]);
        let came = Came::of(&mut bytes).unwrap();
        assert_eq!(came, Came { payloads: 3, joined: 5 * RECORD_BYTES, taken: whole });
        let of = |number: u8, records: usize| vec![number; records * RECORD_BYTES];
        assert_eq!(bytes[..came.joined], [of(0, 1), of(1, 3), of(2, 1)].concat());
        assert_eq!(bytes[came.taken..], framed(&[2])[..50]);
    }

    #[test]
    fn half_a_length_is_no_payload() {
        assert_eq!(Came::of(&mut [0]).unwrap(), Came { payloads: 0, joined: 0, taken: 0 });
    }

    #[test]
    fn ragged_and_empty_payloads_are_refused() {
        assert!(Came::of(&mut [0, 0]).is_err());
        // Joined they would be of the length of a record.
        assert!(
            Came::of(&mut [[0, 20].as_slice(), &[0; 20], &[0, 19], &[0; 19]].concat()).is_err()
        );
    }
}
