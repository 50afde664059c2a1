#!/usr/bin/env bash
# The house's ECS beside the others: the same cases in each library, alternating, into one folder of results.
# Exit codes: 0 all runs succeeded, 1 a build or a run failed or the libraries did different work, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LIBRARIES="floor ecs bevy hecs flecs sparsey shipyard"
readonly WORKSPACE="bench/peers/ecs"
readonly INVOCATION="scripts/bench-ecs.sh $*"

usage() {
  cat <<TEXT
usage: scripts/bench-ecs.sh [options]
  --rounds N        runs of each library, in turns (default 5)
  --budget-ms N     CPU time for the samples of one case in one run (default 150)
  --cases A,B       only these cases (default: all of them)
  --quick           one round of 20 ms a case, outside results/ unless --out says otherwise
  --out DIR         folder of the result; must not exist
Environment: POLLUX_TIMED_LANE, a prefix for each timed round, such as a lock or taskset (empty)
TEXT
}

die_usage() {
  printf 'bench-ecs: %s\n' "$1" >&2
  usage >&2
  exit 2
}

fail() {
  printf 'bench-ecs: %s\n' "$1" >&2
  exit 1
}

parse_options() {
  ROUNDS=5 BUDGET_MS=150 CASES="" OUT=""
  local stamp
  stamp="$(date -u +%Y-%m-%d)-$(uname -n)-ecs"
  local default_out="results/$stamp"
  while (($# > 0)); do
    case "$1" in
      --quick) ROUNDS=1 BUDGET_MS=20 default_out="target/bench-ecs/$(date -u +%H%M%S)-$stamp" ;;
      -h | --help)
        usage
        exit 0
        ;;
      --rounds | --budget-ms | --cases | --out)
        (($# > 1)) || die_usage "$1 needs a value"
        case "$1" in
          --rounds) ROUNDS="$2" ;;
          --budget-ms) BUDGET_MS="$2" ;;
          --cases) CASES="$2" ;;
          --out) OUT="$2" ;;
        esac
        shift
        ;;
      *) die_usage "unknown option $1" ;;
    esac
    shift
  done
  OUT="${OUT:-$default_out}"
}

check_options() {
  [[ "$ROUNDS" =~ ^[1-9][0-9]{0,2}$ ]] || die_usage "--rounds takes 1 to 999, not '$ROUNDS'"
  [[ "$BUDGET_MS" =~ ^[1-9][0-9]{0,4}$ ]] || die_usage "--budget-ms takes 1 to 99999, not '$BUDGET_MS'"
  [[ ! -e "$OUT" ]] || die_usage "$OUT exists: a result is not changed after it was written"
}

# The instructions that the compiler may use: the same level for every library, C code included, if the host has it.
choose_instructions() {
  INSTRUCTIONS="the compiler's default"
  if grep -qw avx2 /proc/cpuinfo && grep -qw fma /proc/cpuinfo && grep -qw bmi2 /proc/cpuinfo; then
    INSTRUCTIONS="x86-64-v3"
    export RUSTFLAGS="-C target-cpu=x86-64-v3" CFLAGS="-march=x86-64-v3"
  fi
}

build() {
  # What examines the host is the product, built like anywhere else: not with the instructions that are chosen for the libraries.
  env -u RUSTFLAGS -u CFLAGS cargo build --release --locked -p twin
  (cd "$WORKSPACE" && cargo build --release --locked --workspace)
  BINARIES="${CARGO_TARGET_DIR:-$WORKSPACE/target}/release"
  local library
  for library in $LIBRARIES; do
    [[ -x "$BINARIES/bench-$library" ]] || fail "$BINARIES/bench-$library is no program"
  done
}

# The libraries of a round, the first one changing from round to round, so that a drift of the machine falls on all.
libraries_of_round() { # N
  local all
  read -ra all <<<"$LIBRARIES"
  local first=$((($1 - 1) % ${#all[@]}))
  echo "${all[@]:first}" "${all[@]:0:first}"
}

run_once() { # ROUND LIBRARY
  local raw="$OUT/raw/$1-$2"
  local command=("$BINARIES/bench-$2" --round "$1" --budget-ms "$BUDGET_MS")
  [[ -z "$CASES" ]] || command+=(--cases "$CASES")
  cat /proc/loadavg >"$raw.loadavg"
  "${command[@]}" >"$raw.jsonl" || fail "$2 failed in round $1 (see $raw.jsonl)"
}

run_round() { # ROUND
  local library
  for library in $(libraries_of_round "$1"); do
    run_once "$1" "$library"
  done
}

# Each round is one command behind the prefix, so that a lock is held for all libraries of a round or for none.
run_all() {
  local lane=() started=$SECONDS round
  read -ra lane <<<"${POLLUX_TIMED_LANE:-}"
  export LIBRARIES BINARIES OUT BUDGET_MS CASES
  export -f fail libraries_of_round run_once run_round
  for ((round = 1; round <= ROUNDS; round++)); do
    "${lane[@]}" bash -euc "run_round $round"
    printf '[%d/%d] about %d s left\n' "$round" "$ROUNDS" \
      $(((SECONDS - started) * (ROUNDS - round) / round)) >&2
  done
}

# On a busy machine the cases that wait for memory differ by half: better to know that before than after.
warn_if_busy() {
  awk -v cores="$(nproc)" '$1 > cores / 4 {
    printf "bench-ecs: load average %s on %d cores: others are at work, the figures will say so\n", $1, cores
  }' /proc/loadavg >&2
}

# What the page of the result says beside the figures: scripts/summarize-ecs.py writes it.
write_run() {
  python3 - "$ROUNDS" "$BUDGET_MS" "$INSTRUCTIONS" "$(realpath --relative-to="$OUT" "$WORKSPACE")" >"$OUT/run.json" <<'PYTHON'
import json, sys
rounds, budget_ms, instructions, workspace = sys.argv[1:]
print(json.dumps({"rounds": int(rounds), "budget_ms": int(budget_ms), "instructions": instructions, "workspace": workspace}))
PYTHON
}

main() {
  parse_options "$@"
  check_options
  command -v python3 >/dev/null || fail "python3 is needed for the summary"
  choose_instructions
  build
  warn_if_busy
  mkdir -p "$OUT/raw"
  printf '%s\n' "$INVOCATION" >"$OUT/command.txt"
  POLLUX="${CARGO_TARGET_DIR:-target}/release/pollux" python3 scripts/describe-host.py >"$OUT/host.json"
  write_run
  run_all
  python3 scripts/summarize-ecs.py "$OUT"
  printf 'wrote %s\n' "$OUT" >&2
}

main "$@"
