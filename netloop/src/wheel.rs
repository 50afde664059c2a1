//! A hierarchical timing wheel: one deadline for each session, kept lazily.
//!
//! Looking at a wheel with nothing due is one comparison, however many keys wait in it. A key waits at most once, so
//! memory is bounded by the largest key, and once a key has been armed, arming it again allocates nothing. A key is
//! never called before the deadline it waits for, and at most one slot after it (given that the wheel is polled).
//! Deadlines that move later are not followed: whoever is called re-reads its true deadline and arms again. Keys that
//! fall into the same slot are called in no particular order.

use std::time::{Duration, Instant};

/// Slots of a level; one bit each in a word.
const SLOTS_LOG2: u32 = 6;
const SLOTS: usize = 1 << SLOTS_LOG2;
/// Eleven levels of six bits cover every 64-bit tick: the wheel has no horizon.
const LEVELS: usize = 11;
/// The end of a list, and the list of a key that does not wait.
const NONE: u32 = u32::MAX;

/// Deadlines by key. Keys are small integers: the wheel holds 24 bytes for each up to the largest.
#[derive(Debug)]
pub struct Wheel {
    start: Instant,
    slot_ns: u64,
    /// Slots before this one have been called. Every waiting key lies after it.
    elapsed: u64,
    /// No waiting key is due before this instant.
    next: Option<Instant>,
    /// Bit `l` is set while level `l` holds a key.
    levels: u16,
    occupied: [u64; LEVELS],
    heads: Box<[u32; LEVELS * SLOTS]>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    due: u64,
    prev: u32,
    next: u32,
    /// Level and slot as one index into the heads, or `NONE`.
    list: u32,
}

impl Wheel {
    /// A wheel that counts slots of `slot_ns` nanoseconds from `start`.
    ///
    /// # Panics
    ///
    /// When `slot_ns` is zero.
    #[must_use]
    pub fn new(start: Instant, slot_ns: u64) -> Self {
        assert!(slot_ns > 0, "a slot lasts at least a nanosecond");
        Self {
            start,
            slot_ns,
            elapsed: 0,
            next: None,
            levels: 0,
            occupied: [0; LEVELS],
            heads: Box::new([NONE; LEVELS * SLOTS]),
            nodes: Vec::new(),
        }
    }

    /// Makes room for the keys `0..keys`, so that arming them allocates nothing.
    pub fn reserve(&mut self, keys: u32) {
        self.nodes.reserve((keys as usize).saturating_sub(self.nodes.len()));
    }

    /// Has `key` called at `deadline`, unless it already waits for an earlier or equal one.
    ///
    /// A deadline that has passed is called by the next poll, or by the next one in a later slot.
    #[inline]
    pub fn arm(&mut self, key: u32, deadline: Instant) {
        let due = self.slot_from(deadline).max(self.elapsed + 1);
        if let Some(node) = self.nodes.get(key as usize)
            && node.list != NONE
        {
            if node.due <= due {
                return;
            }
            self.unlink(key);
        }
        self.grow(key);
        self.nodes[key as usize].due = due;
        let slot_start = self.link(key);
        if self.next.is_none_or(|next| deadline < next) {
            self.next = Some(self.instant_of(slot_start));
        }
    }

    /// Forgets `key`; nothing happens when it does not wait.
    pub fn disarm(&mut self, key: u32) {
        if self.nodes.get(key as usize).is_some_and(|node| node.list != NONE) {
            self.unlink(key);
            self.next = self.next_occupied().map(|(_, slot_start)| self.instant_of(slot_start));
        }
    }

    /// Calls every key whose slot has passed at `now`, and forgets it. Returns how many were called.
    ///
    /// `now` earlier than at the last call finds nothing due.
    #[inline]
    pub fn poll(&mut self, now: Instant, expired: &mut impl FnMut(u32)) -> usize {
        match self.next {
            Some(next) if next <= now => self.advance(now, expired),
            _ => 0,
        }
    }

