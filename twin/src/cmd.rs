//! The subcommands. Each takes its arguments and says with which code the process ends.

pub mod certs;
pub mod config;
pub mod demo;
pub mod inspect;
pub mod replay;
pub mod serve;
pub mod simulate;
