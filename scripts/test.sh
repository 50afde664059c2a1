#!/usr/bin/env bash
# The gate: everything that must hold before a change lands. CI runs this and nothing else.
#
# It runs on a fresh Debian or Ubuntu with Rust from rustup. A tool that is missing is installed, and it says so; when that
# fails, the gate fails: no check is left out in silence.
set -euo pipefail
cd "$(dirname "$0")/.."

# Tools of the gate, at the versions it was last run with.
CARGO_DENY=0.20.2
CARGO_FUZZ=0.13.2
# Long enough to pass over every branch of the decoders from the seeds; a longer run is scripts/fuzz.sh --seconds N.
FUZZ_SECONDS=${FUZZ_SECONDS:-5}

usage() {
  cat <<'END'
usage: scripts/test.sh [--fast] [--help]

  (nothing)   format, lints, tests, benchmarks (each once), instruction counts, the peer of the benchmarks, a device on
              another QUIC stack, what operators see, a minute of mixed load, docs, shell scripts, scripts in Python,
              licences and sources, short fuzz run, sanitizers
  --fast      format, lints and tests only

Missing tools are installed: rustfmt and clippy by rustup; shellcheck, valgrind, a C++ compiler, Chromium, node and
VictoriaMetrics by apt-get (as root or with sudo); cargo-deny and cargo-fuzz by cargo install; aioquic and schemathesis by pip and
playwright-core by npm into target/. Environment: FUZZ_SECONDS for each fuzz target (5).
END
}

fast=no
for argument in "$@"; do
  case "$argument" in
    --fast) fast=yes ;;
    --help | -h) usage; exit 0 ;;
    *) echo "test.sh: unknown argument '$argument'; allowed: --fast, --help" >&2; exit 64 ;;
  esac
done

steps=()
current="start"
on_exit() {
  local status=$?
  [ "$status" -eq 0 ] || echo "test.sh: FAILED in step: $current (exit $status)" >&2
}
trap on_exit EXIT

# step NAME COMMAND...: runs the command, fails with it, and notes the time that it took.
step() {
  current=$1
  shift
  printf '\n== %s\n   %s\n' "$current" "$*"
  local start=$SECONDS
  "$@"
  printf -- '-- %s: ok after %d s\n' "$current" $((SECONDS - start))
  steps+=("$(printf '%5d s  %s' $((SECONDS - start)) "$current")")
}

