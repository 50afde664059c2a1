#!/usr/bin/env python3
"""Turns the raw data of scripts/bench-ecs.sh into summary.json, summary.md and README.md.

usage: scripts/summarize-ecs.py DIR

Medians over the runs of each library. Libraries that left different checksums behind did different work: exit code 1, and
no summary. Wrong usage: 2.
"""

import json
import pathlib
import statistics
import sys
import textwrap
import tomllib

import verdict

# Columns of the tables, and the package behind each.
LIBRARIES = {
    "ecs": "ecs",
    "bevy_ecs": "bevy_ecs",
    "hecs": "hecs",
    "flecs": "flecs_ecs",
    "sparsey": "sparsey",
    "shipyard": "shipyard",
    "floor": None,
}
PEERS = ("bevy_ecs", "hecs", "flecs", "sparsey", "shipyard")
ARCHETYPE_PEERS = ("bevy_ecs", "hecs", "flecs")
CASES = (
    "simple_insert_batch",
    "simple_insert",
    "simple_iter",
    "fragmented_iter",
    "heavy_compute",
    "schedule",
    "add_remove",
    "random_get",
    "churn",
    "serialise",
    "restore",
    "empty_system",
    "twin_tick_10k_1k",
    "twin_tick_200k_1k",
    "twin_tick_200k_10k",
    "twin_tick_200k_100k",
    "twin_tick_1m_10k",
    "twin_tick_1m_idle",
    "aggregate_1m",
    "bytes_per_entity_1m",
)
BYTES_CASE = "bytes_per_entity_1m"
LOCK = pathlib.Path(__file__).resolve().parent.parent / "bench" / "peers" / "ecs" / "Cargo.lock"


class Unusable(Exception):
    """Raw data that gives no figures."""


def read_lines(folder):
    """All measurements, in the order of their files."""
    lines = []
    for path in sorted(folder.glob("*.jsonl")):
        for text in path.read_text(encoding="utf-8").splitlines():
            lines.append(json.loads(text))
    if not lines:
        raise Unusable(f"{folder} holds no measurement")
    return lines


def check_same_work(lines):
    """Every library and form left the same checksum behind in a case."""
    expected = {line["case"]: line for line in lines if line["library"] == "floor"}
    for line in lines:
        floor = expected.get(line["case"])
        if floor is None:
            raise Unusable(f"the floor did not run {line['case']}")
        if line["checksum"] != floor["checksum"]:
            who = f"{line['library']} {line['form']}".strip()
            raise Unusable(f"{who} did other work than the floor in {line['case']}")


def collect(lines):
    """Values by case, then by (library, form)."""
    values = {}
    for line in lines:
        value = line["bytes"] if line["case"] == BYTES_CASE else line["median_ns"]
        values.setdefault(line["case"], {}).setdefault((line["library"], line["form"]), []).append(value)
    return values


def standing_form(forms, library):
    """The form that stands for a library: the unnamed one, or the only one."""
    own = [form for name, form in forms if name == library]
    return "" if "" in own else next(iter(own), None)


def summarize(lines):
    """The whole of summary.json but the targets."""
    values = collect(lines)
    cases = [case for case in CASES if case in values]
    medians, forms, ranges = {}, {}, {}
    for case in cases:
        by_form = {key: statistics.median(runs) for key, runs in values[case].items()}
        standing = {library: standing_form(by_form, library) for library in LIBRARIES}
        medians[case] = {library: by_form.get((library, form)) for library, form in standing.items()}
        ranges[case] = {
            f"{library} {form}".strip(): [min(runs), max(runs)]
            for (library, form), runs in values[case].items()
        }
        others = {
            f"{library}: {form}": median
            for (library, form), median in by_form.items()
            if form != standing[library]
        }
        if others:
            forms[case] = others
    ratios = {
        case: {
            library: value / row["ecs"] if value is not None and row["ecs"] else None
            for library, value in row.items()
        }
        for case, row in medians.items()
    }
    return {
        "rounds": max(line["round"] for line in lines),
        "versions": versions(),
        "median_ns": medians,
        "further_forms_ns": forms,
        "range_ns": ranges,
        "ratios": ratios,
    }


def versions():
    """The version of each library, from the lock file of the comparison."""
    packages = tomllib.loads(LOCK.read_text(encoding="utf-8"))["package"]
    locked = {package["name"]: package["version"] for package in packages}
    return {library: locked.get(package) for library, package in LIBRARIES.items() if package}


