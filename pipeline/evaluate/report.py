"""The report of an evaluation: one HTML file that needs nothing else, light or dark."""

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from pipeline.evaluate.evaluate import Evaluation, ShownItem
from pipeline.evaluate.page import page
from pipeline.evaluate.systems import in_order
from pipeline.media.images import encode_jpeg

MAX_ITEMS = 24
_REFERENCE_HEIGHT = 150
_MAIN = "face_mean_zero_if_missing"
_STYLE = """
.strip { display: flex; align-items: center; gap: 10px; margin: 6px 0; }
.strip .name { width: 11em; flex: none; font-size: 13px; color: var(--soft); }
.frames { display: flex; gap: 3px; min-width: 0; }
.frames img { max-height: 84px; min-width: 0; flex: 0 1 auto; object-fit: contain;
  border-radius: 3px; }
.item { border-top: 1px solid var(--line); padding: 16px 0; display: flex; gap: 20px; }
.item > img { height: 150px; border-radius: 4px; flex: none; }
.item > div { min-width: 0; flex: 1; }
.item p { margin: 0 0 8px; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .soft { fill: var(--soft); font-size: 11px; }
svg .axis { stroke: var(--line); } svg .interval { stroke: var(--accent); stroke-width: 2; }
svg .dot { fill: var(--accent); } svg .line { fill: none; stroke: var(--accent); }
"""


def report(result: dict[str, Any], evaluations: Sequence[Evaluation]) -> str:
    """Return the page."""
    benchmark = result["benchmark"]
    identities = (
        f"{benchmark['identities']} identit{'y' if benchmark['identities'] == 1 else 'ies'}"
    )
    head = (
        f"<h1>Evaluation: {escape(benchmark['name'])}</h1>"
        f"<p class=soft>{benchmark['items']} items of {identities} · prompts "
        f"{benchmark['prompts_sha256'][:12]} · {escape(result['intervals'])} · "
        f"seed {result['seed']}</p>"
        f"<p class=soft>measured by {escape(', '.join(e['id'] for e in result['engines']))}</p>"
    )
    parts = [
        _section(evaluation, protocol_result, result["metrics"])
        for evaluation, protocol_result in zip(evaluations, result["protocols"], strict=True)
    ]
    items = _items(evaluations[0]) if evaluations else ""
    return page(f"Evaluation: {benchmark['name']}", head + "".join(parts) + items, _STYLE)


def _section(
    evaluation: Evaluation, protocol_result: dict[str, Any], metrics: dict[str, str]
) -> str:
    protocol = evaluation.protocol
    notes = [f"not the protocol itself: {line}" for line in protocol_result["departures"]]
    notes += [f"left out: {name}: {why}" for name, why in protocol_result["left_out"].items()]
    noted = "".join(f"<li>{escape(note)}</li>" for note in notes)
    missing = "".join(
        f"<li><code>{escape(name)}</code> {escape(why)}</li>"
        for name, why in sorted(protocol_result["not_computed"].items())
    )
    return (
        f"<h2>{escape(protocol.name)}</h2><p class=soft>{escape(protocol.source)}</p>"
        f"{f'<ul class=notes>{noted}</ul>' if noted else ''}"
        f"{_intervals(protocol_result['systems'])}{_table(protocol_result['systems'], metrics)}"
        f"{_strata(protocol_result['strata'])}"
        f"<details><summary>Not computed ({len(protocol_result['not_computed'])})</summary>"
        f"<ul>{missing}</ul></details>"
    )


def _table(systems: Sequence[dict[str, Any]], metrics: dict[str, str]) -> str:
    names = "".join(
        f"<th>{escape(system['system'].replace('_', ' '))}"
        f"<small>{system['num_videos']} videos, {system['num_frames']} frames</small></th>"
        for system in systems
    )
    rows = []
    for metric, meaning in metrics.items():
        if any(metric in system["metrics"] for system in systems):
            cells = "".join(
                _cell(system["metrics"].get(metric), system["num_videos"]) for system in systems
            )
            name = f"<code>{escape(metric)}</code><small>{escape(meaning)}</small>"
            rows.append(f"<tr><td>{name}</td>{cells}</tr>")
    return f"<div class=wide><table><tr><th></th>{names}</tr>{''.join(rows)}</table></div>"


