//! Large blocks of the heap in mappings of their own.
//!
//! The tables of a plant grow by small steps to many megabytes. In a mapping of its own a block grows by moving its pages,
//! and what it gives up goes back to the system. The allocator of glibc begins so, and then raises the size from which it
//! does with every large block that is freed: tables end up side by side on the heap, each step copies one, and the holes
//! stay. Other allocators have no such habit, and are left as they are.

#![allow(unsafe_code, reason = "the setting has no safe form; its proof stands below")]

/// Blocks from this size on have a mapping of their own.
pub const LARGE_BLOCK_BYTES: usize = 128 << 10;

/// Keeps the size from which blocks have a mapping of their own at [`LARGE_BLOCK_BYTES`]. Says whether it is so from now on;
/// `false` where the allocator is not glibc's.
pub fn map_large_blocks() -> bool {
    set_threshold()
}

#[cfg(target_env = "gnu")]
fn set_threshold() -> bool {
    use nix::libc;
    // SAFETY: mallopt takes two integers, no pointer, and may be called at any time from any thread: it takes the lock of the
    // heap. Blocks that exist stay as they are, and the parameter is one that it knows.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES as libc::c_int) == 1 }
}

#[cfg(not(target_env = "gnu"))]
const fn set_threshold() -> bool {
    false
}
