"""Turn one sample into rows of latents: its clip, each reference alone, its caption."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from schemas.ids import content_id
from schemas.latents import Latent, LatentMember, LatentReference
from trainer.data.augment import ReferenceChange
from trainer.data.batch import Bucket, LatentBatch, PixelBatch, PixelCharacter
from trainer.data.cast import COLUMNS as OF_OTHERS
from trainer.data.cast import Member, members_of
from trainer.data.data_config import DataConfig
from trainer.data.pictures import Unreadable
from trainer.data.sample_source import (
    Pixels,
    boxes_of,
    decode_sample,
    make_reference,
    take_frames,
)
from trainer.data.tensors import to_bytes, without_zero_tail
from trainer.encoders import Encoders, encode_batch

# of a sample, as Parquet names its columns
COLUMNS = (
    "sample_id", "clip_id", "video_id", "track_id", "character_id", "split", "caption", "width",
    "height", "num_frames", "fps", "first_frame", "boxes", "references.list.element.reference_id",
    "references.list.element.clip_id", "references.list.element.video_id",
    "references.list.element.image.bytes", "references.list.element.mask.bytes", "video.bytes",
)  # fmt: skip
COLUMNS_OF_SEVERAL = (
    *COLUMNS, *OF_OTHERS, "others.list.element.references.list.element.reference_id",
    "others.list.element.references.list.element.clip_id",
    "others.list.element.references.list.element.video_id",
)  # fmt: skip


class SampleEncoder:
    """Encodes samples for a bucket, with all their references, one row a window.

    Windows are spread evenly over the clip. Nothing is drawn: the same sample, settings and
    encoders give the same rows.
    """

    def __init__(
        self,
        encoders: Encoders,
        data: DataConfig,
        windows: int = 1,
        number_type: str = "bfloat16",
        device: torch.device | str = "cpu",
    ) -> None:
        self.encoders, self._data, self._windows = encoders, data, windows
        self._number_type, self._device = number_type, device
        self._fingerprint = content_id(encoders.fingerprint)

    def rows(self, sample: dict[str, Any], bucket: Bucket) -> Iterator[Latent]:
        """Yield the windows of a sample (plain values of COLUMNS). Raises Unreadable."""
        data, members = self._data, members_of(sample, self._data.characters)
        if not sample["references"]:
            raise Unreadable("the sample has no reference")
        pictures = [self._pictures(member, bucket) for member in members]
        first = take_frames(sample["num_frames"], sample["fps"], bucket.frames, data)
        room = sample["num_frames"] - first[-1]
        for start in sorted(set(np.linspace(0, room - 1, self._windows).astype(int).tolist())):
            wanted = [start + frame for frame in first]
            pixels = decode_sample(sample, wanted, pictures[0], bucket, members)
            pixels = replace(
                pixels,
                names=tuple(member.name for member in members),
                further=tuple(pictures[1:]),
                boxes=boxes_of(sample, members, wanted, bucket),
            )
            latents = encode_batch(_alone(pixels), self.encoders, self._device)
            yield self._row(sample, members, bucket, start, latents, pixels)

    def _pictures(self, member: Member, bucket: Bucket) -> np.ndarray:
        return np.stack(
            [
                make_reference(reference, bucket, ReferenceChange(), self._data)
                for reference in member.references
            ]
        )

    def _row(
        self,
        sample: dict[str, Any],
        members: list[Member],
        bucket: Bucket,
        start: int,
        latents: LatentBatch,
        pixels: Pixels,
    ) -> Latent:
        kept = ("sample_id", "clip_id", "video_id", "track_id", "character_id", "split")
        subject, first = latents.subject, (latents.reference, latents.image)
        marked = _marked(latents, pixels)
        return Latent(
            **{name: sample[name] for name in kept},
            caption=pixels.caption,
            height=bucket.height,
            width=bucket.width,
            frames=bucket.frames,
            start_frame=start,
            fps=self._data.fps or sample["fps"],
            fingerprint=self._fingerprint,
            video=self._bytes(latents.video[0]),
            video_shape=list(latents.video[0].shape),
            text=self._text(latents.text),
            text_shape=list(latents.text[0].shape),
            subject=b"" if subject is None else self._bytes(subject[0]),
            subject_shape=[] if subject is None else list(subject[0].shape),
            references=self._references(sample["references"], *first),
            name=members[0].name,
            name_text=b"" if latents.name is None else self._text(latents.name),
            name_text_shape=[] if latents.name is None else list(latents.name[0].shape),
            **marked[0],
            others=[
                LatentMember(
                    track_id=member.row["track_id"],
                    character_id=member.row["character_id"],
                    name=member.name,
                    text=self._text(character.name),
                    text_shape=list(character.name[0].shape),
                    references=self._references(
                        member.references, character.reference, character.image
                    ),
                    **its_marks,
                )
                for member, character, its_marks in zip(
                    members[1:], latents.characters, marked[1:], strict=True
                )
            ],
        )

    def _references(
        self, stored: list[dict[str, Any]], latents: torch.Tensor, image: torch.Tensor
    ) -> list[LatentReference]:
        tokens = image[0].unflatten(0, (len(stored), -1))  # (R, T, D)
        return [
            LatentReference(
                reference_id=reference["reference_id"],
                clip_id=reference["clip_id"],
                video_id=reference["video_id"],
                latent=self._bytes(latents[0, :, number]),
                latent_shape=list(latents[0, :, number].shape),
                tokens=self._bytes(tokens[number]),
                tokens_shape=list(tokens[number].shape),
            )
            for number, reference in enumerate(stored)
        ]

    def _text(self, tokens: torch.Tensor) -> bytes:
        return self._bytes(without_zero_tail(tokens[0]))

    def _bytes(self, values: torch.Tensor) -> bytes:
        return to_bytes(values, self._number_type)


def _marked(latents: LatentBatch, pixels: Pixels) -> list[dict[str, Any]]:
    """Return what marks each character: tokens of the caption, boxes; nothing of one alone."""
    if latents.mentions is None or pixels.boxes is None:
        return [{}]
    return [
        {"mentions": said.nonzero().flatten().tolist(), "boxes": boxes.tolist()}
        for said, boxes in zip(latents.mentions[0], pixels.boxes, strict=True)
    ]


def _alone(pixels: Pixels) -> PixelBatch:
    """Return a batch of this sample."""
    return PixelBatch(
        step=0,
        places=(0,),
        sample_ids=(pixels.sample_id,),
        captions=(pixels.caption,),
        frames=torch.from_numpy(pixels.frames)[None],
        references=torch.from_numpy(pixels.references)[None],
        subject=torch.from_numpy(pixels.subject)[None],
        names=pixels.names[:1] if pixels.further else (),
        characters=tuple(
            PixelCharacter(torch.from_numpy(references)[None], (name,))
            for references, name in zip(pixels.further, pixels.names[1:], strict=True)
        ),
    )
