"""From the raw data of the peers to summary.json, summary.md and README.md: medians over the rounds, nothing left out."""

import json
import statistics

import sides as known
import verdict

README = """# Peers: Pollux beside what a user would pick instead

**Question.** What does it cost to bring a record into the world over QUIC with Pollux, over the ordinary QUIC build, plain TCP,
TLS, NATS, MQTT and Zenoh; how late is it there; and what does loss on the link do to each?

**How.** The receiving side is the same for all but the ordinary build: the world and the tick of Pollux behind the peer's own
transport (`bench/peers`), 1,000 ticks a second. 10,000 sensors. Sides alternate, each round in the other order.
{runs} CPU is that of
the receiving process from the first to the last applied record, and of the broker, if there is one, from the start of the load
until a second after it, over the records applied; memory is what both have resident at the end. Latency runs from the intended
send time to the write into the world and contains the wait for the tick, half a millisecond at the mean. At full rate it is the
length of somebody's queue and is not shown. Paced rates are 100,070 and 20,014 records a second: the periods of devices are no
multiples of the tick's, so that each meets the tick at all its moments. _Sent late_ is from the intended time to the hand-over
to the transport; the sender's CPU is shown for itself and is in no other figure.

**Fair.** Every client coalesces as its library does; `percall` hands over one record a call, `batched` what is due
together, at most 36 (28 where a datagram of Zenoh holds no more). `pollux-eager` is Pollux with `idle.rest_us = 0`: its worker
takes every packet when it comes, as the peers do, instead of together shortly before each tick, which costs a wake-up for
each; on more than two cores no worker rests. TCP crosses the loopback in segments of up to 64 KiB, which a network card
would cut. QUIC's packets have at most the 1,452 bytes that Ethernet carries, those of the peers too; but they cross it by UDP's
segmentation offload, up to 44 of them as one message, where kernel and library use it. Neither pays here for each packet alone.
`pollux-jumbo` is what Pollux costs where jumbo frames of 9,000 bytes pass: its packets have 8,952. The sender of Pollux, which
also loads the ordinary build, begins with 32 packets in flight, and a loss alone does not take it below what the path has
carried, up to 128 KiB; that of `pollux-stock` begins with ten, as RFC 9002 recommends, and gives way to every loss, as Zenoh's
QUIC does. A broker is a hop more and does more: it keeps subscriptions, fans out, decouples. What is encrypted is in the
table: NATS, TCP, two links of Zenoh, `mqtt0` and `mqtt1` are not; `mqtts0` and `mqtts1` are the same MQTT over TLS, from the
sender to the broker and from the broker to the receiver, which is not end to end: the broker sees every record. Versions are
those of the lock files and of the brokers in `versions.txt`.
Cases where a peer is ahead are shown like the others.

**Place and pace.** {place}

**TCP.** {congestion}
QUIC brings its own, and UDP has none.

**Doubts.** Loopback: the receiving kernel path runs in the sender's context, so brokerless sides are spared it, and a
broker pays it once. All processes share the cores. Under loss the drop is on the way to the receiver only. TCP waits at
least 200 ms before it retransmits, far longer than these round trips; the case `rto5` shows it with 5 ms. Runs are short:
over 50 ms of round trip much of one is how fast a congestion controller opens. Undelivered is what had not arrived a second
after the load ended; a reliable side whose records are later than that has them in its queues.
"""

# What the receivers and brokers of a folder had of their host: the place, none, or, flat out, each by turns.
PLACED = """\
Receivers and brokers run with niceness -10 and short slices, as Pollux asks its host for; those that receive into the world of
Pollux lock their memory as it does. That is what latency wants. CPU can be the worse for it: a receiver that goes first is woken
for less at a time."""
STARTED = """\
Sides named `-unplaced` run as their users start them: receiver and broker ask their host for nothing. Pollux asks for niceness
-10, short slices and locked memory, as it always does."""
BY_TURNS = "Flat out, sides come with the place and without it by turns."
PACE = """\
Paced senders sleep until the next device is due, whose five records are due together, and have the place of any process. Each
target says beside which place of the peers it was judged."""
# Of runs which did not note what they had.
UNNOTED = """\
Peers run as their users start them; Pollux asks its host for niceness -10, short slices and locked memory, as it always does.
Paced senders of TCP, TLS, NATS, MQTT and Zenoh look for due records every 100 us, NATS' every millisecond, each record a period
late: their latencies contain that and are judged in no target."""

