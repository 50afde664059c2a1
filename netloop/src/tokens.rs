//! The key and the clock of the tokens that prove an address: functions of the engine's seed and of the time that it was told.
//!
//! Workers that share a port share the key, so each accepts what another gave out. Whoever knows the seed can forge tokens,
//! so a twin takes it from the system and shows it to nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quinn_proto::{TimeSource, crypto::HandshakeTokenKey};
use ring::hkdf;

/// The key that the seed gives.
pub(crate) fn token_key(seed: &[u8; 32]) -> Arc<dyn HandshakeTokenKey> {
    Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, b"pollux tokens").extract(seed))
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

    #[test]
    fn tokens_are_dated_by_the_time_that_the_engine_was_told() {
        let wall = WallTime::default();
        wall.set(1_700_000_000_000_000_000);
        assert_eq!(wall.now(), UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    }
}
