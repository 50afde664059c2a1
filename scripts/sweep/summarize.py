"""From the raw data of a sweep to sweep.csv, summary.json, summary.md, README.md, manifest.txt and plots.

Latencies are of the measured window only, from the interval logs; counts and memory are of the whole run.
"""

import csv
import hashlib
import json
import statistics
import sys
import textwrap

import cable
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

README = """# Sweep: entities x loss x load{title}

**Question.** What does the size of the world do to the ingest, and the ingest to the world: do ticks of 1 ms run, how old is
a record when it is applied, how long does a command take, what does an entity cost, with 0, 1 and 5 % of loss{question}?

{answer}

**How.** For each case a fresh twin; the devices name every sensor, then offer the load on all tiers at once; {warm} s of warm-up
are left out, {measured} s are measured. Loss `app` is injected by the twin before it applies; loss `link` is real packets
dropped between two network namespaces, in the direction to the twin. The load `published` is that of the prototype's own
sweep (100 records a second over the whole plant), the others are Pollux' own.
{cable}
**Read.** `sweep.csv` has every figure with its unit; `summary.md` the most asked. Latencies count from the intended send time.
Ticks that ran are all that were not given up: one that was held up runs late (`tick.catch_up`) and counts; `jitter` is how
late ticks began. Twin alignment is records applied over records planned; ODTE is timeliness (applied within 10 ms) x
reliability (the alignment, at most 1) x availability (ticks run of those due); age of information is the mean over time of
how old the newest value of a sensor is, half the sensor's period more than the mean latency.

**Doubts.** Devices and twin share the cores. {runs} a p99.9 of five seconds is a few events. The rate
`published` gives 500 records in the window: its p99.9 is the greatest. It has no alignment and no ODTE: sensors begin at times
of their own, so that chance alone makes some twenty records more or fewer of 500, as many as a loss of 5 % takes.
"""


def trim(folder):
    """Takes away the distributions of a run that no figure is read from; their percentiles are in its summaries."""
    kept = {folder / f"serve/{latency}.hlog" for latency in TWIN_LATENCIES} | {folder / TRIP}
    for path in [*folder.glob("*/*.hlog"), *folder.glob("*/*.hgrm")]:
        if path not in kept:
            path.unlink()


def measured_of(folder, warm_s, measured_s):
    """The window of a run, and between which moments its measured intervals lie, by the clock of whoever ran it."""
    window = json.loads((folder / "window.json").read_text(encoding="utf-8"))
    begin = window["load_began_s"] + warm_s
    # Intervals are a second, and begin whenever the twin began: what is measured lies within, and is as long.
    return window, begin, begin + measured_s + 1


def figures(case, folder, warm_s, measured_s, tick_hz):
    """One line of the CSV."""
    window, begin, end = measured_of(folder, warm_s, measured_s)
    ahead_s, load_ahead_s = (window.get(f"{end_of}_ahead_s", 0) for end_of in ("twin", "generator"))
    twin = json.loads((folder / "serve/summary.json").read_text(encoding="utf-8"))
    load = json.loads((folder / "load/summary.json").read_text(encoding="utf-8"))
    row = {"entities": case.entities, "loss_percent": case.loss_percent, "loss_where": case.where, "load": case.load,
           "run": case.number, **cable.columns(case, folder, begin, end), "entities_seen": twin["entities"]}  # fmt: skip
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
    ("runs", "runs", "{}"),
    ("round_trip_ms", "round trip ms", "{}"),
    ("cable_late_p99_us", "cable late p99 us", "{:,}"),
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
    shown = [column for column in SHOWN if column[0] in rows[0]]
    yield "| " + " | ".join(heading for _, heading, _ in shown) + " |"
    yield "|---:|---|---|" + "---:|" * (len(shown) - 3)
    for row in rows:
        cells = ["–" if row[key] is None else form.format(row[key]) for key, _, form in shown]
        yield "| " + " | ".join(cells) + " |"


# The load whose records are too few for a p99 to be compared.
SPARSE = "published"


def of_loss(rows, key, round_trip_ms):
    """The ratios alone, of one round trip."""
    return [ratio for (_, _, trip_ms), ratio in cases_of_loss(rows, key) if trip_ms == round_trip_ms]


def on_link(rows):
    """The cases whose loss is on the link, by entities, load, round trip and loss."""
    columns = ("entities", "load", "round_trip_ms", "loss_percent")
    return {tuple(row[column] for column in columns): row for row in rows if row["loss_where"] == "link"}


