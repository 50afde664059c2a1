#!/usr/bin/env python3
"""What operators cost a twin, and how soon their commands are answered, into one folder of results.

usage: scripts/bench-operators.py [--quick] [--rounds N] [--only NAME ...] [--binary FILE] [--out DIR]
       scripts/bench-operators.py --again DIR

Builds the release binaries, unless it is given one, then runs: publish (200,000 sensors, a million records a second, with
0, 1 and 100 viewers), viewers (10,000 sensors with 0 and 100 viewers by turns, one of them slow), browser (Chromium over
WebTransport, and the page), command (setpoints over HTTP at 100,000 records a second) and overload (as many setpoints as
there is room for, and stops). Viewers are plain sockets on the same machine, at the lowest priority, that count frames by
their headers. --quick is one short round below target/. --only with a folder that is there adds what it lacks, so that a
long run can be done in parts, of one and the same build. --again runs nothing and sums up the raw data of a folder anew.
Exit codes: 0 done, 1 a build or a run failed, 2 wrong usage.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import select
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

import interrupts
import result
import targets
import verdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
POLLUX = ROOT / "target/release/pollux"
BENCH = ROOT / "target/release/bench"

README = """# Operators: what they cost a twin, and how soon they are answered

**Question.** What does the tick pay for showing the plant, with nobody, one and a hundred who look; what do a hundred viewers
cost the cold thread, and the plant; what does a browser get over WebTransport; how soon is a command acknowledged, and a stop
under overload?

**Read.** `summary.md` has a row for each figure: the median of the rounds, with the least and the greatest, beside what was
aimed at. `publish` is 200,000 sensors at a million records a second, `viewers` 10,000 sensors at 20 Hz, `command` 100,000
records a second, `overload` the same with a lane of orders that is full all the time. `took` is the twin's own time from the
request to the receipt of the acknowledgement, `http` what a client on loopback waits for its answer.

HTTP on these cores brings fewer setpoints than a tick of 1 kHz takes, so that over it the lane is never full for long.
`overload` therefore holds the desk in process (`bench orders`), before the world, the tick thread and the worker of the
product, and simulated devices over QUIC: 256 setpoints on their way, each to another device, another one as soon as one has
ended. A stop comes every 50 ms, and its end as soon as all eight sessions have answered; setpoints are asked for again after
that. `setpoint` and `stop` are the twin's own histograms, from the request to the receipt of the acknowledgement, the stop
and its end together; `stop_all` is from a stop to the moment when all sessions were seen to have answered. `waiting` is how
many setpoints were on their way when some had ended and others had not yet taken their place. `without_stream` counts
setpoints whose session had as many commands open as the device allows but one, which is kept for the stop; they are in no
histogram, nor are those that a stop refused.

