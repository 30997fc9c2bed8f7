"""Encode a batch of pixels into what the model takes."""

import torch
from torch.nn import functional as F

from trainer.data.batch import LatentBatch, LatentCharacter, PixelBatch, PixelCharacter
from trainer.data.boxes import shares_of_boxes
from trainer.encoders.encoder_config import Encoders
from trainer.encoders.mentions import mentions_of


@torch.no_grad()
def encode_batch(
    batch: PixelBatch, encoders: Encoders, device: torch.device | str = "cpu"
) -> LatentBatch:
    """Encode clips, references, captions and boxes. The results are float32 on `device`."""
    frames = to_signed(batch.frames.to(device))  # (B, 3, F, H, W)
    pictures = to_signed(batch.references.to(device))  # (B, 3, R, Hr, Wr)
    subject = (
        None
        if batch.subject is None
        else pool_subject(batch.subject.to(device), encoders.codec.stride)
    )
    other = None
    if batch.other is not None:
        other = encode_references(to_signed(batch.other.to(device)), encoders)
    return LatentBatch(
        step=batch.step,
        places=batch.places,
        sample_ids=batch.sample_ids,
        video=encoders.codec.encode(frames).float(),
        reference=encode_references(pictures, encoders),
        text=encoders.encode_prompts(batch.captions).to(device),
        image=encode_images(pictures, encoders),
        subject=subject,
        other=other,
        skipped=batch.skipped,
        name=encoders.encode_prompts(batch.names).to(device) if batch.names else None,
        characters=tuple(_character(each, encoders, device) for each in batch.characters),
        **_marks(batch, encoders, device),
    )


def _marks(
    batch: PixelBatch, encoders: Encoders, device: torch.device | str
) -> dict[str, torch.Tensor]:
    """Return which tokens name each of several characters, and where each is."""
    if not batch.characters:
        return {}
    names = [batch.names, *(each.names for each in batch.characters)]
    mentions = mentions_of(encoders.text, batch.captions, names)
    if batch.boxes is None:
        return {"mentions": mentions.to(device)}
    sides = (batch.frames.shape[2], batch.frames.shape[3])
    shares = shares_of_boxes(batch.boxes, sides, encoders.codec.stride)
    return {"mentions": mentions.to(device), "boxes": shares.to(device)}


def _character(
    character: PixelCharacter, encoders: Encoders, device: torch.device | str
) -> LatentCharacter:
    pictures = to_signed(character.references.to(device))
    return LatentCharacter(
        reference=encode_references(pictures, encoders),
        image=encode_images(pictures, encoders),
        name=encoders.encode_prompts(character.names).to(device),
        present=tuple(bool(name) for name in character.names),
    )


def to_signed(pixels: torch.Tensor) -> torch.Tensor:
    """Map uint8 (B, F, H, W, 3) to float32 (B, 3, F, H, W) in [-1, 1]."""
    return pixels.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


def encode_references(pictures: torch.Tensor, encoders: Encoders) -> torch.Tensor:
    """Map (B, 3, R, Hr, Wr) to latents (B, C, R, hr, wr), each picture encoded alone."""
    alone = pictures.transpose(1, 2).flatten(0, 1)[:, :, None]  # (B * R, 3, 1, Hr, Wr)
    latents = encoders.codec.encode(alone).float()[:, :, 0]
    return latents.unflatten(0, (pictures.shape[0], pictures.shape[2])).transpose(1, 2).contiguous()


def encode_images(pictures: torch.Tensor, encoders: Encoders) -> torch.Tensor:
    """Map (B, 3, R, Hr, Wr) to image tokens (B, R * T, D), one reference after another."""
    tokens = encoders.image.encode(pictures.transpose(1, 2).flatten(0, 1)).float()
    return tokens.unflatten(0, (pictures.shape[0], pictures.shape[2])).flatten(1, 2)


def pool_subject(subject: torch.Tensor, stride: int) -> torch.Tensor:
    """Map 0/1 (B, F, H, W) to shares of latent cells (B, 1, f, h, w): 1, then 4 frames each."""
    boxes = subject[:, None].float()
    first = F.avg_pool3d(boxes[:, :, :1], (1, stride, stride))
    if boxes.shape[2] == 1:
        return first
    return torch.cat([first, F.avg_pool3d(boxes[:, :, 1:], (4, stride, stride))], 2)
