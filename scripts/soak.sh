#!/usr/bin/env bash
# A twin under everything at once, for as long as it takes: mixed load, devices that come and go, floods, stalls.
#
# It asks whether anything grows, leaks or goes astray: resident memory, file descriptors, sessions, and the account of
# every record. Exit codes: 0 all goals met, 1 something could not run, 2 wrong usage, 3 a goal was missed.
set -euo pipefail
cd "$(dirname "$0")/.."

# What may be different between the first quarter and the end, in per cent and in KiB: an allocator needs some room.
readonly GROWTH_PERCENT=5 GROWTH_KIB=4096
# What a cycle takes at least: load alone, a storm of reconnects, a flood of first packets, one of garbage, a stall. The page of a
# result says it too (scripts/summarize-soak.py).
readonly CYCLE_S=12
readonly READY_TRIES=200 # of 50 ms
# The twin ends a session after so long a silence; sessions of a storm that were cut off are gone after it.
readonly IDLE_S=5

usage() {
  cat <<TEXT
usage: scripts/soak.sh [options]
  --duration-s N   how long the load lasts, at least 30 (default 60)
  --flood-rate N   datagrams of a flood in a second (default 20000)
  --out DIR        keep what was seen as a result in this folder, which must not exist: README.md, command.txt, host.json,
                   summary.md, and logs, samples and reports below raw/
  --debug          use the binaries of the development build
TEXT
}

die_usage() {
  printf 'soak: %s\n' "$1" >&2
  usage >&2
  exit 2
}

duration_s=60 flood_rate=20000 out="" profile=release
while (($#)); do
  case "$1" in
    --duration-s) duration_s=${2:-} && shift ;;
    --flood-rate) flood_rate=${2:-} && shift ;;
    --out) out=${2:-} && shift ;;
    --debug) profile=debug ;;
    --help | -h) usage; exit 0 ;;
    *) die_usage "unknown argument '$1'" ;;
  esac
  shift
done
[[ "$duration_s" =~ ^[0-9]+$ && "$duration_s" -ge 30 ]] || die_usage "--duration-s: a whole number of seconds, at least 30"
[[ "$flood_rate" =~ ^[0-9]+$ && "$flood_rate" -ge 1 ]] || die_usage "--flood-rate: a whole number"
[[ -z "$out" || ! -e "$out" ]] || die_usage "--out: $out exists"

result=$out
scratch=$(mktemp -d)
out=${result:+$result/raw}
out=${out:-$scratch/raw}
mkdir -p "$out"

server="" load="" beside=""
stop_children() {
  local pid
  for pid in $beside $load $server; do
    kill -CONT "$pid" 2>/dev/null || true
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}
on_exit() {
  local status=$?
  stop_children
  if [[ $status -eq 0 || -n "$result" ]]; then rm -rf "$scratch"; fi
  [[ $status -eq 0 ]] || printf 'soak: exit %d; what was seen is in %s\n' "$status" "$out" >&2
}
trap on_exit EXIT
trap 'exit 1' INT TERM

fail() {
  printf 'soak: %s\n' "$1" >&2
  exit 1
}

build() {
  # The development build is that of the gate, which has everything.
  local packages=(--workspace --all-targets)
  [[ $profile == debug ]] || packages=(--release -p twin -p bench)
  cargo build --quiet --locked "${packages[@]}"
}

start_server() {
  "$pollux" certs init --dir "$certs" --gateway plant >"$out/certs.log" 2>&1
  # What runs beside the loop below may open its log after the first look at it.
  : >"$out/serve.log"
  "$pollux" serve --set net.addr=127.0.0.1:0 --set http.addr=127.0.0.1:0 --set net.max_sessions=4096 \
    --set "net.idle_timeout_ms=${IDLE_S}000" --set "tls.cert=$certs/server.pem" \
    --set "tls.key=$certs/server.key" --set "tls.ca=$certs/ca.pem" --set "tls.crl=$certs/crl.pem" --report "$out/serve" -o json >"$out/serve.json" 2>"$out/serve.log" &
  server=$!
  local try
  for ((try = 0; try < READY_TRIES; try++)); do
    quic=$(sed -nE 's/.*listening quic ([^ ]+:[0-9]+).*/\1/p' "$out/serve.log" | head -n 1)
    http=$(sed -nE 's|.*listening http (http://)?([^ /]+:[0-9]+).*|\2|p' "$out/serve.log" | head -n 1)
    [[ -z "$quic" || -z "$http" ]] || return 0
    kill -0 "$server" 2>/dev/null || fail "the twin did not start: $(tail -n 1 "$out/serve.log")"
    sleep 0.05
  done
  fail "the twin did not say where it listens"
}

# metric NAME [LABELS]: its value now, or the sum of its series.
metric() {
  python3 - "$http" "$1" "${2:-}" <<'END'
import sys, urllib.request
address, name, labels = sys.argv[1:]
with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
    lines = answer.read().decode().splitlines()
values = [
    float(line.rsplit(" ", 1)[1])
    for line in lines
    if line.split("{")[0].split(" ")[0] == name and labels in line
]
print(int(sum(values)) if values else "none")
END
}

resident_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$server/status"; }
descriptors() { find "/proc/$server/fd" -mindepth 1 2>/dev/null | wc -l; }

sample() {
  printf '%d %d %d %s %s\n' "$SECONDS" "$(resident_kib)" "$(descriptors)" "$(metric pollux_sessions)" "$1" \
    >>"$out/samples.txt"
}