# By whether the runs noted it.
CONGESTION = {
    True: "Whatever travels in TCP had the kernel's congestion control `{}`: `raw/CASE/N-SIDE/run.json` says so of each run, and\n"
    "`host.json` what the host itself has.",
    False: "Whatever travels in TCP had the congestion control of its host's kernel; which one, these runs did not note.",
}

FIGURES = (
    ("sent_per_s", "sent/s", "{:,.0f}"),
    ("applied_per_s", "applied/s", "{:,.0f}"),
    ("undelivered_percent", "undelivered %", "{:.2f}"),
    ("discarded_percent", "discarded %", "{:.2f}"),
    ("cpu_ns_per_record", "CPU ns/record", "{:,.0f}"),
    ("cpu_ns_per_received", "CPU ns/received", "{:,.0f}"),
    ("p50_us", "p50 us", "{:,.0f}"),
    ("p99_us", "p99 us", "{:,.0f}"),
    ("p999_us", "p99.9 us", "{:,.0f}"),
    ("rss_mb", "memory MB", "{:,.0f}"),
    ("late_p50_us", "sent late p50 us", "{:,.0f}"),
    ("sender_cpu_ns", "sender CPU ns/record", "{:,.0f}"),
)
# What a median does not say: how far its runs are apart. What did not arrive differs between runs where packets are lost.
RANGED = ("cpu_ns_per_record", "p50_us", "p99_us", "p999_us")
RANGED_WITH_LOSS = (*RANGED, "undelivered_percent")
# What becomes of a record that the receiver has.
FATES = ("applied", "duplicate", "stale", "rejected", "shed")
# Those that promise to deliver: in TCP, or in streams.
RELIABLE = ("tcp", "tls", "nats", "mqtt0", "mqtt1", "mqtts0", "mqtts1", "zenoh-tcp", "zenoh-quic")
LATENCIES = ("p50_us", "p99_us", "p999_us")


NOTES = (
    "Medians over the runs; of an even number, the mean of the two in the middle. The least and the greatest run stand beside CPU and",
    "latencies, in cases with loss beside undelivered too. Discarded is what a receiver had and did not apply, as one does whose queue",
    "is full; CPU is of the records applied, and beside it of those received. † A reliable side which did not deliver all in some run:",
    "late records were in its queues a second after the load, or it lost them; its latencies are those of the records that arrived.",
)


def figures(folder, case):
    """The figures of one run, or None if it failed."""
    try:
        serve = json.loads((folder / "serve/summary.json").read_text(encoding="utf-8"))
        load = json.loads((folder / "load/summary.json").read_text(encoding="utf-8"))
        broker = json.loads((folder / "broker.json").read_text(encoding="utf-8")) or {"cpu_s": 0, "rss_bytes": 0}
    except OSError:
        return None
    sent, shed = (total(load.get(count, 0)) for count in ("sent", "shed"))
    # At a given rate, what the sender discards for want of room was wanted at the other end like the rest.
    offered = sent if case.startswith("max") else sent + shed
    applied = serve["applied"] if "applied" in serve else sum(tier["applied"] for tier in serve["tiers"].values())
    if not applied:
        return None
    received = received_of(serve)
    cpu_ns = (serve["active_cpu_s"] + broker["cpu_s"]) * 1e9
    latency = serve["latency_ns"].get("intended_to_applied_t1", {})
    row = {
        # Connecting, and the search of a path of large frames, are no part of the load.
        "sent_per_s": sent / load.get("active_s", load["duration_s"]),
        "applied_per_s": applied / serve["active_s"] if serve["active_s"] else None,
        "undelivered_percent": 100 * (1 - applied / offered),
        "discarded_percent": 100 * (1 - applied / received),
        "cpu_ns_per_record": cpu_ns / applied,
        "cpu_ns_per_received": cpu_ns / received,
        "rss_mb": (serve.get("rss_bytes", 0) + broker["rss_bytes"]) / 1e6,
        "sender_cpu_ns": load.get("cpu_ns_per_record"),
    }
    for name, key in zip(LATENCIES, ("p50", "p99", "p99_9")):
        row[name] = latency[key] / 1e3 if key in latency and not case.startswith("max") else None
    lateness = load.get("latency_ns", {}).get("lateness", {})
    row["late_p50_us"] = lateness["p50"] / 1e3 if lateness and not case.startswith("max") else None
    return row


