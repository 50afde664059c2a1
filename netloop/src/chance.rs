//! What QUIC draws by chance, derived from the engine's seed: connection ids, and the keys of resets and tokens.
//!
//! quinn-proto seeds its own generator, but takes these from the system unless it is told. With them an engine is a
//! function of its inputs: the same seed and the same datagrams give the same bytes. Whoever knows the seed can forge
//! resets and tokens, so a twin takes it from the system and shows it to nobody. The randomness of TLS is not here: it
//! belongs to the provider of the crypto configuration.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quinn_proto::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, InvalidCid, ServerConfig,
    TimeSource,
};
use ring::{hkdf, hmac};

/// Bytes of a connection id: four that are drawn, and four that only this engine can derive from them.
const ID_BYTES: usize = 8;
const DRAWN_BYTES: usize = 4;

/// Everything that is derived from one seed.
pub(crate) struct Chance {
    key: hkdf::Prk,
}

impl Chance {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self { key: hkdf::Salt::new(hkdf::HKDF_SHA256, b"pollux engine").extract(seed) }
    }

    /// What both roles need: the key of resets, and connection ids.
    pub(crate) fn endpoint(&self, seed: [u8; 32]) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(self.hmac(b"reset")));
        let (drawn, check) = (Arc::new(Drawn::new(self.hmac(b"id"))), self.word(b"id check"));
        config.cid_generator(move || Box::new(Ids { drawn: Arc::clone(&drawn), check }));
        config.rng_seed(Some(seed));
        config
    }

    /// The key and the clock of tokens.
    pub(crate) fn server(&self, config: &mut ServerConfig, wall: &WallTime) {
        let info: &[&[u8]] = &[b"token"];
        let okm = self.key.expand(info, hkdf::HKDF_SHA256).expect(SHORT);
        config.token_key(Arc::new(hkdf::Prk::from(okm)));
        config.time_source(Arc::new(wall.clone()));
    }

    /// The ids that a client gives to servers which it does not know yet.
    pub(crate) fn client(&self, config: &mut ClientConfig) {
        let drawn = Drawn::new(self.hmac(b"first id"));
        config.initial_dst_cid_provider(Arc::new(move || {
            ConnectionId::new(&drawn.next()[..ID_BYTES])
        }));
    }

    fn hmac(&self, purpose: &[u8]) -> hmac::Key {
        let info = [purpose];
        hmac::Key::from(self.key.expand(&info, hmac::HMAC_SHA256).expect(SHORT))
    }

    fn word(&self, purpose: &[u8]) -> u64 {
        let tag = hmac::sign(&self.hmac(purpose), b"word");
        u64::from_le_bytes(*tag.as_ref().first_chunk().expect("8 of 32 bytes"))
    }
}

const SHORT: &str = "HKDF gives it because one block was asked for";

/// A sequence of blocks that nobody can guess without the key.
struct Drawn {
    key: hmac::Key,
    count: AtomicU64,
}

impl Drawn {
    fn new(key: hmac::Key) -> Self {
        Self { key, count: AtomicU64::new(0) }
    }

    fn next(&self) -> [u8; 32] {
        // Relaxed: the numbers have to differ, and order no other memory.
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let tag = hmac::sign(&self.key, &count.to_le_bytes());
        *tag.as_ref().first_chunk().expect("a tag of SHA-256 has 32 bytes")
    }
}

/// Connection ids that the engine recognises without a table, so that a stray datagram gets no reset.
struct Ids {
    drawn: Arc<Drawn>,
    check: u64,
}

impl Ids {
    /// Not a proof: a peer that finds the word gains no more than an answer to garbage.
    fn check(&self, drawn: [u8; DRAWN_BYTES]) -> [u8; ID_BYTES - DRAWN_BYTES] {
        let product = (u128::from(u32::from_le_bytes(drawn)) ^ u128::from(self.check))
            * u128::from(self.check | 1);
        ((product >> 48) as u32).to_le_bytes()
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        let drawn = *self.drawn.next().first_chunk().expect("4 of 32 bytes");
        id[..DRAWN_BYTES].copy_from_slice(&drawn);
        id[DRAWN_BYTES..].copy_from_slice(&self.check(drawn));
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match (id.first_chunk(), id.get(DRAWN_BYTES..)) {
            (Some(drawn), Some(check)) if *check == self.check(*drawn) => Ok(()),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Wall time as the engine was last told it.
#[derive(Debug, Clone, Default)]
pub(crate) struct WallTime(Arc<AtomicU64>);

impl WallTime {
    pub(crate) fn set(&self, unix_ns: u64) {
        // Relaxed: the thread that drives the engine writes and reads it.
        self.0.store(unix_ns, Ordering::Relaxed);
    }
}

impl TimeSource for WallTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(seed: u8) -> Ids {
        let chance = Chance::new(&[seed; 32]);
        Ids { drawn: Arc::new(Drawn::new(chance.hmac(b"id"))), check: chance.word(b"id check") }
    }

    #[test]
    fn ids_repeat_with_the_seed_and_with_nothing_else() {
        let (mut one, mut same, mut other) = (ids(1), ids(1), ids(2));
        let drawn: Vec<_> = (0..100).map(|_| one.generate_cid()).collect();
        assert_eq!(drawn, (0..100).map(|_| same.generate_cid()).collect::<Vec<_>>());
        let different: std::collections::BTreeSet<_> =
            drawn.iter().map(|id| id.to_vec()).chain([other.generate_cid().to_vec()]).collect();
        assert_eq!(different.len(), 101);
    }

    #[test]
    fn an_engine_knows_its_ids_and_no_others() {
        let (mut one, other) = (ids(1), ids(2));
        for _ in 0..100 {
            let id = one.generate_cid();
            assert!(one.validate(&id).is_ok());
            assert!(other.validate(&id).is_err());
            let mut turned = id.to_vec();
            turned[0] ^= 1;
            assert!(one.validate(&ConnectionId::new(&turned)).is_err());
        }
        assert!(one.validate(&ConnectionId::new(&[])).is_err());
    }

    #[test]
    fn tokens_are_dated_by_the_time_that_the_engine_was_told() {
        let wall = WallTime::default();
        wall.set(1_700_000_000_000_000_000);
        assert_eq!(wall.now(), UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    }
}
