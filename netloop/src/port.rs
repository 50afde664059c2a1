//! The port: what a worker exchanges with the rest of the program, and the ring form of it that a twin uses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use wire::Record;

use crate::{
    Answer, Consumer, Counter, Engine, Now, PathReport, Producer, Renewals, Run, SessionEvent,
    SessionId, Sink, Slot, ViewerEvent, ViewerPort,
};

/// Both directions between a worker and the rest: what arrives goes into the [`Sink`], what leaves is polled once a turn.
pub trait Port: Sink {
    /// Gives the engine what is to be sent. True when there was anything.
    fn poll_outbound(&mut self, engine: &mut Engine, now: Now) -> bool;

    /// Takes what a path does; only after [`Engine::report_paths`].
    fn handle_path(&mut self, _: PathReport) {}

    /// The next instant at which [`Port::poll_outbound`] has something by itself, such as a paced sender.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// When the other side looks at what arrived, if it does not do so all the time. A worker that rests ends its rest
    /// a little before that.
    fn due(&self) -> Option<&Due> {
        None
    }

    /// True while somebody waits for what comes next, such as the answer to a command: the worker does not rest then.
    fn is_awaited(&self) -> bool {
        false
    }

    /// True while the port has something to finish before its sessions may be closed, after the end was asked for.
    fn is_draining(&self) -> bool {
        false
    }

    /// Takes a step of a session's life, or gives it back when there is no room now.
    ///
    /// # Errors
    /// The event itself, to be offered again in the next turn.
    #[expect(clippy::result_large_err, reason = "the event goes back to its queue, it is no error")]
    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent>;

    /// Takes what a viewer asks or says, or gives it back when there is no room now. Without anybody who would answer, it
    /// comes to nothing.
    ///
    /// # Errors
    /// The event itself, to be offered again in the next turn.
    fn handle_viewer(&mut self, event: ViewerEvent) -> Result<(), ViewerEvent> {
        let _ = event;
        Ok(())
    }
}

/// The moments at which a thread with a schedule looks at its rings, shown to the thread that fills them.
///
/// The default shows none: that thread looks all the time.
#[derive(Debug, Clone, Default)]
pub struct Due {
    shown_ns: Arc<AtomicU64>,
    period_ns: u64,
}

impl Due {
    /// Moments `period` apart; none before the first [`Due::set`].
    #[must_use]
    pub fn every(period: Duration) -> Self {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        Self { shown_ns: Arc::default(), period_ns }
    }

    /// Shows one of the moments, in unix nanoseconds. One thread only does so.
    pub fn set(&self, unix_ns: u64) {
        // Relaxed: it is a hint about time and orders no other memory.
        self.shown_ns.store(unix_ns, Ordering::Relaxed);
    }

    /// The first moment that is not before `from_ns`, in unix nanoseconds; 0 when there are none.
    #[must_use]
    pub fn next_ns(&self, from_ns: u64) -> u64 {
        let shown_ns = self.shown_ns.load(Ordering::Relaxed);
        if shown_ns == 0 || self.period_ns == 0 || shown_ns >= from_ns {
            return shown_ns;
        }
        shown_ns + (from_ns - shown_ns).next_multiple_of(self.period_ns)
    }
}

/// What the tick thread asks of the worker.
#[derive(Debug, Clone, Copy)]
pub enum Outbound {
    /// The answer to a command of the peer.
    Answer {
        /// The session that asked.
        session: SessionId,
        /// The token that came in the slot's hint.
        token: u32,
        /// Ack or reset.
        answer: Answer,
    },
    /// A command to the peer.
    Command {
        /// The session to ask.
        session: SessionId,
        /// The request.
        request: Record,
        /// Comes back in the hint of the slot that ends the command.
        tag: u32,
    },
}

