//! Lines on stderr. Stdout belongs to results, so that they can be piped.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::config::LogLevel;

/// Starts writing lines of at least this severity. The first call of a process counts.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // What QUIC warns of is what any stranger sends, line by line, and a hot thread would write it.
    let protocol = if level > Level::INFO { level.into() } else { LevelFilter::OFF };
    let targets = Targets::new().with_default(level).with_target("quinn_proto", protocol);
    // A second start finds the first in place, which is what it wants.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colors)
        .with_target(false)
        // It would say on stderr that stderr takes nothing, and panic over that.
        .log_internal_errors(false);
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
}
