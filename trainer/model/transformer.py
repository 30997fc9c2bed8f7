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
from itertools import accumulate
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

ReferenceCache = tuple[Sequence[ReferenceKV], ...]  # of each block, and in it of each character
Reconstruction = Literal["none", "clean", "self", "other", "video_timestep"]
# Fields that models of version 0.1 did not have, with the values that say what those did.
SINCE_0_1 = {"emphasize_rank": 64, "emphasize_heads": 2, "reconstruction": "clean", "marks": 0}


class Character(NamedTuple):
    """A further character: what the first has as `reference`, `image_embeds` and `name`."""

    reference: torch.Tensor  # (B, C, R, Hr, Wr)
    image: torch.Tensor | None = None  # (B, T, image_dim)
    name: torch.Tensor | None = None  # (B, L, text_dim)


@dataclass
class ContextAnyoneOutput(BaseOutput):
    """Velocities, in the shapes of the latents that came in."""

    sample: torch.Tensor | None = None  # (B, C, F, H, W)
    reference: torch.Tensor | None = None  # (B, C, R, Hr, Wr), of the first character
    rebuilt: torch.Tensor | None = None  # (B, C, 1, Hr, Wr)
    cache: ReferenceCache | None = None


class ContextAnyoneTransformer3DModel(
    ModelMixin, ConfigMixin, PeftAdapterMixin, FirstBlockCaching, AttentionMixin
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
        # Under these, what the reference becomes depends on the video, its noise or the prompt.
        uncacheable = {
            "information_flow": "symmetric",
            "reference_noise": "shared",
            "reference_text": "prompt",
            "spatial_offset": "diagonal",
            "reconstruction": "video_timestep",
        }
        self.uncacheable_settings = [
            f"{name}={choice}"
            for name, choice in uncacheable.items()
            if self.config[name] == choice
        ]
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
        mask = condition_mask(keep_reference, keep_image, 1 + len(others), device)
        text = self._embed_text(encoder_hidden_states)
        names = [self._embed_text(each) for each in (name, *(other.name for other in others))]
        images = self._embed_images([image_embeds, *(other.image for other in others)])
        noisy = [latents for latents in (hidden_states, rebuilt) if latents is not None]
        own = names[0] if text is None or not self.prompt_reaches_reference else text
        reads = _reads(named, device) if own is names[0] else None
        readers = self._open_readers(noisy, timestep, text, encoder_hidden_states)
        if rebuilt is not None:  # of another shot than the prompt tells of: it reads its name
            readers[-1] = readers[-1]._replace(text=own, reads=reads)
        pictures = [] if reference is None else [reference, *(other.reference for other in others)]
        anchors = self._open_references(pictures, reference_timestep, hidden_states)
        anchors = [
            anchor._replace(text=own if number == 0 else called, reads=reads)
            for number, (anchor, called) in enumerate(zip(anchors, names, strict=False))
        ]
        if marks is not None and self.config["marks"]:
            marking = Marking.of(marks, mask.references, 1 + len(others), self.config["marks"])
            readers, anchors = self._mark(readers, anchors, marking)
        alone = len(readers) == 1 and not anchors and not return_cache and self.spread is ALONE
        kept = (step_cache or self.enabled_cache()) if alone and not self.training else None
        read: list[Any] | None = [] if return_cache else None
        if kept:
            readers = [self._pass_video(readers[0], images, reference_cache, mask, kept)]
        else:
            passed = self._pass_blocks(readers, anchors, images, reference_cache, mask, read)
            readers, anchors = passed
        velocities = [self._close(*each) for each in zip(readers, noisy, strict=True)]
        predicted = ContextAnyoneOutput(
            sample=velocities[0] if velocities else None,
            reference=self._close(anchors[0], pictures[0]) if anchors else None,
            rebuilt=velocities[1] if rebuilt is not None else None,
            cache=None if read is None else tuple(read),
        )
        return predicted if return_dict else predicted.to_tuple()

    def _pass_blocks(
        self,
        readers: list[Stream],
        anchors: list[Stream],
        images: list[torch.Tensor],
        reference_cache: ReferenceCache | None,
        mask: ConditionMask,
        read: list[Any] | None,
    ) -> tuple[list[Stream], list[Stream]]:
        """Pass all streams through all blocks; `read` takes what was read of the references."""
        for index, block in enumerate(self.blocks):
            reference_kv = () if reference_cache is None else reference_cache[index]
            run = self._runner(index, block)
            tokens, anchor_tokens, reference_kv = run(readers, anchors, images, reference_kv, mask)
            readers, anchors = _moved_on(readers, tokens), _moved_on(anchors, anchor_tokens)
            if read is not None:  # else it lives no longer than its block
                read.append(reference_kv)
        return readers, anchors

    def _pass_video(
        self,
        video: Stream,
        images: list[torch.Tensor],
        reference_cache: ReferenceCache | None,
        mask: ConditionMask,
        kept: StepCache,
    ) -> Stream:
        """Pass the video through the first block, and through the others where it changed much."""
        kept.begin(video.tokens)
        for index, block in enumerate(self.blocks):
            reference_kv = () if reference_cache is None else reference_cache[index]
            [tokens], _, _ = block([video], [], images, reference_kv, mask)
            video = video._replace(tokens=tokens)
            if index == 0 and (last := kept.after_first(tokens)) is not None:
                return video._replace(tokens=last)
        kept.after_last(video.tokens)
        return video

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

    def _open_readers(
        self,
        noisy: Sequence[torch.Tensor],
        timestep: torch.Tensor | None,
        text: torch.Tensor | None,
        prompt: torch.Tensor | None,
    ) -> list[Stream]:
        """Open the video, and the picture that is rebuilt, if any."""
        if not noisy:
            return []
        if timestep is None or prompt is None:
            raise ValueError("a video needs a timestep and encoder_hidden_states, got None")
        if timestep.ndim == 2 and len(noisy) > 1:
            raise ValueError("a rebuilt picture needs one timestep a video, got one for each token")
        if timestep.ndim == 2:
            timestep = self.spread.share(timestep)
        time, modulation = self._embed_time(timestep, prompt.dtype)
        return [
            Stream(
                self._patchify(latents),
                time,
                modulation,
                self.rope.video(*self._grid(latents)),
                text,
                spread=self.spread,
            )
            for latents in noisy
        ]

    def _open_references(
        self,
        pictures: Sequence[torch.Tensor],
        timestep: torch.Tensor | None,
        video: torch.Tensor | None,
    ) -> list[Stream]:
        """Open a stream for the references of each character, one after another on the gap axis."""
        if not pictures:
            return []
        if timestep is None:
            timestep = torch.zeros(len(pictures[0]), device=pictures[0].device)
        time, modulation = self._embed_time(timestep, pictures[0].dtype)
        offset = (0, 0)
        if self.diagonal and video is not None:
            offset = self._grid(video)[1:]
        first = accumulate((latents.shape[2] for latents in pictures), initial=0)
        return [
            Stream(
                self._patchify(latents),
                time,
                modulation,
                self.rope.references(*self._grid(latents), self.gap, offset, place),
                None,
                spread=self.spread,
            )
            for latents, place in zip(pictures, first, strict=False)
        ]

    def _mark(
        self, readers: list[Stream], anchors: list[Stream], marking: Marking
    ) -> tuple[list[Stream], list[Stream]]:
        """Say whose tokens are; a picture that is rebuilt is one of the first character."""
        whose = [marking.of_video(self.patch_size), marking.of_character(0)]
        shares = whose[0].shares
        if shares is not None:
            whose[0] = whose[0]._replace(shares=self.spread.share(shares))
        readers = [each._replace(whose=of) for each, of in zip(readers, whose, strict=False)]
        of_each = map(marking.of_character, range(len(anchors)))
        return readers, [each._replace(whose=of) for each, of in zip(anchors, of_each, strict=True)]

    def _embed_text(self, features: torch.Tensor | None) -> torch.Tensor | None:
        return None if features is None else self.condition_embedder.text_embedder(features)

    def _embed_images(self, images: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
        """Embed the image tokens of each character: of all of them, or of none."""
        present = [image for image in images if image is not None]
        if not present:
            return []
        embedder = self.condition_embedder.image_embedder
        if embedder is None:
            raise ValueError(
                "this model has no image branch (image_dim is None): pass no image_embeds"
            )
        if len(present) < len(images):
            raise ValueError(
                f"{len(present)} of {len(images)} characters have image tokens; pass them for all "
                "or for none"
            )
        return [embedder(image) for image in present]

    def _embed_time(
        self, timestep: torch.Tensor, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed (B,) or (B, n) timesteps: (B, 1 or n, D), and what modulates (B, 1 or n, 6, D)."""
        embedder = self.condition_embedder
        features = embedder.timesteps_proj(timestep.flatten())
        features = features.to(embedder.time_embedder.linear_1.weight.dtype)
        time = embedder.time_embedder(features.unflatten(0, (len(timestep), -1))).to(dtype)
        return time, embedder.time_proj(embedder.act_fn(time)).unflatten(2, (6, -1))

    def _grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        sizes = zip(latents.shape[2:], self.patch_size, strict=True)
        frames, rows, columns = (size // patch for size, patch in sizes)
        return frames, rows, columns

    def _patchify(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, C, F, H, W) to this process's tokens (B, n, D)."""
        tokens = self.patch_embedding(latents).flatten(2).transpose(1, 2)
        return self.spread.share(tokens).contiguous()

    def _close(self, stream: Stream, latents: torch.Tensor) -> torch.Tensor:
        """Tokens (B, n, D) to the velocity, in the shape of the latents that they came from."""
        shift, scale = (self.scale_shift_table + stream.time.unsqueeze(2)).unbind(2)
        tokens = (self.norm_out(stream.tokens.float()) * (1 + scale) + shift).type_as(stream.tokens)
        patches = stream.spread.joined(self.proj_out(tokens), stream.number)
        patches = patches.unflatten(2, (*self.patch_size, -1))
        patches = patches.unflatten(1, self._grid(latents))  # (B, f, h, w, pt, ph, pw, C)
        return patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _moved_on(streams: Sequence[Stream], tokens: Sequence[torch.Tensor]) -> list[Stream]:
    return [stream._replace(tokens=its) for stream, its in zip(streams, tokens, strict=True)]


def _reads(rows: Sequence[bool] | None, device: torch.device) -> torch.Tensor | None:
    if rows is None or all(rows):
        return None
    return torch.tensor(tuple(rows), device=device).view(-1, 1, 1, 1)
