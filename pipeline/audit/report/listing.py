"""The sections that list: what to do first, all findings, what was checked, how it was made."""

from html import escape

from pipeline.audit.findings import Check, Finding, Severity
from pipeline.audit.report.parts import badge, strip_html
from pipeline.audit.report.pictures import PER_CHECK, Pictures
from pipeline.audit.run import Audit

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
_ROWS = 12  # findings of a check in the page


def first_steps(audit: Audit) -> str:
    """List what matters most: every check with errors, then the largest warnings."""
    counts = audit.findings.counts()
    ranked = sorted(
        (check for check in audit.findings.checks.values() if counts.get(check.id)),
        key=lambda check: (_ORDER[check.severity], -counts[check.id]),
    )
    urgent = [check for check in ranked if check.severity is not Severity.NOTE][:8]
    if not urgent:
        return ""
    lines = "".join(
        f'<li>{badge(check.severity)} <a href="#{check.id}">{escape(check.title)}</a> '
        f'<span class="soft">({counts[check.id]:,})</span>. {escape(check.remedy)}</li>'
        for check in urgent
    )
    return f'<h3>What to do first</h3><ol class="first">{lines}</ol>'


def findings(audit: Audit, pictures: Pictures) -> str:
    """List every check that found something: evidence, why it matters, what to do."""
    counts = audit.findings.counts()
    hit = [check for check in audit.findings.checks.values() if counts.get(check.id)]
    hit.sort(key=lambda check: (_ORDER[check.severity], check.id))
    waived = audit.index.fetch(
        "SELECT \"check\", waived, count(*) FROM findings WHERE waived <> ''"
        " GROUP BY 1, 2 ORDER BY 1"
    )
    parts = [_check(check, counts[check.id], audit, pictures) for check in hit]
    if not parts:
        parts = [f"<p>{badge('clean')} No check found anything.</p>"]
    if waived:
        lines = "".join(
            f'<tr><td class="id">{escape(check)}</td><td>{escape(why)}</td>'
            f'<td class="n">{count:,}</td></tr>'
            for check, why, count in waived
        )
        parts.append(
            "<h3>Waived</h3><p>Known and accepted; not counted above.</p>"
            f'<div class="scroll"><table><tr><th>check</th><th>reason</th><th class="n">findings'
            f"</th></tr>{lines}</table></div>"
        )
    return "".join(parts)


def _check(check: Check, count: int, audit: Audit, pictures: Pictures) -> str:
    examples = audit.findings.examples(check.id, _ROWS)
    rows = "".join(_row(finding) for finding in examples)
    more = f'<p class="soft">and {count - len(examples):,} more in findings.parquet</p>'
    shown = "".join(
        strip_html(pictures.of_finding(finding), finding.id, escape(finding.evidence))
        for finding in examples[:PER_CHECK]
    )
    opened = " open" if check.severity is Severity.ERROR else ""
    return (
        f'<details id="{check.id}"{opened}><summary>{badge(check.severity)}'
        f'<span class="title">{escape(check.title)}</span><span class="id">{check.id}</span>'
        f'<span class="count">{count:,}</span></summary><div class="body">'
        f"<p><b>Why it matters.</b> {escape(check.why)}</p>"
        f"<p><b>What to do.</b> {escape(check.remedy)}</p>"
        f'<div class="shots">{shown}</div>'
        '<div class="scroll"><table><tr><th>of</th><th>id</th><th>evidence</th><th>sample</th></tr>'
        f"{rows}</table></div>{more if count > len(examples) else ''}</div></details>"
    )


def _row(finding: Finding) -> str:
    return (
        f'<tr><td>{escape(finding.level)}</td><td class="id">{escape(finding.id[:80])}</td>'
        f"<td>{escape(finding.evidence[:300])}</td>"
        f'<td class="id">{escape(finding.sample_id[:24])}</td></tr>'
    )


def coverage(audit: Audit) -> str:
    """List the checks that ran, and for the others why not."""
    findings, counts = audit.findings, audit.findings.counts()
    skipped = "".join(
        f'<tr><td class="id">{escape(id)}</td><td>{escape(why)}</td></tr>'
        for id, why in sorted(findings.coverage.not_checked.items())
    )
    ran = "".join(
        f'<tr><td class="id">{escape(check.id)}</td><td>{escape(check.title)}</td>'
        f'<td class="n">{findings.coverage.checked[check.id]:,}</td>'
        f'<td class="n">{counts.get(check.id, 0):,}</td></tr>'
        for check in sorted(findings.checks.values(), key=lambda check: check.id)
        if check.id in findings.coverage.checked
    )
    return (
        "<h3>Not checked</h3>"
        '<div class="scroll"><table><tr><th>check</th><th>because</th></tr>'
        f"{skipped}</table></div><details><summary><span class='title'>Checked</span>"
        f"<span class='count'>{len(findings.coverage.checked)} checks</span></summary>"
        '<div class="body scroll"><table><tr><th>check</th><th>what it looks for</th>'
        f'<th class="n">rows</th><th class="n">findings</th></tr>{ran}</table></div></details>'
    )


def origin(audit: Audit) -> str:
    """Say by which engines, libraries and settings the dataset was made."""
    manifest = audit.dataset.manifest
    if manifest is None:
        return ""
    engines = "".join(
        f"<tr><td>{escape(str(engine.get('task', '')).replace('_', ' '))}</td>"
        f"<td class='id'>{escape(str(engine.get('id', '')))}</td>"
        f"<td>{escape(str(engine.get('licence', '')))}</td>"
        f"<td>{'yes' if engine.get('commercial') else 'no'}</td></tr>"
        for engine in manifest.engines
    )
    libraries = ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())
    parent = manifest.parent[:16] + "…" if manifest.parent else "none: the first version"
    return (
        '<div class="scroll"><table><tr><th>task</th><th>engine</th><th>licence</th>'
        f"<th>commercial use of weights</th></tr>{engines}</table></div>"
        f'<p class="soft">Settings <span class="id">{manifest.config_digest[:16]}…</span> · parent '
        f'version <span class="id">{escape(parent)}</span> · {escape(libraries)}</p>'
    )
