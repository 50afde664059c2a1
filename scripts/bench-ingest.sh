#!/usr/bin/env bash
# Pollux beside the baseline peer: the same load on both, alternating, into one folder of results.
# Exit codes: 0 all runs succeeded, 1 a build or a run failed, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly ALL_CASES="batched-max batched-random batched-5m batched-max-records coalesced-max single-max single-100k percall-max latency-100k plant"
readonly INVOCATION="scripts/bench-ingest.sh $*"
# A server that never says it listens has failed; a busy machine needs a moment.
readonly READY_TRIES=200 # of 50 ms
# A server outlives its load by this much at most: it is told to stop, the limit is for a script that was killed.
readonly SERVER_SPARE_S=60

usage() {
  cat <<TEXT
usage: scripts/bench-ingest.sh [options]
  --pairs N         pairs of runs for each case (default 5)
  --duration-s N    seconds of load in each run (default 5)
  --quick           one pair of two seconds, outside results/ unless --out says otherwise
  --cases A,B       only these cases (default: all of them)
  --only SIDE       only pollux, or only peer
  --out DIR         folder of the result; must not exist
  --pollux FILE     this binary instead of building one
  --peer FILE       this binary instead of building one
cases: $ALL_CASES
TEXT
}

die_usage() {
  printf 'bench-ingest: %s\n' "$1" >&2
  usage >&2
  exit 2
}

fail() {
  printf 'bench-ingest: %s\n' "$1" >&2
  exit 1
}

# --- What is known of Pollux' command line: these three functions, and nothing else in this file.

pollux_certs() { # DIR
  "$POLLUX" certs init --dir "$1"
}

# Sets COMMAND to a server that reports into DIR. It asks devices for nothing, because the peer does not either.
pollux_serve() { # DIR SECONDS
  COMMAND=("$POLLUX" serve --set net.addr=127.0.0.1:0 --set http.addr=127.0.0.1:0 --set net.max_sessions=4096
    --set "tls.cert=$CERTS/server.pem" --set "tls.key=$CERTS/server.key" --set tls.client_auth=off
    --report "$1" --duration-s "$2" -o json)
}

# Sets COMMAND to the load of a case against ADDR.
pollux_simulate() { # CASE ADDR DIR
  local load
  # Periods of paced devices are no multiples of the tick's: with one that is, each device would come at the same moment of every
  # tick, and a median of the wait for the tick would be one draw of these moments, 16 us more or less with a thousand.
  case "$1" in
    batched-max | batched-max-records)
      load="--devices 10000 --profile industrial --sessions 1 --rate-hz max --batch 36" ;;
    batched-random)
      load="--devices 10000 --profile industrial --sessions 1 --rate-hz max --batch 36 --sampling random" ;;
    batched-5m)
      load="--devices 10000 --profile industrial --sessions 1 --rate-hz 100.07 --batch 36" ;;
    coalesced-max)
      load="--devices 10000 --profile industrial --sessions 1 --rate-hz max --batch 1 --frames-per-packet auto" ;;
    single-max)
      load="--devices 10000 --profile industrial --sessions 1 --rate-hz max --batch 1 --frames-per-packet 1" ;;
    single-100k)
      load="--devices 1000 --profile single --sessions 1 --rate-hz 100.07 --batch 1 --frames-per-packet 1" ;;
    percall-max)
      load="--devices 10000 --profile industrial --sessions 1 --rate-hz max --batch auto" ;;
    latency-100k)
      load="--devices 1000 --profile single --sessions 1 --rate-hz 100.07 --batch auto" ;;
    plant)
      load="--devices 1000 --profile industrial --sessions 1000 --rate-hz 20.014 --batch 5" ;;
  esac
  read -ra load <<<"$load"
  COMMAND=("$POLLUX" simulate --addr "$2" --ca "$CERTS/ca.pem" "${load[@]}"
    --duration-s "$DURATION_S" --seed 1 --report "$3" -o json)
}

# --- What is known of the peer's.

# The form of a channel item that the peer's user would choose for the load: a `Vec` where a datagram holds several
# records, a plain record where it holds one. batched-max-records is what happens before that user looks at a profile.
peer_channel() { # CASE
  case "$1" in
    batched-max-records | coalesced-max | single-max | single-100k) echo records ;;
    *) echo datagrams ;;
  esac
}

# Sets COMMAND to a server that reports into DIR, in the place on the host that Pollux takes for itself.
peer_serve() { # DIR SECONDS CASE
  COMMAND=(scripts/placed.py "$PEER" --addr 127.0.0.1:0 --cert "$CERTS/server.pem" --key "$CERTS/server.key"
    --tick-hz 1000 --channel "$(peer_channel "$3")" --report "$1" --duration-s "$2" -o json)
}

# --- Runs

SERVER_PID="" GENERATOR_PID=""

# Ends what this script started, whatever ended the script.
stop_children() {
  local pid
  for pid in $GENERATOR_PID $SERVER_PID; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}
trap stop_children EXIT
trap 'exit 1' INT TERM