**Doubts.** Generator, twin, viewers and browser share two cores: what viewers take of the CPU is missing to the rest, so
jitter with a hundred viewers is that of a machine that is busy as well. Viewers have the lowest priority for that reason. A
core of a virtual machine that has nothing to do wakes later than a busy one, so that ticks may begin later without viewers
than with them.
"""

# Figure, form, what was aimed at.
AIMS = {
    "publish_show_of_tick_percent_0_viewers": "at most 3",
    "publish_show_of_tick_percent_1_viewers": "at most 3",
    "publish_show_of_tick_percent_100_viewers": "at most 3",
    "viewers_cold_core_percent_100": "at most 15",
    "viewers_frames_hz_least": "at least 30",
    "viewers_jitter_p99_ratio": "at most 1.05",
    "viewers_ingest_p99_ratio": "at most 1.05",
    "browser_frames_hz": "at least 29",
    "browser_worker_core_percent": "at most 2",
    "browser_first_paint_ms": "at most 300",
    "browser_page_bytes": "at most 150,000",
    "command_took_p50_ms": "at most 1.5",
    "overload_stop_of_setpoint_p99_ratio": "at most 0.5",
}


def fail(message):
    sys.exit(f"bench-operators: {message}")


class Twin:
    """A `pollux serve` with the load of a `pollux simulate` beside it."""

    def __init__(self, folder, load, sensors):
        folder.mkdir(parents=True)
        self.folder = folder
        command = [POLLUX, "serve", "-o", "json"]
        for setting in ["net.addr=127.0.0.1:0", "http.addr=127.0.0.1:0", "host.priority=hot", *CERTIFICATES.settings]:
            command += ["--set", setting]
        self.serve = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(folder / "serve.log", "w"))
        self.load = None
        try:
            self.quic, self.http = self.addresses()
            command = [POLLUX, "simulate", "--addr", self.quic, *CERTIFICATES.client, "-o", "json", "--duration-s", "3600"]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": open(folder / "simulate.log", "w")}
            self.load = subprocess.Popen(command + load.split(), **quiet)
            self.client = Client(self.http)
            while self.client.ask("GET", "/api/v1/overview")["sensors"] < sensors:
                time.sleep(0.2)
        except BaseException:
            self.end()
            raise
        time.sleep(3)

    def addresses(self):
        while True:
            text = (self.folder / "serve.log").read_text(encoding="utf-8")
            if "ready:" in text:
                return [re.search(rf"listening {name} (\S+)", text)[1] for name in ("quic", "http")]
            if self.serve.poll() is not None:
                fail(text)
            time.sleep(0.01)

    def end(self):
        for process in (self.load, self.serve):
            if process is not None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=60)

    def metrics(self):
        lines = self.client.text("GET", "/metrics").splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def threads(self):
        """CPU seconds of each thread by its name, to the nanosecond; the first one is the cold one."""
        found = {}
        for task in os.listdir(f"/proc/{self.serve.pid}/task"):
            folder = pathlib.Path(f"/proc/{self.serve.pid}/task/{task}")
            name = "cold" if task == str(self.serve.pid) else (folder / "comm").read_text().strip()
            found[name] = found.get(name, 0) + int((folder / "schedstat").read_text().split()[0]) / 1e9
        return found


class Client:
    """One connection that is kept, and opened again when the twin has closed it for its silence."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=20)

    def text(self, method, path, body=None):
        headers = {} if body is None else {"content-type": "application/json"}
        for attempt in (1, 2):
            try:
                self.connection.request(method, path, None if body is None else json.dumps(body), headers)
                answer = self.connection.getresponse()
                break
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.connection.close()
                if attempt == 2:
                    raise
        self.status = answer.status
        return answer.read().decode()

    def ask(self, method, path, body=None):
        return json.loads(self.text(method, path, body))


class Viewer:
    """A WebSocket whose payloads the kernel throws away; a slow one takes one frame a second."""

    def __init__(self, address, slow=False):
        host, port = address.split(":")
        self.slow, self.due = slow, 0.0
        self.socket = socket.create_connection((host, int(port)))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /api/v1/field HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.socket.recv(1)
        assert b" 101 " in head, head
        self.socket.setblocking(False)
        self.frames = self.bytes = self.left = 0
        self.head = b""

    def read(self):
        try:
            while True:
                if self.left:
                    # MSG_TRUNC on a stream counts bytes and copies none.
                    took = self.socket.recv_into(SCRATCH, min(self.left, len(SCRATCH)), socket.MSG_TRUNC)
                    if took == 0:
                        raise ConnectionError("the twin closed a viewer")
                    self.left -= took
                    self.bytes += took
                    continue
                lacking = self.lacking()
                more = self.socket.recv(lacking)
                if not more:
                    raise ConnectionError("the twin closed a viewer")
                self.head += more
                if self.lacking() == 0:
                    short = self.head[1] & 127
                    self.left = int.from_bytes(self.head[2:], "big") if short > 125 else short
                    self.frames += 1
                    self.head = b""
                    if self.slow:
                        self.due = time.monotonic() + 1
                        return
        except BlockingIOError:
            return

    def lacking(self):
        if len(self.head) < 2:
            return 2 - len(self.head)
        short = self.head[1] & 127
        return 2 + (2 if short == 126 else 8 if short == 127 else 0) - len(self.head)


SCRATCH = bytearray(1 << 20)


