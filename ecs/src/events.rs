//! Events: what systems tell each other, kept for two periods.
//!
//! An event can be read from the moment it is sent until the second [`Events::swap`] after it, so a reader that looks
//! once between two swaps misses none, wherever it stands in the schedule. Each reader keeps its own place. Put the
//! events into the world as a resource, and let one system swap them.

/// Events of one type, in the order in which they were sent.
///
/// ```
/// use ecs::{EventReader, Events};
///
/// let mut alarms = Events::default();
/// let mut reader = EventReader::default();
/// alarms.send("pump 7 is hot");
/// alarms.swap();
/// alarms.send("pump 9 is hot");
/// assert_eq!(alarms.read(&mut reader).count(), 2);
/// assert_eq!(alarms.read(&mut reader).count(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Events<E> {
    older: Vec<E>,
    newer: Vec<E>,
    /// How many were dropped before the first of `older`.
    dropped: u64,
}

/// How far a reader has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventReader {
    read: u64,
}

impl<E> Default for Events<E> {
    fn default() -> Self {
        Self { older: Vec::new(), newer: Vec::new(), dropped: 0 }
    }
}

impl<E> Events<E> {
    /// Adds an event.
    pub fn send(&mut self, event: E) {
        self.newer.push(event);
    }

    /// Ends a period: events sent before the previous end are dropped. The memory stays.
    pub fn swap(&mut self) {
        self.dropped += self.older.len() as u64;
        self.older.clear();
        std::mem::swap(&mut self.older, &mut self.newer);
    }

    /// The events that `reader` has not seen; it has seen one when the iterator has given it. Those that were dropped
    /// meanwhile it never will.
    pub fn read(&self, reader: &mut EventReader) -> impl Iterator<Item = &E> {
        reader.read = reader.read.max(self.dropped);
        let seen = (reader.read - self.dropped) as usize;
        self.older.iter().chain(&self.newer).skip(seen).inspect(|_| reader.read += 1)
    }

    /// Events that can still be read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.older.len() + self.newer.len()
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_that_was_not_yielded_waits_for_the_next_look() {
        let mut events = Events::default();
        let mut reader = EventReader::default();
        (0..3).for_each(|n| events.send(n));
        events.swap();
        (3..6).for_each(|n| events.send(n));
        assert_eq!(events.read(&mut reader).find(|&&n| n == 1), Some(&1));
        assert_eq!(events.read(&mut reader).next(), Some(&2));
        drop(events.read(&mut reader));
        events.swap();
        events.send(6);
        assert!(events.read(&mut reader).eq(&[3, 4, 5, 6]));
        assert_eq!(events.read(&mut reader).next(), None);
        events.swap();
        events.swap();
        events.send(7);
        assert!(events.read(&mut reader).eq(&[7]));
    }

    #[test]
    fn late_reader_misses_what_was_dropped() {
        let mut events = Events::default();
        let mut reader = EventReader::default();
        for n in 0..5 {
            events.send(n);
            events.swap();
        }
        events.send(5);
        assert_eq!(events.read(&mut reader).next(), Some(&4));
        assert!(events.read(&mut reader).eq(&[5]));
    }
}
