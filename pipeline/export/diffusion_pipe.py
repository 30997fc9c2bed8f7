"""What diffusion-pipe reads: a folder of clips with captions beside them, and a TOML.

    train/SAMPLE.mp4  train/SAMPLE.txt  train_pictures/SAMPLE-0.jpg  train_pictures/SAMPLE-0.txt
    dataset_train.toml  README.md

Source: diffusion-pipe, examples/dataset.toml, examples/minimax_h3_dataset.toml,
docs/supported_models.md, docs/minimax_h3_notes.md, utils/dataset.py, models/base.py (8f83dbf).
"""

import json
from pathlib import Path

from pipeline.export.export_source import ExportSource
from pipeline.export.trainer_folder import Fit, TrainerFolder, TrainerSample
from schemas.clip_rules import ClipRules

WAN = ClipRules("Wan 2.1 and 2.2", 4, 1, 16, fps=16.0)
H3 = ClipRules("MiniMax-H3", 17, 0, 32, fps=24.0)
LTX = ClipRules("LTX 2.3", 8, 1, 32, fps=24.0)
_PAGES = (
    "https://github.com/tdrussell/diffusion-pipe, examples/dataset.toml",
    "the same, docs/supported_models.md and docs/minimax_h3_notes.md",
)
_LOSES = (
    "references: its video models learn from text (and the clip's own first frame) alone. They "
    "lie in train_pictures/ with the character's description as caption, to be added as pictures",
    "masks of references, other than as a white background (`--background white`)",
    "the character's id, and descriptions of clips",
)


def write_diffusion_pipe(source: ExportSource, folder: Path) -> None:
    """Write a folder of clips and a TOML for each split."""
    made = TrainerFolder(source, folder, most_references=12)
    made.write_media()
    fits = [made.fit(rules) for rules in (WAN, H3, LTX)]
    trigger = source.options.trigger
    for split, samples in made.splits().items():
        (folder / split).mkdir()
        (folder / f"{split}_pictures").mkdir()
        for sample in samples:
            _move(sample, folder, split, trigger)
        text = _toml(source.place, split, fits[0])
        (folder / f"dataset_{split}.toml").write_text(text, encoding="utf-8")
    (folder / "videos").rmdir()
    (folder / "references").rmdir()
    made.write_readme("For diffusion-pipe", _PAGES, _how(fits, list(made.splits())), fits, _LOSES)


def _move(sample: TrainerSample, folder: Path, split: str, trigger: str) -> None:
    """Put a clip and its references into folders of their split, each with a caption beside it."""
    (folder / sample.video).rename(folder / split / f"{sample.sample_id}.mp4")
    (folder / split / f"{sample.sample_id}.txt").write_text(sample.prompt, encoding="utf-8")
    for path, description in zip(sample.references, sample.descriptions, strict=True):
        picture = folder / f"{split}_pictures" / Path(path).name
        (folder / path).rename(picture)
        words = f"{trigger} {description}".strip()
        picture.with_suffix(".txt").write_text(words, encoding="utf-8")


def _toml(place: Path, split: str, fit: Fit) -> str:
    wide, high = fit.size
    pictures = [] if split != "train" else [
        "", "# Pictures of the characters, learnt as single frames:",
        "# [[directory]]", f"# path = {json.dumps(str(place / 'train_pictures'))}",
        "# num_repeats = 1",
    ]  # fmt: skip
    return "\n".join([
        f"resolutions = [[{wide}, {high}]]", "enable_ar_bucket = true",
        "min_ar = 0.5", "max_ar = 2.0", "num_ar_buckets = 7",
        f"frame_buckets = [1, {fit.num_frames}]", "",
        "[[directory]]", f"path = {json.dumps(str(place / split))}", "num_repeats = 1",
        *pictures, "",
    ])  # fmt: skip


def _how(fits: list[Fit], splits: list[str]) -> str:
    buckets = "\n".join(
        f"    {fit.rules.model}: frame_buckets = [1, {fit.num_frames}]" for fit in fits
    )
    evaluation = [
        f"    eval_datasets = [{{name = '{split}', config = 'DATA/dataset_{split}.toml'}}]"
        for split in splits
        if split != "train"
    ]
    return "\n".join([
        "In a checkout of diffusion-pipe, with DATA as the path of this folder, in its main TOML:",
        "", "    dataset = 'DATA/dataset_train.toml'", *evaluation, "",
        "and then `deepspeed --num_gpus=1 train.py --deepspeed --config …`. The frame bucket in",
        "the dataset's TOML is Wan's; for another model write", "", buckets, "",
        "The TOML files hold the path of this folder: when you move it, change `path`.",
    ])  # fmt: skip
