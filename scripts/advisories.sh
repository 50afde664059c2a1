#!/usr/bin/env bash
# Looks for known vulnerabilities and yanked versions in the lock files. Apart from the gate, because it clones a database
# from a git host, which a build machine may not reach, and because its answer changes without a change of ours.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo deny --version >/dev/null 2>&1; then
  echo "advisories.sh: cargo-deny is missing; scripts/test.sh installs it" >&2
  exit 1
fi
cargo deny --locked check advisories
