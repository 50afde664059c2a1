//! A hint to the cache: this element is read soon.
//!
//! A lookup in a table that is larger than the cache waits for memory; a group of lookups that asks for all its lines first
//! waits about once. The hint changes no value, never faults and needs no bounds check. On processors without such an
//! instruction it does nothing. This is the only file of the crate that uses `unsafe`.

#![allow(unsafe_code, reason = "the prefetch instruction has no safe form; its proof stands below")]

/// Asks the cache for the line in which `elements[index]` starts. An index past the end is allowed and has no effect that a
/// program can see.
#[inline(always)]
pub fn prefetch_read<T>(elements: &[T], index: usize) {
    hint(elements.as_ptr().wrapping_add(index).cast());
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn hint(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: PREFETCHT0 belongs to SSE, which every x86-64 target has. It is a hint: it reads no value into the program,
    // writes nothing and raises no fault for any address, mapped or not, so `address` carries no requirement.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
fn hint(address: *const i8) {
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
const fn hint(_: *const i8) {}

#[cfg(test)]
mod tests {
    use super::prefetch_read;

    #[test]
    fn hint_changes_nothing_and_never_faults() {
        let elements: Vec<u64> = (0..1_000).collect();
        // Inside, one past the end, far outside of anything mapped, and an address that wraps around.
        for index in [0, 999, 1_000, 1 << 40, usize::MAX] {
            prefetch_read(&elements, index);
        }
        prefetch_read::<u64>(&[], 0);
        prefetch_read(&[(); 3], 2);
        assert!(elements.iter().copied().eq(0..1_000));
    }
}
