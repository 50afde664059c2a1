#!/usr/bin/env python3
"""Proves what the sweep makes of its raw data, and of a round trip.

Each committed sweep sums up to the bytes that stand; cases with a round trip are compared with those of the same; what the
forwarder could not carry is left out and named; the forwarder delays, loses and gives account, in virtual time. As root with ip,
nft and TUN, one short case runs on it.

usage: scripts/test-sweep.py [BINARY]   (default target/debug/pollux)
Exit codes: 0 passed, 1 failed.
"""

import contextlib
import itertools
import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts/sweep"), str(ROOT / "scripts")]

import cable  # noqa: E402 - found by the line above
import cases  # noqa: E402
import delay  # noqa: E402
import summarize  # noqa: E402

COMMITTED = sorted(ROOT.glob("results/*-sweep"))


def holds(sentence, true, told=""):
    """One line and code 1 where it does not."""
    if not true:
        sys.exit(f"test-sweep: it does not hold that {sentence} {told}".rstrip())
    holds.passed += 1


holds.passed = 0


def sweep(*words, pollux="/bin/false", **environment):
    """The script with a binary, which measures nothing unless it is named."""
    command = [ROOT / "scripts/bench-sweep.sh", *map(str, words)]
    environment = {**os.environ, "POLLUX": str(pollux), **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def check_usage(work):
    """What has no round trip is refused before anything is run."""
    trip, out = ("--round-trip-ms", "0,10"), ("--out", work / "none")
    for why, words, environment, said in (
        ("loss in the twin has no way", [*trip, "--where", "app"], {}, "one of the link"),
        ("the short form has no link", [*trip, "--quick"], {}, "one of the link"),
        ("another machine has a way of its own", trip, {"TWIN": "nowhere"}, "one of the link"),
        ("so have devices elsewhere", [*trip, "--where", "link"], {"GENERATOR": "nowhere"}, "made on this machine"),
        ("no time is negative", ["--round-trip-ms", "-1"], {}, "not negative"),
        ("a load beyond the forwarder is no sweep", ["--round-trip-ms", "10", "--loads", "1m"], {}, "no case is left"),
    ):
        done = sweep(*words, *out, **environment)
        holds(f"{why}: code 2", done.returncode == 2 and said in done.stderr, done.stderr)
    holds("a refusal leaves nothing", not (work / "none").exists())


def check_plan():
    """A round trip adds cases and changes none."""
    plain, both = (list(cases.all_cases(loads=cases.USUAL_LOADS, round_trips_ms=trips)) for trips in ((0,), (0, 10)))
    holds("cases without a round trip come first, and are the same", plain == both[: len(plain)])
    added = both[len(plain) :]
    wanted = len(cases.ENTITIES) * len(cases.LOSSES) * 2
    holds("a round trip has the link's cases that the forwarder carries", len(added) == wanted, str(len(added)))
    holds("no two share a folder", len({case.name for case in both}) == len(both))
    for case in added:
        words = dict(zip(*[iter(map(str, case.populate()))] * 2))
        rate = float(words["--rate-hz"]) * case.entities
        holds("sensors are named no faster than it carries", rate < cases.CABLE_PER_S * 1.001, str(rate))
        holds("they have the time for it", int(words["--count"]) / rate < float(words["--duration-s"]))


def check_committed(work):
    """Each sums up to itself."""
    for folder in COMMITTED:
        copy = work / folder.name
        shutil.copytree(folder, copy)
        words = shlex.split((folder / "command.txt").read_text(encoding="utf-8").splitlines()[-1])
        words = words[words.index("scripts/bench-sweep.sh") + 1 :]
        done = sweep(*words, "--out", copy)
        holds(f"{folder.name} has every case of its command", not done.returncode, done.stderr)
        before, after = (
            {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()} for root in (folder, copy)
        )
        changed = sorted(str(path) for path in {*before, *after} if before.get(path) != after.get(path))
        holds(f"{folder.name} is what its raw data give", not changed, ", ".join(changed))


def put_case(out, source, case, late_us, lost=0, cpu_s=0.3):
    """A case of a committed sweep as one with a round trip, whose forwarder was late, took time and lost of its own."""
    folder = out / "raw" / case.name
    shutil.copytree(COMMITTED[-1] / "raw" / source, folder)
    began_s = json.loads((folder / "window.json").read_text(encoding="utf-8"))["load_began_s"]
    lines = []
    for second in range(10):
        line = {"from_s": began_s + second, "until_s": began_s + second + 1, "cpu_s": cpu_s, "unread": 0, "full": 0}
        line |= {"refused": lost if second == 4 else 0, "late_us": [[late_us, 1000]]}
        # The window begins two seconds into the load: before, it was anything.
        lines.append(line if second >= 2 else {**line, "full": 999, "late_us": [[9_000_000, 1000]]})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / cable.ACCOUNT).write_text(text, encoding="utf-8")


