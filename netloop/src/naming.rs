//! Connection ids that tell which worker they belong to, so that a datagram finds its session whatever socket it came in at.
//!
//! Workers share a port, and the kernel spreads flows over their sockets by address. A device that changes its address keeps
//! its connection id, which leads its datagrams back to the worker that knows it. Nobody without the secret can tell
//! workers or sessions by their ids. The same seed gives the same ids in the same order.

use std::sync::{Arc, Mutex, PoisonError};

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use rand::{Rng, SeedableRng, rngs::StdRng};
use ring::hmac;

/// Length of the ids that an engine gives out, in bytes.
pub(crate) const ID_BYTES: usize = 8;
/// Length of the id that a client makes up for a server: the longest, because it makes the keys of the first packets.
const FIRST_ID_BYTES: usize = 20;

/// One worker among those that share a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerNumber {
    index: u8,
    count: u8,
}

impl WorkerNumber {
    /// A worker alone.
    pub const ONLY: Self = Self { index: 0, count: 1 };

    /// Worker `index` of `count`.
    ///
    /// # Panics
    /// `index` is not below `count`.
    #[must_use]
    pub const fn new(index: u8, count: u8) -> Self {
        assert!(index < count, "workers are numbered from 0");
        Self { index, count }
    }

    /// Which of them.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> usize {
        self.count as usize
    }

    /// The place in the table of all workers' sessions of the one at `place` in this worker's own.
    pub(crate) const fn shared_place(self, place: usize) -> usize {
        place * self.count as usize + self.index as usize
    }

    /// The place in this worker's own table; of a session of another worker, a place that is not its.
    pub(crate) const fn own_place(self, shared: usize) -> usize {
        shared / self.count as usize
    }
}

/// What makes the ids of an engine: the secret that all workers of a port share, and which of them it is.
#[derive(Debug, Clone, Copy)]
pub struct Naming {
    /// From a random source, the same for all workers of a port; a fixed one makes a run repeatable.
    pub seed: [u8; 32],
    /// The worker that drives the engine.
    pub worker: WorkerNumber,
}

/// What a secret of an engine is for. Each purpose has its own: what QUIC draws for itself goes out to strangers in part, as the
/// padding of its resets, and must tell nobody which ids come next.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// What quinn-proto draws itself.
    Endpoint,
    /// The ids that an engine gives out.
    Ids,
    /// The ids by which a client calls.
    FirstIds,
    /// Which worker an id belongs to.
    Steering,
    /// The tokens of stateless resets.
    Resets,
    /// The tokens that prove an address.
    Tokens,
    /// Where keys fall in tables that peers fill.
    Tables,
}

impl From<[u8; 32]> for Naming {
    fn from(seed: [u8; 32]) -> Self {
        Self { seed, worker: WorkerNumber::ONLY }
    }
}

impl Naming {
    /// The secret of one purpose that all workers of the port share.
    pub(crate) fn shared_secret(&self, purpose: Purpose) -> [u8; 32] {
        self.derive(&[purpose as u8])
    }

    /// The secret of one purpose that this worker has alone.
    pub(crate) fn own_secret(&self, purpose: Purpose) -> [u8; 32] {
        self.derive(&[purpose as u8, self.worker.index])
    }

    /// A one-way function of the seed: whoever learns what it gives for one label learns nothing of the others.
    fn derive(&self, label: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.seed);
        *hmac::sign(&key, label).as_ref().first_chunk().expect("32 of 32 bytes")
    }

    /// The ids by which a client calls servers that have not named themselves yet (RFC 9000, section 7.2).
    pub(crate) fn first_ids(&self) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
        let random = Mutex::new(StdRng::from_seed(self.own_secret(Purpose::FirstIds)));
        Arc::new(move || {
            let mut id = [0; FIRST_ID_BYTES];
            random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut id);
            ConnectionId::new(&id)
        })
    }

    pub(crate) fn generator(&self) -> IdGenerator {
        let steering = Steering::new(self);
        IdGenerator {
            steering,
            worker: self.worker.index,
            random: StdRng::from_seed(self.own_secret(Purpose::Ids)),
        }
    }
}

/// Tells from a datagram which worker it is for.
#[derive(Debug, Clone, Copy)]
pub struct Steering {
    secret: u64,
    count: u8,
}

impl Steering {
    /// The steering of the workers that share the seed.
    #[must_use]
    pub fn new(naming: &Naming) -> Self {
        let secret = naming.shared_secret(Purpose::Steering);
        let secret = u64::from_le_bytes(*secret.first_chunk().expect("8 of 32 bytes"));
        Self { secret, count: naming.worker.count }
    }

