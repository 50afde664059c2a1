"""From the raw data of a sweep to sweep.csv, summary.json, summary.md, README.md, manifest.txt and plots.

Latencies are of the measured window only, from the interval logs; counts and memory are of the whole run.
"""

import csv
import hashlib
import json
import statistics
import sys
import textwrap

import hdr
import plot
import result
import targets
import verdict

# An observation that is older counts against the twin in ODTE; ten ticks.
TIMELY_NS = 10_000_000
# Latency in the log of the twin, and its columns.
TWIN_LATENCIES = {
    "intended_to_applied_t1": "t1",
    "intended_to_applied_t2": "t2",
    "tick_duration": "tick",
    "tick_jitter": "jitter",
}
# That of the load: from the moment at which a command was meant to be sent, not from the one at which it was.
TRIP = "load/round_trip_intended.hlog"
PERCENTILES = {"p50": 50, "p99": 99, "p999": 99.9}
# Records that have to be planned for a window before alignment and ODTE say anything. Sensors begin at times of their own, so
# that what falls into a window differs from the plan by about its square root: here by 1 %, the least loss of the sweep.
HEALTH_RECORDS = 10_000

README = """# Sweep: entities x loss x load

**Question.** What does the size of the world do to the ingest, and the ingest to the world: do ticks of 1 ms run, how old is
a record when it is applied, how long does a command take, what does an entity cost, with 0, 1 and 5 % of loss?

{answer}

**How.** For each case a fresh twin; the devices name every sensor, then offer the load on all tiers at once; {warm} s of warm-up
are left out, {measured} s are measured. Loss `app` is injected by the twin before it applies; loss `link` is real packets
dropped between two network namespaces, in the direction to the twin. The load `published` is that of the prototype's own
sweep (100 records a second over the whole plant), the others are Pollux' own.

**Read.** `sweep.csv` has every figure with its unit; `summary.md` the most asked. Latencies count from the intended send time.
Ticks that ran are all that were not given up: one that was held up runs late (`tick.catch_up`) and counts; `jitter` is how
late ticks began. Twin alignment is records applied over records planned; ODTE is timeliness (applied within 10 ms) x
reliability (the alignment, at most 1) x availability (ticks run of those due); age of information is the mean over time of
how old the newest value of a sensor is, half the sensor's period more than the mean latency.

**Doubts.** Devices and twin share the cores. One run for each case: a p99.9 of five seconds is a few events. The rate
`published` gives 500 records in the window: its p99.9 is the greatest. It has no alignment and no ODTE: sensors begin at times
of their own, so that chance alone makes some twenty records more or fewer of 500, as many as a loss of 5 % takes.
"""


def trim(folder):
    """Takes away the distributions of a run that no figure is read from; their percentiles are in its summaries."""
    kept = {folder / f"serve/{latency}.hlog" for latency in TWIN_LATENCIES} | {folder / TRIP}
    for path in [*folder.glob("*/*.hlog"), *folder.glob("*/*.hgrm")]:
        if path not in kept:
            path.unlink()


def figures(case, folder, warm_s, measured_s, tick_hz):
    """One line of the CSV."""
    window = json.loads((folder / "window.json").read_text(encoding="utf-8"))
    begin = window["load_began_s"] + warm_s
    # Intervals are a second, and begin whenever the twin began: what is measured lies within, and is as long.
    end = begin + measured_s + 1
    ahead_s, load_ahead_s = (window.get(f"{end_of}_ahead_s", 0) for end_of in ("twin", "generator"))
    twin = json.loads((folder / "serve/summary.json").read_text(encoding="utf-8"))
    load = json.loads((folder / "load/summary.json").read_text(encoding="utf-8"))
    row = {"entities": case.entities, "loss_percent": case.loss_percent, "loss_where": case.where, "load": case.load,
           "entities_seen": twin["entities"]}  # fmt: skip
    logs = {}
    for latency, column in TWIN_LATENCIES.items():
        histogram, span_s = hdr.read_log(folder / f"serve/{latency}.hlog", begin + ahead_s, end + ahead_s)
        logs[column] = (histogram, span_s)
        for name, percent in PERCENTILES.items():
            row[f"{column}_{name}_us"] = micro(histogram.percentile(percent))
        row[f"{column}_max_us"] = micro(histogram.max or None)
    trip, _ = hdr.read_log(folder / TRIP, begin + load_ahead_s, end + load_ahead_s)
    for name, percent in PERCENTILES.items():
        row[f"t3_round_trip_{name}_us"] = micro(trip.percentile(percent))
    ticks, span_s = logs["tick"]
    row["measured_s"] = round(span_s, 3)
    row["ticks_run_percent"] = round(100 * ticks.total / (span_s * tick_hz), 3) if span_s else None
    row["tick_overruns"] = twin["tick_overruns"]
    t1, _ = logs["t1"]
    row["t1_applied_per_s"] = round(t1.total / span_s, 1) if span_s else None
    row.update(health(case, t1, span_s, row["ticks_run_percent"]))
    for tier in ("t1", "t2", "t3"):
        for count in ("offered", "applied", "lost", "shed", "residual"):
            row[f"{tier}_{count}"] = twin["tiers"][tier][count]
    row["sent_in_load"] = total(load.get("sent"))
    row["rss_bytes"] = twin["rss_bytes"]
    row["rss_bytes_per_entity"] = round(twin["rss_bytes"] / max(1, twin["entities"]), 1)
    row["cpu_s"] = round(twin["cpu_user_s"] + twin["cpu_system_s"], 3)
    return row


