//! The streams that a peer holds open, and those of them that have something to read.
//!
//! Finding a stream and taking the next readable one cost the same with one stream as with thousands. Commands and control
//! are read before records; within each, streams take turns.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hasher},
    ops::{Index, IndexMut},
};

use quinn_proto::StreamId;

use crate::inbound::{Inbound, StreamKind};

/// Streams by number and by place; a place is free again once its stream is removed.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    places: Vec<Option<Inbound>>,
    free: Vec<u32>,
    numbers: HashMap<StreamId, u32, Keyed>,
    /// Readable streams that carry commands or control.
    short: VecDeque<u32>,
    /// Readable streams that carry records.
    records: VecDeque<u32>,
}

/// Which readable streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    Short,
    Records,
}

impl Streams {
    /// Streams whose places depend on `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { numbers: HashMap::with_hasher(Keyed(seed)), ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Adds a stream that is readable.
    pub(crate) fn insert(&mut self, id: StreamId, kind: StreamKind) {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        self.places[at as usize] = Some(Inbound::new(id, kind));
        self.numbers.insert(id, at);
        self.line_up(at);
    }

    /// Takes a stream out. It must not be in line.
    pub(crate) fn remove(&mut self, at: u32) -> Inbound {
        let stream = self.places[at as usize].take().expect("whoever has the place has the stream");
        self.numbers.remove(&stream.id);
        self.free.push(at);
        stream
    }

    /// Puts the stream in line, unless it is already. False when there is no such stream.
    pub(crate) fn mark_readable(&mut self, id: StreamId) -> bool {
        let Some(&at) = self.numbers.get(&id) else { return false };
        if !std::mem::replace(&mut self[at].readable, true) {
            self.line_up(at);
        }
        true
    }

    /// Puts a stream in line that was just taken from it.
    pub(crate) fn line_up(&mut self, at: u32) {
        match self[at].kind {
            StreamKind::Records => self.records.push_back(at),
            StreamKind::Opening | StreamKind::Control | StreamKind::Command => {
                self.short.push_back(at);
            }
        }
    }

    /// How many streams are in line.
    pub(crate) fn waiting(&self, queue: Queue) -> usize {
        match queue {
            Queue::Short => self.short.len(),
            Queue::Records => self.records.len(),
        }
    }

    /// Takes the first stream out of the line.
    pub(crate) fn next(&mut self, queue: Queue) -> Option<u32> {
        match queue {
            Queue::Short => self.short.pop_front(),
            Queue::Records => self.records.pop_front(),
        }
    }
}

impl Index<u32> for Streams {
    type Output = Inbound;

    fn index(&self, at: u32) -> &Inbound {
        self.places[at as usize].as_ref().expect("whoever has the place has the stream")
    }
}

impl IndexMut<u32> for Streams {
    fn index_mut(&mut self, at: u32) -> &mut Inbound {
        self.places[at as usize].as_mut().expect("whoever has the place has the stream")
    }
}

/// Multiplies and folds, keyed by a secret of the engine: a peer chooses which streams it keeps, but not where they fall.
#[derive(Debug, Clone, Copy, Default)]
struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Keyed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::{Dir, Side};

    use super::*;

    fn stream(index: u64) -> StreamId {
        StreamId::new(Side::Client, Dir::Uni, index)
    }

    #[test]
    fn streams_take_turns_and_places_are_used_again() {
        let mut streams = Streams::new(5);
        for index in 0..1000 {
            streams.insert(stream(index), StreamKind::Records);
        }
        assert_eq!((streams.len(), streams.waiting(Queue::Records)), (1000, 1000));
        for index in 0..1000 {
            let at = streams.next(Queue::Records).unwrap();
            assert_eq!(streams[at].id, stream(index), "in the order in which they opened");
            streams[at].readable = false;
        }
        assert!(streams.mark_readable(stream(700)) && streams.mark_readable(stream(7)));
        assert!(streams.mark_readable(stream(700)), "known, though in line already");
        assert!(!streams.mark_readable(stream(1000)), "nobody opened it");
        for index in [700, 7] {
            let at = streams.next(Queue::Records).unwrap();
            assert_eq!(streams.remove(at).id, stream(index));
        }
        assert_eq!(streams.next(Queue::Records), None);
        streams.insert(stream(1000), StreamKind::Command);
        streams.insert(stream(1001), StreamKind::Command);
        assert_eq!((streams.len(), streams.places.len()), (1000, 1000));
        assert_eq!((streams.waiting(Queue::Short), streams.waiting(Queue::Records)), (2, 0));
    }
}
