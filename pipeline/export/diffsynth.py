"""What DiffSynth-Studio's `train.py` scripts read: MiniMax-H3 by references, Wan VACE by one.

    metadata_train.json  metadata_vace_train.csv  videos/  references/  padded/  README.md

Source: DiffSynth-Studio, docs/en/Model_Details/MiniMax-H3.md, docs/en/Model_Details/Wan.md,
examples/minimax_h3/model_training, examples/wanvideo/model_training, diffsynth/core/data
(fed7b18).
"""

import csv
from pathlib import Path

from pipeline.export.export_source import ExportSource
from pipeline.export.trainer_folder import Fit, TrainerFolder, TrainerSample, write_json
from schemas.clip_rules import ClipRules

H3 = ClipRules("MiniMax-H3 (Ref2VA)", 17, 5, 32, fps=24.0)
VACE = ClipRules("Wan 2.1 VACE", 4, 1, 16)
_PAGES = (
    "https://github.com/modelscope/DiffSynth-Studio, docs/en/Model_Details/MiniMax-H3.md",
    "the same, examples/wanvideo/model_training/lora/Wan2.1-VACE-1.3B.sh",
)
_LOSES = (
    "masks of references, other than as a white background (`--background white`)",
    "a validation set: these scripts have none; metadata_validation.json is for your own tests",
    "VACE: all references but the first, which its loader reads as one picture",
    "VACE: the frame rate. Frames are taken as they are; Wan was trained at 16 a second",
)
_NO_SOUND = (
    "H3: sound. The clips have none, so `input_audio` is left out and only pictures are learnt; "
    "curate with `--set observe.clips.audio=keep`"
)


def write_diffsynth(source: ExportSource, folder: Path) -> None:
    """Write media and, for each split, the metadata of both models."""
    made = TrainerFolder(source, folder, most_references=9, padded=True)
    made.write_media()
    for split, samples in made.splits().items():
        with_references = [sample for sample in samples if sample.references]
        made.lost["samples without a reference, left out"] += len(samples) - len(with_references)
        records = [_h3(sample, bool(made.sounds)) for sample in with_references]
        write_json(folder / f"metadata_{split}.json", records)
        _write_vace(folder / f"metadata_vace_{split}.csv", with_references)
    h3, vace = made.fit(H3), made.fit(VACE)
    loses = _LOSES if made.sounds else (*_LOSES, _NO_SOUND)
    how = _how(h3, vace, made.sounds, len(made.samples))
    made.write_readme("For DiffSynth-Studio", _PAGES, how, (h3, vace), loses)


def _h3(sample: TrainerSample, with_sound: bool) -> dict[str, object]:
    """Return one row; the sound is read from the clip's own file."""
    return {
        "video": sample.video,
        **({"input_audio": sample.video} if with_sound else {}),
        "prompt": sample.prompt,
        "references": [{"type": "image", "image": path} for path in sample.references],
        "description": sample.description,
        "character_id": sample.character_id,
    }


def _write_vace(path: Path, samples: list[TrainerSample]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "prompt", "vace_reference_image"))
        writer.writerows((each.video, each.prompt, each.padded[0]) for each in samples)


def _how(h3: Fit, vace: Fit, sounds: int, clips: int) -> str:
    sound = "input_audio," if sounds else ""
    silent = " --silent_on_missing_audio" if 0 < sounds < clips else ""
    return f"""In a checkout of DiffSynth-Studio, with DATA as the path of this folder. MiniMax-H3,
in two stages as in examples/minimax_h3/model_training/lora/MiniMax-H3-Ref2VA.sh (take the paths of
the model from there):

    accelerate launch examples/minimax_h3/model_training/train.py \\
      --dataset_base_path DATA --dataset_metadata_path DATA/metadata_train.json \\
      --data_file_keys "video,{sound}references" --extra_inputs "{sound}references"{silent} \\
      --height {h3.size[1]} --width {h3.size[0]} --num_frames {h3.num_frames} \\
      --task "sft:data_process" …

Wan VACE, as examples/wanvideo/model_training/lora/Wan2.1-VACE-1.3B.sh:

    accelerate launch examples/wanvideo/model_training/train.py \\
      --dataset_base_path DATA --dataset_metadata_path DATA/metadata_vace_train.csv \\
      --data_file_keys "video,vace_reference_image" --extra_inputs "vace_reference_image" \\
      --height {vace.size[1]} --width {vace.size[0]} --num_frames {vace.num_frames} …

VACE crops a reference to the clip's shape, so it gets the ones in padded/; H3 keeps them whole."""
