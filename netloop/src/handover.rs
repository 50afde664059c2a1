//! Workers that share a port help each other: datagrams that came in at the wrong socket, and sockets whose worker stands
//! still.
//!
//! A device that changes its address falls to another socket, since the kernel spreads flows by address, while its session
//! stays where it is. Each worker has a bounded inbox for that; one that is full discards, which looks to QUIC like a loss
//! on the path, and is counted. A worker that was declared [`Posts::desert`] is stood in for by the next: it reads the
//! socket, accepts new sessions, and answers datagrams of the lost ones with a stateless reset (RFC 9000, section 10.3), so
//! that their devices connect again at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use crossbeam_queue::ArrayQueue;

use crate::{Datagram, Naming, Socket, SocketCounts, Steering, Waker, WorkerNumber};

/// Datagrams that wait in one inbox.
const INBOX_DATAGRAMS: usize = 1024;
/// Workers of one port: a bit of a word each.
const WORKERS_MAX: usize = 64;

/// What one worker needs to help the others that share its port, and to be helped.
pub struct Handover {
    ways: Ways,
    /// Second handles of all sockets of the port, in order.
    sockets: Vec<Socket>,
}

/// The ways of a worker to the others.
pub(crate) struct Ways {
    steering: Steering,
    worker: WorkerNumber,
    posts: Posts,
}

/// The workers of one port, seen from outside: who is at work, and who is not.
#[derive(Clone)]
pub struct Posts(Arc<Shared>);

struct Shared {
    /// A bit for each worker that stands still.
    deserted: AtomicU64,
    inboxes: Vec<Inbox>,
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

impl Posts {
    /// Lets the next worker stand in for this one. Its sessions end: their devices are told to connect again.
    pub fn desert(&self, worker: usize) {
        // Relaxed: the mask alone is read, and nothing is published through it.
        self.0.deserted.fetch_or(1 << worker, Ordering::Relaxed);
        for inbox in &self.0.inboxes {
            inbox.waker.wake();
        }
    }

    /// Lets the worker serve its socket alone again.
    pub fn resume(&self, worker: usize) {
        self.0.deserted.fetch_and(!(1 << worker), Ordering::Relaxed);
    }

    /// Wakes the worker if it sleeps, so that it takes a turn and shows that it can.
    pub fn wake(&self, worker: usize) {
        self.0.inboxes[worker].waker.wake();
    }

    #[inline]
    fn deserted(&self) -> u64 {
        self.0.deserted.load(Ordering::Relaxed)
    }
}

/// The worker that stands in for `absent`: the next one at its post. None when nobody is.
fn stand_in(deserted: u64, absent: usize, count: usize) -> Option<usize> {
    (1..count).map(|step| (absent + step) % count).find(|&next| deserted >> next & 1 == 0)
}

impl Handover {
    /// The ways of all workers that share `seed`, one for each of `wakers` and `sockets`, which are theirs in order.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    ///
    /// # Panics
    /// There are more than 64.
    pub fn between(
        seed: [u8; 32],
        wakers: &[Waker],
        sockets: &[Socket],
    ) -> io::Result<(Posts, Vec<Self>)> {
        assert!(wakers.len() <= WORKERS_MAX, "a bit of a word for each worker");
        let inbox = |waker: &Waker| Inbox {
            datagrams: ArrayQueue::new(INBOX_DATAGRAMS),
            waker: waker.clone(),
        };
        let inboxes = wakers.iter().map(inbox).collect();
        let posts = Posts(Arc::new(Shared { deserted: AtomicU64::new(0), inboxes }));
        let count = wakers.len() as u8;
        let way = |index| {
            let worker = WorkerNumber::new(index, count);
            let steering = Steering::new(&Naming { seed, worker });
            let sockets = sockets.iter().map(Socket::share).collect::<io::Result<_>>()?;
            Ok(Self { ways: Ways { steering, worker, posts: posts.clone() }, sockets })
        };
        let all = (0..count).map(way).collect::<io::Result<_>>()?;
        Ok((posts, all))
    }

    /// Where this worker sends what is not its own.
    #[inline]
    pub(crate) const fn ways(&self) -> &Ways {
        &self.ways
    }

    /// The next datagram that another worker passed on to this one.
    pub(crate) fn pop(&self) -> Option<Datagram> {
        self.ways.posts.0.inboxes[self.ways.worker.index()].datagrams.pop()
    }

    /// Whether this worker reads sockets of others now.
    #[inline]
    pub(crate) fn stands_in(&self) -> bool {
        self.ways.posts.deserted() != 0 && self.ways.absent().next().is_some()
    }

