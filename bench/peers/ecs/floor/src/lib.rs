//! The floor: every case written by hand over vectors, for one purpose each. No library can be expected below it, and all
//! checksums are compared with its own.

#![forbid(unsafe_code)]

mod suite;
mod twin;

use bench_harness::Library;

/// The floor and its forms.
#[must_use]
pub fn library() -> Library {
    twin::with_cases(suite::with_cases(Library::new("floor")))
}

/// Compares all forms of `library` on small worlds with the floor.
///
/// # Panics
/// If a form leaves other results behind than the floor, with the name of the first one.
pub fn assert_same_work(library: &Library) {
    let floor = bench_harness::checksums(&self::library());
    for ((case, form), checksum) in bench_harness::checksums(library) {
        let expected = floor[&(case, "")];
        assert_eq!(checksum, expected, "{} differs from the floor in {case} {form}", library.name);
    }
}
