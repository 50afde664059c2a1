//! The subcommands. Each takes its arguments and says with which code the process ends.

pub mod certs;
pub mod config;
pub mod ctl;
pub mod demo;
pub mod doctor;
pub mod inspect;
pub mod manual;
pub mod monitor;
pub mod replay;
pub mod serve;
pub mod simulate;