class Watching:
    """Viewers in a process of their own, at the lowest priority."""

    def __init__(self, twin, count, slow=0):
        self.count = count
        if count + slow == 0:
            return
        self.ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            os.nice(19)
            self.ours.close()
            self.serve(twin.http, count, slow, theirs)
            os._exit(0)
        theirs.close()
        self.file = self.ours.makefile("rw")
        self.file.readline()

    def serve(self, address, count, slow, line):
        viewers = [Viewer(address) for _ in range(count)] + [Viewer(address, slow=True) for _ in range(slow)]
        selector = selectors.DefaultSelector()
        for viewer in viewers:
            if not viewer.slow:
                selector.register(viewer.socket, selectors.EVENT_READ, viewer)
        selector.register(line, selectors.EVENT_READ, None)
        line.sendall(b"ready\n")
        while True:
            for key, _ in selector.select(0.02):
                if key.data is not None:
                    key.data.read()
                    continue
                if not line.recv(64):
                    return
                line.sendall((json.dumps([[v.frames, v.bytes, v.slow] for v in viewers]) + "\n").encode())
            now = time.monotonic()
            for viewer in viewers:
                if viewer.slow and now >= viewer.due:
                    viewer.read()

    def look(self):
        if not hasattr(self, "pid"):
            return []
        self.file.write("?\n")
        self.file.flush()
        return json.loads(self.file.readline())

    def end(self):
        if hasattr(self, "pid"):
            self.file.close()
            self.ours.close()
            os.waitpid(self.pid, 0)


def quantile(before, after, name, q):
    """From the buckets of a histogram, what was recorded between two scrapes, in seconds."""
    pattern = re.compile(re.escape(name).replace(r"\{", "_bucket{", 1) if "{" in name else re.escape(name) + r"_bucket\{")
    # Of all tiers together: each has the same bounds.
    counts = {}
    for series, value in after.items():
        bound = re.search(r'le="([^"]+)"', series)
        if pattern.match(series) and bound:
            bound = float(bound[1].replace("+Inf", "inf"))
            counts[bound] = counts.get(bound, 0) + value - before.get(series, 0)
    bounds = sorted(counts.items())
    total, last = bounds[-1][1], (0.0, 0.0)
    for bound, count in bounds:
        if total and count >= q * total:
            part = (q * total - last[1]) / max(count - last[1], 1e-9)
            return last[0] + (min(bound, 60.0) - last[0]) * part
        last = (bound, count)
    return 0.0


def watch(twin, count, seconds, slow=0):
    viewers = Watching(twin, count, slow)
    try:
        time.sleep(1.5)
        cpu, before, seen, start = twin.threads(), twin.metrics(), viewers.look(), time.monotonic()
        time.sleep(seconds)
        after, cpu_after, seen_after, took = twin.metrics(), twin.threads(), viewers.look(), time.monotonic() - start
    finally:
        viewers.end()
    delta = lambda series: after[series] - before[series]
    busy = delta('pollux_busy_seconds_total{thread="tick"}')
    rates = [(a[0] - b[0]) / took for a, b in zip(seen_after, seen) if not a[2]]
    slow_rates = [(a[0] - b[0]) / took for a, b in zip(seen_after, seen) if a[2]]
    applied = sum(delta(name) for name in after if name.startswith("pollux_records_total") and "applied" in name)
    return {
        "viewers": count,
        "applied_hz": applied / took,
        "ticks_hz": delta("pollux_ticks_total") / took,
        "show_of_tick_percent": 100 * delta('pollux_system_duration_seconds_total{system="show"}') / busy,
        "show_us": 1e6 * delta('pollux_system_duration_seconds_total{system="show"}') / max(1, delta("pollux_ticks_total")),
        "tick_core_percent": 100 * busy / took,
        "cold_core_percent": 100 * (cpu_after["cold"] - cpu["cold"]) / took,
        "worker_core_percent": 100 * (cpu_after["net-0"] - cpu["net-0"]) / took,
        "frames_hz_least": min(rates, default=0),
        "frames_hz_median": statistics.median(rates) if rates else 0,
        "slow_frames_hz": max(slow_rates, default=0),
        "mb_per_s": sum(a[1] - b[1] for a, b in zip(seen_after, seen)) / took / 1e6,
        "jitter_p50_us": 1e6 * quantile(before, after, "pollux_tick_jitter_seconds", 0.5),
        "jitter_p99_us": 1e6 * quantile(before, after, "pollux_tick_jitter_seconds", 0.99),
        "ingest_p99_us": 1e6 * quantile(before, after, 'pollux_ingest_latency_seconds', 0.99),
        "rss_mb": after["process_resident_memory_bytes"] / 1e6 if "process_resident_memory_bytes" in after else None,
    }