def check_round_trip(work):
    """What is compared, what is left out, and where that is said."""
    out, clean, lossy = work / "trips", "10000-100k-link-0", "10000-100k-link-5"
    for load, loss in itertools.product(("100k", "1m"), cases.LOSSES):
        name = cases.Case(10_000, loss, "link", load).name
        shutil.copytree(COMMITTED[-1] / "raw" / name, out / "raw" / name)
    shutil.copy(COMMITTED[-1] / "host.json", out)
    # The other way round than without a round trip, so that the ratio of each tells which cases it is of.
    for loss, source, late_us in ((0, lossy, 120), (1, clean, 90), (5, clean, 90)):
        put_case(out, source, cases.Case(10_000, loss, "link", "100k", 10), late_us)
    for loss, fault in ((0, {"late_us": cable.LATE_P99_US_MAX + 10}), (1, {"cpu_s": 0.51}), (5, {"lost": 2})):
        put_case(out, clean, cases.Case(10_000, loss, "link", "100k", 50), **{"late_us": 90, **fault})
    words = ("--entities", 10_000, "--loads", "100k,1m", "--where", "link", "--loss", "0,1,5", "--round-trip-ms", "0,10,50")
    done = sweep(*words, "--out", out)
    holds("it is summed up", not done.returncode, done.stderr)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    trips = [(row["load"], row["round_trip_ms"], row["loss_percent"]) for row in summary["sweep"]]
    wanted = [(*way, loss) for way in (("100k", 0), ("1m", 0), ("100k", 10)) for loss in cases.LOSSES]
    holds("cases whose forwarder was slow, busy or lost are left out", trips == wanted, str(trips))
    near, _, far = (target["measured"] for target in summary["targets"])
    holds("loss is compared at the same round trip", abs(near * far - 1) < 1e-9 and near != far, f"{near} {far}")
    late = {row["round_trip_ms"]: row["cable_late_p99_us"] for row in summary["sweep"] if not row["loss_percent"]}
    holds("the forwarder's account is of the window", late == {0: None, 10: 120}, str(late))
    pages = [(out / name).read_text(encoding="utf-8") for name in ("README.md", "summary.md")]
    for said in (*(f"10000-100k-link-{loss}-rtt50" for loss in cases.LOSSES), "`1m` (1,000,000)"):
        holds("what is left out is named", all(said in text.replace("\n", " ") for text in [*pages, done.stderr]), said)
    plots = {path.name for path in (out / "plots").iterdir()}
    holds("a round trip has plots of its own", {"t1-p99-100k.svg", "t1-p99-100k-rtt10.svg"} <= plots, str(plots))


def check_runs(work):
    """Of several runs of a case the medians are judged, and each stays to be read."""
    out, clean, lossy = work / "runs", "10000-100k-link-0", "10000-100k-link-5"
    sources = {(0, 1): clean, (0, 2): "1000000-1m-link-0", (0, 3): clean, (5, 1): lossy, (5, 2): lossy, (5, 3): lossy}
    for (loss, number), source in sources.items():
        case = cases.Case(10_000, loss, "link", "100k", number=number)
        shutil.copytree(COMMITTED[-1] / "raw" / source, out / "raw" / case.name)
    shutil.copy(COMMITTED[-1] / "host.json", out)
    words = ("--entities", 10_000, "--loads", "100k", "--where", "link", "--loss", "0,5", "--out", out)
    targets = []
    for runs in (1, 3):
        done = sweep(*words, "--runs", runs)
        holds(f"{runs} of a case are summed up", not done.returncode, done.stderr)
        targets.append(json.loads((out / "summary.json").read_text(encoding="utf-8"))["targets"])
    holds("one run that stands out changes no median", targets[0] == targets[1] != [], str(targets))
    table = (out / "sweep.csv").read_text(encoding="utf-8").splitlines()
    p99 = table[0].split(",").index("t1_p99_us")
    holds("each run stands in the table", len(table) == 1 + len(sources), str(len(table)))
    holds("the one that stands out too", len({line.split(",")[p99] for line in table[1:]}) == 3, str(table))
    holds("none is no number of runs", sweep(*words, "--runs", 0).returncode == 2)


