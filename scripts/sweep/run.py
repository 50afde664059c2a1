#!/usr/bin/env python3
"""The sweep: entities x loss x load, all tiers at once, into one folder of results.

Each case starts a twin, lets the devices name every sensor, then offers the load; of that, the first 2,000 ticks are warm-up
and the next 5,000 are measured. Loss is injected in the twin (`--where app`) or on a link between two network namespaces
(`--where link`; root and nftables). `--round-trip-ms 0,10` adds cases with a round trip, of which the link is our own forwarder
(root and TUN); loads beyond what it carries, and cases in which it says that it was slow, are left out and named. A case whose
summary is there is not run again, unless its folder in raw is removed: the same command goes on where it was.

Environment: GENERATOR and TWIN name other machines, as ssh takes them, with `pollux` of this commit installed there
(REMOTE_POLLUX, default /usr/local/bin/pollux) and python3; SSH_OPTIONS adds to ssh. Loss is then injected in the twin
alone, and where the clocks are not both known to be disciplined the summary says so. POLLUX_TIMED_LANE is put before the
cases, such as a lock or taskset; one such command covers as many cases as begin within POLLUX_TIMED_HOLD_S seconds (default
0: one).
"""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent)]

import cable  # noqa: E402 - found by the line above
import cases  # noqa: E402
import interrupts  # noqa: E402
import places  # noqa: E402
import result  # noqa: E402
import slices  # noqa: E402
import summarize  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TICK_HZ = 1000
WARM_UP_TICKS, MEASURED_TICKS = 2000, 5000
# Beyond what is measured, so that the last interval is whole.
TAIL_S = 2
READY_S = 60


def fail(message):
    """One line and code 1."""
    sys.exit(f"bench-sweep: {message}")


def say(sentences):
    """One line each."""
    for sentence in sentences:
        print(f"bench-sweep: {sentence}", file=sys.stderr)


def pollux_of(place):
    """The binary at a place: the build of this tree here, the installed one elsewhere."""
    if isinstance(place, places.Remote):
        return os.environ.get("REMOTE_POLLUX", "/usr/local/bin/pollux")
    return os.environ.get("POLLUX") or ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release/pollux"


