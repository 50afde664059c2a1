//! The host under a figure: conditions without which a latency says more about the machine than about the twin.
//!
//! `table::CHECKS` is the list, one function reads each condition from /proc and /sys, below a root that tests replace by a
//! folder of files. Nothing is changed on the host, and what it does not tell is unknown, never met: an unknown condition
//! neither qualifies a host nor disqualifies it, and is named in the verdict.

mod cpu;
mod isolation;
mod kernel;
mod machine;
mod memory;
mod network;
mod reading;
mod root;
mod table;

use std::fmt;

use serde::Serialize;

pub use root::Root;
pub use table::CHECKS;

use crate::config::{Config, Priority};

/// What a configuration asks of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Cores that workers and tick thread are pinned to.
    pub hot_cores: Vec<usize>,
    /// Receive buffer of the socket, in bytes.
    pub recv_buffer_bytes: u64,
    /// Send buffer of the socket, in bytes.
    pub send_buffer_bytes: u64,
    /// Whether hot threads are to go before others.
    pub ranked: bool,
}

impl Needs {
    /// What a twin with this configuration asks for.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            hot_cores: config.hot_cores(),
            recv_buffer_bytes: config.net.recv_buffer_bytes as u64,
            send_buffer_bytes: config.net.send_buffer_bytes as u64,
            ranked: config.host.priority == Priority::Hot,
        }
    }
}

/// Whether a figure stands without the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// A host that does not meet it does not qualify.
    Required,
    /// It makes the tail shorter.
    Advised,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The condition holds.
    Met(String),
    /// It does not.
    Unmet(String),
    /// The host does not say.
    Unknown(String),
    /// It has no meaning on this host or for this configuration.
    Exempt(String),
}

/// One condition: a line of the table.
pub struct Check {
    /// Stable name, `area.condition`.
    pub id: &'static str,
    /// Whether a figure stands without it.
    pub weight: Weight,
    /// What must hold.
    pub wanted: &'static str,
    /// What goes wrong otherwise.
    pub why: &'static str,
    /// How to make it hold.
    pub fix: &'static str,
    /// Reads it.
    pub probe: fn(&Root, &Needs) -> Reading,
}

/// Result of one check, as it is reported.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Name of the check.
    pub id: &'static str,
    /// Whether a figure stands without it.
    pub weight: Weight,
    /// `met`, `unmet`, `unknown` or `exempt`.
    pub outcome: &'static str,
    /// What was found.
    pub found: String,
    /// What must hold.
    pub wanted: &'static str,
    /// What goes wrong otherwise.
    pub why: &'static str,
    /// How to make it hold.
    pub fix: &'static str,
}

/// All findings of one host.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// No required condition is unmet.
    pub qualifies: bool,
    /// Required conditions that are not met.
    pub disqualified_by: Vec<&'static str>,
    /// Conditions that the host does not tell.
    pub unknown: Vec<&'static str>,
    /// Every check, in the order of the table.
    pub checks: Vec<Finding>,
}

/// Reads every condition of a host.
#[must_use]
pub fn examine(root: &Root, needs: &Needs) -> Verdict {
    let checks: Vec<Finding> = CHECKS.iter().map(|check| check.examine(root, needs)).collect();
    let named = |keep: &dyn Fn(&Finding) -> bool| {
        checks.iter().filter(|finding| keep(finding)).map(|finding| finding.id).collect::<Vec<_>>()
    };
    let disqualified_by =
        named(&|finding| finding.weight == Weight::Required && finding.outcome == "unmet");
    let unknown = named(&|finding| finding.outcome == "unknown");
    Verdict { qualifies: disqualified_by.is_empty(), disqualified_by, unknown, checks }
}

impl Check {
    fn examine(&self, root: &Root, needs: &Needs) -> Finding {
        let (outcome, found) = match (self.probe)(root, needs) {
            Reading::Met(found) => ("met", found),
            Reading::Unmet(found) => ("unmet", found),
            Reading::Unknown(found) => ("unknown", found),
            Reading::Exempt(found) => ("exempt", found),
        };
        let Self { id, weight, wanted, why, fix, .. } = *self;
        Finding { id, weight, outcome, found, wanted, why, fix }
    }
}

impl Finding {
    /// The mark that opens its line: a required condition that is unmet must be found at a glance.
    fn mark(&self) -> &'static str {
        match (self.outcome, self.weight) {
            ("met", _) => "ok  ",
            ("unmet", Weight::Required) => "FAIL",
            ("unmet", Weight::Advised) => "warn",
            ("unknown", _) => "?   ",
            _ => "-   ",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.checks {
            writeln!(f, "{} {:<20} {}", finding.mark(), finding.id, finding.found)?;
            if finding.outcome == "unmet" {
                writeln!(f, "       wanted: {}", finding.wanted)?;
                writeln!(f, "       why:    {}", finding.why)?;
                writeln!(f, "       fix:    {}", finding.fix)?;
            }
        }
        if self.qualifies {
            write!(f, "this host qualifies")?;
        } else {
            write!(f, "this host does not qualify: {}", self.disqualified_by.join(", "))?;
        }
        match self.unknown.len() {
            0 => Ok(()),
            unknown => write!(f, " ({unknown} conditions unknown)"),
        }
    }
}
