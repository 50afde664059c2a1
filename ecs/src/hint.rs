//! Hints about memory: these lines are read soon, these pages are best large.
//!
//! A lookup in a table that is larger than the cache waits for memory; a group of lookups that asks for all its lines first
//! waits about once. And each line of a large table lies in another page, whose address has to be translated first: with
//! pages of 2 MiB instead of 4 KiB the processor knows them all. A hint changes no value, and where processor or system do
//! not know it, nothing happens. This is the only file of the crate that uses `unsafe`.

#![allow(unsafe_code, reason = "neither hint has a safe form; the proofs stand below")]

/// Bytes of a cache line on the processors that this is built for.
const LINE_BYTES: usize = 64;

/// Memory below this size is no large page.
const LARGE_BYTES_MIN: usize = 2 << 20;

/// Advice is given for whole pages: the largest ordinary page of a Linux system.
const PAGE_BYTES_MAX: usize = 64 << 10;

/// Asks the cache for the lines of `elements[index]`, from the one in which it starts. An index past the end is allowed and
/// has no effect that a program can see.
#[inline(always)]
pub fn prefetch_read<T>(elements: &[T], index: usize) {
    let start = elements.as_ptr().wrapping_add(index).cast::<i8>();
    for line in 0..const { size_of::<T>().div_ceil(LINE_BYTES) } {
        prefetch_line(start.wrapping_add(line * LINE_BYTES));
    }
}

/// Asks the system for large pages below the memory that `elements` holds, used or not. Worth it where access is random;
/// pages that were written before keep their size until the system finds the time.
pub(crate) fn prefer_large_pages<T>(elements: &mut Vec<T>) {
    let bytes = elements.capacity() * size_of::<T>();
    if bytes >= LARGE_BYTES_MIN {
        let start = elements.as_mut_ptr().cast::<u8>();
        let pad = start.addr().wrapping_neg() % PAGE_BYTES_MAX;
        advise_large(start.wrapping_add(pad), (bytes - pad) / PAGE_BYTES_MAX * PAGE_BYTES_MAX);
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
fn advise_large(start: *mut u8, bytes: usize) {
    use rustix::mm::{Advice, madvise};
    // SAFETY: this advice leaves every byte as it is and mapped where it is; it only says of which size the pages below may
    // be. The range lies within one live allocation of the caller, so that it speaks of nobody else's memory.
    let advised = unsafe { madvise(start.cast(), bytes, Advice::LinuxHugepage) };
    // A kernel without large pages refuses, and its ordinary ones serve.
    advised.unwrap_or_default();
}

#[cfg(not(all(target_os = "linux", not(miri))))]
const fn advise_large(_: *mut u8, _: usize) {}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn prefetch_line(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: PREFETCHT0 belongs to SSE, which every x86-64 target has. It is a hint: it reads no value into the program,
    // writes nothing and raises no fault for any address, mapped or not, so `address` carries no requirement.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
fn prefetch_line(address: *const i8) {
    // SAFETY: PRFM belongs to the base instruction set. It is a hint: it writes no register, no flag and no memory, and
    // raises no synchronous fault for any address, mapped or not. The options state just that.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{address}]",
            address = in(reg) address,
            options(readonly, nostack, preserves_flags)
        );
    }
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
#[inline(always)]
const fn prefetch_line(_: *const i8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefetching_changes_nothing_and_never_faults() {
        let elements: Vec<u64> = (0..1_000).collect();
        // Inside, one past the end, far outside of anything mapped, and an address that wraps around.
        for index in [0, 999, 1_000, 1 << 40, usize::MAX] {
            prefetch_read(&elements, index);
        }
        prefetch_read::<u64>(&[], 0);
        prefetch_read(&[(); 3], 2);
        prefetch_read(&[[0_u64; 64]; 2], 1);
        assert!(elements.iter().copied().eq(0..1_000));
    }

    #[test]
    fn advice_on_pages_keeps_every_byte() {
        // Written before, written after, and no whole page at all.
        let mut elements: Vec<u64> = Vec::with_capacity(1 << 20);
        elements.extend(0..1 << 19);
        prefer_large_pages(&mut elements);
        elements.extend(1 << 19..1 << 20);
        prefer_large_pages(&mut elements);
        assert!(elements.iter().copied().eq(0..1 << 20));
        let mut small = vec![7_u8; LARGE_BYTES_MIN];
        prefer_large_pages(&mut small);
        prefer_large_pages::<u8>(&mut Vec::new());
        assert!(small.iter().all(|&byte| byte == 7));
    }
}
