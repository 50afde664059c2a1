#!/usr/bin/env bash
# Deploys to an ssh server of its own on loopback, below a folder: install, upgrade, a broken binary, a wrong configuration, a
# step that fails, a twin that does not start, a lost connection, roll-back, cores of their own, a device at what was deployed,
# a sweep against it; and lets systemd judge the unit.
# usage: scripts/test-deploy.sh [BINARY]   (default: builds target/debug/pollux)
# Exit codes: 0 passed, 1 failed. Needs sshd, systemd-analyze, python3.
set -euo pipefail
cd "$(dirname "$0")/.."

# The sweep takes only a binary of this commit, which an older build is not.
[[ -n "${1:-}" ]] || cargo build --quiet --locked -p twin
BINARY="$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/pollux}")"
# systemd calls a unit with less than this well protected.
readonly EXPOSURE_MAX_TENTHS=20

work="$(mktemp -d)"
sshd_pid="" serve_pid="" verdict="" passed=0
# A step that fails without a word, or a signal, is a verdict too.
finish() {
  local code=$?
  [[ -n "$verdict" ]] || printf 'test-deploy: ended with code %d after %d that hold, in: %s\n' "$code" "$passed" "$1" >&2
  [[ -z "$serve_pid" ]] || kill "$serve_pid" 2>/dev/null || true
  [[ -z "$sshd_pid" ]] || kill "$sshd_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap 'finish "$BASH_COMMAND"' EXIT
trap 'exit 130' HUP INT TERM

fail() {
  verdict=failed
  printf 'test-deploy: %s\n' "$1" >&2
  exit 1
}

holds() { # SENTENCE COMMAND...
  local sentence="$1"
  shift
  "$@" || fail "it does not hold that $sentence"
  passed=$((passed + 1))
}

fails() { ! "$@" >"$work/failed.log" 2>&1; }

start_sshd() {
  local port
  port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
  ssh-keygen -q -t ed25519 -N '' -f "$work/host"
  ssh-keygen -q -t ed25519 -N '' -f "$work/user"
  cp "$work/user.pub" "$work/authorized"
  mkdir -p /run/sshd "$work/there"
  cat >"$work/sshd_config" <<TEXT
ListenAddress 127.0.0.1:$port
HostKey $work/host
AuthorizedKeysFile $work/authorized
PasswordAuthentication no
PidFile none
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
SetEnv PATH=$work/fake:$PATH TMPDIR=$work/there
TEXT
  "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f "$work/sshd_config" 2>"$work/sshd.log" &
  sshd_pid=$!
  SSH="-p $port -i $work/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
  local try
  for ((try = 0; try < 100; try++)); do
    # shellcheck disable=SC2086 # options are words
    ssh -n $SSH -o BatchMode=yes 127.0.0.1 true 2>/dev/null && return
    sleep 0.05
  done
  cat "$work/sshd.log" >&2
  fail "the ssh server does not answer"
}

# Stands in for the service manager of the host, which no container has: it notes what it is asked, restarts nothing while
# `refuse` is there, and ends the deployment whose number is in `cut`. The host has as many cores as `cores` says.
fake_host() {
  mkdir "$work/fake"
  cat >"$work/fake/systemctl" <<TEXT
#!/bin/sh
echo "\$*" >>"$work/asked"
[ "\$1" != restart ] || [ ! -e "$work/refuse" ] || { rm "$work/refuse"; exit 1; }
[ "\$1" != restart ] || [ ! -e "$work/cut" ] || { kill -KILL "\$(cat "$work/cut")"; rm "$work/cut"; }
TEXT
  printf '#!/bin/sh\n' | tee "$work/fake/sysctl" >"$work/fake/journalctl"
  printf '#!/bin/sh\n[ "$*" = _NPROCESSORS_ONLN ] && cat "%s"\n' "$work/cores" >"$work/fake/getconf"
  echo 4 >"$work/cores"
  chmod +x "$work"/fake/*
}

asked() { # WORDS
  grep -qxF -- "$1" "$work/asked"
}

deploy() {
  deploy_and_start --no-start "$@"
}

deploy_and_start() {
  scripts/deploy-cm5.sh --prefix "$work/root" --ssh "$SSH" "$@" 127.0.0.1
}

same() { cmp -s "$1" "$2"; }

# What is installed below a folder, by content, with what `--roll-back` would put there: all but the page, and the certificates,
# which stay.
installed() { # FOLDER
  (cd "$1" && find . -type f ! -path './usr/local/share/*' ! -name '*.pem' ! -name '*.key' ! -name .lock -exec sha256sum {} + |
    sort -k 2)
}

check_deployment() {
  local bin="$work/root/usr/local/bin"
  deploy --binary "$BINARY"
  holds "the binary arrives whole" same "$BINARY" "$bin/pollux"
  holds "there is no previous one yet" test ! -e "$bin/pollux.previous"
  holds "unit and kernel settings are in place" \
    test -e "$work/root/etc/systemd/system/pollux.service" -a -e "$work/root/etc/sysctl.d/90-pollux.conf"
  holds "the configuration that was written is right" \
    "$bin/pollux" config check --config "$work/root/etc/pollux/pollux.toml"
  holds "the key is readable by its owner only" \
    test "$(stat -c %a "$work/root/etc/pollux/server.key")" = 600

  # Another version of the same program: bytes behind the end of an ELF file are not read.
  cp "$BINARY" "$work/pollux"
  printf 'next' >>"$work/pollux"
  deploy --binary "$work/pollux"
  holds "an upgrade replaces the binary" same "$work/pollux" "$bin/pollux"
  holds "an upgrade keeps the previous one" same "$BINARY" "$bin/pollux.previous"

  head -c 100000 "$BINARY" >"$work/cut"
  holds "a binary that does not start is refused" fails deploy --binary "$work/cut"
  holds "a refused binary changes nothing" same "$work/pollux" "$bin/pollux"
  printf '[tick]\nhertz = 5\n' >"$work/wrong.toml"
  holds "a wrong configuration is refused" fails deploy --binary "$BINARY" --config "$work/wrong.toml"
  holds "a refused configuration changes nothing" same "$work/pollux" "$bin/pollux"

  deploy --roll-back
  holds "roll-back puts the previous binary back" same "$BINARY" "$bin/pollux"
  holds "a second roll-back has nothing to put back" fails deploy --roll-back
}

# What fails half-way leaves the host as it was, whole, and with what there was to roll back to.
check_failures() {
  local root="$work/root" doc="$work/root/usr/local/share/doc/pollux/README.md" before
  local config="$root/etc/pollux/pollux.toml"
  deploy --binary "$work/pollux"
  deploy --binary "$BINARY"
  cp "$config" "$work/before.toml"
  printf '[tick]\nhz = 500\n' >"$work/other.toml"
  before="$(installed "$root")"

  mv "$doc" "$work/README.kept"
  mkdir -p "$doc/README.md"
  holds "a file that cannot be installed is a failure" fails deploy --binary "$work/pollux" --config "$work/other.toml"
  holds "binary and configuration are back after it" \
    test "$(cat "$root/usr/local/bin/pollux" "$config" | sha256sum)" = "$(cat "$BINARY" "$work/before.toml" | sha256sum)"
  holds "what there was to roll back to is still there" test "$(installed "$root")" = "$before"
  rm -r "$doc"
  mv "$work/README.kept" "$doc"

  touch "$work/refuse"
  holds "a twin that does not start is a failure" fails deploy_and_start --binary "$work/pollux" --config "$work/other.toml"
  holds "it is said that the one before is back" grep -q 'what was there before is in place again' "$work/failed.log"
  holds "binary and configuration are back" \
    test "$(cat "$root/usr/local/bin/pollux" "$config" | sha256sum)" = "$(cat "$BINARY" "$work/before.toml" | sha256sum)"
  holds "what there was to roll back to is there once more" test "$(installed "$root")" = "$before"
  holds "what was there before was started" test "$(grep -c '^restart pollux$' "$work/asked")" -eq 2
  holds "what arrived on the host is gone" test -z "$(ls -A "$work/there")"

  (cd "$work" && "$OLDPWD/scripts/deploy-cm5.sh" --prefix "$work/root" --ssh "$SSH" --binary "$BINARY" --config other.toml 127.0.0.1)
  holds "a configuration is found from where the command is given" same "$work/other.toml" "$config"
  deploy_and_start --roll-back
  holds "roll-back of a configuration alone puts it back" same "$work/before.toml" "$config"
  holds "the twin is enabled" asked "enable --quiet pollux"

  touch "$work/refuse"
  holds "a first twin that does not start is a failure" \
    fails scripts/deploy-cm5.sh --prefix "$work/first" --ssh "$SSH" --binary "$BINARY" 127.0.0.1
  holds "it is said that there was none" grep -q 'there was no twin on 127.0.0.1 before' "$work/failed.log"
  holds "a twin that never started is not enabled" asked "disable --quiet --now pollux"
  holds "nothing of it is left: $(installed "$work/first")" test -z "$(installed "$work/first")"
}

# A deployment whose end nobody sees, as when the connection is lost, leaves what is needed to go back, and is not taken for good.
check_cut() {
  local root="$work/root" bin="$work/root/usr/local/bin" before
  cut_deployment() {
    # A shell becomes the script, so that its number is that of the deployment; the one around it hears of its end.
    # shellcheck disable=SC2016 # for the inner shell
    fails bash -c '(echo "$BASHPID" >"$0/cut"; exec "$@"); exit' "$work" \
      scripts/deploy-cm5.sh --prefix "$root" --ssh "$SSH" --binary "$work/pollux" --config "$work/other.toml" 127.0.0.1
    holds "the new binary is there when a deployment is cut" same "$work/pollux" "$bin/pollux"
  }
  before="$(installed "$root")"
  cut_deployment
  deploy --roll-back
  holds "roll-back takes back what was cut, and nothing else" test "$(installed "$root")" = "$before"

  cut_deployment
  touch "$work/refuse"
  holds "a twin that does not start after one that was cut is a failure" fails deploy_and_start --binary "$work/pollux"
  holds "what is back was there before the one that was cut" test "$(installed "$root")" = "$before"

  cut_deployment
  deploy_and_start --binary "$work/pollux"
  deploy --roll-back
  holds "what was there before the cut is the previous one of the next" same "$BINARY" "$bin/pollux"
}

# Cores of their own for worker and tick thread, where there are enough, and as far as the administrator has said nothing else.
check_cores() {
  local root="$work/board" before
  local layout="$root/etc/systemd/system/pollux.service.d/10-cm5.conf" config="$root/etc/pollux/pollux.toml"
  board() { deploy --prefix "$root" "$@" 2>"$work/board.log"; }
  in_force() { "$root/usr/local/bin/pollux" config show --config "$config" | sed -nE 's/^(net|tick)\.core += ([^ ]+) .*/\2/p' | xargs; }
  board --binary "$BINARY"
  holds "four cores are shared out" same deploy/cm5.conf "$layout"
  holds "worker and tick thread are pinned, $(in_force)" test "$(in_force)" = "2 3"

  before="$(installed "$root")"
  touch "$work/refuse"
  holds "a twin that does not start without cores of its own is a failure" \
    fails scripts/deploy-cm5.sh --prefix "$root" --ssh "$SSH" --binary "$work/pollux" --no-cores 127.0.0.1
  holds "the cores are back" test "$(installed "$root")" = "$before"
  board --binary "$BINARY" --no-cores
  holds "cores are left out on request" test ! -e "$layout"
  board --roll-back
  holds "roll-back brings cores back" same deploy/cm5.conf "$layout"

  echo 6 >"$work/cores"
  sed -i -e 's/^core = .*/core = "none"/' "$config"
  board --binary "$BINARY"
  holds "of six cores the service may use all" grep -qx 'CPUAffinity=0-5' "$layout"
  holds "a configuration that is there has the last word, $(in_force)" test "$(in_force)" = "none none"
  holds "it is said that it pins nothing" grep -q 'pollux.toml pins worker or tick thread to no core' "$work/board.log"

  rm -r "$root"
  echo 3 >"$work/cores"
  board --binary "$BINARY"
  holds "three cores are too few" test ! -e "$layout"
  holds "it is said that they are" grep -q '^3 cores are too few' "$work/board.log"
  holds "nothing is pinned on them, $(in_force)" test "$(in_force)" = "none none"
  echo 4 >"$work/cores"
  board --binary "$work/pollux"
  board --roll-back
  holds "roll-back takes away what was not there" test ! -e "$layout"
}

# What the unit starts, on what was deployed, with the system calls that the unit leaves: a gateway's records are acknowledged.
check_service() {
  local etc="$work/root/etc/pollux" bin="$work/root/usr/local/bin" words=() command address surface="" try
  local unit="$work/root/etc/systemd/system/pollux.service"
  command="$(sed -e ':join' -e '/\\$/{N;s/\\\n//;b join' -e '}' "$unit" | sed -n 's/^ExecStart=pollux //p')"
  command="${command//\/etc\/pollux/$etc}"
  # shellcheck disable=SC2016 # systemd puts the folder in, here the test
  read -ra words <<<"${command//'${CREDENTIALS_DIRECTORY}'/$etc}"
  # What runs beside the loop below may open its log after the first look at it.
  : >"$work/serve.log"
  python3 scripts/unit-filter.py "$unit" "$bin/pollux" "${words[@]}" \
    --set net.addr=127.0.0.1:0 --set http.addr=127.0.0.1:0 >"$work/serve.out" 2>"$work/serve.log" &
  serve_pid=$!
  for ((try = 0; try < 1200; try++)); do
    surface="$(sed -n 's/^listening http //p' "$work/serve.log")"
    [[ -z "$surface" ]] || break
    sleep 0.05
  done
  address="$(sed -n 's/^listening quic //p' "$work/serve.log")"
  [[ -n "$surface" ]] || { cat "$work/serve.log" >&2; fail "what was deployed does not listen"; }
  "$bin/pollux" simulate --addr "$address" --ca "$etc/ca.pem" --server-name "$(hostname)" \
    --cert "$etc/gateway-plant.pem" --key "$etc/gateway-plant.key" \
    --devices 4 --rate-hz 0 --t2-rate-hz 20 --count 400 -o json >"$work/load.json" || fail "no device reaches what was deployed"
  holds "every record that a device sends is acknowledged" \
    python3 -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["acknowledged"]["t2"] != 400)' "$work/load.json"
  python3 -c 'import sys, urllib.request as web; print(web.urlopen(sys.argv[1]).read().decode())' \
    "http://$surface/metrics" >"$work/metrics"
  holds "the unit lets hot threads be confined, $(grep -m 1 degraded "$work/serve.log" || true)" \
    grep -qx 'pollux_degraded{.*="confinement"} 0' "$work/metrics"
  kill "$serve_pid"
  holds "the service ends in order" wait "$serve_pid"
  serve_pid=""
}

