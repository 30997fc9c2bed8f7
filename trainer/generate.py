"""Make videos of a character, or of several, with a trained model.

    python trainer/generate.py --model exported/ --reference her.png --prompt "…" --output her.mp4
    python trainer/generate.py --model exported/ --character anna=a.jpg,b.jpg \\
        --character bob=c.jpg --prompt "anna … bob …" --output both.mp4

Beside a video its settings are written as .json. Exit codes: 0 done, 1 not enough memory,
2 wrong arguments or files that cannot be used, 130 interrupted.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # this checkout before any other, and its folder's names before none
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from schemas.start import start

    start("trainer.generate")

from schemas.start import code_of
from trainer.sampling.generate_flags import boxes_of, parse, scales_of, without_none
from trainer.sampling.generate_plan import files_of, pictures_of, plan
from trainer.sampling.generate_record import record_of
from trainer.sampling.step_progress import StepProgress

if TYPE_CHECKING:  # what is slow to import is imported where it is used, so that --help is quick
    from collections.abc import Iterator

    import numpy as np
    import torch
    from PIL import Image

    from trainer.sampling.cast import NamedCharacter
    from trainer.sampling.model_folder import Published, VideoSize
    from trainer.sampling.pipeline import ContextAnyonePipeline
    from trainer.sampling.sampler import SamplingConfig


def run(arguments: argparse.Namespace) -> int:
    """Make every video; what is wrong with the arguments is said before the model is loaded."""
    jobs = plan(arguments)
    from trainer.sampling.references import open_picture
    from trainer.sampling.video_file import picture_strip, write_video
    from trainer.saving.complete import write_json

    opened = {path: open_picture(path) for path in pictures_of(arguments)}
    published = _published(arguments)
    size, sampling = _settings(arguments, published)
    shown = _shown(arguments, opened, size, [prompt for prompt, _ in jobs], published)
    notes = (*_unlike_training(published, size, list(opened.values())), *_unmarked(arguments))
    for note in notes:
        print(f"generate: {note}", file=sys.stderr)
    folder = jobs[0][1].parent
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} cannot be written to; choose another --output")
    pipeline, adapters = _load(arguments, published), _adapters(arguments)
    for number, (prompt, path) in enumerate(jobs, 1):
        what = f"video {number} of {len(jobs)}" if len(jobs) > 1 else "video"
        with StepProgress(what, sampling.steps) as steps:
            frames = _make(pipeline, prompt, shown, size, sampling, arguments, steps)
        write_video(path, frames, size.fps)
        if arguments.strip:
            pictures = [picture for each in shown for picture in each.pictures]
            picture_strip(pictures, frames, path.with_suffix(".jpg"), caption=prompt)
        record = record_of(arguments, pipeline, prompt, size, sampling, steps.seconds, adapters)
        record["files"] = [file.name for file in files_of(path, arguments.strip)]
        write_json(path.with_suffix(".json"), record)
        print(f"{path}: {steps.seconds:.2f} s a step", flush=True)
    return 0


def _published(arguments: argparse.Namespace) -> "Published":
    """Read what the model's folder says, and that of its second expert."""
    from trainer.sampling.loading import check_experts
    from trainer.sampling.model_folder import read_published

    published = read_published(arguments.model)
    if arguments.low is not None:
        published = published.with_low(read_published(arguments.low))
    check_experts(published)
    if arguments.lora_low and published.expert != "both":
        raise ValueError("--lora-low is for the second of two experts, and the model has none")
    return published


def _shown(
    arguments: argparse.Namespace,
    opened: "dict[Path, Image.Image]",
    size: "VideoSize",
    prompts: list[str],
    published: "Published",
) -> "list[NamedCharacter]":
    """Return whom the videos show; one of --reference has no name. Wrong names are refused."""
    from trainer.sampling.cast import NamedCharacter, check_guidance, check_names
    from trainer.sampling.layout import check_layout
    from trainer.sampling.model_folder import marked_characters
    from trainer.sampling.references import stack_references

    guidance = dict(arguments.character_guidance)
    if arguments.reference:
        check_guidance(guidance, [])
        pictures = [opened[path] for path in arguments.reference]
        return [NamedCharacter("", stack_references(pictures, 1, size)[0])]
    names = [character.name for character in arguments.character]
    check_names(names, prompts, published.characters)
    check_guidance(guidance, names)
    boxes = boxes_of(arguments)
    check_layout(boxes, names, marked_characters(arguments.model))
    return [
        NamedCharacter(
            name,
            stack_references([opened[path] for path in files], 1, size)[0],
            guidance.get(name, 0.0),
            boxes.get(name, ()),
        )
        for name, files, _ in arguments.character
    ]


