//! The twin: what the binary `pollux` is made of.
//!
//! Nothing depends on this crate. It is a library only so that its tests reach every part as a user of
//! the binary does; the promises that hold for operators are those of the command line.
#![forbid(unsafe_code)]

pub mod args;
pub mod capture;
pub mod certs;
pub mod cmd;
pub mod cold;
pub mod config;
pub mod histograms;
pub mod host;
pub mod http;
pub mod interval;
pub mod logging;
pub mod metrics;
pub mod report;
pub mod runtime;
pub mod simulate;
pub mod stats;
pub mod tick;
pub mod watchdog;
pub mod world;
