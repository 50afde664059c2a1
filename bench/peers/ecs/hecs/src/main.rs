//! Runs hecs.

#![forbid(unsafe_code)]

mod suite;
mod twin;

use bench_harness::Library;

fn library() -> Library {
    twin::with_cases(suite::with_cases(Library::new("hecs")))
}

fn main() -> anyhow::Result<()> {
    bench_harness::main(&library())
}

#[test]
fn every_case_does_the_work_of_the_floor() {
    bench_floor::assert_same_work(&library());
}