def cases_of_loss(rows, key):
    """A figure with 5 % of loss on the link over the same without, for each size, load and round trip."""
    by_case = on_link(rows)
    for (*case, loss), lossy in by_case.items():
        clean = by_case.get((*case, 0))
        if loss == 5 and lossy["load"] != SPARSE and clean and clean[key] and lossy[key]:
            yield tuple(case), lossy[key] / clean[key]


def round_trips(rows):
    """Those of the link that were measured, in milliseconds; first none."""
    return sorted({0, *(row["round_trip_ms"] for row in rows)})


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
    for (entities, load, trip_ms), ratio in cases_of_loss(rows, "t1_p99_us"):
        way = f", {trip_ms} ms of round trip" if trip_ms else ""
        what = f"{entities:,} entities, load `{load}`{way}: T1 p99 with 5 % of loss on the link over that without"
        yield targets.judged(what, LOSS_WANTED, ratio, "{:.2f}")


def spread(values, form="{:.2f}"):
    """Median, least and greatest as text."""
    return (form + " (" + form + " to " + form + ")").format(statistics.median(values), min(values), max(values))


def answer(rows, of_cases):
    """The answer, of the cases that were run. `rows` is a run each."""
    of_link = [word for trip_ms in round_trips(of_cases) for word in answer_of_loss(of_cases, trip_ms)]
    return fill(["**Answer.**", *answer_of_ticks(rows, len(of_cases)), *of_link, *answer_of_round_trip(of_cases)])


def fill(words):
    """A paragraph."""
    return textwrap.fill(" ".join(words), 118, break_on_hyphens=False)


def answer_of_ticks(rows, cases_run):
    """Whether the ticks run, and how late: the worst is that of any run."""
    one, each = ("case", f"(cases: {len(rows)})") if len(rows) == cases_run else ("run", f"(cases: {cases_run}, runs: {len(rows)})")
    rows = [row for row in rows if row["ticks_run_percent"] is not None and row["jitter_p99_us"] is not None]
    if rows:
        least = min(row["ticks_run_percent"] for row in rows)
        late_us = [row["jitter_p99_us"] for row in rows]
        yield f"Of the ticks of each {one} at least {least:.2f} % ran, late ones included {each}."
        yield f"The p99 of how late they began is {statistics.median(late_us):,.0f} us in the median {one},"
        yield f"{max(late_us):,.0f} in the worst."


def answer_of_loss(rows, trip_ms):
    """What loss on the link does to each tier, at one round trip."""
    way = f"With {trip_ms} ms of round trip, " if trip_ms else ""
    tiers = {"T1": "t1_p99_us", "T2": "t2_p99_us", "T3, there and back,": "t3_round_trip_p99_us"}
    ratios = {tier: of_loss(rows, key, trip_ms) for tier, key in tiers.items()}
    if all(ratios.values()):
        yield f"{way}5 % of loss on the link change the p99 by these factors, in the median case, the best and the worst"
        yield f"(cases: {len(ratios['T1'])}):"
        yield "; ".join(f"{tier} {spread(of)}" for tier, of in ratios.items()) + "."
    sparse = [row for (_, load, of_ms, loss), row in on_link(rows).items() if (load, of_ms, loss) == (SPARSE, trip_ms, 5)]
    if sparse:
        two, three = (statistics.median(row[key] for row in sparse) for key in ("t2_p99_us", "t3_round_trip_p99_us"))
        yield f"{way}at the load" if way else "At the load"
        yield f"`{SPARSE}`, where few packets follow that would show a loss, 5 % of it make that of T2 {two:,.0f} us"
        yield f"and that of T3 {three:,.0f}."


def answer_of_round_trip(rows):
    """What a round trip adds without loss, beside what it is: the rest is the forwarder, and what it takes from the cores."""
    by_case = on_link(rows)
    for trip_ms in round_trips(rows)[1:]:
        pairs = [(by_case.get((entities, load, 0, 0)), row) for (entities, load, of_ms, loss), row in by_case.items()
                 if (of_ms, loss) == (trip_ms, 0) and load != SPARSE]  # fmt: skip
        keys = ("t1_p99_us", "t3_round_trip_p50_us")
        pairs = [(near, far) for near, far in pairs if near and all(row[key] for row in (near, far) for key in keys)]
        if pairs:
            one, trip = ([far[key] - near[key] for near, far in pairs] for key in keys)
            yield f"Without loss, {trip_ms} ms of round trip add {spread(one, '{:,.0f}')} us to the p99 of T1 and"
            yield f"{spread(trip, '{:,.0f}')} to the p50 of T3 (cases: {len(pairs)}); the way itself is {500 * trip_ms:,} and"
            yield f"{1000 * trip_ms:,}."


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
    for trip_ms in round_trips(rows):
        ratios, way = of_loss(rows, "t1_p99_us", trip_ms), f", {trip_ms} ms of round trip" if trip_ms else ""
        of = f"median, least and greatest of {len(ratios)} sizes and loads, the prototype's left out"
        if ratios:
            yield {"what": f"T1 p99 with 5 % loss on the link over that without{way}: {of}", "pollux": spread(ratios)}


