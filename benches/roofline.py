#!/usr/bin/env python3
"""Draws docs/roofline.svg from the results of `cargo bench --bench kernels`, and prints them as Markdown tables.

    python3 benches/roofline.py [RESULTS.json] [--svg FILE] [--no-svg]

The drawing is a roofline (Williams, Waterman and Patterson, 2009): operations per byte to the right, operations per second
upwards, both logarithmic. Slopes are the bytes that each level of the memory gives, flat lines what the processor computes;
no kernel can be above them. Needs nothing but Python 3.9.
"""

import argparse
import json
import math
import pathlib
import sys
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOST_BYTES = 200_000
# A median this many times the fastest sample says that something else ran: such cells are marked.
NOISE = 1.25
LEVELS = ["L1", "L2", "L3", "DRAM"]

# One panel for each number of threads.
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 560, 460, 62, 46, 96
X_RANGE, Y_RANGE = (0.5, 4096.0), (4.0, 2048.0)
# Okabe and Ito's colours, which the colour-blind can tell apart.
CLASSES = [
    ("1 row", "#d55e00", lambda k: k["kind"] == "linear" and k["rows"] == 1),
    ("2 to 16 rows", "#0072b2", lambda k: k["kind"] == "linear" and 1 < k["rows"] <= 16),
    ("more rows", "#009e73", lambda k: k["kind"] == "linear" and k["rows"] > 16),
    ("attention", "#cc79a7", lambda k: k["kind"] == "attention"),
]


class Limits:
    """What was measured of the machine, in bytes or operations a second."""

    def __init__(self, measured):
        self.measured = measured

    def best(self, limit, threads):
        rates = [m["rate"] for m in self.measured if m["limit"] == limit and m["threads"] == threads]
        return max(rates, default=None)

    def threads(self):
        return sorted({m["threads"] for m in self.measured})

    def widths(self):
        return sorted({m["lanes"] for m in self.measured})

    def at(self, limit, lanes, threads):
        key = (limit, lanes, threads)
        rates = [m["rate"] for m in self.measured if (m["limit"], m["lanes"], m["threads"]) == key]
        return max(rates, default=None)


class Panel:
    """A pair of logarithmic axes, as lines of SVG."""

    def __init__(self, left, title):
        self.x0, self.x1 = left + LEFT, left + WIDTH - 24
        self.y0, self.y1 = HEIGHT - BOTTOM, TOP
        self.lines = [f'<text x="{(self.x0 + self.x1) / 2:.0f}" y="28" class="t">{escape(title)}</text>']

    def x(self, value):
        return self.x0 + (self.x1 - self.x0) * position(value, X_RANGE)

    def y(self, value):
        return self.y0 + (self.y1 - self.y0) * position(value, Y_RANGE)

    def line(self, a, b, style):
        (ax, ay), (bx, by) = a, b
        points = f'x1="{self.x(ax):.1f}" y1="{self.y(ay):.1f}" x2="{self.x(bx):.1f}" y2="{self.y(by):.1f}"'
        self.lines.append(f"<line {points} {style}/>")

    def text(self, at, label, extra=""):
        self.lines.append(f'<text x="{self.x(at[0]):.1f}" y="{self.y(at[1]):.1f}" {extra}>{escape(label)}</text>')

    def grid(self):
        for exponent in range(-1, 13):
            value = 2.0**exponent
            self.line((value, Y_RANGE[0]), (value, Y_RANGE[1]), 'class="g"')
            if exponent % 2 == 0:
                x = self.x(value)
                self.lines.append(f'<text x="{x:.1f}" y="{self.y0 + 15}" class="m">{value:g}</text>')
        for exponent in range(2, 12):
            value = 2.0**exponent
            self.line((X_RANGE[0], value), (X_RANGE[1], value), 'class="g"')
            y = self.y(value) + 4
            self.lines.append(f'<text x="{self.x0 - 6}" y="{y:.1f}" class="e">{value:g}</text>')
        middle = (self.x0 + self.x1) / 2
        self.lines.append(f'<text x="{middle:.0f}" y="{self.y0 + 32}" class="m">operations per byte</text>')
        up = (self.y0 + self.y1) / 2
        place = f'x="{self.x0 - 42}" y="{up:.0f}" transform="rotate(-90 {self.x0 - 42} {up:.0f})"'
        self.lines.append(f'<text {place} class="m">GOPS, GFLOPS</text>')