def health(case, t1, span_s, ticks_percent):
    """What the twin is worth as an image of the plant; nothing where too few records say it."""
    import cases

    told = {"alignment_ratio": None, "odte_ratio": None, "age_mean_ms": None}
    if not span_s or not t1.total:
        return told
    rate = cases.LOADS[case.load]["t1"]
    told["age_mean_ms"] = round((case.entities / rate * 1e9 / 2 + t1.mean()) / 1e6, 3)
    planned = rate * span_s
    if planned < HEALTH_RECORDS:
        return told
    alignment = t1.total / planned
    odte = t1.share_up_to(TIMELY_NS) * min(1, alignment) * min(1, ticks_percent / 100)
    return {**told, "alignment_ratio": round(alignment, 5), "odte_ratio": round(odte, 5)}


def total(sent):
    """Records over all tiers, whether they come by tier or not."""
    return sum(sent.values()) if isinstance(sent, dict) else sent


def micro(nanoseconds):
    """Microseconds, to a tenth."""
    return None if nanoseconds is None else round(nanoseconds / 1000, 1)


SHOWN = (
    ("entities", "entities", "{:,}"),
    ("load", "load", "{}"),
    ("loss_where", "loss in", "{}"),
    ("loss_percent", "loss %", "{}"),
    ("ticks_run_percent", "ticks run %", "{:.2f}"),
    ("jitter_p99_us", "jitter p99 us", "{:,.0f}"),
    ("jitter_p999_us", "jitter p99.9 us", "{:,.0f}"),
    ("tick_p50_us", "tick p50 us", "{:,.1f}"),
    ("tick_p99_us", "tick p99 us", "{:,.0f}"),
    ("t1_applied_per_s", "T1 applied/s", "{:,.0f}"),
    ("t1_p50_us", "T1 p50 us", "{:,.0f}"),
    ("t1_p99_us", "T1 p99 us", "{:,.0f}"),
    ("t1_p999_us", "T1 p99.9 us", "{:,.0f}"),
    ("t2_p99_us", "T2 p99 us", "{:,.0f}"),
    ("t3_round_trip_p50_us", "T3 p50 us", "{:,.0f}"),
    ("t3_round_trip_p99_us", "T3 p99 us", "{:,.0f}"),
    ("alignment_ratio", "alignment", "{:.4f}"),
    ("odte_ratio", "ODTE", "{:.4f}"),
    ("rss_bytes_per_entity", "bytes/entity", "{:,.0f}"),
)


def table(rows):
    """The lines of summary.md's table."""
    yield "| " + " | ".join(heading for _, heading, _ in SHOWN) + " |"
    yield "|---:|---|---|" + "---:|" * (len(SHOWN) - 3)
    for row in rows:
        cells = ["–" if row.get(key) is None else form.format(row[key]) for key, _, form in SHOWN]
        yield "| " + " | ".join(cells) + " |"


# The load whose records are too few for a p99 to be compared.
SPARSE = "published"


def of_loss(rows, key):
    """The ratios alone."""
    return (ratio for _, ratio in cases_of_loss(rows, key))


def cases_of_loss(rows, key):
    """A figure with 5 % of loss on the link over the same without, for each size and load."""
    by_case = {(row["entities"], row["load"], row["loss_percent"]): row for row in rows if row["loss_where"] == "link"}
    for (entities, load, loss), lossy in by_case.items():
        clean = by_case.get((entities, load, 0))
        if loss == 5 and load != SPARSE and clean and clean[key] and lossy[key]:
            yield (entities, load), lossy[key] / clean[key]


# The prototype's sweep has 209 bytes for an entity of 200,000, and half of that is aimed at.
BYTES_WANTED = "at most 104.5"
# T1 waits for nothing that was lost.
LOSS_WANTED = "at most 1.1"


def aims(rows):
    """What was aimed at, as far as the cases were run."""
    for row in rows:
        if [row[key] for key in ("entities", "load", "loss_where", "loss_percent")] == [200_000, SPARSE, "app", 0]:
            what = "resident bytes for an entity of 200,000, load `published`: half of the prototype's 209"
            yield targets.judged(what, BYTES_WANTED, row["rss_bytes_per_entity"])
    for (entities, load), ratio in cases_of_loss(rows, "t1_p99_us"):
        what = f"{entities:,} entities, load `{load}`: T1 p99 with 5 % of loss on the link over that without"
        yield targets.judged(what, LOSS_WANTED, ratio, "{:.2f}")


