"""What Bernini-R's `tools/preprocess_data.py` reads: Parquet rows of the task r2v.

    data_train/00000.parquet  videos/  references/  README.md

A row's `inputs` is a conversation in JSON: the references, the caption, and the clip to generate.

Source: Bernini, docs/bernini_r_train.md, tools/preprocess_data.py, tools/video_utils.py,
bernini/training/data.py (03043e4).
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.export_source import ExportSource
from pipeline.export.trainer_folder import Fit, TrainerFolder, TrainerSample
from schemas.clip_rules import ClipRules

RENDERER = ClipRules("Bernini-R (r2v)", 16, 1, 16, fps=16.0, fewest=17, most=97)
_ROWS_PER_FILE = 1000
_SCHEMA = pa.schema([
    ("inputs", pa.string()),
    ("images", pa.list_(pa.string())),
    ("videos", pa.list_(pa.struct([("video_path", pa.string())]))),
    ("sample_id", pa.string()),
    ("character_id", pa.string()),
    ("description", pa.string()),
])  # fmt: skip
_PAGES = ("https://github.com/bytedance/Bernini, docs/bernini_r_train.md",)
_LOSES = (
    "masks of references, other than as a white background (`--background white`)",
    "a validation set: the script has none; the other splits' folders are for your own tests",
)


def write_bernini(source: ExportSource, folder: Path) -> None:
    """Write media and Parquet files a split; paths are absolute, as its reader needs them."""
    made = TrainerFolder(source, folder, most_references=12)
    made.write_media()
    for split, samples in made.splits().items():
        with_references = [sample for sample in samples if sample.references]
        made.lost["samples without a reference, left out"] += len(samples) - len(with_references)
        (folder / f"data_{split}").mkdir()
        rows = [_row(sample, source.place) for sample in with_references]
        for number, top in enumerate(range(0, len(rows), _ROWS_PER_FILE)):
            table = pa.Table.from_pylist(rows[top : top + _ROWS_PER_FILE], schema=_SCHEMA)
            pq.write_table(table, folder / f"data_{split}" / f"{number:05d}.parquet")
    fit = made.fit(RENDERER)
    made.write_readme("For Bernini-R", _PAGES, _how(fit), (fit,), _LOSES)


def _row(sample: TrainerSample, place: Path) -> dict[str, Any]:
    messages = [
        *({"type": "image"} for _ in sample.references),
        {"type": "text", "text": sample.prompt},
        {"type": "video_gen"},
    ]
    return {
        "inputs": json.dumps(messages, ensure_ascii=False),
        "images": [str(place / path) for path in sample.references],
        "videos": [{"video_path": str(place / sample.video)}],
        "sample_id": sample.sample_id,
        "character_id": sample.character_id,
        "description": sample.description,
    }


def _how(fit: Fit) -> str:
    return f"""In a checkout of Bernini, with DATA as the path of this folder:

    uv run python tools/preprocess_data.py DATA/data_train DATA/features_train \\
      --vae_fps 16 --vae_max_n_frames {fit.num_frames - 1} \\
      --vlm_config …/Qwen2.5-VL-7B-Instruct --vae_config …/Wan2.2-T2V-A14B-Diffusers/vae

Then name DATA/features_train in configs/bernini_renderer_train/data_cfg/ as `r2v$NAME` (the part
before the $ is the task) and run scripts/bernini_r_train/train_bernini_renderer.sh. Its video
encoder scales pictures to sides of 240 to 480 by default: `--vae_max_image_size` raises that.
Paths in the Parquet files are absolute: export again when you move this folder."""
