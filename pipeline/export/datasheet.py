"""A datasheet: what its readers ask of a dataset, answered where the dataset knows.

    datasheet.md

Source: the sections of Datasheets for Datasets (Gebru et al., 2018, arXiv:1803.09010).
"""

from pathlib import Path

from pipeline.export.ai_act import OPEN
from pipeline.export.export_source import ExportSource
from pipeline.export.figures import Answer, answers, figure_lines
from pipeline.export.markdown import plain


def write_datasheet(source: ExportSource, folder: Path) -> None:
    """Write datasheet.md."""
    (folder / "datasheet.md").write_text(datasheet(source, answers(source)), encoding="utf-8")


def datasheet(source: ExportSource, found: dict[str, Answer]) -> str:
    """Return the seven sections; figures have their queries beside them."""
    return f"""# Datasheet: {plain(source.facts.name)}, version {source.manifest.version}

Queries are DuckDB's over the table `samples`. Fields marked {OPEN} are not in the dataset.

## Motivation

- Purpose: to train and to measure video models that keep one character the same: a clip, the
  character in it, pictures of that character from elsewhere, a caption.
- Made by, for whom, with whose money: {OPEN}

## Composition

An instance is one clip with one character, its reference images with masks, a box in each frame, a
caption and a description. It is a sample of what the source videos hold: what was dropped, and why,
stands under Preprocessing.

{figure_lines(found, ("samples", "clips", "hours", "characters", "references", "splits", "sizes"))}

- Relations: samples of one character share `character_id`, of one video `video_id`.
- Splits: no character and no source video is meant to be in two of them (`audit` checks it).
- Errors: identities were found by machine and may be wrong (`suspects/` names the doubtful ones);
  captions by machine may be wrong.
- People: faces and bodies are seen, and can be recognised. Groups of people: {OPEN} (not measured)
- Anything that offends, or that its people would rather keep private: {OPEN}

## Collection

{figure_lines(found, ("videos", "sources", "licences", "domains"))}

- Over what time, by whom, with whose consent and review: {OPEN}
- How people can object: a person or a video is removed from every version by `forget`.

## Preprocessing

{_funnel(source)}

Engines: {_engines(source)}

The source videos are not part of the dataset. The program that made it is open:
the settings stand in `manifest.json`.

{figure_lines(found, ("captions", "generated"))}

## Uses

- Already used for: {OPEN}
- Not for: recognising people, or showing them in what they did not do.
- Whom the engines detect and recognise differs between groups of people; so does what is in here.

## Distribution

- By whom, to whom, from when: {OPEN}
- Licences: the clips keep those of their videos, listed under Collection.

## Maintenance

- By whom, how to reach them: {OPEN}
- Each change is a new version with a number; {source.facts.left_out:,} vetoed samples are left out
  of this export. Removals make a new version: compare before each use.
"""


def _funnel(source: ExportSource) -> str:
    lines = [
        f"| {plain(row.stage)} | {plain(row.level)}s | {row.entered:,} | {row.kept:,} | "
        + ", ".join(f"{plain(reason)} {number:,}" for reason, number in sorted(row.reasons.items()))
        + " |"
        for row in source.manifest.funnel
    ]
    return "\n".join(["| stage | of | in | kept | dropped |", "|---|---|---|---|---|", *lines])


def _engines(source: ExportSource) -> str:
    named = [f"{each.get('task', '')} {each.get('id', '')}" for each in source.manifest.engines]
    return ", ".join(map(plain, named)) or "none is named in the manifest"
