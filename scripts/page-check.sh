#!/usr/bin/env bash
# Drives the dashboard of a running twin in a real browser: what the page shows is what the API says, a setpoint and a stop
# through the page reach a device, a restart of the twin is survived, and the console stays silent. With --screenshots it
# also takes the pictures of README.md.
#
# Chromium comes from the system's packages, playwright-core from npm into target/.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: scripts/page-check.sh [--binary FILE] [--screenshots DIR] [--help]

  --binary FILE      the twin (target/debug/pollux, built first)
  --screenshots DIR  also writes pictures of every view into DIR, of a plant of 10,000 sensors
END
}

binary=
screenshots=
while [ $# -gt 0 ]; do
  case "$1" in
    --binary) binary=${2:?--binary needs a file}; shift 2 ;;
    --screenshots) screenshots=${2:?--screenshots needs a folder}; shift 2 ;;
    --help | -h) usage; exit 0 ;;
    *) echo "page-check.sh: unknown argument '$1'" >&2; usage >&2; exit 64 ;;
  esac
done

# apt_install COMMAND PACKAGE: installs the package unless the command is there.
apt_install() {
  command -v "$1" >/dev/null && return
  echo "   $1 is missing: installing the package $2"
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "$2" >/dev/null
}

apt_install chromium chromium
apt_install node nodejs
apt_install npm npm
if [ -z "$binary" ]; then
  cargo build --quiet --locked -p twin
  binary=target/debug/pollux
fi
home=target/page
mkdir -p "$home"
cp scripts/page/package.json scripts/page/check.cjs "$home/"
[ -d "$home/node_modules/playwright-core" ] || npm install --prefix "$home" --silent --no-audit --no-fund
[ -z "$screenshots" ] || mkdir -p "$screenshots"
node "$home/check.cjs" "$binary" "$(command -v chromium)" "$screenshots"
