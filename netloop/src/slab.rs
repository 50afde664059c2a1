//! Receive buffers that are lent to quinn-proto without a copy, and come back without an allocation.
//!
//! quinn-proto wants each datagram as an owned `BytesMut`. The pool receives into a large slab, splits the datagrams
//! off, and takes the whole slab back once the last of them is gone: in steady state nothing is copied, zeroed,
//! allocated or freed, and the same few slabs stay in the cache.
//!
//! A datagram that is kept (stream data that waits for a gap to close) pins its whole slab. The slab is then set aside
//! and replaced, and counted. That is bounded: once `pinned_max` slabs are set aside, datagrams are copied out instead,
//! so that a peer who sends crumbs out of order cannot pin 64 KiB with each of them.

use std::ops::Deref;

use bytes::{Buf, BytesMut};

/// Bytes of a slab: the largest UDP payload, and the largest run of datagrams that the kernel merges.
pub const SLAB_BYTES: usize = 65_536;

/// The bytes of one or more received datagrams, on loan from a [`Pool`]; dropping them gives them back.
///
/// Outside this crate they can be read only. That is what keeps the memory of a slab initialised for ever.
#[derive(Debug)]
pub struct Payload {
    bytes: BytesMut,
    /// It is a copy, so that the slab comes back. Its parts are copies of their own: a few bytes that somebody keeps of it would
    /// keep all of it.
    copied: bool,
}

impl Payload {
    /// Splits off the first `bytes`.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    #[must_use]
    pub fn split_to(&mut self, bytes: usize) -> Self {
        if !self.copied {
            return Self { bytes: self.bytes.split_to(bytes), copied: false };
        }
        let front = BytesMut::from(&self.bytes[..bytes]);
        self.bytes.advance(bytes);
        Self { bytes: front, copied: true }
    }

