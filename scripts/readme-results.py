#!/usr/bin/env python3
"""Writes the table of results: all figures into results/README.md, those that a reader asks for first into README.md, between
the two markers of each.

usage: scripts/readme-results.py [FOLDER...]     writes; without a folder there are no figures
       scripts/readme-results.py --check         fails when a table is not what the folders that it links to give

A folder of results/ is read by the form of its summary.json: that of scripts/bench-ingest.sh has `cases`, that of
scripts/bench-peers.sh `peers`; any other may have `rows`, a list of objects with `what`, `pollux` and, where there is one,
`peer` and `ratio`, all of them text. Every cell with a figure links to the folder that it is from. Exit codes: 0 done, 1 a
folder is unusable or the check failed, 2 wrong usage.
"""

import json
import pathlib
import re
import sys

import result
import verdict

ROOT = pathlib.Path(__file__).resolve().parent.parent
README, ALL = ROOT / "README.md", ROOT / "results/README.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
ABSENT = "–"

# What a user asks, the case that answers it, the figure of that case, and its format.
INGEST_ROWS = (
    ("50,000 sensors flat out, batched: records applied each second", "batched-max", "applied_per_s", "{:,.0f}"),
    ("the same: share of the records sent that was applied", "batched-max", "applied_share", "{:.0%}"),
    ("the same: CPU of the whole server for an applied record, ns", "batched-max", "cpu_ns_per_record", "{:,.0f}"),
    ("the same: CPU of both hot threads in their whole life for a record, ns", "batched-max", "busy_ns_per_record", "{:,.0f}"),
    ("one call for each record, flat out: records applied each second", "percall-max", "applied_per_s", "{:,.0f}"),
    ("one record a packet, 100,000 a second: CPU for a record, ns", "single-100k", "cpu_ns_per_record", "{:,.0f}"),
    ("1,000 devices of 5 sensors at 20 Hz: CPU for a packet, ns", "plant", "cpu_ns_per_packet", "{:,.0f}"),
    ("100,000 records/s, tick 1 kHz: sent to applied, p50, µs", "latency-100k", "sent_p50_us", "{:,.0f}"),
    ("the same, p99, µs", "latency-100k", "sent_p99_us", "{:,.0f}"),
)
ACROSS = "records for a CPU second, batched, beside one record a packet in the ordinary build"

# Whom a reader would pick instead, and what is said of the case. All but the ordinary build receive into the world of Pollux.
PEER_CASE, PEER_FIGURE = "max-batched", "cpu_ns_per_record"
PEER_ROWS = (
    ("quinn-bevy-batched", "10,000 sensors flat out, batched: CPU for a record, ns: beside the ordinary build"),
    ("tls", "10,000 sensors flat out, batched, into the same world: CPU for a record, ns: beside TLS over TCP"),
    ("nats", "the same: beside NATS"),
    ("mqtt0", "the same: beside Mosquitto"),
    ("zenoh-quic", "the same: beside Zenoh QUIC"),
)

LATENCY_ROWS = (
    ("quinn-bevy-coalesced", "10,000 sensors, 100,000 records/s, one call each: sent to applied beside the ordinary build"),
    ("tls", "the same beside TLS over TCP"),
)

# The figures of README.md in their order: how a row of the whole table begins, and what it is called where others do not stand
# before it. Those in which another one is ahead are not left out.
FIRST = (
    ("50,000 sensors flat out, batched: records applied each second", "50,000 sensors flat out, in batches of 36: records applied each second"),
    ("the same: share of the records sent that was applied", None),
    ("the same: CPU of the whole server for an applied record, ns", None),
    (ACROSS, "the same beside one record a packet in the ordinary build: records for a CPU second"),
    ("10,000 sensors flat out, batched, into the same world: CPU for a record, ns: beside TLS over TCP",
     "10,000 sensors flat out, into one world: CPU for a record, ns: beside TLS over TCP"),
    ("the same: beside NATS", None),
    ("the same: beside Mosquitto", None),
    ("the same: beside Zenoh QUIC", None),
    ("10,000 sensors, 100,000 records/s, one call each: sent to applied beside the ordinary build, p50, µs",
     "100,000 records/s, one call each, tick of 1 ms: sent to applied, p50, µs"),
    ("10,000 sensors, 100,000 records/s, one call each: sent to applied beside the ordinary build, p99, µs", "the same, p99, µs"),
    ("T1 p99 with 5 % loss on the link over that without", None),
    ("200,000 sensors, a million records/s, a minute: ticks of 1 ms that ran", None),
    ("command round trip between two workers, p50, µs", None),
    ("memory for an entity above an empty twin", None),
    ("start to ready, ms", None),
)  # fmt: skip

# What a table says and its page has not said before it.
WORDS = {
    README: """\
A ratio below 1 says that the other one is ahead. T1 is telemetry: sent once, and lost where its packet is lost. The prototype is
the one whose question the [paper](paper/pollux.typ) asks again. [All figures](results/README.md#all-figures) are with the results.""",
    ALL: """\
A ratio below 1 says that the other one is ahead. The hot threads are the worker, which receives, and the tick, which applies. The
load of the prototype is 100 records/s over all sensors.""",
}


def linked(page, folder, text):
    """A cell of a page that leads to its result."""
    base = "" if page == ALL else "results/"
    return f"[{text}]({base}{folder.name}/summary.md)"


def figure(value, form):
    """A figure as text, or None."""
    return None if value is None else form.format(value)


def times(ratio):
    """How many times better, with the digits that tell a ratio near 1 from 1."""
    if ratio is None:
        return None
    return f"{ratio:.2f} x" if ratio < 1.5 else f"{ratio:.1f} x" if ratio < 100 else f"{ratio:.0f} x"