def check_forwarder():
    """One direction of it, with packets of one byte and a clock that is turned by hand."""
    now = [0.0]
    (sender, source), (target, receiver) = (socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
    for end in (sender, source, target, receiver):
        end.setblocking(False)

    def arrived():
        """What came out, each a number."""
        came = []
        with contextlib.suppress(BlockingIOError):
            while True:
                came.append(receiver.recv(16)[0])
        return came

    way = delay.Way(source.fileno(), target.fileno(), 0.005, 0, 1, lambda: now[0])
    for number in range(3):
        now[0] = number / 1000
        sender.send(bytes([number]))
        way.take()
    holds("it says when the next is due", way.give(0.0049) == 0.005 and arrived() == [])
    now[0] = 0.006035
    holds("each waits as long as the others, and none overtakes", way.give(now[0]) == 0.007 and arrived() == [0, 1])
    holds("it knows how late it was", sorted(way.late.elements()) == [3, 103], str(way.late))
    lossy = delay.Way(source.fileno(), target.fileno(), 0, 0.5, 1, lambda: now[0])
    for number in range(200):
        sender.send(bytes([number]))
        lossy.take()
        lossy.give(now[0])
        now[0] += 1
    came = arrived()
    holds("it loses what it shall, and the rest in order", 70 < len(came) < 130 and came == sorted(came), str(len(came)))
    holds("what it shall lose is not astray", (lossy.full, lossy.refused, lossy.late.total()) == (0, 0, len(came)))
    lossy.loss, room = 0, delay.QUEUE_PACKETS
    lossy.queue.extend([(now[0] + 1, b"x")] * room)
    sender.send(b"y")
    lossy.take()
    holds("beyond its room it says what it drops", (lossy.full, len(lossy.queue)) == (1, room))


def takes_link(namespace):
    """Whether this machine lets us make namespaces, and a TUN device."""
    if os.geteuid() or not all(map(shutil.which, ("ip", "nft"))) or not os.path.exists("/dev/net/tun"):
        return False
    if subprocess.run(["ip", "netns", "add", namespace], capture_output=True, check=False).returncode:
        return False
    return not subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False).returncode


def check_link(work, binary):
    """One short case, unless this machine refuses the link; that it is slow on a busy one is no failure."""
    suffix = f"-test{os.getpid()}"
    if not takes_link(f"pollux{suffix}"):
        print("test-sweep: no case was run on the forwarder: needs root, ip, nft, namespaces, /dev/net/tun", file=sys.stderr)
        return
    out, case = work / "link", cases.Case(10_000, 0, "link", "published", 20)
    words = ("--entities", 10_000, "--loads", "published", "--where", "link", "--loss", 0, "--round-trip-ms", "20")
    done = sweep(*words, "--out", out, pollux=binary, LINK_SUFFIX=suffix)
    holds("a case runs on the forwarder", (out / "raw" / case.name / "window.json").exists(), done.stderr)
    row = summarize.figures(case, out / "raw" / case.name, 2, 5, 1000)
    holds("half of the round trip is in T1", row["t1_p50_us"] >= 10_000, str(row["t1_p50_us"]))
    holds("the whole is in T3", row["t3_round_trip_p50_us"] >= 20_000, str(row["t3_round_trip_p50_us"]))
    holds("every sensor was named", row["entities_seen"] == 10_000, str(row["entities_seen"]))
    holds("the forwarder says what it carried", row["cable_packets_per_s"] > 100, str(row["cable_packets_per_s"]))
    fault = cable.fault(row)
    holds("it is summed up, or left out by name", (done.returncode, case.name in done.stderr) == (int(bool(fault)), bool(fault)))
    shown = sweep(*words, "--out", out)
    holds("the same command sums it up again", shown.returncode == done.returncode, shown.stderr)


def main():
    """All of it, below a folder of its own."""
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/debug/pollux").resolve()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        check_usage(work)
        check_plan()
        check_forwarder()
        check_committed(work)
        check_round_trip(work)
        check_runs(work)
        check_link(work, binary)
    print(f"sweep: {holds.passed} passed, 0 failed")


if __name__ == "__main__":
    main()
