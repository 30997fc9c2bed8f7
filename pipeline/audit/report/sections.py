"""The sections of the report, each a function from the audit to HTML, '' when there is nothing."""

from collections.abc import Iterable
from html import escape

from pipeline.audit.compare import VersionChange
from pipeline.audit.findings import Severity
from pipeline.audit.report import charts
from pipeline.audit.report.parts import amount, badge, pair_html, strip_html
from pipeline.audit.report.pictures import (
    PER_CHECK,
    Pictures,
    good_samples,
    other_character,
    sample_of,
)
from pipeline.audit.run import Audit
from pipeline.audit.variety import ONE_POSE, Variety
from schemas.manifest import FunnelRow

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
_ROWS = 12  # lines of a list
_KINDS = {
    "cross_video": "from another video: the best kind",
    "same_video_other_shot": "from another shot of the same video",
    "same_shot_other_clip": "from another clip of the same shot",
    "in_clip_augmented": "from inside the clip, changed so that it cannot be copied",
}


def funnel(audit: Audit, pictures: Pictures) -> str:
    """Draw what came into every stage and what left it, with reasons and pictures."""
    manifest = audit.dataset.manifest
    if manifest is None or not manifest.funnel:
        return ""
    lead = (
        "<p>Every row that enters a stage is kept, rejected with a reason, or failed; nothing may "
        "vanish between. Bars show what was kept (blue) and what was not (red).</p>"
    )
    stages = "".join(_stage(row) for row in manifest.funnel)
    reasons = "".join(_reasons(row, pictures) for row in manifest.funnel if row.reasons)
    why = ""
    if pictures.why_no_rejects and reasons:
        why = f'<p class="soft">No pictures of what was dropped: {pictures.why_no_rejects}.</p>'
    return f"{lead}{stages}<h3>Why rows were dropped</h3>{why}{reasons}"


def _stage(row: FunnelRow) -> str:
    whole = max(1, row.entered)
    kept, lost = 100 * row.kept / whole, 100 * (row.rejected + row.failed) / whole
    return (
        f'<div class="stage"><span>{escape(row.stage)} <span class="of">{escape(row.level)}s</span>'
        f'</span><span class="track"><span class="kept" style="width:{kept:.1f}%"></span>'
        f'<span class="lost" style="width:{lost:.1f}%"></span></span>'
        f'<span class="figures">{row.kept:,} of {row.entered:,}</span></div>'
    )


def _reasons(row: FunnelRow, pictures: Pictures) -> str:
    lines = []
    for reason, count in sorted(row.reasons.items(), key=lambda pair: -pair[1]):
        shown = pictures.rejects.get((row.stage, reason), [])
        drawn = "".join(
            strip_html(strip, id, f'<span class="id">{escape(id)}</span>') for id, strip in shown
        )
        lines.append(
            f"<details{' open' if drawn else ''}><summary><span class='title'>"
            f"{escape(reason.replace('_', ' '))}</span>"
            f"<span class='count'>{amount(count, row.level)} at stage {escape(row.stage)}</span>"
            "</summary>"
            f'<div class="body"><div class="shots">{drawn or "<p class=soft>no picture</p>"}</div>'
            "</div></details>"
        )
    return "".join(lines)


def at_random(audit: Audit, pictures: Pictures) -> str:
    """Show samples that nobody chose, a clip's middle frame and a reference of each."""
    tiles = "".join(
        f'<div title="{escape(sample_id)}">{pair_html(strip, sample_id)}</div>'
        for sample_id, strip in pictures.drawn.items()
    )
    if not tiles:
        return ""
    lead = (
        f"<p>{amount(len(pictures.drawn), 'sample')}, drawn by the hash of their ids: the middle "
        "of the clip, and the first reference by its mask. Look before you read on: is it one "
        "person, whole, and somewhere else?</p>"
    )
    return f'{lead}<div class="thirty">{tiles}</div>'


def examples(audit: Audit, pictures: Pictures) -> str:
    """Show a few samples as a person sees them."""
    parts = []
    sql = "SELECT caption, split, licence FROM samples WHERE sample_id = ?"
    for sample_id in good_samples(audit):
        strip, row = pictures.samples.get(sample_id), audit.index.fetch(sql, [sample_id])
        if strip is None or not row or not strip.frames:
            continue
        caption, split, licence = (escape(str(value or "")[:300]) for value in row[0])
        described = (
            f"{caption}<br><span class='id'>{escape(sample_id)}</span> · {split} · {licence}"
        )
        parts.append(strip_html(strip, sample_id, described))
    if not parts:
        return ""
    lead = (
        "<p>The model is given the reference and the caption, and learns to film that person. The "
        "orange box is the character in the clip.</p>"
    )
    return f'{lead}<div class="shots">{"".join(parts)}</div>'


