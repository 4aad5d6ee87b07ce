"""Lines over time as an SVG, for the documents: one drawing below another."""

from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 300, 56, 34, 110, 34
_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5", "#9c6b4e")


@dataclass(frozen=True)
class Line:
    """A name, and points (x, y) by x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One drawing: what it shows, and its lines."""

    title: str
    lines: Sequence[Line]


def svg(*panels: Panel, most: int = 600) -> str:
    """The drawings; y begins at 0, and of each line at most `most` points are drawn."""
    high = _HEIGHT * len(panels)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {high}" font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{high}" fill="#fff"/>',
    ]
    for number, panel in enumerate(panels):
        drawn += [f'<g transform="translate(0 {_HEIGHT * number})">', *_drawn(panel.title, panel.lines, most), "</g>"]
    return "\n".join([*drawn, "</svg>", ""])


def _drawn(title: str, lines: Sequence[Line], most: int) -> list[str]:
    points = [point for line in lines for point in line.points] or [(0.0, 0.0)]
    right, top = max(x for x, _ in points) or 1.0, max(y for _, y in points) * 1.1 or 1.0
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> str:
        return f"{_LEFT + x / right * wide:.1f},{_TOP + high - y / top * high:.1f}"

    drawn = [f'<text x="{_LEFT}" y="18" font-size="13">{_escaped(title)}</text>']
    for part in range(5):
        x, y = right * part / 4, top * part / 4
        at_x, at_y = _LEFT + wide * part / 4, _TOP + high - high * part / 4
        drawn.append(f'<path d="M{_LEFT} {at_y:.1f}H{_LEFT + wide}" stroke="#ddd"/>')
        drawn.append(f'<text x="{_LEFT - 6}" y="{at_y + 4:.1f}" text-anchor="end">{y:.0f}</text>')
        drawn.append(f'<text x="{at_x:.1f}" y="{_HEIGHT - 14}" text-anchor="middle">{x:.0f}</text>')
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        step = max(1, len(line.points) // most)
        path = " ".join(place(x, y) for x, y in line.points[::step])
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        drawn.append(
            f'<text x="{_LEFT + wide + 8}" y="{_TOP + 12 + 16 * number}" fill="{colour}">{_escaped(line.name)}</text>'
        )
    return drawn


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
