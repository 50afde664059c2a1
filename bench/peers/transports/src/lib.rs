//! Peers of Pollux that carry the same records another way, into the same world at the same tick.
//!
//! `inlet` and `host` are what they share on the receiving side, `source` on the sending side; each transport has a file.
//! A transport moves payloads of whole records and nothing else.

#![forbid(unsafe_code)]

pub mod args;
pub mod ends;
pub mod host;
pub mod inlet;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "nats")]
pub mod nats;
pub mod source;
pub mod tcp;
pub mod tls;