def _strata(strata: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Show the main measure apart for each kind of clip: a mean hides what is hard."""
    every = (each for groups in strata.values() for systems in groups.values() for each in systems)
    shown = in_order(system["system"] for system in every)
    rows = []
    for kind, groups in strata.items():
        for group, systems in groups.items():
            by_name = {system["system"]: system for system in systems}
            cells = "".join(
                _cell(by_name[name]["metrics"].get(_MAIN), by_name[name]["num_videos"])
                if name in by_name
                else "<td class=number>–</td>"
                for name in shown
            )
            label = f"{escape(kind.replace('_', ' '))}: {escape(group)}"
            rows.append(f"<tr><td>{label}</td>{cells}</tr>")
    if not rows:
        return ""
    names = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in shown)
    table = f"<table><tr><th><code>{_MAIN}</code></th>{names}</tr>{''.join(rows)}</table>"
    return f"<details><summary>By kind of clip</summary><div class=wide>{table}</div></details>"


def _cell(found: dict[str, Any] | None, num_videos: int) -> str:
    if found is None:
        return "<td class=number>–</td>"
    interval = "" if found["low"] is None else f"{found['low']:.3f} … {found['high']:.3f}"
    if found["num"] != num_videos:
        interval += f"<br>of {found['num']} videos"
    return f"<td class=number>{found['mean']:.3f}<small>{interval}</small></td>"


def _intervals(systems: Sequence[dict[str, Any]]) -> str:
    """Draw the main measure of every system on one axis."""
    drawn = [(system["system"], system["metrics"][_MAIN]) for system in systems
             if _MAIN in system["metrics"]]  # fmt: skip
    if not drawn:
        return ""
    left, width, row = 170, 520, 30
    low = min(0.0, *(found["low"] or found["mean"] for _, found in drawn))

    def x(value: float) -> float:
        return round(left + width * (value - low) / (1 - low), 1)

    height = row * len(drawn) + 34
    parts = [
        f"<line class=axis x1={x(v)} x2={x(v)} y1=4 y2={height - 26} />"
        f"<text class=soft x={x(v)} y={height - 10} text-anchor=middle>{v:g}</text>"
        for v in (0, 0.25, 0.5, 0.75, 1)
    ]
    for index, (name, found) in enumerate(drawn):
        y = 20 + row * index
        parts.append(f"<text x=0 y={y + 4}>{escape(name.replace('_', ' '))}</text>")
        if found["low"] is not None:
            ends = f"x1={x(found['low'])} x2={x(found['high'])}"
            parts.append(f"<line class=interval {ends} y1={y} y2={y} />")
        parts.append(f"<circle class=dot cx={x(found['mean'])} cy={y} r=5 />")
        parts.append(f"<text class=soft x={left + width + 14} y={y + 4}>{found['mean']:.3f}</text>")
    title = f"<p><code>{_MAIN}</code></p>"
    size = f'viewBox="0 0 {left + width + 70} {height}" width={left + width + 70}'
    return f"{title}<div class=wide><svg {size} height={height}>{''.join(parts)}</svg></div>"


def _items(evaluation: Evaluation) -> str:
    shown = evaluation.shown[:MAX_ITEMS]
    cosines = {(row.system, row.item_id): row.cosines for row in evaluation.rows}
    drawn = "".join(_item(item, cosines) for item in shown)
    rest = len(evaluation.shown) - len(shown)
    more = f"<p class=soft>… and {rest} more</p>" if rest else ""
    line = "beside each strip: cosine to the reference, frame by frame (0 to 1; gaps: no face)"
    return f"<h2>Items</h2><p class=soft>{line}</p>{drawn}{more}"


def _item(shown: ShownItem, cosines: dict[tuple[str, str], list[float | None]]) -> str:
    item = shown.item
    strips = []
    for system in in_order(shown.videos):
        frames = "".join(_picture(frame) for frame in shown.videos[system].strip)
        name = escape(system.replace("_", " "))
        curve = _curve(cosines[system, item.item_id])
        strips.append(
            f"<div class=strip><span class=name>{name}</span>{curve}"
            f"<div class=frames>{frames}</div></div>"
        )
    return (
        f"<div class=item>{_picture(_reference(shown.reference))}<div><p>{escape(item.prompt)}</p>"
        f"<p class=soft>item {escape(item.item_id)}</p>{''.join(strips)}</div></div>"
    )


def _reference(picture: np.ndarray) -> np.ndarray:
    import cv2

    width = max(1, round(picture.shape[1] * _REFERENCE_HEIGHT / picture.shape[0]))
    return cv2.resize(picture, (width, _REFERENCE_HEIGHT), interpolation=cv2.INTER_AREA)


def _picture(picture: np.ndarray) -> str:
    content = base64.b64encode(encode_jpeg(np.ascontiguousarray(picture), 82)).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{content}">'


def _curve(cosines: Sequence[float | None]) -> str:
    width, height, parts, pen = 90, 40, [], "M"
    for index, value in enumerate(cosines):
        if value is None:
            pen = "M"
            continue
        x = index * width / max(1, len(cosines) - 1)
        parts.append(f"{pen}{x:.1f},{height * (1 - min(max(value, 0.0), 1.0)):.1f}")
        pen = "L"
    path = f'<path class=line d="{" ".join(parts)}" />'
    axis = f"<line class=axis x1=0 x2={width} y1={height} y2={height} />"
    return f'<svg width={width} height={height} style="flex:none">{axis}{path}</svg>'
