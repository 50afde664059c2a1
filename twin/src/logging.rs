//! Lines on stderr. Stdout belongs to results, so that they can be piped.

use std::io::IsTerminal;

use tracing::Level;

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
    // A second start finds the first in place, which is what it wants.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(colors)
        .with_target(false)
        // It would say on stderr that stderr takes nothing, and panic over that.
        .log_internal_errors(false)
        .try_init();
}
