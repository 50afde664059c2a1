//! Where the engine puts what it received. The worker's sink is a set of rings; tests collect into vectors.

use wire::{CloseCode, Record};

use crate::Slot;

/// The receiving end of an engine, called only from the thread that drives it.
pub trait Sink {
    /// Takes up to `count` T1 slots and says how many; `slots` may yield fewer. What it has left is shed, and the engine
    /// counts it.
    fn push_t1(&mut self, count: usize, slots: impl Iterator<Item = Slot>) -> usize;

    /// T2 slots that can be taken now. The engine reads no more than that from QUIC, whose flow control then reaches the
    /// device.
    fn free_t2(&self) -> usize;

    /// Takes all T2 slots: at most `count`, which is at most [`Sink::free_t2`].
    fn push_t2(&mut self, count: usize, slots: impl Iterator<Item = Slot>);

    /// Commands and acks that can be taken now.
    fn free_t3(&self) -> usize;

    /// Takes a command of the peer, if [`Sink::free_t3`] is not zero. Its `hint` is the token to answer with.
    fn handle_command(&mut self, slot: Slot) -> Answer;

    /// Takes the end of a command that this side opened; never called while [`Sink::free_t3`] is zero. Its `hint` is the
    /// tag that the command was opened with, its flags say how it ended.
    fn handle_ack(&mut self, slot: Slot);
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