def received_of(serve):
    """Records that the receiver had, whatever it did with them."""
    if "received" in serve:
        return serve["received"]
    return sum(tier.get(fate, 0) for tier in serve["tiers"].values() for fate in FATES)


def total(count):
    """Records over all tiers, whether they come by tier or not."""
    return sum(count.values()) if isinstance(count, dict) else count


def noted(folder):
    """What a run noted of its conditions; an older one, nothing."""
    path = folder / "run.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def summarize(out, case, ready, placed):
    """Medians and ranges of each side of a case, and whether it had the place of Pollux, which runs may not have noted."""
    summary = {}
    for side in ready:
        # The number of the round, then the name, of which one may be the end of another.
        folders = sorted(path for path in (out / "raw" / case).iterdir() if path.name.partition("-")[2] == side.name)
        runs = [figures(folder, case) for folder in folders]
        good = [run for run in runs if run]
        if not folders:
            continue
        summary[side.name] = {
            "placed": None if side.placed is None else next(filter(None, map(noted, folders)), {}).get("placed", placed),
            "encrypted": side.encrypted,
            "broker": side.broker,
            "runs": len(runs),
            "failed": len(runs) - len(good),
            "median": {key: middle([run[key] for run in good]) for key, *_ in FIGURES},
            "range": {key: ends([run[key] for run in good]) for key, *_ in FIGURES},
        }
    return summary


def middle(values):
    """The median of what is there."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def ends(values):
    """Least and greatest of what is there."""
    values = [value for value in values if value is not None]
    return [min(values), max(values)] if values else None


def is_placed(out):
    """Whether the peers had the place of Pollux in runs which did not note it."""
    commands = (out / "raw").glob("*/*-quinn-bevy-*/command.txt")
    return any("placed.py" in path.read_text(encoding="utf-8") for path in commands)


def congestion(out):
    """What TCP had, as its runs noted it."""
    runs = map(noted, (out / "raw").glob("*/*"))
    had = sorted({name for run in runs for name in run.get("tcp_congestion_control", {}).values()})
    return CONGESTION[bool(had)].format("`, `".join(had))


def place(cases, tells):
    """What receivers and brokers had, as text."""
    if not tells:
        return UNNOTED
    had = places(cases)
    words = [PLACED if placed else STARTED for placed in had]
    return "\n".join([*words, *([BY_TURNS] if len(had) > 1 else []), PACE])


def runs_of(cases):
    """How many runs the sides of each case have, as text."""
    counts = {}
    for case, sides in cases.items():
        had = sorted({side["runs"] - side["failed"] for side in sides.values()})
        if had:
            counts.setdefault(" to ".join(map(str, dict.fromkeys([had[0], had[-1]]))), []).append(case)
    told = (f"n = {count} in {', '.join(f'`{case}`' for case in of)}" for count, of in counts.items())
    return f"Runs of each side: {'; '.join(told)}."


def table(case, sides):
    """A case as lines of Markdown."""
    yield f"## {case}"
    yield ""
    yield "| side | encrypted | runs | " + " | ".join(heading for _, heading, _ in FIGURES) + " |"
    yield "|---|---|---:|" + "---:|" * len(FIGURES)
    for name, side in sides.items():
        cells = [cell(case, name, side, key, form) for key, _, form in FIGURES]
        runs = f"{side['runs'] - side['failed']} of {side['runs']}" if side["failed"] else str(side["runs"])
        yield f"| {name} | {side['encrypted'] or 'no'} | {runs} | " + " | ".join(cells) + " |"
    yield ""


def base(name):
    """A side's name, whatever its place."""
    return name.removesuffix(known.UNPLACED)