    /// When [`Wheel::poll`] has something to do next: never later than the earliest deadline's slot, and earlier only
    /// when far deadlines must be sorted more finely first.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    fn advance(&mut self, now: Instant, expired: &mut impl FnMut(u32)) -> usize {
        let passed = self.nanos_from_start(now) / self.slot_ns;
        let mut called = 0;
        self.next = loop {
            let Some((list, slot_start)) = self.next_occupied() else { break None };
            if slot_start > passed {
                break Some(self.instant_of(slot_start));
            }
            self.elapsed = slot_start;
            called += self.empty(list, expired);
        };
        self.elapsed = self.elapsed.max(passed);
        called
    }

    /// Takes every key out of `list`: those that are due are called, the others move to a finer level.
    fn empty(&mut self, list: usize, expired: &mut impl FnMut(u32)) -> usize {
        let mut called = 0;
        let mut key = std::mem::replace(&mut self.heads[list], NONE);
        self.vacate(list);
        while key != NONE {
            let node = &mut self.nodes[key as usize];
            let next = node.next;
            node.list = NONE;
            if node.due <= self.elapsed {
                expired(key);
                called += 1;
            } else {
                self.link(key);
            }
            key = next;
        }
        called
    }

    /// The occupied list that comes first, and its first slot in time.
    ///
    /// A finer level lies wholly before the next slot of a coarser one, because a key sits at the level of the highest
    /// digit in which it differs from `elapsed`; for the same reason no occupied slot lies behind.
    fn next_occupied(&self) -> Option<(usize, u64)> {
        let level = self.levels.trailing_zeros();
        if level as usize >= LEVELS {
            return None;
        }
        let slot = self.occupied[level as usize].trailing_zeros();
        let shift = level * SLOTS_LOG2;
        let above = self.elapsed.checked_shr(shift + SLOTS_LOG2).unwrap_or(0);
        let slot_start = ((above << SLOTS_LOG2) | u64::from(slot)) << shift;
        Some((level as usize * SLOTS + slot as usize, slot_start))
    }

    /// Puts `key` at the head of its list, and returns the list's first slot in time.
    fn link(&mut self, key: u32) -> u64 {
        let due = self.nodes[key as usize].due;
        let level = (63 - (self.elapsed ^ due).leading_zeros()) / SLOTS_LOG2;
        let shift = level * SLOTS_LOG2;
        let slot = (due >> shift) as usize & (SLOTS - 1);
        let list = level as usize * SLOTS + slot;
        let head = std::mem::replace(&mut self.heads[list], key);
        if let Some(second) = self.nodes.get_mut(head as usize) {
            second.prev = key;
        }
        let node = &mut self.nodes[key as usize];
        (node.prev, node.next, node.list) = (NONE, head, list as u32);
        self.occupied[level as usize] |= 1 << slot;
        self.levels |= 1 << level;
        (due >> shift) << shift
    }

    fn unlink(&mut self, key: u32) {
        let Node { prev, next, list, .. } = self.nodes[key as usize];
        self.nodes[key as usize].list = NONE;
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.prev = prev;
        }
        if let Some(prev) = self.nodes.get_mut(prev as usize) {
            prev.next = next;
            return;
        }
        self.heads[list as usize] = next;
        if next == NONE {
            self.vacate(list as usize);
        }
    }

    fn vacate(&mut self, list: usize) {
        let (level, slot) = (list / SLOTS, list % SLOTS);
        self.occupied[level] &= !(1 << slot);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    fn grow(&mut self, key: u32) {
        assert!(key != NONE, "the largest u32 marks the end of a list");
        if key as usize >= self.nodes.len() {
            let absent = Node { due: 0, prev: NONE, next: NONE, list: NONE };
            self.nodes.resize(key as usize + 1, absent);
        }
    }

    /// The first slot that begins at or after `deadline`, so that no key is called early.
    fn slot_from(&self, deadline: Instant) -> u64 {
        self.nanos_from_start(deadline).div_ceil(self.slot_ns)
    }

    fn nanos_from_start(&self, instant: Instant) -> u64 {
        let passed = instant.saturating_duration_since(self.start);
        passed.as_secs() * 1_000_000_000 + u64::from(passed.subsec_nanos())
    }

    fn instant_of(&self, slot: u64) -> Instant {
        self.start + Duration::from_nanos(slot.saturating_mul(self.slot_ns))
    }
}