def fit(by_name, said):
    """The rows that measure more than their cable, and what is said of those that do not, after what was said already."""
    faults = {name: cable.fault(row) for name, row in by_name.items() if cable.fault(row)}
    rows = [row for name, row in by_name.items() if name not in faults]
    if not rows:
        sys.exit(f"bench-sweep: no case is left: {' '.join(cable.too_slow(faults))}")
    return rows, [*said, *cable.too_slow(faults)]


# What tells one case from another.
CASE = ("entities", "loss_percent", "loss_where", "load", "round_trip_ms")


def medians(rows):
    """One row for each case: of every figure the median of its runs, and how many they are."""
    by_case = {}
    for row in rows:
        by_case.setdefault(tuple(row[column] for column in CASE), []).append(row)
    return [{"runs" if key == "run" else key: median(key, runs) for key in runs[0]} for runs in by_case.values()]


def median(key, runs):
    """That of one figure, of the runs that have it; of what names a run, how many they are."""
    if key in CASE:
        return runs[0][key]
    if key == "run":
        return len(runs)
    values = [row[key] for row in runs if row[key] is not None]
    return statistics.median(values) if values else None


def shown_rows(rows, runs_most):
    """The rows as they are written: without a round trip nobody asks for the columns of one, nor with one run which it is."""
    needless = () if any(row["round_trip_ms"] for row in rows) else cable.COLUMNS
    needless = needless if runs_most > 1 else (*needless, "run", "runs")
    return [{key: value for key, value in row.items() if key not in needless} for row in rows]


def of_runs(of_cases):
    """How often each case was run, as a sentence to go on."""
    fewest, most = (of(row["runs"] for row in of_cases) for of in (min, max))
    if most == 1:
        return "One run for each case:"
    number = f"{fewest} runs" if fewest == most else f"{fewest} to {most} runs"
    return f"{number} for each case, whose medians stand in summary and plots;\n`sweep.csv` has each:"


def page(rows, of_cases, left_out, warm_s, measured_s):
    """The README of the folder."""
    trips = [str(trip_ms) for trip_ms in sorted({row["round_trip_ms"] for row in rows})]
    question = f",\nwith {' and '.join(trips)} ms of round trip" if trips != ["0"] else ""
    way = cable.paragraph(rows, left_out)
    return README.format(answer=answer(rows, of_cases), runs=of_runs(of_cases), warm=warm_s, measured=measured_s, title=" x round trip" if question else "",
                         question=question, cable=f"\n{fill(way)}\n" if way else "")  # fmt: skip


def write(out, plan, warm_s, measured_s, tick_hz, said=()):
    """Sums up what is there, and gives what is left out, after what was said of it; a case of the plan that is missing is an
    error."""
    lacking = [case.name for case in plan if not (out / "raw" / case.name / TRIP).exists()]
    if lacking:
        sys.exit(f"bench-sweep: without {TRIP} the round trip of a command is not known from its intended send time; measure "
                 f"again, into another folder: {', '.join(lacking)}")  # fmt: skip
    by_name = {case.name: figures(case, out / "raw" / case.name, warm_s, measured_s, tick_hz) for case in plan}
    rows, left_out = fit(by_name, said)
    of_cases = medians(rows)
    runs_most = max(row["runs"] for row in of_cases)
    shown, shown_cases = shown_rows(rows, runs_most), shown_rows(of_cases, runs_most)
    with open(out / "sweep.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(shown[0]))
        writer.writeheader()
        writer.writerows(shown)
    judged = list(aims(of_cases))
    summary = {"sweep": shown_cases, "rows": list(published(of_cases)), "targets": judged}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    sentence = " ".join([verdict.of_folder(out), *clocks(result.read_host(out))])
    lacks = ["", *left_out] if left_out else []
    text = "\n".join(["# Sweep: summary", "", sentence, "", *table(shown_cases), *lacks, *targets.lines(judged)])
    (out / "summary.md").write_text(text + "\n", encoding="utf-8")
    (out / "README.md").write_text(page(rows, of_cases, left_out, warm_s, measured_s), encoding="utf-8")
    plot.write_all(out, of_cases, sentence)
    manifest(out)
    return left_out


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
