#!/usr/bin/env bash
# Runs the plant in a box for as long as it is let: seed after seed on every core. Failing seeds are kept, with the least
# scenario that still fails.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: scripts/sim.sh [--seconds N] [--from SEED] [--seeds N] [--keep DIR] [--help]

  --seconds N   ends after N seconds (3600)
  --from SEED   the first seed (the seconds since 1970, so that every run has others)
  --seeds N     seeds at most (as many as there is time for)
  --keep DIR    where failing seeds are kept (target/sim)

Ends with 0 when no seed fails, with 3 when one does. One seed again: cargo run --release -p sim -- --from SEED --seeds 1
--large --verbose
END
}

seconds=3600
from=$(date +%s)
seeds=1000000000
keep=target/sim
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds | --from | --seeds | --keep)
      [ $# -ge 2 ] || { echo "sim.sh: $1 needs a value" >&2; exit 64; }
      declare "${1#--}=$2"
      shift 2
      ;;
    --help | -h) usage; exit 0 ;;
    *) echo "sim.sh: unknown argument '$1'; allowed: --seconds, --from, --seeds, --keep, --help" >&2; exit 64 ;;
  esac
done

cargo build --release --locked -p sim
cores=$(nproc)
each=$(((seeds + cores - 1) / cores))
pids=()
# What the keyboard does not reach, as in the background of another script, ends with this one.
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM HUP
for ((core = 0; core < cores; core++)); do
  target/release/sim --large --from $((from + core)) --step "$cores" --seeds "$each" --for-s "$seconds" --keep "$keep" &
  pids+=($!)
done
status=0
for pid in "${pids[@]}"; do
  wait "$pid" || status=$?
done
exit "$status"
