"""One block: streams of tokens through the same weights, of which some read the references.

The references of every character are a stream of their own, which sees itself alone.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock

from trainer.model.attention import (
    KeyValue,
    Projected,
    SilentLinear,
    attend,
    attend_seen,
    keys_and_values,
    normalize,
    output,
    project,
    split_heads,
)
from trainer.model.emphasis import Emphasis, make_emphasis, marked
from trainer.model.marks import NOBODY, BlockMarks, Whose, whom
from trainer.model.rope import Rotation
from trainer.model.seen import NOTHING_DROPPED, ConditionMask, Seen
from trainer.model.spread import ALONE, TokenSpread


class Stream(NamedTuple):
    """Tokens on their way through the blocks, and what goes with them."""

    tokens: torch.Tensor  # (B, n, D), those of this process
    time: torch.Tensor  # (B, 1 or n, D), from the stream's own timestep or its tokens'
    modulation: torch.Tensor  # (B, 1 or n, 6, D), from time
    rotation: Rotation  # of all N tokens
    text: torch.Tensor | None  # (B, L, D), what it reads besides the image tokens
    reads: torch.Tensor | None = None  # (B, 1, 1, 1) 0 and 1: which rows read it; None is all
    spread: TokenSpread = ALONE
    whose: Whose = NOBODY  # of several characters

    @property
    def number(self) -> int:
        """N, its tokens on all processes that share the sample."""
        return self.rotation[0].shape[1]


class ReferenceKV(NamedTuple):
    """Keys and values of a character's references in one block: all that a cache must hold.

    Where several processes share a sample: of a share of the heads, for Emphasize-Attention of all.
    """

    key: torch.Tensor  # (B, N_r, heads, head_dim), rotated
    value: torch.Tensor
    emphasis_key: torch.Tensor | None
    emphasis_value: torch.Tensor | None
    rotation: Rotation


class ContextAnyoneBlock(WanTransformerBlock):
    """A Wan block in which the video, and a picture that is rebuilt, also read reference streams.

    Asymmetric: a character's references see only themselves, their readers see them and
    themselves. No noisy feature flows back, and none from another character, so what the
    references become depends on nothing else.
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
        marks: int = 0,
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
        self.marks = BlockMarks(marks, heads, dim // heads) if marks else None

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        readers: Sequence[Stream],
        references: Sequence[Stream],
        images: Sequence[torch.Tensor] = (),
        reference_kv: Sequence[ReferenceKV] = (),
        mask: ConditionMask = NOTHING_DROPPED,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor], Sequence[ReferenceKV]]:
        """Return the tokens of readers and references, and what is read of the references.

        Args:
            readers: the noisy video, and a noisy picture of the character if one is rebuilt;
                none of them to let the references pass alone. They do not see each other.
            references: those of each character; none with reference_kv, or for text-to-video.
            images: image tokens (B, T, D) of each character.
            reference_kv: what an earlier pass of the same references returned.
            mask: what each row sees of references and image tokens.
        """
        reference_tokens, made = [], []
        image_kv = [self._project_image(image) for image in images]
        projected_readers = [self._project(reader, "query") for reader in readers]
        for number, reference in enumerate(references):
            projected = self._project(reference, "key")
            made.append(self._keys_and_values(projected, reference))
            video = projected_readers[0] if projected_readers else None
            tokens = self._add_attended(
                reference, self._reference_heads(projected, video, _column(mask, number))
            )
            del projected, video  # dead before the feed-forward: a quarter of sampling's memory
            own_image = image_kv[number : number + 1]
            seen = mask.own_images[number] if mask.own_images else None
            reference_tokens.append(self._finish(reference, tokens, own_image, seen))
        reader_tokens, read = [], made or reference_kv
        for reader in readers:
            tokens = self._read(reader, projected_readers.pop(0), read, mask)
            reader_tokens.append(self._finish(reader, tokens, image_kv, mask.images))
        return reader_tokens, reference_tokens, read

    def _project(self, stream: Stream, marked: Literal["query", "key"]) -> Projected:
        shift, scale, *_ = self._modulation(stream.modulation)
        normed = (self.norm1(stream.tokens.float()) * (1 + scale) + shift).type_as(stream.tokens)
        keep = self.emphasize is not None and self.emphasize.reads_own_heads
        marks = {} if self.marks is None else {marked: self.marks(marked, self._whose(stream))}
        return project(self.attn1, normed, stream.rotation, stream.spread, keep, **marks)

    def _whose(self, stream: Stream) -> torch.Tensor | None:
        """Return whose the tokens of a stream are (B, 1 or n, P), by what they read if need be."""
        if stream.whose.mentions is None or stream.text is None:
            return stream.whose.shares
        attention = self.attn2
        query = attention.to_q(self.norm2(stream.tokens.float()).type_as(stream.tokens))
        if attention.fused_projections:
            keys, _ = keys_and_values(attention, stream.text)
        else:
            keys = attention.to_k(stream.text)
        return whom(
            split_heads(normalize(attention.norm_q, query), attention.heads),
            split_heads(normalize(attention.norm_k, keys), attention.heads),
            stream.whose,
        )

    def _keys_and_values(self, projected: Projected, reference: Stream) -> ReferenceKV:
        key = value = None
        if self.emphasize is not None:
            key, value = self.emphasize.keys_of(projected)
            parts = (marked(key, projected), value)
            key, value = (reference.spread.joined(part, reference.number) for part in parts)
        return ReferenceKV(projected.key, projected.value, key, value, reference.rotation)

    def _read(
        self,
        reader: Stream,
        projected: Projected,
        reference_kv: Sequence[ReferenceKV],
        mask: ConditionMask,
    ) -> torch.Tensor:
        """Self-attention of a reader, and Emphasize-Attention."""
        tokens = self._add_attended(reader, self._video_heads(projected, reference_kv, mask))
        if not reference_kv or self.emphasize is None:
            return tokens
        return tokens + self._emphasis(self.emphasize, projected, reader, reference_kv, mask)

    def _reference_heads(
        self,
        reference: Projected,
        video: Projected | None,
        seen: tuple[tuple[bool, ...], ...] | None,
    ) -> torch.Tensor:
        own = (reference.key, reference.value)
        if video is None or not self.symmetric:
            return attend(reference.query, *own, self.attn1)
        return attend_seen(reference.query, own, [(video.key, video.value)], self.attn1, seen)

    def _video_heads(
        self, video: Projected, reference_kv: Sequence[ReferenceKV], mask: ConditionMask
    ) -> torch.Tensor:
        own = (video.key, video.value)
        pairs = [(each.key, each.value) for each in reference_kv]
        seen = mask.references.characters if mask.references and pairs else None
        return attend_seen(video.query, own, pairs, self.attn1, seen)

    def _add_attended(self, stream: Stream, heads: torch.Tensor) -> torch.Tensor:
        gate = self._modulation(stream.modulation)[2]
        heads = stream.spread.heads_for_tokens(heads)
        attended = output(self.attn1, heads, stream.tokens.dtype)
        return (stream.tokens.float() + attended * gate).type_as(stream.tokens)

    def _emphasis(
        self,
        emphasize: Emphasis,
        projected: Projected,
        reader: Stream,
        reference_kv: Sequence[ReferenceKV],
        mask: ConditionMask,
    ) -> torch.Tensor:
        pairs: list[KeyValue] = []
        for each in reference_kv:
            assert each.emphasis_key is not None, "a block with emphasis keeps its keys"
            assert each.emphasis_value is not None, "a block with emphasis keeps its values"
            pairs.append((each.emphasis_key, each.emphasis_value))
        rotations = None
        if self.rotate_emphasis:
            cosine, sine = (reader.spread.share(part) for part in reader.rotation)
            rotations = ((cosine, sine), [each.rotation for each in reference_kv])
        seen = mask.references
        rows = None if seen is None else seen.or_all
        emphasis = emphasize(projected, pairs, self.attn1, rows, rotations)
        if seen is not None:
            emphasis = emphasis * seen.some.to(emphasis.dtype)
        return emphasis.type_as(reader.tokens)

    def _finish(
        self,
        stream: Stream,
        tokens: torch.Tensor,
        image_kv: Sequence[KeyValue],
        seen_images: Seen | None,
    ) -> torch.Tensor:
        """Cross-attention and feed-forward."""
        tokens = tokens + self._cross_attend(tokens, stream, image_kv, seen_images)
        *_, shift, scale, gate = self._modulation(stream.modulation)
        normed = (self.norm3(tokens.float()) * (1 + scale) + shift).type_as(tokens)
        return (tokens.float() + self.ffn(normed).float() * gate).type_as(tokens)

    def _project_image(self, image: torch.Tensor) -> KeyValue:
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
        stream: Stream,
        image_kv: Sequence[KeyValue],
        seen_images: Seen | None,
    ) -> torch.Tensor:
        """Read the text, and apart from it the image tokens, as Wan's image-to-video model does."""
        attention = self.attn2
        normed = self.norm2(tokens.float()).type_as(tokens)
        query = split_heads(normalize(attention.norm_q, attention.to_q(normed)), attention.heads)
        read = []
        if stream.text is not None:
            keys, values = keys_and_values(attention, stream.text)
            key = split_heads(normalize(attention.norm_k, keys), attention.heads)
            value = split_heads(values, attention.heads)
            from_text = attend(query, key, value, attention)
            if stream.reads is not None:
                from_text = from_text * stream.reads.to(from_text.dtype)
            read.append(from_text)
        if image_kv:
            rows = None if seen_images is None else seen_images.or_all
            from_image = attend_seen(query, None, image_kv, attention, rows)
            if seen_images is not None:
                from_image = from_image * seen_images.some[..., None].to(from_image.dtype)
            read.append(from_image)
        heads = sum(read[1:], read[0]) if read else torch.zeros_like(query)
        return output(attention, heads, tokens.dtype)

    def _modulation(self, modulation: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.scale_shift_table + modulation.float()).unbind(2)


def _column(mask: ConditionMask, number: int) -> tuple[tuple[bool, ...], ...] | None:
    """Return which rows see one of the characters."""
    if mask.references is None:
        return None
    return tuple((flags[number],) for flags in mask.references.characters)
