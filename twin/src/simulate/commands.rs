//! Commands that the fleet opened and that wait for their ack: tag to times. Bounded.

use netloop::Slot;

/// When a command was due and when it left, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) due_ns: u64,
    pub(super) sent_ns: u64,
    /// The carrier whose session it went out on.
    pub(super) carrier: u32,
}

/// Places for commands without an ack yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    places: Vec<Option<Sent>>,
    free: Vec<u32>,
}

/// So many commands may wait for their acks together; further ones are not opened before.
const WAITING_MAX: usize = 1 << 16;

impl Waiting {
    /// A tag that nobody uses, if there is one. It is taken only by [`Waiting::insert`].
    pub(super) fn next_tag(&self) -> Option<u32> {
        let fresh = u32::try_from(self.places.len()).ok();
        self.free.last().copied().or_else(|| fresh.filter(|_| self.places.len() < WAITING_MAX))
    }

    /// Keeps the times of the command that was opened with the tag that [`Waiting::next_tag`] gave.
    pub(super) fn insert(&mut self, tag: u32, sent: Sent) {
        if self.free.last() == Some(&tag) {
            self.free.pop();
            self.places[tag as usize] = Some(sent);
        } else {
            debug_assert_eq!(tag as usize, self.places.len());
            self.places.push(Some(sent));
        }
    }

    /// True when no command waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Forgets all commands that wait, and says how many.
    pub(super) fn clear(&mut self) -> u64 {
        let waiting = self.places.len() - self.free.len();
        self.places.clear();
        self.free.clear();
        waiting as u64
    }

    /// The command that `end` ends, once.
    pub(super) fn remove(&mut self, end: &Slot) -> Option<Sent> {
        let sent = self.places.get_mut(end.hint as usize)?.take()?;
        self.free.push(end.hint);
        Some(sent)
    }
}

#[cfg(test)]
mod tests {
    use wire::RECORD_BYTES;

    use super::*;

    fn end(tag: u32) -> Slot {
        Slot { hint: tag, ..Slot::new([0; RECORD_BYTES]) }
    }

    #[test]
    fn each_command_ends_once_and_its_place_is_used_again() {
        let mut waiting = Waiting::default();
        let sent = |sent_ns| Sent { due_ns: 1, sent_ns, carrier: 0 };
        for at in 0..3 {
            let tag = waiting.next_tag().unwrap();
            waiting.insert(tag, sent(at));
        }
        assert_eq!(waiting.remove(&end(1)), Some(sent(1)));
        assert_eq!(waiting.remove(&end(1)), None);
        let tag = waiting.next_tag().unwrap();
        assert_eq!(tag, 1);
        waiting.insert(tag, sent(7));
        assert_eq!(waiting.remove(&end(1)), Some(sent(7)));
        assert_eq!(waiting.remove(&end(9)), None);
        assert!(!waiting.is_empty());
        assert!([0, 2].into_iter().all(|tag| waiting.remove(&end(tag)).is_some()));
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_full_table_gives_no_tag() {
        let mut waiting = Waiting::default();
        while let Some(tag) = waiting.next_tag() {
            waiting.insert(tag, Sent { due_ns: 0, sent_ns: 0, carrier: 0 });
        }
        assert_eq!(waiting.places.len(), WAITING_MAX);
        waiting.remove(&end(5));
        assert_eq!(waiting.next_tag(), Some(5));
    }
}
