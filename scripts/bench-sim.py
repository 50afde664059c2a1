#!/usr/bin/env python3
"""The plant in a box, run for long, into one folder of results: seeds, device-seconds, violations, and how fast it is.

usage: scripts/bench-sim.py [--seeds N] [--device-seconds N] [--jobs N] [--speed-runs N] [--out DIR] [--resume] [--part PART]

Builds the simulator, runs seeds that the gate does not run, until there are as many of them and of device-seconds as asked for
(20,000 and 1,000,000), then the plant of the speed figure, and writes README.md, command.txt, host.json, raw/, summary.json
and summary.md. It goes in slices: one that is interrupted is not counted, and --resume goes on behind the last whole one.
--part soak, speed or summary does that part alone. Exit codes: 0 done, 1 a build failed or a seed did, 2 wrong usage.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import result
import verdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILT = ROOT / "target/release/sim"
# One binary for all slices, whatever is built meanwhile.
SIM = ROOT / "target/bench-sim/sim"
# The gate runs seeds from 0.
FIRST_SEED = 1_000_000
SEEDS_OF_A_SLICE = 50
# A hundred devices at 100 Hz: sessions, sensors of each, and the same in a sentence.
SPEED = {
    "each with a session of its own": (100, 1, "each device has a QUIC session of its own"),
    "ten behind each of ten gateways": (10, 10, "ten devices stand behind each of ten gateways"),
}
ASKED_TIMES = 50

README = """# Sim: the plant in a box, run for long

**Question.** Does any of many thousand drawn plants break what must hold: every record accounted for, T2 complete and in order,
commands obeyed once, the world that of a simple model, everything healed after the faults? How fast is simulated time?

**Read.** A seed draws devices, network, faults, workers, rings and ticks; ARCHITECTURE.md says what is checked at every tick.
`raw/soak.jsonl` has a line for each slice of seeds, `raw/failed` each seed that failed, with the least scenario that still
does; why it did, and that it does no more, is told in `sim/tests/regressions.rs`. Any seed again: `cargo run --release -p sim -- --from SEED --seeds 1 --large --verbose`. The speed is that of one thread, by its
CPU time: other work of the host does not show in it.

{answer}

**Doubts.** What is not drawn is not tested: no real kernel, no threads, no certificates of devices. The key exchange is not the
product's, since ring cannot be told its random numbers.
"""


def answer(runs, speeds):
    """What became of the speed that was asked for, by the figures."""
    form, shared = SPEED
    verdicts = []
    for name, (_, _, where) in SPEED.items():
        reached = "reached" if speeds[name]["times"]["median"] >= ASKED_TIMES else "not reached"
        verdicts.append(f"{reached} where {where}")
    asked = f"**The speed asked for, {ASKED_TIMES} times for 100 devices at 100 Hz**: " + ",\n".join(verdicts) + "."
    own = [run for run in runs if run["form"] == form]
    datagrams = statistics.median(run["datagrams"] / run["simulated_s"] for run in own)
    less = speeds[shared]["times"]["median"] / speeds[form]["times"]["median"]
    return f"""{asked} With a QUIC session of its own for each device
there are {datagrams:,.0f} datagrams in a simulated second, so that {ASKED_TIMES} times would leave {1e6 / ASKED_TIMES / datagrams:.1f} us for a datagram, for sending,
receiving and acknowledging it; it takes {speeds[form]["us_per_datagram"]["median"]:.1f}. The cost follows the datagrams: the same 10,000 records a second
behind ten gateways take {less:.1f} times less."""


def slice_of(first, folder):
    """Runs one slice of seeds, and gives its sum."""
    command = ["nice", "-n", "19", SIM, "--large", "--json", "--from", first, "--seeds", SEEDS_OF_A_SLICE, "--keep", folder]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"bench-sim: the slice from {first} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def lines(path):
    """The objects of a file of JSON lines, if it is there."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def soak(raw, arguments):
    """Slices until there is enough; each is written down when it is whole."""
    path = raw / "soak.jsonl"
    done = lines(path)
    first = max((one["from"] + one["seeds"] for one in done), default=FIRST_SEED)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool, open(path, "a", encoding="utf-8") as file:
        while sum(one["device_s"] for one in done) < arguments.device_seconds or sum(one["seeds"] for one in done) < arguments.seeds:
            starts = [first + n * SEEDS_OF_A_SLICE for n in range(arguments.jobs)]
            for one in pool.map(lambda start: slice_of(start, raw / "failed"), starts):
                done.append(one)
                file.write(json.dumps(one) + "\n")
            file.flush()
            first = starts[-1] + SEEDS_OF_A_SLICE
            device_s = sum(one["device_s"] for one in done)
            print(f"{sum(one['seeds'] for one in done)} seeds, {device_s:.0f} device-seconds, {failed(done)} failed", file=sys.stderr)


