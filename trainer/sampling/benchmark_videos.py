"""Make the videos of an evaluation set with a trained model; what is made already is kept."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from schemas.benchmark import VIDEOS, Benchmark, Item, write_video_list
from schemas.settings import check_settings, setting
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
        path, record = output / f"{item.item_id}.mp4", _record(item, config, made_by)
        fresh = not (path.is_file() and _same(path.with_suffix(".json"), record))
        if fresh:
            pipeline = pipeline or _load(model, config)
            write_video(path, _frames(pipeline, item, folder, config), published.size.fps)
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


def _frames(
    pipeline: ContextAnyonePipeline, item: Item, folder: Path, config: GenerationConfig
) -> Any:
    pictures = [
        open_picture(folder / reference.path)
        for reference in item.main.references[: config.references]
    ]
    made = pipeline(
        item.prompt,
        pictures,
        num_inference_steps=config.steps,
        seed=item.seed,
        output_type="uint8",
    )
    return made.frames[0]


def _record(item: Item, config: GenerationConfig, made_by: dict[str, Any]) -> dict[str, Any]:
    references = [reference.sha256 for reference in item.main.references[: config.references]]
    own = {"item": item.item_id, "prompt": item.prompt, "seed": item.seed}
    return own | {"references": references, "made_by": made_by}


def _same(path: Path, record: dict[str, Any]) -> bool:
    try:
        return read_json(path) == record
    except (ValueError, OSError):
        return False
