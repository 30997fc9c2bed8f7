"""One block: streams of tokens through the same weights, of which some read the reference."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock

from trainer.model.attention import (
    Projected,
    SilentLinear,
    attend,
    attend_both,
    normalize,
    output,
    project,
    split_heads,
)
from trainer.model.emphasis import Emphasis, make_emphasis
from trainer.model.rope import Rotation


class Stream(NamedTuple):
    """Tokens on their way through the blocks, and what goes with them."""

    tokens: torch.Tensor  # (B, N, D)
    time: torch.Tensor  # (B, 1 or N, D), from the stream's own timestep or its tokens'
    modulation: torch.Tensor  # (B, 1 or N, 6, D), from time
    rotation: Rotation
    text: torch.Tensor | None  # (B, L, D), what it reads besides the image tokens


class ReferenceKV(NamedTuple):
    """Keys and values of the reference in one block: all that a cache must hold."""

    key: torch.Tensor  # (B, N_r, heads, head_dim), rotated
    value: torch.Tensor
    emphasis_key: torch.Tensor | None
    emphasis_value: torch.Tensor | None
    rotation: Rotation


class ConditionMask(NamedTuple):
    """Which rows of a batch see which condition; None is all of them."""

    rows: Sequence[bool] | None = None  # that see the reference, known on the host
    reference: torch.Tensor | None = None  # (B, 1, 1), the same as 0 and 1
    image: torch.Tensor | None = None  # (B, 1, 1, 1)


NOTHING_DROPPED = ConditionMask()


class ContextAnyoneBlock(WanTransformerBlock):
    """A Wan block in which the video, and a picture that is rebuilt, also read a reference stream.

    Asymmetric: the reference sees only itself, its readers see it and themselves. No noisy feature
    flows back, so what the reference becomes does not depend on its readers at all.
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        heads: int,
        qk_norm: str | None,
        cross_attn_norm: bool,
        eps: float,
        added_kv_proj_dim: int | None,
        emphasize: bool | str,
        emphasize_rank: int,
        emphasize_heads: int,
        emphasize_rope: str,
        information_flow: str,
    ) -> None:
        super().__init__(
            dim, ffn_dim, heads, qk_norm or "", cross_attn_norm, eps, added_kv_proj_dim
        )
        self.emphasize = make_emphasis(emphasize, dim, heads, eps, emphasize_rank, emphasize_heads)
        self.rotate_emphasis = emphasize_rope == "gap"
        self.symmetric = information_flow == "symmetric"
        if added_kv_proj_dim is not None:
            self.attn2.add_v_proj = SilentLinear(added_kv_proj_dim, dim)
        if self.emphasize is not None:
            self.emphasize.copy_from(self.attn1)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        readers: Sequence[Stream],
        reference: Stream | None,
        image: torch.Tensor | None = None,
        reference_kv: ReferenceKV | None = None,
        mask: ConditionMask = NOTHING_DROPPED,
    ) -> tuple[list[torch.Tensor], torch.Tensor | None, ReferenceKV | None]:
        """Return the tokens of readers and reference, and what is read of the reference.

        Args:
            readers: the noisy video, and a noisy picture of the character if one is rebuilt;
                none of them to let the reference pass alone. They do not see each other.
            reference: the reference; None with reference_kv, or for plain text-to-video.
            image: image tokens (B, T, D).
            reference_kv: what an earlier pass of the same reference returned.
            mask: rows that see the reference and the image tokens.
        """
        reference_tokens = None
        image_kv = self._project_image(image)
        projected_readers = [self._project(reader) for reader in readers]
        if reference is not None:
            projected = self._project(reference)
            reference_kv = self._keys_and_values(projected, reference.rotation)
            video = projected_readers[0] if projected_readers else None
            reference_tokens = self._add_attended(
                reference, self._reference_heads(projected, video, mask)
            )
            del projected, video  # dead before the feed-forward: a quarter of sampling's memory
            reference_tokens = self._finish(reference, reference_tokens, image_kv, mask)
        reader_tokens = []
        for reader in readers:
            tokens = self._read(reader, projected_readers.pop(0), reference_kv, mask)
            reader_tokens.append(self._finish(reader, tokens, image_kv, mask))
        return reader_tokens, reference_tokens, reference_kv

    def _project(self, stream: Stream) -> Projected:
        shift, scale, *_ = self._modulation(stream.modulation)
        normed = (self.norm1(stream.tokens.float()) * (1 + scale) + shift).type_as(stream.tokens)
        keep = self.emphasize is not None and self.emphasize.reads_unrotated
        return project(self.attn1, normed, stream.rotation, keep)

    def _keys_and_values(self, reference: Projected, rotation: Rotation) -> ReferenceKV:
        emphasis = (None, None) if self.emphasize is None else self.emphasize.keys_of(reference)
        return ReferenceKV(reference.key, reference.value, *emphasis, rotation)

    def _read(
        self,
        reader: Stream,
        projected: Projected,
        reference_kv: ReferenceKV | None,
        mask: ConditionMask,
    ) -> torch.Tensor:
        """Self-attention of a reader, and Emphasize-Attention."""
        tokens = self._add_attended(reader, self._video_heads(projected, reference_kv, mask))
        if reference_kv is None or self.emphasize is None:
            return tokens
        return tokens + self._emphasis(self.emphasize, projected, reader, reference_kv, mask)

    def _reference_heads(
        self, reference: Projected, video: Projected | None, mask: ConditionMask
    ) -> torch.Tensor:
        own = (reference.key, reference.value)
        if video is None or not self.symmetric:
            return attend(reference.query, *own, self.attn1)
        return attend_both(reference.query, own, (video.key, video.value), self.attn1, mask.rows)

    def _video_heads(
        self, video: Projected, reference_kv: ReferenceKV | None, mask: ConditionMask
    ) -> torch.Tensor:
        own = (video.key, video.value)
        if reference_kv is None:
            return attend(video.query, *own, self.attn1)
        return attend_both(
            video.query, own, (reference_kv.key, reference_kv.value), self.attn1, mask.rows
        )

    def _add_attended(self, stream: Stream, heads: torch.Tensor) -> torch.Tensor:
        gate = self._modulation(stream.modulation)[2]
        attended = output(self.attn1, heads, stream.tokens.dtype)
        return (stream.tokens.float() + attended * gate).type_as(stream.tokens)

    def _emphasis(
        self,
        emphasize: Emphasis,
        projected: Projected,
        reader: Stream,
        reference_kv: ReferenceKV,
        mask: ConditionMask,
    ) -> torch.Tensor:
        assert reference_kv.emphasis_key is not None, "a block with emphasis keeps its keys"
        assert reference_kv.emphasis_value is not None, "a block with emphasis keeps its values"
        rotations = (reader.rotation, reference_kv.rotation) if self.rotate_emphasis else None
        emphasis = emphasize(
            projected, reference_kv.emphasis_key, reference_kv.emphasis_value, self.attn1, rotations
        )
        if mask.reference is not None:
            emphasis = emphasis * mask.reference.to(emphasis.dtype)
        return emphasis.type_as(reader.tokens)

    def _finish(
        self,
        stream: Stream,
        tokens: torch.Tensor,
        image_kv: tuple[torch.Tensor, torch.Tensor] | None,
        mask: ConditionMask,
    ) -> torch.Tensor:
        """Cross-attention and feed-forward."""
        tokens = tokens + self._cross_attend(tokens, stream.text, image_kv, mask.image)
        *_, shift, scale, gate = self._modulation(stream.modulation)
        normed = (self.norm3(tokens.float()) * (1 + scale) + shift).type_as(tokens)
        return (tokens.float() + self.ffn(normed).float() * gate).type_as(tokens)

    def _project_image(
        self, image: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        if image is None:
            return None
        attention = self.attn2
        assert attention.add_k_proj is not None, "the model checked for its image branch"
        assert attention.add_v_proj is not None, "the model checked for its image branch"
        key = split_heads(
            normalize(attention.norm_added_k, attention.add_k_proj(image)), attention.heads
        )
        return key, split_heads(attention.add_v_proj(image), attention.heads)

    def _cross_attend(
        self,
        tokens: torch.Tensor,
        text: torch.Tensor | None,
        image_kv: tuple[torch.Tensor, torch.Tensor] | None,
        keep_image: torch.Tensor | None,
    ) -> torch.Tensor:
        """Read the text, and apart from it the image tokens, as Wan's image-to-video model does."""
        attention = self.attn2
        normed = self.norm2(tokens.float()).type_as(tokens)
        query = split_heads(normalize(attention.norm_q, attention.to_q(normed)), attention.heads)
        read = []
        if text is not None:
            key = split_heads(normalize(attention.norm_k, attention.to_k(text)), attention.heads)
            value = split_heads(attention.to_v(text), attention.heads)
            read.append(attend(query, key, value, attention))
        if image_kv is not None:
            from_image = attend(query, *image_kv, attention)
            if keep_image is not None:
                from_image = from_image * keep_image.to(from_image.dtype)
            read.append(from_image)
        heads = sum(read[1:], read[0]) if read else torch.zeros_like(query)
        return output(attention, heads, tokens.dtype)

    def _modulation(self, modulation: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.scale_shift_table + modulation.float()).unbind(2)
