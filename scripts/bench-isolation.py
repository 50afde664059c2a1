#!/usr/bin/env python3
"""What floods, storms, a loud session and ten thousand idle ones cost a worker, into one folder of results.

usage: scripts/bench-isolation.py [--quick] [--runs N] [--out DIR] [--wrap COMMAND]

Builds the release binaries, then runs every disturbance in turn, --runs times (default 5), and writes README.md,
command.txt, host.json, raw/, summary.json and summary.md. --quick is one short run of each, below target/. --wrap runs each
measured command through COMMAND, such as the lock of a host that others use too. Exit codes: 0 done, 1 a build or a run
failed, 2 wrong usage.
"""

import argparse
import datetime
import json
import pathlib
import platform
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
POLLUX = ROOT / "target/release/pollux"
BENCH = ROOT / "target/release/bench"

README = """# Isolation: what a disturbance costs the sessions that are there

**Question.** Fifty calm sessions send 20 datagrams of 5 records a second each. What do their records and their commands
notice of 50,000 forged first packets a second, of as much garbage, of a storm of reconnects, and of one session that sends
a hundred times as often? What does an idle session cost in memory, and what do ten thousand of them cost the one that sends?

**Compared.** Each disturbance with `none`, and the flood with the same flood at a socket that nobody reads (`elsewhere`),
which shows what sending it costs the host. The runs alternate. `rest0` is a worker that waits in ppoll and never rests;
the others rest for up to a millisecond, as by default. T1 latency is from the time at which a record was due to the end of
the worker's part; the round trip of a command from the time at which it was due.

**Read.** `summary.md` has the median of the runs, the least and the greatest. `ratio` is the p99 beside `none` of the same
round.

**Doubts.** Everything shares two cores: the flood, the storm and the calm devices run on one, the worker on the other.
Loopback has no network card. A stall of the virtual machine shows in the greatest values. Memory of idle sessions is the
difference of two resident sizes of the twin, the sessions' part of every table included.
"""

DISTURBANCES = ["none", "elsewhere", "initials", "garbage", "loud", "storm"]


def fail(message):
    sys.exit(f"bench-isolation: {message}")