class Run:
    """One case: a twin, the devices that name themselves, the load."""

    def __init__(self, case, folder, twin, generator, certificates, seconds):
        self.case, self.folder, self.twin, self.generator = case, folder, twin, generator
        self.certificates, self.seconds = certificates, seconds
        self.commands = []

    def go(self):
        """Runs it and writes what `summarize` needs beside the reports."""
        loss = self.case.loss_percent / 100 if self.case.where == "app" else 0
        settings = [f"net.addr={places.socket_address(self.twin.address, 0)}", "http.enabled=false", f"tick.hz={TICK_HZ}", f"fault.loss={loss}",
                    "world.entities_max=2000000", *self.certificates["settings"]]  # fmt: skip
        arguments = [pollux_of(self.twin), "serve", "-o", "json", "--report", self.twin.folder(self.folder / "serve")]
        for setting in settings:
            arguments += ["--set", setting]
        with self.started(self.twin, arguments, self.folder / "serve.log") as process:
            address = self.listening(process)
            self.simulate(address, self.case.populate(), "populate", cases.POPULATE_S)
            # A device's epoch is the second of its start: in the same second the load would repeat sequence numbers.
            time.sleep(1)
            # The logs of each end are by its own clock.
            window = {"twin_ahead_s": self.twin.ahead_s(), "generator_ahead_s": self.generator.ahead_s()}
            window["load_began_s"] = time.time()
            self.simulate(address, self.case.offer(self.seconds), "load", self.seconds)
            window["load_ended_s"] = time.time()
        for name, place in (("serve", self.twin), ("load", self.generator)):
            place.fetch(self.folder / name)
        (self.folder / "window.json").write_text(json.dumps(window) + "\n", encoding="utf-8")
        text = "".join(shlex.join(str(word) for word in command) + "\n" for command in self.commands)
        (self.folder / "command.txt").write_text(text.replace(str(ROOT), "."), encoding="utf-8")

    @contextlib.contextmanager
    def started(self, place, arguments, log):
        """A process for the length of a block; it has to end in order."""
        self.commands.append(place.command(arguments))
        with open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen(self.commands[-1], stdout=subprocess.DEVNULL, stderr=file)
        try:
            yield process
        finally:
            place.stop(process, log)
            try:
                code = process.wait(timeout=READY_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        if code:
            fail(f"{self.folder.name}: the twin ended with {code}, see {log}")

    def listening(self, process):
        """The port of the twin, once it says that it is ready."""
        log, deadline = self.folder / "serve.log", time.monotonic() + READY_S
        while time.monotonic() < deadline and process.poll() is None:
            lines = log.read_text(encoding="utf-8").splitlines()
            if any(line.startswith("ready:") for line in lines):
                address = next(line for line in lines if line.startswith("listening quic")).split()[2]
                return places.socket_address(self.twin.address, address.rpartition(":")[2])
            time.sleep(0.01)
        fail(f"{self.folder.name}: the twin does not listen, see {log}")

    def simulate(self, address, load, name, seconds):
        """Runs a load to its end, which comes soon after so many seconds."""
        arguments = [pollux_of(self.generator), "simulate", "--addr", address, "--ca", self.certificates["ca"],
                     "--cert", self.certificates["cert"], "--key", self.certificates["key"], "--server-name", "localhost",
                     "-o", "json", "--report", self.generator.folder(self.folder / name),
                     *load]  # fmt: skip
        self.commands.append(self.generator.command(arguments))
        with open(self.folder / f"{name}.log", "w", encoding="utf-8") as log:
            done = subprocess.run(self.commands[-1], stdout=subprocess.DEVNULL, stderr=log, check=False,
                                  timeout=seconds + READY_S)  # fmt: skip
        if done.returncode:
            fail(f"{self.folder.name}: the load ended with {done.returncode}, see {log.name}")


def certificates_for(twin, generator):
    """Fresh certificates for localhost, at both places."""
    folder = ROOT / "target/bench-sweep/certs"
    shutil.rmtree(folder, ignore_errors=True)
    command = [pollux_of(places.Local()), "certs", "init", "--dir", folder, "--gateway", "sweep"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    files = {"cert": "server.pem", "key": "server.key", "ca": "ca.pem", "crl": "crl.pem"}
    settings = [f"tls.{key}={twin.put(folder / name)}" for key, name in files.items()]
    # Every device of a session is behind one gateway, which proves itself.
    shown = {"ca": "ca.pem", "cert": "gateway-sweep.pem", "key": "gateway-sweep.key"}
    return {"settings": settings, **{key: generator.put(folder / name) for key, name in shown.items()}}


def measure(case, out, seconds):
    """One case, where it belongs."""
    folder = out / "raw" / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if case.where == "app":
        with places.ends() as (twin, generator):
            Run(case, folder, twin, generator, certificates_for(twin, generator), seconds).go()
        return
    with places.Link(case.round_trip_ms, case.loss_percent, folder / cable.ACCOUNT):
        twin = places.Local(places.TWIN, places.TWIN_ADDR)
        generator = places.Local(places.DEVICES, places.DEVICES_ADDR)
        Run(case, folder, twin, generator, certificates_for(twin, generator), seconds).go()


def missing(plan, out):
    """The cases that were not run yet; one that failed is run again by the next command, not by this one."""
    folders = {case: out / "raw" / case.name for case in plan}
    return [case for case in plan if not any((folders[case] / name).exists() for name in ("window.json", "failed"))]


def go(plan, out, seconds, hold_s):
    """Runs one case, and further ones as long as they begin in time. What failed leaves its logs and does not stop the others."""
    began = time.monotonic()
    for case in missing(plan, out):
        try:
            measure(case, out, seconds)
            summarize.trim(out / "raw" / case.name)
        except (SystemExit, subprocess.SubprocessError) as failure:
            print(f"{case.name}: {failure}", file=sys.stderr)
            folder = out / "raw" / case.name
            (folder / "window.json").unlink(missing_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "failed").touch()
        if time.monotonic() - began >= hold_s:
            return


def options():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench-sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = lambda text: tuple(int(part) for part in text.split(","))  # noqa: E731
    parser.add_argument("--entities", type=numbers, default=cases.ENTITIES, metavar="N,N")
    parser.add_argument("--loss", type=numbers, default=cases.LOSSES, metavar="PERCENT,…")
    parser.add_argument("--loads", type=lambda text: tuple(text.split(",")), default=cases.USUAL_LOADS, metavar="NAME,…")
    wheres = ("app",) if places.apart() else cases.WHERES
    parser.add_argument("--where", type=lambda text: tuple(text.split(",")), default=wheres, metavar="app,link",
                        help="default: both, and with GENERATOR or TWIN app")  # fmt: skip
    parser.add_argument("--round-trip-ms", type=numbers, default=cases.ROUND_TRIPS_MS, metavar="MS,…",
                        help="of the link; default: 0, a veth pair. What is lost in app has none: 0 alone")  # fmt: skip
    parser.add_argument("--runs", type=int, default=1, metavar="N",
                        help="of each case, whose medians are judged; default: 1. More go on in the same folder")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="two small cases, below target/")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="goes on there if it exists")
    parser.add_argument("--slice", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.runs < 1:
        parser.error("--runs is at least 1")
    for name in chosen.loads:
        if name not in cases.LOADS:
            parser.error(f"unknown load {name}; there are {', '.join(cases.LOADS)}")
    for where in chosen.where:
        if where not in cases.WHERES:
            parser.error(f"loss happens in {' or '.join(cases.WHERES)}, not in {where}")
    if places.apart() and "link" in chosen.where:
        parser.error("a lossy link is made on this machine; with GENERATOR or TWIN use --where app")
    if chosen.quick:
        chosen.entities, chosen.loss, chosen.loads, chosen.where = (10_000,), (0, 5), ("100k",), ("app",)
    refuse_ways(parser, chosen)
    return chosen


def refuse_ways(parser, chosen):
    """Ends with code 2 where a round trip is asked for that nothing here has."""
    if min(chosen.round_trip_ms) < 0:
        parser.error("a round trip is not negative")
    if any(chosen.round_trip_ms) and "link" not in chosen.where:
        parser.error("a round trip is one of the link between two namespaces of this machine: it needs --where link, without "
                     "GENERATOR, TWIN and --quick")  # fmt: skip
    if not planned(chosen):
        parser.error(f"no case is left: {' '.join(cable.beyond(chosen.loads, chosen.round_trip_ms))}")


def planned(chosen):
    """The cases of a command line."""
    return list(cases.all_cases(chosen.entities, chosen.loss, chosen.where, chosen.loads, chosen.round_trip_ms, chosen.runs))


def prepare(out, quick):
    """Builds, sees that every binary is of this commit, and notes host and command."""
    build = "cargo build --release --locked -p twin"
    if "POLLUX" not in os.environ:
        subprocess.run(build.split(), cwd=ROOT, check=True)
    with places.ends() as ends:
        for place in dict.fromkeys([places.Local(), *ends]):
            fix = f"scripts/deploy-cm5.sh {place.host}" if isinstance(place, places.Remote) else build
            other = None if quick else result.not_of_head(out, place, [pollux_of(place)], fix)
            if other:
                fail(other)
        out.mkdir(parents=True, exist_ok=True)
        if not (out / "host.json").exists():
            result.write_host(out, host_of(*ends))
    words = " ".join([*apart_words(), "scripts/bench-sweep.sh", *sys.argv[1:]])
    with open(out / "command.txt", "a", encoding="utf-8") as commands:
        commands.write(words + "\n")


def apart_words():
    """What of the environment belongs to the command, as typed."""
    for name in ("TWIN", "GENERATOR"):
        if os.environ.get(name):
            yield f"{name}={shlex.quote(os.environ[name])}"


def host_of(twin, generator):
    """The host of the twin, which the figures are about, and beside it that of the generator if it is another."""
    host = twin.describe(pollux_of(twin))
    return {**host, "generator": generator.describe(pollux_of(generator))} if places.apart() else host


def main():
    """Runs what is missing, then sums up."""
    chosen = options()
    seconds = -(-(WARM_UP_TICKS + MEASURED_TICKS) // TICK_HZ) + TAIL_S
    out = places.absolute(chosen.out or (ROOT / "target/bench-sweep/quick" if chosen.quick else result.folder_of("sweep")))
    plan = planned(chosen)
    if chosen.slice is not None:
        go(plan, out, seconds, chosen.slice)
        return
    beyond = list(cable.beyond(chosen.loads, chosen.round_trip_ms))
    say(beyond)
    if chosen.quick and chosen.out is None:
        shutil.rmtree(out, ignore_errors=True)
    for case in plan:
        (out / "raw" / case.name / "failed").unlink(missing_ok=True)
    # A folder that has every case is summed up anew, from any commit and without a build.
    if missing(plan, out):
        prepare(out, chosen.quick)
    try:
        slices.run(__file__, out, lambda: missing(plan, out))
    except slices.Stuck:
        fail("a case leaves nothing behind, not even that it failed")
    ran = [case for case in plan if (out / "raw" / case.name / "window.json").exists()]
    if ran:
        say(summarize.write(out, ran, WARM_UP_TICKS / TICK_HZ, MEASURED_TICKS / TICK_HZ, TICK_HZ, beyond))
    print(out)
    if len(ran) < len(plan):
        names = ", ".join(case.name for case in plan if case not in ran)
        fail(f"these cases failed and are run again by the same command: {names}")


if __name__ == "__main__":
    interrupts.end_in_order(main, fail)
