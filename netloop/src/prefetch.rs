//! A hint to the cache: this is written soon.
//!
//! A slot that the other end of a ring has read is in that core's cache, and a write to it waits until the line is fetched from
//! there; a few such writes fill the store buffer and hold up all that follows. The state of one session among thousands is
//! in no cache at all, and is read in an order in which one line tells where the next one is. A line that is asked for early is
//! there in time. The hint changes no value, never faults and needs no bounds check. On processors without such an
//! instruction it does nothing.

#![allow(unsafe_code, reason = "the prefetch instruction has no safe form; its proof stands below")]

/// Asks for the line in which `elements[index]` starts, to write to it. An index past the end is allowed and has no effect
/// that a program can see.
#[inline(always)]
pub(crate) fn prefetch_write<T>(elements: &[T], index: usize) {
    hint(elements.as_ptr().wrapping_add(index).cast());
}

/// Asks for all lines of `value`, to write to it.
pub(crate) fn prefetch_whole<T>(value: &T) {
    let first: *const i8 = std::ptr::from_ref(value).cast();
    for offset in (0..size_of::<T>()).step_by(LINE_BYTES) {
        hint(first.wrapping_add(offset));
    }
}

/// A line of the cache on the processors that the hint is for.
const LINE_BYTES: usize = 64;

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn hint(address: *const i8) {
    // The intrinsic becomes a prefetch for reading where the target is the oldest x86-64.
    // SAFETY: PREFETCHW is a hint, which x86-64 processors without it take as nothing: it writes no register, no flag and no
    // memory, and raises no fault for any address, mapped or not. The options state just that.
    unsafe {
        std::arch::asm!(
            "prefetchw [{address}]",
            address = in(reg) address,
            options(readonly, nostack, preserves_flags)
        );
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
fn hint(address: *const i8) {
    // SAFETY: PRFM belongs to the base instruction set. It is a hint: it writes no register, no flag and no memory, and
    // raises no synchronous fault for any address, mapped or not. The options state just that.
    unsafe {
        std::arch::asm!(
            "prfm pstl1keep, [{address}]",
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
    use super::{prefetch_whole, prefetch_write};

    #[test]
    fn hint_changes_nothing_and_never_faults() {
        let elements: Vec<u64> = (0..1_000).collect();
        // Inside, one past the end, far outside of anything mapped, and an address that wraps around.
        for index in [0, 999, 1_000, 1 << 40, usize::MAX] {
            prefetch_write(&elements, index);
        }
        prefetch_write::<u64>(&[], 0);
        prefetch_write(&[(); 3], 2);
        let value = [7_u8; 1_000];
        prefetch_whole(&value);
        prefetch_whole(&());
        assert!(value.iter().all(|byte| *byte == 7));
        assert!(elements.iter().copied().eq(0..1_000));
    }
}