def bench(wrap, *arguments):
    """One experiment of `bench`: the object that it prints."""
    command = [*wrap, BENCH, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def isolation(wrap, disturbance, rest_us, seconds, *more):
    told = bench(wrap, "isolation", "--disturb", disturbance, "--rest-us", rest_us, "--duration-s", seconds, *more)
    calm = told["calm"]
    return told, {
        "t1_p50_us": calm["t1_ns"]["p50"] / 1e3,
        "t1_p99_us": calm["t1_ns"]["p99"] / 1e3,
        "t1_p99_9_us": calm["t1_ns"]["p99_9"] / 1e3,
        "t3_p99_us": calm["t3_rtt_ns"]["p99"] / 1e3,
        "records_missing": calm["sent"] - calm["received"],
        "commands_failed": calm["commands_failed"],
        "worker_cpu_percent": 100 * told["worker_cpu_share"],
        "memory_growth_percent": 100 * (told["rss_bytes"]["after"] / told["rss_bytes"]["before"] - 1),
        "disturbed": told["disturbed"],
    }


def disturbances(out, arguments, seconds, figures):
    """Every disturbance, alternating, with and without rests."""
    for run in range(1, arguments.runs + 1):
        for name, rest_us in [("rest1000", 1000), ("rest0", 0)]:
            quiet = None
            for disturbance in DISTURBANCES:
                print(f"[{run}/{arguments.runs}] {name} {disturbance}", file=sys.stderr)
                told, of = isolation(arguments.wrap, disturbance, rest_us, seconds)
                (out / "raw" / f"{name}-{disturbance}-{run}.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
                quiet = quiet or of
                of["t1_p99_ratio"] = of["t1_p99_us"] / quiet["t1_p99_us"]
                of["t3_p99_ratio"] = of["t3_p99_us"] / quiet["t3_p99_us"]
                for figure, value in of.items():
                    figures.setdefault(f"{name} {disturbance} {figure}", []).append(value)


def turns(out, arguments, seconds, figures, count):
    """One active session, alone and beside idle ones."""
    for run in range(1, arguments.runs + 1):
        cost = {}
        for disturbance in ["none", "idle"]:
            print(f"[{run}/{arguments.runs}] one session of 2,000 datagrams a second beside {disturbance}", file=sys.stderr)
            more = ["--sessions", 1, "--hz", 2000, "--callers", count, "--accept-rate", 0]
            told, of = isolation(arguments.wrap, disturbance, 0, seconds, *more)
            (out / "raw" / f"turn-{disturbance}-{run}.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
            cost[disturbance] = of["worker_cpu_percent"]
            figures.setdefault(f"one active, {disturbance} worker_cpu_percent", []).append(of["worker_cpu_percent"])
            figures.setdefault(f"one active, {disturbance} t1_p99_us", []).append(of["t1_p99_us"])
        figures.setdefault("one active cpu_ratio", []).append(cost["idle"] / cost["none"])


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    fail("the twin is gone")


def serve(folder, certificates):
    command = [POLLUX, "serve", "--set", "net.addr=127.0.0.1:0", "--set", "http.enabled=false"]
    command += ["--set", "net.max_sessions=16384", "--set", "net.accept_rate=0", "--set", "net.idle_timeout_ms=30000"]
    for part, name in [("cert", "server.pem"), ("key", "server.key"), ("ca", "ca.pem"), ("crl", "crl.pem")]:
        command += ["--set", f"tls.{part}={certificates}/{name}"]
    log = folder / "serve.log"
    with open(log, "w", encoding="utf-8") as file:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file)
    while True:
        lines = log.read_text(encoding="utf-8").splitlines()
        if any(line.startswith("ready:") for line in lines):
            return server, next(line for line in lines if line.startswith("listening quic")).split()[2]
        if server.poll() is not None:
            fail("\n".join(lines))
        time.sleep(0.01)


def idle(out, arguments, seconds, figures, count):
    """Sessions that are held and say nothing."""
    folder = out / "raw" / "idle"
    folder.mkdir(parents=True)
    certificates = ROOT / "target/bench-isolation-certs"
    shutil.rmtree(certificates, ignore_errors=True)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([POLLUX, "certs", "init", "--dir", certificates, "--gateway", "plant"], check=True, **quiet)
    server, address = serve(folder, certificates)
    try:
        before = resident_bytes(server.pid)
        command = [*arguments.wrap, BENCH, "hold", "--addr", address, "--ca", certificates / "ca.pem"]
        command += ["--cert", certificates / "gateway-plant.pem", "--key", certificates / "gateway-plant.key"]
        command += ["--count", str(count), "--duration-s", str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hold:
            most = before
            while hold.poll() is None:
                most = max(most, resident_bytes(server.pid))
                time.sleep(0.2)
            told = json.loads(hold.stdout.read())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    told["resident_bytes"] = {"before": before, "with_sessions": most}
    (folder / "hold.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
    figures["idle sessions"] = [told["open_at_end"]]
    figures["idle sessions lost"] = [told["lost"]]
    figures["idle held_s"] = [seconds]
    figures["idle opening_s"] = [told["opening_s"]]
    figures["idle memory_bytes_per_session"] = [(most - before) / told["opened"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--runs", type=int, default=5, metavar="N")
    parser.add_argument("--held-s", type=int, default=300, metavar="N", help="how long idle sessions are held")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--wrap", type=shlex.split, default=[], metavar="COMMAND")
    arguments = parser.parse_args()
    name = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}-{platform.node()}-isolation"
    out = arguments.out or ROOT / ("target/bench-isolation-quick" if arguments.quick else f"results/{name}")
    if arguments.quick:
        arguments.runs = 1
        if arguments.out is None:
            shutil.rmtree(out, ignore_errors=True)
    if out.exists():
        parser.error(f"{out} exists; a result is never replaced")
    subprocess.run("cargo build --release --locked -p twin -p bench".split(), cwd=ROOT, check=True)
    (out / "raw").mkdir(parents=True)
    host = [sys.executable, ROOT / "scripts/describe-host.py"]
    told = subprocess.run(host, capture_output=True, text=True, check=True)
    (out / "host.json").write_text(told.stdout, encoding="utf-8")
    figures = {}
    count = 500 if arguments.quick else 10_000
    idle(out, arguments, 2 if arguments.quick else arguments.held_s, figures, count)
    turns(out, arguments, 2 if arguments.quick else 4, figures, count)
    disturbances(out, arguments, 2 if arguments.quick else 4, figures)
    write(out, arguments, figures)


def write(out, arguments, figures):
    summary = {
        figure: {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}
        for figure, values in figures.items()
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    lines = ["| figure | median | min | max | runs |", "|---|---:|---:|---:|---:|"]
    for figure, of in summary.items():
        cells = [f"{of[key]:,.6g}" for key in ("median", "min", "max")]
        lines.append(f"| {figure} | {' | '.join(cells)} | {of['runs']} |")
    (out / "summary.md").write_text("# Isolation: summary\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    (out / "README.md").write_text(README, encoding="utf-8")
    words = "--quick" if arguments.quick else f"--runs {arguments.runs} --held-s {arguments.held_s}"
    (out / "command.txt").write_text(f"scripts/bench-isolation.py {words}\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
