#!/usr/bin/env python3
"""Holds metrics, dashboards and alerts to a running twin.

VictoriaMetrics scrapes a demo for some seconds; then every query of every panel has to return data, every selector of every
alert, and vmalert has to understand the rules. `apt-get install victoria-metrics` brings both programs.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
# What the demo has none of: a rate of nothing is data all the same, an average of no sensor is not.
WITHOUT_SENSORS = 'type="generic"'


def get(url, data=None):
    request = urllib.request.Request(url, data=data, method="GET" if data is None else "POST")
    if data is not None:
        request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_for(what, look, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = look()
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"dashboards-check: never: {what}")


def panels():
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "10s")
                yield f"{path.name}: {panel['title']}", expr


def selectors():
    for line in ALERTS.read_text().splitlines():
        line = line.strip()
        if line.startswith("- alert: "):
            alert = line.removeprefix("- alert: ")
        if line.startswith("expr: "):
            for selector in re.findall(r"(?:pollux_\w+|\bup)(?:\{[^}]*\})?", line):
                yield f"alert {alert}", selector


def check_compose():
    """The flags of deploy/compose.yaml, tried with the programs that the containers hold; every folder that it mounts is there."""
    text = (ROOT / "deploy/compose.yaml").read_text()
    for program, service in (("victoria-metrics", "victoria-metrics"), ("vmalert", "vmalert")):
        block = re.search(rf"^  {service}:\n((?:    .*\n|\n)+)", text, re.M)[1]
        flags = re.findall(r"^      - (-\S+)$", block, re.M)
        # Debian's vmalert needs no notifier for a dry run, and knows none that is a hole.
        flags = [flag.replace("/etc/pollux", str(ROOT / "deploy/prometheus")) for flag in flags if "blackhole" not in flag]
        subprocess.run([program, "-dryRun", *flags], check=True, capture_output=True)
    for folder in re.findall(r"^      - \./([^:]+):", text, re.M):
        assert (ROOT / "deploy" / folder).is_dir(), folder


def check_with_promtool(promtool, base):
    """Names, help texts and types of /metrics, and the rules, as Prometheus reads them: not one complaint."""
    with urllib.request.urlopen(f"{base}/metrics", timeout=10) as answer:
        metrics = answer.read()
    for command, given in ((["check", "metrics"], metrics), (["check", "rules", ALERTS], None)):
        done = subprocess.run([promtool, *command], input=given, capture_output=True)
        if done.returncode != 0 or b"error" in done.stderr or (given and done.stderr):
            raise SystemExit(f"dashboards-check: promtool: {done.stderr.decode()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default="target/debug/pollux")
    parser.add_argument("--promtool", help="Prometheus' own judge of metrics and rules")
    parser.add_argument("--seconds", type=float, default=8, help="how long the twin is scraped, once a second")
    options = parser.parse_args()
    subprocess.run(["vmalert", "-dryRun", f"-rule={ALERTS}"], check=True, capture_output=True)
    check_compose()
    with tempfile.TemporaryDirectory() as folder:
        twin = subprocess.Popen(
            [options.binary, "demo", "--plant", "building"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        base = re.search(r"http://[^/]+", next(line for line in twin.stderr if line.startswith("dashboard on ")))[0]
        scrape = pathlib.Path(folder) / "scrape.yaml"
        target = base.removeprefix("http://")
        scrape.write_text(
            "scrape_configs:\n  - job_name: pollux\n    scrape_interval: 1s\n"
            f"    static_configs:\n      - targets: ['{target}']\n"
        )
        store = subprocess.Popen(
            ["victoria-metrics", f"-storageDataPath={folder}/data", f"-promscrape.config={scrape}"]
            + ["-httpListenAddr=127.0.0.1:18428", "-search.latencyOffset=0s"],
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for("a thousand sensors", lambda: get(f"{base}/api/v1/overview")["sensors"] == 1000)
            device = get(f"{base}/api/v1/devices?limit=1")["items"][0]["device"]
            end = time.monotonic() + options.seconds
            while time.monotonic() < end:
                get(f"{base}/api/v1/devices/{device}/sensors/100/setpoint", b'{"value": 20}')
                get(f"{base}/api/v1/stop", b"")
                get(f"{base}/api/v1/stop/clear", b"")
                time.sleep(1)
            query = "http://127.0.0.1:18428/api/v1/query?query="
            if options.promtool:
                check_with_promtool(options.promtool, base)
            empty = []
            asked = 0
            for place, expr in [*panels(), *selectors()]:
                answer = get(query + urllib.parse.quote(expr))
                asked += 1
                if not answer["data"]["result"] and WITHOUT_SENSORS not in expr:
                    empty.append(f"{place}: {expr}")
            if empty:
                raise SystemExit("dashboards-check: no data for\n  " + "\n  ".join(empty))
            print(f"dashboards-check: {asked} queries return data, the alerts are understood")
        finally:
            for child in (store, twin):
                child.terminate()
                child.wait()


if __name__ == "__main__":
    sys.exit(main())
