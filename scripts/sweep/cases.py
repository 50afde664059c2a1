"""The cases of the sweep: how many entities, how many records, which loss and where, and how long the way."""

import dataclasses
import itertools

ENTITIES = (10_000, 50_000, 100_000, 200_000, 1_000_000)
LOSSES = (0, 1, 5)
# Records a second over all sensors and commands a second. `published` is the rate of the prototype's own sweep: 100 records a
# second over the whole plant, however large it is.
LOADS = {
    "published": {"t1": 100, "t2": 20, "t3": 20},
    "100k": {"t1": 100_000, "t2": 1_000, "t3": 100},
    "1m": {"t1": 1_000_000, "t2": 1_000, "t3": 100},
    "20k": {"t1": 20_000, "t2": 200, "t3": 20},
}
# Those of a sweep that names none; 20k is that of the question what a lossy link does to T1.
USUAL_LOADS = ("published", "100k", "1m")
WHERES = ("app", "link")
# Of a sweep that names none: the link is a veth pair, which delays nothing.
ROUND_TRIPS_MS = (0,)
# Records a second that `delay.py` carries without being what is measured. They are 20,000 packets a second, for which it takes a
# third of a core of an EPYC, and T1 takes the way and 0.2 ms more. The 160,000 of `1m`
# take two thirds of one: none is lost, but devices, twin and cable share two cores then, and the p99 of T1 is 8 ms more.
CABLE_PER_S = 100_000
# Records a second while the devices name their sensors.
POPULATE_PER_S = 400_000
# The longest that they may take for it.
POPULATE_S = 30
# Sensors of a device of the profile `industrial`.
SENSORS = 5
# Devices share so many connections: gateways.
SESSIONS = 8


@dataclasses.dataclass(frozen=True)
class Case:
    """One run of a case."""

    entities: int
    loss_percent: int
    where: str
    load: str
    # Of the link; nothing else has one.
    round_trip_ms: int = 0
    # Which of its runs.
    number: int = 1

    @property
    def name(self):
        """Name of the folder of this run."""
        way = f"-rtt{self.round_trip_ms}" if self.round_trip_ms else ""
        again = f"-run{self.number}" if self.number > 1 else ""
        return f"{self.entities}-{self.load}-{self.where}-{self.loss_percent}{way}{again}"

    @property
    def devices(self):
        """Devices that carry its sensors."""
        return self.entities // SENSORS

    def populate(self):
        """Arguments of `simulate` that name every sensor twice, so that a loss of 5 % leaves one in 400 out, and no faster than
        the twin makes rows, or the cable carries records."""
        rate = (CABLE_PER_S if self.round_trip_ms else POPULATE_PER_S) / self.entities
        return ["--devices", self.devices, "--sessions", SESSIONS, "--rate-hz", f"{rate:.9f}",
                "--count", 2 * self.entities, "--duration-s", POPULATE_S]  # fmt: skip

    def offer(self, seconds):
        """Arguments of `simulate` for the load."""
        rates = {tier: rate / self.entities for tier, rate in LOADS[self.load].items()}
        return ["--devices", self.devices, "--sessions", SESSIONS, "--rate-hz", f"{rates['t1']:.9f}",
                "--t2-rate-hz", f"{rates['t2']:.9f}", "--t3-rate-hz", f"{rates['t3']:.9f}",
                "--duration-s", seconds]  # fmt: skip


def all_cases(entities=ENTITIES, losses=LOSSES, wheres=WHERES, loads=LOADS, round_trips_ms=ROUND_TRIPS_MS, runs=1):
    """The product, without what has no round trip or none that can be made. Without loss, the two places differ by what the link
    itself costs. Further runs come behind the first of every case, so that a loud moment of the host meets a case once."""
    product = itertools.product(range(1, runs + 1), round_trips_ms, entities, loads, wheres, losses)
    for number, round_trip_ms, count, load, where, loss in product:
        if not round_trip_ms or where == "link" and not beyond_cable(load):
            yield Case(count, loss, where, load, round_trip_ms, number)


def beyond_cable(load):
    """Whether a load is more than the cable carries: its figures would be those of the cable."""
    return LOADS[load]["t1"] > CABLE_PER_S
