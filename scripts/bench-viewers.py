#!/usr/bin/env python3
"""What operators cost a twin: viewers of the field, setpoints, stops.

Starts a demo, watches its field with 0, 1 and many viewers in turn, and reads from /proc and the API what the threads did in
that time; then sends setpoints and stops and reads how long the devices took to acknowledge. Prints one JSON object. The
viewers run on the same machine, as plain sockets that count bytes and frames and look at nothing.
"""

import argparse
import base64
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import time
import urllib.request


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/release/pollux")
    parser.add_argument("--devices", type=int, default=2000, help="devices of five sensors at 20 Hz")
    parser.add_argument("--viewers", type=int, nargs="+", default=[0, 1, 100, 0])
    parser.add_argument("--seconds", type=float, default=6, help="for each number of viewers")
    parser.add_argument("--setpoints", type=int, default=300)
    parser.add_argument("--stops", type=int, default=5)
    return parser.parse_args()


def ask(base, path, method="GET", body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"content-type": "application/json"}
    request = urllib.request.Request(f"{base}/api/v1{path}", data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def metrics(base):
    with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def threads(pid):
    """CPU seconds of each thread by its name."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            text = open(f"/proc/{pid}/task/{task}/stat").read()
        except FileNotFoundError:
            continue
        name, rest = re.match(r"\d+ \((.*)\) (.*)", text).groups()
        fields = rest.split()
        found[name] = found.get(name, 0) + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def quantile(before, after, name, q):
    """From the buckets of a histogram, what was recorded between two scrapes."""
    pattern = re.compile(re.escape(name) + r'_bucket\{.*le="([^"]+)"\}')
    bounds = []
    for series, value in after.items():
        match = pattern.match(series)
        if match:
            bounds.append((float(match[1].replace("+Inf", "inf")), value - before.get(series, 0)))
    bounds.sort()
    total = bounds[-1][1]
    last = (0.0, 0.0)
    for bound, count in bounds:
        if total and count >= q * total:
            part = (q * total - last[1]) / max(count - last[1], 1e-9)
            return last[0] + (min(bound, 60.0) - last[0]) * part
        last = (bound, count)
    return None


class Viewer:
    """A WebSocket that counts frames by their headers."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /api/v1/field HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
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
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the twin closed a viewer")
        self.bytes += len(data)
        at = 0
        while at < len(data):
            if self.left:
                step = min(self.left, len(data) - at)
                self.left -= step
                at += step
                continue
            self.head += data[at : at + 1]
            at += 1
            if len(self.head) < 2:
                continue
            short = self.head[1] & 127
            need = 2 + (2 if short == 126 else 8 if short == 127 else 0)
            if len(self.head) == need:
                self.left = int.from_bytes(self.head[2:], "big") if need > 2 else short
                self.frames += 1
                self.head = b""


def watch(base, pid, count, seconds):
    host, port = base.removeprefix("http://").split(":")
    viewers = [Viewer(host, int(port)) for _ in range(count)]
    selector = selectors.DefaultSelector()
    for viewer in viewers:
        selector.register(viewer.socket, selectors.EVENT_READ, viewer)

    def run(until):
        while time.monotonic() < until:
            if not viewers:
                time.sleep(0.05)
            for key, _ in selector.select(0.05) if viewers else []:
                key.data.read()

    run(time.monotonic() + 1)
    for viewer in viewers:
        viewer.frames = viewer.bytes = 0
    cpu, before, start = threads(pid), metrics(base), time.monotonic()
    run(start + seconds)
    took = time.monotonic() - start
    after, cpu_after = metrics(base), threads(pid)
    for viewer in viewers:
        viewer.socket.close()
    delta = lambda series: after[series] - before[series]
    busy = delta('pollux_busy_seconds_total{thread="tick"}')
    show = delta('pollux_system_duration_seconds_total{system="show"}')
    frames = sorted(viewer.frames / took for viewer in viewers)
    return {
        "viewers": count,
        "seconds": round(took, 2),
        "frames_hz_least": round(frames[0], 1) if frames else None,
        "frames_hz_median": round(statistics.median(frames), 1) if frames else None,
        "mb_per_s": round(sum(viewer.bytes for viewer in viewers) / took / 1e6, 2),
        "applied_hz": round(sum(v for s in after if s.startswith("pollux_records_total") and "applied" in s for v in [delta(s)]) / took),
        "cold_core_ratio": round((cpu_after["pollux"] - cpu["pollux"]) / took, 4),
        "tick_core_ratio": round(busy / took, 4),
        "show_of_tick_ratio": round(show / busy, 4),
        "jitter_p99_us": round(quantile(before, after, "pollux_tick_jitter_seconds", 0.99) * 1e6, 1),
        "ingest_t1_p99_us": round(quantile(before, after, 'pollux_ingest_latency_seconds', 0.99) * 1e6, 1),
    }


def percentiles(values):
    values = sorted(values)
    at = lambda q: round(values[min(len(values) - 1, int(q * len(values)))], 3)
    return {"n": len(values), "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "max_ms": at(1)}


def command(base, setpoints, stops):
    devices = ask(base, "/devices?limit=1000")["items"]
    took, whole = [], []
    for at in range(setpoints):
        device = devices[at % len(devices)]["device"]
        start = time.monotonic()
        done = ask(base, f"/devices/{device}/sensors/100/setpoint", "POST", {"value": 20 + at % 7, "type": "temperature"})
        whole.append((time.monotonic() - start) * 1e3)
        assert done["state"] == "acknowledged", done
        took.append(done["took_ms"])
    before = metrics(base)
    for _ in range(stops):
        for path in ("/stop", "/stop/clear"):
            ask(base, path, "POST")
            while True:
                stop = ask(base, "/stop")
                if stop["taken"] and stop["waiting"] == 0:
                    break
                time.sleep(0.01)
            assert stop["acknowledged"] == stop["concerned"], stop
    time.sleep(1.5)
    after = metrics(base)
    stop_ms = {f"p{q * 100:g}_ms": round((quantile(before, after, "pollux_stop_seconds", q) or 0) * 1e3, 3) for q in (0.5, 0.99)}
    stop_ms["n"] = after["pollux_stop_seconds_count"] - before["pollux_stop_seconds_count"]
    return {"setpoint_to_ack": percentiles(took), "setpoint_http": percentiles(whole), "stop_to_ack_each_session": stop_ms}


def main():
    options = arguments()
    twin = subprocess.Popen(
        [options.binary, "demo", "--devices", str(options.devices)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        line = next(line for line in twin.stderr if line.startswith("dashboard on "))
        base = re.search(r"http://[^/]+", line)[0]
        while ask(base, "/overview")["sensors"] < options.devices * 5:
            time.sleep(0.1)
        time.sleep(2)
        result = {"devices": options.devices, "sensors": options.devices * 5}
        result["watched"] = [watch(base, twin.pid, count, options.seconds) for count in options.viewers]
        if options.setpoints:
            result["commands"] = command(base, options.setpoints, options.stops)
        result["overview"] = {key: ask(base, "/overview")[key] for key in ("residual", "memory_bytes", "sessions")}
        json.dump(result, sys.stdout, indent=1)
        print()
    finally:
        twin.terminate()
        twin.wait()


if __name__ == "__main__":
    main()
