"""Clips, references and masks with a script that makes a grouped FiftyOne dataset of them.

    samples.jsonl  load.py  data/SAMPLE.mp4  references/SAMPLE-0.jpg  masks/SAMPLE-0.png

Every sample is a group: the slice `clip` is a video with the character's box in each frame, the
slices `reference_0`, … are pictures with their masks. Scores are fields of numbers. FiftyOne's
importers of folders turn numbers into words, and none of them makes groups, so `load.py` uses its
own interface: run it where `fiftyone` is installed.

Source: docs.voxel51.com, "Grouped datasets", "Using FiftyOne datasets" (FiftyOne 1.22).
"""

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.export.export_source import ExportSource

_WORDS = (
    "clip_id", "video_id", "shot_id", "track_id", "character_id", "caption", "description",
    "shot_size", "licence", "source",
)  # fmt: skip
_NUMBERS = (
    "fps", "num_frames", "num_people", "sharpness", "brightness", "motion", "camera_motion",
    "purity", "coverage", "area", "face_rate",
)  # fmt: skip
_REFERENCE_WORDS = ("reference_id", "kind", "video_id", "recogniser", "review")
_REFERENCE_NUMBERS = (
    "similarity", "quality", "yaw", "time_s", "near_duplicate", "hash_distance", "pose_gap",
    "place_similarity",
)  # fmt: skip


def write_fiftyone(source: ExportSource, folder: Path) -> None:
    """Write media, a line a sample, and the script that loads them."""
    for name in ("data", "references", "masks"):
        (folder / name).mkdir()
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as lines:
        for row in source.rows():
            key = row["sample_id"]
            (folder / "data" / f"{key}.mp4").write_bytes((row["video"] or {}).get("bytes") or b"")
            references = [
                _reference(reference, f"{key}-{place}", folder)
                for place, reference in enumerate(row["references"] or ())
            ]
            line = {
                "sample_id": key,
                "clip": f"data/{key}.mp4",
                "tags": [row["split"]],
                "fields": _fields(row, _WORDS, _NUMBERS),
                "boxes": _boxes(row),
                "references": references,
            }
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
    script = (files("pipeline.export") / "load_fiftyone.py").read_text(encoding="utf-8")
    (folder / "load.py").write_text(script, encoding="utf-8")


def _reference(reference: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    image, mask = f"references/{name}.jpg", f"masks/{name}.png"
    (folder / image).write_bytes(reference["image"]["bytes"] or b"")
    outline = (reference["mask"] or {}).get("bytes")
    if outline:
        (folder / mask).write_bytes(outline)
    fields = _fields(reference, _REFERENCE_WORDS, _REFERENCE_NUMBERS)
    return {"image": image, "mask": mask if outline else None, "fields": fields}


def _fields(row: dict[str, Any], words: tuple[str, ...], numbers: tuple[str, ...]) -> dict:
    """Return what is known: an unknown number is left out, as FiftyOne leaves it empty."""
    known = {name: row[name] for name in words if row.get(name)}
    for name in numbers:
        value = row.get(name)
        if value is not None and math.isfinite(value):
            known[name] = float(value)
    return known


def _boxes(row: dict[str, Any]) -> dict[str, list[float]]:
    """Return boxes by frame, which counts from 1: left, top, width, height, as shares."""
    wide, high = row["width"], row["height"]
    shares = {}
    for number, box in enumerate(row["boxes"] or [], start=row["first_frame"] + 1):
        left, top, right, bottom = box
        corner, size = (left / wide, top / high), ((right - left) / wide, (bottom - top) / high)
        shares[str(number)] = [*corner, *size]
    return shares
