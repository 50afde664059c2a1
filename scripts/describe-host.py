#!/usr/bin/env python3
"""Prints host.json: the machine, the kernel, the compiler and the revision that a result was measured with.

Run it before the measurement, so that the load average is that of the others. What the host does not tell is null. The
verdict of `pollux doctor` comes from the binary in POLLUX, or from the release build; without one it is null.
"""

import json
import os
import platform
import subprocess


def text_of(path):
    """The content of a small file, or None."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


def output_of(*command):
    """What a command prints, or None when it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def field_of(path, *names):
    """The value of the first `name: value` line with one of the names, or None."""
    for line in (text_of(path) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return None


def number(text):
    """Text as an integer, or None."""
    return int(text) if text and text.isdigit() else None


def verdict():
    """What the doctor says of this host, without the conditions that are met, or None."""
    release = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "pollux")
    command = [os.environ.get("POLLUX") or release, "doctor", "-o", "json"]
    try:
        # Code 3 is a verdict too.
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        doctor = json.loads(told)["doctor"]
    except (OSError, ValueError, KeyError):
        return None
    unmet = {check["id"]: check["found"] for check in doctor["checks"] if check["outcome"] == "unmet"}
    return {
        "qualifies": doctor["qualifies"],
        "disqualified_by": doctor["disqualified_by"],
        "unmet": unmet,
        "unknown": doctor["unknown"],
    }


def main():
    """Collects and prints."""
    memory = field_of("/proc/meminfo", "MemTotal")
    dirty = output_of("git", "status", "--porcelain", "--untracked-files=no")
    host = {
        # x86 says "model name"; Arm boards say "Model".
        "cpu": field_of("/proc/cpuinfo", "model name", "Model"),
        "cores": os.cpu_count(),
        "arch": platform.machine(),
        "memory_bytes": int(memory.split()[0]) * 1024 if memory else None,
        "kernel": platform.release(),
        "governor": text_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "rmem_max_bytes": number(text_of("/proc/sys/net/core/rmem_max")),
        "wmem_max_bytes": number(text_of("/proc/sys/net/core/wmem_max")),
        # Of this host's own sockets; a run in a namespace says for itself what it had.
        "tcp_congestion_control": text_of("/proc/sys/net/ipv4/tcp_congestion_control"),
        "rustc": output_of("rustc", "--version"),
        "revision": output_of("git", "rev-parse", "HEAD"),
        "revision_dirty": None if dirty is None else bool(dirty),
        "load_average_before": list(os.getloadavg()),
        "doctor": verdict(),
    }
    print(json.dumps(host, indent=2))


if __name__ == "__main__":
    main()