# watch SECONDS WHAT: samples once a second, and sees that twin and load are alive.
watch() {
  local until=$((SECONDS + $1))
  while ((SECONDS < until)); do
    kill -0 "$server" 2>/dev/null || fail "the twin died: $(tail -n 1 "$out/serve.log")"
    sample "$2"
    sleep 1
  done
}

# with SECONDS WHAT COMMAND...: watches while the command runs beside the load.
with() {
  local seconds=$1 what=$2
  shift 2
  "$@" >>"$out/beside.log" 2>&1 &
  beside=$!
  watch "$seconds" "$what"
  wait "$beside" || fail "$what ended with an error: $(tail -n 1 "$out/beside.log")"
  beside=""
}

stall() {
  kill -STOP "$load" 2>/dev/null || fail "the load ended before its time: $(tail -n 1 "$out/simulate.log")"
  watch 1 stall
  kill -CONT "$load"
  watch 1 stall
}

cycle() {
  watch 2 load
  with 3 storm "$bench" hold --storm --addr "$quic" "${shown[@]}" --count 32 --at-once 16 --duration-s 2
  with 3 initials "$bench" flood --addr "$quic" --contents initials --rate "$flood_rate" --duration-s 2
  with 2 garbage "$bench" flood --addr "$quic" --contents garbage --rate "$flood_rate" --duration-s 1
  stall
}

missed=0
goal() { # WHAT TRUE-OR-FALSE FIGURES
  local verdict=ok
  [[ $2 == true ]] || verdict=MISSED missed=1
  printf 'soak: %-6s  %s: %s\n' "$verdict" "$1" "$3"
  printf '| %s | %s | %s |\n' "$1" "$verdict" "$3" >>"$scratch/goals"
}

# The files that make a folder a result, beside raw/.
write_result() {
  printf 'scripts/soak.sh --duration-s %s --flood-rate %s # commit %s\n' "$duration_s" "$flood_rate" \
    "$(git rev-parse --short HEAD)" >"$result/command.txt"
  python3 scripts/summarize-soak.py "$result" "$scratch/goals"
}

# Whether CONDITION, which awk evaluates, holds.
holds() { awk "BEGIN { print ($1) ? \"true\" : \"false\" }"; }

judge_growth() {
  local first last
  # The most of the first quarter, after the start, beside the most of the last.
  read -r first last < <(awk '{ at[NR] = $2 }
    END {
      for (n = 1; n <= NR; n++) {
        if (n > NR / 8 && n <= NR * 3 / 8 && at[n] > first) first = at[n]
        if (n > NR * 3 / 4 && at[n] > last) last = at[n]
      }
      print first, last
    }' "$out/samples.txt")
  goal "memory does not grow" \
    "$(holds "$last <= $first * (100 + $GROWTH_PERCENT) / 100 + $GROWTH_KIB")" \
    "resident $first KiB early, $last KiB late"
}

judge_account() {
  local tiers
  tiers=$(python3 - "$out/serve/summary.json" <<'END'
import json, sys
tiers = json.load(open(sys.argv[1], encoding="utf-8"))["tiers"]
print(*(f"{name}: applied {tier['applied']}, residual {tier['residual']};" for name, tier in tiers.items()))
END
  )
  goal "every record is accounted for" "$([[ $tiers =~ residual\ -?[1-9] ]] && echo false || echo true)" "$tiers"
}

certs=$scratch/certs
pollux=target/$profile/pollux bench=target/$profile/bench quic="" http=""
shown=(--ca "$certs/ca.pem" --cert "$certs/gateway-plant.pem" --key "$certs/gateway-plant.key")
build
[[ -z "$result" ]] || POLLUX="$pollux" python3 scripts/describe-host.py >"$result/host.json"
start_server
descriptors_before=$(descriptors)
"$pollux" simulate --addr "$quic" "${shown[@]}" --devices 100 --sessions 50 --rate-hz 20 \
  --t2-rate-hz 2 --t3-rate-hz 0.2 --duration-s "$duration_s" -o json >"$out/simulate.json" 2>"$out/simulate.log" &
load=$!
SECONDS=0
# On a crowded host a cycle takes longer than it sleeps; none begins that the load might not outlast.
longest_s=$CYCLE_S
while ((SECONDS + longest_s * 3 / 2 + 1 <= duration_s)); do
  began_s=$SECONDS
  cycle
  ((SECONDS - began_s <= longest_s)) || longest_s=$((SECONDS - began_s))
done
wait "$load" || fail "the load ended with an error: $(tail -n 1 "$out/simulate.log")"
load=""
# Sessions that nobody closed end by their idle timeout.
watch $((IDLE_S + 3)) rest

sessions=$(metric pollux_sessions)
goal "sessions end" "$(holds "$sessions == 0")" "$sessions open"
descriptors_after=$(descriptors)
goal "descriptors are given back" "$(holds "$descriptors_after <= $descriptors_before")" \
  "$descriptors_before before, $descriptors_after after"
judge_growth
retried=$(metric pollux_limits_total 'limit="unproven"')
goal "the floods arrived" "$(holds "$retried > 1000")" "$retried Initials had to prove their address"
kill -TERM "$server"
status=0
wait "$server" || status=$?
server=""
goal "the twin ends in order" "$([[ $status -eq 0 ]] && echo true || echo false)" "exit $status"
judge_account
# The intervals of an hour take tens of megabytes; the histograms of the whole run stay.
rm -f "$out"/serve/*.hlog
[[ -z "$result" ]] || write_result
[[ $missed -eq 0 ]] || exit 3