/// A port of rings: one for each tier, one for events, two back.
pub struct RingPort {
    /// T1, shed when full.
    pub t1: Producer<Slot>,
    /// T2, backpressure when full.
    pub t2: Producer<Slot>,
    /// T3 requests and acks; requests are answered busy when full.
    pub t3: Producer<Slot>,
    /// Steps in the life of sessions.
    pub events: Producer<SessionEvent>,
    /// Stop commands, taken before everything else.
    pub stops: Consumer<Outbound>,
    /// Answers and commands.
    pub outbound: Consumer<Outbound>,
    /// When the tick thread will next look.
    pub due: Due,
    /// What paths do, for whoever asked for it.
    pub paths: Option<PathLane>,
    /// What the server shows and trusts from now on; nothing where that never changes.
    pub renewals: Option<Renewals>,
    /// To and from whoever shows the plant to browsers; nothing where none may come.
    pub viewers: Option<ViewerPort>,
}

/// Where reports of paths go.
pub struct PathLane {
    /// Those that have room.
    pub reports: Producer<PathReport>,
    /// Those that had none: a reader that is behind misses some.
    pub shed: Arc<Counter>,
}

/// Answers and commands taken in one turn: a flood of them may not keep the worker from its socket.
const OUTBOUND_BUDGET: usize = 256;
/// Orders for viewers taken in one turn.
const VIEWERS_BUDGET: usize = 64;

impl Sink for RingPort {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        self.t1.push_run(run)
    }

    fn room_t1(&self, wish: usize) -> usize {
        // A quarter is kept for sessions that send moderately.
        let kept = self.t1.capacity() / 4;
        self.t1.fitting(kept + wish).saturating_sub(kept)
    }

    fn free_t2(&self) -> usize {
        self.t2.free()
    }

    fn push_t2(&mut self, run: &Run<'_>) {
        let pushed = self.t2.push_run(run);
        assert_eq!(
            pushed,
            run.records.len(),
            "the engine pushes no more T2 records than have room"
        );
    }

    fn free_t3(&self) -> usize {
        self.t3.free()
    }

    fn handle_command(&mut self, slot: Slot) -> Answer {
        match self.t3.push(slot) {
            Ok(()) => Answer::Later,
            Err(_) => Answer::Reset(wire::CloseCode::Busy),
        }
    }

    fn handle_ack(&mut self, slot: Slot) {
        let pushed = self.t3.push(slot);
        assert!(pushed.is_ok(), "the engine ends no command while the T3 ring is full");
    }
}

impl Port for RingPort {
    fn poll_outbound(&mut self, engine: &mut Engine, now: Now) -> bool {
        if let Some(renewal) = self.renewals.as_mut().and_then(Renewals::pop) {
            engine.renew(now, renewal);
        }
        let shown = self.poll_viewers(engine, now);
        let mut refused = None;
        for taken in 0..OUTBOUND_BUDGET {
            let next = self.stops.pop().or_else(|| self.outbound.pop());
            let Some(outbound) = next else { return shown || taken > 0 };
            match outbound {
                Outbound::Answer { session, token, answer } => {
                    engine.answer(session, token, answer);
                }
                Outbound::Command { session, request, tag } => {
                    if engine.open_command(session, request, tag).is_err() {
                        refused = Some(Slot::failed(&request, session, tag, now.unix_ns));
                    }
                }
            }
            if let Some(failed) = refused.take() {
                // With a full ring the command ends by its timeout in the world instead.
                let _ = self.t3.push(failed);
            }
        }
        true
    }

    fn due(&self) -> Option<&Due> {
        Some(&self.due)
    }

    fn handle_path(&mut self, report: PathReport) {
        if let Some(paths) = &mut self.paths {
            paths.shed.add(u64::from(paths.reports.push(report).is_err()));
        }
    }

    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        self.events.push(event)
    }

    fn handle_viewer(&mut self, event: ViewerEvent) -> Result<(), ViewerEvent> {
        self.viewers.as_mut().map_or(Ok(()), |viewers| viewers.push(event))
    }
}

impl RingPort {
    /// Does what is asked for viewers, after the answers to devices of the last turn have gone.
    fn poll_viewers(&mut self, engine: &mut Engine, now: Now) -> bool {
        let Some(viewers) = &mut self.viewers else { return false };
        for taken in 0..VIEWERS_BUDGET {
            let Some(order) = viewers.pop() else { return taken > 0 };
            engine.handle_viewer_order(now, order);
        }
        true
    }
}
