//! T3 in both directions: commands of the peer that wait for their answer, and commands opened here that wait for
//! their ack. PROTOCOL.md#t3.

use quinn_proto::{Dir, ReadError, StreamId, VarInt};
use wire::{CloseCode, Command, Operation, RECORD_BYTES, Record};

use crate::{
    SessionId, Sink, Slot, StreamPriority,
    session::{Phase, Service, Session, Stamp},
    slot,
};

/// Commands of peers that were handed on and not yet answered: token to stream. Bounded; a full table answers busy.
#[derive(Debug)]
pub(crate) struct Commands {
    waiting: Vec<Option<(SessionId, StreamId)>>,
    free: Vec<u32>,
}

impl Commands {
    pub(crate) fn new(waiting_max: usize) -> Self {
        let waiting_max = u32::try_from(waiting_max).unwrap_or(u32::MAX);
        Self { waiting: vec![None; waiting_max as usize], free: (0..waiting_max).rev().collect() }
    }

    pub(crate) fn insert(&mut self, session: SessionId, stream: StreamId) -> Option<u32> {
        let token = self.free.pop()?;
        self.waiting[token as usize] = Some((session, stream));
        Some(token)
    }

    /// The stream that waits under `token`, if it is one of `session`.
    pub(crate) fn remove(&mut self, token: u32, session: SessionId) -> Option<StreamId> {
        let place = self.waiting.get_mut(token as usize)?;
        let (owner, stream) = (*place)?;
        if owner != session {
            return None;
        }
        *place = None;
        self.free.push(token);
        Some(stream)
    }

    /// Forgets everything that waits for a session that is gone.
    pub(crate) fn forget(&mut self, session: SessionId) {
        for (token, place) in self.waiting.iter_mut().enumerate() {
            if place.is_some_and(|(owner, _)| owner == session) {
                *place = None;
                self.free.push(token as u32);
            }
        }
    }
}

/// A command that this side opened.
#[derive(Debug)]
pub(crate) struct OpenCommand {
    pub(crate) stream: StreamId,
    pub(crate) readable: bool,
    tag: u32,
    request: Record,
    ack: Vec<u8>,
}

impl OpenCommand {
    /// The slot that says it failed: its record is the request.
    pub(crate) fn failed(&self, stamp: &Stamp) -> Slot {
        let mut failed = stamp.slot(&self.request, self.tag);
        failed.flags = slot::FAILED;
        failed
    }
}

/// Commands of a session that wait for their acks at most, however many its peer allows. One that never answers costs no
/// more memory than these, and no more time at each of its packets.
const OPEN_COMMANDS_MAX: usize = 1024;
/// So many more are for stops and their ends; beyond them, the one that waits longest is given up for the latest.
const OPEN_STOPS_MAX: usize = 64;

/// Why a command was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The session is not open, or no longer.
    #[error("the session is not open")]
    NotOpen,
    /// The peer allows no further stream now, or leaves too many unanswered.
    #[error("the peer takes no further command now")]
    NoStream,
}

impl Session {
    /// Opens a command to the peer; its end reaches the sink with `tag`.
    pub(crate) fn open_command(&mut self, request: Record, tag: u32) -> Result<(), CommandError> {
        if self.phase != Phase::Open {
            return Err(CommandError::NotOpen);
        }
        // A stop overtakes commands, and commands everything else that this side sends.
        let operation = request.kind() >> 5;
        let stops = operation == Operation::Stop as u8;
        let overtakes = stops || operation == Operation::Clear as u8;
        if !overtakes && self.open_commands.len() >= OPEN_COMMANDS_MAX {
            return Err(CommandError::NoStream);
        }
        if self.open_commands.len() >= OPEN_COMMANDS_MAX + OPEN_STOPS_MAX {
            self.give_up_oldest();
        }
        let stream = self.take_stream(overtakes).ok_or(CommandError::NoStream)?;
        let mut send = self.connection.send_stream(stream);
        let priority = if stops { StreamPriority::Critical } else { StreamPriority::High };
        let _ = send.set_priority(priority.of_stream());
        let written = send.write(request.as_bytes());
        if written != Ok(RECORD_BYTES) || send.finish().is_err() {
            let _ = send.reset(VarInt::from_u32(CloseCode::Busy as u32));
            return Err(CommandError::NoStream);
        }
        let ack = Vec::with_capacity(RECORD_BYTES + 1);
        self.open_commands.push(OpenCommand { stream, readable: false, tag, request, ack });
        Ok(())
    }

