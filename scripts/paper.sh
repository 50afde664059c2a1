#!/usr/bin/env bash
# Renders the paper to target/paper/pollux.pdf, every number of it from results/.
# usage: scripts/paper.sh [--check]   --check only resolves the claims: each must be a figure of a folder that is there
# Exit codes: 0 rendered, 1 a claim or the text is wrong, 2 wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."

# The typesetter, from PyPI, in an environment of its own.
readonly TYPST=0.15.0
readonly HOME_DIR=target/paper-venv

case "${1:-}" in
  --check) exec python3 scripts/paper/render.py --check ;;
  "") ;;
  *)
    echo "usage: scripts/paper.sh [--check]" >&2
    exit 2
    ;;
esac
if ! "$HOME_DIR/bin/python" -c 'import typst' 2>/dev/null; then
  echo "paper: installing typst $TYPST into $HOME_DIR (PyPI)" >&2
  python3 -m venv --clear "$HOME_DIR"
  "$HOME_DIR/bin/pip" install --quiet --disable-pip-version-check "typst==$TYPST"
fi
"$HOME_DIR/bin/python" scripts/paper/render.py
