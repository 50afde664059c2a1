#!/usr/bin/env bash
# Proves that scripts/host-tune.sh writes what it says and gives back what was there, on a host made of files.
# Exit codes: 0 passed, 1 failed.
set -euo pipefail
cd "$(dirname "$0")/.."

root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT
export TUNE_ROOT="$root/host" TUNE_STATE="$root/state"

put() { # FILE TEXT
  mkdir -p "$(dirname "$TUNE_ROOT/$1")"
  printf '%s\n' "$2" >"$TUNE_ROOT/$1"
}

expect() { # FILE TEXT
  local found
  found="$(<"$TUNE_ROOT/$1")"
  [[ "$found" == "$2" ]] || { echo "test-host-tune: $1 is '$found', not '$2'" >&2; exit 1; }
}

readonly CPU=sys/devices/system/cpu
put "$CPU/online" 0-3
put "$CPU/cpu0/cpufreq/scaling_governor" ondemand
put "$CPU/cpu0/cpuidle/state1/latency" 50
put "$CPU/cpu0/cpuidle/state1/disable" 0
put "$CPU/cpu0/cpuidle/state2/latency" 300
put "$CPU/cpu0/cpuidle/state2/disable" 0
put sys/kernel/mm/transparent_hugepage/enabled "[always] madvise never"
put proc/sys/kernel/sched_autogroup_enabled 1
put proc/sys/net/core/rmem_max 212992
put proc/sys/net/core/wmem_max 99999999
put proc/irq/24/smp_affinity_list 0-3

put sys/class/net/eth0/carrier 1
mkdir -p "$TUNE_ROOT/sys/class/net/eth0/device"
# Stands for the command: it keeps the places of the card in a file.
put ring 512
mkdir "$root/bin"
cat >"$root/bin/ethtool" <<TEXT
#!/bin/sh
case "\$1 \$2" in
  "-g eth0") printf 'maximums:\nRX:\t\t8192\nRX Mini:\tn/a\nTX:\t\t4096\nCurrent:\nRX:\t\t%s\nTX:\t\t512\n' "\$(cat "$TUNE_ROOT/ring")" ;;
  "-G eth0") echo "\$4" >"$TUNE_ROOT/ring" ;;
  *) exit 1 ;;
esac
TEXT
chmod +x "$root/bin/ethtool"
export PATH="$root/bin:$PATH"

scripts/host-tune.sh show >/dev/null
expect ring 512
# A card that nobody can ask, as of a host without ethtool, is left alone.
mkdir "$root/none"
printf '#!/bin/sh\nexit 127\n' >"$root/none/ethtool"
chmod +x "$root/none/ethtool"
shown="$(PATH="$root/none:$PATH" scripts/host-tune.sh show)" || { echo "test-host-tune: show failed without ethtool" >&2; exit 1; }
if [[ "$shown" == *ring/* || "$shown" != *scaling_governor* ]]; then
  echo "test-host-tune: without ethtool, show said: $shown" >&2
  exit 1
fi
expect "$CPU/cpu0/cpufreq/scaling_governor" ondemand
scripts/host-tune.sh apply --hot 2,3 >/dev/null
expect "$CPU/cpu0/cpufreq/scaling_governor" performance
expect "$CPU/cpu0/cpuidle/state1/disable" 0
expect "$CPU/cpu0/cpuidle/state2/disable" 1
expect sys/kernel/mm/transparent_hugepage/enabled madvise
expect proc/sys/kernel/sched_autogroup_enabled 0
expect proc/sys/net/core/rmem_max 4194304
expect proc/sys/net/core/wmem_max 99999999
expect proc/irq/24/smp_affinity_list 0,1
expect ring 4096
if scripts/host-tune.sh apply 2>/dev/null; then
  echo "test-host-tune: a second apply went through" >&2
  exit 1
fi
scripts/host-tune.sh undo >/dev/null
expect "$CPU/cpu0/cpufreq/scaling_governor" ondemand
expect "$CPU/cpu0/cpuidle/state2/disable" 0
expect sys/kernel/mm/transparent_hugepage/enabled always
expect proc/sys/net/core/rmem_max 212992
expect proc/irq/24/smp_affinity_list 0-3
expect ring 512
echo "host-tune: 18 passed, 0 failed"
