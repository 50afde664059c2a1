#!/usr/bin/env bash
# The gate: format, lints as errors, all tests, docs. Run it before every push; CI runs nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo test --workspace --locked
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
