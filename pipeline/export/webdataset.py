"""WebDataset tars: per sample the clip, its references with masks, and all else as JSON.

    SAMPLE.mp4  SAMPLE.json  SAMPLE.reference0.jpg  SAMPLE.mask0.png  …

The same samples give the same bytes: entries have no owner, no clock, and the samples' order.
"""

import contextlib
import io
import json
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.export.export_source import ExportSource

SHARD_BYTES = 1 << 30


def write_webdataset(source: ExportSource, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write SPLIT-NNNNNN.tar; the next is begun when one has reached the size."""
    tars: dict[str, tarfile.TarFile] = {}
    numbers: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        for row in source.rows():
            split = row["split"]
            if split not in tars:
                number = numbers[split] = numbers.get(split, -1) + 1
                path = folder / f"{split}-{number:06d}.tar"
                tars[split] = stack.enter_context(
                    tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)
                )
            for name, content in entries(row):
                tars[split].addfile(_entry(name, content), io.BytesIO(content))
            if tars[split].offset >= shard_bytes:
                tars.pop(split).close()


def entries(row: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file of a sample."""
    key = row["sample_id"]
    yield f"{key}.mp4", (row["video"] or {}).get("bytes") or b""
    for place, reference in enumerate(row["references"] or ()):
        yield f"{key}.reference{place}.jpg", reference["image"]["bytes"] or b""
        yield f"{key}.mask{place}.png", reference["mask"]["bytes"] or b""
    yield f"{key}.json", json.dumps(light(row), sort_keys=True, ensure_ascii=False).encode()


def light(row: dict[str, Any]) -> dict[str, Any]:
    """Return a sample without media, as strict JSON can hold it: NaN is null."""
    kept = {name: value for name, value in row.items() if name not in ("video", "references")}
    references = [
        {name: value for name, value in reference.items() if name not in ("image", "mask")}
        for reference in row["references"] or ()
    ]
    return _finite(kept | {"references": references})


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _entry(name: str, content: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), 0, 0o644
    return entry
