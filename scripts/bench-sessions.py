#!/usr/bin/env python3
"""What sessions cost a worker: floods, storms, a loud device, idle ones, many slow ones, and their begin. One folder of results.

usage: scripts/bench-sessions.py [--quick] [--runs N] [--held-s N] [--out DIR] [--wrap COMMAND]

Builds the release binaries, runs every part --runs times (default 3), and writes README.md, command.txt, host.json, raw/,
summary.json and summary.md. --quick is one short run of each, below target/. --wrap runs each part, which takes at most a
minute, through COMMAND, such as the lock of a host that others use too; that idle sessions are held is not a measurement of
time and runs without. Exit codes: 0 done, 1 a build or a run failed, 2 wrong usage.
"""

import argparse
import contextlib
import json
import pathlib
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import interrupts
import result
import verdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
POLLUX = ROOT / "target/release/pollux"
BENCH = ROOT / "target/release/bench"
# quinn itself, in the same experiment as our throughput.
QUINN = ROOT / "target/release/quinn-throughput"
CERTIFICATES = result.Certificates(ROOT / "target/bench-sessions-certs")
DISTURBANCES = ["none", "elsewhere", "initials", "garbage", "loud", "storm"]

README = """# Sessions: what they cost, and what a disturbance costs those that are there

**Question.** Fifty calm sessions send 20 datagrams of 5 records a second each. What do their records and their commands
notice of 50,000 forged first packets a second, of as much garbage, of a storm of reconnects, and of one session that sends
a hundred times as often? What does an idle session cost in memory, and what do ten thousand of them cost the one that sends?
What does a datagram cost among a thousand slow sessions? How long does a session take to begin, anew, resumed and with early
data (0-RTT), what does a handshake cost, how long does a stream take to open, and how much does T2 carry?

**Answer.** {answer}

**Compared.** Each disturbance with `none` of the same round, and the flood with the same flood at a socket that nobody
reads (`elsewhere`), which shows what sending it costs the host. `rest0` is a worker that waits in ppoll and never rests;
`rest1000` rests for up to a millisecond, as by default. Idle sessions beside the active one are silent, so that it shows what
a turn pays for their mere number; what their keep-alives cost is in `idle sessions worker_cpu_percent`. T1 latency is from the
time at which a record was due to the end of the worker's part; the round trip of a command from the time at which it was due.
`connect` is against `pollux serve`: from the call to the record in the world, tick included, with a tick of 20 kHz so that the
tick is not what is measured.
`handshake` is a storm against `pollux serve` with its usual tick of 1 kHz and its usual rest: eight sessions at a time that
carry no record and are closed when they open, each a full handshake. It is the CPU time of the worker's thread (schedstat,
kernel included), less what the same thread uses idle in the same time, by the sessions opened; tickets, the close and its
draining are in it, a record is not. `stream open` and `throughput` are two workers of one process; beside the
latter, quinn carries the same bytes between two endpoints with the same windows, each on a core and a runtime of its own, and its
receiver looks at no record.

**Read.** `summary.md` has the median of the runs, the least and the greatest. `ratio` is the p99 beside `none` of the same
round; `socket_drops` are datagrams that the kernel discarded because the worker's receive buffer was full.

**Doubts.** Everything shares two cores: what disturbs and the calm devices run on one, the worker on the other. In the field the
former are other machines, so here they are ranked behind the calm devices (niceness 19 and -10). Loopback has no network card,
and who sends pays for what the receiver's kernel does. A stall of the virtual machine shows in the greatest values. Memory of
idle sessions is the difference of two resident sizes of the twin, the sessions' part of every table included.
"""


def fail(message):
    sys.exit(f"bench-sessions: {message}")


