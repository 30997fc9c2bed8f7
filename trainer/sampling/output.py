"""What a pipeline gives back: latents decoded, in the form that was asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from PIL import Image

from trainer.encoders.interfaces import VideoCodec
from trainer.sampling.video_file import write_video

OutputType = Literal["np", "pt", "uint8", "pil", "latent"]
OUTPUT_TYPES = ("np", "pt", "uint8", "pil", "latent")


@dataclass
class ContextAnyonePipelineOutput(BaseOutput):
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


def decode_frames(codec: VideoCodec, latents: torch.Tensor) -> np.ndarray:
    """Decode latents (B, C, f, h, w) to frames (B, F, H, W, 3) float32 in [0, 1], on the CPU."""
    videos = [codec.decode(video[None])[0].float().cpu() for video in latents]
    return ((torch.stack(videos) + 1) / 2).permute(0, 2, 3, 4, 1).contiguous().numpy()


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """Map [0, 1] to 0..255, rounded."""
    return (frames * 255).round().clip(0, 255).astype(np.uint8)


def in_form(codec: VideoCodec, latents: torch.Tensor, output_type: OutputType) -> Any:
    """Return the frames of an output."""
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


def check_output_type(output_type: str) -> None:
    """Raise ValueError for a form that there is not."""
    if output_type not in OUTPUT_TYPES:
        raise ValueError(
            f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}"
        )
