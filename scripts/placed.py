#!/usr/bin/env python3
"""Runs a command with the place on the host that `pollux serve` takes for its hot threads: niceness -10, slices of 0.2 ms.

What it is for: peers that ask their host for nothing are measured beside Pollux, which does. All threads of the command
inherit both. What the system refuses (without root, or before Linux 6.12) it refuses to Pollux too; a line says so.

usage: scripts/placed.py COMMAND [ARGUMENT ...]
"""

import ctypes
import os
import platform
import sys

# As in twin/src/runtime.rs: HOT_NICENESS and TICK_SLICE.
NICENESS, SLICE_NS = -10, 200_000
# sched_setattr(2), which Python has no name for.
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}


class SchedAttr(ctypes.Structure):
    """What the call takes, as of its first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def take_place():
    """Niceness and slice for this process, which becomes the command."""
    attributes = SchedAttr(ctypes.sizeof(SchedAttr), os.SCHED_OTHER, 0, NICENESS, 0, SLICE_NS, 0, 0)
    number = SCHED_SETATTR.get(platform.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    if number is None or libc.syscall(number, 0, ctypes.byref(attributes), 0):
        print(f"placed: niceness {NICENESS} and slices of {SLICE_NS} ns are refused here", file=sys.stderr)


def main():
    """Becomes the command."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__ if len(sys.argv) > 1 else 2)
    take_place()
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        sys.exit(f"placed: {sys.argv[1]}: {error.strerror}")


if __name__ == "__main__":
    main()
