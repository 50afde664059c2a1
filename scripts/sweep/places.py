"""Where the two ends of a run live: this machine, a network namespace of it, or another machine over ssh.

A place turns arguments into a command line, and brings home what a run left there.
"""

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import result

# LINK_SUFFIX in the environment makes a link beside another, which is otherwise the only one and takes the place of what is left.
DEVICES, TWIN = (f"pollux-{end}{os.environ.get('LINK_SUFFIX', '')}" for end in ("devices", "twin"))
DEVICES_ADDR, TWIN_ADDR = "10.77.0.1", "10.77.0.2"
# A namespace with nothing but a loopback.
LOOPBACK = f"pollux-loopback{os.environ.get('LINK_SUFFIX', '')}"
# What Linux has where nobody chose otherwise. A distribution's kernel may, and a fresh namespace has what its kernel has.
CONGESTION_CONTROL = "cubic"
CONGESTION_PATH = "/proc/sys/net/ipv4/tcp_congestion_control"


class Local:
    """This machine, or a network namespace of it."""

    def __init__(self, namespace=None, address="127.0.0.1"):
        self.namespace, self.address = namespace, address

    def command(self, arguments):
        """The command line."""
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return inside + [str(argument) for argument in arguments]

    def bears(self, program, words):
        """Whether a program there holds these words."""
        try:
            return words.encode() in pathlib.Path(program).read_bytes()
        except OSError:
            return False

    def describe(self, pollux):
        """What host.json says of it."""
        return result.host_of(pollux)

    def congestion_control(self):
        """That of TCP sockets which are opened there."""
        return subprocess.run(self.command(["cat", CONGESTION_PATH]), capture_output=True, text=True, check=True).stdout.strip()

    def ahead_s(self):
        """Its clock is the one of this script."""
        return 0

    def folder(self, path):
        """Where a run may write."""
        return path

    def stop(self, process, _):
        """Tells a process that was started here to end; `ip netns exec` has become that process."""
        process.send_signal(signal.SIGTERM)

    def fetch(self, path):
        """Everything is home already."""

    def put(self, path):
        """The same path serves."""
        return path

    def close(self):
        """Nothing was left anywhere."""


