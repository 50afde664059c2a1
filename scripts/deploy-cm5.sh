#!/usr/bin/env bash
# Puts a twin on an edge computer over ssh: copy, verify, install, start, wait until it is ready, else take it back.
# Binary, configuration, unit, its cores and kernel settings change together and go back together. Exit codes: 0 done, 1 a step
# failed (what was installed before is in place again), 2 wrong usage.
set -euo pipefail
ROOT="$(cd "$(dirname "$0")/.." && pwd)"
readonly ROOT

readonly FILES=(
  /usr/local/bin/pollux
  /etc/pollux/pollux.toml
  /etc/systemd/system/pollux.service
  /etc/systemd/system/pollux.service.d/10-cm5.conf
  /etc/sysctl.d/90-pollux.conf
)

usage() {
  cat <<TEXT
usage: scripts/deploy-cm5.sh [options] HOST
  HOST            as ssh takes it; the user there is root or may use sudo without a password
  --binary FILE   default target/cm5/pollux, of scripts/build-cm5.sh
  --config FILE   checked by the new binary on HOST, then installed as /etc/pollux/pollux.toml
  --roll-back     puts back what the last deployment replaced, and starts it
  --no-cores      leaves out deploy/cm5.conf, by which worker and tick thread have cores of their own where HOST has four
  --no-start      installs without touching the service or the kernel's settings
  --prefix DIR    installs below DIR on HOST instead of /
  --ssh OPTIONS   further options of ssh and scp, such as "-p 2222 -i key"
TEXT
}

die_usage() {
  printf 'deploy-cm5: %s\n' "$1" >&2
  usage >&2
  exit 2
}

fail() {
  printf 'deploy-cm5: %s\n' "$1" >&2
  exit 1
}

parse_options() {
  HOST="" BINARY="$ROOT/target/cm5/pollux" CONFIG="" ROLL_BACK=no CORES=yes START=yes PREFIX="" SSH_OPTIONS=()
  while (($# > 0)); do
    case "$1" in
      --roll-back) ROLL_BACK=yes ;;
      --no-cores) CORES=no ;;
      --no-start) START=no ;;
      -h | --help)
        usage
        exit 0
        ;;
      --binary | --config | --prefix | --ssh)
        (($# > 1)) || die_usage "$1 needs a value"
        case "$1" in
          --binary) BINARY="$(realpath -- "$2")" ;;
          --config) CONFIG="$(realpath -- "$2")" ;;
          --prefix) PREFIX="${2%/}" ;;
          --ssh) read -ra SSH_OPTIONS <<<"$2" ;;
        esac
        shift
        ;;
      -*) die_usage "unknown option $1" ;;
      *)
        [[ -z "$HOST" ]] || die_usage "one host at a time"
        HOST="$1"
        ;;
    esac
    shift
  done
  [[ -n "$HOST" ]] || die_usage "which host?"
  [[ "$PREFIX" =~ ^[A-Za-z0-9/._-]*$ ]] || die_usage "--prefix takes a plain path, not '$PREFIX'"
}

# Runs a script on the host as root, its first lines what all of them know.
#
# Copies of the files are kept beside them: FILE.before as long as a deployment is under way, FILE.previous of what the last one
# replaced. Where a set lacks a file, there was none. The binary comes last into a set and is the first to leave it, so that
# one that was cut short is no set.
remote() { # [NAME=VALUE...]
  {
    printf 'set -eu\nprefix=%q start=%q incoming=%q\n' "$PREFIX" "$START" "$INCOMING"
    printf '%s\n' "$@"
    printf 'binary=%q files="%s"\n' "$PREFIX${FILES[0]}" "$(printf "$PREFIX%s " "${FILES[@]}")"
    cat <<'TEXT'
replicate() { # FROM TO, suffixes; none for the files themselves. Each file changes by a rename, so that none is ever half of one.
  for file in ${files#* } "$binary"; do
    if [ -e "$file$1" ]; then
      cp -p "$file$1" "$file.copy" && mv "$file.copy" "$file$2" || return 1
    else
      rm -f "$file$2"
    fi
  done
}
forget() { # SUFFIX
  for file in $files; do
    rm -f "$file$1"
  done
}
TEXT
    cat
  } | ssh "${SSH_OPTIONS[@]}" -o BatchMode=yes "$HOST" \
    'if [ "$(id -u)" -eq 0 ]; then exec sh; else exec sudo -n sh; fi'
}

# scp names the port with another letter than ssh.
copy() { # FILE... DIR
  local options=() option
  for option in "${SSH_OPTIONS[@]}"; do
    [[ "$option" == -p ]] && option=-P
    options+=("$option")
  done
  local files=("${@:1:$#-1}")
  scp -q "${options[@]}" -o BatchMode=yes "${files[@]}" "$HOST:${*: -1}"
}

# The architecture of a binary, in the words of `uname -m`.
machine_of() { # FILE
  case "$(readelf -h "$1" | sed -nE 's/ *Machine: *//p')" in
    AArch64) echo aarch64 ;;
    *X86-64) echo x86_64 ;;
    *) fail "$1 is a binary for neither AArch64 nor x86-64" ;;
  esac
}

