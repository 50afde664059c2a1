//! A worker of the twin without its socket and its thread: engine, port of rings, and the rests between its turns.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use netloop::{
    Datagram, Engine, Naming, Now, Port, RingPort, SessionEvent, SessionLimits, Steering,
    WorkerNumber, WorkerStats,
};

use crate::crypto;

/// Datagrams that one transmit may hold.
const SEGMENTS_MAX: usize = 10;
/// A worker whose records wait for room in a ring looks again after this.
const BACKLOG_RETRY_NS: u64 = 100_000;

/// Sessions that all workers together may hold.
pub(crate) const SESSIONS_MAX: usize = 1 << 10;

/// One worker.
pub(crate) struct Worker {
    pub(crate) engine: Engine,
    pub(crate) port: RingPort,
    stats: Arc<WorkerStats>,
    rest_ns: u64,
    /// When it takes its next turn, if anything asked for one.
    pub(crate) wake_ns: Option<u64>,
    last_turn_ns: u64,
    /// Sessions that have closed since this was last emptied.
    pub(crate) closed: Vec<SessionEvent>,
    buffer: Vec<u8>,
}

impl Worker {
    /// The workers that share a port and a seed.
    pub(crate) fn share(
        ports: Vec<RingPort>,
        stats: &[Arc<WorkerStats>],
        seed: [u8; 32],
        rest_us: u64,
        now: Now,
    ) -> (Vec<Self>, Steering) {
        let count = ports.len() as u8;
        let naming = |index| Naming { seed, worker: WorkerNumber::new(index, count) };
        let sessions_max = SESSIONS_MAX / usize::from(count);
        let limits = SessionLimits { sessions_max, ..limits() };
        let tls = crypto::server();
        let made = (0..count).zip(ports).zip(stats).map(|((index, port), stats)| Self {
            engine: Engine::server(tls.clone(), limits.clone(), now, naming(index)),
            port,
            stats: Arc::clone(stats),
            rest_ns: rest_us * 1_000,
            wake_ns: None,
            last_turn_ns: 0,
            closed: Vec::new(),
            buffer: Vec::new(),
        });
        (made.collect(), Steering::new(&naming(0)))
    }

    /// Takes a datagram that has arrived.
    pub(crate) fn receive(&mut self, now: Now, now_ns: u64, remote: SocketAddr, payload: &[u8]) {
        let payload = BytesMut::from(payload);
        let recv_ns = now.unix_ns;
        let datagram = Datagram { remote, local_ip: None, ecn: None, payload, recv_ns };
        self.engine.handle_datagram(now, datagram);
        self.wake(now_ns.max(self.last_turn_ns + self.rest_ns));
    }

    /// Asks for a turn at this time, or sooner.
    pub(crate) fn wake(&mut self, at_ns: u64) {
        self.wake_ns = Some(self.wake_ns.map_or(at_ns, |before| before.min(at_ns)));
    }

    /// One turn. What it sends goes to `send`.
    pub(crate) fn turn(&mut self, now: Now, now_ns: u64, send: &mut dyn FnMut(SocketAddr, &[u8])) {
        self.wake_ns = None;
        self.last_turn_ns = now_ns;
        self.engine.poll(now, &mut self.port);
        self.engine.handle_timeouts(now, &mut self.port);
        while self.port.poll_outbound(&mut self.engine, now) {}
        while let Some(event) = self.engine.poll_event() {
            let closed = matches!(event, SessionEvent::Closed { .. }).then_some(event);
            if let Err(event) = self.port.handle_event(event) {
                self.engine.return_event(event);
                self.wake(now_ns + BACKLOG_RETRY_NS);
                break;
            }
            self.closed.extend(closed);
        }
        while let Some(transmit) = self.engine.poll_transmit(now, SEGMENTS_MAX, &mut self.buffer) {
            let segment = transmit.segment_size.unwrap_or(transmit.size);
            let datagrams = self.buffer[..transmit.size].chunks(segment);
            datagrams.for_each(|datagram| send(transmit.destination, datagram));
        }
        if self.engine.is_backlogged() {
            self.wake(now_ns + BACKLOG_RETRY_NS);
        }
        self.publish();
    }

    fn publish(&self) {
        let tiers = [&self.stats.t1, &self.stats.t2, &self.stats.t3];
        for (to, tally) in tiers.into_iter().zip(&self.engine.tally().tiers) {
            to.received.set(tally.received);
            to.rejected.set(tally.rejected);
            to.shed.set(tally.shed);
            to.decode_errors.set(tally.decode_errors);
        }
    }
}

/// Those of a twin and its devices, with timeouts that a short run can wait for.
pub(crate) fn limits() -> SessionLimits {
    SessionLimits {
        idle_timeout: std::time::Duration::from_millis(1_000),
        handshake_timeout: std::time::Duration::from_millis(3_000),
        keep_alive: Some(std::time::Duration::from_millis(300)),
        ..SessionLimits::default()
    }
}
