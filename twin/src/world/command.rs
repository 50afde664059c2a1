//! Commands of devices to the twin: what each is answered. PROTOCOL.md#t3.
//!
//! A device may read the latest value of any sensor that its session may write for, and the acknowledged setpoint of any actuator, and it may
//! stop the plant where the configuration allows it. It may not set anything here, nor clear a stop.

use netloop::Answer;
use serde::{Deserialize, Serialize};
use wire::{CloseCode, Command, Operation, Record, Status};

/// What a key of a command stands for in the world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// A sensor or actuator of the type that was asked for, and the value that it holds.
    Value(f64),
    /// Nothing of that name and type, or an actuator that was never acknowledged.
    Unknown,
}

/// How commands of devices ended, in commands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCounts {
    /// Answered with status 0.
    pub acknowledged: u64,
    /// Answered with another status.
    pub rejected: u64,
    /// Reset: nobody handles the operation, or the record breaks a rule.
    pub reset: u64,
}

/// True when a device asks for a stop.
pub(super) fn is_stop(request: &Record) -> bool {
    Command::decode(request).is_ok_and(|command| command.operation() == Some(Operation::Stop))
}

/// The answer to `request`; `find` looks its target up, and a stop is taken where devices may stop the plant. What is not done
/// is answered with the value that holds, or with 0 where there is none.
pub fn answer(request: &Record, may_stop: bool, find: impl FnOnce(&Command) -> Target) -> Answer {
    let Ok(command) = Command::decode(request) else {
        return Answer::Reset(CloseCode::BadRecord);
    };
    match command.operation() {
        Some(Operation::Read) => Answer::Ack(match find(&command) {
            Target::Value(value) => Command::ack(*request, Status::Ok, value),
            Target::Unknown => Command::ack(*request, Status::Unknown, 0.0),
        }),
        Some(Operation::Stop) if may_stop => {
            Answer::Ack(Command::ack(*request, Status::Ok, request.value()))
        }
        Some(Operation::Setpoint) => {
            let holds = match find(&command) {
                Target::Value(value) => value,
                Target::Unknown => 0.0,
            };
            Answer::Ack(Command::ack(*request, Status::Refused, holds))
        }
        Some(Operation::Stop | Operation::Clear) => {
            Answer::Ack(Command::ack(*request, Status::Refused, 0.0))
        }
        None => Answer::Reset(CloseCode::NoHandler),
    }
}

impl AnswerCounts {
    /// Counts one answer.
    pub fn add(&mut self, answer: &Answer) {
        match answer {
            Answer::Ack(ack) => {
                let ok = Command::decode(ack).is_ok_and(|ack| ack.status() == Some(Status::Ok));
                self.acknowledged += u64::from(ok);
                self.rejected += u64::from(!ok);
            }
            Answer::Reset(_) => self.reset += 1,
            Answer::Later => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{DeviceId, Reading, SensorType};

    fn request(kind: u8) -> Record {
        let reading = Reading {
            device: DeviceId([1; 16]),
            sensor_id: 4,
            value: 7.5,
            ts_us: 99,
            seq: 3,
            sensor_type: SensorType::Voltage,
        };
        Record::encode(&reading).with_kind(kind << 5 | SensorType::Voltage as u8)
    }

    fn status_and_value(answer: Answer) -> (Option<Status>, f64) {
        let Answer::Ack(ack) = answer else { panic!("{answer:?} is no ack") };
        assert_eq!((ack.key(), ack.ts_us(), ack.seq()), (request(0).key(), 99, 3));
        (Command::decode(&ack).unwrap().status(), ack.value())
    }

    #[test]
    fn a_read_is_answered_with_the_value_that_holds() {
        let found = answer(&request(0), true, |command| {
            assert_eq!(command.sensor_type, SensorType::Voltage);
            Target::Value(230.5)
        });
        assert_eq!(status_and_value(found), (Some(Status::Ok), 230.5));
        let unknown = answer(&request(0), true, |_| Target::Unknown);
        assert_eq!(status_and_value(unknown), (Some(Status::Unknown), 0.0));
    }

    #[test]
    fn a_stop_is_taken_where_devices_may_and_never_a_setpoint_or_a_clear() {
        let answers =
            [(1, Status::Refused, 230.5), (2, Status::Ok, 7.5), (3, Status::Refused, 0.0)];
        for (operation, status, value) in answers {
            let taken = answer(&request(operation), true, |_| Target::Value(230.5));
            assert_eq!(status_and_value(taken), (Some(status), value));
            assert_eq!(is_stop(&request(operation)), operation == 2);
        }
    }

    #[test]
    fn setpoints_and_stops_are_refused_and_unassigned_operations_reset() {
        for operation in 1..4 {
            let refused = answer(&request(operation), false, |_| Target::Unknown);
            assert_eq!(status_and_value(refused), (Some(Status::Refused), 0.0));
        }
        for operation in 4..8 {
            let reset = answer(&request(operation), true, |_| unreachable!("no such operation"));
            assert_eq!(reset, Answer::Reset(CloseCode::NoHandler));
        }
    }
}
