"""The two ends of each side of the comparison: which programs, with which settings, and what of it is encrypted."""

import copy
import dataclasses
import os
import pathlib
import shutil
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Where `scripts/bench-peers.sh --build` puts the broker that no distribution has.
VENV = ROOT / "target/bench-peers/venv"
# Before what does not take by itself the place on the host that `pollux serve` takes.
PLACED = [ROOT / "scripts/placed.py"]
# What is behind the name of a side that asks its host for no place.
UNPLACED = "-unplaced"
SENSORS = 10_000
DEVICES = SENSORS // 5
# About 100,000 and 20,000 records a second, of devices whose periods are no multiples of the tick's. With one that is, a device
# comes at the same moment of every tick, and a median is one draw of a thousand moments: 16 us more or less.
PACED, LOSSY = 100_070, 20_014


def built(name):
    """A release binary. The product and all peers are built into one folder."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / name


@dataclasses.dataclass(frozen=True)
class Case:
    """What is offered."""

    name: str
    # Records a second; None is as many as the side takes.
    rate: int | None
    # Whether the caller hands over batches or single records.
    batched: bool
    loss_percent: float = 0
    round_trip_ms: float = 0
    # Linux' least retransmission timeout of TCP on the link, in milliseconds; None leaves 200.
    rto_min_ms: int | None = None

    @property
    def paced(self):
        """Whether it has a rate, and so latencies."""
        return self.rate is not None

    @property
    def on_link(self):
        """Whether the ends are in namespaces of their own."""
        return "loss" in self.name


def cases():
    """All cases, by name."""
    plain = [
        Case("max-batched", None, True),
        Case("max-percall", None, False),
        Case("paced-batched", PACED, True),
        Case("paced-percall", PACED, False),
    ]
    lossy = [
        Case(f"loss{loss}-rtt{rtt}", LOSSY, False, loss, rtt) for rtt in (0, 10, 50) for loss in (0, 1, 5)
    ]
    tuned = [Case(f"loss5-rtt{rtt}-rto5", LOSSY, False, 5, rtt, 5) for rtt in (0, 10, 50)]
    return {case.name: case for case in plain + lossy + tuned}


class Side:
    """A way from the caller's record to the world."""

    name = encrypted = version = None
    broker = None
    # Whether receiver and broker have the place on the host that Pollux asks for; None asks by itself.
    placed = True
    # Whether its records travel in TCP, which `rto_min` speaks of.
    over_tcp = False

    def serve(self, address, report, certs, seconds):
        """The receiver's command line."""
        raise NotImplementedError

    def load(self, address, report, certs, case, seconds):
        """The sender's command line."""
        raise NotImplementedError

    def takes(self, case):
        """Whether the side has this form."""
        return case.rto_min_ms is None or self.over_tcp

    def missing(self):
        """What has to be installed or built first, or None."""
        return None


class Pollux(Side):
    """The product."""

    name, encrypted, placed = "pollux", "QUIC", None

    def program(self):
        """The binary, which is also the generator of the ordinary build."""
        return os.environ.get("POLLUX") or built("pollux")

    def serve(self, address, report, certs, seconds):
        settings = (f"net.addr={address}", "http.enabled=false", f"tls.cert={certs}/server.pem",
                    f"tls.key={certs}/server.key",
                    # No peer asks who the sender is.
                    "tls.client_auth=off")  # fmt: skip
        words = [word for setting in settings for word in ("--set", setting)]
        return [self.program(), "serve", *words, "--report", report, "--duration-s", seconds, "-o", "json"]

    def form(self, case):
        """Records in a DATAGRAM frame."""
        if case.rate is None and case.batched:
            return ["--batch", 36]
        return ["--batch", "auto"]

    def load(self, address, report, certs, case, seconds):
        rate = "max" if case.rate is None else f"{case.rate / SENSORS:g}"
        return [self.program(), "simulate", "--addr", address, "--ca", f"{certs}/ca.pem", "--server-name", "localhost",
                "--devices", DEVICES, "--profile", "industrial", "--sessions", 1, "--rate-hz", rate, *self.form(case),
                "--duration-s", seconds, "--report", report, "-o", "json"]  # fmt: skip


class PolluxEager(Pollux):
    """The product with a worker that never rests: every packet at once, for more CPU."""

    name = "pollux-eager"

    def serve(self, address, report, certs, seconds):
        return [*super().serve(address, report, certs, seconds), "--set", "idle.rest_us=0"]

    def takes(self, case):
        # A worker that has no time to rest is the same worker.
        return super().takes(case) and case.name.startswith("paced")


