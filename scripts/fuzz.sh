#!/usr/bin/env bash
# Fuzzes the decoders of wire: no input may panic, and what decodes must encode to the same bytes. Then the world of ecs:
# a sequence of operations leaves what a naive model holds, and bytes that are no snapshot change nothing. Then two engines
# of netloop: whatever peers and network do, nothing panics, sessions end and counts add up. Then the reader of captures: any
# bytes end.
#
# The instrumentation is a compiler option that stable Rust keeps behind RUSTC_BOOTSTRAP; it is set for this build only.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60 crates=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds)
      seconds=${2:-}
      [[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "fuzz.sh: --seconds '$seconds': a whole number above 0 is allowed" >&2; exit 64; }
      shift 2
      ;;
    wire | ecs | netloop | twin) crates+=("$1"); shift ;;
    --help | -h) echo "usage: scripts/fuzz.sh [--seconds N] [wire|ecs|netloop|twin...]   each target for N seconds (60)"; exit 0 ;;
    *) echo "fuzz.sh: unknown argument '$1'; allowed: --seconds N, wire, ecs, netloop, twin, --help" >&2; exit 64 ;;
  esac
done
[ ${#crates[@]} -gt 0 ] || crates=(wire ecs netloop twin)
cargo fuzz --version >/dev/null 2>&1 || { echo "fuzz.sh: cargo-fuzz is missing; scripts/test.sh installs it" >&2; exit 1; }

export RUSTC_BOOTSTRAP=1
# One for all workspaces: what several of them need is built once.
export CARGO_TARGET_DIR=$PWD/target/fuzz

# fuzz TARGET: runs one target of the crate in whose folder we are; its seeds lie in fuzz/corpus/TARGET, which is ignored.
fuzz() {
  echo "fuzz: $1 for $seconds s, $(find "fuzz/corpus/$1" -type f | wc -l) inputs to begin with"
  cargo fuzz run --sanitizer address "$1" -- -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 -verbosity=0
}

fuzz_wire() {
  for target in $(cargo fuzz list); do
    # The vectors are the seeds, so that a short run starts behind every length check.
    seeds=fuzz/corpus/$target
    mkdir -p "$seeds"
    case $target in
      batch) vectors=(tests/vectors/batch*.hex tests/vectors/t3*.hex) ;;
      hello) vectors=(tests/vectors/hello*.hex) ;;
      *) echo "fuzz.sh: no seeds are named for the target $target" >&2; exit 1 ;;
    esac
    for vector in "${vectors[@]}"; do
      sed 's/#.*//' "$vector" | tr -d ' \t\n' | sed 's/../\\x&/g' | xargs -0 printf '%b' >"$seeds/$(basename "$vector" .hex)"
    done
    fuzz "$target"
  done
}

fuzz_ecs() {
  for target in $(cargo fuzz list); do
    # Any bytes are operations; a few hundred of them reach every kind.
    mkdir -p "fuzz/corpus/$target"
    for seed in 1 2 3 4; do
      head -c 600 <(for n in {1..600}; do printf '%b' "\\x$(printf %x $(((n * n * seed + n) % 251)))"; done) >"fuzz/corpus/$target/$seed"
    done
    fuzz "$target"
  done
}

fuzz_netloop() {
  for target in $(cargo fuzz list); do
    mkdir -p "fuzz/corpus/$target"
    cp "fuzz/seeds/$target"/* "fuzz/corpus/$target"
    fuzz "$target"
  done
}

fuzz_twin() {
  for target in $(cargo fuzz list); do
    # Cells that begin as each kind of mark does; the target puts a header and checksums around them.
    mkdir -p "fuzz/corpus/$target"
    for kind in 1 2 3 4 5; do
      for sub in 0 1 2 3; do
        { printf '%b' "\\x$kind\\x$sub\\0\\0"; head -c 60 /dev/zero; printf '\x03'; head -c 63 /dev/zero; } >"fuzz/corpus/$target/$kind-$sub"
      done
    done
    fuzz "$target"
  done
}

for crate in "${crates[@]}"; do
  (cd "$crate" && "fuzz_$crate")
done
