#!/usr/bin/env bash
# The binary for the edge computer, run under qemu: the tests of wire and ecs, and the end-to-end tests of the twin, in which
# the program that is driven is that of AArch64; then captures, replayed on both. What it measures is nothing: emulated code is some forty times slower.
# usage: scripts/test-cm5.sh [BINARY]   (default target/cm5/pollux of scripts/build-cm5.sh)
# Exit codes: 0 passed, 1 failed, 3 something that it needs is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TARGET=aarch64-unknown-linux-musl
BINARY="$(realpath "${1:-target/cm5/pollux}")"

command -v qemu-aarch64-static >/dev/null || { echo "test-cm5: apt-get install qemu-user-static" >&2; exit 3; }
command -v aarch64-linux-gnu-gcc >/dev/null || { echo "test-cm5: apt-get install gcc-aarch64-linux-gnu" >&2; exit 3; }
[[ -x "$BINARY" ]] || { echo "test-cm5: $BINARY is not there: scripts/build-cm5.sh makes it" >&2; exit 3; }

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# One word for programs that start another: the emulator and the binary together.
cat >"$work/pollux" <<TEXT
#!/bin/sh
exec qemu-aarch64-static -cpu cortex-a76 "$BINARY" "\$@"
TEXT
chmod +x "$work/pollux"
"$work/pollux" --version

echo "== tests of wire and ecs, built for AArch64"
env CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld \
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-C target-feature=+crt-static -C target-cpu=cortex-a76" \
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER="qemu-aarch64-static -cpu cortex-a76" \
  CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc \
  cargo test --locked --target "$TARGET" -p wire -p ecs --lib --tests

echo "== end to end, the binary of AArch64 under qemu"
UNDER_TEST_POLLUX="$work/pollux" cargo test --locked -p twin --test end_to_end -- --test-threads 1

echo "== a capture replays to the same world here and on AArch64"
scripts/test-replay.sh "$BINARY"