    /// The ways, and the sockets that this worker has to read for others.
    pub(crate) fn absent_sockets(&mut self) -> (&Ways, impl Iterator<Item = &mut Socket>) {
        let ways = &self.ways;
        let sockets = self.sockets.iter_mut().enumerate();
        (ways, sockets.filter(|(of, _)| ways.absent().any(|absent| absent == *of)).map(|(_, s)| s))
    }

    /// What was read for others.
    pub(crate) fn counts(&self) -> SocketCounts {
        let mut counts = SocketCounts::default();
        for socket in &self.sockets {
            counts += socket.counts();
        }
        counts
    }
}

impl Ways {
    /// Passes the datagram on if it is another worker's.
    #[inline]
    pub(crate) fn steer(&self, datagram: Datagram) -> Steered {
        // An id that nobody gave out, or whose worker stands still, is judged by the worker that it came to.
        match self.steering.owner(&datagram.payload) {
            Some(owner) if owner != self.worker.index() && self.is_at_work(owner) => {
                self.pass(owner, &datagram)
            }
            _ => Steered::Own(datagram),
        }
    }

    fn is_at_work(&self, owner: usize) -> bool {
        owner < self.posts.0.inboxes.len() && self.posts.deserted() >> owner & 1 == 0
    }

    #[cold]
    fn pass(&self, owner: usize, datagram: &Datagram) -> Steered {
        let inbox = &self.posts.0.inboxes[owner];
        // A copy, so that the slab of this worker's pool comes back without the other.
        let payload = BytesMut::from(&datagram.payload[..]);
        if inbox.datagrams.push(Datagram { payload, ..*datagram }).is_err() {
            return Steered::Lost;
        }
        inbox.waker.wake();
        Steered::Passed
    }

    /// The workers that this one stands in for.
    fn absent(&self) -> impl Iterator<Item = usize> {
        let (deserted, count) = (self.posts.deserted(), self.posts.0.inboxes.len());
        let own = Some(self.worker.index());
        (0..count).filter(move |&other| {
            deserted >> other & 1 == 1 && stand_in(deserted, other, count) == own
        })
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
        let ways = Handover::between(seed, &[first, second], &[]).unwrap().1;
        let naming = Naming { seed, worker: WorkerNumber::new(1, 2) };
        let id = naming.generator().generate_cid();
        assert!(matches!(ways[1].ways.steer(datagram(&id)), Steered::Own(_)));
        assert!(matches!(ways[0].ways.steer(datagram(&id)), Steered::Passed));
        let passed = ways[1].pop().unwrap();
        assert_eq!((&passed.payload[1..9], passed.recv_ns), (&id[..], 11));
        assert!(ways[0].pop().is_none() && ways[1].pop().is_none());
        let now = crate::Clock::new().now().instant;
        let mut idle = Idle::new(IdleStrategy::Wait);
        let pause = idle.idle(None, Some(&sleeper), Some(now + Duration::from_secs(9)), now);
        assert_eq!(pause, Pause::Woken);
    }

    #[test]
    fn next_worker_at_its_post_stands_in() {
        assert_eq!(stand_in(0b0001, 0, 4), Some(1));
        assert_eq!(stand_in(0b1001, 3, 4), Some(1), "past the end, and past another absent one");
        assert_eq!(stand_in(0b1111, 2, 4), None);
        assert_eq!(stand_in(0b1, 0, 1), None, "a worker alone has nobody");
    }

    #[test]
    fn datagram_of_an_absent_worker_stays_where_it_came_in() {
        let seed = [3; 32];
        let wakers = [wake_line().unwrap().0, wake_line().unwrap().0];
        let (posts, ways) = Handover::between(seed, &wakers, &[]).unwrap();
        let id = Naming { seed, worker: WorkerNumber::new(1, 2) }.generator().generate_cid();
        posts.desert(1);
        assert!(matches!(ways[0].ways.steer(datagram(&id)), Steered::Own(_)));
        assert!(ways[0].stands_in() && !ways[1].stands_in());
        posts.resume(1);
        assert!(matches!(ways[0].ways.steer(datagram(&id)), Steered::Passed));
        assert!(!ways[0].stands_in());
    }

    #[test]
    fn full_inbox_loses_and_says_so() {
        let seed = [3; 32];
        let wakers = [wake_line().unwrap().0, wake_line().unwrap().0];
        let ways = Handover::between(seed, &wakers, &[]).unwrap().1;
        let id = Naming { seed, worker: WorkerNumber::new(1, 2) }.generator().generate_cid();
        for _ in 0..INBOX_DATAGRAMS {
            assert!(matches!(ways[0].ways.steer(datagram(&id)), Steered::Passed));
        }
        assert!(matches!(ways[0].ways.steer(datagram(&id)), Steered::Lost));
    }
}
