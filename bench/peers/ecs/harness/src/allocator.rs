//! The same allocator settings for every library: memory comes from one heap that never shrinks.
//!
//! With glibc's own settings a large buffer is mapped when it is made and unmapped when it is dropped, and the page faults
//! of that drown what a library does. The settings are read at the start of a process only, so the program starts itself
//! once more with them.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::clock;

const VARIABLE: &str = "GLIBC_TUNABLES";

/// Blocks below 1 GiB come from the heap, and up to 1 GiB of free memory stays at its end.
const SETTINGS: &str =
    "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1073741824";

/// Returns once the settings are asked for; does not return where the program had to start anew.
pub(crate) fn settle() -> anyhow::Result<()> {
    if env::var(VARIABLE).as_deref() == Ok(SETTINGS) {
        return Ok(());
    }
    let program = env::current_exe()?;
    let arguments = env::args_os().skip(1);
    let error = Command::new(program).args(arguments).env(VARIABLE, SETTINGS).exec();
    Err(error).context("the program could not start itself with its allocator settings")
}

/// Touches a large block twice: the second time its pages must still be there, or the settings are not in force.
pub(crate) fn prove() -> anyhow::Result<()> {
    const BLOCK_BYTES: usize = 64 << 20;
    const FAULTS_MAX: u64 = 64;
    let touch = || std::hint::black_box(vec![1_u8; BLOCK_BYTES]).len();
    touch();
    let before = clock::minor_faults();
    touch();
    let faults = clock::minor_faults() - before;
    ensure!(
        faults <= FAULTS_MAX,
        "{VARIABLE} has no effect: {faults} page faults for memory that was touched before"
    );
    Ok(())
}
