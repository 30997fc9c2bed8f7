"""What the dataset can say for the EU's public summary of training content, in its three sections.

    summary.md

The summary is the duty of whoever places a general-purpose model on the Union's market; a dataset
is one of its sources. Figures come from the samples, each with its query; what the dataset does not
know is an open field, not an invention.

Source: Article 53(1)(d) and recital 107 of Regulation (EU) 2024/1689; the Commission's template of
24 July 2025 (general information; list of data sources; data processing aspects).
"""

from pathlib import Path

from pipeline.export.export_source import ExportSource
from pipeline.export.figures import Answer, answers, figure_lines
from pipeline.export.markdown import plain

OPEN = "**[to be filled in]**"


def write_ai_act(source: ExportSource, folder: Path) -> None:
    """Write summary.md."""
    (folder / "summary.md").write_text(summary(source, answers(source)), encoding="utf-8")


def _keeps_sound(source: ExportSource) -> bool:
    clips = source.manifest.config.get("observe", {}).get("clips", {})
    return clips.get("audio", "none") == "keep"


def summary(source: ExportSource, found: dict[str, Answer]) -> str:
    """Return the three sections, with the dataset's part of each filled in."""
    scraped = sum(number for _, number in found["domains"].rows)
    return f"""# Public summary of training content: {plain(source.facts.name)}

What this dataset (version {source.manifest.version}) contributes to the summary that Article
53(1)(d) of Regulation (EU) 2024/1689 asks of the provider of a general-purpose model. Queries are
DuckDB's over the table `samples`. Not legal advice; fields marked {OPEN} are not in the dataset.

## 1. General information

- Provider, contact, authorised representative: {OPEN}
- Model, its versions, models that it was made from: {OPEN}
- Date on which the model was placed on the Union's market: {OPEN}
- Modalities: video {"with" if _keeps_sound(source) else "without"} sound, images, text (captions)
- Types of content: clips of people, pictures of the same people, captions. Of which films,
  programmes or social media: {OPEN}
- Latest date on which data was obtained: {OPEN} (the dataset does not record it)
- Languages, regions, groups of people: {OPEN} (not measured)

{figure_lines(found, ("hours", "clips", "samples", "references", "characters", "sizes"))}

## 2. List of data sources

Publicly available datasets, data licensed by contract, data crawled from the internet, data of
users, synthetic data, other: which of these each source below is, {OPEN}.

{figure_lines(found, ("videos", "sources", "licences"))}

### Addresses on the internet

{scraped:,} of {found["videos"].value:,} videos name an address as their source. Crawlers that were
used, their names and periods: {OPEN}

{figure_lines(found, ("domains",))}

### Synthetic data

{figure_lines(found, ("generated", "captions"))}

Models that wrote or edited:

{_engines(source)}

## 3. Data processing

### Reserved rights (text and data mining opt-outs)

- How reservations of rights were looked for before and during collection: {OPEN}
- Afterwards: `audit --opt-out LIST` finds videos and people who are on a list; `forget` removes
  them from every version, and no later curation takes the same bytes in again.
- {source.facts.left_out:,} samples that a person vetoed are left out here.

### Unlawful content

- Lists that were used, and by whom: {OPEN} (`audit --known-bad LIST`)
- What was dropped while the dataset was made, by stage and reason:

{_funnel(source)}

### Personal data

Clips and references show faces and bodies of people. Identity vectors (biometric data) are not
exported. Legal basis, information given to the people, how they can object: {OPEN}
"""


def _engines(source: ExportSource) -> str:
    lines = [
        f"- {plain(each.get('task', ''))}: {plain(each.get('id', ''))} "
        f"({plain(each.get('licence', ''))})"
        for each in source.manifest.engines
        if each.get("task") in ("captioning", "reference_editing")
    ]
    return "\n".join(lines) or "- none is named in the manifest"


def _funnel(source: ExportSource) -> str:
    lines = [
        f"- {plain(row.stage)}, {plain(row.level)}s: {plain(reason)} {number:,}"
        for row in source.manifest.funnel
        for reason, number in sorted(row.reasons.items())
    ]
    return "\n".join(lines) or "- nothing is in the manifest's funnel"
