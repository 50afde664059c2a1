#!/usr/bin/env python3
"""The figures of Pollux alone, into one folder of results: scale, memory, start-up, reaction and command round trip.

usage: scripts/bench-twin.py [--quick] [--runs N] [--out DIR]
       scripts/bench-twin.py --again DIR

Builds the release binaries, then runs each experiment --runs times (default 5; the minute of scale runs once) and
writes README.md, command.txt, host.json, raw/, summary.json and summary.md. --quick is one short run of each, below
target/. --again runs nothing and sums up the raw data of a folder anew. Exit codes: 0 done, 1 a build or a run failed,
2 wrong usage.
"""

import argparse
import json
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import textwrap
import time

import interrupts
import result
import verdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
POLLUX = ROOT / "target/release/pollux"
BENCH = ROOT / "target/release/bench"

README = """# Twin: what one Pollux does on this host

**Question.** Does a twin of 200,000 sensors keep its ticks at a million records a second; what does an entity cost in
memory; how soon is it ready; how fast does it react?

{answer}

**Read.** `summary.md` has a row for each figure: the median of the runs, with the least and the greatest. Generator and
twin share the host and its two cores, so the CPU of the one is missing to the other. Latencies are open-loop. Ticks that ran
are all that were not given up: one that was held up runs late (`tick.catch_up`) and counts; `jitter` is how late ticks began.

**Doubts.** Loopback has no network card: its interrupts are paid by the sender. A spinning worker without a core of its
own loses slices of milliseconds to the generator: read its median. Memory is the difference of two resident sizes, that with
200,000 sensors and that of an empty twin: it includes what sessions cost, and not what the twin takes before the first sensor.
"""


class Run:
    """A `pollux serve` with the load of one `pollux simulate`."""

    def __init__(self, folder, settings, load, seconds):
        folder.mkdir(parents=True)
        self.folder = folder
        command = [POLLUX, "serve", "-o", "json", "--report", folder / "serve"]
        for setting in ["net.addr=127.0.0.1:0", "http.addr=127.0.0.1:0", *CERTIFICATES.settings, *settings]:
            command += ["--set", setting]
        with open(folder / "serve.log", "w", encoding="utf-8") as log:
            began = time.monotonic()
            self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            self.address = self.wait_for_address()
            self.ready_s = time.monotonic() - began
            if load is not None:
                self.simulate(load, seconds)
        finally:
            self.server.send_signal(signal.SIGTERM)
            if self.server.wait(timeout=30) != 0:
                fail(f"{folder}: the twin did not end in order")

    def wait_for_address(self):
        while True:
            lines = (self.folder / "serve.log").read_text(encoding="utf-8").splitlines()
            if any(line.startswith("ready:") for line in lines):
                return next(line for line in lines if line.startswith("listening quic")).split()[2]
            if self.server.poll() is not None:
                fail("\n".join(lines))
            time.sleep(0.001)

    def simulate(self, load, seconds):
        command = [POLLUX, "simulate", "--addr", self.address, *CERTIFICATES.client, "-o", "json"]
        command += ["--report", self.folder / "simulate", "--duration-s", str(seconds), *load]
        with open(self.folder / "simulate.log", "w", encoding="utf-8") as log:
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=log, check=True)


def fail(message):
    sys.exit(f"bench-twin: {message}")


def reported(folder):
    """The twin's own summary of a run."""
    return json.loads((folder / "serve/summary.json").read_text(encoding="utf-8"))


def scale(folder, _, seconds):
    """200,000 sensors, five records a second each: a million records a second."""
    Run(folder, [], "--devices 40000 --profile industrial --sessions 8 --rate-hz 5".split(), seconds)