# The unit with its cores, as it was deployed. systemd looks for the program that the unit starts; here it lies below the folder.
check_unit() {
  local units="$work/root/etc/systemd/system" unit="$work/units/pollux.service" exposure said
  mkdir "$work/units"
  cp -r "$units/pollux.service.d" "$work/units/"
  sed "s|^ExecStart=pollux |ExecStart=$work/root/usr/local/bin/pollux |" "$units/pollux.service" >"$unit"
  said="$(systemd-analyze verify --man=no "$unit" 2>&1 | grep -F pollux || true)"
  holds "systemd reads the unit without a complaint: $said" test -z "$said"
  exposure="$(systemd-analyze security --offline=true --no-pager "$unit" |
    sed -nE 's/.*Overall exposure level for [^:]*: ([0-9]+)\.([0-9]).*/\1\2/p')"
  holds "systemd finds the unit well protected ($exposure tenths)" test "$((10#$exposure))" -le "$EXPOSURE_MAX_TENTHS"
  # Broken on purpose: what is not read is not complained of.
  echo 'CPUAffinity=all' >>"$work/units/pollux.service.d/10-cm5.conf"
  holds "its cores are part of what systemd reads" \
    grep -qF 10-cm5.conf <(systemd-analyze verify --man=no "$unit" 2>&1 || true)
}

