#!/usr/bin/env python3
"""Runs a program under the filter of system calls of a systemd unit, as systemd would: what the unit refuses is refused here.

usage: scripts/unit-filter.py UNIT PROGRAM [ARGUMENT...]

Names of sets are those of the systemd that is installed (`systemd-analyze syscall-filter`), numbers are those of libseccomp.
Exit codes: those of the program; 2 wrong usage, or a unit without a filter that allows.
"""

import ctypes
import os
import pathlib
import subprocess
import sys

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM = 1
PR_SET_NO_NEW_PRIVS = 38


def members(name, seen):
    """The calls of a set, those of sets within it too; a call is itself."""
    if not name.startswith("@"):
        return {name}
    if name in seen:
        return set()
    seen.add(name)
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in said.splitlines()[1:]]
    return set().union(*(members(word, seen) for word in words if word and not word.startswith("#")))


def allowed(unit):
    """The calls that the lines of a unit leave, in their order: the first allows, `~` takes away."""
    calls = set()
    for line in pathlib.Path(unit).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key.strip() != "SystemCallFilter":
            continue
        value = value.strip()
        named = set().union(*(members(word, set()) for word in value.lstrip("~").split()))
        if value.startswith("~"):
            calls -= named
        else:
            # What every program needs to start is part of every list that allows.
            calls |= named | members("@default", set())
    return calls


def load(calls):
    """Puts the filter on this process and all that it starts."""
    seccomp, libc = ctypes.CDLL("libseccomp.so.2"), ctypes.CDLL(None)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(ERRNO | EPERM)))
    for call in sorted(calls):
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        # Sets name calls of every architecture; libseccomp numbers those of others below zero.
        if number >= 0 and seccomp.seccomp_rule_add(context, ctypes.c_uint32(ALLOW), number, 0) != 0:
            sys.exit(f"unit-filter: {call} cannot be allowed")
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or seccomp.seccomp_load(context) != 0:
        sys.exit("unit-filter: the system does not filter calls")


def main(arguments):
    """Filters, then becomes the program."""
    if len(arguments) < 2 or not (calls := allowed(arguments[0])):
        print(__doc__, file=sys.stderr)
        return 2
    load(calls)
    os.execvp(arguments[1], arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
