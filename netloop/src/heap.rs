//! Large blocks of the heap in mappings of their own.
//!
//! The tables of a plant grow by small steps to many megabytes. In a mapping of its own a block grows by moving its pages,
//! and what it gives up goes back to the system. The allocator of glibc begins so, and then raises the size from which it
//! does with every large block that is freed: tables end up side by side on the heap, each step copies one, and the holes
//! stay. Other allocators have no such habit, and are left as they are.
//!
//! The heap of musl has one lock for all threads, and maps memory under it: a hot thread would wait behind a cold one that was
//! interrupted while it held it. So a binary with musl takes `Heap`, in which each thread has a heap of its own.

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

/// Sets how `Heap` takes memory from the system. To be called before the first allocation; does nothing without musl.
pub fn prepare_heap() {
    #[cfg(target_env = "musl")]
    own::prepare();
}

#[cfg(target_env = "musl")]
pub use own::Heap;

#[cfg(target_env = "musl")]
mod own {
    use std::alloc::{GlobalAlloc, Layout, System};

    use libmimalloc_sys::{mi_free, mi_malloc_aligned, mi_option_set};
    use libmimalloc_sys::{mi_realloc_aligned, mi_zalloc_aligned};

    use super::LARGE_BLOCK_BYTES;

    /// Small blocks from heaps of each thread's own (mimalloc), large ones in mappings of their own (musl).
    ///
    /// Not all from mimalloc, which would copy a large block to make it longer.
    #[derive(Debug)]
    pub struct Heap;

    /// Options of mimalloc with their values, by their number in the version that Cargo.toml names. Locked memory is filled
    /// as it becomes writable, so only what is used may be that: not an arena at once (4), nor a page of one (40). The
    /// addresses of an arena count as locked all the same, so that it has 64 MiB and not 1 GiB (23, in KiB).
    const OPTIONS: [(i32, i64); 3] = [(4, 0), (40, 1), (23, 64 << 10)];

    pub(super) fn prepare() {
        for (option, value) in OPTIONS {
            // SAFETY: it stores a number in a table, for an index that the table has; no other thread runs yet.
            unsafe { mi_option_set(option, value) };
        }
    }

    const fn is_large(bytes: usize) -> bool {
        bytes >= LARGE_BLOCK_BYTES
    }

    // SAFETY: a block belongs to the one of two allocators that its size names, and the caller tells the size that it asked
    // for with each call. A block that changes sides is a new one, with what the old one held.
    unsafe impl GlobalAlloc for Heap {
        #[inline]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if is_large(layout.size()) {
                // SAFETY: the caller's promise is passed on.
                return unsafe { System.alloc(layout) };
            }
            // SAFETY: size and alignment are of a layout, so the one is not zero and the other a power of two.
            unsafe { mi_malloc_aligned(layout.size(), layout.align()).cast() }
        }

        #[inline]
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            if is_large(layout.size()) {
                // SAFETY: the caller's promise is passed on.
                return unsafe { System.alloc_zeroed(layout) };
            }
            // SAFETY: as in `alloc`.
            unsafe { mi_zalloc_aligned(layout.size(), layout.align()).cast() }
        }

        #[inline]
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            if is_large(layout.size()) {
                // SAFETY: a block of this size is of this allocator, and the caller gives it up.
                return unsafe { System.dealloc(block, layout) };
            }
            // SAFETY: a block of this size is of mimalloc, and the caller gives it up.
            unsafe { mi_free(block.cast()) };
        }

        #[inline]
        unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
            match (is_large(layout.size()), is_large(bytes)) {
                // SAFETY: before and after, a block of this size is of mimalloc.
                (false, false) => unsafe {
                    mi_realloc_aligned(block.cast(), bytes, layout.align()).cast()
                },
                // SAFETY: before and after, a block of this size is of the system's allocator.
                (true, true) => unsafe { System.realloc(block, layout, bytes) },
                // SAFETY: the caller promises that a block of the new size has a layout; the copy is as long as the shorter
                // one, and the old block is given up only where there is a new one.
                _ => unsafe {
                    let moved =
                        self.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
                    if !moved.is_null() {
                        block.copy_to_nonoverlapping(moved, layout.size().min(bytes));
                        self.dealloc(block, layout);
                    }
                    moved
                },
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_block_keeps_its_bytes_when_it_changes_sides() {
            let layout = |bytes| Layout::from_size_align(bytes, 64).unwrap();
            let sizes = [100, LARGE_BLOCK_BYTES - 1, LARGE_BLOCK_BYTES, 3 * LARGE_BLOCK_BYTES, 100];
            // SAFETY: each block is used within the size that it has, and given up once with its layout.
            unsafe {
                let mut block = Heap.alloc_zeroed(layout(100));
                std::slice::from_raw_parts_mut(block, 100).fill(7);
                for pair in sizes.windows(2) {
                    block = Heap.realloc(block, layout(pair[0]), pair[1]);
                    assert_eq!(block.align_offset(64), 0);
                    assert_eq!(std::slice::from_raw_parts(block, 100), [7; 100], "{pair:?}");
                }
                Heap.dealloc(block, layout(100));
            }
        }
    }
}
