"""A Hugging Face dataset folder: Parquet by split, and a card filled from the manifest."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.export.export_source import CardFacts, ExportSource
from pipeline.export.markdown import plain
from pipeline.export.parquet_shards import write_shards
from schemas.manifest import Manifest

_LICENCES = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "unknown")
_SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_huggingface(source: ExportSource, folder: Path) -> None:
    """Write data/ and README.md."""
    write_shards(source, folder)
    (folder / "README.md").write_text(card(source.facts, source.manifest), encoding="utf-8")


def card(facts: CardFacts, manifest: Manifest) -> str:
    """Return the dataset card: the hub's header, then what a reader has to know."""
    left_out = f" · {facts.left_out:,} vetoed samples left out" if facts.left_out else ""
    return f"""{_header(facts)}
# {plain(facts.name)}

Samples for character-consistent video: a clip, the character in it, reference images of that
character, and a caption. Made by ContextAnyone; version {manifest.version}.

```python
from datasets import load_dataset

samples = load_dataset("path/to/this/folder", split="{next(iter(sorted(facts.samples)), "train")}")
samples[0]["references"][0]["image"]  # a PIL image; samples.features["video"] is Video
```

{facts.total:,} samples · {facts.seconds / 3600:.2f} hours ·
{len(facts.characters):,} characters · {len(facts.videos):,} videos{left_out}

{_table(("split", "samples"), facts.samples)}

## Where references come from

{_table(("pair kind", "references"), facts.kinds)}

## Licences and sources

The clips keep the licences of the videos that they were cut from.

{_table(("licence", "samples"), facts.licences)}

{_table(("source", "samples"), facts.sources)}

## How it was made

| stage | of | in | kept | dropped | reasons |
|---|---|---|---|---|---|
{_lines(_funnel_cells(manifest))}

{_table(("engine", "licence"), {e.get("id", ""): e.get("licence", "") for e in manifest.engines})}

## People

Clips and references show people. Identity vectors (biometric data) are not part of this export.
Whoever uses it needs a lawful basis of their own, and has to follow removals: compare the version
with its origin before use. This is not legal advice.
"""


def _header(facts: CardFacts) -> str:
    licences = {name.lower() for name in facts.licences}
    licence = licences.pop() if len(licences) == 1 else "other"
    size = next((name for most, name in _SIZES if facts.total < most), "n>1M")
    splits = "\n".join(
        f"  - split: {split}\n    path: data/{split}-*.parquet" for split in sorted(facts.samples)
    )
    return f"""---
license: {licence if licence in _LICENCES else "other"}
pretty_name: {_quoted(facts.name)}
task_categories:
- text-to-video
- image-to-video
tags:
- video
- identity
- character-consistency
size_categories:
- {size}
configs:
- config_name: default
  data_files:
{splits}
---
"""


def _funnel_cells(manifest: Manifest) -> Iterable[tuple[object, ...]]:
    for row in manifest.funnel:
        reasons = ", ".join(f"{reason} {number}" for reason, number in row.reasons.items())
        lost = row.rejected + row.failed
        yield row.stage, f"{row.level}s", row.entered, row.kept, lost, reasons


def _table(head: tuple[str, str], rows: Mapping[str, object]) -> str:
    order = sorted(rows.items(), key=lambda item: (str(item[1]).zfill(12), item[0]), reverse=True)
    return f"| {head[0]} | {head[1]} |\n|---|---|\n{_lines(order[:40])}"


def _lines(rows: Iterable[tuple[object, ...]]) -> str:
    return "\n".join(f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows)


def _quoted(text: str) -> str:
    clean = "".join(sign for sign in text if sign.isprintable() and sign not in '"\\')
    return f'"{clean[:100]}"'
