//! Sources that begin handshakes and never go on with them, each from an address of its own.
//!
//! Their first packets are real ones, of a client that is thrown away; what the twin answers leads nowhere.

use std::net::SocketAddr;
use std::sync::Arc;

use netloop::{Engine, Now};
use quinn_proto::crypto::rustls::QuicClientConfig;

use crate::chance::Chance;
use crate::crypto;
use crate::network::TWIN;
use crate::scenario::{Fault, Kind};
use crate::worker;

/// Handshakes of one client before another one takes its place.
const OF_ONE_CLIENT: u64 = 256;

/// One flood.
pub(crate) struct Flood {
    tls: Arc<QuicClientConfig>,
    chance: Chance,
    engine: Engine,
    period_ns: u64,
    until_ns: u64,
    /// When the next handshake begins.
    pub(crate) next_ns: u64,
    begun: u64,
    buffer: Vec<u8>,
}

impl Flood {
    /// The flood of a fault, if it is one.
    pub(crate) fn of(fault: &Fault, seed: u64, now: Now) -> Option<Self> {
        let Kind::Flood(per_s) = fault.kind else { return None };
        let (tls, mut chance) = (crypto::client(), Chance::new(seed, 0xf100d ^ fault.number << 24));
        let engine = client(&tls, &mut chance, now);
        Some(Self {
            tls,
            chance,
            engine,
            period_ns: 1_000_000_000 / per_s,
            until_ns: fault.until_us * 1_000,
            next_ns: fault.from_us * 1_000,
            begun: 0,
            buffer: Vec::new(),
        })
    }

    /// Begins the handshakes that are due.
    pub(crate) fn turn(&mut self, now: Now, now_ns: u64, send: &mut dyn FnMut(SocketAddr, &[u8])) {
        while self.next_ns <= now_ns {
            self.next_ns += self.period_ns;
            if self.next_ns >= self.until_ns {
                self.next_ns = u64::MAX;
            }
            if self.begun.is_multiple_of(OF_ONE_CLIENT) {
                self.engine = client(&self.tls, &mut self.chance, now);
            }
            self.begun += 1;
            let [.., a, b, c] = self.begun.to_be_bytes();
            let from = SocketAddr::from(([172, a, b, c], 40_000));
            self.engine
                .connect(now, TWIN, crypto::SERVER_NAME)
                .expect("a client takes so many handshakes because its limit is higher");
            while let Some(transmit) = self.engine.poll_transmit(now, 1, &mut self.buffer) {
                send(from, &self.buffer[..transmit.size]);
            }
        }
    }
}

fn client(tls: &Arc<QuicClientConfig>, chance: &mut Chance, now: Now) -> Engine {
    Engine::client(tls.clone(), None, worker::limits(), now, chance.bytes())
}
