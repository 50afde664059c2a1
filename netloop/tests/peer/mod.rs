//! A QUIC client that is no engine of ours: it sends what a test makes it send, in virtual time.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of the peer")]
#![allow(clippy::unwrap_used, reason = "a test panics where its set-up fails")]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use netloop::{Datagram, Engine, Now};
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    EndpointConfig, Event, ReadError, StreamId,
};

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 1], 4433);

pub struct Peer {
    endpoint: Endpoint,
    handle: ConnectionHandle,
    pub connection: Connection,
    address: SocketAddr,
    pub connected: bool,
    /// The code that its server closed it with.
    pub closed: Option<u64>,
}

impl Peer {
    pub fn call(now: Now, port: u16, config: ClientConfig) -> Self {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        let (handle, connection) =
            endpoint.connect(now.instant, config, SERVER.into(), "localhost").unwrap();
        let address = SocketAddr::from(([10, 0, 0, 2], port));
        Self { endpoint, handle, connection, address, connected: false, closed: None }
    }

    /// Gives the server what it has to send.
    pub fn send(&mut self, now: Now, server: &mut Engine) {
        if self.connection.poll_timeout().is_some_and(|deadline| deadline <= now.instant) {
            self.connection.handle_timeout(now.instant);
        }
        let mut buffer = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit(now.instant, 1, &mut buffer) {
            let datagram = Datagram {
                remote: self.address,
                local_ip: None,
                ecn: None,
                payload: BytesMut::from(&buffer[..transmit.size]),
                recv_ns: now.unix_ns,
            };
            server.handle_datagram(now, datagram);
            buffer.clear();
        }
    }

    /// Takes one datagram of the server.
    pub fn handle_datagram(&mut self, now: Now, payload: &[u8]) {
        let (payload, mut answer) = (BytesMut::from(payload), Vec::new());
        let event =
            self.endpoint.handle(now.instant, SERVER.into(), None, None, payload, &mut answer);
        if let Some(DatagramEvent::ConnectionEvent(handle, event)) = event {
            assert_eq!(handle, self.handle);
            self.connection.handle_event(event);
        }
    }

    /// Takes what the server has to send, for it alone, and what became of it.
    pub fn receive(&mut self, now: Now, server: &mut Engine) {
        let mut buffer = Vec::new();
        while let Some(transmit) = server.poll_transmit(now, 1, &mut buffer) {
            self.handle_datagram(now, &buffer[..transmit.size]);
        }
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(event);
            }
        }
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason: ConnectionError::ApplicationClosed(close) } => {
                    self.closed = Some(close.error_code.into_inner());
                }
                _ => {}
            }
        }
    }

    /// Opens a stream and writes to it.
    pub fn open(&mut self, dir: Dir, bytes: &[u8]) -> StreamId {
        let stream = self.connection.streams().open(dir).unwrap();
        assert_eq!(self.connection.send_stream(stream).write(bytes), Ok(bytes.len()));
        stream
    }

    /// What is there of a stream.
    pub fn read(&mut self, stream: StreamId) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut receive = self.connection.recv_stream(stream);
        let mut chunks = receive.read(true).unwrap();
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
                Ok(None) | Err(ReadError::Blocked) => break,
                Err(ReadError::Reset(code)) => panic!("reset with {code}"),
            }
        }
        let _ = chunks.finalize();
        bytes
    }
}
