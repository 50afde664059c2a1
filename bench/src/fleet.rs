//! Sessions that send on a schedule: so many T1 records at once, so often, and now and then a command.
//!
//! Open loop: each datagram carries the time at which it was due, and a round trip counts from the time at which the
//! command was due.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use netloop::{Answer, Engine, Now, Port, Run, SessionEvent, SessionId, Sink, Slot, Stop, slot};
use wire::{Command, DeviceId, Operation, Reading, Record, SensorType};

use crate::meter::Window;

/// What a fleet does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) sessions: u32,
    /// Datagrams of each session in a second.
    pub(crate) hz: f64,
    /// Records in each.
    pub(crate) records: u16,
    /// Every so many datagrams of a session a command; 0 is none.
    pub(crate) command_every: u32,
    /// The first byte of its device ids, by which a server tells fleets apart.
    pub(crate) kind: u8,
    /// Time between the opening of the last session and what is measured.
    pub(crate) warm_up: Duration,
    /// What is measured; the fleet ends after it. Nothing lets it run until it is stopped.
    pub(crate) measured: Option<Duration>,
}

/// What a fleet did in the measured time.
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    /// Datagrams that QUIC had no room for.
    pub(crate) blocked: u64,
    pub(crate) commands: u64,
    pub(crate) commands_failed: u64,
    pub(crate) sessions_lost: u64,
    pub(crate) rtt_ns: Histogram<u64>,
    /// The measured time, in unix nanoseconds.
    pub(crate) window_ns: (u64, u64),
}

/// The sessions of one thread, as a port of their worker.
pub(crate) struct Fleet {
    plan: Plan,
    period_ns: u64,
    members: Vec<Member>,
    /// When whose next datagram is due.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    next: Option<Instant>,
    acks: VecDeque<(u32, bool)>,
    now_ns: u64,
    stop: Stop,
    /// The measured time, shown to the other end once all sessions are open.
    window: Window,
    outcome: Outcome,
}

struct Member {
    session: SessionId,
    seq: u32,
    asked_ns: Option<u64>,
}

impl Fleet {
    /// A fleet that sets `window` when all sessions are open, and ends by `stop` when its measured time is over.
    pub(crate) fn new(plan: Plan, stop: Stop, window: Window) -> anyhow::Result<Self> {
        let outcome = Outcome {
            sent: 0,
            blocked: 0,
            commands: 0,
            commands_failed: 0,
            sessions_lost: 0,
            rtt_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            window_ns: (u64::MAX, u64::MAX),
        };
        Ok(Self {
            period_ns: (1e9 / plan.hz) as u64,
            members: Vec::new(),
            due: BinaryHeap::new(),
            next: None,
            acks: VecDeque::new(),
            now_ns: 0,
            plan,
            stop,
            window,
            outcome,
        })
    }

    pub(crate) fn into_outcome(self) -> Outcome {
        self.outcome
    }

    fn begin(&mut self) {
        // Whole microseconds, which is what a record carries.
        let begin_ns = (self.now_ns + 10_000_000) / 1000 * 1000;
        for member in 0..self.plan.sessions {
            // Spread evenly over one period, as devices that were switched on at random are.
            let phase_ns = self.period_ns * u64::from(member) / u64::from(self.plan.sessions);
            self.due.push(Reverse((begin_ns + phase_ns, member)));
        }
        let from_ns = begin_ns + self.plan.warm_up.as_nanos() as u64;
        let length_ns = self.plan.measured.map_or(u64::MAX / 4, |span| span.as_nanos() as u64);
        self.outcome.window_ns = (from_ns, from_ns + length_ns);
        self.window.set(from_ns, from_ns + length_ns);
    }

    fn is_measured(&self, due_ns: u64) -> bool {
        let (from_ns, until_ns) = self.outcome.window_ns;
        (from_ns..until_ns).contains(&due_ns)
    }

    fn send(&mut self, engine: &mut Engine, number: u32, due_ns: u64) {
        let measured = u64::from(self.is_measured(due_ns));
        let member = &mut self.members[number as usize];
        member.seq += 1;
        let reading = |sensor_id| Reading {
            device: DeviceId([self.plan.kind; 16]),
            sensor_id,
            value: 1.0,
            ts_us: due_ns / 1000,
            seq: member.seq,
            sensor_type: SensorType::Temperature,
        };
        let records = (0..self.plan.records).flat_map(|n| *Record::encode(&reading(n)).as_bytes());
        let payload: Bytes = records.collect();
        match engine.send_datagram(member.session, payload) {
            Ok(()) => self.outcome.sent += measured * u64::from(self.plan.records),
            Err(_) => self.outcome.blocked += measured,
        }
        let every = self.plan.command_every;
        if every > 0 && member.seq.is_multiple_of(every) && member.asked_ns.is_none() {
            let request = Command::request(Record::encode(&reading(0)), Operation::Read);
            if engine.open_command(member.session, request, number).is_ok() {
                member.asked_ns = Some(due_ns);
            }
        }
    }

    fn take_acks(&mut self) {
        while let Some((number, good)) = self.acks.pop_front() {
            let Some(asked_ns) = self.members[number as usize].asked_ns.take() else { continue };
            if self.is_measured(asked_ns) {
                self.outcome.commands += 1;
                self.outcome.commands_failed += u64::from(!good);
                self.outcome.rtt_ns.saturating_record(self.now_ns.saturating_sub(asked_ns).max(1));
            }
        }
    }
}

impl Sink for Fleet {
    fn push_t1(&mut self, run: &Run<'_>) -> usize {
        run.records.len()
    }
    fn free_t2(&self) -> usize {
        1 << 20
    }
    fn push_t2(&mut self, _: &Run<'_>) {}
    fn free_t3(&self) -> usize {
        1
    }
    fn handle_command(&mut self, _: Slot) -> Answer {
        Answer::Reset(wire::CloseCode::NoHandler)
    }
    fn handle_ack(&mut self, end: Slot) {
        self.acks.push_back((end.hint, end.flags == slot::ACK));
    }
}

impl Port for Fleet {
    fn poll_outbound(&mut self, engine: &mut Engine, now: Now) -> bool {
        self.now_ns = now.unix_ns;
        self.take_acks();
        if self.next.is_none() && self.members.len() == self.plan.sessions as usize {
            self.begin();
        }
        let mut sent = false;
        while let Some(&Reverse((due_ns, number))) = self.due.peek() {
            if due_ns > now.unix_ns {
                self.next = Some(now.instant + Duration::from_nanos(due_ns - now.unix_ns));
                break;
            }
            self.due.pop();
            self.due.push(Reverse((due_ns + self.period_ns, number)));
            self.send(engine, number, due_ns);
            sent = true;
        }
        // What was sent last has a tenth of a second to arrive.
        if now.unix_ns > self.outcome.window_ns.1.saturating_add(100_000_000) {
            self.stop.drain();
        }
        sent
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn handle_event(&mut self, event: SessionEvent) -> Result<(), SessionEvent> {
        match event {
            SessionEvent::Opened { session, .. } => {
                self.members.push(Member { session, seq: 0, asked_ns: None });
            }
            SessionEvent::Closed { .. } if self.stop.is_draining() => {}
            SessionEvent::Closed { .. } | SessionEvent::Failed { .. } => {
                self.outcome.sessions_lost += 1;
                // The measured time begins when all are open, which is never.
                if !self.window.is_set() {
                    self.stop.drain();
                }
            }
            SessionEvent::Hello { .. } => {}
        }
        Ok(())
    }
}
