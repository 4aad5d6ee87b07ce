"""A plot of a run as SVG: requests a second and CPU a request of what was compared, on logarithmic scales."""

import math
from collections.abc import Sequence
from html import escape

from bench.records import SHAPES
from bench.report import Report, middle_cpu, middle_rate

BARS = {"naive": "#b8b8b8", "miss": "#2f6fb0", "hit": "#5aa469", "nginx": "#d8a24a", "floor": "#8c6bb1"}
_LEFT, _WIDTH, _ROW = 150, 460, 22


def plot(report: Report) -> str:
    """The picture, wide enough for a page."""
    rows: list[tuple[str, str, float, float]] = [
        (f"{subject}, {shape}", color, middle_rate(report, subject, shape), middle_cpu(report, subject, shape))
        for shape in SHAPES
        for subject, color in BARS.items()
        if (subject, shape) in report.full
    ]
    height = 40 + len(rows) * _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {2 * height + 20}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        *_bars("requests a second (logarithmic)", [(name, color, rate) for name, color, rate, _ in rows], 0, ""),
        *_bars("CPU a request (logarithmic)", [(name, color, cpu) for name, color, _, cpu in rows], height, " µs"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bars(title: str, rows: Sequence[tuple[str, str, float]], top: float, unit: str) -> list[str]:
    values = [value for _, _, value in rows if value > 0 and math.isfinite(value)]
    low = 10 ** math.floor(math.log10(min(values, default=1)))
    span = max(math.log10(max(values, default=10) / low), 0.1)
    parts = [f'<text x="{_LEFT}" y="{top + 22:g}" font-weight="bold">{escape(title)}</text>']
    for place, (name, color, value) in enumerate(rows):
        y = top + 32 + place * _ROW
        length = max(2.0, math.log10(value / low) / span * _WIDTH) if value > 0 and math.isfinite(value) else 0.0
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 13:g}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{y:g}" width="{length:.1f}" height="{_ROW - 6}" fill="{color}"/>',
            f'<text x="{_LEFT + length + 6:.1f}" y="{y + 13:g}">{value:,.0f}{unit}</text>',
        ]
    return parts