def scale_figures(folder):
    twin = reported(folder)
    tier, ticks, latency = twin["tiers"]["t1"], twin["ticks"], twin["latency_ns"]
    return {
        "scale_entities": twin["entities"],
        "scale_applied_per_s": tier["applied"] / twin["active_s"],
        "scale_ticks_run_percent": 100 * ticks / (ticks + twin["ticks_missed"]),
        "scale_tick_overruns_percent": 100 * twin["tick_overruns"] / ticks,
        "scale_residual": tier["residual"],
        "scale_shed_or_lost_percent": 100 * (tier["shed"] + tier["lost"]) / tier["offered"],
        "scale_tick_duration_p50_us": latency["tick_duration"]["p50"] / 1e3,
        "scale_tick_duration_p99_us": latency["tick_duration"]["p99"] / 1e3,
        "scale_tick_jitter_p99_us": latency["tick_jitter"]["p99"] / 1e3,
        "scale_tick_jitter_p999_us": latency["tick_jitter"]["p99_9"] / 1e3,
        "scale_cpu_cores": twin["active_cpu_s"] / twin["active_s"],
    }


def memory(folder, _, seconds):
    """Resident memory with 200,000 sensors, less that with none."""
    Run(folder / "empty", [], None, 0)
    Run(folder / "full", [], "--devices 40000 --profile industrial --sessions 8 --rate-hz 1".split(), seconds)


def memory_figures(folder):
    empty, full = reported(folder / "empty"), reported(folder / "full")
    return {
        "memory_bytes_per_entity": (full["rss_bytes"] - empty["rss_bytes"]) / full["entities"],
        "memory_empty_mb": empty["rss_bytes"] / 1e6,
    }


def start(folder, _, __):
    """From spawning the process to its word that it is ready."""
    told = {"ready_s": Run(folder, [], None, 0).ready_s, "binary_bytes": POLLUX.stat().st_size}
    (folder / "start.json").write_text(json.dumps(told) + "\n", encoding="utf-8")


def start_figures(folder):
    told = json.loads((folder / "start.json").read_text(encoding="utf-8"))
    return {"start_ready_ms": told["ready_s"] * 1e3, "binary_mb": told["binary_bytes"] / 1e6}


def reaction(folder, _, seconds):
    """100,000 records a second with a worker that spins on core 0, while everything else may use core 1."""
    load = "--devices 1000 --profile single --sessions 1 --rate-hz 100".split()
    Run(folder, ["idle.strategy=spin", "net.core=0", "tick.core=1"], load, seconds)


def reaction_figures(folder):
    latency = reported(folder)["latency_ns"]["socket_to_ring"]
    return {
        "reaction_socket_to_ring_p50_us": latency["p50"] / 1e3,
        "reaction_socket_to_ring_p99_us": latency["p99"] / 1e3,
    }


def command(folder, quick, _):
    """Round trip of a command between two spinning workers."""
    folder.mkdir(parents=True)
    count = "5000" if quick else "100000"
    done = subprocess.run(
        [BENCH, "command-rtt", "--count", count], capture_output=True, text=True, check=True
    )
    (folder / "command-rtt.json").write_text(done.stdout, encoding="utf-8")


def command_figures(folder):
    rtt = json.loads((folder / "command-rtt.json").read_text(encoding="utf-8"))["rtt_ns"]
    return {"command_rtt_p50_us": rtt["p50"] / 1e3, "command_rtt_p99_us": rtt["p99"] / 1e3}


# What the front page shows of it: text, and figures with their forms.
PUBLISHED = [
    ("200,000 sensors, a million records/s, a minute: ticks of 1 ms that ran, late ones included, %",
     "{scale_ticks_run_percent:.2f}"),
    ("the same: how late ticks began, p99 and p99.9, µs", "{scale_tick_jitter_p99_us:,.0f} and {scale_tick_jitter_p999_us:,.0f}"),
    ("socket to ring with a worker that spins, p50, µs", "{reaction_socket_to_ring_p50_us:.1f}"),
    ("command round trip between two workers, p50, µs", "{command_rtt_p50_us:.1f}"),
    ("memory for an entity above an empty twin, of 200,000, bytes", "{memory_bytes_per_entity:.0f}"),
    ("start to ready, ms", "{start_ready_ms:.0f}"),
]  # fmt: skip

