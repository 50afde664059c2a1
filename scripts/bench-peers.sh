#!/usr/bin/env bash
# Pollux beside what a user would pick instead, on the same records, alternating; `--help` says how.
# Exit codes: 0 all runs succeeded, 1 a build or a run failed, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v python3 >/dev/null || { echo "bench-peers: python3 is needed" >&2; exit 1; }
exec python3 scripts/peers/run.py "$@"
