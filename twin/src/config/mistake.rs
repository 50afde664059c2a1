//! What can be wrong with a configuration, and where it was written.
//!
//! Every mistake names the key, its place, the value and what is allowed there.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// One mistake in a configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A key that does not exist.
    #[error("{key} = {value} (from {place}): no such key{}; {allowed}", suggestion(nearest.as_deref()))]
    Unknown {
        /// The key as it was written.
        key: String,
        /// Its value as it was written.
        value: String,
        /// Where it was written.
        place: Source,
        /// The key that was probably meant.
        nearest: Option<String>,
        /// The keys that exist there.
        allowed: String,
    },
    /// A value that its key does not allow.
    #[error("{key} = {value} (from {place}): must be {allowed}")]
    Invalid {
        /// The key.
        key: String,
        /// The value as it was written.
        value: String,
        /// Where it was written.
        place: Source,
        /// What is allowed.
        allowed: String,
    },
    /// A file that is needed and not there.
    #[error("{key} = {value} (from {place}): does not exist; {remedy}")]
    Missing {
        /// The key.
        key: String,
        /// The path as it was written.
        value: String,
        /// Where it was written.
        place: Source,
        /// What makes one.
        remedy: &'static str,
    },
    /// A `--set` without `=`.
    #[error("--set {text}: must be key=value, for example --set tick.hz=500")]
    NoAssignment {
        /// What stood there.
        text: String,
    },
    /// A file that is no TOML.
    #[error("{place}: not TOML: {reason}")]
    Syntax {
        /// File and line.
        place: Source,
        /// What the parser says.
        reason: String,
    },
    /// A file that cannot be read.
    #[error("{}: cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file as it was named.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean {key}?"))
}

/// All mistakes of a configuration, one line each.
#[derive(Debug)]
pub struct Rejected(pub Vec<ConfigError>);

impl std::error::Error for Rejected {}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong")?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No layer has set it.
    Default,
    /// A line of a file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment(String),
    /// The command line.
    Set,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Set => f.write_str("--set"),
        }
    }
}