def keep(folder, name, rows):
    (folder / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def publish(folder, rounds, seconds):
    """200,000 sensors, five records a second each: a million records a second."""
    twin = Twin(folder, "--devices 40000 --profile industrial --sessions 8 --rate-hz 5", 200_000)
    try:
        rows = [watch(twin, count, seconds) for _ in range(rounds) for count in (0, 1, 100)]
    finally:
        twin.end()
    keep(folder, "watched", rows)
    figures = {}
    for row in rows:
        figures.setdefault(f"publish_show_of_tick_percent_{row['viewers']}_viewers", []).append(row["show_of_tick_percent"])
        figures.setdefault(f"publish_show_us_{row['viewers']}_viewers", []).append(row["show_us"])
        figures.setdefault(f"publish_tick_core_percent_{row['viewers']}_viewers", []).append(row["tick_core_percent"])
    figures["publish_applied_per_s"] = [row["applied_hz"] for row in rows if row["viewers"] == 0]
    return figures


def viewers(folder, rounds, seconds):
    """10,000 sensors at 20 Hz, with and without a hundred viewers by turns; one viewer more takes a frame a second.

    Four times as long as the others: the latest hundredth of five thousand ticks is one bad moment of the host.
    """
    twin = Twin(folder, "--devices 2000 --profile industrial --sessions 8 --rate-hz 20", 10_000)
    try:
        rows = [watch(twin, count, 4 * seconds, slow=1 if count else 0) for _ in range(rounds) for count in (0, 100)]
    finally:
        twin.end()
    keep(folder, "watched", rows)
    without, among = rows[0::2], rows[1::2]
    ratio = lambda name: [b[name] / a[name] for a, b in zip(without, among)]
    return {
        "viewers_cold_core_percent_0": [row["cold_core_percent"] for row in without],
        "viewers_cold_core_percent_100": [row["cold_core_percent"] for row in among],
        "viewers_frames_hz_least": [row["frames_hz_least"] for row in among],
        "viewers_slow_frames_hz": [row["slow_frames_hz"] for row in among],
        "viewers_mb_per_s": [row["mb_per_s"] for row in among],
        "viewers_show_of_tick_percent": [row["show_of_tick_percent"] for row in rows],
        "viewers_jitter_p99_us_0": [row["jitter_p99_us"] for row in without],
        "viewers_jitter_p99_us_100": [row["jitter_p99_us"] for row in among],
        "viewers_jitter_p99_ratio": ratio("jitter_p99_us"),
        "viewers_ingest_p99_us_0": [row["ingest_p99_us"] for row in without],
        "viewers_ingest_p99_us_100": [row["ingest_p99_us"] for row in among],
        "viewers_ingest_p99_ratio": ratio("ingest_p99_us"),
    }


class Browser:
    """`watch.cjs`, which takes a step when it is told to and says when it has taken it."""

    STEP_S = 60

    def __init__(self, address):
        home = ROOT / "target/page"
        home.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "watch.cjs"):
            shutil.copy(ROOT / "scripts/page" / name, home / name)
        if not (home / "node_modules/playwright-core").exists():
            subprocess.run(["npm", "install", "--prefix", home, "--silent", "--no-audit", "--no-fund"], check=True)
        chromium = shutil.which("chromium") or fail("the browser needs chromium (apt-get install chromium)")
        command = ["nice", "-n", "5", "node", home / "watch.cjs", f"http://{address}", chromium]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen(command, **pipes)

    def step(self):
        """Its next line, once it has done what the step is."""
        try:
            self.process.stdin.write("on\n")
        except BrokenPipeError:
            fail("the browser has ended, see its error above")
        if not select.select([self.process.stdout], [], [], self.STEP_S)[0]:
            fail(f"the browser has not taken its step within {self.STEP_S} s")
        return self.process.stdout.readline().strip() or fail("the browser has ended, see its error above")

    def end(self):
        """Without input it ends by itself, and Chromium with it."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=self.STEP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()


def await_viewers(twin, wanted):
    """Waits until so many streams are watched. A page that was closed is one until its session has idled out."""
    seen, deadline = None, time.monotonic() + 90
    while time.monotonic() < deadline:
        seen = {by: twin.metrics()[f'pollux_viewers{{by="{by}"}}'] for by in ("webtransport", "websocket")}
        if seen == wanted:
            return
        time.sleep(0.1)
    fail(f"{seen} streams are watched, and not {wanted}")


def watch_browser(twin, seconds):
    """What the worker spends with the browser's stream, and without, before and after."""
    page = Browser(twin.http)
    try:
        page.step()
        await_viewers(twin, {"webtransport": 0, "websocket": 0})
        alone = [watch(twin, 0, seconds / 2)]
        page.step()
        await_viewers(twin, {"webtransport": 1, "websocket": 0})
        beside = watch(twin, 0, seconds)
        told = json.loads(page.step())
    finally:
        page.end()
    await_viewers(twin, {"webtransport": 0, "websocket": 0})
    alone.append(watch(twin, 0, seconds / 2))
    return {"alone": alone, "beside": beside, "browser": told}


