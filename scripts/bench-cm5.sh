#!/usr/bin/env bash
# The sweep from this machine against a twin on an edge computer, dumps brought home.
# usage: scripts/bench-cm5.sh HOST [options of scripts/bench-sweep.sh]
# HOST as ssh takes it, with the binary of scripts/deploy-cm5.sh. Its own service is left alone: the sweep starts twins of
# its own on ports that are free. Exit codes: those of scripts/bench-sweep.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
if (($# == 0)) || [[ "$1" == -* ]]; then
  sed -n '3,5s/^# //p' "$0" >&2
  exit 2
fi
TWIN="$1" exec scripts/bench-sweep.sh "${@:2}"
