"""The published model: a prompt and pictures of a character become a video.

A class of our own in the manner of a diffusers pipeline. `DiffusionPipeline` itself would import
the modules that a folder's model_index.json names; here no folder decides what is imported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from trainer.data.boxes import shares_of_boxes
from trainer.data.data_config import check_sides
from trainer.encoders.encode_batch import encode_images, encode_references, to_signed
from trainer.encoders.encoder_config import EncoderConfig, Encoders, load_encoders
from trainer.encoders.interfaces import VideoCodec
from trainer.encoders.mentions import mentions_of
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.cast import NamedCharacter, as_written, check_guidance, check_names
from trainer.sampling.layout import Box, check_boxes, check_layout, track
from trainer.sampling.model_folder import (
    TRANSFORMER,
    TRANSFORMER_2,
    Published,
    VideoSize,
    read_published,
    write_published,
)
from trainer.sampling.offload import Offload
from trainer.sampling.references import Picture, Reference, stack_references
from trainer.sampling.sampler import (
    CharacterConditions,
    Conditions,
    Generators,
    LowNoise,
    SamplingConfig,
    sample,
)
from trainer.sampling.video_file import write_video

OutputType = Literal["np", "pt", "uint8", "pil", "latent"]
OUTPUT_TYPES = ("np", "pt", "uint8", "pil", "latent")


@dataclass
class ContextAnyonePipelineOutput:
    """B videos, in the form that was asked for.

    np: (B, F, H, W, 3) float32 in [0, 1] · pt: the same as a tensor (B, F, 3, H, W) on the CPU ·
    uint8: as 0..255 · pil: a list of frames for each video · latent: a tensor (B, C, f, h, w) of
    normalised latents.
    """

    frames: Any
    fps: float = 16.0
    output_type: OutputType = "np"

    def save(self, path: str | Path, number: int = 0) -> None:
        """Write one of the videos as .mp4. Raises ValueError for latents, which are no pictures."""
        if self.output_type == "latent":
            raise ValueError("latents cannot be written as a video; ask for another output_type")
        frames: Any = self.frames[number]
        if self.output_type == "pt":
            frames = frames.permute(0, 2, 3, 1)
        frames = np.asarray(frames)
        write_video(path, frames if frames.dtype == np.uint8 else to_uint8(frames), self.fps)


class ContextAnyonePipeline:
    """A trained model that makes videos: the transformer, the frozen encoders, their settings.
    Of two experts `transformer` is for high noise levels and `transformer_2` for low ones.

    from trainer.sampling.pipeline import ContextAnyonePipeline

    pipeline = ContextAnyonePipeline.from_pretrained("model", device="cpu")
    videos = pipeline("A woman walks along a beach.", reference="her.jpg", seed=7)
    videos.save("her.mp4")
    print(videos.frames.shape)  # (1, frames, height, width, 3), float32 in [0, 1]
    """

    def __init__(
        self,
        transformer: ContextAnyoneTransformer3DModel,
        encoders: Encoders,
        published: Published,
        transformer_2: ContextAnyoneTransformer3DModel | None = None,
    ) -> None:
        check_experts(published)
        if (published.expert == "both") != (transformer_2 is not None):
            raise ValueError("a second transformer belongs to two experts, and to nothing else")
        self.transformer, self.transformer_2 = transformer, transformer_2
        for model in self.transformers:
            check_fit(model, encoders)
            model.eval().requires_grad_(False)
        self.encoders = encoders
        self.published = published
        self._interrupt = False
        self._offload: Offload | None = None

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        encoders: Encoders | EncoderConfig | None = None,
        torch_dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        low: str | Path | None = None,
    ) -> "ContextAnyonePipeline":
        """Load an exported folder; `encoders` takes the place of what its encoders.json says.

        low: folder of the expert for low noise levels, where `folder` is that for high ones.
        """
        folder = Path(folder)
        published, second = read_published(folder), None
        if low is not None:
            published = published.with_low(read_published(Path(low)))
            second = _load_transformer(Path(low) / TRANSFORMER, torch_dtype)
        elif published.expert == "both":
            second = _load_transformer(folder / TRANSFORMER_2, torch_dtype)
        if isinstance(encoders, EncoderConfig):
            published = replace(published, encoders=encoders)
        if not isinstance(encoders, Encoders):
            encoders = load_encoders(published.encoders, device)
        first = _load_transformer(folder / TRANSFORMER, torch_dtype)
        return cls(first, encoders, published, second).to(device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that `from_pretrained` reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, model in zip((TRANSFORMER, TRANSFORMER_2), self.transformers, strict=False):
            model.save_pretrained(folder / name)
        write_published(folder, self.published)

    def to(self, device: torch.device | str) -> "ContextAnyonePipeline":
        """Move the transformers; encoders stay on the device that they were loaded on."""
        if self._offload is not None:
            raise ValueError("parts are offloaded: call remove_all_hooks() before they are moved")
        for model in self.transformers:
            torch.nn.Module.to(model, device)
        return self

    @property
    def transformers(self) -> list[ContextAnyoneTransformer3DModel]:
        """The model, or both experts, that for high noise levels first."""
        both = (self.transformer, self.transformer_2)
        return [model for model in both if model is not None]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.transformer.device if self._offload is None else self._offload.device

    def enable_model_cpu_offload(self, device: torch.device | str = "cuda") -> None:
        """Hold text encoder, transformers and autoencoder on the CPU, on the device one in turn."""
        self.remove_all_hooks()
        self._offload = Offload(self.encoders, self.transformers, device, layer_by_layer=False)

    def enable_sequential_cpu_offload(self, device: torch.device | str = "cuda") -> None:
        """Hold all on the CPU, on the device one layer at a time: the least memory, and slow."""
        self.remove_all_hooks()
        self._offload = Offload(self.encoders, self.transformers, device, layer_by_layer=True)

    def remove_all_hooks(self) -> None:
        """End offloading; all parts stay on the CPU."""
        if self._offload is not None:
            self._offload.end()
            self._offload = None

    @property
    def interrupt(self) -> bool:
        """Whether the video that is being made ends before its next step; for callbacks."""
        return self._interrupt

    @interrupt.setter
    def interrupt(self, ends: bool) -> None:
        self._interrupt = ends

    def __call__(
        self,
        prompt: str | Sequence[str],
        reference: Reference | Sequence[Sequence[Picture]] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        guidance: Literal["separate", "joint", "none"] | None = None,
        text_guidance: float | None = None,
        reference_guidance: float | None = None,
        shift: float | None = None,
        step_cache: float | None = None,
        seed: int = 0,
        generator: Generators | None = None,
        negative_prompt: str = "",
        output_type: OutputType = "np",
        callback_on_step_end: Callable[[Any, int, float, dict[str, Any]], Any] | None = None,
        return_dict: bool = True,
        characters: Mapping[str, Reference] | None = None,
        character_guidance: Mapping[str, float] | None = None,
        character_boxes: Mapping[str, Sequence[Box]] | None = None,
    ) -> Any:
        """Make one video for each prompt.

        Args:
            prompt: what happens; a sequence gives a batch.
            reference: a picture of the character or its path, or several; for a batch one picture
                for all or a sequence of pictures for each prompt. None makes plain text-to-video.
            height, width: px, multiples of 16 (32 with the codec wan2.2); None is the size that the
                model was trained on.
            num_frames: 4k + 1.
            num_inference_steps, guidance, text_guidance, reference_guidance, shift, step_cache: as
                in `SamplingConfig`; None is as in the validation of the training. Each of two
                experts has the scales of its own training.
            seed: of every video of the batch; a video does not depend on the rest of the batch.
            generator: on the CPU; takes the place of `seed`. One for the batch or one a prompt.
            negative_prompt: what guidance leads away from; '' is what training dropped to.
            output_type: see `ContextAnyonePipelineOutput`.
            callback_on_step_end: called with (pipeline, step, timestep, {"latents": …}); the
                latents of the dict that it returns, if any, are those of the next step. It may set
                `pipeline.interrupt`, and the video ends as it is.
            return_dict: a `ContextAnyonePipelineOutput`, or the tuple (frames,).
            characters: instead of `reference`, several characters by the names that every prompt
                calls them by: {"anna": ["a.jpg", "b.jpg"], "bob": "c.jpg"}.
            character_guidance: by name, a scale of what a character's pictures add, beside
                `reference_guidance`; each costs a pass a step.
            character_boxes: by name, where each is: boxes (left, top, right, bottom) as shares of
                the picture, evenly spread over the video; of all characters or of none.
        """
        self.interrupt = False
        _check_output_type(output_type)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        size = self._size(height, width, num_frames)
        settings = {
            "steps": num_inference_steps,
            "guidance": guidance,
            "text_guidance": text_guidance,
            "reference_guidance": reference_guidance,
            "shift": shift,
            "step_cache": step_cache,
        }
        chosen = {name: value for name, value in settings.items() if value is not None}
        low = self.published.low_sampling
        if reference is not None and characters:
            raise ValueError("pass either reference, for one character, or characters, by name")
        latents = self.generate(
            prompts,
            None if reference is None else stack_references(reference, len(prompts), size),
            size,
            replace(self.published.sampling, **chosen),
            low_sampling=low and replace(low, **chosen),
            generator=generator or [torch.Generator().manual_seed(seed) for _ in prompts],
            negative_prompt=negative_prompt,
            on_step=_reporter(self, callback_on_step_end),
            cast=named_characters(
                characters or {}, character_guidance or {}, character_boxes or {}, size
            ),
        )
        frames = _output(self.encoders.codec, latents, output_type)
        if self._offload is not None:
            self._offload.rest()
        if not return_dict:
            return (frames,)
        return ContextAnyonePipelineOutput(frames, size.fps, output_type)

    def generate(
        self,
        prompts: Sequence[str],
        pictures: np.ndarray | None,
        size: VideoSize,
        sampling: SamplingConfig,
        generator: Generators,
        negative_prompt: str = "",
        on_step: Callable[[int, float, torch.Tensor], torch.Tensor | None] | None = None,
        low_sampling: SamplingConfig | None = None,
        cast: Sequence[NamedCharacter] = (),
    ) -> torch.Tensor:
        """Return latents (B, C, f, h, w) for prompts and pictures (B, R, H, W, 3) uint8.

        low_sampling: the scales of the expert for low noise levels; None is as in its training.
        cast: characters whom the prompts name, instead of the one of the pictures.
        """
        if cast:
            conditions = self.encode_cast(prompts, negative_prompt, cast, size)
        else:
            conditions = self.encode(prompts, negative_prompt, pictures)
        shape = (len(prompts), *latent_shape(self.encoders.codec, size))
        latents = sample(
            self.transformer,
            conditions,
            shape,
            sampling,
            generator=generator,
            on_step=on_step,
            interrupted=lambda: self.interrupt,
            low_noise=self._low_noise(low_sampling),
        )
        _check_finite(latents, self.transformer.dtype)
        return latents

    def encode(
        self, prompts: Sequence[str], negative_prompt: str, pictures: np.ndarray | None
    ) -> Conditions:
        """Encode prompts and pictures (B, R, H, W, 3) uint8 into what the sampler reads."""
        text = self.encoders.encode_prompts([*prompts, negative_prompt]).to(self.device)
        reference = image = None
        if pictures is not None:
            reference, image = self._encode_pictures(pictures)
        return Conditions(text[:-1], text[-1:], reference, image)

    def _low_noise(self, scales: SamplingConfig | None) -> LowNoise | None:
        if self.transformer_2 is None:
            return None
        scales = scales or self.published.low_sampling or self.published.sampling
        return LowNoise(self.transformer_2, self.published.boundary, scales)

    def encode_cast(
        self,
        prompts: Sequence[str],
        negative_prompt: str,
        cast: Sequence[NamedCharacter],
        size: VideoSize,
    ) -> Conditions:
        """Encode prompts and the characters whom they name. Raises ValueError for wrong names.

        A model that was trained on one character at a time reads no name.
        """
        names, marked = [each.name for each in cast], self.transformer.config["marks"]
        check_names(names, prompts, self.published.characters)
        check_layout({each.name: each.boxes for each in cast if each.boxes}, names, marked)
        plain = self.encode(prompts, negative_prompt, None)
        several = []
        for each in cast:
            shared = np.repeat(each.pictures[None], len(prompts), axis=0)
            reference, image = self._encode_pictures(shared)
            called = [as_written(each.name, prompt) for prompt in prompts]
            name = self.encoders.encode_prompts(called).to(self.device)
            several.append(CharacterConditions(reference, name, image))
        first, *others = several
        return replace(
            plain,
            reference=first.reference,
            image=first.image,
            name=first.name if self.published.characters > 1 else None,
            others=tuple(others),
            guidance=tuple(each.guidance for each in cast),
            **self._marks(prompts, cast, size),
        )

    def _marks(
        self, prompts: Sequence[str], cast: Sequence[NamedCharacter], size: VideoSize
    ) -> dict[str, torch.Tensor]:
        """Return which words speak of whom, and where each is; {} without marks."""
        if len(cast) == 1 or not self.transformer.config["marks"]:
            return {}
        names = [[each.name] * len(prompts) for each in cast]
        marks = {"mentions": mentions_of(self.encoders.text, prompts, names).to(self.device)}
        if cast[0].boxes:
            tracks = np.stack([track(each.boxes, size) for each in cast])
            boxes = torch.from_numpy(tracks).expand(len(prompts), -1, -1, -1)
            sides, stride = (size.height, size.width), self.encoders.codec.stride
            marks["boxes"] = shares_of_boxes(boxes, sides, stride).to(self.device)
        return marks

    def _encode_pictures(self, pictures: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        signed = to_signed(torch.from_numpy(pictures).to(self.device))
        reference = encode_references(signed, self.encoders).to(self.device)
        if self.transformer.config["image_dim"] is None:
            return reference, None
        return reference, encode_images(signed, self.encoders).to(self.device)

    def _size(self, height: int | None, width: int | None, frames: int | None) -> VideoSize:
        known = self.published.size
        size = VideoSize(
            known.height if height is None else height,
            known.width if width is None else width,
            known.frames if frames is None else frames,
            known.fps,
        )
        check_sides(size.height, size.width, self.encoders.codec.stride, "video")
        return size


def check_experts(published: Published) -> None:
    """Raise ValueError where one of two experts is missing."""
    if published.expert in ("high", "low"):
        other = "low" if published.expert == "high" else "high"
        raise ValueError(
            f"this model is the expert for {published.expert} noise levels alone, the one for "
            f"{other} ones is needed as well: --model HIGH --low LOW, or a folder with both"
        )


def named_characters(
    characters: Mapping[str, Reference],
    guidance: Mapping[str, float],
    boxes: Mapping[str, Sequence[Box]],
    size: VideoSize,
) -> list[NamedCharacter]:
    """Return characters with their pictures as training sets them. Raises ValueError."""
    check_guidance(guidance, list(characters))
    if boxes.keys() - characters.keys():
        raise ValueError(f"boxes of {', '.join(boxes)}, the characters are {', '.join(characters)}")
    return [
        NamedCharacter(
            name,
            stack_references(shown, 1, size)[0],
            guidance.get(name, 0.0),
            check_boxes(name, boxes[name]) if name in boxes else (),
        )
        for name, shown in characters.items()
    ]


def _load_transformer(path: Path, dtype: torch.dtype) -> ContextAnyoneTransformer3DModel:
    try:
        loaded: Any = ContextAnyoneTransformer3DModel.from_pretrained(
            str(path), torch_dtype=dtype, local_files_only=True, output_loading_info=True
        )
        model, info = loaded
    except Exception as error:  # whatever is wrong with the files, the folder is what to look at
        raise ValueError(
            f"the weights of {path} cannot be read ({type(error).__name__}: {str(error)[:300]}); "
            "export the model again"
        ) from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            names = ", ".join(str(name) for name in sorted(info[kind])[:3])
            raise ValueError(
                f"the weights of {path} do not fit its config.json: {len(info[kind])} "
                f"{kind.replace('_', ' ')} ({names}); export the model again"
            )
    for parameter in model.parameters():  # mapped from the file at odd addresses, where the CPU's
        parameter.data = parameter.data.clone()  # kernels round otherwise than in training
    return model


def check_fit(transformer: ContextAnyoneTransformer3DModel, encoders: Encoders) -> None:
    """Raise ValueError unless the transformer reads what these encoders make."""
    config = transformer.config
    pairs = [
        ("in_channels", "codec", encoders.codec.channels),
        ("text_dim", "text encoder", encoders.text.dim),
    ]
    if config["image_dim"] is not None:
        pairs.append(("image_dim", "image encoder", encoders.image.dim))
    for name, what, made in pairs:
        if config[name] != made:
            raise ValueError(
                f"the model reads {name} {config[name]}, this {what} gives {made}; use the "
                "encoders that the model was trained with"
            )


def latent_shape(codec: VideoCodec, size: VideoSize) -> tuple[int, int, int, int]:
    """Return (C, f, h, w) of the latents of a video."""
    sides = (size.height // codec.stride, size.width // codec.stride)
    return codec.channels, (size.frames - 1) // 4 + 1, *sides


def decode_frames(codec: VideoCodec, latents: torch.Tensor) -> np.ndarray:
    """Decode latents (B, C, f, h, w) to frames (B, F, H, W, 3) float32 in [0, 1], on the CPU."""
    videos = [codec.decode(video[None])[0].float().cpu() for video in latents]
    return ((torch.stack(videos) + 1) / 2).permute(0, 2, 3, 4, 1).contiguous().numpy()


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """Map [0, 1] to 0..255, rounded."""
    return (frames * 255).round().clip(0, 255).astype(np.uint8)


def _output(codec: VideoCodec, latents: torch.Tensor, output_type: OutputType) -> Any:
    if output_type == "latent":
        return latents
    frames = decode_frames(codec, latents)
    if output_type == "np":
        return frames
    if output_type == "pt":
        return torch.from_numpy(frames).permute(0, 1, 4, 2, 3).contiguous()
    pixels = to_uint8(frames)
    if output_type == "uint8":
        return pixels
    return [[Image.fromarray(frame) for frame in video] for video in pixels]


def _check_output_type(output_type: str) -> None:
    if output_type not in OUTPUT_TYPES:
        raise ValueError(
            f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}"
        )


def _reporter(
    pipeline: ContextAnyonePipeline, callback: Callable[..., Any] | None
) -> Callable[[int, float, torch.Tensor], torch.Tensor | None] | None:
    """Call a diffusers callback from the sampler."""
    if callback is None:
        return None

    def report(step: int, sigma: float, latents: torch.Tensor) -> torch.Tensor | None:
        returned = callback(pipeline, step, 1000 * sigma, {"latents": latents})
        return returned.get("latents") if isinstance(returned, dict) else None

    return report


def _check_finite(latents: torch.Tensor, dtype: torch.dtype) -> None:
    if not latents.isfinite().all():
        raise ValueError(
            f"sampling in {dtype} gave numbers that are not finite; use bfloat16 or float32, and "
            "if that is what was used, the model's weights are broken"
        )