def distributions(audit: Audit) -> str:
    """Draw every histogram and every share."""
    drawn = "".join(
        f'<figure class="card"><figcaption>{escape(chart.label)}</figcaption>'
        f"{charts.histogram(chart)}</figure>"
        for chart in audit.facts.histograms
    )
    shares = "".join(
        f'<figure class="card"><figcaption>{escape(chart.label)}</figcaption>'
        f"{charts.shares(chart.counts)}</figure>"
        for chart in audit.facts.shares
    )
    lead = "<p>Dashed red lines are the thresholds of the dataset's own settings.</p>"
    return f'{lead}<div class="grid">{drawn}{shares}</div>' if drawn or shares else ""


def identities(audit: Audit, pictures: Pictures) -> str:
    """Say how the samples are spread over the characters, and who may be merged or split."""
    facts = audit.facts.identities
    if not facts.characters:
        return ""
    tiles = [
        (f"{facts.characters:,}", "characters"),
        (f"{facts.gini:.2f}", "Gini: 0 all equal, 1 one has all"),
        (f"{100 * facts.top_share:.0f} %", "of the samples are the most frequent one's"),
        (f"{facts.with_one_sample:,}", "have a single sample"),
    ]
    drawn = "".join(f'<div class="tile"><b>{a}</b><span>{b}</span></div>' for a, b in tiles)
    largest = {f"{id[:10]}…": count for id, count in facts.largest}
    per_clip = {f"{k} in a clip": count for k, count in facts.per_clip.items()}
    cards = (
        f'<figure class="card"><figcaption>Most frequent characters</figcaption>'
        f"{charts.shares(largest, 12)}</figure>"
        f'<figure class="card"><figcaption>Clips by number of characters</figcaption>'
        f"{charts.shares(per_clip)}</figure>"
        f'<figure class="card"><figcaption>Share of samples by character</figcaption>'
        f"{charts.lorenz(facts.lorenz)}</figure>"
    )
    suspects = _suspects(audit, pictures)
    faces = "".join(
        strip_html(pictures.samples.get(sample_of(audit, id)), id,
              f'<span class="id">{escape(id)}</span>: {amount(count, "sample")}')
        for id, count in facts.largest[:3]
    )  # fmt: skip
    return (
        f'<div class="tiles">{drawn}</div><div class="grid">{cards}</div>'
        f'<h3>The most frequent</h3><div class="shots">{faces}</div>'
        f"{_variety(audit.facts.variety)}{suspects}"
    )


def _variety(variety: Variety) -> str:
    """Say how differently the characters of two samples and more are seen."""
    if not variety.characters:
        return ""
    tiles = "".join(
        f'<div class="tile"><b>{100 * share:.0f} %</b><span>{what}</span></div>'
        for share, what in (
            (variety.one_pose, f"turn the head by less than {ONE_POSE:.0f}°"),
            (variety.one_light, "are seen in one light"),
            (variety.one_size, "in one size of shot"),
        )
    )
    rows = "".join(
        f'<tr><td class="id">{escape(seen.character_id)}</td><td class="n">{seen.samples:,}</td>'
        f'<td class="n">{_measured(seen.turned, "°")}</td>'
        f'<td class="n">{_measured(seen.light, "", 2)}</td><td class="n">{seen.sizes}</td></tr>'
        for seen in variety.largest
    )
    return (
        f"<h3>How differently they are seen</h3><p>Of {variety.characters:,} characters with two "
        f'samples and more:</p><div class="tiles">{tiles}</div><div class="scroll"><table><tr>'
        '<th>character</th><th class="n">samples</th><th class="n">heads turned by</th>'
        '<th class="n">brightness differs by</th><th class="n">sizes of shot</th></tr>'
        f"{rows}</table></div>"
    )


def _measured(value: float | None, unit: str, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}{unit}"


def _suspects(audit: Audit, pictures: Pictures) -> str:
    parts = []
    for check in ("identity.split-suspect", "identity.merge-suspect"):
        for finding in audit.findings.examples(check, PER_CHECK):
            other = other_character(finding)
            shown = [finding.sample_id or sample_of(audit, finding.id)]
            shown += [sample_of(audit, other)] if other else []
            drawn = "".join(
                strip_html(pictures.samples.get(sample_id), sample_id) for sample_id in shown
            )
            title = audit.findings.checks[check].title
            parts.append(
                f'<p>{badge(finding.severity)} {escape(title)}: <span class="id">'
                f"{escape(finding.id)}</span>, {escape(finding.evidence)}</p>"
                f'<div class="shots">{drawn}</div>'
            )
    return f"<h3>Merge and split suspects</h3>{''.join(parts)}" if parts else ""