def cell(case, name, side, key, form):
    """A median as text, with the least and the greatest where there are several; marked what a reliable side did not deliver."""
    if side["median"][key] is None:
        return "–"
    ranged = RANGED_WITH_LOSS if "loss" in case else RANGED
    middle, (least, most) = form.format(side["median"][key]), map(form.format, side["range"][key])
    text = f"{middle} ({least}–{most})" if key in ranged and side["runs"] > 1 else middle
    broken = key == "undelivered_percent" and base(name) in RELIABLE and float(most) > 0
    return f"**{text}** †" if broken else text


# Target of the comparison: name, case, figure, side, how many times Pollux has to be better.
TARGETS = (
    ("batched, CPU for a record, beside NATS", "max-batched", "cpu_ns_per_record", "nats", 2),
    ("batched, CPU for a record, beside Zenoh over QUIC streams", "max-batched", "cpu_ns_per_record", "zenoh-quic", 3),
    ("batched, CPU for a record, beside Zenoh over QUIC datagrams", "max-batched", "cpu_ns_per_record", "zenoh-quicmix", 20),
    ("batched, CPU for a record, beside Mosquitto (QoS 0)", "max-batched", "cpu_ns_per_record", "mqtt0", 10),
    ("batched, CPU for a record, beside TLS over TCP", "max-batched", "cpu_ns_per_record", "tls", 1),
    ("batched, CPU for a record, beside the ordinary build", "max-batched", "cpu_ns_per_record", "quinn-bevy-batched", 4.5),
    ("one call a record, beside the ordinary build with one record a packet", "max-percall", "cpu_ns_per_record", "quinn-bevy-single", 50),
)


# Which place the peers of a target have.
BESIDE = {True: "with the place of Pollux", False: "as users start them", None: ""}


def in_place(cases, placed):
    """The sides of each case that have the place of Pollux, or have none, by the name without it. Pollux is in both."""
    return {case: {base(name): side for name, side in of.items() if side["placed"] in (None, placed)} for case, of in cases.items()}


def places(cases):
    """Which places the peers have."""
    had = {side["placed"] for sides in cases.values() for side in sides.values()}
    return [placed for placed in (True, False) if placed in had]


def targets(cases, paced):
    """Which of them are met, in each place that the peers have; those of pace where the runs tell it."""
    for placed in places(cases):
        these = in_place(cases, placed)
        rows = [*costs(these), *(paces(these) if paced else [])]
        yield from ({**row, "placed": placed} for row in rows)
    for index in isolation(cases):
        ratio = index["of_loss"].get("5")
        if ratio is not None and index["side"] == "pollux":
            yield {"what": f"T1 p99 with 5 % loss over none, {index['round_trip_ms']} ms", "pollux": index["p99_us"]["5"],
                   "peer": index["p99_us"]["0"], "ratio": ratio, "wanted": 1.1, "met": ratio <= 1.1, "placed": None}  # fmt: skip


def costs(cases):
    """Those of CPU."""
    for what, case, figure, peer, times in TARGETS:
        pair = [cases.get(case, {}).get(side, {}).get("median", {}).get(figure) for side in ("pollux", peer)]
        if None in pair:
            continue
        ratio = pair[1] / pair[0]
        yield {"what": what, "pollux": round(pair[0], 1), "peer": round(pair[1], 1), "ratio": round(ratio, 2),
               "wanted": times, "met": ratio >= times}  # fmt: skip
    beside = "batched, CPU for a record, in jumbo frames, beside TLS over TCP"
    yield from ahead(cases, "max-batched", "cpu_ns_per_record", beside, ("tls",), ours="pollux-jumbo")


def paces(cases):
    """Those of latency."""
    each = "one call a record, 100,000 a second: p50 ahead of every peer"
    yield from ahead(cases, "paced-percall", "p50_us", each)
    yield from ahead(cases, "paced-percall", "p50_us", f"{each}, with `idle.rest_us = 0`", ours="pollux-eager")
    for rtt in ROUND_TRIPS_MS:
        ours = {"pollux": cases.get(f"loss5-rtt{rtt}", {}).get("pollux")}
        for case in (f"loss5-rtt{rtt}", f"loss5-rtt{rtt}-rto5"):
            merged = {case: {**cases.get(case, {}), **ours}}
            yield from ahead(merged, case, "p99_us", f"{case}: p99 ahead of every reliable peer", RELIABLE)