class Remote:
    """Another machine, as ssh takes it; SSH_OPTIONS in the environment adds to its command line."""

    def __init__(self, host):
        self.host = host
        self.options = shlex.split(os.environ.get("SSH_OPTIONS", "")) + ["-o", "BatchMode=yes"]
        # The addresses by which ssh reached it: they hold where its name means nothing, as for a socket.
        self.caller, _, self.address, _ = self.say("echo $SSH_CONNECTION").split()
        if "%" in self.address:
            sys.exit(f"bench-sweep: {host} was reached by {self.address}, which holds on one link only: SSH_OPTIONS=-4")
        self.home = self.say("mktemp -d")

    def say(self, words, text=""):
        """Runs a line of shell there, which may read a text, and gives what it printed."""
        done = subprocess.run(["ssh", *self.options, self.host, words], input=text, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    def command(self, arguments):
        """The command line, which first names its process: a signal to ssh would not reach the far end."""
        words = " ".join(shlex.quote(str(argument)) for argument in arguments)
        return ["ssh", "-n", *self.options, self.host, f"echo pid $$ >&2; exec {words}"]

    def bears(self, program, words):
        """Whether a program there holds these words."""
        return self.say(f"grep -caF {shlex.quote(words)} {shlex.quote(str(program))} || true") not in ("", "0")

    def describe(self, pollux):
        """What host.json says of it; it has no tree, so that its binary has to be that of the tree here."""
        script = (result.ROOT / "scripts/describe-host.py").read_text(encoding="utf-8")
        told = json.loads(self.say(f"POLLUX={shlex.quote(str(pollux))} python3 -", script))
        return {**told, **result.tree()}

    def ahead_s(self):
        """How far its clock is ahead of the one of this script, as exactly as ssh answers."""
        before_s = time.time()
        there_s = float(self.say("date +%s.%N"))
        return there_s - (before_s + time.time()) / 2

    def stop(self, _, log):
        """Tells the process that a log names to end."""
        named = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("pid ")]
        if named:
            self.say(f"kill -TERM {int(named[0].removeprefix('pid '))} || true")

    def folder(self, path):
        """Where a run may write: the last two names of the path, below a folder of its own."""
        return f"{self.home}/{path.parent.name}-{path.name}"

    def fetch(self, path):
        """Copies what a run wrote there to where it belongs here."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.copy(f"{self.far}:{self.folder(path)}", path)

    def put(self, path):
        """Copies a file there and gives its path."""
        self.copy(path, f"{self.far}:{self.home}/{path.name}")
        return f"{self.home}/{path.name}"

    @property
    def far(self):
        """The host as scp takes it: a bare IPv6 address would end at its first colon."""
        user, at, name = self.host.rpartition("@")
        return f"{user}{at}[{name}]" if ":" in name else self.host

    def copy(self, source, target):
        """scp names the port with another letter than ssh."""
        options = ["-P" if option == "-p" else option for option in self.options]
        subprocess.run(["scp", "-q", "-r", *options, str(source), str(target)], check=True)

    def close(self):
        """Takes its folder away; a private key was in it."""
        self.say(f"rm -rf {shlex.quote(self.home)}")


@contextlib.contextmanager
def ends():
    """Twin and generator, where TWIN and GENERATOR say; this machine without them."""
    with contextlib.ExitStack() as stack:
        twin, generator = Local(), Local()
        if os.environ.get("TWIN"):
            twin = Remote(os.environ["TWIN"])
            stack.callback(twin.close)
        if os.environ.get("GENERATOR"):
            generator = Remote(os.environ["GENERATOR"])
            stack.callback(generator.close)
            if isinstance(twin, Local):
                twin = Local(address=generator.caller)
        yield twin, generator


def apart():
    """Whether an end is on another machine."""
    return bool(os.environ.get("TWIN") or os.environ.get("GENERATOR"))


def socket_address(address, port):
    """IP and port as one word."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Link:
    """Two network namespaces with a cable between them; the twin's end loses what arrives with a probability.

    With a round trip the cable is `delay.py`, which also loses; without, it is a veth pair, and nftables loses. A cable with an
    account goes before all that runs on it, and says there what it carried.
    """

    def __init__(self, round_trip_ms=0, loss_percent=0, account=None):
        self.round_trip_ms, self.loss_percent, self.account, self.cable = round_trip_ms, loss_percent, account, None

    def __enter__(self):
        for tool in ("ip", "nft"):
            if not shutil.which(tool):
                sys.exit(f"bench-sweep: a lossy link needs {tool} (apt-get install iproute2 nftables), or --where app")
        if os.geteuid() != 0:
            sys.exit("bench-sweep: a lossy link needs root, or --where app")
        self.remove()
        try:
            self.lay()
        except BaseException:
            # What was laid before it failed, or was interrupted, is as much in the way as the whole.
            self.__exit__()
            raise
        return self

    def lay(self):
        """The namespaces, and what is between them."""
        for namespace in (DEVICES, TWIN):
            add_namespace(namespace)
        if self.round_trip_ms:
            self.lay_cable()
            return
        run("ip", "link", "add", "devices0", "netns", DEVICES, "type", "veth", "peer", "name", "twin0", "netns", TWIN)
        for namespace, link, address in ((DEVICES, "devices0", DEVICES_ADDR), (TWIN, "twin0", TWIN_ADDR)):
            run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", link)
            # A run of packets that the kernel has not cut yet would be lost as one.
            run("ip", "-n", namespace, "link", "set", link, "gso_max_segs", "1", "up")
        self.lose(self.loss_percent)

    def lay_cable(self):
        """Starts the forwarder and waits for its word."""
        script = pathlib.Path(__file__).with_name("delay.py")
        command = [sys.executable, script, str(self.round_trip_ms), str(self.loss_percent)]
        if self.account:
            command += ["--realtime", "--account", self.account]
        self.cable = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self.cable.stdout.readline().strip() != "ready":
            sys.exit("the cable of the test could not be laid")

    def __exit__(self, *_):
        if self.cable:
            self.cable.terminate()
            self.cable.wait()
        self.remove()

    @staticmethod
    def remove():
        """Takes down what an earlier run may have left."""
        for namespace in (DEVICES, TWIN):
            remove_namespace(namespace)

    @staticmethod
    def lose(percent):
        """What the twin's end drops of all that arrives from the link, at random; what a broker says to itself is not on it."""
        inside = ["ip", "netns", "exec", TWIN, "nft"]
        subprocess.run([*inside, "flush", "ruleset"], check=True)
        if percent:
            rules = f"""table inet lossy {{
                chain input {{
                    type filter hook input priority 0;
                    iifname twin0 meta l4proto {{ tcp, udp }} numgen random mod 1000 < {round(percent * 10)} counter drop
                }}
            }}"""
            subprocess.run([*inside, "-f", "-"], input=rules, text=True, check=True)


class Loopback:
    """The place of both ends over loopback: this machine, or a namespace of it where TCP of this machine is not as Linux has it.

    Without root it is this machine in any case; what TCP has is in the record of each run.
    """

    def __init__(self):
        other = Local().congestion_control() != CONGESTION_CONTROL
        self.namespace = LOOPBACK if other and os.geteuid() == 0 and shutil.which("ip") else None

    def __enter__(self):
        if self.namespace:
            remove_namespace(self.namespace)
            try:
                add_namespace(self.namespace)
            except BaseException:
                self.__exit__()
                raise
        return Local(self.namespace)

    def __exit__(self, *_):
        if self.namespace:
            remove_namespace(self.namespace)


def add_namespace(name):
    """A network namespace with its loopback, where TCP is as Linux has it."""
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")
    with permitted(CONGESTION_CONTROL):
        run("ip", "netns", "exec", name, "sh", "-c", f"echo {CONGESTION_CONTROL} >{CONGESTION_PATH}")


@contextlib.contextmanager
def permitted(name):
    """Meanwhile a namespace may choose this congestion control: of those built in, a kernel permits its default and reno."""
    path = pathlib.Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
    before = path.read_text(encoding="ascii")
    if name in before.split():
        yield
        return
    path.write_text(f"{before.strip()} {name}", encoding="ascii")
    try:
        yield
    finally:
        path.write_text(before, encoding="ascii")


def remove_namespace(name):
    """Takes down what is there, or an earlier run has left."""
    subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def run(*command):
    """A command that has to succeed."""
    subprocess.run(command, check=True)


def absolute(path):
    """A path that holds from anywhere."""
    return pathlib.Path(path).resolve()
