//! Commands to actuators: what is on its way, and how it ended.
//!
//! A command is named by a tag that comes back with its end. The state of an actuator keeps only the last tag, so the
//! end of an earlier command changes nothing. Commands on their way are bounded, and each has a deadline in ticks.

use std::collections::VecDeque;

use netloop::slot;
use netloop::{Outbound, SessionId, Slot};
use serde::{Deserialize, Serialize};
use wire::{Command, Operation, Reading, Record, SensorType, Status};

use super::component::{ActuatorState, ActuatorStatus, SensorKey};
use super::row::RowRef;
use super::stop::STOP_TAG;

/// The id under which a device has its actuator, where a rule names no other.
pub const ACTUATOR_ID: u16 = 100;

/// Commands on their way at most. One more waits for a later tick.
const PENDING_MAX: usize = 1 << 14;

/// What an actuator shall hold, and the way to it.
#[derive(Debug, Clone, Copy)]
pub struct Setpoint {
    /// The session of its device.
    pub session: SessionId,
    /// Boot of the device.
    pub epoch: u32,
    /// The value, in the unit of the actuator's type.
    pub value: f64,
}

/// When a command is sent.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The tick.
    pub tick: u64,
    /// Nanoseconds since the Unix epoch.
    pub unix_ns: u64,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    deadline_tick: u64,
    row: RowRef,
    tag: u32,
}

/// How commands to devices ended, in commands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEnds {
    /// Acknowledged with status 0.
    pub acknowledged: u64,
    /// Answered with another status.
    pub rejected: u64,
    /// The stream was reset, or could not be opened.
    pub reset: u64,
    /// Nothing came within the deadline, or it came after it.
    pub expired: u64,
    /// A later order took its place before it was answered.
    pub replaced: u64,
    /// Commands of rules that were not sent, because the device had no session that answers commands.
    pub unreachable: u64,
}

/// The commands on their way, saved: of each its deadline, its row as bits, and its tag.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedActuators {
    pending: Vec<(u64, u32, u32)>,
    next_tag: u32,
    ends: CommandEnds,
}

/// The commands on their way.
#[derive(Debug)]
pub struct Actuators {
    pending: VecDeque<Pending>,
    next_tag: u32,
    deadline_ticks: u64,
    ends: CommandEnds,
}

/// True while the actuator waits for the end of this command, which is then its last one.
pub(super) fn waits_for(state: &ActuatorState, tag: u32) -> bool {
    state.tag == tag && ActuatorStatus::of(state) == ActuatorStatus::Pending
}

impl Actuators {
    /// Nothing on its way; commands have `deadline_ticks` to be answered, and a failed one is repeated no sooner.
    #[must_use]
    pub fn new(deadline_ticks: u64) -> Self {
        Self {
            pending: VecDeque::with_capacity(PENDING_MAX),
            next_tag: 0,
            deadline_ticks,
            ends: CommandEnds::default(),
        }
    }

    /// How commands ended so far.
    #[must_use]
    pub const fn ends(&self) -> CommandEnds {
        self.ends
    }