# Waits for the server's `listening` line and sets ADDR.
await_listening() { # LOG
  local try
  for ((try = 0; try < READY_TRIES; try++)); do
    ADDR="$(sed -nE 's/.*listening (quic )?([^ ]+:[0-9]+).*/\2/p' "$1" | head -n 1)"
    [[ -n "$ADDR" ]] && return 0
    kill -0 "$SERVER_PID" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

# The command as typed, with the folder of the result left open.
note_command() { # FILE
  printf '%q ' "${COMMAND[@]}" | sed -e "s|$OUT|OUT|g" -e 's/ $/\n/' >>"$1"
}

# One server, one load, one folder.
run_once() { # CASE SIDE DIR
  local case_name="$1" side="$2" dir="$3"
  mkdir -p "$dir"
  cat /proc/loadavg >"$dir/loadavg.txt"
  "${side}_serve" "$dir/server" "$((DURATION_S + SERVER_SPARE_S))" "$case_name"
  note_command "$dir/command.txt"
  "${COMMAND[@]}" >"$dir/server.log" 2>&1 &
  SERVER_PID=$!
  await_listening "$dir/server.log" || give_up "$dir/server.log" "$side did not start to listen"
  pollux_simulate "$case_name" "$ADDR" "$dir/generator"
  note_command "$dir/command.txt"
  # In the background, because a trap only runs at once while the shell itself waits.
  timeout --kill-after=5 "$((DURATION_S + SERVER_SPARE_S))" "${COMMAND[@]}" >"$dir/generator.log" 2>&1 &
  GENERATOR_PID=$!
  wait "$GENERATOR_PID" ||
    give_up "$dir/generator.log" "the load on $side failed in $case_name"
  GENERATOR_PID=""
  kill -TERM "$SERVER_PID" 2>/dev/null || give_up "$dir/server.log" "$side ended before it was told to"
  wait "$SERVER_PID" || give_up "$dir/server.log" "$side did not end well in $case_name"
  SERVER_PID=""
  [[ -s "$dir/server/summary.json" ]] || give_up "$dir/server.log" "$side wrote no summary"
  [[ -s "$dir/generator/summary.json" ]] || give_up "$dir/generator.log" "the load wrote no summary"
}

# Shows the end of a log and fails.
give_up() { # LOG MESSAGE
  tail -n 20 "$1" >&2 || true
  fail "$2 (see $1)"
}

# On a busy machine two runs of the same program differ by half: better to know that before than after.
warn_if_busy() {
  awk -v cores="$(nproc)" '$1 > cores / 4 {
    printf "bench-ingest: load average %s on %d cores: others are at work, the figures will say so\n", $1, cores
  }' /proc/loadavg >&2
}

# The sides of a pair, the first one changing from pair to pair, so that a drift of the machine falls on both.
sides_of_pair() { # N
  if [[ "$ONLY" != both ]]; then
    echo "$ONLY"
  elif (($1 % 2 == 1)); then
    echo "pollux peer"
  else
    echo "peer pollux"
  fi
}

