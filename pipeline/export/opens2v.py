"""OpenS2V's JSON: videos with the subjects of one frame, and pairs of subjects over videos.

    videos/SAMPLE.mp4  references/SAMPLE-0.mp4 …
    jsons/train.json  jsons/cross_video_pairs/train.json  README.md

A reference is a video of one frame, with the person's mask; a pair names clip and reference. So a
loader of the cross-video pairs takes the character from another moment, and cuts it out.

Source: OpenS2V-Nexus, data_process/README.md, step5-2_subject_image.py, step6-2_get_cross-frame.py
and data_process/demo_result/step5 and step6 (b452831).
"""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from pipeline.export.export_source import ExportSource
from pipeline.export.mask_runs import mask_runs
from pipeline.export.reference_pictures import reference_jpeg
from pipeline.export.trainer_folder import (
    TrainerFolder,
    TrainerSample,
    references_in_turn,
    write_json,
)
from pipeline.media.colours import BT709
from pipeline.media.encode import ClipEncoder, EncodingConfig
from pipeline.media.pixels import Scaler

_MOST_REFERENCES = 8
_SUBJECT = "person"
_ENCODING = EncodingConfig(preset="medium", crf=10)  # of a single picture
_PAGES = (
    "https://github.com/PKU-YuanGroup/OpenS2V-Nexus, data_process/README.md",
    "the same, data_process/step5-2_subject_image.py and step6-2_get_cross-frame.py",
)
_LOSES = (
    "the person's mask in the clip's own frame, where a box is given: a loader of the plain JSON, "
    "which cuts the subject out of the clip itself, finds none. Take the pairs",
    "scores of other models: `tech`, `aesthetic`, `gme_score`, `aes_score`, `text_similarity`",
    "subjects other than people, `word_tags`",
)
_HOW = """Entries are in jsons/SPLIT.json, by id; jsons/cross_video_pairs/SPLIT.json lists pairs of
a clip (`cur_id`) and a reference (`aft_id`), best first. `metadata.path` is relative to this
folder. Frames are numbered from 0; `mask_annotation` holds COCO run lengths, which
`pycocotools.mask.decode` reads."""


@dataclass
class _Folder(TrainerFolder):
    """The samples of an export, with the references of each as entries."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)  # of clips and references
    pairs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by sample

    def _write(self, row: dict[str, Any]) -> TrainerSample | None:
        sample = super()._write(row)
        if sample is None:
            return None
        self.entries[sample.sample_id] = _clip_entry(sample, row)
        self.pairs[sample.sample_id] = []
        for place, (_, reference) in enumerate(islice(references_in_turn(row), self.most)):
            name = f"{sample.sample_id}-{place}"
            mask = (reference["mask"] or {}).get("bytes") or b""
            options = self.source.options
            jpeg = reference_jpeg(reference["image"]["bytes"], mask, options.background)
            self.entries[name] = self._reference_entry(name, sample.prompt, jpeg, mask)
            pair = _pair(sample, row["first_frame"], name, reference)
            self.pairs[sample.sample_id].append(pair)
        return sample

    def _reference_entry(self, name: str, prompt: str, jpeg: bytes, mask: bytes) -> dict[str, Any]:
        picture, person = _even(_decoded(jpeg)), _even(_mask_of(jpeg, mask))
        path = f"references/{name}.mp4"
        (self.folder / path).write_bytes(_one_frame(picture))
        height, width = person.shape
        entry = _entry(path, prompt, (width, height), 1, 1.0, _box_of(person), 0)
        runs = {"size": [height, width], "counts": mask_runs(person)}
        entry["annotation"]["mask_annotation"] = {"0": {"1": runs}}
        return entry


def write_opens2v(source: ExportSource, folder: Path) -> None:
    """Write media, the entries of each split, and its pairs."""
    made = _Folder(source, folder, most_references=_MOST_REFERENCES, whole=False)
    (folder / "references").mkdir()
    made.write_media()
    (folder / "jsons" / "cross_video_pairs").mkdir(parents=True)
    for split, samples in made.splits().items():
        pairs = [pair for sample in samples for pair in made.pairs[sample.sample_id]]
        ids = {sample.sample_id for sample in samples} | {pair["aft_id"] for pair in pairs}
        entries = {name: entry for name, entry in made.entries.items() if name in ids}
        write_json(folder / "jsons" / f"{split}.json", entries)
        write_json(folder / "jsons" / "cross_video_pairs" / f"{split}.json", pairs)
    made.write_readme("In OpenS2V's format", _PAGES, _HOW, (), _LOSES)


def _clip_entry(sample: TrainerSample, row: dict[str, Any]) -> dict[str, Any]:
    size = (sample.width, sample.height)
    box = row["boxes"][0] if row["boxes"] else (0.0, 0.0, *map(float, size))
    frame = row["first_frame"]
    return _entry(sample.video, sample.prompt, size, sample.num_frames, sample.fps, box, frame)


def _entry(
    path: str, prompt: str, size: tuple[int, int], num_frames: int, fps: float, box: Any, frame: int
) -> dict[str, Any]:
    """Return an entry with one subject, `box` in frame `frame`, and no mask."""
    width, height = size
    return {
        "metadata": {
            "path": path,
            "cut": [0, num_frames],
            "face_cut": [0, num_frames],
            "crop": [0, width, 0, height],
            "fps": fps,
            "num_frames": num_frames,
            "resolution": {"height": height, "width": width},
            "cap": [prompt],
            "face_cap_qwen": prompt,
        },
        "annotation": {
            "ann_frame_data": {
                "ann_frame_idx": frame,
                "annotations": [{"class_name": _SUBJECT, "bbox": [float(side) for side in box]}],
                "box_format": "xyxy",
                "img_width": width,
                "img_height": height,
            },
            "mask_map": {"1": {"class_name": _SUBJECT}},
            "mask_annotation": {},
        },
    }


def _pair(sample: TrainerSample, frame: int, reference: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "cur_id": sample.sample_id,
        "aft_id": reference,
        "cur_class_name": _SUBJECT,
        "aft_class_name": _SUBJECT,
        "image_similarity": row["similarity"],
        "cur_frame_idx": frame,
        "aft_frame_idx": 0,
        "character_id": sample.character_id,
        "kind": row["kind"],
    }


def _decoded(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise ValueError("a reference is no picture; run `audit` on the dataset")
    return picture


def _mask_of(jpeg: bytes, mask: bytes) -> np.ndarray:
    """Return the person, 255 in 0; all of the picture where no mask fits it."""
    height, width = _decoded(jpeg).shape[:2]
    person = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_GRAYSCALE) if mask else None
    if person is None or person.shape != (height, width) or not (person > 127).any():
        return np.full((height, width), 255, np.uint8)
    return np.where(person > 127, 255, 0).astype(np.uint8)


def _even(picture: np.ndarray) -> np.ndarray:
    """Return the picture without the last row or column of an odd number; codecs want pairs."""
    return picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]


def _box_of(person: np.ndarray) -> tuple[int, int, int, int]:
    """Return the box around a mask, xyxy."""
    left, top, width, height = cv2.boundingRect(person)
    return left, top, left + width, top + height


def _one_frame(picture: np.ndarray) -> bytes:
    height, width = picture.shape[:2]
    encoder = ClipEncoder(width, height, 1, _ENCODING, BT709)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    encoder.write(Scaler(width, height, "yuv420p")(frame))
    return encoder.close()
