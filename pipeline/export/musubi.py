"""What musubi-tuner reads: JSON lines with references for MiniMax-H3, the same clips for Wan.

    train.jsonl  h3_train.toml  train_clips.jsonl  wan_train.toml  videos/  references/  README.md

Source: musubi-tuner, docs/minimax_h3.md, docs/dataset_config.md, docs/wan.md,
src/musubi_tuner/dataset/datasources.py, src/musubi_tuner/minimax_h3/media.py (0678233).
"""

import json
from pathlib import Path
from typing import Any

from pipeline.export.export_source import ExportSource
from pipeline.export.trainer_folder import Fit, TrainerFolder, TrainerSample, write_json_lines
from schemas.clip_rules import ClipRules

H3 = ClipRules("MiniMax-H3", 17, 5, 32, fps=24.0, fewest=124, most=345)
WAN = ClipRules("Wan 2.1 and 2.2", 4, 1, 16, fps=16.0)
_PAGES = (
    "https://github.com/kohya-ss/musubi-tuner, docs/minimax_h3.md",
    "the same, docs/dataset_config.md",
)
_LOSES = (
    "masks of references, other than as a white background (`--background white`)",
    "a validation set: the trainer has none; the other splits' files are for your own tests",
    "Wan: references. Its control files are videos for Fun-Control, not pictures of a character",
)
_NO_SOUND = (
    "H3: sound. The clips have none, and silence is not learnt (`audio_present=0`); curate with "
    "`--set observe.clips.audio=keep`"
)


def write_musubi(source: ExportSource, folder: Path) -> None:
    """Write media and, for each split, the lines and a TOML of both models."""
    made = TrainerFolder(source, folder, most_references=9)
    made.write_media()
    h3, wan = made.fit(H3), made.fit(WAN)
    for split, samples in made.splits().items():
        with_references = [sample for sample in samples if sample.references]
        made.lost["H3: samples without a reference, left out"] += len(samples) - len(
            with_references
        )
        lines = [_line(each) | _references(each) for each in with_references]
        write_json_lines(folder / f"{split}.jsonl", lines)
        write_json_lines(folder / f"{split}_clips.jsonl", map(_line, samples))
        for name, fit, lines_of in (("h3", h3, split), ("wan", wan, f"{split}_clips")):
            text = _toml(source.place, f"{lines_of}.jsonl", f"cache_{name}_{split}", fit)
            (folder / f"{name}_{split}.toml").write_text(text, encoding="utf-8")
    loses = _LOSES if made.sounds else (*_LOSES, _NO_SOUND)
    made.write_readme("For musubi-tuner", _PAGES, _how(h3), (h3, wan), loses)


def _line(sample: TrainerSample) -> dict[str, Any]:
    return {
        "video_path": sample.video,
        "caption": sample.prompt,
        "description": sample.description,
        "character_id": sample.character_id,
    }


def _references(sample: TrainerSample) -> dict[str, Any]:
    return {"references": [{"type": "image", "path": path} for path in sample.references]}


def _toml(place: Path, lines: str, cache: str, fit: Fit) -> str:
    """Return a dataset file; H3 reads the rate from the clips, Wan has to be told another one."""
    rate = fit.rates.most_common(1)[0][0]
    told = fit.rules.model == WAN.model and len(fit.rates) == 1 and rate not in (0.0, WAN.fps)
    return "\n".join([
        "[general]",
        f"resolution = [{fit.size[0]}, {fit.size[1]}]",
        "batch_size = 1", "enable_bucket = true", "bucket_no_upscale = true", "",
        "[[datasets]]",
        f"video_jsonl_file = {json.dumps(str(place / lines))}",
        f"cache_directory = {json.dumps(str(place / cache))}",
        f"target_frames = [{fit.num_frames}]",
        'frame_extraction = "head"',
        *([f"source_fps = {float(rate)}"] if told else []), "",
    ])  # fmt: skip


def _how(h3: Fit) -> str:
    short = " --allow_experimental_duration" if h3.shorter_than_released else ""
    return f"""In a checkout of musubi-tuner that has docs/minimax_h3.md:

    python minimax_h3_cache_latents.py --dataset_config h3_train.toml --task ref2va{short} …
    python minimax_h3_cache_text_encoder_outputs.py --dataset_config h3_train.toml --task ref2va …
    accelerate launch --num_cpu_threads_per_process 1 --mixed_precision bf16 \\
      minimax_h3_train_network.py --dataset_config h3_train.toml --task ref2va{short} …

For Wan take wan_train.toml with the scripts of docs/wan.md. The TOML files hold the path of this
folder: when you move it, change `video_jsonl_file` and `cache_directory`."""
