//! The environment variables that stand in for options of the command line, on this one list: they are no keys.
//!
//! They begin as keys do, so the layers pass over them. A variable that is on no list is refused, since it is a key with a
//! mistake in it.

/// `--config` of the commands that read the configuration.
pub const CONFIG: &str = "POLLUX_CONFIG";
/// `--addr` of the commands that ask a running twin.
pub const ADDR: &str = "POLLUX_ADDR";
/// `--token-file` of the same.
pub const TOKEN_FILE: &str = "POLLUX_TOKEN_FILE";
/// `--ca` of the same.
pub const CA: &str = "POLLUX_CA";

/// All of them.
pub(super) const ALL: [&str; 4] = [CONFIG, ADDR, TOKEN_FILE, CA];
