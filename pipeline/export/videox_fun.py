"""What VideoX-Fun's VACE scripts read: clips with up to four pictures of the subject.

    metadata_train.json  videos/  references/  README.md

Source: VideoX-Fun, scripts/wan2.1_vace/README_TRAIN.md, scripts/wan2.2_vace_fun/README_TRAIN.md,
videox_fun/data/dataset_image_video.py (804a425).
"""

from pathlib import Path
from typing import Any

from pipeline.export.export_source import ExportSource
from pipeline.export.trainer_folder import Fit, TrainerFolder, TrainerSample, write_json
from schemas.clip_rules import ClipRules

VACE = ClipRules("Wan 2.1 VACE and Wan 2.2 VACE-Fun", 4, 1, 16)
_PAGES = (
    "https://github.com/aigc-apps/VideoX-Fun, scripts/wan2.1_vace/README_TRAIN.md",
    "the same, videox_fun/data/dataset_image_video.py",
)
_LOSES = (
    "masks of references, other than as a white background (`--background white`)",
    "the order of references: its loader shuffles them and mirrors half of them",
    "a control video: there is none (`control_file_path` is null, which its loader reads as black)",
    "a validation set: the script has none; the other splits' files are for your own tests",
    "the frame rate: frames are taken by `--video_sample_stride`; Wan was trained at 16 a second",
)


def write_videox_fun(source: ExportSource, folder: Path) -> None:
    """Write media and a metadata file a split.

    Paths are absolute: the loader joins its data folder to a clip's path, not to a reference's.
    """
    made = TrainerFolder(source, folder, most_references=4)
    made.write_media()
    for split, samples in made.splits().items():
        records = [_record(sample, source.place) for sample in samples]
        write_json(folder / f"metadata_{split}.json", records)
    fit = made.fit(VACE)
    made.write_readme("For VideoX-Fun", _PAGES, _how(fit, source.place), (fit,), _LOSES)


def _record(sample: TrainerSample, place: Path) -> dict[str, Any]:
    return {
        "file_path": str(place / sample.video),
        "text": sample.prompt,
        "type": "video",
        "control_file_path": None,
        "object_file_path": [str(place / path) for path in sample.references],
        "width": sample.width,
        "height": sample.height,
        "description": sample.description,
        "character_id": sample.character_id,
    }


def _how(fit: Fit, place: Path) -> str:
    return f"""In a checkout of VideoX-Fun, as its scripts/wan2.1_vace/train.sh, with these changes:

    export DATASET_NAME=""
    export DATASET_META_NAME="{place}/metadata_train.json"
    … --video_sample_stride=1 --video_sample_n_frames={fit.num_frames} \\
      --video_sample_size={max(fit.size)} --image_sample_size={max(fit.size)} \\
      --token_sample_size={max(fit.size)}

Paths in the metadata are absolute: export again, or replace them, when you move this folder."""
