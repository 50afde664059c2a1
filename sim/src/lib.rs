//! The plant in a box: devices, a hostile network, the workers' engines, rings and the world, on one thread in virtual time.
//!
//! One number draws everything ([`Scenario::draw`]) and gives the same run for ever, byte for byte on the wire and bit for
//! bit in the world. At every tick what must always hold is checked, and after the faults the plant has to heal. Test
//! support: nothing depends on this crate, and no part of it is in the product.
#![forbid(unsafe_code)]

mod cells;
mod chance;
mod check;
mod crypto;
mod device;
mod flood;
mod model;
mod network;
mod operator;
mod plant;
mod queues;
mod sabotage;
mod samples;
mod scenario;
mod shrink;
mod soak;
mod worker;

pub use plant::{Outcome, Violation, run, run_sabotaged};
pub use sabotage::Sabotage;
pub use samples::{Samples, Timing};
pub use scenario::{DevicePlan, Fault, Kind, Runs, Scenario};
pub use shrink::{shrink, shrink_by, write_down};
pub use soak::{Args, soak};
