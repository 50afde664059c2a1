#!/usr/bin/env bash
# What the command line says of itself, beside a binary and by that binary: manual pages, and completions for shells. The Debian
# package takes them from there.
# usage: scripts/manual.sh BINARY [RUNNER...]   (a runner is what executes a binary of another architecture)
# Exit codes: 0 written, 1 the binary does not run, 2 wrong usage.
set -euo pipefail
(($# > 0)) || { sed -n '4,5s/^# //p' "$0" >&2; exit 2; }

readonly BINARY="$1" RUNNER=("${@:2}")
beside="$(dirname "$1")"
says() { "${RUNNER[@]}" "$BINARY" "$@"; }

rm -rf "$beside/manual" "$beside/completions"
mkdir "$beside/completions"
says manual --dir "$beside/manual"
# As Debian asks for: without a name and a time in it, so that the same pages make the same files.
gzip -n9 "$beside"/manual/*.1
says completions bash >"$beside/completions/pollux"
says completions zsh >"$beside/completions/_pollux"
says completions fish >"$beside/completions/pollux.fish"
