//! Datagrams that came in at the socket of one worker and belong to a session of another.
//!
//! That happens when a device changes its address: the kernel spreads flows by address, the session stays where it is. Each
//! worker has a bounded inbox; one that is full discards, which looks to QUIC like a loss on the path, and is counted.

use std::sync::Arc;

use bytes::BytesMut;
use crossbeam_queue::ArrayQueue;

use crate::{Datagram, Naming, Steering, Waker, WorkerNumber};

/// Datagrams that wait in one inbox.
const INBOX_DATAGRAMS: usize = 1024;

/// The way of a worker to the others that share its port.
pub struct Handover {
    steering: Steering,
    worker: WorkerNumber,
    inboxes: Arc<[Inbox]>,
}

struct Inbox {
    datagrams: ArrayQueue<Datagram>,
    waker: Waker,
}

/// What became of a datagram that was offered for handing over.
pub(crate) enum Steered {
    /// It is for this worker.
    Own(Datagram),
    /// Another worker has it now.
    Passed,
    /// The inbox of its worker is full.
    Lost,
}

impl Handover {
    /// The ways of all workers that share `seed`, one for each of `wakers`, which are theirs in order.
    ///
    /// # Panics
    /// There are more than 255.
    #[must_use]
    pub fn between(seed: [u8; 32], wakers: &[Waker]) -> Vec<Self> {
        let count = u8::try_from(wakers.len()).expect("a host has fewer cores for workers");
        let inbox = |waker: &Waker| Inbox {
            datagrams: ArrayQueue::new(INBOX_DATAGRAMS),
            waker: waker.clone(),
        };
        let inboxes: Arc<[Inbox]> = wakers.iter().map(inbox).collect();
        let way = |index| {
            let worker = WorkerNumber::new(index, count);
            let steering = Steering::new(&Naming { seed, worker });
            Self { steering, worker, inboxes: Arc::clone(&inboxes) }
        };
        (0..count).map(way).collect()
    }

    /// Passes the datagram on if it is another worker's.
    #[inline]
    pub(crate) fn steer(&self, datagram: Datagram) -> Steered {
        match self.steering.owner(&datagram.payload) {
            // An id that nobody gave out is judged, and counted, by the worker that it came to.
            Some(owner) if owner != self.worker.index() && owner < self.inboxes.len() => {
                self.pass(owner, &datagram)
            }
            _ => Steered::Own(datagram),
        }
    }

    #[cold]
    fn pass(&self, owner: usize, datagram: &Datagram) -> Steered {
        let inbox = &self.inboxes[owner];
        // A copy, so that the slab of this worker's pool comes back without the other.
        let payload = BytesMut::from(&datagram.payload[..]);
        if inbox.datagrams.push(Datagram { payload, ..*datagram }).is_err() {
            return Steered::Lost;
        }
        inbox.waker.wake();
        Steered::Passed
    }

    /// The next datagram that another worker passed on to this one.
    pub(crate) fn pop(&self) -> Option<Datagram> {
        self.inboxes[self.worker.index()].datagrams.pop()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quinn_proto::ConnectionIdGenerator;

    use super::*;
    use crate::{Idle, IdleStrategy, Pause, wake_line};

    fn datagram(id: &[u8]) -> Datagram {
        Datagram {
            remote: ([127, 0, 0, 1], 5).into(),
            local_ip: None,
            ecn: None,
            payload: BytesMut::from(&[&[0x40], id, &[7; 20]].concat()[..]),
            recv_ns: 11,
        }
    }

    #[test]
    fn datagram_of_another_worker_reaches_and_wakes_it() {
        let seed = [3; 32];
        let (first, _) = wake_line().unwrap();
        let (second, sleeper) = wake_line().unwrap();
        let ways = Handover::between(seed, &[first, second]);
        let naming = Naming { seed, worker: WorkerNumber::new(1, 2) };
        let id = naming.generator().generate_cid();
        assert!(matches!(ways[1].steer(datagram(&id)), Steered::Own(_)));
        assert!(matches!(ways[0].steer(datagram(&id)), Steered::Passed));
        let passed = ways[1].pop().unwrap();
        assert_eq!((&passed.payload[1..9], passed.recv_ns), (&id[..], 11));
        assert!(ways[0].pop().is_none() && ways[1].pop().is_none());
        let now = crate::Clock::new().now().instant;
        let mut idle = Idle::new(IdleStrategy::Wait);
        let pause = idle.idle(None, Some(&sleeper), Some(now + Duration::from_secs(9)), now);
        assert_eq!(pause, Pause::Woken);
    }

    #[test]
    fn full_inbox_loses_and_says_so() {
        let seed = [3; 32];
        let wakers = [wake_line().unwrap().0, wake_line().unwrap().0];
        let ways = Handover::between(seed, &wakers);
        let id = Naming { seed, worker: WorkerNumber::new(1, 2) }.generator().generate_cid();
        for _ in 0..INBOX_DATAGRAMS {
            assert!(matches!(ways[0].steer(datagram(&id)), Steered::Passed));
        }
        assert!(matches!(ways[0].steer(datagram(&id)), Steered::Lost));
    }
}
