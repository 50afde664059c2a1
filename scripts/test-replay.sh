#!/usr/bin/env bash
# A capture replays to the same world on x86-64 and on AArch64: one run is captured on each, and each is replayed on both. So is
# what is left of a longer run in a file that is written round, which begins with a state of the world that the other wrote.
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

# capture NAME BINARY SECONDS [KEY=VALUE]: a demo of every tier, with crossings, rules and their commands, and faults that are injected.
capture() {
  env "${@:4}" POLLUX_CAPTURE__FILE="$work/$1.capture" POLLUX_TICK__HZ=200 POLLUX_FAULT__SEED=7 POLLUX_FAULT__LOSS=0.01 \
    POLLUX_FAULT__DUPLICATE=0.01 POLLUX_FAULT__CORRUPT=0.01 POLLUX_FAULT__DELAY_TICKS=2 \
    "$2" demo --devices 20 --duration-s "$3" >"$work/$1.log" 2>&1 || { cat "$work/$1.log" >&2; exit 1; }
}

# replayed NAME BINARY FROM: what a replay of this capture comes to, without the times that it took. FROM is `start`, or `state`
# where the file has to begin with one.
replayed() {
  "$2" replay "$work/$1.capture" --check -o json |
    python3 -c 'import json, sys
of = json.load(sys.stdin)
assert of["exact"] and of["ticks"] > 100 and of["records"] > 1000 and of["crossings"] > 0, of
assert (of["state_tick"] is not None) == (sys.argv[1] == "state"), of
print({key: of[key] for key in sorted(of) if key not in ("elapsed_s", "records_per_s")})' "$3"
}

# compare NAME FROM: this capture on both.
compare() {
  replayed "$1" "$here" "$2" >"$work/$1.on-x86-64"
  replayed "$1" "$work/there" "$2" >"$work/$1.on-aarch64"
  cmp "$work/$1.on-x86-64" "$work/$1.on-aarch64" || { echo "test-replay: the capture of $1 replays to two worlds" >&2; exit 1; }
  "$here" inspect "$work/$1.capture" --records >"$work/$1.csv"
  "$work/there" inspect "$work/$1.capture" --records | cmp - "$work/$1.csv"
  echo "captured on $1, replayed on both: $(cat "$work/$1.on-x86-64")"
}

for name in x86-64 aarch64; do
  binary="$here"
  [[ $name == x86-64 ]] || binary="$work/there"
  capture "$name" "$binary" 5
  compare "$name" start
  capture "$name-round" "$binary" 15 POLLUX_CAPTURE__KEEP=last POLLUX_CAPTURE__MAX_BYTES=1048576
  compare "$name-round" state
done