def position(value, bounds):
    """Where a value stands between the bounds: 0 to 1."""
    low, high = (math.log2(b) for b in bounds)
    return min(1.0, max(0.0, (math.log2(value) - low) / (high - low)))


def roofs(panel, limits, threads):
    """The slopes end at the peak of int8 products; the peak of f32 is drawn across."""
    peak = limits.best("dot4", threads) / 1e9
    for number, level in enumerate(level for level in LEVELS if level != "L1"):
        rate = limits.best(f"read {level}", threads)
        if rate is None:
            continue
        rate /= 1e9
        start = max(X_RANGE[0], Y_RANGE[0] / rate)
        ridge = peak / rate
        panel.line((start, start * rate), (ridge, peak), 'class="r"')
        at = start * 2**0.3
        # L2 and L3 may be close: one is named above its line, the others below.
        down = -4 if number == 0 else 13
        slope = math.degrees(math.atan2(panel.y(1024) - panel.y(512), panel.x(1024) - panel.x(512)))
        turn = f'transform="rotate({slope:.1f} {panel.x(at):.1f} {panel.y(at * rate):.1f})" dy="{down}" class="l"'
        panel.text((at, at * rate), f"{level} {rate:.0f} GB/s", turn)
    first = peak / max(limits.best(f"read {level}", threads) or 0 for level in LEVELS[1:]) * 1e9
    panel.line((first, peak), (X_RANGE[1], peak), 'class="r"')
    panel.text((X_RANGE[1], peak), f"int8 dot4 {peak:.0f} GOPS", 'dy="-5" class="l" text-anchor="end"')
    fma = limits.best("fma", threads) / 1e9
    panel.line((X_RANGE[0], fma), (X_RANGE[1], fma), 'class="r d"')
    panel.text((X_RANGE[1], fma), f"f32 fma {fma:.0f} GFLOPS", 'dy="-5" class="l" text-anchor="end"')


def points(panel, kernels):
    for number, (_, _, belongs) in enumerate(CLASSES):
        for k in filter(belongs, kernels):
            x, y = panel.x(k["operations"] / k["bytes"]), panel.y(k["gops"])
            name = f'{k["group"]} {k["name"]} {k["format"]}, {k["rows"]} rows: {k["gops"]:.0f} GOPS'
            panel.lines.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="c{number}"><title>{escape(name)}</title></circle>'
            )


def legend(left, top):
    lines = []
    for number, (label, _, _) in enumerate(CLASSES):
        x = left + 130 * number
        lines.append(f'<circle cx="{x}" cy="{top - 4}" r="4" class="c{number}"/>')
        lines.append(f'<text x="{x + 9}" y="{top}">{escape(label)}</text>')
    return lines


STYLE = """text{font:12px sans-serif;fill:#222}.t{font-size:14px;text-anchor:middle}.m{text-anchor:middle}
.e{text-anchor:end}.l{fill:#555;font-size:11px}.g{stroke:#e4e4e4}.r{stroke:#333;stroke-width:1.5}
.d{stroke-dasharray:5 4}circle{fill-opacity:.7}"""


def drawing(report):
    limits = Limits(report["machine"]["limits"])
    threads = limits.threads()
    width = WIDTH * len(threads)
    colours = "".join(f".c{n}{{fill:{colour}}}" for n, (_, colour, _) in enumerate(CLASSES))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}">',
        "<title>Roofline: kernels and the limits of the machine</title>",
        f"<style>{STYLE}{colours}</style>",
        f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for number, count in enumerate(threads):
        panel = Panel(number * WIDTH, f"{count} thread{'s' if count > 1 else ''}")
        panel.grid()
        roofs(panel, limits, count)
        points(panel, [k for k in report["kernels"] if k["threads"] == count and k["operations"]])
        lines += panel.lines
    lines += legend(LEFT, HEIGHT - 44)
    machine = report["machine"]
    note = f'{machine["processor"] or "unknown processor"}; {machine["features"]}'
    lines.append(f'<text x="{LEFT}" y="{HEIGHT - 18}" class="l">{escape(note)}</text>')
    return "\n".join(lines + ["</svg>", ""])


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def limit_table(limits):
    names = [f"read {level}" for level in LEVELS] + ["dot4", "fma"]
    columns = [(w, t) for t in limits.threads() for w in limits.widths()]
    head = ["limit"] + [f"{32 * w} bit, {t} thr." for w, t in columns]
    rows = []
    for name in names:
        unit = {"dot4": "GOPS", "fma": "GFLOPS"}.get(name, "GB/s")
        rates = [limits.at(name, w, t) for w, t in columns]
        if any(rates):
            rows.append([f"{name}, {unit}"] + [f"{rate / 1e9:.0f}" if rate else "" for rate in rates])
    return table(head, rows)


