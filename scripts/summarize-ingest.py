#!/usr/bin/env python3
"""Turns the raw data of scripts/bench-ingest.sh into summary.json and summary.md.

usage: scripts/summarize-ingest.py DIR

Medians over the runs of a case; ratios as the ratio of the medians and as the median of the ratios of the pairs. A figure
that a side does not report stays empty. A run that applied nothing is an error: exit code 1. Wrong usage: 2.
"""

import json
import pathlib
import statistics
import sys

import targets
import verdict

SIDES = ("pollux", "peer")

# Figures of one run: key, heading, format, and whether more is better (None: no ratio is formed).
FIGURES = (
    ("offered_per_s", "offered/s", "{:,.0f}", None),
    ("applied_per_s", "applied/s", "{:,.0f}", True),
    ("applied_share", "applied of sent", "{:.3f}", None),
    ("discarded_share", "discarded of received", "{:.3f}", None),
    ("cpu_ns_per_record", "CPU ns/record", "{:,.1f}", False),
    ("cpu_ns_per_received", "CPU ns/received", "{:,.1f}", False),
    ("cpu_ns_per_packet", "CPU ns/packet", "{:,.0f}", False),
    ("busy_ns_per_record", "hot threads, whole life, ns/record", "{:,.1f}", None),
    ("sent_p50_us", "send p50 us", "{:,.1f}", False),
    ("sent_p99_us", "send p99 us", "{:,.1f}", False),
    ("p50_us", "receive p50 us", "{:,.1f}", False),
    ("p99_us", "receive p99 us", "{:,.1f}", False),
)

# Latencies of T1 up to the write into the world: from the intended send time, which is the same moment for both sides, and
# from the receive time, which is not.
SENT_LATENCY, RECEIVE_LATENCY = "intended_to_applied_t1", "receive_to_applied_t1"


class Unusable(Exception):
    """A run whose raw data gives no figures."""


def read_json(path):
    """The object in a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: {error}") from error


def first(summary, *names):
    """The first of the names that the summary has, or None."""
    return next((summary[name] for name in names if summary.get(name) is not None), None)


def applied_records(server):
    """Records applied, over all tiers."""
    if "applied" in server:
        return server["applied"]
    return sum(tier["applied"] for tier in server["tiers"].values())


# What becomes of a record that the server has.
FATES = ("applied", "duplicate", "stale", "rejected", "shed")


def received_records(server):
    """Records that the server had, over all tiers, whatever it did with them."""
    if "received" in server:
        return server["received"]
    return sum(tier.get(fate, 0) for tier in server["tiers"].values() for fate in FATES)


def busy_ns(server):
    """CPU time of worker and tick thread in their whole life, or None where the side does not tell it."""
    # Without what they were preempted for. There is none of the active window alone.
    busy = server.get("thread_cpu_ns") or server.get("busy_ns")
    if isinstance(busy, dict):
        return sum(busy.values())
    parts = [server.get("worker_busy_ns"), server.get("tick_busy_ns")]
    return None if None in parts else sum(parts)


def figures_of(run):
    """The figures of one run, from what its server and its generator wrote."""
    server = read_json(run / "server" / "summary.json")
    generator = read_json(run / "generator" / "summary.json")
    applied = applied_records(server)
    if applied <= 0:
        raise Unusable(f"{run}: no record was applied")
    windowed = server.get("active_cpu_s") is not None
    # A server that reports no window of activity is judged by the generator's duration and by all CPU of its process.
    elapsed_s = first(server, "active_s") if windowed else generator["duration_s"]
    cpu_s = server["active_cpu_s"] if windowed else server["cpu_user_s"] + server["cpu_system_s"]
    received = received_records(server)
    packets = first(server, "packets", "packets_received")
    busy = busy_ns(server)
    sent = first(generator, "sent")
    sent = sum(sent.values()) if isinstance(sent, dict) else sent
    latencies = server.get("latency_ns", {})
    sent_latency = latencies.get(SENT_LATENCY, {})
    latency = latencies.get(RECEIVE_LATENCY, {})
    return {
        # The rate of the load alone, without the handshakes before it, where the generator tells it.
        "offered_per_s": sent / generator.get("active_s", generator["duration_s"]) if sent else None,
        "applied_per_s": applied / elapsed_s,
        "applied_share": applied / sent if sent else None,
        "discarded_share": 1 - applied / received,
        "cpu_ns_per_record": cpu_s * 1e9 / applied,
        "cpu_ns_per_received": cpu_s * 1e9 / received,
        "cpu_ns_per_packet": cpu_s * 1e9 / packets if packets else None,
        "busy_ns_per_record": busy / applied if busy else None,
        "sent_p50_us": sent_latency["p50"] / 1e3 if "p50" in sent_latency else None,
        "sent_p99_us": sent_latency["p99"] / 1e3 if "p99" in sent_latency else None,
        "p50_us": latency["p50"] / 1e3 if "p50" in latency else None,
        "p99_us": latency["p99"] / 1e3 if "p99" in latency else None,
        "windowed": windowed,
    }


def median(values):
    """The median of the values that are there, or None."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def advantage(pollux, peer, more_is_better):
    """How many times better Pollux is: above 1 in its favour, below 1 in the peer's."""
    if not pollux or not peer:
        return None
    return pollux / peer if more_is_better else peer / pollux