def of_viewer(row, figure):
    """What the stream adds to a figure of the twin."""
    return row["beside"][figure] - statistics.mean(one[figure] for one in row["alone"])


def browser(folder, rounds, seconds):
    """Chromium takes the field of 10,000 sensors at 20 Hz over WebTransport; five loads of the page before that."""
    twin = Twin(folder, "--devices 2000 --profile industrial --sessions 8 --rate-hz 20", 10_000)
    try:
        rows = [watch_browser(twin, seconds) for _ in range(rounds)]
    finally:
        twin.end()
    keep(folder, "watched", rows)
    for row in rows:
        if row["browser"]["by"] != "WebTransport":
            fail(f"the browser has watched by {row['browser']['by']}")
    return {
        "browser_frames_hz": [row["browser"]["frames_hz"] for row in rows],
        "browser_pictures_missed": [row["browser"]["pictures_missed"] for row in rows],
        "browser_worker_core_percent": [of_viewer(row, "worker_core_percent") for row in rows],
        "browser_first_paint_ms": [statistics.median(row["browser"]["first_paint_ms"]) for row in rows],
        "browser_page_bytes": [row["browser"]["page_bytes"] for row in rows],
    }


def percentile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


FLEET = "--devices 1000 --sessions 8 --rate-hz 20"
LOAD = f"{FLEET} --profile industrial"


def setpoint(client, device, number):
    path = f"/api/v1/devices/{device}/sensors/100/setpoint"
    return client.ask("POST", path, {"value": 20 + number % 7, "type": "temperature"})


def command(folder, rounds, seconds):
    """Setpoints one after the other, at 100,000 records a second."""
    twin = Twin(folder, LOAD, 5000)
    took, whole = [], []
    try:
        devices = [one["device"] for one in twin.client.ask("GET", "/api/v1/devices?limit=1000")["items"]]
        for _ in range(rounds):
            rows, end, number = [], time.monotonic() + seconds, 0
            while time.monotonic() < end:
                start = time.monotonic()
                done = setpoint(twin.client, devices[number % len(devices)], number)
                rows.append((done["took_ms"], (time.monotonic() - start) * 1e3))
                assert done["state"] == "acknowledged", done
                number += 1
                # At no moment of the tick in particular.
                time.sleep(number % 10 / 3e3)
            took.append([row[0] for row in rows])
            whole.append([row[1] for row in rows])
    finally:
        twin.end()
    keep(folder, "took_ms", {"took": took, "http": whole})
    figures = {}
    for name, runs in (("took", took), ("http", whole)):
        for label, q in (("p50", 0.5), ("p99", 0.99)):
            figures[f"command_{name}_{label}_ms"] = [percentile(run, q) for run in runs]
    return figures


def overload(folder, rounds, seconds):
    """As many setpoints on their way as there is room for, all the time, and a stop and its end beside them."""
    folder.mkdir(parents=True)
    rows = []
    for _ in range(rounds):
        done = subprocess.run([BENCH, "orders", *FLEET.split(), "--duration-s", str(seconds)], stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout))
    keep(folder, "orders", rows)
    figures = {
        "overload_waiting_p50": [row["waiting"]["p50"] for row in rows],
        "overload_acknowledged_per_s": [row["ended"]["acknowledged"] / row["spent_s"] for row in rows],
        "overload_without_stream_per_s": [row["ended"].get("reset", 0) / row["spent_s"] for row in rows],
        "overload_busy_per_s": [row["ended"].get("busy", 0) / row["spent_s"] for row in rows],
    }
    for name in ("setpoint", "stop", "stop_all"):
        figures[f"overload_{name}_count"] = [row[f"{name}_ns"]["count"] for row in rows]
        for label in ("p50", "p99"):
            figures[f"overload_{name}_{label}_ms"] = [row[f"{name}_ns"][label] / 1e6 for row in rows]
    pairs = zip(figures["overload_stop_p99_ms"], figures["overload_setpoint_p99_ms"])
    figures["overload_stop_of_setpoint_p99_ratio"] = [stop / setpoint for stop, setpoint in pairs]
    return figures


