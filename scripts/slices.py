"""A long measurement in slices: each a process of its own behind a lane, until no run of the plan is missing.

POLLUX_TIMED_LANE is put before a slice, such as a lock or taskset; POLLUX_TIMED_HOLD_S is for how long a slice begins further
runs (default 0: one).
"""

import os
import shlex
import sys
import time

import interrupts

# Taken out of the environment: the twin reads what begins with POLLUX_ as its configuration.
LANE, HOLD_S = os.environ.pop("POLLUX_TIMED_LANE", ""), os.environ.pop("POLLUX_TIMED_HOLD_S", "0")


class Stuck(Exception):
    """A slice left as many runs as it met: it notes what failed as well, and has not even done that."""


def run(script, out, missing):
    """Runs slices of a script, called as it was, until `missing` gives none, and says how long the others may take."""
    lane, began, all_missing = shlex.split(LANE), time.monotonic(), len(missing())
    while before := len(missing()):
        interrupts.run([*lane, sys.executable, script, *sys.argv[1:], "--slice", HOLD_S, "--out", str(out)])
        left = len(missing())
        if left == before:
            raise Stuck
        spent_s = time.monotonic() - began
        print(f"{all_missing - left} of {all_missing}, about {spent_s / (all_missing - left) * left:.0f} s left", file=sys.stderr)
