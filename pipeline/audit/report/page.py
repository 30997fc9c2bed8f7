"""Put the report together: one HTML file, no script, nothing fetched."""

import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.audit.compare import VersionChange
from pipeline.audit.report import listing, sections
from pipeline.audit.report.charts import number
from pipeline.audit.report.parts import amount
from pipeline.audit.report.pictures import Pictures, gather_pictures
from pipeline.audit.run import Audit
from schemas.columns import to_dict

REPORT_VERSION = 1
_IN_JSON = 20  # findings of a check that report.json holds; findings.parquet has all


def write_report(audit: Audit, folder: Path, change: VersionChange | None = None) -> None:
    """Write report.html, report.json and findings.parquet into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    audit.findings.write(folder / "findings.parquet")
    content = json.dumps(report_json(audit, change), indent=1, sort_keys=True, default=str)
    (folder / "report.json").write_text(content + "\n", encoding="utf-8")
    page = report_html(audit, gather_pictures(audit), change)
    (folder / "report.html").write_text(page, encoding="utf-8")


def report_json(audit: Audit, change: VersionChange | None = None) -> dict[str, Any]:
    """Return the report as plain values."""
    manifest, findings = audit.dataset.manifest, audit.findings
    counts = findings.counts()
    waived = dict(
        audit.index.rows(
            "SELECT \"check\", count(*) FROM findings WHERE waived <> '' GROUP BY 1 ORDER BY 1"
        )
    )
    checks = [
        {
            "id": check.id, "severity": str(check.severity), "title": check.title,
            "why": check.why, "remedy": check.remedy, "action": str(check.action),
            "findings": counts.get(check.id, 0), "waived": waived.get(check.id, 0),
            "looked_at": findings.coverage.checked.get(check.id, 0),
            "not_checked": findings.coverage.not_checked.get(check.id, ""),
            "examples": [to_dict(finding) for finding in findings.examples(check.id, _IN_JSON)],
        }
        for check in findings.checks.values()
    ]  # fmt: skip
    return {
        "report_version": REPORT_VERSION,
        "dataset": audit.dataset.name,
        "version": manifest.version if manifest else None,
        "manifest_sha256": audit.dataset.manifest_sha256,
        "verdict": verdict(audit)[0],
        "findings": findings.by_severity(),
        "checks": checks,
        "not_checked": findings.coverage.not_checked,
        "facts": audit.facts.to_json(),
        "media": {"looked_at": audit.media.checked, "of": audit.media.of,
                  "clips_per_s": round(audit.media.clips_per_s, 2)},
        "seconds": audit.seconds,
        "change": change.to_json() if change else None,
    }  # fmt: skip


def verdict(audit: Audit) -> tuple[str, str, str]:
    """Return (error | warning | clean, the headline, a sentence that explains it)."""
    counted, totals = audit.findings.by_severity(), audit.facts.totals
    problems = len(audit.findings.counts())
    checked = amount(len(audit.findings.coverage.checked), "check")
    size = f"{amount(int(totals['samples']), 'sample')} were audited by {checked}"
    if counted["error"]:
        text = f"{size}; what has to be mended is listed first."
        return "error", f"Do not train on this yet: {amount(counted['error'], 'error')}", text
    if counted["warning"]:
        text = f"{size}. Nothing is broken; a person should look at what is listed below."
        return "warning", f"Usable, with {amount(counted['warning'], 'warning')}", text
    rest = f"; {amount(counted['note'], 'note')} for information" if problems else ""
    return "clean", "No errors and no warnings", f"{size}{rest}."


def report_html(audit: Audit, pictures: Pictures, change: VersionChange | None = None) -> str:
    """Return the whole page."""
    parts: Sequence[tuple[str, str, str]] = [
        part
        for part in (
            ("random", "Drawn at random", sections.at_random(audit, pictures)),
            ("funnel", "What became of everything", sections.funnel(audit, pictures)),
            ("examples", "What a sample looks like", sections.examples(audit, pictures)),
            ("spread", "How the numbers are spread", sections.distributions(audit)),
            ("people", "Characters", sections.identities(audit, pictures)),
            ("copies", "Risk of copying", sections.copies(audit, pictures)),
            ("leakage", "Leakage between splits", sections.leakage(audit, pictures)),
            ("change", "What changed", sections.change(change)),
            ("findings", "All findings", listing.findings(audit, pictures)),
            ("checked", "What was checked, and what was not", listing.coverage(audit)),
            ("made", "How it was made", listing.origin(audit)),
        )
        if part[2]
    ]
    title = f"Audit of {audit.dataset.name}"
    style = resources.files("pipeline.audit.report").joinpath("style.css").read_text("utf-8")
    links = "".join(f'<a href="#{id}">{escape(name)}</a>' for id, name, _ in parts)
    drawn = [
        f'<section id="{id}"><h2>{escape(name)}</h2>{html}</section>' for id, name, html in parts
    ]
    first = 1 if parts and parts[0][0] == "random" else 0  # it is looked at before all else
    body = "".join([*drawn[:first], listing.first_steps(audit), *drawn[first:]])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header>{_header(audit, title)}<nav>{links}</nav></header>"
        f"<main>{body}</main>"
        f"{_footer(audit, pictures)}</body></html>\n"
    )


def _header(audit: Audit, title: str) -> str:
    manifest = audit.dataset.manifest
    version = f"version {manifest.version}" if manifest else "without a manifest"
    kind, headline, text = verdict(audit)
    totals = audit.facts.totals
    tiles = [
        (number(totals["samples"]), "samples"), (_length(totals["hours"]), "of clips"),
        (number(totals["characters"]), "characters"), (number(totals["videos"]), "source videos"),
        (number(totals["references"]), "references"),
        (number(totals["images"]), "different images"),
    ]  # fmt: skip
    drawn = "".join(
        f'<div class="tile"><b>{value}</b><span>{label}</span></div>' for value, label in tiles
    )
    return (
        f'<p class="kicker">Dataset of reference and clip pairs · {escape(version)}</p>'
        f"<h1>{escape(title)}</h1>"
        f'<div class="verdict {kind}"><strong>{escape(headline)}</strong>'
        f"<p>{escape(text)}</p></div>"
        f'<div class="tiles">{drawn}</div>'
    )


def _length(hours: float) -> str:
    if hours >= 1:
        return f"{number(hours)} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"


def _footer(audit: Audit, pictures: Pictures) -> str:
    media = audit.media
    looked = (
        f"Clips, references and masks of {media.checked:,} of {media.of:,} samples were decoded."
    )
    left_out = " Some pictures were left out to keep this page small." if pictures.full else ""
    return (
        f"<footer><p>{looked}{left_out} All findings are in findings.parquet, and the same figures "
        "in report.json.</p><p>This report finds faults; it cannot prove that there are none, and "
        "it is not legal advice.</p></footer>"
    )