    /// True when one more command can be on its way.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.pending.len() < PENDING_MAX
    }

    /// True when the actuator has to be told: it neither holds the value nor is on its way to, nor failed just now.
    #[must_use]
    pub fn wants(&self, state: &ActuatorState, setpoint: f64, epoch: u32, tick: u64) -> bool {
        let same = state.requested.to_bits() == setpoint.to_bits() && state.epoch == epoch;
        match ActuatorStatus::of(state) {
            ActuatorStatus::Idle => true,
            // One command at a time: the next one follows its end.
            ActuatorStatus::Pending => false,
            ActuatorStatus::Acknowledged => !same,
            ActuatorStatus::Failed | ActuatorStatus::Expired => {
                tick.saturating_sub(state.sent_tick) >= self.deadline_ticks
            }
        }
    }

    /// Makes the command that `setpoint` needs and notes it as sent. The caller has made sure of [`Actuators::has_room`]
    /// and of room in the ring.
    pub fn send(
        &mut self,
        row: RowRef,
        key: &SensorKey,
        state: &mut ActuatorState,
        setpoint: &Setpoint,
        moment: Moment,
    ) -> Outbound {
        self.ends.replaced += u64::from(ActuatorStatus::of(state) == ActuatorStatus::Pending);
        let tag = self.next_tag;
        // The highest bit is that of stop commands.
        self.next_tag = (tag + 1) & !STOP_TAG;
        *state = ActuatorState {
            requested: setpoint.value,
            sent_ns: moment.unix_ns,
            sent_tick: moment.tick,
            tag,
            seq: state.seq.wrapping_add(1),
            epoch: setpoint.epoch,
            status: ActuatorStatus::Pending as u32,
            acknowledged: state.acknowledged,
        };
        let deadline_tick = moment.tick + self.deadline_ticks;
        self.pending.push_back(Pending { deadline_tick, row, tag });
        let request = Command::request(request_of(key, state), Operation::Setpoint);
        Outbound::Command { session: setpoint.session, request, tag }
    }

    /// Takes the end of a command into the state of its actuator. Gives the round trip in nanoseconds when the device
    /// answered; nothing when the end came too late or belongs to an earlier command.
    pub fn handle_end(
        &mut self,
        end: &Slot,
        state: &mut ActuatorState,
        now_ns: u64,
    ) -> Option<u64> {
        if state.tag != end.hint || ActuatorStatus::of(state) != ActuatorStatus::Pending {
            return None;
        }
        let record = Record::from_bytes(end.record);
        let answered = end.flags & slot::FAILED == 0;
        let status =
            Command::decode(&record).ok().filter(|_| answered).and_then(|ack| ack.status());
        let next = match status {
            Some(Status::Ok) => {
                state.acknowledged = record.value();
                self.ends.acknowledged += 1;
                ActuatorStatus::Acknowledged
            }
            Some(_) => {
                self.ends.rejected += 1;
                ActuatorStatus::Failed
            }
            None => {
                self.ends.reset += 1;
                ActuatorStatus::Failed
            }
        };
        state.status = next as u32;
        status.map(|_| now_ns.saturating_sub(state.sent_ns))
    }

    /// The next command whose deadline has passed; the caller looks whether it is still the actuator's last.
    pub fn poll_deadline(&mut self, tick: u64) -> Option<(RowRef, u32)> {
        let front = self.pending.front().filter(|front| front.deadline_tick <= tick)?;
        let due = (front.row, front.tag);
        self.pending.pop_front();
        Some(due)
    }

    /// Forgets commands that no longer wait, up to the first one that does: they take no room of others.
    pub fn forget_ended(&mut self, waits: impl Fn(RowRef, u32) -> bool) {
        while self.pending.front().is_some_and(|front| !waits(front.row, front.tag)) {
            self.pending.pop_front();
        }
    }

    /// Ends a command without an answer, if it is still the actuator's last one.
    pub fn expire(&mut self, state: &mut ActuatorState, tag: u32) {
        if waits_for(state, tag) {
            state.status = ActuatorStatus::Expired as u32;
            self.ends.expired += 1;
        }
    }

    /// Notes that a command had nowhere to go.
    pub fn count_unreachable(&mut self) {
        self.ends.unreachable += 1;
    }

    pub(super) fn save(&self) -> SavedActuators {
        let pending = self.pending.iter().map(|of| (of.deadline_tick, of.row.to_bits(), of.tag));
        SavedActuators { pending: pending.collect(), next_tag: self.next_tag, ends: self.ends }
    }

    /// Takes the place of what was saved. False where a row is none of an actuator that `exists`.
    pub(super) fn restore(
        &mut self,
        saved: &SavedActuators,
        exists: impl Fn(RowRef) -> bool,
    ) -> bool {
        let pending = saved.pending.iter().map(|&(deadline_tick, row, tag)| {
            let row = RowRef::from_bits(row);
            Pending { deadline_tick, row, tag }
        });
        self.pending = pending.collect();
        (self.next_tag, self.ends) = (saved.next_tag, saved.ends);
        self.pending.iter().all(|of| of.row.is_actuator() && exists(of.row))
    }
}

impl ActuatorStatus {
    /// How the last command of an actuator stands.
    #[must_use]
    pub const fn of(state: &ActuatorState) -> Self {
        match state.status {
            1 => Self::Pending,
            2 => Self::Acknowledged,
            3 => Self::Failed,
            4 => Self::Expired,
            _ => Self::Idle,
        }
    }
}

fn request_of(key: &SensorKey, state: &ActuatorState) -> Record {
    Record::encode(&Reading {
        device: key.device,
        sensor_id: key.sensor_id,
        value: state.requested,
        ts_us: state.sent_ns / 1000,
        seq: state.seq,
        sensor_type: SensorType::from_u8(key.sensor_type)
            .expect("a key is made from an assigned type"),
    })
}
