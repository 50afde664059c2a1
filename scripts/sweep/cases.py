"""The cases of the sweep: how many entities, how many records, which loss and where."""

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
    """One run."""

    entities: int
    loss_percent: int
    where: str
    load: str

    @property
    def name(self):
        """Name of its folder."""
        return f"{self.entities}-{self.load}-{self.where}-{self.loss_percent}"

    @property
    def devices(self):
        """Devices that carry its sensors."""
        return self.entities // SENSORS

    def populate(self):
        """Arguments of `simulate` that name every sensor twice, so that a loss of 5 % leaves one in 400 out, and no faster than
        the twin makes rows."""
        rate = POPULATE_PER_S / self.entities
        return ["--devices", self.devices, "--sessions", SESSIONS, "--rate-hz", f"{rate:.9f}",
                "--count", 2 * self.entities, "--duration-s", POPULATE_S]  # fmt: skip

    def offer(self, seconds):
        """Arguments of `simulate` for the load."""
        rates = {tier: rate / self.entities for tier, rate in LOADS[self.load].items()}
        return ["--devices", self.devices, "--sessions", SESSIONS, "--rate-hz", f"{rates['t1']:.9f}",
                "--t2-rate-hz", f"{rates['t2']:.9f}", "--t3-rate-hz", f"{rates['t3']:.9f}",
                "--duration-s", seconds]  # fmt: skip


def all_cases(entities=ENTITIES, losses=LOSSES, wheres=WHERES, loads=LOADS):
    """The product. Without loss, the two places differ by what the link itself costs."""
    for count, load, where, loss in itertools.product(entities, loads, wheres, losses):
        yield Case(count, loss, where, load)
