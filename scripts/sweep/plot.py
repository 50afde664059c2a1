"""Plots as SVG, without a library: lines over a logarithmic axis, one file for each question.

Each plot carries the verdict on its host, so that it never travels without it.
"""

import html
import math

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 80, 170, 48, 78
# Told apart by people who see few colours, and in grey (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
# A colour that comes again is dashed, so that no two lines look alike.
DASHES = ("", ' stroke-dasharray="6 3"', ' stroke-dasharray="2 3"')


class Axis:
    """A logarithmic axis over a range of values."""

    def __init__(self, values, begin, end):
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self.begin, self.end = begin, end

    def at(self, value):
        """Where a value lies."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self):
        """The powers of ten."""
        return [10.0**power for power in range(self.low, self.high + 1)]


def lines(title, x_label, y_label, series, note):
    """One plot. `series` is a list of (name, [(x, y)]); points without a positive value are left out."""
    series = [(name, [(x, y) for x, y in points if x and y and x > 0 and y > 0]) for name, points in series]
    series = [(name, points) for name, points in series if points]
    if not series:
        return None
    x_axis = Axis([x for _, points in series for x, _ in points], LEFT, WIDTH - RIGHT)
    y_axis = Axis([y for _, points in series for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{html.escape(title)}</text>',
        *grid(x_axis, y_axis),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 40}" text-anchor="middle">{html.escape(x_label)}</text>',
        f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(y_label)}</text>",
    ]
    for index, (name, points) in enumerate(series):
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if len(points) < 20:
            parts += [f'<circle cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        top = TOP + 16 * index
        begin = WIDTH - RIGHT + 8
        parts.append(f'<path d="M{begin} {top + 2}h20" stroke="{colour}" stroke-width="3"{dash}/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 32}" y="{top + 6}">{html.escape(name)}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 14}" font-size="10" fill="#555">{html.escape(note)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def grid(x_axis, y_axis):
    """Lines and numbers of both axes."""
    for value in x_axis.ticks():
        x = x_axis.at(value)
        yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{number(value)}</text>'
    for value in y_axis.ticks():
        y = y_axis.at(value)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>'


def number(value):
    """A power of ten as people write it."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g} {unit}"
    return f"{value:g}"


def plain(sentence):
    """A sentence of Markdown as text."""
    return sentence.replace("**", "").replace("`", "")


def write_all(out, rows, sentence):
    """The plots of a sweep: latency of each tier, the tick and memory over the number of entities, for each load and round trip."""
    folder = out / "plots"
    folder.mkdir(exist_ok=True)
    wanted = {
        "t1-p99": ("T1: intended to applied, p99", "microseconds", "t1_p99_us"),
        "t2-p99": ("T2: intended to applied, p99", "microseconds", "t2_p99_us"),
        "t3-p50": ("T3: round trip of a command, p50", "microseconds", "t3_round_trip_p50_us"),
        "tick-p99": ("Duration of a tick, p99", "microseconds", "tick_p99_us"),
        "memory": ("Resident memory", "bytes", "rss_bytes"),
    }
    for name, (title, unit, column) in wanted.items():
        for load, trip_ms in sorted({(row["load"], row["round_trip_ms"]) for row in rows}):
            series = {}
            for row in rows:
                if (row["load"], row["round_trip_ms"]) == (load, trip_ms):
                    key = f"{load}, {row['loss_percent']} % {row['loss_where']}"
                    series.setdefault(key, []).append((row["entities"], row[column]))
            way, suffix = (f", round trip {trip_ms} ms", f"-rtt{trip_ms}") if trip_ms else ("", "")
            drawn = lines(f"{title} ({load}{way})", "entities", unit, list(series.items()), plain(sentence))
            if drawn:
                (folder / f"{name}-{load}{suffix}.svg").write_text(drawn, encoding="utf-8")
