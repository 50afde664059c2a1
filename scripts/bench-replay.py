#!/usr/bin/env python3
"""What a capture costs, how fast it replays, and what kill -9 leaves of it, into one folder of results.

usage: scripts/bench-replay.py [--pairs N] [--seconds N] [--kills N] [--out DIR] [--resume] [--part PART]

Builds the release binaries, then runs a million records a second with and without a capture, in turn (--pairs, 10, each of
--seconds, 8), replays each capture with a check of every tick, kills a capturing twin at random moments (--kills, 200), and
writes README.md, command.txt, host.json, raw/, summary.json and summary.md. --part capture, kill or summary does that
part alone and --resume goes on in the same folder: a pair or a kill that is whole is not done again. Captures are put below
target/ and removed. Exit codes: 0 done, 1 a build or a run failed, 2 wrong usage.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

import interrupts
import result
import verdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILT = ROOT / "target/release/pollux"
WORK = ROOT / "target/bench-replay"
# One binary for all runs, whatever is built meanwhile.
POLLUX = WORK / "pollux"
LOAD = "--devices 1000 --profile industrial --sessions 8 --rate-hz 200".split()

README = """# Replay: the price of a capture, and what can be had from it

**Question.** What does it cost to keep everything that the ticks consume, at a million records a second; how fast is the same
world made from it again; what is left when the twin is killed in the middle?

**Read.** A pair is a run without and a run with a capture, in turn, the first of a pair changing. CPU is that of the whole serving
process while records were applied, for an applied record; `cost` is the ratio of a pair, less one. Every capture is replayed by
`pollux replay --check`, first from the disk, then from memory, which is the rate that is published: the digest of every tick
and the world at the end have to agree. A killed capture has to open, to
replay to its last whole segment, and to lose no more than one.

**Doubts.** The load of the host is in `host.json`: where it was not idle, a starved side has fewer wake-ups and so less CPU for a
record, and a pair whose sides did not both apply a million a second says little. Generator and twin share two cores, and the file lies on the host's only disk: what the kernel spends on writing it
back later is not in the CPU of the process. A tick that the capture shed is named; a replay behind it would not be exact.
"""


def fail(message):
    sys.exit(f"bench-replay: {message}")


def serve(certificates, folder, seconds, capture):
    """One run; the summary of the twin."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [POLLUX, "serve", "-o", "json", "--report", folder / "serve"]
    for setting in ["net.addr=127.0.0.1:0", "http.enabled=false", *certificates.settings]:
        command += ["--set", setting]
    if capture is not None:
        command += ["--capture", capture, "--set", f"capture.max_bytes={1 << 36}", "--set", f"capture.ring={1 << 20}"]
    with open(folder / "serve.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        where = address(folder / "serve.log", server)
        load = [POLLUX, "simulate", "--addr", where, *certificates.client, "-o", "json"]
        with open(folder / "simulate.json", "w", encoding="utf-8") as out, open(folder / "simulate.log", "w", encoding="utf-8") as log:
            subprocess.run([*load, "--duration-s", str(seconds), *LOAD], stdout=out, stderr=log, check=True)
    finally:
        server.send_signal(signal.SIGTERM)
        if server.wait(timeout=60) != 0:
            fail(f"{folder}: the twin did not end in order")
    return json.loads((folder / "serve/summary.json").read_text(encoding="utf-8"))


def address(log, server):
    while True:
        text = log.read_text(encoding="utf-8").splitlines()
        if any(line.startswith("ready:") for line in text):
            return next(line for line in text if line.startswith("listening quic")).split()[2]
        if server.poll() is not None:
            fail("\n".join(text))
        time.sleep(0.01)


def figures(summary):
    """What a run comes to, for a record on T1."""
    tier = summary["tiers"]["t1"]
    applied = sum(summary["tiers"][of]["applied"] for of in ("t1", "t2"))
    busy = summary["thread_cpu_ns"]
    return {
        "applied_per_s": applied / summary["active_s"],
        "cpu_ns_per_record": 1e9 * summary["active_cpu_s"] / applied,
        "tick_cpu_ns_per_record": busy["tick"] / applied,
        "shed_or_lost": tier["shed"] + tier["lost"],
        "residual": tier["residual"],
    }


def pair(number, certificates, seconds, raw):
    """A run without and one with a capture, and the replay of that."""
    capture = WORK / "run.capture"
    capture.unlink(missing_ok=True)
    done = {"pair": number}
    for with_capture in (False, True) if number % 2 else (True, False):
        side = "with" if with_capture else "without"
        folder = raw / f"pair-{number}" / side
        done[side] = figures(serve(certificates, folder, seconds, capture if with_capture else None))
    # The capture went past the page cache: the first replay reads it from the disk, the second from memory.
    for name in ("replay_from_disk", "replay"):
        replay = subprocess.run([POLLUX, "replay", capture, "--check", "-o", "json"], capture_output=True, text=True, check=False)
        done[name] = json.loads(replay.stdout)
    done["capture_bytes"] = capture.stat().st_size
    capture.unlink()
    return done


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def captures(raw, arguments):
    path = raw / "pairs.jsonl"
    certificates = result.Certificates.made(POLLUX, WORK / "certs")
    for number in range(len(lines(path)), arguments.pairs):
        done = pair(number, certificates, arguments.seconds, raw)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(done) + "\n")
        cost = done["with"]["cpu_ns_per_record"] / done["without"]["cpu_ns_per_record"] - 1
        print(f"pair {number}: cost {100 * cost:.1f} %, replay {done['replay']['records_per_s'] / 1e6:.1f} M/s", file=sys.stderr)


