"""Make the videos of an evaluation set with a trained model; what is made already is kept.

A model that was trained on several characters at once is shown those of an item, by names that its
prompt calls them by; one that was trained on one is shown whom the item is about.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from schemas.benchmark import VIDEOS, Benchmark, Item, MediaFile, write_video_list
from schemas.settings import check_settings, setting
from trainer.data.cast import members_of, prompt_of
from trainer.encoders.folders import digest_of
from trainer.sampling.model_folder import TRANSFORMER, read_published
from trainer.sampling.pipeline import ContextAnyonePipeline
from trainer.sampling.references import open_picture
from trainer.sampling.sampler import TIMESTEPS
from trainer.sampling.video_file import replacing, write_video
from trainer.saving.complete import read_json, write_json


@dataclass(frozen=True)
class GenerationConfig:
    """How the videos of an evaluation set are generated.

    Attributes:
        steps: sampling steps; none takes those of the training's validation.
        device: cpu, cuda, cuda:1, …; '' takes a GPU where there is one.
        encoders: folder of the frozen encoders; '' takes the one that the model names.
        references: pictures of the character that the model is shown.
    """

    steps: int | None = setting(None, low=1, high=TIMESTEPS)
    device: str = ""
    encoders: str = ""
    references: int = setting(1, low=1, high=64)

    def __post_init__(self) -> None:
        check_settings(self, "")


def make_videos(
    model: Path,
    folder: Path,
    benchmark: Benchmark,
    output: Path,
    config: GenerationConfig,
    on_video: Callable[[str, bool], None] = lambda _, __: None,
) -> dict[str, Any]:
    """Write ITEM.mp4 and ITEM.json for every item, then videos.json. Returns what made them.

    A video whose .json says the same model, settings, prompt and references is not made again.
    `on_video` gets the item and whether it was made now. Raises ValueError for a folder that is no
    model.
    """
    published = read_published(model)
    sampling = published.sampling
    if config.steps is not None:
        sampling = replace(sampling, steps=config.steps)
    made_by = {
        "model_digest": digest_of(model / TRANSFORMER),
        "model_step": published.step,
        "sampling": asdict(sampling),
        "video": asdict(published.size),
        "encoders": asdict(published.encoders),
        "prompts_sha256": benchmark.prompts_sha256,
        "training": published.made_by,
    }
    pipeline: ContextAnyonePipeline | None = None
    for item in benchmark.items:
        scene = _scene(item, published.characters, config)
        path, record = output / f"{item.item_id}.mp4", _record(item, scene, made_by)
        fresh = not (path.is_file() and _same(path.with_suffix(".json"), record))
        if fresh:
            pipeline = pipeline or _load(model, config)
            write_video(
                path, _frames(pipeline, scene, item.seed, folder, config), published.size.fps
            )
            write_json(path.with_suffix(".json"), record)
        on_video(item.item_id, fresh)
    listed = {item.item_id: f"{item.item_id}.mp4" for item in benchmark.items}
    with replacing(output / VIDEOS) as temporary:
        temporary.write_bytes(write_video_list(listed, made_by))
    return made_by


def _load(model: Path, config: GenerationConfig) -> ContextAnyonePipeline:
    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    encoders = read_published(model).encoders
    if config.encoders:
        encoders = replace(encoders, path=config.encoders)
    return ContextAnyonePipeline.from_pretrained(model, encoders, dtype, device)


@dataclass(frozen=True)
class _Scene:
    """What a video of an item is made of."""

    prompt: str
    references: list[MediaFile]  # of the one whom it is about, or none
    characters: dict[str, list[MediaFile]]  # by name, where it is about several


def _scene(item: Item, most: int, config: GenerationConfig) -> _Scene:
    shown = [character.references[: config.references] for character in item.characters[:most]]
    if len(shown) == 1:
        return _Scene(item.prompt, shown[0], {})
    # The row of a sample, as far as an item knows it: not where anybody is.
    rows = [
        {"description": character.description, "boxes": [], "first_frame": 0, "references": [1]}
        for character in item.characters[:most]
    ]
    row = {**rows[0], "sample_id": item.item_id, "caption": item.caption, "others": rows[1:]}
    members = members_of(row, most)
    named = {member.name: files for member, files in zip(members, shown, strict=True)}
    return _Scene(prompt_of(row, members), [], named)


def _frames(
    pipeline: ContextAnyonePipeline,
    scene: _Scene,
    seed: int,
    folder: Path,
    config: GenerationConfig,
) -> Any:
    def opened(files: list[MediaFile]) -> list[Image.Image]:
        return [open_picture(folder / file.path) for file in files]

    made = pipeline(
        scene.prompt,
        opened(scene.references) if scene.references else None,
        num_inference_steps=config.steps,
        seed=seed,
        output_type="uint8",
        characters={name: opened(files) for name, files in scene.characters.items()},
    )
    return made.frames[0]


def _record(item: Item, scene: _Scene, made_by: dict[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {"item": item.item_id, "prompt": scene.prompt, "seed": item.seed}
    own["references"] = [reference.sha256 for reference in scene.references]
    if scene.characters:
        own["characters"] = {
            name: [file.sha256 for file in files] for name, files in scene.characters.items()
        }
    return own | {"made_by": made_by}


def _same(path: Path, record: dict[str, Any]) -> bool:
    try:
        return read_json(path) == record
    except (ValueError, OSError):
        return False
