#!/usr/bin/env bash
# Counts the instructions of fixed work under callgrind and compares them with those that are committed: a performance test
# that no busy machine disturbs. `--help` says how. Exit codes: 0 as good or better, 1 worse or broken, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "instructions: valgrind is needed (apt-get install valgrind)" >&2; exit 1; }
exec python3 scripts/instructions.py "$@"