class PolluxJumbo(Pollux):
    """The product on a network of jumbo frames of 9,000 bytes: packets of 8,952, one for 228 records."""

    name = "pollux-jumbo"

    def serve(self, address, report, certs, seconds):
        return [*super().serve(address, report, certs, seconds), "--set", "net.mtu_bytes=8952"]

    def load(self, address, report, certs, case, seconds):
        return [*super().load(address, report, certs, case, seconds), "--mtu", 8952]

    def takes(self, case):
        return super().takes(case) and case.name.startswith("max")


class PolluxStock(Pollux):
    """The product behind a sender with the congestion control of most other QUIC clients."""

    name = "pollux-stock"

    def load(self, address, report, certs, case, seconds):
        return [*super().load(address, report, certs, case, seconds), "--stock-congestion"]

    def takes(self, case):
        return super().takes(case) and case.name.startswith("loss")


class QuinnBevy(Pollux):
    """The ordinary build of the same job, in one of its wire modes."""

    placed = True

    def __init__(self, mode):
        self.mode, self.name = mode, f"quinn-bevy-{mode}"

    def serve(self, address, report, certs, seconds):
        channel = "datagrams" if self.mode == "batched" else "records"
        return [*place(self), built("quinn-bevy"), "--addr", address, "--cert", f"{certs}/server.pem",
                "--key", f"{certs}/server.key", "--tick-hz", 1000, "--channel", channel, "--report", report,
                "--duration-s", seconds, "-o", "json"]  # fmt: skip

    def takes(self, case):
        # One record a packet and coalesced frames are forms of single calls; a batch is a batch.
        return super().takes(case) and case.batched == (self.mode == "batched")

    def form(self, case):
        if self.mode == "batched":
            return super().form(case)
        frames = "1" if self.mode == "single" else "auto"
        return ["--batch", 1, "--frames-per-packet", frames]

    def missing(self):
        program = built("quinn-bevy")
        return None if program.exists() else "bench/peers/quinn-bevy"


class Transport(Side):
    """A transport of bench/peers/transports."""

    over_tcp = True
    # Records of a full message.
    batch = 36

    def __init__(self, name, encrypted=None, broker=None):
        self.name, self.encrypted, self.broker = name, encrypted, broker
        self.transport = name

    def program(self):
        """The binary."""
        return built("transports")

    def way(self, address, certs, serving):
        """How it names the other end."""
        # A receiver behind a broker is a client as well.
        listens = serving and not self.broker
        files = ["--cert", f"{certs}/server.pem", "--key", f"{certs}/server.key"] if listens else ["--ca", f"{certs}/ca.pem"]
        return ["--transport", self.transport, "--addr", address, *files]

    def serve(self, address, report, certs, seconds):
        unplaced = [] if self.placed else ["--unplaced"]
        return [self.program(), "serve", *self.way(address, certs, True), *unplaced, "--report", report, "--duration-s", seconds]

    def load(self, address, report, certs, case, seconds):
        rate = [] if case.rate is None else ["--rate", case.rate]
        return [self.program(), "load", *self.way(address, certs, False), "--sensors", SENSORS, *rate,
                "--batch", self.batch if case.batched else 1, "--duration-s", seconds, "--report", report]  # fmt: skip

    def missing(self):
        if not self.program().exists():
            return "bench/peers/transports"
        if self.broker and not broker_program(self.broker):
            return {"mosquitto": "apt-get install mosquitto", "nats": "scripts/bench-peers.sh --build"}[self.broker]
        return None


class Zenoh(Transport):
    """A link of Zenoh."""

    def __init__(self, link, encrypted=None):
        super().__init__(f"zenoh-{link}", encrypted)
        self.link, self.over_tcp = link, link == "tcp"
        if link == "quicmix":
            # Its DATAGRAM frames hold 1,150 bytes; 36 records would travel in two.
            self.batch = 28

    def program(self):
        return built("zenoh-peer")

    def way(self, address, certs, serving):
        # Its QUIC asks for a name; in a namespace /etc/netns/NAME/hosts says whose it is.
        host, _, port = address.rpartition(":")
        name = "localhost" if self.encrypted else host
        return ["--link", self.link, "--addr", f"{name}:{port}", "--certs", certs]

    def missing(self):
        return None if self.program().exists() else "bench/peers/zenoh"


