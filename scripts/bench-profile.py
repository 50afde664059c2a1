#!/usr/bin/env python3
"""Where the time of a record goes, in Pollux and in TLS over TCP: both flat out, batched, into the same world, under perf.

Exit codes: 0 done, 1 a run failed, 2 wrong usage, 69 no perf here. Builds both with the names of their functions kept.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "peers"), str(HERE / "sweep")]

import interrupts  # noqa: E402 - found by the line above
import result  # noqa: E402
import run as peers  # noqa: E402
import sides  # noqa: E402
import verdict  # noqa: E402

ROOT = result.ROOT
SAMPLES_HZ = 4_999
ENDS_S = 1
CASE = sides.cases()["max-batched"]

# Whose time a sample is, the first that fits: thread, object and function as perf names them. Functions that the compiler
# took into their callers count as those.
PARTS = (
    ("kernel, the receiver's thread: socket, copies, wake-ups", r"^(?!tick ).*\[kernel"),
    ("kernel, the tick", r"^tick .*\[kernel"),
    ("tick: drain, fold, rules, aggregates", r"^tick "),
    ("decryption and authentication", r"aes|gcm|ghash|ring_core|chacha|sha256|sha512"),
    ("QUIC: quinn-proto, quinn-udp, rustls", r"quinn|rustls"),
    ("moves of memory, allocator", r"mem(cpy|move|set|cmp)|malloc|free|calloc|realloc|arena|alloc"),
    ("the receiver's own: engine, checks, numbers, rings", r"netloop|wire|transports|twin|rtrb"),
    ("everything else", r""),
)

README = """# Profile: where the time of a record goes

**Question.** TLS over TCP is the cheapest encrypted way into a world that we know of. What does a record cost in Pollux
beside it, part by part?

**How.** Each server takes 10,000 sensors flat out in batches of 36, into the same world, alternating, {runs} runs of {seconds} s
each; `perf record` on the software clock of the CPU samples all its threads {hz} times a second, leaving out the first and last
second. A part's share of the samples is multiplied with the CPU time of the process for an applied record. Both are built as
released with the names of functions kept. `samples.json` of a run counts the samples of each function.

**Answer.** {answer}

**Doubts.** perf costs both sides some per cent. Functions that the compiler took into others count as those, so that the border
between QUIC and the receiver's own work is the compiler's. In loopback the receiving path of the kernel's network runs in the
sender's context and is in neither column.
"""

ANSWER = (
    "A record costs {pollux:.1f} ns in Pollux and {tls:.1f} in TLS over TCP. What Pollux spends more on is {more}. QUIC decrypts, "
    "acknowledges and accounts each packet of 1,452 bytes by itself, where TLS has records of 16 KiB."
)


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each side (default 3)")
    parser.add_argument("--duration-s", type=int, default=5, metavar="N", help="of load in a run (default 5, at least 3)")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="must not exist")
    chosen = parser.parse_args()
    if chosen.duration_s <= 2 * ENDS_S:
        parser.error(f"--duration-s must be more than {2 * ENDS_S}")
    if chosen.out and chosen.out.exists():
        parser.error(f"{chosen.out} exists already")
    return chosen


def build():
    """Both servers, with names."""
    for manifest in ("Cargo.toml", "bench/peers/transports/Cargo.toml"):
        words = ["cargo", "build", "--profile", "profiling", "--locked", "--manifest-path", ROOT / manifest]
        package = ["-p", "twin"] if manifest == "Cargo.toml" else []
        environment = {**os.environ, "CARGO_TARGET_DIR": str(target())}
        subprocess.run([*words, *package], cwd=ROOT, env=environment, check=True)


def target():
    """Where cargo builds."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def named(command):
    """The same command with the binary that has names."""
    program = pathlib.Path(command[0])
    return [str(target() / "profiling" / program.name), *(str(word) for word in command[1:])]


def run(side, folder, certs, seconds):
    """One server under perf, one load."""
    folder.mkdir(parents=True)
    address = f"127.0.0.1:{peers.free_port()}"
    life_s = seconds + 60
    log = open(folder / "run.log", "w", encoding="utf-8")
    server = subprocess.Popen(named(side.serve(address, folder / "serve", certs, life_s)), stdout=log, stderr=log)
    children = [server]
    try:
        await_listening(folder / "run.log", server)
        load = subprocess.Popen(
            named(side.load(address, folder / "load", certs, CASE, seconds)), stdout=subprocess.DEVNULL, stderr=log
        )
        children.append(load)
        time.sleep(ENDS_S)
        record(server.pid, folder / "perf.data", seconds - 2 * ENDS_S)
        if load.wait(timeout=60):
            fail(f"{folder}: the load failed, see run.log")
        server.terminate()
        if server.wait(timeout=60):
            fail(f"{folder}: the server did not end well, see run.log")
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
    samples = count(folder / "perf.data")
    (folder / "perf.data").unlink()
    told = [{"thread": thread, "object": where, "function": name, "samples": number}
            for (thread, where, name), number in samples.most_common()]  # fmt: skip
    (folder / "samples.json").write_text(json.dumps(told, indent=0) + "\n", encoding="utf-8")
    for path in [*folder.glob("*/*.hlog"), *folder.glob("*/*.hgrm")]:
        path.unlink()


