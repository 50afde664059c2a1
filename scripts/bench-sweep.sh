#!/usr/bin/env bash
# The sweep: entities x loss x load, all tiers, into one folder of results; `--help` says how.
# Exit codes: 0 all runs succeeded, 1 a build or a run failed, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v python3 >/dev/null || { echo "bench-sweep: python3 is needed" >&2; exit 1; }
exec python3 scripts/sweep/run.py "$@"
