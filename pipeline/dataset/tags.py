"""What a person noted about samples: JSON lines, written by the browser, read by other tools.

    {"sample_id": "…", "tag": "veto", "note": "wrong person in the second reference"}

`veto` says that the sample should not be used; any other word marks it. A sample may have several.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pipeline.dataset.store import Store
from schemas.files import read_text
from schemas.tables import Tag

TAGS = "tags.jsonl"  # beside the manifest
VETO = "veto"


def read_tags(store: Store) -> list[Tag]:
    """Return the tags that lie with a dataset, sorted. Raises ValueError naming a bad line."""
    if not store.exists(TAGS):
        return []
    return _parse(store.read(TAGS).decode(), TAGS)


def read_tag_file(path: str | Path) -> list[Tag]:
    """Return the tags of a file, sorted. Raises ValueError naming a bad line."""
    return _parse(read_text("--tags", path, "a file of JSON lines"), str(path))


def write_tags(tags: Iterable[Tag], store: Store) -> None:
    """Replace the file, sorted, so that the same tags are the same bytes; none removes it."""
    lines = [json.dumps(asdict(tag), ensure_ascii=False, sort_keys=True) for tag in sorted(tags)]
    if lines:
        store.write(TAGS, "".join(f"{line}\n" for line in lines).encode())
    else:
        store.delete(TAGS)


def vetoed(tags: Iterable[Tag]) -> set[str]:
    """Return the samples that should not be used."""
    return {tag.sample_id for tag in tags if tag.tag == VETO}


def _parse(text: str, name: str) -> list[Tag]:
    tags = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            tags.add(_tag(line, f"{name}, line {number}"))
    return sorted(tags)


def _tag(line: str, where: str) -> Tag:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as problem:
        raise ValueError(f"{where} is not JSON: {problem}") from None
    if not isinstance(row, dict) or not row.get("sample_id") or not row.get("tag"):
        raise ValueError(f"{where} must be an object with sample_id and tag, got {line[:60]!r}")
    try:
        return Tag(row["sample_id"], row["tag"], row.get("note", ""))
    except ValueError as problem:
        raise ValueError(f"{where}: {problem}") from None