check_host() {
  local wanted found
  wanted="$(machine_of "$BINARY")"
  found="$(ssh -n "${SSH_OPTIONS[@]}" -o BatchMode=yes "$HOST" uname -m)" || fail "$HOST cannot be reached by ssh"
  [[ "$found" == "$wanted" ]] || fail "$HOST is $found, $BINARY is for $wanted"
}

# The new files arrive beside the old ones and are proved there before anything changes.
upload() {
  INCOMING="$(ssh -n "${SSH_OPTIONS[@]}" -o BatchMode=yes "$HOST" mktemp -d)"
  local files=("$BINARY" deploy/pollux.service deploy/cm5.conf deploy/90-pollux-sysctl.conf README.md)
  copy "${files[@]}" "$INCOMING/"
  [[ -z "$CONFIG" ]] || copy "$CONFIG" "$INCOMING/pollux.toml"
  local sum name
  name="$(basename "$BINARY")"
  sum="$(sha256sum "$BINARY" | cut -d ' ' -f 1)"
  remote <<TEXT || fail "what arrived on $HOST does not prove good; nothing was changed"
cd "\$incoming"
[ "$name" = pollux ] || mv "$name" pollux
echo "$sum  pollux" | sha256sum -c - >/dev/null
chmod 755 pollux
./pollux --version >/dev/null
if [ -e pollux.toml ]; then ./pollux config check --config pollux.toml >/dev/null
elif [ -e "\$prefix/etc/pollux/pollux.toml" ]; then
  ./pollux config check --config "\$prefix/etc/pollux/pollux.toml" >/dev/null
fi
TEXT
}

# What a deployment that was cut short found is older than what it left, and is what was last seen to run.
keep() {
  remote <<'TEXT' || fail "there is no room on $HOST to keep what is installed; nothing was changed"
if [ -e "$binary.before" ]; then
  echo "the last deployment was cut short: what was there before it is the previous version" >&2
else
  replicate "" .before || { forget .before; exit 1; }
fi
TEXT
}

# The binary changes by a rename, so that there is no moment without one.
install_files() {
  remote "cores=$CORES" <<'TEXT'
cd "$incoming"
bin="$prefix/usr/local/bin" etc="$prefix/etc/pollux" units="$prefix/etc/systemd/system"
install -d "$bin" "$etc" "$units" "$prefix/etc/sysctl.d" "$prefix/usr/local/share/doc/pollux"
install -m 755 pollux "$bin/pollux.next"
mv "$bin/pollux.next" "$bin/pollux"
[ ! -e pollux.toml ] || install -m 644 pollux.toml "$etc/pollux.toml"
install -m 644 pollux.service "$units/pollux.service"
# Those that are online: a shell like this one may be kept off some of them.
count="$(getconf _NPROCESSORS_ONLN)"
if [ "$cores" = yes ] && [ "$count" -ge 4 ]; then
  sed -i "s/^CPUAffinity=.*/CPUAffinity=0-$((count - 1))/" cm5.conf
  install -D -m 644 cm5.conf "$units/pollux.service.d/10-cm5.conf"
else
  rm -f "$units/pollux.service.d/10-cm5.conf"
  [ "$cores" = no ] || echo "$count cores are too few for some of their own: deploy/cm5.conf is left out" >&2
fi
install -m 644 90-pollux-sysctl.conf "$prefix/etc/sysctl.d/90-pollux.conf"
install -m 644 README.md "$prefix/usr/local/share/doc/pollux/README.md"
TEXT
}

