//! The load generator: an honest fleet of devices that streams records to a twin over real QUIC.
//!
//! It is open-loop: each device has an absolute schedule, and every record carries the time at which it was due, also
//! when it leaves late. Nothing here reads a clock: [`Fleet`] is a [`netloop::Port`], so a worker's turns bring the time,
//! and a test brings virtual time. What cannot be sent is counted, never forgotten.

mod carrier;
mod coalesce;
mod commands;
mod device;
mod drain;
mod fleet;
mod generator;
mod lateness;
mod plan;
mod progress;
mod report;
mod schedule;
mod seeded;
mod sessions;
mod traffic;
mod waveform;

pub use coalesce::{Chunks, Coalescer, Outlet, Packing, WireForm};
pub use device::{Population, SETPOINT_MAX_C, SETPOINT_MIN_C, gateway_id};
pub use fleet::{Fleet, FleetError, Outcome};
pub use generator::{Generator, GeneratorError, LoadTls};
pub use plan::{Plan, PlanError};
pub use progress::{LoadInterval, LoadLatency, Progress};
pub use report::{Latencies, Sessions, Summary, Traffic};
pub use schedule::{Due, Schedule};
pub use seeded::Seeded;
pub use waveform::Waveform;
