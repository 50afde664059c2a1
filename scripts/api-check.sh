#!/usr/bin/env bash
# Holds the API of a running twin to its description: requests made from twin/src/http/openapi.json, right and wrong ones,
# have to be answered as it says. A twin with a small load is started for it; schemathesis comes from PyPI into target/.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: scripts/api-check.sh [--examples N] [--binary FILE] [--help]

  --examples N   requests made up for each operation (20; a longer run is 500)
  --binary FILE  the twin (target/debug/pollux, built first)
END
}

examples=20
binary=
while [ $# -gt 0 ]; do
  case "$1" in
    --examples) examples=${2:?--examples needs a number}; shift 2 ;;
    --binary) binary=${2:?--binary needs a file}; shift 2 ;;
    --help | -h) usage; exit 0 ;;
    *) echo "api-check.sh: unknown argument '$1'" >&2; usage >&2; exit 64 ;;
  esac
done

if [ -z "$binary" ]; then
  cargo build --quiet --locked -p twin
  binary=target/debug/pollux
fi

venv=target/api-venv
if ! "$venv/bin/pip" install --quiet --requirement scripts/api/requirements.txt 2>/dev/null; then
  echo "   installing $(tr '\n' ' ' <scripts/api/requirements.txt)into $venv (PyPI)"
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement scripts/api/requirements.txt
fi

work=$(mktemp -d)
demo=
on_exit() {
  if [ -n "$demo" ]; then
    kill "$demo" 2>/dev/null || true
    wait "$demo" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap on_exit EXIT

# What runs beside the loop below may open its log after the first look at it.
: >"$work/err"
"$binary" demo --devices 20 >"$work/out" 2>"$work/err" &
demo=$!
base=
for _ in $(seq 1 100); do
  base=$(sed -n 's/^dashboard on \(http:[^ ]*[0-9]\).*/\1/p' "$work/err")
  [ -n "$base" ] && curl -fsS "$base/api/v1/overview" 2>/dev/null | grep -q '"sensors":100' && break
  sleep 0.1
done
[ -n "$base" ] || { echo "api-check.sh: the twin said no address:" >&2; cat "$work/err" >&2; exit 1; }

# Names that exist, so that not every request ends as not found.
device=$(curl -fsS "$base/api/v1/devices?limit=1" | sed 's/.*"device":"\([^"]*\)".*/\1/')
cat >"$work/schemathesis.toml" <<END
[parameters]
"path.device" = "$device"
"path.sensor" = [0, 1, 2, 3, 4, 100]
END
# What stands in the way of other origins is tested in Rust; here every request comes from this machine.
"$venv/bin/schemathesis" --config-file "$work/schemathesis.toml" run twin/src/http/openapi.json --url "$base" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
  --phases examples,coverage,fuzzing --max-examples "$examples" --workers 1 --generation-deterministic \
  --request-timeout 5 --no-color
END_STATE=$(curl -fsS -X POST "$base/api/v1/stop/clear")
echo "api-check: the API answers as it is described; the stop afterwards: $END_STATE"