def copies(audit: Audit, pictures: Pictures) -> str:
    """Say where references come from, how alike they are, and which are copies."""
    kinds = audit.facts.kinds
    if not kinds:
        return ""
    total = sum(row["references"] for row in kinds.values())
    worth = audit.facts.worth
    tiles = "".join(
        f'<div class="tile"><b>{100 * share:.0f} %</b><span>{what}</span></div>'
        for share, what in (
            (worth.real_pairs, "of samples have a reference from another shot or video"),
            (worth.augmented_only, "have only changed pictures of the clip itself"),
            (worth.two_looks, "of characters are seen in two shots or more"),
            (worth.own_caption, "of samples have a caption that no other clip has"),
        )
    )
    lines = "".join(
        f"<tr><td>{escape(kind.replace('_', ' '))}</td><td>{_KINDS.get(kind, '')}</td>"
        f'<td class="n">{row["references"]:,}</td>'
        f'<td class="n">{100 * row["references"] / max(1, total):.0f} %</td>'
        f'<td class="n">{row["augmented"]:,}</td></tr>'
        for kind, row in kinds.items()
    )
    table = (
        '<div class="scroll"><table><tr><th>kind</th><th>where the reference comes from</th>'
        '<th class="n">references</th><th class="n">share</th><th class="n">changed</th></tr>'
        f"{lines}</table></div>"
    )
    drawn = "".join(
        f'<figure class="card"><figcaption>Similarity, {escape(chart.label)}</figcaption>'
        f"{charts.histogram(chart)}</figure>"
        for chart in audit.facts.similarity
    )
    window = (
        f"<p>Cosine of identity vectors between reference and clip. Below the floor it is somebody "
        f"else; at the copy line it is the same picture. {escape(audit.limits.why_no_windows)}</p>"
    )
    found = _by_checks(audit, pictures, ("pair.copy", "pair.background", "pair.inside"))
    lead = (
        "<p>A reference that is a picture of its own clip teaches copying. Those from other shots "
        "and videos teach what the person looks like.</p>"
    )
    tiles = f'<div class="tiles">{tiles}</div>'
    return f'{lead}{tiles}{table}{window}<div class="grid">{drawn}</div>{found}'


def leakage(audit: Audit, pictures: Pictures) -> str:
    """Show the splits and what lies across them."""
    splits = audit.facts.splits
    if not splits:
        return ""
    bars = charts.shares({str(name): count for name, count in splits.items()})
    found = _by_checks(audit, pictures, ("leak.",))
    clean = "" if found else f"<p>{badge('clean')} Nothing connects two splits.</p>"
    lead = (
        "<p>Characters, source videos and near-duplicates belong to one split as a whole; else the "
        "held-out score measures memory.</p>"
    )
    return f'{lead}<figure class="card">{bars}</figure>{clean}{found}'


def _by_checks(audit: Audit, pictures: Pictures, beginnings: Iterable[str]) -> str:
    counts, begin = audit.findings.counts(), tuple(beginnings)
    checks = [
        c for c in audit.findings.checks.values() if c.id.startswith(begin) and counts.get(c.id)
    ]
    parts = []
    for check in sorted(checks, key=lambda check: _ORDER[check.severity]):
        shown = [
            strip_html(pictures.of_finding(finding), finding.id, escape(finding.evidence))
            for finding in audit.findings.examples(check.id, PER_CHECK)
        ]
        parts.append(
            f'<p>{badge(check.severity)} <a href="#{check.id}">{escape(check.title)}</a> '
            f'<span class="soft">({counts[check.id]:,})</span></p>'
            f'<div class="shots">{"".join(shown)}</div>'
        )
    return "".join(parts)


def change(change: VersionChange | None) -> str:
    """Say what is different from the older version."""
    if change is None:
        return ""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{old}</td><td class="n">{new}</td></tr>'
        for name, old, new in change.lines()
    )
    parts = [
        f"<p>Against {escape(change.against)}.</p>",
        '<div class="scroll"><table><tr><th>what</th><th class="n">then</th>'
        f'<th class="n">now</th></tr>{rows}</table></div>',
    ]
    for title, lines in change.lists():
        if lines:
            parts.append(f"<h3>{escape(title)}</h3><ul>")
            parts += [f"<li>{escape(line)}</li>" for line in lines[:_ROWS]]
            more = len(lines) - _ROWS
            parts.append(f"</ul>{f'<p class=soft>and {more:,} more</p>' if more > 0 else ''}")
    return "".join(parts)
