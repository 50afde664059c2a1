"""What an interrupt leaves behind: nothing. A slice of a measurement takes down its namespaces, hosts and twins before it ends.

`subprocess.run` kills its child a quarter of a second after an interrupt, which is too soon for that.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time

# What a slice takes to its end at most: a twin that reports, and a link that is taken down.
PATIENCE_S = 120


def heed():
    """Whatever asks the process to end is an interrupt to it, as from the keyboard, also in the background of a script."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def end_in_order(main, fail):
    """Runs a script: an interrupt ends it with code 130, a child that failed by `fail`, with one line."""
    heed()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.SubprocessError as failure:
        fail(failure)


def interrupt(*_):
    """As from the keyboard."""
    raise KeyboardInterrupt


def run(command, stdout=None):
    """Runs a slice to its end; an interrupt is handed on once, to all of its processes, and waited for."""
    # In a session of its own it does not hear the keyboard too: a second interrupt would stop the taking down.
    child = subprocess.Popen(command, stdout=stdout, start_new_session=True)
    try:
        code = child.wait()
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGINT)
        child.wait()
        await_group(child.pid)
        raise
    if code:
        raise subprocess.CalledProcessError(code, command)


def await_group(group):
    """Until no process of a group is left: a lock in front of the slice may end before it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