run_all() {
  local cases sides total done_runs=0 started=$SECONDS n case_name side
  read -ra cases <<<"$CASES"
  read -ra sides <<<"$(sides_of_pair 1)"
  total=$((${#cases[@]} * PAIRS * ${#sides[@]}))
  for case_name in "${cases[@]}"; do
    for ((n = 1; n <= PAIRS; n++)); do
      for side in $(sides_of_pair "$n"); do
        run_once "$case_name" "$side" "$OUT/raw/$case_name/$n-$side"
        done_runs=$((done_runs + 1))
        printf '[%d/%d] %s %d %s, about %d s left\n' "$done_runs" "$total" "$case_name" "$n" "$side" \
          $(((SECONDS - started) * (total - done_runs) / done_runs)) >&2
      done
    done
  done
}

write_readme() {
  cat >"$OUT/README.md" <<TEXT
# Ingest: Pollux beside the ordinary build

**Question.** What does it cost to bring a record from the network into the world, and how late is it there, in Pollux
and in the ordinary build of the same job (\`bench/peers/quinn-bevy\`: quinn, tokio, bounded channels, bevy_ecs)?

**Command.** \`command.txt\`; the two commands of each single run lie beside its raw data. Both sides meet the same load
generator, \`pollux simulate\`; runs alternate, $PAIRS for each case and side, $DURATION_S s each.

**Cases.** 50,000 sensors behind one gateway, flat out: \`batched\` has 36 records a DATAGRAM frame, \`percall\` hands over one record a
call and lets the sender pack them, \`coalesced\` has frames of one record, \`single\` packets of one. \`batched-random\` draws the sensor
of each record, as behind a gateway that reports changes; in all others sensors take turns. \`batched-max-records\` is the peer with a
channel of records and not of batches. \`batched-5m\` offers 5 million records a second, half of what either side applies flat out. \`single-100k\` and
\`latency-100k\` are 1,000 sensors and 100,000 records a second; \`plant\` is 1,000 devices with sessions and five sensors each, at 20 Hz.

**How to read it.** \`summary.md\` holds medians over the runs. CPU is that of the whole server process, in user space and
kernel, from the first to the last applied record, over the records applied in that time. A ratio is the peer's median
over Pollux' (for rates, Pollux' over the peer's), and beside it the median and the range of the ratios of the pairs: where
they disagree, the machine was not quiet, and \`loadavg.txt\` beside each run says when. Latency runs up to the write into the world,
from the intended send time and from the receive time (see the notes below the table), and contains the wait for the tick;
the periods of paced devices are no multiples of the tick's, so that each meets it at all its moments. \`raw/CASE/N-SIDE/\` keeps what server and generator wrote, HDR files included.

**What it does not show.** A network: loopback runs the receive path of the kernel in the sender's context, so the
servers are spared it alike. A machine of its own for the generator: it shares the cores, and at full rate it may be the
limit. Long runs, loss, many tiers at once. Differences in delivered share at full rate are overload behaviour, not
defects. The peer does less for each record; its README lists what.

The host is in \`host.json\`.
TEXT
}

parse_options() {
  PAIRS=5 DURATION_S=5 CASES="$ALL_CASES" ONLY=both OUT="" POLLUX="" PEER="" QUICK=0
  local stamp
  stamp="$(date -u +%Y-%m-%d)-$(uname -n)-ingest"
  local default_out="results/$stamp"
  while (($# > 0)); do
    case "$1" in
      --quick) QUICK=1 PAIRS=1 DURATION_S=2 default_out="target/bench-ingest/$(date -u +%H%M%S)-$stamp" ;;
      -h | --help)
        usage
        exit 0
        ;;
      --pairs | --duration-s | --cases | --only | --out | --pollux | --peer)
        (($# > 1)) || die_usage "$1 needs a value"
        case "$1" in
          --pairs) PAIRS="$2" ;;
          --duration-s) DURATION_S="$2" ;;
          --cases) CASES="${2//,/ }" ;;
          --only) ONLY="$2" ;;
          --out) OUT="$2" ;;
          --pollux) POLLUX="$2" ;;
          --peer) PEER="$2" ;;
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
  [[ "$PAIRS" =~ ^[1-9][0-9]{0,2}$ ]] || die_usage "--pairs takes 1 to 999, not '$PAIRS'"
  [[ "$DURATION_S" =~ ^[1-9][0-9]{0,3}$ ]] || die_usage "--duration-s takes 1 to 9999, not '$DURATION_S'"
  [[ "$ONLY" =~ ^(both|pollux|peer)$ ]] || die_usage "--only takes pollux or peer, not '$ONLY'"
  [[ ! -e "$OUT" ]] || die_usage "$OUT exists: a result is not changed after it was written"
  local case_name
  [[ -n "${CASES// /}" ]] || die_usage "--cases names no case"
  for case_name in $CASES; do
    [[ " $ALL_CASES " == *" $case_name "* ]] || die_usage "unknown case '$case_name'"
  done
}

# What goes into results/ names the commit of the tree, so that binaries have to be of it.
is_of_head() {
  PYTHONPATH=scripts:scripts/sweep python3 - "$OUT" "$POLLUX" ${PEER:+"$PEER"} <<'PYTHON'
import sys
import places, result
out, *programs = sys.argv[1:]
other = result.not_of_head(out, places.Local(), programs, "leave out --pollux and --peer")
sys.exit(f"bench-ingest: {other}" if other else 0)
PYTHON
}

build() {
  if [[ -z "$POLLUX" ]]; then
    cargo build --release --locked
    POLLUX="${CARGO_TARGET_DIR:-target}/release/pollux"
  fi
  if [[ -z "$PEER" && "$ONLY" != pollux ]]; then
    cargo build --release --locked --target-dir "${CARGO_TARGET_DIR:-target}" --manifest-path bench/peers/quinn-bevy/Cargo.toml
    PEER="${CARGO_TARGET_DIR:-target}/release/quinn-bevy"
  fi
  [[ -x "$POLLUX" ]] || fail "$POLLUX is no program"
  [[ "$ONLY" == pollux || -x "$PEER" ]] || fail "$PEER is no program"
  ((QUICK)) || is_of_head
}

main() {
  parse_options "$@"
  check_options
  command -v python3 >/dev/null || fail "python3 is needed for the summary"
  warn_if_busy
  build
  # Fresh certificates below the build directory, which nobody commits.
  CERTS="target/bench-ingest/certs"
  rm -rf "$CERTS"
  mkdir -p "$CERTS" "$OUT"
  pollux_certs "$CERTS" >"$CERTS/init.log" 2>&1 || give_up "$CERTS/init.log" "certificates could not be made"
  printf '%s\n' "$INVOCATION" >"$OUT/command.txt"
  POLLUX="$POLLUX" python3 scripts/describe-host.py >"$OUT/host.json"
  write_readme
  run_all
  python3 scripts/summarize-ingest.py "$OUT"
  printf 'wrote %s\n' "$OUT" >&2
}

main "$@"
