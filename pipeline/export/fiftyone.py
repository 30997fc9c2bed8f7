"""What FiftyOne reads as `fiftyone.types.FiftyOneVideoLabelsDataset`: clips, and boxes per frame.

    manifest.json  data/SAMPLE.mp4  labels/SAMPLE.json

Labels are ETA VideoLabels: frames count from 1, boxes are shares of the picture. The caption, the
character, the split and the scores are attributes of the video. References lie in references/.
"""

import json
from pathlib import Path
from typing import Any

from pipeline.export.export_source import ExportSource

_WORDS = ("caption", "description", "character_id", "video_id", "split", "shot_size", "licence")
_NUMBERS = ("sharpness", "brightness", "motion", "purity", "coverage", "area", "face_rate")


def write_fiftyone(source: ExportSource, folder: Path) -> None:
    """Write every clip and its labels, then the index."""
    for name in ("data", "labels", "references"):
        (folder / name).mkdir()
    index = []
    for row in source.rows():
        key = row["sample_id"]
        (folder / "data" / f"{key}.mp4").write_bytes((row["video"] or {}).get("bytes") or b"")
        (folder / "labels" / f"{key}.json").write_text(json.dumps(labels(row), indent=1))
        for place, reference in enumerate(row["references"] or ()):
            path = folder / "references" / f"{key}-{place}.jpg"
            path.write_bytes(reference["image"]["bytes"] or b"")
        index.append({"data": f"data/{key}.mp4", "labels": f"labels/{key}.json"})
    manifest = {
        "type": "eta.core.datasets.LabeledVideoDataset",
        "description": f"{source.facts.name}, version {source.manifest.version}",
        "index": index,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def labels(row: dict[str, Any]) -> dict[str, Any]:
    """Return the ETA VideoLabels of one sample."""
    attributes = [_attribute("Categorical", n, row[n]) for n in _WORDS if row.get(n)]
    attributes += [_attribute("Numeric", n, row[n]) for n in _NUMBERS if row.get(n) is not None]
    first = row["first_frame"] + 1
    frames = {
        str(number): _frame(number, box, row)
        for number, box in enumerate(row["boxes"] or (), start=first)
    }
    return {"attrs": {"attrs": attributes}, "frames": frames}


def _attribute(kind: str, name: str, value: Any) -> dict[str, Any]:
    return {"type": f"eta.core.data.{kind}Attribute", "name": name, "value": value}


def _frame(number: int, box: list[float], row: dict[str, Any]) -> dict[str, Any]:
    left, top, right, bottom = box
    wide, high = row["width"], row["height"]
    corners = {
        "top_left": {"x": left / wide, "y": top / high},
        "bottom_right": {"x": right / wide, "y": bottom / high},
    }
    person = {"label": "person", "index": 1, "bounding_box": corners}
    return {"frame_number": number, "objects": {"objects": [person]}}
