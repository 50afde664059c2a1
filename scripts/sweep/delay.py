#!/usr/bin/env python3
"""A long cable between the two namespaces of `places`: carries packets with a constant delay, and loses some of one direction.

For kernels without netem. It makes a TUN device in each namespace, says `ready`, and runs until a signal. A packet keeps its
place: delay is constant, and nothing overtakes. The loss is of what the devices send.

The account gets a line of JSON each second: how much later than the delay packets were handed over, how many were lost that
should not have been, and the time of a core that it took, so that the cable can be told from what is measured on it. With
--realtime it takes that time before all else, in turns, so that what is late waited for its receiver; where the system refuses
that, a line says so. Exit codes: 1 no TUN, 2 usage.
"""

import argparse
import collections
import ctypes
import errno
import fcntl
import json
import os
import pathlib
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
# What a bottleneck of the usual size holds; more is dropped at its end, as any queue does.
QUEUE_PACKETS = 20_000
PACKET_BYTES = 2048
# Packets are late by so many microseconds or fewer: as fine as anything that is asked of them.
LATE_STEP_US = 10
ACCOUNT_S = 1
# Between turns of a cable of real time, as a network card holds its interrupts back. It is late by as much, and 20,000 packets a
# second then take a third of a core from what is measured, not two.
PAUSE_S = 0.0001


def tun(namespace, name, address):
    """A TUN device in a namespace, up: its descriptor, and the counters of the namespace's devices."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", encoding="ascii") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), namespace)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    for arguments in (("addr", "add", f"{address}/24", "dev", name), ("link", "set", name, "txqueuelen", "10000", "up")):
        subprocess.run(["ip", *arguments], check=True)
    # The file stays that of the namespace in which it was opened.
    return descriptor, open("/proc/thread-self/net/dev", encoding="ascii")


def unread(counters):
    """Packets that the system dropped before the cable read them, of all devices of a namespace."""
    counters.seek(0)
    return sum(int(line.partition(":")[2].split()[11]) for line in counters if ":" in line)


class Way:
    """One direction."""

    def __init__(self, source, target, delay_s, loss, seed, clock=time.monotonic):
        self.source, self.target, self.delay_s, self.loss, self.clock = source, target, delay_s, loss, clock
        self.random, self.queue = random.Random(seed), collections.deque()
        self.late, self.full, self.refused = collections.Counter(), 0, 0

    def take(self):
        """Takes in what is there."""
        for _ in range(256):
            try:
                packet = os.read(self.source, PACKET_BYTES)
            except BlockingIOError:
                return
            if self.random.random() < self.loss:
                continue
            if len(self.queue) < QUEUE_PACKETS:
                self.queue.append((self.clock() + self.delay_s, packet))
            else:
                self.full += 1

    def give(self, now):
        """Hands over what is due, and says when the next is."""
        while self.queue and self.queue[0][0] <= now:
            due, packet = self.queue.popleft()
            try:
                os.write(self.target, packet)
            except OSError as error:
                # A full device or a packet for nobody is a lost packet.
                if error.errno not in (errno.EAGAIN, errno.EINVAL, errno.EIO):
                    raise
                self.refused += 1
            self.late[int((self.clock() - due) * 1e6 / LATE_STEP_US)] += 1
        return self.queue[0][0] if self.queue else now + 1


class Account:
    """What the cable says of itself, a line each second."""

    def __init__(self, path, ways, counters):
        self.file = open(path, "w", encoding="utf-8", buffering=1)
        self.ways, self.counters = ways, counters
        self.before, self.from_s = self.sums(), time.time()

    def sums(self):
        """Its time so far, and what went astray: before it was read, for want of room, and at the far end."""
        return {
            "cpu_s": time.process_time(),
            "unread": sum(unread(counters) for counters in self.counters),
            "full": sum(way.full for way in self.ways),
            "refused": sum(way.refused for way in self.ways),
        }

    def settle(self):
        """Writes a line if a second is over."""
        until_s = time.time()
        if until_s < self.from_s + ACCOUNT_S:
            return
        sums, late = self.sums(), sum((way.late for way in self.ways), collections.Counter())
        line = {"from_s": self.from_s, "until_s": until_s, **{key: sums[key] - self.before[key] for key in sums}}
        line["late_us"] = [[(step + 1) * LATE_STEP_US, late[step]] for step in sorted(late)]
        self.file.write(json.dumps(line) + "\n")
        self.before, self.from_s = sums, until_s
        for way in self.ways:
            way.late.clear()


def go_first():
    """This process before all others that are not of real time."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        print(f"delay: not of real time: {error.strerror}", file=sys.stderr)


def carry(ways, account, pause_s):
    """Carries until a signal."""
    while True:
        now = time.monotonic()
        next_due = min(way.give(now) for way in ways)
        if account:
            account.settle()
        readable, _, _ = select.select([way.source for way in ways], [], [], max(0, next_due - time.monotonic()))
        for way in ways:
            if way.source in readable:
                way.take()
        if pause_s:
            time.sleep(pause_s)


def main(arguments):
    """Makes the cable and carries."""
    parser = argparse.ArgumentParser(prog="delay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("round_trip_ms", type=float, metavar="ROUND_TRIP_MS")
    parser.add_argument("loss_percent", type=float, metavar="LOSS_PERCENT")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--account", metavar="FILE")
    parser.add_argument("--realtime", action="store_true")
    chosen = parser.parse_args(arguments)
    sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
    import places

    try:
        devices, devices_counters = tun(places.DEVICES, "devices0", places.DEVICES_ADDR)
        twin, twin_counters = tun(places.TWIN, "twin0", places.TWIN_ADDR)
    except OSError as error:
        print(f"delay: {error}", file=sys.stderr)
        return 1
    delay_s, seed = chosen.round_trip_ms / 2000, chosen.seed
    ways = [Way(devices, twin, delay_s, chosen.loss_percent / 100, seed), Way(twin, devices, delay_s, 0, seed)]
    account = Account(chosen.account, ways, (devices_counters, twin_counters)) if chosen.account else None
    if chosen.realtime:
        go_first()
    print("ready", flush=True)
    carry(ways, account, PAUSE_S if chosen.realtime else 0)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(0)
