"""What Lightricks' ltx-trainer reads: a dataset file with a reference per clip for an IC-LoRA.

    dataset_train.json  videos/  padded/  README.md

Source: LTX-2, packages/ltx-trainer/docs/dataset-preparation.md, training-modes.md and
reference-conditioning-layouts.md (4e277dd), packages/ltx-trainer/scripts/process_videos.py.
"""

from pathlib import Path
from typing import Any

from pipeline.export.export_source import ExportSource
from pipeline.export.trainer_folder import Fit, TrainerFolder, TrainerSample, write_json
from schemas.clip_rules import ClipRules

LTX = ClipRules("LTX-2 (IC-LoRA)", 8, 1, 32)
_PAGES = (
    "https://github.com/Lightricks/LTX-2, packages/ltx-trainer/docs/dataset-preparation.md",
    "the same, packages/ltx-trainer/docs/reference-conditioning-layouts.md (several references)",
)
_LOSES = (
    "masks of references, other than as a white background (`--background white`)",
    "a number of references that differs from clip to clip: each of its columns is in every row",
    "a validation set: validation prompts stand in its YAML; the other splits are for your tests",
)
_NO_SOUND = (
    "sound: the clips have none (`--skip-audio`); curate with `--set observe.clips.audio=keep`"
)


def write_ltx(source: ExportSource, folder: Path) -> None:
    """Write media and a dataset file a split; references are padded, for the trainer crops them."""
    columns = source.options.references or 1
    made = TrainerFolder(source, folder, most_references=columns, whole=False, padded=True)
    made.write_media()
    for split, samples in made.splits().items():
        enough = [sample for sample in samples if len(sample.padded) == columns]
        made.lost[f"samples with fewer than {columns} references, left out"] += len(samples) - len(
            enough
        )
        write_json(folder / f"dataset_{split}.json", [_record(sample) for sample in enough])
    fit = made.fit(LTX)
    how = _how(fit, source.options.trigger, columns, bool(made.sounds))
    loses = _LOSES if made.sounds else (*_LOSES, _NO_SOUND)
    made.write_readme("For ltx-trainer (LTX-2)", _PAGES, how, (fit,), loses)


def _record(sample: TrainerSample) -> dict[str, Any]:
    """Return one row; the trigger word is left to the trainer, which puts it in front itself."""
    names = (
        ["reference_video"]
        if len(sample.padded) == 1
        else [f"reference_video_{place}" for place in range(len(sample.padded))]
    )
    return {
        "video": sample.video,
        "caption": sample.caption,
        **dict(zip(names, sample.padded, strict=True)),
        "description": sample.description,
        "character_id": sample.character_id,
    }


def _how(fit: Fit, trigger: str, columns: int, with_sound: bool) -> str:
    wide, high = fit.size
    skip = "" if with_sound else " --skip-audio"
    word = f' --lora-trigger "{trigger}"' if trigger else ""
    where = (
        "`reference_latents`"
        if columns == 1
        else f"`reference_latents_0` to `_{columns - 1}`, one `reference` condition each"
    )
    return f"""In packages/ltx-trainer of LTX-2, with DATA as the path of this folder:

    uv run python scripts/process_dataset.py DATA/dataset_train.json{skip}{word} \\
      --resolution-buckets "{wide}x{high}x{fit.num_frames};{wide}x{high}x1" \\
      --model-path … --text-encoder-path …

The bucket of one frame is for the references, which are pictures. Then configs/v2v_ic_lora.yaml
with `data.preprocessed_data_root: DATA/.precomputed`, `optimization.batch_size: 1` (two buckets
need it) and the condition `reference` on {where}. Its page on layouts advises
`layout: overlap` and `source_phase: true` for identity."""
