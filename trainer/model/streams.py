"""Where streams begin and end: latents become tokens, and tokens become velocities.

B batch  C latent channels  F latent frames  H,W latent size  R references  N tokens, of which a
process has n  D width  L text tokens  T image tokens
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanTimeTextImageEmbedding
from torch import nn

from trainer.model.block import Stream
from trainer.model.marks import Marking
from trainer.model.rope import GapRope, Rotation
from trainer.model.spread import TokenSpread


class Character(NamedTuple):
    """A character: pictures, their image tokens, and the name that a prompt calls it by."""

    reference: torch.Tensor  # (B, C, R, Hr, Wr)
    image: torch.Tensor | None = None  # (B, T, image_dim)
    name: torch.Tensor | None = None  # (B, L, text_dim)


class Texts(NamedTuple):
    """What streams read besides image tokens, embedded."""

    prompt: torch.Tensor | None  # (B, L, D), which the video reads
    names: Sequence[torch.Tensor | None]  # (B, L, D) of each character, which its references read
    named: torch.Tensor | None  # (B, 1, 1, 1) 0 and 1: rows that read names; None is all
    dtype: torch.dtype | None  # of the prompt's features, and of what is made of its timestep


class StreamEnds:
    """What Wan has before its first block and behind its last one, for streams of several kinds."""

    patch_embedding: nn.Conv3d
    condition_embedder: WanTimeTextImageEmbedding
    rope: GapRope
    norm_out: FP32LayerNorm
    proj_out: nn.Linear
    scale_shift_table: nn.Parameter
    patch_size: tuple[int, int, int]
    gap: int
    diagonal: bool
    prompt_reaches_reference: bool
    spread: TokenSpread

    def embed_texts(
        self,
        prompt: torch.Tensor | None,
        names: Sequence[torch.Tensor | None],
        named: Sequence[bool] | None,
        device: torch.device,
    ) -> Texts:
        """Embed the prompt and the names of characters; `named` are the rows that have names."""
        embed, rows = self.condition_embedder.text_embedder, None
        read, *called = [None if text is None else embed(text) for text in (prompt, *names)]
        if prompt is not None and self.prompt_reaches_reference:
            called[0] = read
        elif named is not None and not all(named):
            rows = torch.tensor(tuple(named), device=device).view(-1, 1, 1, 1)
        return Texts(read, called, rows, None if prompt is None else prompt.dtype)

    def embed_images(self, images: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
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

    def open_readers(
        self,
        video: torch.Tensor | None,
        rebuilt: torch.Tensor | None,
        timestep: torch.Tensor | None,
        texts: Texts,
    ) -> list[Stream]:
        """Open the video, and the picture that is rebuilt, if any.

        That is of another shot than the prompt tells of, so it reads the character's name.
        """
        if video is None:
            return []
        if timestep is None or texts.dtype is None:
            raise ValueError("a video needs a timestep and encoder_hidden_states, got None")
        if timestep.ndim == 2 and rebuilt is not None:
            raise ValueError("a rebuilt picture needs one timestep a video, got one for each token")
        if timestep.ndim == 2:
            timestep = self.spread.share(timestep)
        timing = self._embed_time(timestep, texts.dtype)
        rotation = self.rope.video(*self._grid(video))
        readers = [self._open(video, timing, rotation, texts.prompt)]
        if rebuilt is not None:
            rotation = self.rope.video(*self._grid(rebuilt))
            readers.append(self._open(rebuilt, timing, rotation, texts.names[0], texts.named))
        return readers

    def open_references(
        self,
        pictures: Sequence[torch.Tensor],
        timestep: torch.Tensor | None,
        texts: Texts,
        video: torch.Tensor | None = None,
    ) -> list[Stream]:
        """Open a stream for the references of each character, one after another on the gap axis."""
        if not pictures:
            return []
        if timestep is None:
            timestep = torch.zeros(len(pictures[0]), device=pictures[0].device)
        timing = self._embed_time(timestep, pictures[0].dtype)
        offset = (0, 0)
        if self.diagonal and video is not None:
            offset = self._grid(video)[1:]
        before = accumulate((latents.shape[2] for latents in pictures), initial=0)
        rotations = [
            self.rope.references(*self._grid(latents), self.gap, offset, number)
            for latents, number in zip(pictures, before, strict=False)
        ]
        return [
            self._open(latents, timing, rotation, name, texts.named)
            for latents, rotation, name in zip(pictures, rotations, texts.names, strict=False)
        ]

    def mark(
        self, readers: list[Stream], references: list[Stream], marking: Marking
    ) -> tuple[list[Stream], list[Stream]]:
        """Say whose tokens are; a picture that is rebuilt is one of the first character."""
        whose = [marking.of_video(self.patch_size), marking.of_character(0)]
        shares = whose[0].shares
        if shares is not None:
            whose[0] = whose[0]._replace(shares=self.spread.share(shares))
        readers = [each._replace(whose=of) for each, of in zip(readers, whose, strict=False)]
        return readers, [
            each._replace(whose=marking.of_character(number))
            for number, each in enumerate(references)
        ]

    def close(self, stream: Stream, latents: torch.Tensor) -> torch.Tensor:
        """Tokens (B, n, D) to the velocity, in the shape of the latents that they came from."""
        shift, scale = (self.scale_shift_table + stream.time.unsqueeze(2)).unbind(2)
        tokens = (self.norm_out(stream.tokens.float()) * (1 + scale) + shift).type_as(stream.tokens)
        patches = stream.spread.joined(self.proj_out(tokens), stream.number)
        patches = patches.unflatten(2, (*self.patch_size, -1))
        patches = patches.unflatten(1, self._grid(latents))  # (B, f, h, w, pt, ph, pw, C)
        return patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _open(
        self,
        latents: torch.Tensor,
        timing: tuple[torch.Tensor, torch.Tensor],
        rotation: Rotation,
        text: torch.Tensor | None,
        reads: torch.Tensor | None = None,
    ) -> Stream:
        return Stream(self._patchify(latents), *timing, rotation, text, reads, self.spread)

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
