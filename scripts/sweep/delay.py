#!/usr/bin/env python3
"""A long cable between the two namespaces of `places`: carries packets with a constant delay, and loses some of one direction.

usage: scripts/sweep/delay.py ROUND_TRIP_MS LOSS_PERCENT [SEED]

For kernels without netem. It makes a TUN device in each namespace, says `ready`, and runs until a signal. A packet keeps its
place: delay is constant, and nothing overtakes. LOSS_PERCENT is of what the devices send. Exit codes: 1 no TUN, 2 usage.
"""

import collections
import ctypes
import errno
import fcntl
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


def tun(namespace, name, address):
    """A TUN device in a namespace, up, with its descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", encoding="ascii") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), namespace)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    for arguments in (("addr", "add", f"{address}/24", "dev", name), ("link", "set", name, "txqueuelen", "10000", "up")):
        subprocess.run(["ip", *arguments], check=True)
    return descriptor


class Way:
    """One direction."""

    def __init__(self, source, target, delay_s, loss, seed):
        self.source, self.target, self.delay_s, self.loss = source, target, delay_s, loss
        self.random, self.queue = random.Random(seed), collections.deque()

    def take(self):
        """Takes in what is there."""
        due = time.monotonic() + self.delay_s
        for _ in range(256):
            try:
                packet = os.read(self.source, PACKET_BYTES)
            except BlockingIOError:
                return
            if self.random.random() >= self.loss and len(self.queue) < QUEUE_PACKETS:
                self.queue.append((due, packet))

    def give(self, now):
        """Hands over what is due, and says when the next is."""
        while self.queue and self.queue[0][0] <= now:
            try:
                os.write(self.target, self.queue.popleft()[1])
            except OSError as error:
                # A full device or a packet for nobody is a lost packet.
                if error.errno not in (errno.EAGAIN, errno.EINVAL, errno.EIO):
                    raise
        return self.queue[0][0] if self.queue else now + 1


def main(arguments):
    """Makes the cable and carries."""
    if len(arguments) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    round_trip_ms, loss_percent = float(arguments[0]), float(arguments[1])
    seed = int(arguments[2]) if len(arguments) == 3 else 1
    sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
    import places

    try:
        devices = tun(places.DEVICES, "devices0", places.DEVICES_ADDR)
        twin = tun(places.TWIN, "twin0", places.TWIN_ADDR)
    except OSError as error:
        print(f"delay: {error}", file=sys.stderr)
        return 1
    delay_s = round_trip_ms / 2000
    ways = [Way(devices, twin, delay_s, loss_percent / 100, seed), Way(twin, devices, delay_s, 0, seed)]
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        next_due = min(way.give(now) for way in ways)
        readable, _, _ = select.select([devices, twin], [], [], max(0, next_due - time.monotonic()))
        for way in ways:
            if way.source in readable:
                way.take()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(0)