def record(pid, path, seconds):
    """Samples of a process."""
    words = ["perf", "record", "-q", "-e", "cpu-clock", "-F", SAMPLES_HZ, "-o", path, "-p", pid, "--", "sleep", seconds]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"perf record: {done.stderr.strip()}")


def count(path):
    """How many samples fell into each function of each thread and object."""
    words = ["perf", "script", "-i", str(path), "-F", "comm,ip,sym,dso"]
    script = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    samples = collections.Counter()
    for line in script.stdout.splitlines():
        found = re.match(r"\s*(.+?)\s+[0-9a-f]+ (.*) \((.*)\)$", line)
        if found:
            samples[found[1], pathlib.PurePath(found[3]).name, re.sub(r"\+0x[0-9a-f]+$", "", found[2])] += 1
    return samples


def figures(folder):
    """Nanoseconds of each part for an applied record."""
    samples = json.loads((folder / "samples.json").read_text(encoding="utf-8"))
    serve = json.loads((folder / "serve/summary.json").read_text(encoding="utf-8"))
    applied = sum(tier["applied"] for tier in serve["tiers"].values())
    whole_ns = serve["active_cpu_s"] * 1e9 / applied
    total = sum(row["samples"] for row in samples)
    parts = dict.fromkeys((name for name, _ in PARTS), 0)
    for row in samples:
        parts[part_of(row)] += row["samples"] * whole_ns / total
    return parts


def part_of(row):
    """Whose a sample is."""
    line = f"{row['thread']} {row['object']} {row['function']}"
    return next(name for name, pattern in PARTS if re.search(pattern, line))


def await_listening(log, server):
    """Until the server says that it listens."""
    deadline = time.monotonic() + 30
    while "listening" not in log.read_text(encoding="utf-8"):
        if server.poll() is not None or time.monotonic() > deadline:
            fail(f"the server does not listen, see {log}")
        time.sleep(0.02)


def fail(message):
    """One line and code 1."""
    sys.exit(f"bench-profile: {message}")


def write(out, chosen):
    """Everything beside raw/."""
    sums = {}
    for name in ("pollux", "tls"):
        runs = [figures(folder) for folder in sorted((out / "raw").glob(f"*-{name}"))]
        sums[name] = {part: statistics.median(one[part] for one in runs) for part, _ in PARTS}
        sums[name]["all"] = statistics.median(sum(one.values()) for one in runs)
    pollux, tls = sums["pollux"], sums["tls"]
    (out / "summary.json").write_text(json.dumps({"ns_per_record": sums, "runs": chosen.runs}, indent=1) + "\n", encoding="utf-8")
    lines = ["| part, CPU ns for an applied record | Pollux | TLS over TCP |", "|---|---:|---:|"]
    lines += [f"| {part} | {pollux[part]:.1f} | {tls[part]:.1f} |" for part in pollux]
    table = "\n".join(lines)
    heading = f"# Profile: summary\n\n{verdict.of_folder(out)}\n\nMedians of {chosen.runs} runs of each side.\n\n"
    (out / "summary.md").write_text(heading + table + "\n", encoding="utf-8")
    more = sorted(((pollux[part] - tls[part], part) for part, _ in PARTS), reverse=True)
    worst = "; ".join(f"{part} ({by:+.1f} ns)" for by, part in more[:3] if by > 0)
    answer = ANSWER.format(pollux=pollux["all"], tls=tls["all"], more=worst or "nothing")
    words = {"runs": chosen.runs, "seconds": chosen.duration_s, "hz": SAMPLES_HZ, "answer": answer}
    (out / "README.md").write_text(README.format(**words), encoding="utf-8")
    print(table)


def main():
    """Builds, runs alternating, sums up."""
    chosen = options()
    if not shutil.which("perf"):
        print("bench-profile: perf is not here (apt-get install linux-perf)", file=sys.stderr)
        return 69
    build()
    out = chosen.out or result.folder_of("profile")
    out.mkdir(parents=True)
    pollux = target() / "profiling/pollux"
    result.write_host(out, result.host_of(pollux))
    (out / "command.txt").write_text(" ".join(["scripts/bench-profile.py", *sys.argv[1:]]) + "\n", encoding="utf-8")
    certs = result.Certificates.made(pollux, ROOT / "target/bench-profile-certs").folder
    both = [side for side in sides.SIDES if side.name in ("pollux", "tls")]
    for number in range(1, chosen.runs + 1):
        for side in both if number % 2 else reversed(both):
            run(side, out / "raw" / f"{number}-{side.name}", certs, chosen.duration_s)
            print(f"bench-profile: {number} of {chosen.runs}, {side.name}", file=sys.stderr)
    write(out, chosen)
    return 0


if __name__ == "__main__":
    interrupts.end_in_order(lambda: sys.exit(main()), fail)
