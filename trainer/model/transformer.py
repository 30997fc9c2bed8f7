"""The ContextAnyone transformer: Wan with a reference stream beside the video.

    B batch  C latent channels  F latent frames  H,W latent size  R references  N tokens  D width
    L text tokens  T image tokens

Of several characters each has its references in a stream of its own, further out on the temporal
axis, and these read the character's name: that is what a prompt calls it by.

Source: ContextAnyone (arXiv 2512.07328) for the parts; diffusers' WanTransformer3DModel
(Apache-2.0) for the backbone, whose parameter names are kept so that its checkpoints load.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanTimeTextImageEmbedding
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.peft_utils import apply_lora_scale
from torch import nn

from trainer.model.block import ContextAnyoneBlock, ReferenceKV, Stream
from trainer.model.emphasis import DEFAULT_FORM, EmphasisForm
from trainer.model.fields import check_fields, field_types
from trainer.model.loading import load_pretrained, new_module
from trainer.model.marks import Marking, Marks
from trainer.model.recompute import Keeps, recompute
from trainer.model.rope import GapRope
from trainer.model.seen import ConditionMask, Keep, condition_mask
from trainer.model.spread import ALONE, TokenSpread
from trainer.model.step_cache import FirstBlockCaching, StepCache
from trainer.model.streams import Character, StreamEnds

ReferenceCache = tuple[Sequence[ReferenceKV], ...]  # of each block, and in it of each character
Reconstruction = Literal["none", "clean", "self", "other", "video_timestep"]
# Under these, what the reference becomes depends on the video, its noise or the prompt.
_UNCACHEABLE = {
    "information_flow": "symmetric",
    "reference_noise": "shared",
    "reference_text": "prompt",
    "spatial_offset": "diagonal",
    "reconstruction": "video_timestep",
}
# Fields that models of version 0.1 did not have, with the values that say what those did.
SINCE_0_1 = {"emphasize_rank": 64, "emphasize_heads": 2, "reconstruction": "clean", "marks": 0}


class Conditions(NamedTuple):
    """What the streams of every block read besides each other."""

    images: Sequence[torch.Tensor]  # (B, T, D) of each character
    mask: ConditionMask
    cache: ReferenceCache | None

    def of_block(
        self, index: int
    ) -> tuple[Sequence[torch.Tensor], Sequence[ReferenceKV], ConditionMask]:
        """Return what one block is called with, besides its streams."""
        return self.images, () if self.cache is None else self.cache[index], self.mask


@dataclass
class ContextAnyoneOutput(BaseOutput):
    """Velocities, in the shapes of the latents that came in."""

    sample: torch.Tensor | None = None  # (B, C, F, H, W)
    reference: torch.Tensor | None = None  # (B, C, R, Hr, Wr), of the first character
    rebuilt: torch.Tensor | None = None  # (B, C, 1, Hr, Wr)
    cache: ReferenceCache | None = None


class ContextAnyoneTransformer3DModel(
    ModelMixin, ConfigMixin, PeftAdapterMixin, FirstBlockCaching, AttentionMixin, StreamEnds
):
    """Text and references of a character to the velocity of a video, and of the references.

    The first fields are Wan's; the others belong to the method.

    Attributes:
        gap: temporal distance between the video and the first reference, and between references;
            those of further characters come after those of the first.
        spatial_offset: "diagonal" also moves references off the video's grid.
        information_flow: "asymmetric", or "symmetric" for ablation.
        emphasize: form of Emphasize-Attention, see emphasis.py; True is that of version 0.1.
        emphasize_rank: rank of the form low_rank.
        emphasize_heads: heads of the form few_heads.
        emphasize_rope: "none" matches by content; "gap" also by place.
        reference_noise: "clean", or "shared": the reference is noised like the video.
        reconstruction: what training rebuilds. "self" the reference, or "other" another picture of
            the character, from noise, reading the reference as the video does; "clean" the
            reference from itself; "video_timestep" the same at the video's timestep; or "none".
        reference_text: "none", or "prompt": the reference stream reads the prompt too.
        marks: characters of a video that can be marked, see marks.py; 0 has no marks.
        checkpoint_every: recompute every n-th block in the backward pass; 0 none, 1 all.
        checkpoint_keeps: what of such a block is not computed again.
    """

    _supports_gradient_checkpointing = True
    _skip_layerwise_casting_patterns: ClassVar = ["patch_embedding", "condition_embedder", "norm"]
    _no_split_modules: ClassVar = ["ContextAnyoneBlock"]
    _repeated_blocks: ClassVar = ["ContextAnyoneBlock"]
    _keep_in_fp32_modules: ClassVar = [
        *("rope", "time_embedder", "scale_shift_table"),
        *("norm1", "norm2", "norm3"),
    ]
    _keys_to_ignore_on_load_unexpected: ClassVar = ["norm_added_q"]

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        num_attention_heads: int = 12,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 8960,
        num_layers: int = 30,
        cross_attn_norm: bool = True,
        qk_norm: Literal["rms_norm_across_heads"] | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = 1280,
        added_kv_proj_dim: int | None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
        gap: int = 30,
        spatial_offset: Literal["none", "diagonal"] = "none",
        information_flow: Literal["asymmetric", "symmetric"] = "asymmetric",
        emphasize: Literal[EmphasisForm, True, False] = DEFAULT_FORM,
        emphasize_rope: Literal["none", "gap"] = "none",
        reference_noise: Literal["clean", "shared"] = "clean",
        reference_text: Literal["none", "prompt"] = "none",
        emphasize_rank: int = 64,
        emphasize_heads: int = 2,
        reconstruction: Reconstruction = "clean",
        marks: int = 0,
    ) -> None:
        super().__init__()
        check_fields(self.config, type(self).__init__)
        width = num_attention_heads * attention_head_dim
        self.rope = GapRope(attention_head_dim, patch_size, rope_max_seq_len)
        self.patch_embedding = nn.Conv3d(in_channels, width, patch_size, stride=patch_size)
        self.condition_embedder = WanTimeTextImageEmbedding(
            width, freq_dim, 6 * width, text_dim, image_dim, pos_embed_seq_len
        )
        added = (added_kv_proj_dim or width) if image_dim is not None else None
        self.blocks = nn.ModuleList(
            ContextAnyoneBlock(
                *(width, ffn_dim, num_attention_heads, qk_norm, cross_attn_norm, eps, added),
                *(emphasize, emphasize_rank, emphasize_heads, emphasize_rope, information_flow),
                marks,
            )
            for _ in range(num_layers)
        )
        self.norm_out = FP32LayerNorm(width, eps, elementwise_affine=False)
        self.proj_out = nn.Linear(width, out_channels * math.prod(patch_size))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, width) / width**0.5)
        self.patch_size, self.gap = patch_size, gap
        self.diagonal = spatial_offset == "diagonal"
        self.prompt_reaches_reference = reference_text == "prompt"
        self.gradient_checkpointing = False
        self.checkpoint_every = 1
        self.checkpoint_keeps: Keeps = "nothing"
        self.blocks_compiled = False
        self.spread = ALONE

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: torch.Tensor | None,
        timestep: torch.Tensor | None,
        encoder_hidden_states: torch.Tensor | None,
        reference: torch.Tensor | None = None,
        reference_timestep: torch.Tensor | None = None,
        image_embeds: torch.Tensor | None = None,
        keep_reference: Keep | None = None,
        keep_image: Keep | None = None,
        reference_cache: ReferenceCache | None = None,
        return_cache: bool = False,
        rebuilt: torch.Tensor | None = None,
        return_dict: bool = True,
        name: torch.Tensor | None = None,
        others: Sequence[Character] = (),
        named: Sequence[bool] | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        step_cache: StepCache | None = None,
        marks: Marks | None = None,
    ) -> Any:
        """Predict velocities of the noisy video, and of pictures that are rebuilt.

        Args:
            hidden_states: (B, C, F, H, W) noisy video latents; None to only fill a cache.
            timestep: (B,) 1000 * sigma; or (B, N_video) one for each token, as Wan 2.2 TI2V takes
                it, where a part of the video is given: 0 where it is clean.
            encoder_hidden_states: (B, L, text_dim) of the prompt.
            reference: (B, C, R, Hr, Wr) latents, each image encoded alone; None: text-to-video.
            reference_timestep: (B,) 1000 * sigma of the references; None is 0, clean.
            image_embeds: (B, T, image_dim) image tokens of the references.
            keep_reference, keep_image: per row, on the host: does it see them? None: all do. With
                several characters a row may say it of each.
            reference_cache: what `cache_reference` returned for these references.
            return_cache: whether to return what the video read of the references.
            rebuilt: (B, C, 1, Hr, Wr) noisy latents of a picture of the character at the video's
                timestep. It stands where the video's first frame does and reads the references
                as the video does; neither sees it.
            return_dict: a `ContextAnyoneOutput`, or the tuple of what it holds.
            name: (B, L, text_dim) features of the first character's name alone; its references
                read it, and a picture that is rebuilt as well. None where there is one character.
            others: further characters. Their references see neither the first's nor each other's.
            named: rows whose characters have names; None is all.
            attention_kwargs: of diffusers; its `scale` is that of adapters, the rest has no effect.
            step_cache: what this branch keeps from step to step; used where the video alone passes.
            marks: which tokens are of whom, where there are several characters.
        """
        # Not self.device: parameters that are offloaded wait elsewhere.
        device = next(x for x in (hidden_states, reference) if x is not None).device
        number = 1 + len(others)  # of characters
        mask = condition_mask(keep_reference, keep_image, number, device)
        names = [name, *(other.name for other in others)]
        texts = self.embed_texts(encoder_hidden_states, names, named, device)
        images = self.embed_images([image_embeds, *(other.image for other in others)])
        pictures = [] if reference is None else [reference, *(other.reference for other in others)]

        readers = self.open_readers(hidden_states, rebuilt, timestep, texts)
        references = self.open_references(pictures, reference_timestep, texts, hidden_states)
        if marks is not None and self.config["marks"]:
            marking = Marking.of(marks, mask.references, number, self.config["marks"])
            readers, references = self.mark(readers, references, marking)

        conditions = Conditions(images, mask, reference_cache)
        readers, references, read = self._pass_blocks(
            readers, references, conditions, return_cache, step_cache
        )

        noisy = [latents for latents in (hidden_states, rebuilt) if latents is not None]
        velocities = [self.close(*each) for each in zip(readers, noisy, strict=True)]
        predicted = ContextAnyoneOutput(
            sample=velocities[0] if velocities else None,
            reference=self.close(references[0], pictures[0]) if references else None,
            rebuilt=velocities[1] if rebuilt is not None else None,
            cache=read,
        )
        return predicted if return_dict else predicted.to_tuple()

    def _pass_blocks(
        self,
        readers: list[Stream],
        references: list[Stream],
        conditions: Conditions,
        return_cache: bool,
        step_cache: StepCache | None,
    ) -> tuple[list[Stream], list[Stream], ReferenceCache | None]:
        """Pass all streams through the blocks; the last is what was read of the references."""
        kept = None if return_cache else self._step_cache(step_cache, readers, references)
        if kept is not None:
            return [self._pass_video(readers[0], conditions, kept)], [], None
        read = []
        for index, block in enumerate(self.blocks):
            run = self._runner(index, block)
            tokens, own_tokens, kv = run(readers, references, *conditions.of_block(index))
            readers, references = _moved_on(readers, tokens), _moved_on(references, own_tokens)
            if return_cache:  # else it lives no longer than its block
                read.append(kv)
        return readers, references, tuple(read) if return_cache else None

    def _pass_video(self, video: Stream, conditions: Conditions, kept: StepCache) -> Stream:
        """Pass the video through the first block, and through the others where it changed much."""
        kept.begin(video.tokens)
        for index, block in enumerate(self.blocks):
            [tokens], _, _ = block([video], [], *conditions.of_block(index))
            video = video._replace(tokens=tokens)
            if index == 0 and (last := kept.after_first(tokens)) is not None:
                return video._replace(tokens=last)
        kept.after_last(video.tokens)
        return video

    def _step_cache(
        self, passed: StepCache | None, readers: list[Stream], references: list[Stream]
    ) -> StepCache | None:
        """Return what to keep from step to step, where the video alone passes the blocks."""
        if self.training or len(readers) != 1 or references or self.spread is not ALONE:
            return None
        return passed or self.enabled_cache()

    @property
    def uncacheable_settings(self) -> list[str]:
        """Fields, as name=value, because of which the references' features cannot be cached."""
        return [
            f"{name}={choice}"
            for name, choice in _UNCACHEABLE.items()
            if self.config[name] == choice
        ]

    def cache_reference(
        self,
        reference: torch.Tensor,
        image_embeds: torch.Tensor | None = None,
        name: torch.Tensor | None = None,
        others: Sequence[Character] = (),
        marks: Marks | None = None,
    ) -> ReferenceCache:
        """Let the references pass once; every step and every branch of guidance can reuse it.

        Raises:
            ValueError: when the reference's features depend on the video, its noise or the prompt.
        """
        if self.uncacheable_settings:
            raise ValueError(
                "a reference can be cached only when its features depend on nothing else, which "
                f"{', '.join(self.uncacheable_settings)} does not allow; pass the reference at "
                "every step"
            )
        output = self(
            *(None, None, None),
            reference=reference,
            image_embeds=image_embeds,
            return_cache=True,
            name=name,
            others=others,
            marks=marks,
        )
        assert output.cache is not None, "asked for"
        return output.cache

    def enable_checkpointing(self, every: int, keeps: Keeps = "nothing") -> None:
        """Recompute every n-th block in the backward pass, but for what it keeps; 0 none, 1 all."""
        self.gradient_checkpointing = every > 0
        self.checkpoint_every, self.checkpoint_keeps = max(every, 1), keeps

    def compile_blocks(self) -> None:
        """Compile every block; one compilation serves all of them."""
        self.blocks_compiled = True
        for block in self.blocks:
            block.compile()

    def spread_tokens(self, spread: TokenSpread) -> None:
        """Let several processes share every sample; all of them must be called with the same.

        Raises ValueError when the heads cannot be shared out evenly.
        """
        heads = self.config["num_attention_heads"]
        if heads % spread.degree:
            raise ValueError(
                f"a model of {heads} heads cannot be shared by {spread.degree} processes: their "
                "number must divide the heads"
            )
        self.spread = spread

    def named_config(self) -> dict[str, Any]:
        """Return the fields as a checkpoint names them.

        Those that version 0.1 did not have are left out where they say what it did, so that its
        trainings go on; and those that a base has besides ours.
        """
        ours = field_types(type(self).__init__)
        return {
            name: value
            for name, value in self.config.items()
            if name in ours and SINCE_0_1.get(name, ...) != value
        }

    def new_parameter_names(self) -> set[str]:
        """Return the parameters that no base has."""
        return {name for name, _ in self.named_parameters() if new_module(name)}

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, **options: Any
    ) -> "ContextAnyoneTransformer3DModel":
        """Load our own folder, or one of a base, whose new modules start silent."""
        path = pretrained_model_name_or_path
        return load_pretrained(cls, super().from_pretrained, path, options)

    def _runner(self, index: int, block: nn.Module) -> Callable[..., Any]:
        recomputed = self.gradient_checkpointing and index % self.checkpoint_every == 0
        if recomputed and torch.is_grad_enabled():
            return functools.partial(recompute, self.checkpoint_keeps, self.blocks_compiled, block)
        return block


def _moved_on(streams: Sequence[Stream], tokens: Sequence[torch.Tensor]) -> list[Stream]:
    return [stream._replace(tokens=its) for stream, its in zip(streams, tokens, strict=True)]