def failed(done):
    return sum(one["failed"] for one in done)


def speed(raw, arguments):
    """The plants of the speed figure by turns, once with each seed."""
    with open(raw / "speed.jsonl", "a", encoding="utf-8") as file:
        for seed in range(arguments.speed_runs):
            for form, (sessions, sensors, _) in SPEED.items():
                command = [SIM, "--speed", sessions, "--speed-sensors", sensors, "--json", "--from", seed, "--seeds", "1"]
                done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
                file.write(json.dumps({"form": form, **json.loads(done.stdout.splitlines()[-1])}) + "\n")


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def speed_of(runs):
    """How fast simulated time is in these runs, and what a datagram costs."""
    return {
        "times": spread([run["simulated_s"] / run["cpu_s"] for run in runs]),
        "us_per_datagram": spread([1e6 * run["cpu_s"] / run["datagrams"] for run in runs]),
    }


def summarize(out, arguments):
    """Reads raw/ and writes everything else."""
    slices, runs = lines(out / "raw/soak.jsonl"), lines(out / "raw/speed.jsonl")
    total = {key: sum(one[key] for one in slices) for key in ("seeds", "failed", "device_s", "simulated_s", "records", "datagrams", "sessions", "cpu_s")}
    speeds = {form: speed_of([run for run in runs if run["form"] == form]) for form in SPEED}
    rows = [
        {"what": f"simulated plants: device-seconds over {total['seeds']:,} seeds, {total['failed']} violations", "pollux": f"{total['device_s']:,.0f}"},
    ]
    rows += [
        {"what": f"100 devices at 100 Hz, {form}, one core: simulated over real time", "pollux": f"{of['times']['median']:.1f} x"}
        for form, of in speeds.items()
    ]
    summary = {"soak": total, "speed": speeds, "rows": rows}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    table = ["| what | figure |", "|---|---:|"]
    table += [f"| {key} | {value:,.0f} |" for key, value in total.items()]
    for form, of in speeds.items():
        for name, key in (("simulated over real time", "times"), ("CPU for a datagram, us", "us_per_datagram")):
            figure = of[key]
            spelled = f"{figure['median']:.2f} ({figure['min']:.2f} to {figure['max']:.2f}, {figure['runs']} runs)"
            table.append(f"| 100 devices at 100 Hz, {form}: {name} | {spelled} |")
    text = "\n".join(table)
    (out / "summary.md").write_text(f"# Sim: summary\n\n{verdict.of_folder(out)}\n\n{text}\n", encoding="utf-8")
    (out / "README.md").write_text(README.format(answer=answer(runs, speeds)), encoding="utf-8")
    words = ["scripts/bench-sim.py", f"--seeds {arguments.seeds}", f"--device-seconds {arguments.device_seconds}"]
    (out / "command.txt").write_text(" ".join(words) + "\n", encoding="utf-8")
    print(text)
    return failed(slices)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20_000, metavar="N")
    parser.add_argument("--device-seconds", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--speed-runs", type=int, default=5, metavar="N")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--part", choices=("soak", "speed", "summary"))
    arguments = parser.parse_args()
    out = arguments.out or result.folder_of("sim")
    if out.exists() and not arguments.resume:
        parser.error(f"{out} exists; a result is never replaced (--resume goes on with one)")
    if not out.exists():
        subprocess.run("cargo build --release --locked -p sim -p twin".split(), cwd=ROOT, check=True)
        SIM.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(BUILT, SIM)
        (out / "raw").mkdir(parents=True)
        result.write_host(out, result.host_of(ROOT / "target/release/pollux"))
    if arguments.part in (None, "soak"):
        soak(out / "raw", arguments)
    if arguments.part in (None, "speed"):
        speed(out / "raw", arguments)
    if arguments.part in (None, "summary"):
        sys.exit(1 if summarize(out, arguments) else 0)


if __name__ == "__main__":
    main()