# What a host does not have yet; what it has is the administrator's, and is left alone.
make_missing() {
  remote <<'TEXT'
etc="$prefix/etc/pollux" hot=""
[ ! -e "$prefix/etc/systemd/system/pollux.service.d/10-cm5.conf" ] || hot="--set net.core=2 --set tick.core=3"
if [ ! -e "$etc/pollux.toml" ]; then
  "$binary" config init --config "$etc/pollux.toml" $hot >/dev/null
elif [ -n "$hot" ] && "$binary" config show --config "$etc/pollux.toml" | grep -q '^\(net\|tick\)\.core *= "none"'; then
  echo "$etc/pollux.toml pins worker or tick thread to no core; their own are net.core = 2 and tick.core = 3" >&2
fi
if [ ! -e "$etc/server.pem" ]; then
  "$binary" certs init --dir "$etc" --name "$(hostname)" --gateway plant >/dev/null 2>&1
  echo "certificates for development are in $etc, gateway-plant for the devices; take ca.key off this machine" >&2
fi
TEXT
}

# With Type=notify a start that returns is a twin that listens.
start() {
  [[ "$START" == yes ]] || return 0
  remote <<'TEXT'
sysctl --quiet --system >/dev/null || echo "some kernel settings were refused" >&2
systemctl daemon-reload
systemctl enable --quiet pollux
systemctl restart pollux || { journalctl -u pollux -n 20 --no-pager >&2; exit 1; }
systemctl is-active --quiet pollux
TEXT
}

# Only what has come to its end is what the next one may go back to.
settle() {
  remote <<'TEXT' || fail "the new version is installed; what it replaced is beside it as FILE.before"
replicate .before .previous
forget .before
TEXT
}

has() { # SUFFIX
  remote "suffix=$1" <<'TEXT'
[ -e "$binary$suffix" ]
TEXT
}

# All files as they are in a set, which is used up by that. Code 3 when there was no twin.
put_back() { # SUFFIX
  remote "suffix=$1" <<'TEXT'
[ "$start" = no ] || [ -e "$binary$suffix" ] || systemctl disable --quiet --now pollux || true
replicate "$suffix" ""
forget "$suffix"
if [ "$start" != no ]; then
  sysctl --quiet --system >/dev/null || echo "some kernel settings were refused" >&2
  systemctl daemon-reload
  systemctl reset-failed pollux 2>/dev/null || true
fi
[ -e "$binary" ] || exit 3
[ "$start" = no ] || systemctl restart pollux
"$binary" --version
TEXT
}

# The host as it was before, with what there was to roll back to; ends with 1.
take_back() { # REASON
  local code=0
  put_back .before || code=$?
  case "$code" in
    0) fail "$1; what was there before is in place again" ;;
    3) fail "$1; there was no twin on $HOST before" ;;
    *) fail "$1, and what was there before does not start either: see journalctl -u pollux on $HOST" ;;
  esac
}

roll_back() {
  local suffix=.before
  has "$suffix" || suffix=.previous
  has "$suffix" || fail "$HOST has no previous version"
  put_back "$suffix" || fail "the previous version is in place and does not start: see journalctl -u pollux on $HOST"
}

clear_incoming() {
  [[ -n "$INCOMING" ]] || return 0
  remote <<'TEXT' || true
rm -rf "$incoming"
TEXT
}

main() {
  parse_options "$@"
  cd "$ROOT"
  INCOMING=""
  if [[ "$ROLL_BACK" == yes ]]; then
    roll_back
    return
  fi
  [[ -f "$BINARY" ]] || fail "$BINARY is not there: scripts/build-cm5.sh makes it"
  check_host
  trap clear_incoming EXIT
  upload
  keep
  install_files || take_back "the files could not be installed"
  make_missing || take_back "what the twin needs besides could not be made"
  start || take_back "the new twin did not start"
  settle
  printf 'deploy-cm5: installed on %s; scripts/deploy-cm5.sh --roll-back %s takes it back\n' "$HOST" "$HOST"
}

main "$@"