EXPERIMENTS = {one.__name__: one for one in (publish, viewers, browser, command, overload)}


def built_from():
    """The commit that the binary was built from, as it says itself."""
    demo = subprocess.Popen([POLLUX, "demo", "--devices", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://([^/]+)/", next(line for line in demo.stderr if line.startswith("dashboard on ")))[1]
        said = Client(address).ask("GET", "/api/v1/overview")["revision"]
    finally:
        demo.terminate()
        demo.wait(timeout=30)
    short, _, dirty = said.partition("-")
    done = subprocess.run(["git", "rev-parse", short], cwd=ROOT, capture_output=True, text=True)
    return {"revision": done.stdout.strip() or said, "revision_dirty": bool(dirty)}


def main():
    global BENCH, CERTIFICATES, POLLUX
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round of each")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), metavar="NAME")
    parser.add_argument("--binary", type=pathlib.Path, metavar="FILE", help="measures this one, and `bench` beside it, and builds none")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--again", type=pathlib.Path, metavar="DIR", help="runs nothing: sums up a folder that is there")
    arguments = parser.parse_args()
    if arguments.again:
        write(arguments.again)
        return
    out = arguments.out or (ROOT / "target/bench-operators-quick" if arguments.quick else result.folder_of("operators"))
    if arguments.quick and arguments.out is None:
        shutil.rmtree(out, ignore_errors=True)
    there = [name for name in arguments.only if (out / "raw" / name).exists()]
    if there or (out.exists() and len(arguments.only) == len(EXPERIMENTS)):
        parser.error(f"{out} has {', '.join(there) or 'something'}; a result is never replaced")
    if arguments.binary is None:
        subprocess.run("cargo build --release --locked -p twin -p bench".split(), cwd=ROOT, check=True)
    else:
        POLLUX, BENCH = arguments.binary, arguments.binary.with_name("bench")
    out.mkdir(parents=True, exist_ok=True)
    host = result.host_of(POLLUX) | built_from()
    if (out / "host.json").exists():
        before = result.read_host(out)
        if before["revision"] != host["revision"]:
            parser.error(f"{out} is of another commit")
    else:
        result.write_host(out, host)
    CERTIFICATES = result.Certificates.made(POLLUX, ROOT / "target/bench-operators-certs")
    rounds, seconds = (1, 3) if arguments.quick else (arguments.rounds, 5)
    for name in arguments.only:
        print(f"[{name}] {EXPERIMENTS[name].__doc__.splitlines()[0]}", file=sys.stderr)
        figures = EXPERIMENTS[name](out / "raw" / name, rounds, seconds)
        keep(out / "raw" / name, "figures", figures)
    write(out)
    note_command(out, arguments)


def write(out):
    """The pages, from the figures of each part."""
    figures = {}
    for name in EXPERIMENTS:
        path = out / "raw" / name / "figures.json"
        figures |= json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    summary = {
        figure: {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values), "aim": AIMS.get(figure)}
        for figure, values in figures.items()
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    judged = [targets.judged(figure, of["aim"], of["median"]) for figure, of in summary.items() if of["aim"]]
    lines = ["| figure | aim | median | min | max | rounds |", "|---|---|---:|---:|---:|---:|"]
    for figure, of in summary.items():
        cells = [f"{of[key]:,.4g}" for key in ("median", "min", "max")]
        lines.append(f"| {figure} | {of['aim'] or ''} | {' | '.join(cells)} | {of['rounds']} |")
    text = f"# Operators: summary\n\n{verdict.of_folder(out)}\n\n" + "\n".join([*lines, *targets.lines(judged)]) + "\n"
    (out / "summary.md").write_text(text, encoding="utf-8")
    (out / "README.md").write_text(README, encoding="utf-8")
    print("\n".join(lines))


def note_command(out, arguments):
    """What it takes to measure all that is there."""
    words = ["scripts/bench-operators.py"] + (["--quick"] if arguments.quick else [f"--rounds {arguments.rounds}"])
    measured = [name for name in EXPERIMENTS if (out / "raw" / name).exists()]
    words += [] if len(measured) == len(EXPERIMENTS) else ["--only", *measured]
    (out / "command.txt").write_text(" ".join(words) + "\n", encoding="utf-8")


if __name__ == "__main__":
    interrupts.end_in_order(main, fail)