def spread(ratios):
    """Median, least and greatest as text."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def answer(rows):
    """The answer, of the cases that were run."""
    return textwrap.fill(" ".join(["**Answer.**", *answer_of_ticks(rows), *answer_of_loss(rows)]), 118)


def answer_of_ticks(rows):
    """Whether the ticks run, and how late."""
    rows = [row for row in rows if row["ticks_run_percent"] is not None and row["jitter_p99_us"] is not None]
    if rows:
        least = min(row["ticks_run_percent"] for row in rows)
        late_us = [row["jitter_p99_us"] for row in rows]
        yield f"Of the ticks of each case at least {least:.2f} % ran, late ones included (cases: {len(rows)})."
        yield f"The p99 of how late they began is {statistics.median(late_us):,.0f} us in the median case,"
        yield f"{max(late_us):,.0f} in the worst."


def answer_of_loss(rows):
    """What loss on the link does to each tier."""
    tiers = {"T1": "t1_p99_us", "T2": "t2_p99_us", "T3, there and back,": "t3_round_trip_p99_us"}
    ratios = {tier: list(of_loss(rows, key)) for tier, key in tiers.items()}
    if all(ratios.values()):
        yield "5 % of loss on the link change the p99 by these factors, in the median case, the best and the worst"
        yield f"(cases: {len(ratios['T1'])}):"
        yield "; ".join(f"{tier} {spread(of)}" for tier, of in ratios.items()) + "."
    sparse = [row for row in rows if (row["load"], row["loss_where"], row["loss_percent"]) == (SPARSE, "link", 5)]
    if sparse:
        two, three = (statistics.median(row[key] for row in sparse) for key in ("t2_p99_us", "t3_round_trip_p99_us"))
        yield f"At the load `{SPARSE}`, where few packets follow that would show a loss, 5 % of it make that of T2 {two:,.0f} us"
        yield f"and that of T3 {three:,.0f}."


def ticks_rows(what, row):
    """How many ticks of a case ran, and how late they began."""
    yield {"what": f"{what}: ticks of 1 ms that ran, late ones included, %", "pollux": f"{row['ticks_run_percent']:.2f}"}
    late = " and ".join(f"{row[key]:,.0f}" for key in ("jitter_p99_us", "jitter_p999_us"))
    yield {"what": "the same: how late ticks began, p99 and p99.9, µs", "pollux": late}


def published(rows):
    """What the front page shows of it, if the cases were run."""
    by_case = {(row["entities"], row["load"], row["loss_where"], row["loss_percent"]): row for row in rows}
    whole = by_case.get((200_000, "published", "app", 0))
    if whole:
        yield from ticks_rows("200,000 sensors, the prototype's own load", whole)
        yield {"what": "the same: command round trip, p50, µs", "pollux": f"{whole['t3_round_trip_p50_us']:,.0f}"}
    largest = by_case.get((1_000_000, "1m", "app", 0))
    if largest:
        yield from ticks_rows("1,000,000 sensors, a million records/s", largest)
    ratios = list(of_loss(rows, "t1_p99_us"))
    if ratios:
        yield {"what": f"T1 p99 with 5 % loss on the link over that without: median, least and greatest of {len(ratios)} sizes and "
               "loads, the prototype's left out", "pollux": spread(ratios)}  # fmt: skip


def write(out, plan, warm_s, measured_s, tick_hz):
    """Sums up what is there; a case of the plan that is missing is an error."""
    lacking = [case.name for case in plan if not (out / "raw" / case.name / TRIP).exists()]
    if lacking:
        sys.exit(f"bench-sweep: without {TRIP} the round trip of a command is not known from its intended send time; measure "
                 f"again, into another folder: {', '.join(lacking)}")  # fmt: skip
    rows = [figures(case, out / "raw" / case.name, warm_s, measured_s, tick_hz) for case in plan]
    with open(out / "sweep.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    judged = list(aims(rows))
    summary = {"sweep": rows, "rows": list(published(rows)), "targets": judged}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    sentence = " ".join([verdict.of_folder(out), *clocks(result.read_host(out))])
    text = "\n".join(["# Sweep: summary", "", sentence, "", *table(rows), *targets.lines(judged)])
    (out / "summary.md").write_text(text + "\n", encoding="utf-8")
    (out / "README.md").write_text(README.format(answer=answer(rows), warm=warm_s, measured=measured_s), encoding="utf-8")
    plot.write_all(out, rows, sentence)
    manifest(out)


def clocks(host):
    """What latencies from one machine to the other rest on, if there are two."""
    if "generator" not in host:
        return
    doctors = [place.get("doctor") for place in (host, host["generator"])]
    unsure = [doctor for doctor in doctors if doctor is None or "time.sync" in [*doctor["unmet"], *doctor["unknown"]]]
    if unsure:
        yield "**Twin and devices have clocks of their own, which are not known to be synchronised** (`time.sync`): T1 and T2"
        yield "latencies, ODTE and the age are off by their difference; T3 goes there and back and is not."
    else:
        yield "Twin and devices have clocks of their own, which are disciplined: T1 and T2 latencies are off by what that leaves."


def manifest(out):
    """The checksum of every file, so that one that changed later shows."""
    lines = []
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name != "manifest.txt"):
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out)}")
    (out / "manifest.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