class Targets:
    """The targets, each judged by the medians; a case that was not run gives no verdict."""

    def __init__(self, summary):
        self.medians = summary["median_ns"]
        self.forms = summary["further_forms_ns"]
        self.verdicts = []

    def value(self, case, library):
        """A median, or None."""
        return self.medians.get(case, {}).get(library)

    def best(self, case, libraries):
        """The least median of some libraries, all their forms included."""
        further = self.forms.get(case, {})
        found = [self.value(case, library) for library in libraries]
        found += [median for name, median in further.items() if name.partition(":")[0] in libraries]
        return min((median for median in found if median is not None), default=None)

    def at_most(self, text, case, value, limit):
        """A verdict: the value has to be at most the limit."""
        self.add(text, case, value, limit, lambda: value <= limit)

    def below(self, text, case, value, limit):
        """A verdict: the value has to be less than the limit."""
        self.add(text, case, value, limit, lambda: value < limit)

    def times(self, case, library, least):
        """A verdict: a library has to take at least so many times as long, in whichever of its forms takes the least."""
        ours, theirs = self.value(case, "ecs"), self.best(case, (library,))
        ratio = theirs / ours if ours and theirs is not None else None
        text = f"at least {least} times faster than {library}, in its best form"
        self.add(text, case, ratio, least, lambda: ratio >= least)

    def add(self, text, case, value, limit, reached):
        """Adds a verdict if there is anything to judge."""
        if value is None or limit is None:
            return
        self.verdicts.append(
            {"case": case, "target": text, "value": value, "limit": limit, "reached": reached()}
        )

    def against(self, case, text, libraries, factor=1.0, strictly=False):
        """A verdict on our median against the best of some libraries."""
        best = self.best(case, libraries)
        limit = best * factor if best is not None else None
        judge = self.below if strictly else self.at_most
        judge(text, case, self.value(case, "ecs"), limit)

    def all(self):
        """All of them."""
        main = "twin_tick_200k_10k"
        self.times(main, "bevy_ecs", 12)
        self.times(main, "hecs", 7)
        self.against(main, "at most 1.3 times the floor", ("floor",), 1.3)
        for case in ("twin_tick_1m_10k", "twin_tick_200k_1k", "twin_tick_200k_100k"):
            self.times(case, "bevy_ecs", 5)
            self.times(case, "hecs", 5)
        self.against("twin_tick_10k_1k", "at least level with the best peer", PEERS)
        idle = "twin_tick_1m_idle"
        self.below("under 5 us", idle, self.value(idle, "ecs"), 5_000)
        for case in ("simple_insert_batch", "simple_insert"):
            self.against(case, "at most the best archetype peer", ARCHETYPE_PEERS)
        for case in ("simple_iter", "heavy_compute"):
            self.against(case, "at most 1.05 times the best peer or the floor", (*PEERS, "floor"), 1.05)
        for case in ("fragmented_iter", "add_remove", "churn", "schedule"):
            self.against(case, "ahead of every archetype peer", ARCHETYPE_PEERS, strictly=True)
        self.against("random_get", "at most 1.3 times the best peer", PEERS, 1.3)
        self.below("under 5 ns", "empty_system", self.value("empty_system", "ecs"), 5)
        for case, least in (("serialise", 10), ("restore", 4)):
            self.times(case, "bevy_ecs", least)
            self.times(case, "hecs", least)
        self.at_most("at most 196 bytes", BYTES_CASE, self.value(BYTES_CASE, "ecs"), 196)
        aggregate = "aggregate_1m"
        self.at_most("at most 0.1 ns a row", aggregate, self.value(aggregate, "ecs"), 100_000)
        return self.verdicts