def cell(kernel, unit):
    if kernel is None:
        return ""
    share = f" ({100 * kernel['share']:.0f} %)" if kernel["share"] is not None else ""
    noisy = "~" if kernel["median_ns"] > NOISE * kernel["fastest_ns"] else ""
    return f"{noisy}{kernel[unit]:.0f}{share}"


def pivot(kernels, column, label, unit):
    """One line a kernel and shape, one column for each value of `column`, in the order of the report."""
    names, columns, cells = [], sorted({column(k) for k in kernels}), {}
    for k in kernels:
        name = (f'{k["group"]} {k["name"]}', k["format"], k["shape"])
        if name not in names:
            names.append(name)
        cells[name, column(k)] = k
    head = ["kernel", "format", "shape"] + [label(c) for c in columns]
    return table(head, [list(n) + [cell(cells.get((n, c)), unit) for c in columns] for n in names])


def tables(report):
    limits, kernels = Limits(report["machine"]["limits"]), report["kernels"]
    linear = [k for k in kernels if k["kind"] == "linear"]
    parts = [("Limits of the machine", limit_table(limits))]
    count_of = lambda n, what: f"{n} {what}{'s' if n > 1 else ''}"
    thread_label = lambda t: count_of(t, "thread")

    def add(title, chosen, column, label, unit):
        if chosen:
            parts.append((title, pivot(chosen, column, label, unit)))

    threads = lambda k: k["threads"]
    gemv = [k for k in linear if k["rows"] == 1]
    add("One row, GB/s (share of the limit)", gemv, threads, thread_label, "gbps")
    for count in limits.threads():
        gemm = [k for k in linear if k["rows"] > 1 and k["threads"] == count]
        title = f"Several rows, {thread_label(count)}, GOPS (share of the limit)"
        add(title, gemm, lambda k: k["rows"], lambda rows: count_of(rows, "row"), "gops")
    attention = [k for k in kernels if k["kind"] == "attention"]
    by_rows = lambda k: (k["threads"], k["rows"])
    label = lambda c: f"{count_of(c[1], 'row')}, {thread_label(c[0])}"
    add("Attention, GFLOPS (share of the limit)", attention, by_rows, label, "gops")
    rest = [k for k in kernels if k["kind"] not in ("linear", "attention")]
    add("Row by row, GB/s (share of the limit)", rest, by_rows, label, "gbps")
    noise = f"~: the median sample took more than {NOISE} times the fastest; something else ran.\n"
    if any(k["median_ns"] > NOISE * k["fastest_ns"] for k in kernels):
        parts.append(("Noise", noise))
    return "\n".join(f"### {title}\n\n{text}" for title, text in parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=pathlib.Path, default=ROOT / "target/lathe-bench.json")
    parser.add_argument("--svg", type=pathlib.Path, default=ROOT / "docs/roofline.svg", metavar="FILE")
    parser.add_argument("--no-svg", action="store_true", help="print the tables only")
    args = parser.parse_args()
    report = json.loads(args.results.read_text())
    if not args.no_svg:
        svg = drawing(report)
        if len(svg.encode()) > MOST_BYTES:
            sys.exit(f"the drawing has {len(svg.encode())} bytes, more than {MOST_BYTES}: measure fewer cases")
        args.svg.write_text(svg)
    print(tables(report))


if __name__ == "__main__":
    main()