    /// The worker that gave out the connection id in a short header (RFC 9000, section 17.3). None for a long header: a
    /// handshake is served where it arrives, since its peer keeps its address.
    #[must_use]
    pub fn owner(&self, payload: &[u8]) -> Option<usize> {
        let (&first, rest) = payload.split_first()?;
        let id: &[u8; ID_BYTES] = rest.first_chunk()?;
        (first & 0x80 == 0).then(|| usize::from(self.worker_of(id)))
    }

    fn worker_of(&self, id: &[u8; ID_BYTES]) -> u8 {
        id[0] ^ self.mask(id)
    }

    fn mask(&self, id: &[u8; ID_BYTES]) -> u8 {
        let mut rest = *id;
        rest[0] = 0;
        (mix(u64::from_le_bytes(rest) ^ self.secret) >> 56) as u8
    }
}

/// Gives out the ids of one worker.
pub(crate) struct IdGenerator {
    steering: Steering,
    worker: u8,
    random: StdRng,
}

impl ConnectionIdGenerator for IdGenerator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        self.random.fill_bytes(&mut id);
        id[0] = self.worker ^ self.steering.mask(&id);
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let id = id.first_chunk().ok_or(InvalidCid)?;
        if self.steering.worker_of(id) < self.steering.count { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// The finaliser of SplitMix64: a bijection in which each bit depends on all bits.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn naming(index: u8, count: u8) -> Naming {
        let seed = std::array::from_fn(|at| at as u8 * 7 + 1);
        Naming { seed, worker: WorkerNumber::new(index, count) }
    }

    fn short_packet(id: &[u8]) -> Vec<u8> {
        [&[0x40], id, &[1; 30]].concat()
    }

    #[test]
    fn any_worker_finds_the_owner_of_an_id() {
        for owner in 0..3 {
            let mut ids = naming(owner, 3).generator();
            for finder in 0..3 {
                let steering = Steering::new(&naming(finder, 3));
                let id = ids.generate_cid();
                assert_eq!(steering.owner(&short_packet(&id)), Some(usize::from(owner)));
                assert!(naming(finder, 3).generator().validate(&id).is_ok());
            }
        }
    }

    #[test]
    fn same_seed_gives_the_same_ids_and_workers_give_different_ones() {
        let ids = |index| {
            let mut ids = naming(index, 2).generator();
            (0..50).map(|_| ids.generate_cid()).collect::<Vec<_>>()
        };
        assert_eq!(ids(0), ids(0));
        assert!(ids(0).iter().all(|id| !ids(1).contains(id)));
    }

    #[test]
    fn every_purpose_and_every_worker_has_a_secret_of_its_own() {
        use Purpose::{Endpoint, FirstIds, Ids, Resets, Steering, Tables, Tokens};
        let purposes = [Endpoint, Ids, FirstIds, Steering, Resets, Tokens, Tables];
        let [one, other] = [naming(0, 2), naming(1, 2)];
        let mut secrets = BTreeSet::from([one.seed]);
        for purpose in purposes {
            assert_eq!(one.shared_secret(purpose), other.shared_secret(purpose), "{purpose:?}");
            secrets.insert(one.shared_secret(purpose));
            secrets.insert(one.own_secret(purpose));
            secrets.insert(other.own_secret(purpose));
        }
        assert_eq!(secrets.len(), 1 + 3 * purposes.len());
    }

    #[test]
    fn first_ids_repeat_with_the_seed_and_differ_from_one_another() {
        let (one, same) = (naming(0, 1).first_ids(), naming(0, 1).first_ids());
        let drawn: Vec<_> = (0..50).map(|_| one()).collect();
        assert_eq!(drawn, (0..50).map(|_| same()).collect::<Vec<_>>());
        assert_eq!(drawn.iter().map(|id| id.to_vec()).collect::<BTreeSet<_>>().len(), 50);
    }

    #[test]
    fn foreign_ids_are_mostly_known_as_such_and_handshakes_stay() {
        let generator = naming(0, 2).generator();
        let mut foreign = StdRng::from_seed([9; 32]);
        let passed = (0..10_000).filter(|_| {
            let mut id = [0; ID_BYTES];
            foreign.fill_bytes(&mut id);
            generator.validate(&ConnectionId::new(&id)).is_ok()
        });
        assert!(passed.count() < 150, "two of 256 pass by chance");
        let steering = Steering::new(&naming(0, 2));
        assert_eq!(steering.owner(&[0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8]), None);
        assert_eq!(steering.owner(&[0x40, 1, 2]), None);
    }

    #[test]
    fn places_of_workers_interleave() {
        let workers = [WorkerNumber::new(0, 3), WorkerNumber::new(2, 3)];
        assert_eq!(workers.map(|worker| worker.shared_place(5)), [15, 17]);
        assert_eq!(workers.map(|worker| worker.own_place(worker.shared_place(5))), [5, 5]);
    }
}
