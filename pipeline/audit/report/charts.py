"""Charts as inline SVG: plain shapes, coloured by the page's own variables."""

from collections.abc import Mapping, Sequence
from html import escape

from pipeline.audit.facts import Histogram

WIDTH, HEIGHT = 300, 110
_LEFT, _BOTTOM, _TOP = 4, 20, 8
_LABEL = 11  # height of a threshold's label


def number(value: float) -> str:
    """Return a number as a person writes it."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100 or float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.3g}"


def histogram(data: Histogram) -> str:
    """Draw bars, the median, and the thresholds that lie within the picture."""
    top, span = max([*data.counts, 1]), data.high - data.low
    wide = (WIDTH - 2 * _LEFT) / len(data.counts)
    inside = {name: at for name, at in data.limits.items() if data.low <= at <= data.high}
    tall = HEIGHT - _BOTTOM - _TOP - _LABEL * len(inside)
    parts = []
    for place, count in enumerate(data.counts):
        if count:
            height = max(1.5, tall * count / top)
            x, y = _LEFT + place * wide, HEIGHT - _BOTTOM - height
            low = data.low + place * span / len(data.counts)
            title = f"{number(low)} to {number(low + span / len(data.counts))}: {count:,}"
            parts.append(
                f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{max(1, wide - 1):.1f}" '
                f'height="{height:.1f}"><title>{title}</title></rect>'
            )
    parts.append(_axis())
    labels: list[float] = []
    for name, value in inside.items():
        x = _LEFT + (WIDTH - 2 * _LEFT) * (value - data.low) / span
        parts.append(_mark(x, f"{name.replace('_', ' ')} {number(value)}", labels))
    parts.append(_text(_LEFT, HEIGHT - 6, number(data.low), "start"))
    parts.append(_text(WIDTH - _LEFT, HEIGHT - 6, number(data.high), "end"))
    parts.append(_text(WIDTH / 2, HEIGHT - 6, f"median {number(data.median)}", "middle"))
    described = f"{data.label}: median {number(data.median)}"
    return _svg(parts, described)


def _mark(x: float, label: str, taken: list[float]) -> str:
    """Draw a threshold; its label stays inside the picture and off another's."""
    anchor = "start" if x < WIDTH / 2 else "end"
    y = 9.0 + _LABEL * len(taken)
    taken.append(x)
    line = f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{HEIGHT - _BOTTOM}"/>'
    shift = 3 if anchor == "start" else -3
    return line + _text(x + shift, y, label, anchor, "limit-label")


def _axis() -> str:
    y = HEIGHT - _BOTTOM + 0.5
    return f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _LEFT}" y1="{y}" y2="{y}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(parts: Sequence[str], described: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(described)}">'
        f"{''.join(parts)}</svg>"
    )


def shares(counts: Mapping[str, int], most: int = 9) -> str:
    """Draw one bar per value, in HTML, so that long names wrap."""
    total = max(1, sum(counts.values()))
    lines = []
    for name, count in list(counts.items())[:most]:
        share = 100 * count / total
        lines.append(
            f'<div class="share"><span class="name">{escape(name)}</span>'
            f'<span class="track"><span class="fill" style="width:{max(share, 0.7):.1f}%"></span>'
            f'</span><span class="count">{count:,} · {share:.0f} %</span></div>'
        )
    return "".join(lines)


def lorenz(shares_: Sequence[float]) -> str:
    """Draw how much of the samples the rarest characters have, against equal shares."""
    size, left, top = 190, 24, 8
    points = [
        (left + size * place / max(1, len(shares_) - 1), top + size * (1 - share))
        for place, share in enumerate(shares_)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    area = f"{path} {left + size},{top + size} {left},{top + size}"
    parts = [
        f'<rect class="frame" x="{left}" y="{top}" width="{size}" height="{size}"/>',
        f'<line class="even" x1="{left}" y1="{top + size}" x2="{left + size}" y2="{top}"/>',
        f'<polygon class="under" points="{area}"/>',
        f'<polyline class="curve" points="{path}"/>',
        _text(left + size / 2, top + size + 14, "characters, rarest first", "middle"),
        f'<text class="tick" transform="translate(12,{top + size / 2}) rotate(-90)" '
        'text-anchor="middle">share of samples</text>',
    ]
    return _svg(parts, "Lorenz curve of samples over characters", left + size + 8, top + size + 20)