def _unlike_training(
    published: "Published", size: "VideoSize", pictures: "list[Image.Image]"
) -> "Iterator[str]":
    """Yield in what a video is asked for that the model has not seen in training."""
    asked = f"{size.height}x{size.width}x{size.frames}"
    if published.sizes and asked not in published.sizes:
        yield f"trained on {', '.join(published.sizes)}, not on {asked}: the video may be worse"
    opaque = [picture for picture in pictures if not picture.has_transparency_data]
    if published.reference_background == "grey" and opaque:
        yield (
            "trained on references without a background, and this one has its own: cut the "
            "character out (PNG, transparent around it)"
        )


def _unmarked(arguments: argparse.Namespace) -> "Iterator[str]":
    """Yield that a model may exchange characters, where nothing but names tells them apart."""
    from trainer.sampling.model_folder import marked_characters

    several = len(arguments.character or ())
    if several > 1 and marked_characters(arguments.model) < several:
        yield "trained without marks: names alone may not say whose pictures are whose"


def _load(arguments: argparse.Namespace, published: "Published") -> "ContextAnyonePipeline":
    import torch

    from trainer.adapters import ScaledAdapter, read_adapter
    from trainer.sampling.pipeline import ContextAnyonePipeline

    device = _device(arguments.device)
    if arguments.offload and device == torch.device("cpu"):
        raise ValueError(
            f"--offload {arguments.offload} keeps on the CPU what waits for a GPU, and the video "
            "is made on the CPU: leave it out, or pass --device"
        )
    name = arguments.dtype
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    adapters = [
        [ScaledAdapter.of_flag(name) for name in names]
        for names in (arguments.lora, arguments.lora_low)
    ]
    for adapter in (*adapters[0], *adapters[1]):  # what is wrong is said before the model is loaded
        read_adapter(adapter.file)
    moved = {"path": arguments.encoders, "image_path": arguments.image_encoder}
    moved = {name: path for name, path in moved.items() if path}
    encoders = replace(published.encoders, **moved)
    dtype: torch.dtype = getattr(torch, name)
    pipeline = ContextAnyonePipeline.from_pretrained(
        *(arguments.model, encoders, dtype),
        device="cpu" if arguments.offload else device,
        low=arguments.low,
    )
    for model, files in zip(pipeline.transformers, adapters, strict=False):
        if files:
            from trainer.adapters import apply_adapters

            apply_adapters(model, files)
    if arguments.offload == "part":
        pipeline.enable_model_cpu_offload(device)
    elif arguments.offload == "layer":
        pipeline.enable_sequential_cpu_offload(device)
    return pipeline


def _adapters(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the sha256 of each adapter's file, by its flag."""
    from trainer.adapters import ScaledAdapter
    from trainer.saving.complete import sha256_of

    flags = (*arguments.lora, *arguments.lora_low)
    return {flag: sha256_of(ScaledAdapter.of_flag(flag).file) for flag in flags}


def _device(name: str) -> "torch.device":
    import torch

    from trainer.sampling.offload import usable_device

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return usable_device(name)


def _settings(
    arguments: argparse.Namespace, published: "Published"
) -> "tuple[VideoSize, SamplingConfig]":
    """Return the size and the sampling of the flags; a flag left out is as in training."""
    from trainer.data.data_config import check_sides

    height, width = arguments.size or (None, None)
    size = {"height": height, "width": width, "frames": arguments.frames, "fps": arguments.fps}
    names = ("steps", "guidance", "text_guidance", "reference_guidance", "shift", "step_cache")
    sampling = {name: getattr(arguments, name) for name in names}
    chosen = replace(published.size, **without_none(size))
    check_sides(chosen.height, chosen.width, published.encoders.stride, "--size")
    return chosen, replace(published.sampling, **without_none(sampling))


def _make(
    pipeline: "ContextAnyonePipeline",
    prompt: str,
    shown: "list[NamedCharacter]",
    size: "VideoSize",
    sampling: "SamplingConfig",
    arguments: argparse.Namespace,
    steps: StepProgress,
) -> "np.ndarray":
    """Return the frames (F, H, W, 3) uint8."""
    import torch

    from trainer.sampling.output import decode_frames, to_uint8

    generator = torch.Generator().manual_seed(arguments.seed)
    negative, cast = arguments.negative_prompt, shown if shown[0].name else []
    pictures = None if cast else shown[0].pictures[None]
    inputs = (pictures, size, sampling, generator, negative)
    low = pipeline.published.low_sampling
    try:
        latents = pipeline.generate(
            *([prompt], *inputs),
            on_step=steps.advance,
            low_sampling=low and replace(low, **scales_of(arguments)),
            cast=cast,
        )
        return to_uint8(decode_frames(pipeline.encoders.codec, latents)[0])
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"the device has not enough memory for {size.height}x{size.width} and "
            f"{size.frames} frames; choose a smaller --size or fewer --frames"
        ) from error


def main() -> int:
    kept = "finished videos are kept"
    return code_of("generate", lambda: run(parse(sys.argv[1:])), kept, codes={MemoryError: 1})
