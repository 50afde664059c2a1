//! Runs the floor.

#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    bench_harness::main(&bench_floor::library())
}