def kills(raw, arguments):
    """The test that kills, with its own judgement of each file."""
    environment = {**os.environ, "CAPTURE_KILLS": str(arguments.kills)}
    command = "cargo test --locked -p twin --test capture_kill -- --nocapture".split()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    (raw / "kills.txt").write_text(done.stderr + done.stdout, encoding="utf-8")
    if done.returncode != 0:
        fail(f"a killed capture broke its promise: {raw / 'kills.txt'}")


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def summarize(out, arguments):
    """Reads raw/ and writes everything else."""
    done = lines(out / "raw/pairs.jsonl")
    summary = {
        "capture_cost_percent": spread([100 * (of["with"]["cpu_ns_per_record"] / of["without"]["cpu_ns_per_record"] - 1) for of in done]),
        "tick_cost_ns_per_record": spread([of["with"]["tick_cpu_ns_per_record"] - of["without"]["tick_cpu_ns_per_record"] for of in done]),
        "cpu_ns_per_record_without": spread([of["without"]["cpu_ns_per_record"] for of in done]),
        "cpu_ns_per_record_with": spread([of["with"]["cpu_ns_per_record"] for of in done]),
        "applied_per_s_with": spread([of["with"]["applied_per_s"] for of in done]),
        "capture_bytes_per_record": spread([of["capture_bytes"] / of["replay"]["records"] for of in done]),
        "replay_records_per_s": spread([of["replay"]["records_per_s"] for of in done]),
        "replay_from_disk_records_per_s": spread([of["replay_from_disk"]["records_per_s"] for of in done]),
        "ticks_shed_by_captures": spread([of["replay"]["shed_ticks"] for of in done]),
        "replays_exact_percent": spread([100.0 * of["replay"]["exact"] for of in done]),
    }
    text = (out / "raw/kills.txt").read_text(encoding="utf-8")
    told = re.search(r"(\d+) kills, (\d+) torn tails, (\d+) ticks and (\d+) records replayed", text)
    summary["kills"] = dict(zip(("kills", "torn_tails", "ticks_replayed", "records_replayed"), map(int, told.groups())))
    rows = [
        {"what": "capture of 1,000,000 records/s: CPU of the whole process, %", "pollux": f"{summary['capture_cost_percent']['median']:+.1f}"},
        {"what": "replay, every tick compared: records each second", "pollux": f"{summary['replay_records_per_s']['median']:,.0f}"},
        {"what": f"kill -9 in the middle of a capture, {told[1]} times: files that open and replay", "pollux": told[1]},
    ]
    (out / "summary.json").write_text(json.dumps({**summary, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    table = ["| figure | median | min | max | runs |", "|---|---:|---:|---:|---:|"]
    for name, of in summary.items():
        if "median" in of:
            table.append(f"| {name} | " + " | ".join(f"{of[key]:,.6g}" for key in ("median", "min", "max")) + f" | {of['runs']} |")
    kill_line = f"{told[1]} times kill -9: every file opened and replayed to its last whole segment, {told[2]} of them with a torn last one."
    body = "\n".join(table)
    (out / "summary.md").write_text(f"# Replay: summary\n\n{verdict.of_folder(out)}\n\n{body}\n\n{kill_line}\n", encoding="utf-8")
    (out / "README.md").write_text(README, encoding="utf-8")
    words = ["scripts/bench-replay.py", f"--pairs {arguments.pairs}", f"--seconds {arguments.seconds}", f"--kills {arguments.kills}"]
    (out / "command.txt").write_text(" ".join(words) + "\n", encoding="utf-8")
    print(body + "\n\n" + kill_line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10, metavar="N")
    parser.add_argument("--seconds", type=int, default=8, metavar="N")
    parser.add_argument("--kills", type=int, default=200, metavar="N")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--part", choices=("capture", "kill", "summary"))
    arguments = parser.parse_args()
    out = arguments.out or result.folder_of("replay")
    if out.exists() and not arguments.resume:
        parser.error(f"{out} exists; a result is never replaced (--resume goes on with one)")
    if not out.exists():
        subprocess.run("cargo build --release --locked -p twin".split(), cwd=ROOT, check=True)
        WORK.mkdir(parents=True, exist_ok=True)
        shutil.copy2(BUILT, POLLUX)
        (out / "raw").mkdir(parents=True)
        result.write_host(out, result.host_of(POLLUX))
    WORK.mkdir(parents=True, exist_ok=True)
    if arguments.part in (None, "capture"):
        captures(out / "raw", arguments)
    if arguments.part in (None, "kill"):
        kills(out / "raw", arguments)
    if arguments.part in (None, "summary"):
        summarize(out, arguments)


if __name__ == "__main__":
    interrupts.end_in_order(main, fail)
