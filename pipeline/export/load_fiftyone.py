"""Make a FiftyOne dataset of this folder: python load.py [NAME], then `fiftyone app launch NAME`.

A group per sample: the clip with the character's box in each frame, and its references with masks.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any


def load(folder: Path, name: str) -> Any:
    """Return a persistent dataset with one group per line of samples.jsonl."""
    fo: Any = importlib.import_module("fiftyone")
    dataset = fo.Dataset(name, persistent=True)
    dataset.add_group_field("group", default="clip")
    with (folder / "samples.jsonl").open(encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            dataset.add_samples(group_of(line, folder, fo))
    return dataset


def group_of(line: dict[str, Any], folder: Path, fo: Any) -> list[Any]:
    """Return the clip and the references of a line as the slices of one group."""
    group = fo.Group()
    tags, sample_id = line["tags"], line["sample_id"]
    clip = fo.Sample(
        filepath=str(folder / line["clip"]), group=group.element("clip"), tags=tags,
        contextanyone_id=sample_id, **line["fields"],
    )  # fmt: skip
    for number, box in line["boxes"].items():
        person = fo.Detection(label="person", bounding_box=box)
        clip.frames[int(number)] = fo.Frame(people=fo.Detections(detections=[person]))
    slices = [clip]
    for place, reference in enumerate(line["references"]):
        picture = fo.Sample(
            filepath=str(folder / reference["image"]), group=group.element(f"reference_{place}"),
            tags=tags, contextanyone_id=sample_id, **reference["fields"],
        )  # fmt: skip
        if reference["mask"]:
            picture["mask"] = fo.Segmentation(mask_path=str(folder / reference["mask"]))
        slices.append(picture)
    return slices


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    made = load(here, sys.argv[1] if len(sys.argv) > 1 else here.name)
    print(f"{made.name}: {len(made)} groups; look at them with: fiftyone app launch {made.name}")