ROUND_TRIPS_MS = (0, 10, 50)


def isolation(cases):
    """The head-of-line isolation index of each side and round trip: T1 p99 with loss over T1 p99 without."""
    for rtt in ROUND_TRIPS_MS:
        for tuned in ("", "-rto5"):
            for side in cases.get(f"loss5-rtt{rtt}{tuned}", {}):
                names = {"0": f"loss0-rtt{rtt}", "1": f"loss1-rtt{rtt}{tuned}", "5": f"loss5-rtt{rtt}{tuned}"}
                p99_us = {
                    loss: cases.get(case, {}).get(side, {}).get("median", {}).get("p99_us") for loss, case in names.items()
                }
                p99_us = {loss: round(value) for loss, value in p99_us.items() if value is not None}
                if p99_us.get("0"):
                    of_loss = {loss: round(value / p99_us["0"], 2) for loss, value in p99_us.items() if loss != "0"}
                    yield {"side": side, "round_trip_ms": rtt, "rto_min_ms": 5 if tuned else None,
                           "p99_us": p99_us, "of_loss": of_loss}  # fmt: skip


def isolation_table(cases):
    """The same as lines of Markdown."""
    yield "## Head-of-line isolation index"
    yield ""
    yield "T1 p99 with loss over T1 p99 without, the same round trip; 1 is a side whose records do not wait for lost ones."
    yield ""
    yield "| side | round trip ms | rto_min ms | p99 us without | 1 % loss | 5 % loss |"
    yield "|---|---:|---:|---:|---:|---:|"
    for row in isolation(cases):
        cells = [f"{row['of_loss'][loss]:,.2f}" if loss in row["of_loss"] else "–" for loss in ("1", "5")]
        yield (f"| {row['side']} | {row['round_trip_ms']} | {row['rto_min_ms'] or ''} | {row['p99_us']['0']:,} | "
               f"{' | '.join(cells)} |")  # fmt: skip
    yield ""


def ahead(cases, case, figure, what, among=None, ours="pollux"):
    """Whether Pollux, as one of its settings has it, is less than every peer in a figure."""
    medians = {
        name: side["median"][figure]
        for name, side in cases.get(case, {}).items()
        if side and side["median"][figure] is not None and (among is None or name in among or name == ours)
    }
    own = medians.pop(ours, None)
    medians = {name: median for name, median in medians.items() if not name.startswith("pollux")}
    if own is None or not medians:
        return
    best = min(medians, key=medians.get)
    yield {"what": f"{what} (best peer: {best})", "pollux": round(own, 1), "peer": round(medians[best], 1),
           "ratio": round(medians[best] / own, 2), "wanted": 1, "met": own <= medians[best]}  # fmt: skip


def write(out, names, ready):
    """Everything beside raw/."""
    placed = is_placed(out)
    cases = {case: summarize(out, case, ready, placed) for case in names}
    tells = any(map(noted, (out / "raw").glob("*/*")))
    judged = list(targets(cases, placed or tells))
    summary = {"placed": True in places(cases), "peers": cases, "isolation": list(isolation(cases)), "targets": judged}
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    lines = ["# Peers: summary", "", verdict.of_folder(out), "", *NOTES, ""]
    for case, sides in cases.items():
        lines += table(case, sides)
    lines += isolation_table(cases)
    lines += ["## Targets", "", "| target | peers | Pollux | peer | ratio | wanted | met |", "|---|---|---:|---:|---:|---:|---|"]
    for row in judged:
        met = {True: "yes", False: "no", None: ""}[row["met"]]
        figures = f"{row['pollux']} | {row['peer']} | {row['ratio']} | {row['wanted'] or ''}"
        lines.append(f"| {row['what']} | {BESIDE[row['placed']]} | {figures} | {met} |")
    (out / "summary.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = {"runs": runs_of(cases), "place": place(cases, placed or tells), "congestion": congestion(out)}
    (out / "README.md").write_text(README.format(**words), encoding="utf-8")
