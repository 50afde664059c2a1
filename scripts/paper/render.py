#!/usr/bin/env python3
"""Writes what the paper reads (claims, tables, plots) into target/paper, and renders it there.

usage: scripts/paper/render.py [--check]

`paper/claims.json` names each number: a folder of results/, a path into its summary.json, a form. Two paths are a ratio. A
part `list[key=value,…]` picks the one object of a list that has these values. A claim that resolves to nothing is an error.
"""

import json
import pathlib
import re
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "sweep")]

import result  # noqa: E402 - found by the line above
import verdict  # noqa: E402

ROOT = HERE.parent.parent
PAPER, OUT = ROOT / "paper", ROOT / "target/paper"
# What the paper links to: folders are found by their path in any copy of the repository.
ABSENT = "–"
# What is behind the name of a peer that has no place of Pollux' on the host.
UNPLACED = "-unplaced"
# What a sweep leaves out of each case.
WARM_UP_S, MEASURED_S = 2, 5
PICK = re.compile(r"(\w+)\[(.*)\]")


def summary_of(folder):
    """The summary of a result."""
    return json.loads((ROOT / "results" / folder / "summary.json").read_text(encoding="utf-8"))


def resolve(value, path):
    """The number at a path."""
    for part in path.split("/"):
        pick = PICK.fullmatch(part)
        if pick:
            wanted = dict(pair.split("=") for pair in pick[2].split(","))
            found = [row for row in value[pick[1]] if all(str(row[key]) == text for key, text in wanted.items())]
            if len(found) != 1:
                raise KeyError(f"{part}: {len(found)} objects")
            value = found[0]
        else:
            value = value[part]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise KeyError(f"{path}: {value!r} is no number")
    return value


def claims():
    """Every claim as text with its link."""
    told = json.loads((PAPER / "claims.json").read_text(encoding="utf-8"))
    folders = told["folders"]
    summaries = {name: summary_of(folder) for name, folder in folders.items()}
    resolved = {}
    for name, (folder, path, form) in told["claims"].items():
        try:
            if isinstance(path, list):
                over, under = (resolve(summaries[folder], part) for part in path)
                number = over / under
            else:
                number = resolve(summaries[folder], path)
        except (KeyError, TypeError, ZeroDivisionError) as error:
            raise SystemExit(f"paper: the claim {name} of {folders[folder]}: {error}") from error
        resolved[name] = {"text": form.format(number), "url": url(folders[folder])}
    used = set(re.findall(r'#c\("(\w+)"\)', (PAPER / "pollux.typ").read_text(encoding="utf-8")))
    for name in sorted(used ^ set(resolved)):
        raise SystemExit(f"paper: {name} is in only one of pollux.typ and claims.json")
    return folders, summaries, resolved


def url(folder):
    """Where a reader finds a folder: beside the paper's own repository."""
    return f"../../results/{folder}/summary.md"


def cell(value, form):
    """A figure as text."""
    return ABSENT if value is None else form.format(value)


def peer_tables(summary, folder):
    """Rows of the two tables of the peers; of the cost, what it is where a peer has the place of Pollux on the host and where it
    has none."""

    def rows(case, columns):
        for side, figures in summary["peers"].get(case, {}).items():
            if side.endswith(UNPLACED):
                continue
            cells = [cell(figures["median"][key], form) for key, form in columns]
            yield [side, figures["encrypted"] or "no", *cells]

    rate, cpu = ("applied_per_s", "{:,.0f}"), ("cpu_ns_per_record", "{:,.0f}")
    latency = [(key, "{:,.0f}") for key in ("p50_us", "p99_us", "p999_us")]
    batched = list(rows("max-batched", [rate, ("undelivered_percent", "{:.2f}"), cpu, ("rss_mb", "{:,.0f}")]))
    for row in batched:
        side = summary["peers"]["max-batched"].get(row[0] + UNPLACED, {})
        started = side.get("median", {}).get("cpu_ns_per_record")
        row.insert(-1, cell(started, "{:,.0f}"))
    return {
        "url": url(folder),
        "batched": batched,
        "paced": list(rows("paced-percall", [rate, cpu, *latency])),
    }


def loss_table(summary):
    """Rows of the table of loss: each side at each round trip, and TCP with a short timeout."""
    rows = []
    for round_trip_ms in (0, 10, 50):
        clean, lossy = (summary["peers"].get(f"loss{loss}-rtt{round_trip_ms}", {}) for loss in (0, 5))
        for side in lossy:
            rows.append(loss_row(side, round_trip_ms, clean.get(side), lossy[side]))
    clean = summary["peers"].get("loss0-rtt0", {})
    for side, figures in summary["peers"].get("loss5-rtt0-rto5", {}).items():
        rows.append(loss_row(f"{side}, rto5", 0, clean.get(side), figures))
    return {"rows": rows}


