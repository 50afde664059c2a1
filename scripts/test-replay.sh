#!/usr/bin/env bash
# A capture replays to the same world on x86-64 and on AArch64: one run is captured on each, and each is replayed on both.
# The binary of AArch64 runs under qemu, which computes as the board does and takes some forty times as long.
# usage: scripts/test-replay.sh [BINARY]   (default target/cm5/pollux of scripts/build-cm5.sh)
# Environment: HERE_POLLUX, the binary of this machine (default: target/debug/pollux, which is built).
# Exit codes: 0 the worlds agree, 1 they differ, 3 something that it needs is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

there="$(realpath "${1:-target/cm5/pollux}")"
command -v qemu-aarch64-static >/dev/null || { echo "test-replay: apt-get install qemu-user-static" >&2; exit 3; }
[[ -x "$there" ]] || { echo "test-replay: $there is not there: scripts/build-cm5.sh makes it" >&2; exit 3; }
here="${HERE_POLLUX:-target/debug/pollux}"
[[ -n "${HERE_POLLUX:-}" ]] || cargo build --quiet --locked -p twin

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cat >"$work/there" <<TEXT
#!/bin/sh
exec qemu-aarch64-static -cpu cortex-a76 "$there" "\$@"
TEXT
chmod +x "$work/there"

# capture NAME BINARY: a demo of every tier, with crossings, rules and their commands, and faults that are injected.
capture() {
  POLLUX_CAPTURE__FILE="$work/$1.capture" POLLUX_TICK__HZ=200 POLLUX_FAULT__SEED=7 POLLUX_FAULT__LOSS=0.01 \
    POLLUX_FAULT__DUPLICATE=0.01 POLLUX_FAULT__CORRUPT=0.01 POLLUX_FAULT__DELAY_TICKS=2 \
    "$2" demo --devices 20 --duration-s 5 >"$work/$1.log" 2>&1 || { cat "$work/$1.log" >&2; exit 1; }
}

# replayed NAME BINARY: what a replay of this capture comes to, without the times that it took.
replayed() {
  "$2" replay "$work/$1.capture" --check -o json |
    python3 -c 'import json, sys
of = json.load(sys.stdin)
assert of["exact"] and of["ticks"] > 100 and of["records"] > 1000 and of["crossings"] > 0, of
print({key: of[key] for key in sorted(of) if key not in ("elapsed_s", "records_per_s")})'
}

for name in x86-64 aarch64; do
  binary="$here"
  [[ $name == x86-64 ]] || binary="$work/there"
  capture "$name" "$binary"
  replayed "$name" "$here" >"$work/$name.on-x86-64"
  replayed "$name" "$work/there" >"$work/$name.on-aarch64"
  cmp "$work/$name.on-x86-64" "$work/$name.on-aarch64" || { echo "test-replay: the capture of $name replays to two worlds" >&2; exit 1; }
  "$here" inspect "$work/$name.capture" --records >"$work/$name.csv"
  "$work/there" inspect "$work/$name.capture" --records | cmp - "$work/$name.csv"
  echo "captured on $name, replayed on both: $(cat "$work/$name.on-x86-64")"
done
