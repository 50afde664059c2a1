//! The Pollux protocol: bytes to values, and nothing else.
//!
//! `PROTOCOL.md` is the normative page; this crate is the product's only implementation. Decoding borrows, checks every rule once
//! and never allocates, so that no later code has to check again. Encoding cannot fail. Sockets, clocks and threads are
//! unknown here.
//!
//! ```
//! use wire::{Batch, DeviceId, Reading, Record, SensorType};
//!
//! let reading = Reading {
//!     device: DeviceId([7; 16]),
//!     sensor_id: 3,
//!     value: 21.5,
//!     ts_us: 1_700_000_000_000_000,
//!     seq: 1,
//!     sensor_type: SensorType::Temperature,
//! };
//! let payload = [Record::encode(&reading), Record::encode(&reading)].map(|r| *r.as_bytes()).concat();
//! let batch = Batch::decode(&payload)?;
//! assert_eq!(batch.len(), 2);
//! assert_eq!(batch.records()[0].decode()?, reading);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod batch;
mod close;
mod command;
mod control;
mod device;
mod record;
mod sensor_type;
mod tier;

pub use batch::{Batch, BatchError};
pub use close::CloseCode;
pub use command::{Command, Operation, Status};
pub use control::{
    ControlError, ControlFrame, HELLO_BYTES, Hello, MAGIC, TOTALS_BYTES, Token, Totals, VERSION,
    capability,
};
pub use device::{DeviceId, ParseDeviceError};
pub use record::{RECORD_BYTES, Reading, Record, RecordError};
pub use sensor_type::SensorType;
pub use tier::Tier;

/// The name that both ends agree on in the TLS handshake. PROTOCOL.md#session.
pub const ALPN: &[u8] = b"pollux/1";
