//! Where the engine puts what it received. The worker's sink is a set of rings; tests collect into vectors.

use wire::{CloseCode, Record};

use crate::{Run, SendStream, SessionId, Slot};

/// The receiving end of an engine, called only from the thread that drives it.
pub trait Sink {
    /// Takes T1 records from the first on, and says how many. What it has left is shed, and the engine counts it.
    fn push_t1(&mut self, run: &Run<'_>) -> usize;

    /// How many of `wish` T1 records a session may push that has had its share: what it may take is less than what is free
    /// when the rest is kept for others.
    fn room_t1(&self, wish: usize) -> usize {
        wish
    }

    /// T2 records that can be taken now. The engine reads no more than that from QUIC, whose flow control then reaches the
    /// device.
    fn free_t2(&self) -> usize;

    /// Takes all T2 records, which are no more than [`Sink::free_t2`] said before.
    fn push_t2(&mut self, run: &Run<'_>);

    /// Commands and acks that can be taken now.
    fn free_t3(&self) -> usize;

    /// Takes a command of the peer, if [`Sink::free_t3`] is not zero. Its `hint` is the token to answer with.
    fn handle_command(&mut self, slot: Slot) -> Answer;

    /// Takes the end of a command that this side opened; never called while [`Sink::free_t3`] is zero. Its `hint` is the
    /// tag that the command was opened with, its flags say how it ended.
    fn handle_ack(&mut self, slot: Slot);

    /// The peer has stopped a T2 stream of this side: what was written on it and not read yet is for nobody.
    fn handle_stopped(&mut self, session: SessionId, stream: SendStream) {
        let _ = (session, stream);
    }
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// Somebody else answers later, with the token.
    Later,
    /// The ack, to be sent at once.
    Ack(Record),
    /// The stream is reset.
    Reset(CloseCode),
}
