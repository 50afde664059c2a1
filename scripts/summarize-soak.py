#!/usr/bin/env python3
"""Writes the pages of a soak: summary.json, summary.md and README.md.

usage: scripts/summarize-soak.py DIR [GOALS]

GOALS is what scripts/soak.sh judged while the twin lived, a line `| goal | ok or MISSED | what was seen |` each; without it they
are those that summary.json has. Exit codes: 0 done, 2 wrong usage.
"""

import json
import pathlib
import re
import sys

import verdict

README = """# Soak: {duration_s} seconds of everything at once

**Question.** Does anything grow, leak or go astray when a twin meets mixed load, devices that come and go, floods and
stalls, over and over?

**Answer.** {answer} summary.md has each with what was seen.

**Load.** A hundred devices of five sensors over fifty sessions: T1 at 20 Hz, T2 at 2 Hz and T3 at 0.2 Hz a sensor. Beside it, in
cycles of {cycle_s} s: a storm of 32 sessions that come and go, {flood_rate} forged first packets a second, as much garbage, and a
second in which every device stands still.

**Read.** `raw/samples.txt` has a line a second: seconds, resident KiB, descriptors, sessions, what went on. `raw/serve/` is
the twin's own report. Memory is judged by the most of the second eighth and the third beside the most of the last quarter.

**Doubts.** Twin, devices and floods share two cores: latencies in the report are those of a crowded host and no goal here.
{host}
"""
# That of scripts/soak.sh.
CYCLE_S = 12


def goals_of(text):
    """The goals of a table, one a line."""
    for line in text.splitlines():
        what, said, seen = line.strip("| ").split(" | ", 2)
        yield {"goal": what, "met": said.strip() == "ok", "seen": seen}


def main(arguments):
    """Reads the goals and the command, and writes."""
    if len(arguments) not in (1, 2) or not pathlib.Path(arguments[0], "raw").is_dir():
        print("usage: scripts/summarize-soak.py DIR [GOALS]   (DIR/raw must exist)", file=sys.stderr)
        return 2
    out = pathlib.Path(arguments[0])
    if len(arguments) == 2:
        goals = list(goals_of(pathlib.Path(arguments[1]).read_text(encoding="utf-8")))
    else:
        goals = json.loads((out / "summary.json").read_text(encoding="utf-8"))["goals"]
    command = (out / "command.txt").read_text(encoding="utf-8")
    duration_s, flood_rate = (re.search(rf"--{name} (\d+)", command)[1] for name in ("duration-s", "flood-rate"))
    host = verdict.of_folder(out)
    (out / "summary.json").write_text(json.dumps({"goals": goals}, indent=1) + "\n", encoding="utf-8")
    lines = ["# Soak: summary", "", host, "", "| goal | | seen |", "|---|---|---|"]
    lines += [f"| {goal['goal']} | {'ok' if goal['met'] else 'MISSED'} | {goal['seen']} |" for goal in goals]
    (out / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    answer = "No: every goal was met." if all(goal["met"] for goal in goals) else "A goal was missed."
    page = README.format(duration_s=duration_s, flood_rate=flood_rate, cycle_s=CYCLE_S, answer=answer, host=host)
    (out / "README.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