# A sweep of one short case against a twin at what was deployed, over ssh: it comes home whole and leaves nothing there.
check_sweep() {
  local out="$work/sweep" one=(--entities 10000 --loss 0 --loads published) before
  before="$(ls -A "$work/there")"
  sweep() { # POLLUX OPTIONS...
    POLLUX="$1" REMOTE_POLLUX="$work/root/usr/local/bin/pollux" SSH_OPTIONS="$SSH" \
      scripts/bench-cm5.sh 127.0.0.1 --out "$out" "${@:2}"
  }
  holds "a lossy link to another machine is refused" fails sweep "$BINARY" "${one[@]}" --where link
  holds "a binary of another commit is refused" fails sweep /bin/true "${one[@]}"
  holds "it is said which one" grep -q 'not built from this commit, .*: /bin/true' "$work/failed.log"
  sweep "$BINARY" "${one[@]}" >"$work/sweep.log" 2>&1 || { cat "$work/sweep.log" >&2; fail "the sweep over ssh failed"; }
  holds "the case has the latencies of every tier" python3 - "$out/summary.json" <<'END'
import json, sys
[row] = json.load(open(sys.argv[1], encoding="utf-8"))["sweep"]
latencies = [row[f"{tier}_p99_us"] for tier in ("t1", "t2", "t3_round_trip")]
sys.exit(not (all(latencies) and 4 < row["measured_s"] < 7 and row["loss_where"] == "app"))
END
  holds "the host is that of the twin, the generator's beside it" python3 - "$out/host.json" <<'END'
import json, sys
host = json.load(open(sys.argv[1], encoding="utf-8"))
sys.exit(not (host["doctor"] and host["revision"] and host["generator"]["doctor"]))
END
  holds "it is said that there are two clocks" grep -q 'Twin and devices have clocks of their own' "$out/summary.md"
  holds "no key and no report is left on the host" test "$(ls -A "$work/there")" = "$before"
  holds "no twin is left on the host" fails pgrep -f "$work/there"
}

fake_host
start_sshd
check_deployment
check_failures
check_cut
check_cores
check_service
check_unit
check_sweep
verdict=passed
printf 'deploy: %d passed, 0 failed\n' "$passed"