def summarize_case(folder):
    """Medians and ratios of one case."""
    runs = {side: {} for side in SIDES}
    for run in sorted(folder.iterdir()):
        pair, _, side = run.name.partition("-")
        runs[side][int(pair)] = figures_of(run)
    case = {"runs": {side: runs[side] for side in SIDES if runs[side]}, "median": {}, "ratio": {}}
    for side, by_pair in case["runs"].items():
        case["median"][side] = {
            key: median([figures[key] for figures in by_pair.values()]) for key, *_ in FIGURES
        }
    for key, _, _, more_is_better in FIGURES:
        if more_is_better is None or len(case["runs"]) < 2:
            continue
        medians = [case["median"][side][key] for side in SIDES]
        pairs = [
            advantage(runs["pollux"][pair][key], runs["peer"][pair][key], more_is_better)
            for pair in sorted(runs["pollux"].keys() & runs["peer"].keys())
        ]
        case["ratio"][key] = {
            "of_medians": advantage(*medians, more_is_better),
            "median_of_pairs": median(pairs),
            "min_of_pairs": min((ratio for ratio in pairs if ratio is not None), default=None),
            "max_of_pairs": max((ratio for ratio in pairs if ratio is not None), default=None),
        }
    return case


def across_wire_forms(cases):
    """Records per CPU second, batched Pollux over the peer with one record a packet: two wire forms, said so."""
    try:
        ours = cases["batched-max"]["median"]["pollux"]["cpu_ns_per_record"]
        theirs = cases["single-max"]["median"]["peer"]["cpu_ns_per_record"]
    except KeyError:
        return None
    return {"pollux": "batched-max", "peer": "single-max", "records_per_cpu_s_ratio": theirs / ours}


# Times as much CPU as Pollux that the ordinary build takes for a record, where both have batches.
BATCHED_WANTED = "at least 4.5"


def aims(cases):
    """What was aimed at, if the case was run with both sides."""
    ratio = cases.get("batched-max", {}).get("ratio", {}).get("cpu_ns_per_record", {}).get("of_medians")
    what = "batched-max: CPU for a record, the ordinary build over Pollux"
    return [target for target in [targets.judged(what, BATCHED_WANTED, ratio, "{:.2f}")] if target]


def cell(value, form):
    """A figure as text; an absent one as a dash."""
    return "–" if value is None else form.format(value)


def extent(runs, key, form):
    """The least and the greatest run behind a median of several, of those figures that are costs or latencies."""
    values = [figures[key] for figures in runs if figures[key] is not None]
    told = key.startswith("cpu_ns") or key.endswith("_us")
    return f" ({form.format(min(values))}–{form.format(max(values))})" if told and len(values) > 1 else ""