def bench(raw, name, *arguments, program=BENCH):
    """One experiment of `bench`: the object that it prints, kept below raw/."""
    print(f"  {name}", file=sys.stderr, flush=True)
    done = subprocess.run([program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True)
    (raw / f"{name}.json").write_text(done.stdout, encoding="utf-8")
    return json.loads(done.stdout)


def isolation(raw, name, disturbance, rest_us, seconds, *more):
    told = bench(raw, name, "isolation", "--disturb", disturbance, "--rest-us", rest_us, "--duration-s", seconds, *more)
    calm = told["calm"]
    return {
        "t1_p50_us": calm["t1_ns"]["p50"] / 1e3,
        "t1_p99_us": calm["t1_ns"]["p99"] / 1e3,
        "t1_p99_9_us": calm["t1_ns"]["p99_9"] / 1e3,
        "t3_p99_us": calm["t3_rtt_ns"]["p99"] / 1e3,
        "records_missing": calm["sent"] - calm["received"],
        "commands_failed": calm["commands_failed"],
        "socket_drops": told["socket_drops"],
        "worker_cpu_percent": 100 * told["worker_cpu_share"],
        "busy_us_per_datagram": told["busy_ns"] / 1e3 / max(told["datagrams_in"], 1),
        "memory_growth_percent": 100 * (told["rss_bytes"]["after"] / told["rss_bytes"]["before"] - 1),
        "disturbed": told["disturbed"],
    }


def disturbances(raw, run, quick, rest_us):
    """Every disturbance in turn."""
    figures, quiet = {}, None
    for disturbance in DISTURBANCES:
        name = f"rest{rest_us}-{disturbance}"
        of = isolation(raw, f"{name}-{run}", disturbance, rest_us, 2 if quick else 5)
        quiet = quiet or of
        of["t1_p99_ratio"] = of["t1_p99_us"] / quiet["t1_p99_us"]
        of["t3_p99_ratio"] = of["t3_p99_us"] / quiet["t3_p99_us"]
        figures.update({f"rest{rest_us} {disturbance} {figure}": value for figure, value in of.items()})
    return figures


def many(raw, run, quick):
    """One active session alone and beside idle ones, and a thousand slow ones."""
    figures, seconds = {}, 2 if quick else 4
    count = 500 if quick else 10_000
    turns = {"none": [], "idle": []}
    # In pairs, because a second thread on these cores changes a turn by more than the sessions that it is compared for.
    for pair in range(1 if quick else 5):
        for disturbance, of in turns.items():
            more = ["--sessions", 1, "--hz", 2000, "--callers", count, "--accept-rate", 0]
            of.append(isolation(raw, f"turn-{disturbance}-{run}-{pair}", disturbance, 0, seconds, *more))
    for disturbance, of in turns.items():
        for figure in ("busy_us_per_datagram", "t1_p99_us"):
            figures[f"one active beside {disturbance} {figure}"] = statistics.median(one[figure] for one in of)
    cost = [[one["busy_us_per_datagram"] for one in of] for of in turns.values()]
    figures["one active busy_ratio"] = statistics.median(idle / none for none, idle in zip(*cost))
    sessions = 100 if quick else 1000
    for hz in [20, 100]:
        of = isolation(raw, f"slow-{hz}hz-{run}", "none", 1000, seconds, "--sessions", sessions, "--hz", hz)
        for figure in ["busy_us_per_datagram", "worker_cpu_percent", "t1_p99_us", "records_missing"]:
            figures[f"{sessions} sessions at {hz} Hz {figure}"] = of[figure]
    return figures


def connect(raw, run, quick):
    """Sessions that begin one after the other, against a twin."""
    figures = {}
    for auth, mode in [("off", "full"), ("required", "full"), ("off", "resumed"), ("off", "early")]:
        name = f"connect-{mode}-auth-{auth}-{run}"
        settings = [f"tls.client_auth={auth}", "tick.hz=20000", "idle.rest_us=0", "net.accept_rate=0"]
        with serve(raw / name, settings) as (server, quic, _):
            count = 50 if quick else 400
            told = bench(raw, name, "connect", *of_server(quic, auth), "--mode", mode, "--count", count)
            latency = end(server)["latency_ns"]["intended_to_applied_t2"]
        label = f"connect {mode}, client_auth {auth}"
        figures[f"{label} open_p50_us"] = told["open_ns"]["p50"] / 1e3
        figures[f"{label} call_to_applied_p50_us"] = latency["p50"] / 1e3
        figures[f"{label} call_to_applied_p99_us"] = latency["p99"] / 1e3
        figures[f"{label} sessions"] = told["sessions"]
        figures[f"{label} failed"] = told["failed"]
        if mode == "early":
            figures[f"{label} accepted"] = told["early_accepted"]
    return figures


def handshake(raw, run, quick):
    """A storm of sessions that open anew and are closed: CPU time of the worker's thread."""
    figures, seconds = {}, 1 if quick else 4
    for auth in ["off", "required"]:
        name = f"handshake-auth-{auth}-{run}"
        # With its usual limit a twin admits a storm at that rate; what one costs is asked for here.
        with serve(raw / name, [f"tls.client_auth={auth}", "net.accept_rate=0"]) as (server, quic, http):
            time.sleep(1)
            before, failed = worker_cpu(server.pid), handshakes_failed(http)
            time.sleep(seconds)
            idle_us = (worker_cpu(server.pid)["all_us"] - before["all_us"]) / seconds
            before, began = worker_cpu(server.pid), time.monotonic()
            told = bench(raw, name, "hold", *of_server(quic, auth), "--storm", "--anew", "--count", 64, "--at-once", 8,
                         "--duration-s", seconds)  # fmt: skip
            # Sessions that are closed are drained for a while yet; that is part of their price.
            time.sleep(1)
            after, took_s = worker_cpu(server.pid), time.monotonic() - began
            failed = handshakes_failed(http) - failed
            end(server)
        label = f"handshake, client_auth {auth}"
        figures[f"{label} cpu_us"] = (after["all_us"] - before["all_us"] - idle_us * took_s) / told["opened"]
        figures[f"{label} kernel_percent"] = 100 * share(before, after)
        figures[f"{label} idle_cpu_us_per_s"] = idle_us
        figures[f"{label} handshakes"] = told["opened"]
        figures[f"{label} handshakes_per_s"] = told["opened"] / seconds
        figures[f"{label} failed"] = told["failed"] + failed
    return figures


def of_server(address, auth):
    """The server of an experiment, and what is shown to it."""
    return ["--addr", address, *(CERTIFICATES.client if auth == "required" else CERTIFICATES.trust)]


def worker_cpu(pid):
    """CPU time of a twin's worker: to the nanosecond, and by user and kernel in ticks of the kernel's accounting."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text(encoding="ascii").strip() == "net-0":
            fields = (task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
            all_ns = int((task / "schedstat").read_text(encoding="ascii").split()[0])
            return {"all_us": all_ns / 1e3, "user": int(fields[11]), "kernel": int(fields[12])}
    return fail("the twin has no worker")


def share(before, after):
    """What part of a thread's time was the kernel's."""
    user, kernel = (after[of] - before[of] for of in ("user", "kernel"))
    return kernel / max(user + kernel, 1)


def handshakes_failed(http):
    """Handshakes that did not end in a session, for whatever reason."""
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("pollux_handshakes_failed_total"))


def carry(raw, run, quick):
    """Streams: how fast one opens, and how much one or many carry."""
    figures, seconds = {}, 1 if quick else 4
    for idle, rest_us in [("spin", 0), ("wait", 0), ("wait", 1000)]:
        count = 500 if quick else 3000
        told = bench(raw, f"stream-open-{idle}-{rest_us}-{run}", "stream-open", "--idle", idle, "--rest-us", rest_us, "--count", count)
        for quantile in ["p50", "p99"]:
            figures[f"stream open, {idle}, rest {rest_us} us, {quantile}_us"] = told["latency_ns"][quantile] / 1e3
    for streams, mtu in [(1, 1452), (100, 1452), (1, 9000), (100, 9000)]:
        name = f"throughput-{streams}-{mtu}-{run}"
        told = bench(raw, name, "throughput", "--streams", streams, "--mtu", mtu, "--duration-s", seconds)
        label = f"{streams} streams, packets of {mtu} bytes"
        ours = figures[f"throughput, {label}, MB_per_s"] = told["bytes_per_s"] / 1e6
        told = bench(raw, f"quinn-{name}", "--streams", streams, "--mtu", mtu, "--duration-s", seconds, program=QUINN)
        quinn = figures[f"quinn's throughput, {label}, MB_per_s"] = told["bytes_per_s"] / 1e6
        figures[f"throughput beside quinn's, {label}, ratio"] = ours / quinn
    return figures


PARTS = {
    "rest1000": lambda raw, run, quick: disturbances(raw, run, quick, 1000),
    "rest0": lambda raw, run, quick: disturbances(raw, run, quick, 0),
    "many": many,
    "connect": connect,
    "handshake": handshake,
    "carry": carry,
}


@contextlib.contextmanager
def serve(folder, settings):
    """A twin on free ports, and where it listens. Whoever has it ends it; what fails before does not leave it behind."""
    folder.mkdir(parents=True)
    settings = ["net.addr=127.0.0.1:0", "http.addr=127.0.0.1:0", "net.max_sessions=16384", *settings, *CERTIFICATES.settings]
    command = [POLLUX, "serve", "-o", "json", *(part for setting in settings for part in ("--set", setting))]
    log = folder / "serve.log"
    with open(log, "w", encoding="utf-8") as file:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        while "ready:" not in (told := log.read_text(encoding="utf-8")):
            if server.poll() is not None:
                fail(told)
            time.sleep(0.01)
        yield server, *(re.search(rf"listening {what} (?:http://)?(\S+)", told)[1] for what in ("quic", "http"))
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def end(server):
    """Ends a twin in order, and gives its summary."""
    server.send_signal(signal.SIGTERM)
    told, _ = server.communicate(timeout=60)
    return json.loads(told)


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return fail("the twin is gone")


def idle(raw, seconds, count):
    """Sessions that are held and say nothing."""
    settings = ["net.accept_rate=0", "net.idle_timeout_ms=30000", "host.lock_memory=false"]
    with serve(raw / "idle", settings) as (server, address, _):
        before = most = resident_bytes(server.pid)
        command = [BENCH, "hold", "--addr", address, *CERTIFICATES.client]
        command += ["--count", str(count), "--duration-s", str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hold:
            # All are open within seconds; the rest of the time is what keeping them costs.
            time.sleep(min(20, seconds / 2))
            percent, began_s, began_us = None, time.monotonic(), worker_cpu(server.pid)["all_us"]
            while hold.poll() is None:
                most = max(most, resident_bytes(server.pid))
                percent = (worker_cpu(server.pid)["all_us"] - began_us) / (time.monotonic() - began_s) / 1e4
                time.sleep(0.2)
            told = json.loads(hold.stdout.read())
        end(server)
    told["resident_bytes"] = {"before": before, "with_sessions": most}
    (raw / "hold.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
    return {
        "idle sessions open_at_end": told["open_at_end"],
        "idle sessions lost": told["lost"],
        "idle sessions held_s": seconds,
        "idle sessions opening_s": told["opening_s"],
        "idle sessions memory_bytes_each": (most - before) / told["opened"],
        "idle sessions worker_cpu_percent": percent,
    }


def run_parts(out, arguments, figures):
    """All parts, alternating, each in a process of its own, through the wrapper."""
    for run in range(1, arguments.runs + 1):
        for part in PARTS:
            print(f"[{run}/{arguments.runs}] {part}", file=sys.stderr, flush=True)
            command = [*arguments.wrap, sys.executable, __file__, "--part", part, "--run", str(run), "--out", out]
            command += ["--quick"] if arguments.quick else []
            with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
                interrupts.run(command, stdout=told)
                told.seek(0)
                of_part = json.load(told)
            for figure, value in of_part.items():
                figures.setdefault(figure, []).append(value)
            # What is there survives an end before the last round.
            (out / "raw" / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def write(out, arguments, figures):
    summary = {
        figure: {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}
        for figure, values in figures.items()
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    lines = [verdict.of_folder(out), "", *goals(summary), "", "## All figures", ""]
    lines += ["| figure | median | min | max | runs |", "|---|---:|---:|---:|---:|"]
    for figure, of in summary.items():
        cells = [f"{of[key]:,.6g}" for key in ("median", "min", "max")]
        lines.append(f"| {figure} | {' | '.join(cells)} | {of['runs']} |")
    (out / "summary.md").write_text("# Sessions: summary\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    (out / "README.md").write_text(README.format(answer=answer(summary)), encoding="utf-8")
    words = "--quick" if arguments.quick else f"--runs {arguments.runs} --held-s {arguments.held_s}"
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    (out / "command.txt").write_text(f"scripts/bench-sessions.py {words} # commit {revision.stdout.strip()}\n", encoding="utf-8")
    print("\n".join(lines))


# What the figures should reach: words, the figure, whether less or more is better, the bound.
GOALS = [
    ("1,000 sessions at 20 Hz, busy worker time a packet, us", "1000 sessions at 20 Hz busy_us_per_datagram", "<=", 11),
    ("1,000 sessions at 100 Hz, busy worker time a packet, us", "1000 sessions at 100 Hz busy_us_per_datagram", "<=", 6),
    ("idle sessions lost of 10,000", "idle sessions lost", "<=", 0),
    ("memory of an idle session, bytes", "idle sessions memory_bytes_each", "<=", 16384),
    ("a turn beside 10,000 idle sessions and alone, ratio", "one active busy_ratio", "<=", 1.1),
    ("a handshake without client certificate, worker, us", "handshake, client_auth off cpu_us", "<=", 150),
    ("a handshake with client certificate, worker, us", "handshake, client_auth required cpu_us", "<=", 350),
    ("early data, call to applied, p50, us", "connect early, client_auth off call_to_applied_p50_us", "<=", 1000),
    ("stream open to first byte, waiting, p50, us", "stream open, wait, rest 0 us, p50_us", "<=", 100),
    ("one stream, packets of 1,452 bytes, MB/s", "throughput, 1 streams, packets of 1452 bytes, MB_per_s", ">=", 300),
    ("100 streams, packets of 1,452 bytes, MB/s", "throughput, 100 streams, packets of 1452 bytes, MB_per_s", ">=", 400),
    ("one stream beside quinn's own, ratio", "throughput beside quinn's, 1 streams, packets of 1452 bytes, ratio", ">=", 1),
    ("100 streams beside quinn's own, ratio", "throughput beside quinn's, 100 streams, packets of 1452 bytes, ratio", ">=", 1),
    ("T1 p99 under 50,000 Initials a second, ratio", "rest1000 initials t1_p99_ratio", "<=", 1.2),
    ("T1 p99 in a storm of reconnects, ratio", "rest1000 storm t1_p99_ratio", "<=", 1.2),
    ("T1 p99 beside a loud session, ratio", "rest1000 loud t1_p99_ratio", "<=", 1.2),
    ("records missing beside a loud session", "rest1000 loud records_missing", "<=", 0),
    ("memory growth under the flood, per cent", "rest1000 initials memory_growth_percent", "<=", 5),
]


def goals(summary):
    """Each goal beside its median; a quick run has other figures and misses some."""
    lines = ["| goal | bound | median | |", "|---|---:|---:|---|"]
    for words, figure, sense, bound in GOALS:
        if figure in summary:
            median = summary[figure]["median"]
            reached = median <= bound if sense == "<=" else median >= bound
            lines.append(f"| {words} | {sense} {bound:,} | {median:,.4g} | {'reached' if reached else '**missed**'} |")
    return lines


def answer(summary):
    """The medians that the question asks for, in one sentence."""
    of = lambda figure: summary[figure]["median"]
    return (
        f"With rests, the p99 of a calm T1 record is {of('rest1000 initials t1_p99_ratio'):.2f} times its own under the flood of first packets, "
        f"{of('rest1000 garbage t1_p99_ratio'):.2f} under garbage, {of('rest1000 storm t1_p99_ratio'):.2f} in the storm and "
        f"{of('rest1000 loud t1_p99_ratio'):.2f} beside the loud session, and {of('rest1000 initials records_missing'):.0f} records are missing under the flood; "
        f"an idle session costs {of('idle sessions memory_bytes_each') / 1024:.1f} KiB of resident memory and {of('idle sessions lost'):.0f} of "
        f"{of('idle sessions open_at_end'):,.0f} were lost; a resumed session's first record is in the world "
        f"{of('connect early, client_auth off call_to_applied_p50_us'):.0f} us after the call (p50), a new one's after "
        f"{of('connect full, client_auth off call_to_applied_p50_us'):.0f}; a full handshake costs the worker "
        f"{of('handshake, client_auth off cpu_us'):.0f} us, with a client certificate "
        f"{of('handshake, client_auth required cpu_us'):.0f}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    parser.add_argument("--held-s", type=int, default=300, metavar="N", help="how long idle sessions are held")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--wrap", type=shlex.split, default=[], metavar="COMMAND")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        figures = PARTS[arguments.part](arguments.out / "raw", arguments.run, arguments.quick)
        return print(json.dumps(figures))
    out = arguments.out or (ROOT / "target/bench-sessions-quick" if arguments.quick else result.folder_of("sessions"))
    if arguments.quick:
        arguments.runs = 1
        if arguments.out is None:
            shutil.rmtree(out, ignore_errors=True)
    if out.exists():
        parser.error(f"{out} exists; a result is never replaced")
    build = "cargo build --release --locked".split()
    subprocess.run([*build, "-p", "twin", "-p", "bench"], cwd=ROOT, check=True)
    peer = ROOT / "bench/peers/quinn-bevy/Cargo.toml"
    subprocess.run([*build, "--manifest-path", peer, "--target-dir", ROOT / "target", "--bin", QUINN.name], check=True)
    result.Certificates.made(POLLUX, CERTIFICATES.folder)
    (out / "raw").mkdir(parents=True)
    result.write_host(out, result.host_of(POLLUX))
    held = idle(out / "raw", 2 if arguments.quick else arguments.held_s, 500 if arguments.quick else 10_000)
    figures = {figure: [value] for figure, value in held.items()}
    run_parts(out, arguments, figures)
    return write(out, arguments, figures)


if __name__ == "__main__":
    interrupts.heed()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
