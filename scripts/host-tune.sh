#!/usr/bin/env bash
# Settings of the kernel that make the tail of a latency shorter, applied until `undo` or the next start of the host.
# Exit codes: 0 done, 1 a setting could not be written, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly SYSCTL_FILE=deploy/90-pollux-sysctl.conf
# Nothing deeper than the time that the tick spins ahead.
readonly IDLE_EXIT_MAX_US=50
# Received packets that a card holds: 50 ms at line rate.
readonly CARD_RING=4096

usage() {
  cat <<TEXT
usage: scripts/host-tune.sh apply [--hot CORES] | undo | show
  apply   writes the settings and keeps the values that were there
  undo    writes those back
  show    prints what apply would change
  --hot CORES   cores of workers and tick thread, as 2,3: interrupts go to the others
A card with few places for received packets gets more, by ethtool: its link goes down for a moment.
environment: TUNE_ROOT (default /), TUNE_STATE (default /run/pollux-host-tune, gone with the settings when the host starts)
TEXT
}

die_usage() {
  printf 'host-tune: %s\n' "$1" >&2
  usage >&2
  exit 2
}

# Places of a card for received packets, in force or at most; nothing where it does not say, or where there is no ethtool.
ring_of() { # CARD current|most
  local line=1
  [[ "$2" == most ]] || line=2
  { ethtool -g "$1" 2>/dev/null || true; } | sed -nE 's/^RX:[[:space:]]*([0-9]+)$/\1/p' | sed -n "${line}p"
}

# `ring/CARD PLACES` for each card with a carrier that could have more; it is no file, and ethtool sets it.
rings() {
  local device card most
  for device in "$ROOT"/sys/class/net/*/device; do
    card="$(basename "$(dirname "$device")")"
    [[ -e "$device" && "$(cat "${device%/device}/carrier" 2>/dev/null)" == 1 ]] || continue
    most="$(ring_of "$card" most)"
    [[ -z "$most" ]] || printf 'ring/%s %s\n' "$card" "$((most < CARD_RING ? most : CARD_RING))"
  done
}

# Whether the host has such a setting.
has() { # FILE
  [[ "$1" == ring/* || -e "$ROOT/$1" ]]
}

# Every setting as FILE and VALUE, relative to the root, one line each. Files that the host lacks are left out.
settings() {
  local file value core state
  while IFS=' =' read -r name value; do
    printf 'proc/sys/%s %s\n' "${name//.//}" "$value"
  done < <(sed -E -e 's/#.*//' -e '/^[[:space:]]*$/d' -e 's/[[:space:]]*=[[:space:]]*/=/' "$SYSCTL_FILE")
  printf 'proc/sys/kernel/%s 0\n' sched_autogroup_enabled nmi_watchdog numa_balancing
  printf 'sys/kernel/mm/transparent_hugepage/enabled madvise\n'
  for file in "$ROOT"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do
    [[ -e "$file" ]] && printf '%s performance\n' "${file#"$ROOT"/}"
  done
  for state in "$ROOT"/sys/devices/system/cpu/cpu[0-9]*/cpuidle/state[0-9]*; do
    [[ -e "$state/disable" ]] || continue
    (($(<"$state/latency") <= IDLE_EXIT_MAX_US)) || printf '%s/disable 1\n' "${state#"$ROOT"/}"
  done
  rings
  [[ -n "$HOT" ]] || return 0
  core="$(cold_cores)"
  [[ -n "$core" ]] || die_usage "--hot $HOT leaves no core for interrupts"
  for file in "$ROOT"/proc/irq/[0-9]*/smp_affinity_list; do
    [[ -e "$file" ]] && printf '%s %s\n' "${file#"$ROOT"/}" "$core"
  done
}

# The online cores that are not hot, as a list for the kernel.
cold_cores() {
  local part first last core list=""
  for part in $(tr ',' ' ' <"$ROOT/sys/devices/system/cpu/online"); do
    first="${part%-*}" last="${part#*-}"
    for ((core = first; core <= last; core++)); do
      [[ ",$HOT," == *",$core,"* ]] || list+=",$core"
    done
  done
  printf '%s' "${list#,}"
}

# What a file holds; of a choice such as `always [madvise] never`, the word that is chosen.
current() { # FILE
  if [[ "$1" == ring/* ]]; then
    ring_of "${1#ring/}" current
  else
    sed -nE -e '1s/.*\[([^]]+)\].*/\1/' -e '1p' "$ROOT/$1" 2>/dev/null
  fi
}

# A buffer that is larger already is left alone.
enough() { # FILE NOW VALUE
  [[ "$2" == "$3" ]] && return 0
  [[ "$1" == proc/sys/net/core/* || "$1" == ring/* ]] && ((${2:-0} >= $3))
}

show() {
  settings | while read -r file value; do
    has "$file" || continue
    now="$(current "$file")"
    enough "$file" "$now" "$value" || printf '%s: %s -> %s\n' "$file" "$now" "$value"
  done
}

# 1 where a setting cannot be written, 2 for an interrupt that the kernel keeps on its core: that is said, and is no failure.
write() { # FILE VALUE
  if [[ "$1" == ring/* ]]; then
    ethtool -G "${1#ring/}" rx "$2" >/dev/null 2>&1 && return 0
  else
    printf '%s\n' "$2" 2>/dev/null >"$ROOT/$1" && return 0
  fi
  printf 'host-tune: %s cannot be set to %s\n' "$1" "$2" >&2
  [[ "$1" == proc/irq/* ]] && return 2
  return 1
}

# Writes a setting, prints LINE if that was done, and keeps in `failed` that one was not.
write_and_tell() { # FILE VALUE LINE
  local code=0
  write "$1" "$2" || code=$?
  ((code != 1)) || failed=1
  ((code == 0)) && printf '%s\n' "$3"
}

apply() {
  local file value now failed=0
  mkdir -p "$(dirname "$STATE")"
  # A second apply must not take tuned values for those of the host.
  [[ ! -e "$STATE" ]] || { echo "host-tune: applied already; undo first" >&2; exit 2; }
  local changes
  changes="$(settings)"
  : >"$STATE"
  while read -r file value; do
    has "$file" || continue
    now="$(current "$file")"
    if enough "$file" "$now" "$value"; then continue; fi
    if write_and_tell "$file" "$value" "$file: $now -> $value"; then
      printf '%s %s\n' "$file" "$now" >>"$STATE"
    fi
  done <<<"$changes"
  return "$failed"
}

undo() {
  local file value failed=0
  [[ -e "$STATE" ]] || { echo "host-tune: nothing is applied" >&2; return 0; }
  while read -r file value; do
    write_and_tell "$file" "$value" "$file: $value" || true
  done <"$STATE"
  ((failed)) || rm -f "$STATE"
  return "$failed"
}

main() {
  local command="${1:-}"
  ROOT="${TUNE_ROOT:-/}" HOT=""
  ROOT="${ROOT%/}"
  STATE="${TUNE_STATE:-/run/pollux-host-tune}"
  case "$command" in
    apply | undo | show) shift ;;
    -h | --help) usage; exit 0 ;;
    *) die_usage "what is to be done? '$command'" ;;
  esac
  if [[ "${1:-}" == --hot && "$command" != undo ]]; then
    [[ "${2:-}" =~ ^[0-9]+(,[0-9]+)*$ ]] || die_usage "--hot takes cores as 2,3, not '${2:-}'"
    HOT="$2"
    shift 2
  fi
  (($# == 0)) || die_usage "unknown option $1"
  "$command"
}

main "$@"