def ratio_cell(ratio):
    """The ratio of the medians and, in parentheses, median and range of the pairs; or a dash."""
    if ratio is None or None in ratio.values():
        return "–"
    pairs = f"{ratio['median_of_pairs']:.2f}, {ratio['min_of_pairs']:.2f}–{ratio['max_of_pairs']:.2f}"
    return f"{ratio['of_medians']:.2f} ({pairs})"


def table(cases):
    """The lines of summary.md's table."""
    yield "| case | side | runs | " + " | ".join(heading for _, heading, _, _ in FIGURES) + " |"
    yield "|---|---|---:|" + "---:|" * len(FIGURES)
    for name, case in cases.items():
        for side, medians in case["median"].items():
            runs = list(case["runs"][side].values())
            cells = [cell(medians[key], form) + extent(runs, key, form) for key, _, form, _ in FIGURES]
            yield f"| {name} | {side} | {len(runs)} | " + " | ".join(cells) + " |"
        if case["ratio"]:
            cells = [ratio_cell(case["ratio"].get(key)) for key, *_ in FIGURES]
            yield f"| {name} | ratio | | " + " | ".join(cells) + " |"


def notes(summary):
    """The lines below the table."""
    yield ""
    yield "Medians over the runs. Ratios say how many times better Pollux is, as the ratio of the medians and, in"
    yield "parentheses, as the median and range of the ratios of the pairs; below 1 the peer is better. CPU is that of the"
    yield "whole server process from the first to the last applied record, over the records applied, and beside it over those received:"
    yield "what is discarded, as at a full channel or ring, costs as well, and made no record of the world. The least and the greatest run"
    yield "stand beside CPU and latencies where there are several; `runs` is how many. That of the hot threads, worker and tick, is of their"
    yield "whole life, over the same records: start, end and the ticks before the load and after it are in it, so that it exceeds"
    yield "CPU where they are much of it, as in `plant`. Latencies are of T1, up to the write into the world. `send` begins at the"
    yield "intended send time in the record, the same moment for both sides. `receive` does not: with Pollux it begins when the"
    yield "kernel has the packet, with the peer when quinn hands the datagram over, after its time in the socket, the wake-up and"
    yield "the decryption. Where the offered rate is below what the case asks for, the generator was the limit."
    whole = sorted(
        {
            side
            for case in summary["cases"].values()
            for side, runs in case["runs"].items()
            if not all(figures["windowed"] for figures in runs.values())
        }
    )
    if whole:
        yield ""
        yield "Reports no window of activity, so its rate is over the generator's duration and its CPU over the whole"
        yield f"life of its process: {', '.join(whole)}."
    across = summary["across_wire_forms"]
    if across:
        yield ""
        yield "Across wire forms: records per CPU second of Pollux in batched-max over the peer's in single-max, one"
        yield f"record a packet: {across['records_per_cpu_s_ratio']:.1f}."


def main(arguments):
    """Reads DIR/raw, writes DIR/summary.json and DIR/summary.md."""
    if len(arguments) != 1 or not pathlib.Path(arguments[0], "raw").is_dir():
        print("usage: scripts/summarize-ingest.py DIR   (DIR/raw must exist)", file=sys.stderr)
        return 2
    out = pathlib.Path(arguments[0])
    folders = sorted((out / "raw").iterdir())
    try:
        cases = {folder.name: summarize_case(folder) for folder in folders}
    except (Unusable, KeyError, TypeError, ZeroDivisionError) as error:
        print(f"summarize-ingest: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    judged = aims(cases)
    summary = {"cases": cases, "across_wire_forms": across_wire_forms(cases), "targets": judged}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    lines = ["# Ingest: summary", "", verdict.of_folder(out), "", *table(cases), *notes(summary), *targets.lines(judged)]
    (out / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