    /// Forgets the command that was opened first. Its ack, should it ever come, is for nobody; whoever sent it has a deadline
    /// of its own.
    #[cold]
    fn give_up_oldest(&mut self) {
        let oldest = self.open_commands.iter().map(|open| open.stream).min_by_key(|id| id.index());
        let Some(stream) = oldest else { return };
        self.open_commands.retain(|open| open.stream != stream);
        // Either half may be over already.
        let busy = VarInt::from_u32(CloseCode::Busy as u32);
        let _ = self.connection.send_stream(stream).reset(busy);
        let _ = self.connection.recv_stream(stream).stop(busy);
    }

    /// A stream for a command. A server keeps the last one that the peer allows for a stop and its end, so that no number
    /// of commands that wait for their acks is in their way. A peer that never allows a second one gets them one by one.
    ///
    /// The one that is kept is always the latest, of which nothing has left: the peer sees streams in order.
    fn take_stream(&mut self, is_kept_for: bool) -> Option<StreamId> {
        let is_server = self.connection.side().is_server();
        let mut streams = self.connection.streams();
        let first = self.kept_stream.take().or_else(|| streams.open(Dir::Bi))?;
        if !is_server {
            return Some(first);
        }
        self.kept_stream = streams.open(Dir::Bi);
        let is_last = self.kept_stream.is_none();
        self.one_by_one = is_last && (self.one_by_one || first.index() == 0);
        if is_last && !is_kept_for && !self.one_by_one {
            self.kept_stream = Some(first);
            return None;
        }
        Some(first)
    }

    /// Answers a command of the peer.
    pub(crate) fn write_ack(&mut self, stream: StreamId, ack: &Record) {
        let mut send = self.connection.send_stream(stream);
        let _ = send.set_priority(StreamPriority::High.of_stream());
        self.answered = true;
        // A send window of a session holds many acks; one that is full belongs to a peer that does not read.
        if send.write(ack.as_bytes()) != Ok(RECORD_BYTES) || send.finish().is_err() {
            let _ = send.reset(VarInt::from_u32(CloseCode::Busy as u32));
            return;
        }
        self.answers_out += 1;
    }

    /// Resets a command of the peer.
    pub(crate) fn reset_command(&mut self, stream: StreamId, code: CloseCode) {
        let _ = self.connection.send_stream(stream).reset(VarInt::from_u32(code as u32));
    }

    /// Reads the acks of commands that were opened here. True when the sink had no room for all.
    pub(crate) fn drain_acks<S: Sink>(&mut self, service: &mut Service<'_, S>) -> bool {
        let mut at = 0;
        while at < self.open_commands.len() {
            if !self.open_commands[at].readable {
                at += 1;
                continue;
            }
            if service.sink.free_t3() == 0 {
                return true;
            }
            match self.read_ack(at) {
                None => {
                    self.open_commands[at].readable = false;
                    at += 1;
                }
                Some(acked) => {
                    let command = self.open_commands.swap_remove(at);
                    let stamp = self.stamp(service.unix_ns);
                    service.sink.handle_ack(match acked {
                        Ok(ack) => {
                            let mut end = stamp.slot(&ack, command.tag);
                            end.flags = slot::ACK;
                            end
                        }
                        Err(()) => command.failed(&stamp),
                    });
                }
            }
        }
        false
    }

    /// The ack of one command when it is whole, `Err` when there will be none.
    fn read_ack(&mut self, at: usize) -> Option<Result<Record, ()>> {
        let command = &mut self.open_commands[at];
        let mut receive = self.connection.recv_stream(command.stream);
        let Ok(mut chunks) = receive.read(true) else { return Some(Err(())) };
        let end = loop {
            match chunks.next(RECORD_BYTES + 1) {
                Ok(Some(chunk)) => command.ack.extend_from_slice(&chunk.bytes),
                Ok(None) => break Some(ack_of(&command.ack, &command.request)),
                Err(ReadError::Blocked) => break None,
                Err(ReadError::Reset(_)) => break Some(Err(())),
            }
            if command.ack.len() > RECORD_BYTES {
                break Some(Err(()));
            }
        };
        let _ = chunks.finalize();
        if matches!(end, Some(Err(()))) {
            let _ = receive.stop(VarInt::from_u32(CloseCode::Ragged as u32));
        }
        end
    }
}

/// The ack in `bytes`, if it is one of `request`.
fn ack_of(bytes: &[u8], request: &Record) -> Result<Record, ()> {
    let bytes: [u8; RECORD_BYTES] = bytes.try_into().map_err(|_| ())?;
    let ack = Record::from_bytes(bytes);
    let status = Command::decode(&ack).map_err(|_| ())?.status();
    let answers = ack.key() == request.key() && ack.seq() == request.seq();
    if answers && status.is_some() { Ok(ack) } else { Err(()) }
}
