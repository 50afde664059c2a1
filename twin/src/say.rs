//! What the commands say: results on stdout, everything else on stderr.
//!
//! Whoever reads may leave at any time, as `head` does once it has its lines. That is no failure: nothing panics, nothing
//! complains, and no exit code changes. A command that would print without end learns of it, and ends.

use std::fmt::Display;
use std::io::{Error, ErrorKind, Result, Write, stderr, stdout};

/// Prints a part of the result as it is. True while somebody reads.
///
/// # Errors
/// Stdout takes nothing for another reason, such as a full disk.
pub fn print(text: impl Display) -> Result<bool> {
    let mut out = stdout().lock();
    is_read(write!(out, "{text}").and_then(|()| out.flush()))
}

/// Prints a line of the result. True while somebody reads.
///
/// # Errors
/// Stdout takes nothing for another reason, such as a full disk.
pub fn print_line(text: impl Display) -> Result<bool> {
    print(format_args!("{text}\n"))
}

/// What came of a write to stdout: true while somebody reads.
///
/// # Errors
/// It failed for another reason, which then names stdout.
pub fn is_read(written: Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::new(error.kind(), format!("stdout: {error}"))),
    }
}

/// Says a line on stderr. True while somebody reads; of any other failure nobody could be told.
pub fn note(line: impl Display) -> bool {
    let said = writeln!(stderr().lock(), "{line}");
    said.err().is_none_or(|error| error.kind() != ErrorKind::BrokenPipe)
}
