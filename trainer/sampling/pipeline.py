"""The published model: a prompt and pictures of a character become a video.

A class of our own in the manner of a diffusers pipeline. `DiffusionPipeline` itself would import
the modules that a folder's model_index.json names; here no folder decides what is imported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm.auto import tqdm

from trainer.data.boxes import shares_of_boxes
from trainer.data.data_config import check_sides
from trainer.encoders.encode_batch import encode_images, encode_references, to_signed
from trainer.encoders.encoder_config import EncoderConfig, Encoders, load_encoders
from trainer.encoders.interfaces import VideoCodec
from trainer.encoders.mentions import mentions_of
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.callback import CALLBACK_TENSORS, check_callback_tensors, reporter
from trainer.sampling.cast import NamedCharacter, as_written, check_names, named_characters
from trainer.sampling.layout import Box, check_layout, track
from trainer.sampling.loading import (
    check_experts,
    check_fit,
    load_transformer,
    round_weights,
)
from trainer.sampling.model_folder import (
    TRANSFORMER,
    TRANSFORMER_2,
    Published,
    VideoSize,
    read_published,
    write_published,
)
from trainer.sampling.offload import Offload
from trainer.sampling.output import (
    ContextAnyonePipelineOutput,
    OutputType,
    check_output_type,
    in_form,
)
from trainer.sampling.references import Picture, Reference, stack_references
from trainer.sampling.sampler import (
    CharacterConditions,
    Conditions,
    Generators,
    LowNoise,
    SamplingConfig,
    sample,
)


class ContextAnyonePipeline:
    """A trained model that makes videos: the transformer, the frozen encoders, their settings.
    Of two experts `transformer` is for high noise levels and `transformer_2` for low ones.

    from trainer.sampling.pipeline import ContextAnyonePipeline

    pipeline = ContextAnyonePipeline.from_pretrained("model", device="cpu")
    videos = pipeline("A woman walks along a beach.", reference="her.jpg", seed=7)
    videos.save("her.mp4")
    print(videos.frames.shape)  # (1, frames, height, width, 3), float32 in [0, 1]
    """

    _callback_tensor_inputs = CALLBACK_TENSORS

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
        self._bar: dict[str, Any] = {"disable": True}
        self._steps = 0

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        encoders: Encoders | EncoderConfig | None = None,
        torch_dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        low: str | Path | None = None,
        variant: str | None = None,
    ) -> "ContextAnyonePipeline":
        """Load an exported folder; `encoders` takes the place of what its encoders.json says.

        low: folder of the expert for low noise levels, where `folder` is that for high ones.
        variant: of the weights' files, as they were saved: "fp16" for `….fp16.safetensors`.
        """
        folder = Path(folder)
        published, second = read_published(folder), None
        if low is not None:
            published = published.with_low(read_published(Path(low)))
            second = load_transformer(Path(low) / TRANSFORMER, torch_dtype, variant)
        elif published.expert == "both":
            second = load_transformer(folder / TRANSFORMER_2, torch_dtype, variant)
        if isinstance(encoders, EncoderConfig):
            published = replace(published, encoders=encoders)
        if not isinstance(encoders, Encoders):
            encoders = load_encoders(published.encoders, device)
        first = load_transformer(folder / TRANSFORMER, torch_dtype, variant)
        return cls(first, encoders, published, second).to(device)

    def save_pretrained(self, folder: str | Path, variant: str | None = None) -> None:
        """Write the folder that `from_pretrained` reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, model in zip((TRANSFORMER, TRANSFORMER_2), self.transformers, strict=False):
            model.save_pretrained(folder / name, variant=variant)
        write_published(folder, self.published)

    def to(
        self,
        device: torch.device | str | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
    ) -> "ContextAnyonePipeline":
        """Move the transformers, and round them as `from_pretrained` does with `torch_dtype`.

        Encoders stay on the device that they were loaded on.
        """
        if self._offload is not None:
            raise ValueError("parts are offloaded: call remove_all_hooks() before they are moved")
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        for model in self.transformers:
            if dtype is not None:
                round_weights(model, dtype)
            torch.nn.Module.to(model, device)
        return self

    @property
    def transformers(self) -> list[ContextAnyoneTransformer3DModel]:
        """The model, or both experts, that for high noise levels first."""
        both = (self.transformer, self.transformer_2)
        return [model for model in both if model is not None]

    @property
    def components(self) -> dict[str, Any]:
        """What it is made of: `ContextAnyonePipeline(**pipeline.components)` shares it all."""
        made_of = {
            "transformer": self.transformer,
            "encoders": self.encoders,
            "published": self.published,
        }
        return (
            made_of
            if self.transformer_2 is None
            else made_of | {"transformer_2": self.transformer_2}
        )

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

    def set_progress_bar_config(self, **settings: Any) -> None:
        """Set how tqdm shows the steps; `disable=False` shows them, which is not the default."""
        self._bar = settings

    @property
    def num_timesteps(self) -> int:
        """Steps of the video that is being made, or of the last one."""
        return self._steps

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
        num_videos_per_prompt: int = 1,
        seed: int = 0,
        generator: Generators | None = None,
        latents: torch.Tensor | None = None,
        negative_prompt: str = "",
        output_type: OutputType = "np",
        callback_on_step_end: Callable[[Any, int, float, dict[str, Any]], Any] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = CALLBACK_TENSORS,
        return_dict: bool = True,
        characters: Mapping[str, Reference] | None = None,
        character_guidance: Mapping[str, float] | None = None,
        character_boxes: Mapping[str, Sequence[Box]] | None = None,
    ) -> Any:
        """Make a video for each prompt, or several.

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
            num_videos_per_prompt: videos of the same prompt stand side by side in the batch.
            seed: of the first video of every prompt, the next has the next; a video does not depend
                on the rest of the batch.
            generator: on the CPU; takes the place of `seed`. One for the batch or one a video.
            latents: noise (B, C, f, h, w) of all videos to begin with, instead of one that is
                drawn.
            negative_prompt: what guidance leads away from; '' is what training dropped to.
            output_type: see `ContextAnyonePipelineOutput`.
            callback_on_step_end: called with (pipeline, step, timestep, {"latents": …}); the
                latents of the dict that it returns, if any, are those of the next step. It may set
                `pipeline.interrupt`, and the video ends as it is.
            callback_on_step_end_tensor_inputs: what the callback's dict holds.
            return_dict: a `ContextAnyonePipelineOutput`, or the tuple (frames,).
            characters: instead of `reference`, several characters by the names that every prompt
                calls them by: {"anna": ["a.jpg", "b.jpg"], "bob": "c.jpg"}.
            character_guidance: by name, a scale of what a character's pictures add, beside
                `reference_guidance`; each costs a pass a step.
            character_boxes: by name, where each is: boxes (left, top, right, bottom) as shares of
                the picture, evenly spread over the video; of all characters or of none.
        """
        self.interrupt = False
        check_output_type(output_type)
        check_callback_tensors(callback_on_step_end_tensor_inputs)
        if reference is not None and characters:
            raise ValueError("pass either reference, for one character, or characters, by name")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        repeated, generators = _side_by_side(prompts, num_videos_per_prompt, seed)
        size = self._size(height, width, num_frames)
        sampling, low_sampling = self._sampling(
            steps=num_inference_steps,
            guidance=guidance,
            text_guidance=text_guidance,
            reference_guidance=reference_guidance,
            shift=shift,
            step_cache=step_cache,
        )
        pictures = None
        if reference is not None:
            pictures = stack_references(reference, len(prompts), size)
            pictures = pictures.repeat(num_videos_per_prompt, axis=0)
        cast = named_characters(
            characters or {}, character_guidance or {}, character_boxes or {}, size
        )
        self._steps = sampling.steps
        with tqdm(total=sampling.steps, **self._bar) as bar:
            report = reporter(self, bar, callback_on_step_end, callback_on_step_end_tensor_inputs)
            made = self.generate(
                *(repeated, pictures, size, sampling, generator or generators, negative_prompt),
                on_step=report,
                low_sampling=low_sampling,
                cast=cast,
                noise=latents,
            )
        frames = in_form(self.encoders.codec, made, output_type)
        if self._offload is not None:
            self._offload.rest()
        output = ContextAnyonePipelineOutput(frames, size.fps, output_type)
        return output if return_dict else (frames,)

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
        noise: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return latents (B, C, f, h, w) for prompts and pictures (B, R, H, W, 3) uint8.

        noise: to begin with, of the same shape; None draws it.
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
            noise=noise,
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

    def _sampling(self, **settings: Any) -> tuple[SamplingConfig, SamplingConfig | None]:
        """Return how to sample, as the training's validation but for what is not None.

        The second is of the expert for low noise levels, if there are two.
        """
        chosen = {name: value for name, value in settings.items() if value is not None}
        low = self.published.low_sampling
        return replace(self.published.sampling, **chosen), low and replace(low, **chosen)

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


def latent_shape(codec: VideoCodec, size: VideoSize) -> tuple[int, int, int, int]:
    """Return (C, f, h, w) of the latents of a video."""
    sides = (size.height // codec.stride, size.width // codec.stride)
    return codec.channels, (size.frames - 1) // 4 + 1, *sides


def _side_by_side(
    prompts: Sequence[str], number: int, seed: int
) -> tuple[list[str], list[torch.Generator]]:
    """Return a prompt, and noise of a seed, for each of several videos of every prompt."""
    if number < 1:
        raise ValueError(f"num_videos_per_prompt must be at least 1, got {number}")
    seeds = [seed + place for _ in prompts for place in range(number)]
    repeated = [prompt for prompt in prompts for _ in range(number)]
    return repeated, [torch.Generator().manual_seed(each) for each in seeds]


def _check_finite(latents: torch.Tensor, dtype: torch.dtype) -> None:
    if not latents.isfinite().all():
        raise ValueError(
            f"sampling in {dtype} gave numbers that are not finite; use bfloat16 or float32, and "
            "if that is what was used, the model's weights are broken"
        )