    /// What quinn-proto takes. It decrypts in place and freezes; it never un-initialises what it was given.
    #[must_use]
    pub(crate) fn into_bytes_mut(self) -> BytesMut {
        self.bytes
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A fixed number of receive slots, each backed by a slab.
#[derive(Debug)]
pub struct Pool {
    slots: Vec<Slab>,
    /// Set aside: their bytes were still in use when their slot was needed.
    pinned: Vec<Slab>,
    /// Came back from being pinned; used before anything is allocated.
    spare: Vec<Slab>,
    pinned_max: usize,
    /// Where the next look at the pinned slabs begins, so that each look costs the same.
    probe: usize,
    replaced: u64,
    copied: u64,
}

impl Pool {
    /// A pool of `slots` receive slots that sets at most `pinned_max` slabs aside before it starts to copy.
    ///
    /// It owns at most `slots + pinned_max + slots` slabs of [`SLAB_BYTES`] at any time.
    ///
    /// # Panics
    ///
    /// When `slots` is zero.
    #[must_use]
    pub fn new(slots: usize, pinned_max: usize) -> Self {
        assert!(slots > 0, "receiving needs at least one slot");
        Self {
            slots: std::iter::repeat_with(Slab::new).take(slots).collect(),
            // Up to one slab for each slot may join after the limit was last looked at.
            pinned: Vec::with_capacity(pinned_max + slots),
            spare: Vec::with_capacity(pinned_max + slots),
            pinned_max,
            probe: 0,
            replaced: 0,
            copied: 0,
        }
    }

    /// Number of receive slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Slabs that were replaced because their bytes were still in use.
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Runs of datagrams that were copied because too many slabs were pinned.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// The first `count` slots (or all, if there are fewer), whole and ready to be received into.
    pub fn lend(&mut self, count: usize) -> impl ExactSizeIterator<Item = &mut [u8]> {
        let count = count.min(self.slots.len());
        for slot in 0..count {
            if !self.slots[slot].reclaim() {
                let fresh = self.unpinned();
                let pinned = std::mem::replace(&mut self.slots[slot], fresh);
                self.pinned.push(pinned);
                self.replaced += 1;
            }
        }
        self.slots[..count].iter_mut().map(Slab::bytes)
    }

    /// Takes the first `bytes` of slot `slot` out, after they were received into it.
    ///
    /// Call it once for each slot between two calls of [`Pool::lend`]; a second call finds the bytes behind the first.
    ///
    /// # Panics
    ///
    /// When the slot does not hold that many bytes.
    #[must_use]
    pub fn take(&mut self, slot: usize, bytes: usize) -> Payload {
        if self.pinned.len() >= self.pinned_max
            && let Some(slab) = self.unpin_one()
        {
            self.spare.push(slab);
        }
        if self.pinned.len() >= self.pinned_max {
            self.copied += 1;
            let bytes = BytesMut::from(&self.slots[slot].bytes()[..bytes]);
            return Payload { bytes, copied: true };
        }
        self.slots[slot].split_to(bytes)
    }

    fn unpinned(&mut self) -> Slab {
        self.spare.pop().or_else(|| self.unpin_one()).unwrap_or_else(Slab::new)
    }

    /// Looks at one pinned slab, and returns it if its bytes are no longer in use.
    fn unpin_one(&mut self) -> Option<Slab> {
        self.probe = if self.probe + 1 < self.pinned.len() { self.probe + 1 } else { 0 };
        self.pinned.get_mut(self.probe)?.reclaim().then(|| self.pinned.swap_remove(self.probe))
    }
}

/// One allocation of `SLAB_BYTES`, every byte of which is initialised from the start, and the part that is not lent.
#[derive(Debug)]
struct Slab(BytesMut);

impl Slab {
    fn new() -> Self {
        let bytes = BytesMut::zeroed(SLAB_BYTES);
        // The proof below needs it: with room behind the zeroed bytes, a reclaimed slab could reach into that room.
        assert_eq!(bytes.capacity(), SLAB_BYTES, "a zeroed buffer is allocated to measure");
        Self(bytes)
    }

    /// Makes the slab whole again if nothing of it is lent; otherwise leaves it as it is.
    fn reclaim(&mut self) -> bool {
        if self.0.len() == SLAB_BYTES {
            return true;
        }
        let free = self.0.len();
        self.0.clear();
        // An empty buffer moves to the front of its allocation without copying; this succeeds only for the last owner.
        let whole = self.0.try_reclaim(SLAB_BYTES);
        let bytes = if whole { SLAB_BYTES } else { free };
        // SAFETY: `bytes` does not exceed the capacity: `try_reclaim` has just granted `SLAB_BYTES`, and `free` was the
        // length before `clear`, which does not touch the capacity. Those bytes are initialised: the allocation was
        // zeroed whole in `new`, which asserts that it has no room behind, this type never reallocates it (it calls `clear`, `try_reclaim` and `split_to` only),
        // and a failed `try_reclaim` leaves the buffer where it was. Whoever borrowed a part of it cannot have
        // un-initialised it: outside this crate a `Payload` is read only, and quinn-proto overwrites its input in
        // place through `&mut [u8]`.
        unsafe { self.0.set_len(bytes) };
        whole
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn split_to(&mut self, bytes: usize) -> Payload {
        Payload { bytes: self.0.split_to(bytes), copied: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Receives `text` into slot 0 and takes it out; also says where the slab lies.
    fn receive(pool: &mut Pool, text: &[u8]) -> (Payload, *const u8) {
        let mut lent = pool.lend(1);
        let slab = lent.next().unwrap();
        assert_eq!(slab.len(), SLAB_BYTES, "a lent slab is whole");
        slab[..text.len()].copy_from_slice(text);
        let address = slab.as_ptr();
        drop(lent);
        (pool.take(0, text.len()), address)
    }

    #[test]
    fn returned_slab_is_received_into_again() {
        let mut pool = Pool::new(1, 4);
        let (first, address) = receive(&mut pool, b"one");
        assert_eq!(*first, *b"one");
        drop(first);
        for round in 0..1_000_u32 {
            let (payload, again) = receive(&mut pool, &round.to_le_bytes());
            assert_eq!((&*payload, again), (&round.to_le_bytes()[..], address));
        }
        assert_eq!((pool.replaced(), pool.copied()), (0, 0));
    }

    #[test]
    fn payload_shares_the_slab_without_a_copy() {
        let mut pool = Pool::new(1, 4);
        let (mut payload, address) = receive(&mut pool, b"abcdef");
        let head = payload.split_to(2);
        assert_eq!((&*head, &*payload), (&b"ab"[..], &b"cdef"[..]));
        assert_eq!((head.as_ptr(), payload.as_ptr()), (address, address.wrapping_add(2)));
    }

    #[test]
    fn slab_pinned_by_a_retained_payload_is_replaced_and_counted() {
        let mut pool = Pool::new(1, 4);
        let (payload, address) = receive(&mut pool, b"kept");
        // As quinn-proto does with stream data that waits for a gap to close.
        let kept = payload.into_bytes_mut().freeze();
        let (_, other) = receive(&mut pool, b"new!");
        assert_ne!(other, address);
        assert_eq!((pool.replaced(), &kept[..]), (1, &b"kept"[..]));
        // The slab returns once the bytes are gone: the next replacement needs no allocation.
        drop(kept);
        let (_held, held_at) = receive(&mut pool, b"held");
        assert_eq!(held_at, other);
        assert_eq!(receive(&mut pool, b"back").1, address);
        assert_eq!(pool.replaced(), 2);
    }

    #[test]
    fn too_many_pinned_slabs_turn_lending_into_copying() {
        let mut pool = Pool::new(1, 2);
        let kept: Vec<Payload> =
            (0..50_u8).map(|round| receive(&mut pool, &[round; 100]).0).collect();
        for (round, payload) in kept.iter().enumerate() {
            assert_eq!(**payload, [round as u8; 100]);
        }
        let owned = pool.slots.len() + pool.pinned.len() + pool.spare.len();
        assert!(owned <= 1 + 2 + 1, "{owned} slabs");
        assert_eq!(pool.replaced() + pool.copied(), 50, "each was paid for in one of the two ways");
        // Once the bytes are gone the pool lends again, and copies no more.
        drop(kept);
        for round in 0..10_u8 {
            assert_eq!(*receive(&mut pool, &[round; 3]).0, [round; 3]);
        }
        let copied = pool.copied();
        assert_eq!(*receive(&mut pool, b"again").0, *b"again");
        assert_eq!(pool.copied(), copied);
    }

    #[test]
    fn datagram_that_is_kept_of_a_copied_run_keeps_none_of_the_others() {
        let mut pool = Pool::new(1, 0);
        let (mut run, _) = receive(&mut pool, &[7; 44 * 1_400]);
        let whole = run.as_ptr_range();
        let kept: Vec<Payload> = (0..44).map(|_| run.split_to(1_400)).collect();
        assert!(kept.iter().all(|kept| !whole.contains(&kept.as_ptr()) && **kept == [7; 1_400]));
        assert!(run.is_empty() && pool.copied() == 1);
    }

    #[test]
    fn slab_taken_whole_comes_back() {
        let mut pool = Pool::new(1, 4);
        let (whole, address) = receive(&mut pool, &[5; SLAB_BYTES]);
        assert_eq!(*whole, [5; SLAB_BYTES]);
        drop(whole);
        assert_eq!(receive(&mut pool, b"after").1, address);
        assert_eq!(pool.replaced(), 0);
    }

    #[test]
    fn payload_outlives_its_pool() {
        let mut pool = Pool::new(2, 0);
        let (first, _) = receive(&mut pool, b"first");
        let mut other = Pool::new(2, 4);
        let (second, _) = receive(&mut other, b"second");
        drop((pool, other));
        assert_eq!((&*first, &*second), (&b"first"[..], &b"second"[..]));
    }
}
