//! The twin: what the binary `pollux` is made of.
//!
//! Nothing depends on this crate. It is a library only so that its tests reach every part as a user of
//! the binary does; the promises that hold for operators are those of the command line.
#![forbid(unsafe_code)]
#![warn(clippy::print_stderr, reason = "a reader that leaves would make it panic; `say` is quiet")]

pub mod args;
pub mod capture;
pub mod certs;
pub mod client;
pub mod cmd;
pub mod cold;
pub mod config;
pub mod credentials;
pub mod degraded;
pub mod doctor;
mod exchange;
pub mod histograms;
pub mod host;
pub mod http;
pub mod interval;
pub mod listing;
pub mod logging;
pub mod metrics;
pub mod mirror;
pub mod monitor;
pub mod notify;
pub mod order;
pub mod parting;
pub mod path_log;
pub mod picture;
pub mod rates;
pub mod report;
pub mod runtime;
pub mod say;
mod scribe;
pub mod simulate;
pub mod stats;
pub mod stop_file;
pub mod tick;
pub mod turned_away;
pub mod watchdog;
pub mod world;
