//! What a session sends: DATAGRAM frames (T1), streams (T2), its hello and its totals.

use std::time::Instant;

use bytes::{Buf, Bytes};
use quinn_proto::{Dir, SendDatagramError, StreamId, VarInt, WriteError};
use wire::{CloseCode, Hello, Token, Totals};

use crate::{
    Engine, SessionId, StreamPriority,
    session::{EarlyData, Phase, Session},
};

/// Why something was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session is not open, or no longer.
    #[error("the session is not open")]
    NotOpen,
    /// The buffer of the session is full; try again after the next turn.
    #[error("the buffer of the session is full")]
    Blocked,
    /// The payload is larger than the path carries now.
    #[error("the payload is larger than a datagram may be")]
    TooLarge,
    /// The peer ended the stream, or allows no further one.
    #[error("the stream is closed")]
    StreamClosed,
}

/// A stream opened here, to write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendStream(pub(crate) StreamId);

impl Engine {
    /// Sends one batch as a DATAGRAM frame.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was sent then.
    pub fn send_datagram(&mut self, session: SessionId, payload: Bytes) -> Result<(), SendError> {
        let open = self.open_session(session)?;
        open.connection.datagrams().send(payload, false).map_err(|error| match error {
            SendDatagramError::Blocked(_) => SendError::Blocked,
            SendDatagramError::TooLarge => SendError::TooLarge,
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => {
                SendError::NotOpen
            }
        })?;
        self.mark_dirty(self.own_place(session));
        Ok(())
    }

    /// Largest payload that a DATAGRAM frame of this session carries now, in bytes.
    pub fn datagram_bytes_max(&mut self, session: SessionId) -> Option<usize> {
        self.session(session)?.connection.datagrams().max_size()
    }

    /// DATAGRAM bytes that still fit into the send buffer of the session.
    pub fn datagram_space_bytes(&mut self, session: SessionId) -> usize {
        self.session(session).map_or(0, |open| open.connection.datagrams().send_buffer_space())
    }

    /// Opens a T2 stream.
    ///
    /// # Errors
    /// The session is not open, or the peer allows no further stream.
    pub fn open_stream(
        &mut self,
        session: SessionId,
        priority: StreamPriority,
    ) -> Result<SendStream, SendError> {
        let open = self.open_session(session)?;
        let stream = open.connection.streams().open(Dir::Uni).ok_or(SendError::StreamClosed)?;
        // It was opened just now, so that it takes a priority.
        let _ = open.connection.send_stream(stream).set_priority(priority.of_stream());
        Ok(SendStream(stream))
    }

    /// Writes to a T2 stream and says how many bytes were taken.
    ///
    /// # Errors
    /// Nothing was taken, because windows are full or the stream is closed.
    pub fn write_stream(
        &mut self,
        session: SessionId,
        stream: SendStream,
        bytes: &[u8],
    ) -> Result<usize, SendError> {
        let open = self.open_session(session)?;
        let written =
            open.connection.send_stream(stream.0).write(bytes).map_err(|error| match error {
                WriteError::Blocked => SendError::Blocked,
                WriteError::Stopped(_) | WriteError::ClosedStream => SendError::StreamClosed,
            })?;
        self.mark_dirty(self.own_place(session));
        Ok(written)
    }

    /// Ends a T2 stream; what was written still arrives.
    pub fn finish_stream(&mut self, session: SessionId, stream: SendStream) {
        if let Some(open) = self.session(session) {
            // A stream that the peer stopped is over already.
            let _ = open.connection.send_stream(stream.0).finish();
            self.mark_dirty(self.own_place(session));
        }
    }

    /// Closes a session in order: what was sent arrives, then the totals, then the close. PROTOCOL.md#orderly-close.
    ///
    /// T2 streams are finished by their owner, before.
    pub fn finish(&mut self, session: SessionId, totals: Totals) {
        if let Some(open) = self.session(session)
            && open.phase == Phase::Open
        {
            open.totals_left = Bytes::copy_from_slice(&totals.encode());
            open.phase = Phase::Finishing;
            self.mark_dirty(self.own_place(session));
        }
    }

    /// What became of the data that a client has sent before its handshake was done. While it is [`EarlyData::Sent`] and the
    /// session not yet open, T1 and T2 can be sent: the server may get them twice, and tells them by their numbers.
    pub fn early_data(&mut self, session: SessionId) -> EarlyData {
        self.session(session).map_or(EarlyData::None, |open| open.early)
    }

    fn open_session(&mut self, session: SessionId) -> Result<&mut Session, SendError> {
        match self.session(session) {
            Some(open) if open.phase == Phase::Open || open.sends_early() => Ok(open),
            _ => Err(SendError::NotOpen),
        }
    }

    /// Sends the hello at once, where the server has met this client before.
    pub(crate) fn begin_early(&mut self, id: SessionId) {
        let Some(client) = &self.client else { return };
        let (hello, token) = (client.hello, client.token);
        let Some(open) = self.session(id).filter(|open| open.connection.has_0rtt()) else { return };
        open.early = EarlyData::Sent;
        open.open_control(hello.as_ref(), token.as_ref());
    }
}

impl Session {
    fn sends_early(&self) -> bool {
        self.phase == Phase::Handshake && self.early == EarlyData::Sent
    }

    /// The handshake of a client is done: the hello goes out, unless it has arrived already.
    pub(crate) fn begin_client(&mut self, hello: Option<&Hello>, token: Option<&Token>) {
        if self.early == EarlyData::Sent && self.connection.accepted_0rtt() {
            self.early = EarlyData::Accepted;
            return;
        }
        if self.early == EarlyData::Sent {
            self.early = EarlyData::Rejected;
        }
        self.open_control(hello, token);
    }

    /// Opens the control stream with the hello.
    pub(crate) fn open_control(&mut self, hello: Option<&Hello>, token: Option<&Token>) {
        let Some(hello) = hello else { return };
        if let Some(stream) = self.connection.streams().open(Dir::Uni) {
            let mut send = self.connection.send_stream(stream);
            // Before any record, so that the twin knows the epoch when the first one comes.
            let _ = send.set_priority(StreamPriority::Critical.of_stream());
            let written = match token {
                None => send.write(&hello.encode()),
                Some(token) => {
                    let (bytes, length) = hello.encode_with_token(token);
                    send.write(&bytes[..length])
                }
            };
            if written.is_ok() {
                self.control_out = Some(stream);
            }
        }
    }

    /// One step of the orderly close. True when the session was just closed.
    pub(crate) fn poll_finish(&mut self, now: Instant) -> bool {
        let datagrams = self.connection.datagrams().send_buffer_space();
        if datagrams < self.datagram_space_max {
            return false;
        }
        if !self.send_totals() || !self.flushed() {
            return false;
        }
        let reason = Bytes::from_static(CloseCode::Done.name().as_bytes());
        self.connection.close(now, VarInt::from_u32(CloseCode::Done as u32), reason);
        true
    }

    /// Writes what is left of the totals, as far as the windows allow, and ends the control stream behind them. True when
    /// nothing is left.
    fn send_totals(&mut self) -> bool {
        while !self.totals_left.is_empty()
            && let Some(stream) = self.control_out
        {
            let mut send = self.connection.send_stream(stream);
            match send.write(&self.totals_left) {
                Ok(written) => self.totals_left.advance(written),
                Err(WriteError::Blocked) => return false,
                // The peer does not want them.
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => self.totals_left.clear(),
            }
            if self.totals_left.is_empty() {
                // A stream that the peer stopped is over already.
                let _ = send.finish();
            }
        }
        true
    }
}