ANSWER = """**Answer.** Of the ticks of a minute at a million records a second {scale_ticks_run_percent:.2f} % ran, late ones \
included; the p99 of how late they began is {scale_tick_jitter_p99_us:,.0f} us, p99.9 {scale_tick_jitter_p999_us:,.0f}. An \
entity costs {memory_bytes_per_entity:.0f} bytes above an empty twin of {memory_empty_mb:.0f} MB. The twin is ready after \
{start_ready_ms:.0f} ms. A record is in the ring {reaction_socket_to_ring_p50_us:.1f} us after the socket had it where a \
worker spins, a command is back after {command_rtt_p50_us:.1f} us (medians)."""

# What runs an experiment, and what reads its figures from what it left.
EXPERIMENTS = {
    start: start_figures,
    memory: memory_figures,
    reaction: reaction_figures,
    command: command_figures,
    scale: scale_figures,
}


def main():
    global CERTIFICATES
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--runs", type=int, default=5, metavar="N")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--again", type=pathlib.Path, metavar="DIR", help="runs nothing: sums up a folder that is there")
    arguments = parser.parse_args()
    if arguments.again:
        write(arguments.again, read(arguments.again))
        return
    out = arguments.out or (ROOT / "target/bench-twin-quick" if arguments.quick else result.folder_of("twin"))
    if arguments.quick and arguments.out is None:
        shutil.rmtree(out, ignore_errors=True)
    if out.exists():
        parser.error(f"{out} exists; a result is never replaced")
    build = "cargo build --release --locked -p twin -p bench".split()
    subprocess.run(build, cwd=ROOT, check=True)
    out.mkdir(parents=True)
    result.write_host(out, result.host_of(POLLUX))
    CERTIFICATES = result.Certificates.made(POLLUX, ROOT / "target/bench-twin-certs")
    words = ["scripts/bench-twin.py"] + (["--quick"] if arguments.quick else [f"--runs {arguments.runs}"])
    (out / "command.txt").write_text(" ".join(words) + "\n", encoding="utf-8")
    measure(out, arguments)
    write(out, read(out))


def measure(out, arguments):
    """Runs every experiment; what it leaves is in raw/."""
    for experiment in EXPERIMENTS:
        seconds = 2 if arguments.quick else 60 if experiment is scale else 5
        runs = 1 if arguments.quick or experiment is scale else arguments.runs
        for run in range(1, runs + 1):
            print(f"[{experiment.__name__} {run}/{runs}] {experiment.__doc__}", file=sys.stderr)
            experiment(out / "raw" / experiment.__name__ / str(run), arguments.quick, seconds)


def read(out):
    """Median and ends of every figure, from the raw data."""
    figures = {}
    for experiment, figures_of in EXPERIMENTS.items():
        for folder in sorted((out / "raw" / experiment.__name__).iterdir()):
            try:
                told = figures_of(folder)
            except FileNotFoundError as missing:
                fail(f"{missing.filename} is missing, so that no figure stands on it; measure again, into another folder")
            for figure, value in told.items():
                figures.setdefault(figure, []).append(value)
    return {
        figure: {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}
        for figure, values in figures.items()
    }


def write(out, summary):
    medians = {figure: of["median"] for figure, of in summary.items()}
    rows = [{"what": what, "pollux": form.format(**medians)} for what, form in PUBLISHED]
    told = json.dumps({**summary, "rows": rows}, indent=2)
    (out / "summary.json").write_text(told + "\n", encoding="utf-8")
    lines = ["| figure | median | min | max | runs |", "|---|---:|---:|---:|---:|"]
    for figure, of in summary.items():
        cells = [f"{of[key]:,.6g}" for key in ("median", "min", "max")]
        lines.append(f"| {figure} | {' | '.join(cells)} | {of['runs']} |")
    (out / "summary.md").write_text(f"# Twin: summary\n\n{verdict.of_folder(out)}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    answer = textwrap.fill(ANSWER.format(**medians), 118)
    (out / "README.md").write_text(README.format(answer=answer), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    interrupts.end_in_order(main, fail)
