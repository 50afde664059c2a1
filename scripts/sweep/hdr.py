"""Reads interval logs of HDR histograms (format 1.3, V2 compressed): intervals by wall clock, merged and asked for percentiles.

Only what the logs of Pollux hold: integers, no tags, one base time. Anything else is a ValueError.
"""

import base64
import struct
import zlib

COOKIE_COMPRESSED, COOKIE_V2 = 0x1C849304, 0x1C849303
# The lowest byte of a cookie but its first bit tells the width of a word, which V2 does not use.
COOKIE_MASK = ~0xF0 & 0xFFFFFFFF


class Histogram:
    """Counts by value. Two can be added when they have the same resolution."""

    def __init__(self):
        self.counts = {}
        self.total = 0
        self.max = 0

    def add(self, value, count):
        """Counts a value, which stands for all values that its bucket holds."""
        self.counts[value] = self.counts.get(value, 0) + count
        self.total += count
        self.max = max(self.max, value)

    def merge(self, other):
        """Adds the counts of another."""
        for value, count in other.counts.items():
            self.add(value, count)

    def percentile(self, percent):
        """The least value that so many percent do not exceed; None when nothing was counted."""
        wanted = max(1, -(-self.total * percent // 100))
        seen = 0
        for value in sorted(self.counts):
            seen += self.counts[value]
            if seen >= wanted:
                return value
        return None

    def mean(self):
        """The mean of the buckets; None when nothing was counted."""
        if not self.total:
            return None
        return sum(value * count for value, count in self.counts.items()) / self.total

    def share_up_to(self, limit):
        """Which share does not exceed a limit; None when nothing was counted."""
        if not self.total:
            return None
        return sum(count for value, count in self.counts.items() if value <= limit) / self.total

    def ccdf(self):
        """(value, share above it) of each bucket but the last, ascending."""
        above = self.total
        for value in sorted(self.counts):
            above -= self.counts[value]
            if above:
                yield value, above / self.total


def read_log(path, begin_s=None, end_s=None):
    """All intervals of a file that lie wholly between two moments (Unix time), merged, and the seconds that they span."""
    merged, base_s, span_s = Histogram(), 0.0, 0.0
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#[BaseTime:"):
            base_s = float(line.split()[1])
        if line.startswith(("#", '"')) or not line:
            continue
        start, length, _, packed = line.split(",")
        start_s, length_s = base_s + float(start), float(length)
        if begin_s is not None and start_s < begin_s or end_s is not None and start_s + length_s > end_s:
            continue
        merged.merge(decode(packed))
        span_s += length_s
    return merged, span_s


def decode(packed):
    """One histogram from its text."""
    raw = base64.b64decode(packed)
    cookie, length = struct.unpack_from(">II", raw)
    if cookie & COOKIE_MASK != COOKIE_COMPRESSED & COOKIE_MASK:
        raise ValueError(f"not a compressed histogram: {cookie:#x}")
    body = zlib.decompress(raw[8 : 8 + length])
    cookie, length, offset, digits, lowest, _, _ = struct.unpack_from(">IIIIQQd", body)
    if cookie & COOKIE_MASK != COOKIE_V2 & COOKIE_MASK or offset:
        raise ValueError(f"not a histogram of version 2: {cookie:#x}, offset {offset}")
    histogram, index = Histogram(), 0
    value_at = buckets(digits, lowest)
    for count in zigzags(body[40 : 40 + length]):
        if count < 0:
            index -= count
            continue
        if count:
            histogram.add(value_at(index), count)
        index += 1
    return histogram


def buckets(digits, lowest):
    """A function from the index of a count to the highest value of its bucket."""
    unit = max(0, lowest.bit_length() - 1)
    half = (2 * 10**digits - 1).bit_length() - 1

    def value_at(index):
        bucket, sub = (index >> half) - 1, (index & ((1 << half) - 1)) + (1 << half)
        if bucket < 0:
            bucket, sub = 0, sub - (1 << half)
        return ((sub + 1) << (bucket + unit)) - 1

    return value_at


def zigzags(payload):
    """Signed numbers from ZigZag LEB128; the ninth byte of a number has eight bits."""
    at = 0
    while at < len(payload):
        value, shift = 0, 0
        while True:
            byte = payload[at]
            at += 1
            if shift == 56:
                value |= byte << shift
                break
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        yield (value >> 1) ^ -(value & 1)