def ingest_rows(summary):
    """(what, pollux, peer, ratio) of a run of scripts/bench-ingest.sh."""
    for what, name, key, form in INGEST_ROWS:
        case = summary["cases"].get(name, {})
        sides = case.get("median", {})
        pollux, peer = (figure(sides.get(side, {}).get(key), form) for side in ("pollux", "peer"))
        ratio = (case.get("ratio") or {}).get(key) or {}
        yield what, pollux, peer, times(ratio.get("of_medians"))
    across = summary.get("across_wire_forms") or {}
    yield ACROSS, None, None, times(across.get("records_per_cpu_s_ratio"))


def peer_rows(summary):
    """The same of a run of scripts/bench-peers.sh."""
    if summary["placed"]:
        yield from latency_rows(summary["peers"].get("paced-percall", {}))
    sides = summary["peers"].get(PEER_CASE, {})
    ours = sides.get("pollux", {}).get("median", {}).get(PEER_FIGURE)
    for side, what in PEER_ROWS:
        # The ordinary build costs less with the place on the host that Pollux asks for, the others without it.
        peer = in_place(summary, sides, side, placed=side.startswith("quinn-bevy"))
        theirs = peer.get(PEER_FIGURE)
        if ours and theirs:
            lost = peer.get("undelivered_percent") or 0
            what += f", which did not deliver {lost:.0f} % of the records" if lost >= 1 else ""
            yield what, figure(ours, "{:,.0f}"), figure(theirs, "{:,.0f}"), times(theirs / ours)


def in_place(summary, sides, name, placed):
    """The medians of a side where it has the place of Pollux, or none; a folder of either alone may not say it of each side."""
    for side in (sides.get(name), sides.get(f"{name}-unplaced")):
        if side and side.get("placed", summary["placed"]) == placed:
            return side["median"]
    return {}


def latency_rows(sides):
    """How late records are beside those peers that come nearest."""
    ours = sides.get("pollux", {}).get("median", {})
    for side, what in LATENCY_ROWS:
        theirs = sides.get(side, {}).get("median", {})
        for key, name in (("p50_us", "p50"), ("p99_us", "p99")):
            if ours.get(key) and theirs.get(key):
                cells = (figure(of[key], "{:,.0f}") for of in (ours, theirs))
                yield f"{what}, {name}, µs", *cells, times(theirs[key] / ours[key])


def rows_of(page, folder):
    """The rows that a folder gives, each figure linked from a page."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if "cases" in summary:
        rows = ingest_rows(summary)
    elif "peers" in summary:
        rows = peer_rows(summary)
    elif "rows" in summary:
        rows = ((row["what"], row["pollux"], row.get("peer"), row.get("ratio")) for row in summary["rows"])
    else:
        raise ValueError("summary.json has none of `cases`, `peers` and `rows`")
    for what, *cells in rows:
        if any(cells):
            yield [what, *(linked(page, folder, cell) if cell else ABSENT for cell in cells)]


def first(rows):
    """Those of the rows that README.md has, in its order and by its names."""
    for begin, name in FIRST:
        for what, *cells in rows:
            if what.startswith(begin):
                yield [name or what, *cells]
                break


def host_of(folder):
    """One sentence about the machine."""
    host = result.read_host(folder)
    gigabytes = round((host.get("memory_bytes") or 0) / 1e9)
    return f"{host['cpu']}, {host['cores']} cores, {gigabytes} GB, Linux {host['kernel']}"


def hosts_of(folders):
    """The machines, each with the folders that come from it if there are several."""
    hosts = {}
    for folder in folders:
        hosts.setdefault(host_of(folder), []).append(f"`{folder.name}`")
    if len(hosts) == 1:
        return next(iter(hosts))
    return "; ".join(f"{host} ({', '.join(names)})" for host, names in hosts.items())


def table(page, folders):
    """The lines between the markers of a page."""
    if not folders:
        yield "No result is recorded yet."
        return
    rows = [row for folder in folders for row in rows_of(page, folder)]
    if page == README:
        rows = first(rows)
    yield "| what | Pollux | the ordinary build, or who is named | better by |"
    yield "|---|---:|---:|---:|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""
    yield f"Medians, server and load on one machine over loopback QUIC with TLS: {hosts_of(folders)}."
    yield verdict.of_folders(folders)
    yield ""
    yield WORDS[page]


def split(page):
    """A page before, between and after the markers."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    between, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.relative_to(ROOT)} has no {BEGIN} and {END}")
    return before, between, after


def fresh(page, folders):
    """A page with the table of these folders."""
    before, _, after = split(page)
    lines = "\n".join(table(page, folders))
    return f"{before}{BEGIN}\n{lines}\n{END}{after}"


def main(arguments):
    """Writes or checks."""
    check = arguments == ["--check"]
    if not check and any(argument.startswith("-") for argument in arguments):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if check:
            names = dict.fromkeys(re.findall(r"\]\(([^/)]+)/summary.md\)", split(ALL)[1]))
            folders = [ROOT / "results" / name for name in names]
        else:
            folders = [pathlib.Path(argument).resolve() for argument in arguments]
        pages = {page: fresh(page, folders) for page in (README, ALL)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"readme-results: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    for page, text in pages.items():
        if not check:
            page.write_text(text, encoding="utf-8")
        elif page.read_text(encoding="utf-8") != text:
            where = page.relative_to(ROOT)
            print(f"readme-results: the table of {where} is not what its folders give; run scripts/readme-results.py", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
