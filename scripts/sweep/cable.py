"""What the cable of a case said of itself (`delay.py --account`), and whether the case measured more than its cable.

Only what it said within the measured window counts. A case whose cable says nothing there is left out like one that was slow.
"""

import json

import cases
import hdr

# What a row has of it.
COLUMNS = ("round_trip_ms", "cable_packets_per_s", "cable_core_percent", "cable_late_p99_us", "cable_astray")
# Beside the reports of a case, in its folder.
ACCOUNT = "cable.jsonl"
# Half a tick, which a record waits for the world in the mean: what is later would show in the p99 of T1 as much as what loss may
# do to it, which is a tenth of 6 ms at a round trip of 10 ms.
LATE_P99_US_MAX = 500
# On a host of two cores, what is beyond is missed by twin and devices.
CORE_PERCENT_MAX = 50
# Of the packets; a hundredth of the least loss of the sweep.
ASTRAY_MAX = 0.0001


def columns(case, folder, begin_s, end_s):
    """What a row has of the cable, between two moments of Unix time; nothing is known of a link without a round trip."""
    row = {**dict.fromkeys(COLUMNS), "round_trip_ms": case.round_trip_ms}
    if not case.round_trip_ms:
        return row
    seconds = [json.loads(line) for line in (folder / ACCOUNT).read_text(encoding="utf-8").splitlines()]
    seconds = [second for second in seconds if begin_s <= second["from_s"] and second["until_s"] <= end_s]
    late = hdr.Histogram()
    for value_us, count in (bucket for second in seconds for bucket in second["late_us"]):
        late.add(value_us, count)
    if late.total:
        span_s = sum(second["until_s"] - second["from_s"] for second in seconds)
        row["cable_packets_per_s"], row["cable_late_p99_us"] = round(late.total / span_s, 1), late.percentile(99)
        row["cable_core_percent"] = round(100 * sum(second["cpu_s"] for second in seconds) / span_s, 1)
        astray = sum(second[cause] for second in seconds for cause in ("unread", "full", "refused"))
        row["cable_astray"] = round(astray / (astray + late.total), 6)
    return row


def fault(row):
    """Why a row is one of its cable, or None."""
    if not row["round_trip_ms"]:
        return None
    if row["cable_late_p99_us"] is None:
        return "it says nothing of the window"
    if row["cable_late_p99_us"] > LATE_P99_US_MAX:
        return f"p99 of how late it was {row['cable_late_p99_us']:,} us"
    if row["cable_core_percent"] > CORE_PERCENT_MAX:
        return f"it took {row['cable_core_percent']:.0f} % of a core"
    if row["cable_astray"] > ASTRAY_MAX:
        return f"it lost {100 * row['cable_astray']:.2f} % of its own"
    return None


def beyond(loads, round_trips_ms):
    """What no case is made of, as a sentence; none if there is a case of every load."""
    names = [f"`{load}` ({cases.LOADS[load]['t1']:,})" for load in loads if cases.beyond_cable(load)]
    if names and any(round_trips_ms):
        yield f"Left out with a round trip, as the forwarder carries {cases.CABLE_PER_S:,} records/s: {', '.join(names)}."


def too_slow(faults):
    """Which cases are left out because their cable was what they measured, as a sentence. `faults` is by name of the case."""
    if faults:
        named = ", ".join(f"`{name}` ({why})" for name, why in faults.items())
        yield f"Left out, because the forwarder itself was too slow, too busy or lost packets: {named}."


def paragraph(rows, sentences):
    """What the README says of the way, if there is one of some length."""
    ways = [row for row in rows if row["round_trip_ms"]]
    if not ways and not sentences:
        return []
    words = ["**Round trip.** On the link alone, half of it each way: T1, T2, the age of information and the timeliness of ODTE,",
             "which is nought from 20 ms on, have the one-way delay in them, T3 has both. The cable is then our own forwarder",
             "between two TUN devices (`scripts/sweep/delay.py`), which also loses. Figures with and without loss are compared at",
             "the same round trip only; the way is in both, and brings the factor of T1 nearer to 1."]  # fmt: skip
    if ways:
        packets, core, late_us, astray = (max(row[key] for row in ways) for key in COLUMNS[1:])
        words += [f"Of itself it says, at the worst of {len(ways)} cases: {packets:,.0f} packets/s handed over, {late_us:,} us",
                  f"late at the p99, {core:.0f} % of a core taken, before twin and devices, {100 * astray:.3f} % lost that it",
                  f"should not have. Beyond {LATE_P99_US_MAX} us, {CORE_PERCENT_MAX} % of a core or {100 * ASTRAY_MAX:g} % lost a",
                  "case is left out. What it cannot see, such as how long a packet waits to be read, is in what a round trip",
                  "adds without loss."]  # fmt: skip
    return [*words, *sentences]