def figure(value):
    """A figure with three digits that count; an absent one as a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def case_table(summary, rows, text):
    """A table of cases and libraries."""
    yield "| case | " + " | ".join(LIBRARIES) + " |"
    yield "|---|" + "---:|" * len(LIBRARIES)
    for case, row in rows.items():
        unit = " (bytes)" if case == BYTES_CASE else ""
        yield f"| {case}{unit} | " + " | ".join(text(row[library]) for library in LIBRARIES) + " |"


def page(summary, host):
    """The lines of summary.md."""
    verdicts = summary["targets"]
    reached = sum(one["reached"] for one in verdicts)
    named = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    yield from ("# ECS: summary", "", host, "")
    yield f"{reached} of {len(verdicts)} targets are reached. {summary['rounds']} rounds. Versions: {named}."
    yield from ("", "## Nanoseconds of CPU time for one run of a case, medians", "")
    yield from case_table(summary, summary["median_ns"], figure)
    yield from ("", "In the ticks `bevy_ecs` is what its users write, systems with `Changed` filters, and `hecs` keeps a dirty list. Peers without a codec of their own serialise through serde and bincode.")
    yield from ("", "## Times as long as `ecs`", "")
    yield from case_table(summary, summary["ratios"], lambda ratio: "–" if ratio is None else f"{ratio:.2f}")
    yield from ("", "## Further forms", "", "| case | library: form | ns | times as long as `ecs` |", "|---|---|---:|---:|")
    for case, forms in summary["further_forms_ns"].items():
        ours = summary["median_ns"][case]["ecs"]
        for name, median in forms.items():
            ratio = f"{median / ours:.2f}" if ours else "–"
            yield f"| {case} | {name} | {figure(median)} | {ratio} |"
    yield from ("", "## Targets", "", "| case | target | measured | limit | |", "|---|---|---:|---:|---|")
    for one in verdicts:
        state = "reached" if one["reached"] else "**missed**"
        cells = (one["case"], one["target"], figure(one["value"]), figure(one["limit"]), state)
        yield "| " + " | ".join(cells) + " |"


SAME_LOOP = (
    "The loop is the same for all who hold columns, and so are its instructions; what they differ by is the moment at which "
    "each ran, of which `raw/*.loadavg` tells."
)

# Why a target may be missed, by case: what profiles of the case show, on any machine.
REASONS = {
    "twin_tick": (
        "What is left of a tick is the work itself: 241 instructions an update by callgrind, of which 100 fold the record, mark "
        "the row and keep the event, 115 look its row up and ask for its lines ahead, and the rest drains the marks; in a world "
        "that lies in the second-level cache, where nothing waits, an update takes two thirds of what it takes at 200,000 "
        "sensors. How far the peers are is how long they wait for memory, and so follows the third-level cache of the machine."
    ),
    "fragmented_iter": (
        "26 tables of 20 rows. The loop over the rows is the same for all who give out slices; what each adds is the way from one "
        "table to the next: here its rows, its column and its slice are found with four checks of bounds, and the version of "
        "the column is raised. bevy_ecs goes the same way without a check."
    ),
    "aggregate_1m": (
        "A million means are 4 MB, which come from behind the second-level cache. All who hold them in a column, the floor "
        "included, read them at the same speed: the one at which the machine feeds one core."
    ),
    "simple_iter": SAME_LOOP,
    "heavy_compute": SAME_LOOP,
    "schedule": SAME_LOOP,
    "random_get": (
        "A name is looked up in the table of names, then its row in the table of slices: 27 instructions by callgrind, beside 22 "
        "of hecs and 21 of sparsey, with two loads that wait for the second-level cache."
    ),
    "serialise": "A copy of 100 kB at the speed of the floor; the codec of the peers is the other side of the ratio.",
}


def reason(case):
    """Why a target of a case may be missed, or nothing."""
    found = [text for name, text in REASONS.items() if case.startswith(name)]
    return found[0] if found else ""


def missed_lines(summary):
    """The missed targets, each with its figures, and then what profiles show of these cases."""
    missed = [one for one in summary["targets"] if not one["reached"]]
    for one in missed:
        value, limit = figure(one["value"]), figure(one["limit"])
        yield f"- `{one['case']}`, {one['target']}: {value}, asked for is {limit}."
    reasons = dict.fromkeys(reason(one["case"]) for one in missed)
    yield from ("\n" + textwrap.fill(text, 120) for text in reasons if text)


def readme(summary, run, host):
    """The page of the folder."""
    verdicts = summary["targets"]
    reached = sum(one["reached"] for one in verdicts)
    missed = "\n".join(missed_lines(summary)) or "Nothing."
    tick = summary["median_ns"].get("twin_tick_200k_10k", {})
    each = f" A tick of 10,000 updates among 200,000 sensors costs {tick['ecs'] / 10_000:.0f} ns an update." if tick else ""
    run["rounds"] = summary["rounds"]
    return README.format(reached=reached, targets=len(verdicts), each=each, missed=missed, host=host, **run)


README = """# ECS: the house's own beside the field

**Question.** What do the same pieces of work cost in `ecs`, bevy_ecs, hecs, flecs_ecs, sparsey and shipyard, each written
as its users would write it, and how far is each from loops over vectors written by hand?

**Answer.** {reached} of {targets} targets are reached; [`summary.md`](summary.md) has all figures.{each}

**What is missed, and why.**

{missed}

**Command.** `command.txt`. {rounds} rounds, each library once a round, each form of a case in its own process, the first
library changing from round to round; {budget_ms} ms of CPU time for the samples of a case.

**How it was measured.** Time is CPU time of the thread, in samples of at least 1 ms; a run's answer is the median of its
samples, the table's the median of the runs. All share glibc's allocator with `mmap_threshold` and `trim_threshold` at
1 GiB, one codegen unit, thin LTO, and instructions of level {instructions}. Every run also leaves a checksum of the world
behind, and the summary is only written when all libraries agree on it. Cases, fairness rules and traps are in
[`bench/peers/ecs`]({workspace}/README.md).

**What could make it wrong.** Others on the machine: `raw/*.loadavg` says how many there were before each run. The size of
the caches: the worlds of a million sensors are larger than most and smaller than some. Large pages: `ecs` asks for them
where its columns are large, and gets them where the system gives them to who asks. One thread everywhere: nothing here
says how a library spreads work over cores.

The host is in `host.json`. {host}
"""


def main(arguments):
    """Reads DIR/raw and DIR/run.json, writes DIR/summary.json, DIR/summary.md and DIR/README.md."""
    if len(arguments) != 1 or not pathlib.Path(arguments[0], "raw").is_dir():
        print("usage: scripts/summarize-ecs.py DIR   (DIR/raw must exist)", file=sys.stderr)
        return 2
    out = pathlib.Path(arguments[0])
    try:
        lines = read_lines(out / "raw")
        check_same_work(lines)
        summary = summarize(lines)
    except (Unusable, OSError, ValueError, KeyError, TypeError) as error:
        print(f"summarize-ecs: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    host = verdict.of_folder(out)
    summary["targets"] = Targets(summary).all()
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (out / "summary.md").write_text("\n".join(page(summary, host)) + "\n", encoding="utf-8")
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    (out / "README.md").write_text(readme(summary, run, host), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