# apt_package PACKAGE: installs a package of the system.
apt_package() {
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  if ! command -v apt-get >/dev/null || { [ ${#as_root[@]} -gt 0 ] && ! command -v sudo >/dev/null; }; then
    echo "test.sh: cannot install $1 here: needs apt-get as root or with sudo" >&2
    return 1
  fi
  echo "   installing the package $1"
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq "$1" >/dev/null
}

# apt_install COMMAND PACKAGE: installs the package unless the command is there.
apt_install() {
  command -v "$1" >/dev/null && return
  echo "   $1 is missing"
  apt_package "$2"
  command -v "$1" >/dev/null
}

# cargo_install NAME VERSION: an unoptimised build is enough for a tool that runs for seconds, and takes half the time.
cargo_install() {
  cargo "${1#cargo-}" --version >/dev/null 2>&1 && return
  echo "   $1 is missing: cargo install $1 $2 (some minutes)"
  cargo install --quiet --locked --debug --version "$2" "$1"
}

rust_tools() {
  command -v cargo >/dev/null || { echo "test.sh: no cargo: install Rust first, https://rustup.rs" >&2; return 1; }
  cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
  cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
  apt_install cc build-essential
  rustc --version
  echo "   cores: $(nproc), system: $(uname -srm)"
}

more_tools() {
  apt_install shellcheck shellcheck
  apt_install c++ build-essential
  cargo_install cargo-deny "$CARGO_DENY"
  cargo_install cargo-fuzz "$CARGO_FUZZ"
}

# The workspaces of their own (the fuzzer, the peers of the benchmarks) are formatted like the rest.
format() {
  cargo fmt --all --check
  local manifest
  for manifest in */fuzz/Cargo.toml bench/peers/*/Cargo.toml; do
    [ ! -e "$manifest" ] || cargo fmt --all --manifest-path "$manifest" --check
  done
}

docs() {
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
}

# Everything that later steps run, in one build: asked for one by one, packages are built with fewer features of what they
# depend on, and so once more.
build() {
  cargo build --workspace --all-targets --locked
}

# Each benchmark runs its body once, unoptimised and untimed: what is measured on another day still runs today.
benchmarks() {
  cargo test --workspace --locked --bench '*'
  target/debug/bench command-rtt --count 200 --warm-up 20 --idle wait
  target/debug/bench stream-open --count 200 --idle wait
  target/debug/bench throughput --streams 4 --duration-s 1
  target/debug/bench isolation --disturb storm --sessions 10 --duration-s 1
}

# A minute of everything at once, with the development build: what grows, leaks or goes astray shows there as well.
soak() {
  apt_install python3 python3
  scripts/soak.sh --debug --duration-s 60 --flood-rate 5000
}

# What a record, a tick and a packet cost in instructions, beside the counts that are committed. A quarter of a minute; its build
# is that of the released form and takes longer than that.
instructions() {
  apt_install python3 python3
  apt_install valgrind valgrind
  scripts/instructions.sh
}

# What the figures are compared with; workspaces of their own, so that `--workspace` does not see them. Of the ECS
# comparison, the floor and our own adapter; the libraries of others take minutes to build. The transports are compiled and
# not run, and Zenoh takes longer than all else together: scripts/bench-peers.sh builds and runs both. They share the folder
# of the product, and so what both need.
peers() {
  local peer
  for peer in ecs quinn-bevy; do
    cargo test --locked --target-dir target --manifest-path "bench/peers/$peer/Cargo.toml"
  done
  cargo check --locked --all-targets --target-dir target --manifest-path bench/peers/transports/Cargo.toml
}

# A device on another QUIC stack, in a virtual environment below target/, where pip puts nothing into the system.
foreign_device() {
  apt_install python3 python3
  python3 -c 'import ensurepip' 2>/dev/null || apt_package python3-venv
  local home=target/foreign-venv
  if ! "$home/bin/pip" install --quiet --requirement scripts/foreign/requirements.txt 2>/dev/null; then
    echo "   installing $(tr '\n' ' ' <scripts/foreign/requirements.txt)into $home (PyPI)"
    python3 -m venv --clear "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check --requirement scripts/foreign/requirements.txt
  fi
  "$home/bin/python" scripts/foreign/device.py target/debug/pollux
  "$home/bin/python" scripts/foreign/device.py target/debug/pollux net.workers=3
}

# promtool out of Debian's package, unpacked below target/: installed, the package would run a Prometheus.
promtool() {
  local home=target/promtool
  if [ ! -x "$home/usr/bin/promtool" ]; then
    mkdir -p "$home"
    (cd "$home" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .)
  fi
}

# What operators see, against a running twin: the API by its description, the page in a browser, and every query of the
# dashboards and alerts in a store that scrapes the twin.
operators() {
  apt_install python3 python3
  python3 -c 'import ensurepip' 2>/dev/null || apt_package python3-venv
  apt_install curl curl
  apt_install victoria-metrics victoria-metrics
  scripts/api-check.sh --binary target/debug/pollux
  scripts/page-check.sh --binary target/debug/pollux
  promtool
  python3 scripts/dashboards-check.py --binary target/debug/pollux --promtool target/promtool/usr/bin/promtool
}

scripts_check() {
  shellcheck scripts/*.sh .ci/run
  scripts/test-host-tune.sh
}

# Compiles without writing: a syntax error shows here and not after an hour of measuring. The table of the README has to be
# what the results that it links to give, and a sweep what its raw data give.
python_check() {
  apt_install python3 python3
  python3 - scripts/*.py scripts/*/*.py <<'END'
import pathlib, sys
for path in sys.argv[1:]:
    compile(pathlib.Path(path).read_text(encoding="utf-8"), path, "exec")
END
  python3 scripts/readme-results.py --check
  apt_install ip iproute2
  apt_install nft nftables
  python3 scripts/test-sweep.py target/debug/pollux
  scripts/paper.sh --check
}

# What may be linked in, and whether the text of its licence comes with each crate. Advisories are a script of their own: they
# need a clone of a database from a git host.
deny() {
  cargo deny --locked check --hide-inclusion-graph bans licenses sources
  scripts/third-party.py --target x86_64-unknown-linux-gnu --out target/THIRD-PARTY
}

step "tools of Rust" rust_tools
step "format" format
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
# The tests alone need less.
[ "$fast" = yes ] || step "build" build
step "tests" cargo test --workspace --locked
if [ "$fast" = no ]; then
  step "benchmarks, each once" benchmarks
  step "instructions of fixed work" instructions
  step "peers of the benchmarks" peers
  step "a device on another QUIC stack" foreign_device
  step "what operators see" operators
  step "a minute of everything at once" soak
  step "docs" docs
  step "further tools" more_tools
  step "shell scripts" scripts_check
  step "scripts in Python" python_check
  step "licences, bans, sources" deny
  step "fuzz, $FUZZ_SECONDS s a target" scripts/fuzz.sh --seconds "$FUZZ_SECONDS" wire ecs netloop
  step "sanitizers" scripts/sanitize.sh
fi

printf '\n== time of each step\n'
printf '%s\n' "${steps[@]}"
printf '%5d s  in all\n' "$SECONDS"
if [ "$fast" = yes ]; then
  echo "--fast left out: benchmarks, instruction counts, peers, the foreign device, what operators see, soak, docs, scripts, licences and sources, fuzz run, sanitizers"
else
  echo "not part of the gate: scripts/advisories.sh (known vulnerabilities; needs a git host), bench/peers/zenoh (400 crates),"
  echo "  the tests of bench/peers/transports, scripts/fuzz.sh twin (each builds the product once more),"
  echo "  scripts/build-cm5.sh, test-cm5.sh, package-cm5.sh and test-deploy.sh (AArch64, qemu, buildah, sshd)"
fi
