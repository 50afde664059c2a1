#!/usr/bin/env python3
"""Instructions of one iteration of each part of twin/benches/instructions.rs, beside those in instructions.json.

usage: scripts/instructions.sh [--update]

More than 3 % above the committed count fails; --update commits to what was counted now. Two runs of one binary differ by less
than 0.1 %, and only in the turn, whose keys and packet numbers are drawn anew; the 3 % are for what the compiler lays out
otherwise after a change elsewhere. Counts are of one compiler, architecture, C library and set of vector instructions: where
one differs, the counts are shown and not judged, and that is said.
"""

import json
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "twin/benches/instructions.json"
WORSE_PERCENT = 3
# Part, few and many iterations. Counts of a run differ by a few hundred with addresses; the difference has to dwarf that.
PARTS = {"decode": (100, 2100), "ring": (100, 2100), "fill": (2, 6), "apply": (2, 6), "tick": (100, 1100), "turn": (100, 500)}
# What is told: the unit, the part, the part whose cost is taken out, and how many units an iteration has.
TOLD = {
    "decode, a record": ("decode", None, 36),
    "ring, a record": ("ring", None, 36),
    "apply, a record": ("apply", "fill", 20_000),
    "tick without records": ("tick", None, 1),
    "turn of both ends, a packet of 36": ("turn", None, 1),
}


def binary():
    """Builds the benchmark with the release profile and gives its path."""
    command = "cargo bench --locked -p twin --bench instructions --no-run --message-format json".split()
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "instructions":
            return message["executable"]
    sys.exit("instructions: cargo built no benchmark")


def count(program, part, iterations):
    """Instructions of a whole run."""
    with tempfile.NamedTemporaryFile() as out:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", program, part, str(iterations)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"instructions: {part} failed under callgrind:\n{done.stderr[-2000:]}")
    return int(found[1])


def measure():
    """Instructions of each unit that is told."""
    program, cost = binary(), {}
    for part, (few, many) in PARTS.items():
        cost[part] = (count(program, part, many) - count(program, part, few)) / (many - few)
    return {
        name: round((cost[part] - (cost[without] if without else 0)) / units, 2)
        for name, (part, without, units) in TOLD.items()
    }


def compiler():
    """What counts belong to: compiler, architecture, C library, and the instructions by which libraries choose their code."""
    said = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    has = set(pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    known = [name for name in ("aes", "avx2", "bmi2", "pclmulqdq", "pmull") if name in has]
    return " ".join([said.stdout.strip(), platform.machine(), *platform.libc_ver(), *known])


def main(arguments):
    """Counts, then compares or updates."""
    if arguments not in ([], ["--update"]):
        print(__doc__, file=sys.stderr)
        return 2
    counts, here = measure(), compiler()
    if arguments:
        text = json.dumps({"compiler": here, "instructions": counts}, indent=2)
        COMMITTED.write_text(text + "\n", encoding="utf-8")
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    worse = []
    for name, now in counts.items():
        before = committed["instructions"].get(name)
        change = 100 * (now / before - 1) if before else 0
        print(f"{name:36} {now:12,.2f}  committed {before or 0:12,.2f}  {change:+.2f} %")
        if before is None or change > WORSE_PERCENT:
            worse.append(name)
    if committed["compiler"] != here:
        print(f"not judged: the committed counts are of {committed['compiler']}, these of {here}")
        return 0
    if worse:
        print(f"instructions: more than {WORSE_PERCENT} % worse or new: {', '.join(worse)}; scripts/instructions.sh --update "
              "accepts them", file=sys.stderr)  # fmt: skip
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