def broker_program(name):
    """The broker's binary, or None."""
    words = {"mosquitto": ("MOSQUITTO", "mosquitto"), "nats": ("NATS_SERVER", "nats-server")}[name]
    return os.environ.get(words[0]) or shutil.which(words[1], path=f"{os.environ['PATH']}:/usr/sbin:{VENV}/bin")


def versions():
    """A line for each broker and each library that a peer is made of."""
    for name, question in (("mosquitto", "-h"), ("nats", "-v")):
        program = broker_program(name)
        if program:
            said = subprocess.run([program, question], capture_output=True, text=True, check=False)
            yield (said.stdout or said.stderr).splitlines()[0]
    yield from packages(broker_program("mosquitto"))
    wanted = {"quinn-bevy": ("quinn", "bevy_ecs", "tokio"), "transports": ("rumqttc", "async-nats", "rustls"), "zenoh": ("zenoh",)}
    for peer, names in wanted.items():
        lock = tomllib.loads((ROOT / "bench/peers" / peer / "Cargo.lock").read_text(encoding="utf-8"))
        for package in lock["package"]:
            if package["name"] in names:
                yield f"{package['name']} {package['version']} ({peer})"


def packages(program):
    """The distribution's packages of a program and of the OpenSSL that it links, where dpkg knows them."""
    if not program:
        return
    linked = output_of("ldd", program).split()
    paths = [program, *(word for word in linked if word.startswith("/") and "libssl" in word)]
    for path in paths:
        # As linked and as installed: /lib may be a link to /usr/lib.
        owners = [output_of("dpkg-query", "-S", name) for name in dict.fromkeys([path, os.path.realpath(path)])]
        owner = next(filter(None, owners), "").partition(": ")[0]
        if owner:
            yield output_of("dpkg-query", "-W", "-f", "${Package} ${Version} (dpkg)", owner)


def output_of(*command):
    """What a command prints, or nothing where it is missing."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def broker_command(side, address, certs, folder):
    """The command line of a side's broker; its settings are in the folder."""
    host, _, port = address.rpartition(":")
    if side.broker == "nats":
        return [*place(side), broker_program(side.broker), "-a", host, "-p", port]
    settings = [f"listener {port} {host}", "allow_anonymous true", "persistence false", "set_tcp_nodelay true",
                "max_queued_messages 100000", "max_inflight_messages 1000"]  # fmt: skip
    if side.encrypted:
        # As seen from here, so that a result does not say where its checkout was.
        certs = os.path.relpath(certs)
        settings += [f"certfile {certs}/server.pem", f"keyfile {certs}/server.key", "tls_version tlsv1.3",
                     # Mosquitto's own choice is AES-256; the other sides have AES-128.
                     "ciphers_tls1.3 TLS_AES_128_GCM_SHA256",
                     # It gives up root before it reads the key, which is for its owner only.
                     "user root"]  # fmt: skip
    path = folder / "mosquitto.conf"
    path.write_text("\n".join(settings) + "\n", encoding="utf-8")
    return [*place(side), broker_program(side.broker), "-c", path]


def place(side):
    """What goes before a program that does not take its place by itself."""
    return PLACED if side.placed else []


def unplaced(side):
    """The same side as its users start it, or None where it asks for its place by itself."""
    if side.placed is None:
        return None
    other = copy.copy(side)
    other.name, other.placed = side.name + UNPLACED, False
    return other


SIDES = (
    Pollux(),
    PolluxEager(),
    PolluxJumbo(),
    PolluxStock(),
    QuinnBevy("batched"),
    QuinnBevy("coalesced"),
    QuinnBevy("single"),
    Transport("tcp"),
    Transport("tls", "TLS"),
    Transport("nats", broker="nats"),
    Transport("mqtt0", broker="mosquitto"),
    Transport("mqtt1", broker="mosquitto"),
    Transport("mqtts0", "TLS", broker="mosquitto"),
    Transport("mqtts1", "TLS", broker="mosquitto"),
    Zenoh("tcp"),
    Zenoh("udp"),
    Zenoh("quic", "QUIC"),
    Zenoh("quicmix", "QUIC"),
)
# The same as their users start them.
STARTED = tuple(other for other in map(unplaced, SIDES) if other)


def beside(side, case, place):
    """A side in the places that are asked for: `on`, `off`, or `both`, which are two sides where a case is flat out."""
    if place == "on" or side.placed is None or (place == "both" and case.paced):
        return [side]
    return [unplaced(side)] if place == "off" else [side, unplaced(side)]