def loss_row(side, round_trip_ms, clean, lossy):
    """One line of it."""
    before = clean["median"]["p99_us"] if clean else None
    after = lossy["median"]["p99_us"]
    ratio = after / before if before and after else None
    undelivered = lossy["median"]["undelivered_percent"]
    least, most = lossy["range"]["p99_us"] or (None, None)
    extent = f"{least:,.0f}–{most:,.0f}" if after else ABSENT
    return [side, lossy["encrypted"] or "no", str(round_trip_ms), cell(before, "{:,.0f}"), cell(after, "{:,.0f}"), extent,
            cell(ratio, "{:.2f}"), cell(undelivered, "{:.2f}")]  # fmt: skip


def sweep_table(summary, folder):
    """Rows of the sweep without loss."""
    columns = (("entities", "{:,}"), ("load", "{}"), ("ticks_run_percent", "{:.2f}"),
               ("jitter_p99_us", "{:,.0f}"), ("jitter_p999_us", "{:,.0f}"), ("tick_p99_us", "{:,.0f}"),
               ("t1_p50_us", "{:,.0f}"), ("t1_p99_us", "{:,.0f}"), ("t3_round_trip_p50_us", "{:,.0f}"),
               ("odte_ratio", "{:.3f}"))  # fmt: skip
    rows = [row for row in summary["sweep"] if row["loss_percent"] == 0 and row["loss_where"] == "app"]
    return {"url": url(folder), "rows": [[cell(row[key], form) for key, form in columns] for row in rows]}


def host_table(folders):
    """The hosts of the folders: a line for what they have in common, one for each kind where they differ."""
    hosts = {kind: result.read_host(ROOT / "results" / folder) for kind, folder in folders.items()}
    parts = {
        "processor": lambda host: f"{host['cpu']}, {host['cores']} cores, {host['arch']}",
        "memory": lambda host: f"{round((host['memory_bytes'] or 0) / 1e9)} GB",
        "kernel": lambda host: host["kernel"],
        "compiler": lambda host: host["rustc"],
        "revision": lambda host: host["revision"][:12],
    }
    rows = []
    for part, text in parts.items():
        kinds = {}
        for kind, host in hosts.items():
            kinds.setdefault(text(host), []).append(kind)
        rows += [[part if len(kinds) == 1 else f"{part}: {', '.join(of)}", value] for value, of in kinds.items()]
    doctor = verdict.doctor_of(hosts.values()) or {"qualifies": False, "disqualified_by": ["not examined"]}
    return {"rows": rows, "qualifies": doctor["qualifies"], "reasons": ", ".join(doctor["disqualified_by"])}


def write(name, value):
    """A file that the paper reads."""
    (OUT / name).write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


# Entities of the plots.
PLOTTED = 200_000


def plots(summary, folder):
    """Which share of records, and of ticks, exceeds a time: every case of one size with its loss on a link without delay a line.

    A line is of all runs of its case together, of each what was measured.
    """
    import plot

    note = plot.plain(verdict.of_folder(ROOT / "results" / folder))
    wanted = {
        "t1-ccdf": ("T1: intended to applied", "intended_to_applied_t1", "share of records above"),
        "tick-ccdf": ("Duration of a tick", "tick_duration", "share of ticks above"),
    }
    for name, (title, latency, label) in wanted.items():
        series = []
        for row in summary["sweep"]:
            if row["loss_where"] != "link" or row["entities"] != PLOTTED or row.get("round_trip_ms"):
                continue
            case = f"{PLOTTED}-{row['load']}-link-{row['loss_percent']}"
            histogram = measured(ROOT / "results" / folder / "raw", case, latency)
            points = [(value / 1000, share) for value, share in histogram.ccdf()]
            series.append((f"{row['load']}, {row['loss_percent']} % loss", points))
        drawn = plot.lines(f"{title}, {PLOTTED:,} entities", "microseconds", label, series, note)
        (OUT / f"{name}.svg").write_text(drawn, encoding="utf-8")


def measured(raw, case, latency):
    """What the runs of a case counted in their windows."""
    import hdr
    import summarize

    merged = hdr.Histogram()
    for folder in (raw / case, *raw.glob(f"{case}-run*")):
        window, begin, end = summarize.measured_of(folder, WARM_UP_S, MEASURED_S)
        ahead_s = window.get("twin_ahead_s", 0)
        histogram, _ = hdr.read_log(folder / f"serve/{latency}.hlog", begin + ahead_s, end + ahead_s)
        merged.merge(histogram)
    return merged


def main(arguments):
    """Resolves, and renders unless it only checks."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    folders, summaries, resolved = claims()
    if arguments:
        print(f"paper: {len(resolved)} claims resolve")
        return 0
    import typst

    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for name in ("pollux.typ", "references.yml"):
        shutil.copy(PAPER / name, OUT / name)
    write("claims.json", resolved)
    write("host.json", host_table(folders))
    write("peers.json", peer_tables(summaries["peers"], folders["peers"]))
    write("loss.json", loss_table(summaries["peers"]))
    write("sweep.json", sweep_table(summaries["sweep"], folders["sweep"]))
    plots(summaries["sweep"], folders["sweep"])
    typst.compile(str(OUT / "pollux.typ"), output=str(OUT / "pollux.pdf"))
    print(OUT / "pollux.pdf")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
