//! The floor as a library of the comparison, and the test that every adapter has to pass.

use bench_harness::Library;

use crate::{suite, twin};

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
