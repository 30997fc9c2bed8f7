"""What is measured and shown on the way: held-out losses at fixed sigmas, generated videos.

Per-step losses are noise: each has another sigma. Here samples, noise and sigmas never change.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.data.batch import LatentBatch
from trainer.data.draws import generator_of
from trainer.distributed.zero import Process
from trainer.encoders.interfaces import VideoCodec
from trainer.flow import ALL_LEVELS, FlowConfig, Losses, Noising, held_out_sigmas, losses
from trainer.model import ContextAnyoneTransformer3DModel
from trainer.sampling.sampler import CharacterConditions, Conditions, Part, SamplingConfig, sample
from trainer.sampling.video_file import picture_strip, write_video


@dataclass(frozen=True)
class HeldOut:
    """Losses on the held-out samples, without dropout."""

    diffusion: dict[float, float]  # of every fixed sigma
    reference: float

    @property
    def mean(self) -> float:
        """The diffusion loss over all sigmas."""
        return sum(self.diffusion.values()) / len(self.diffusion)


@dataclass(frozen=True)
class Show:
    """How many videos are generated, and where they go."""

    count: int
    folder: Path
    fps: float


class Validator:
    """Measures and shows a model on the same samples every time.

    Every process runs the same number of forward passes, which ZeRO-3 needs; batches are shared
    out in turn, to the processes or to those that share a sample together.
    """

    def __init__(
        self,
        batches: Sequence[LatentBatch],
        null_text: torch.Tensor,
        flow: FlowConfig,
        seed: int,
        process: Process,
        levels: tuple[float, float] = ALL_LEVELS,
    ) -> None:
        """Take batches of one sample each, and the noise levels that the model is trained on."""
        self._levels, self._sigmas = levels, held_out_sigmas(levels)
        self._batches, self._null_text, self._flow, self._seed = batches, null_text, flow, seed
        self._process = process

    @property
    def num_samples(self) -> int:
        return len(self._batches)

    @torch.no_grad()
    def held_out(
        self,
        model: ContextAnyoneTransformer3DModel,
        precision: AbstractContextManager,
        pause: Callable[[], None] = lambda: None,
    ) -> HeldOut:
        """Return the losses at nine fixed sigmas, over all processes.

        `pause` is called before every forward pass, and may raise to end it on all.
        """
        sums = torch.zeros(len(self._sigmas) + 1, dtype=torch.float64)
        process = self._process
        rounds = -(-len(self._batches) // process.replicas)
        for turn in range(rounds):
            index = turn * process.replicas + process.replica
            # The others run along, so that nobody waits.
            counted = index < len(self._batches) and process.leads
            batch = self._batches[index % len(self._batches)]
            for place, sigma in enumerate(self._sigmas):
                pause()
                with precision:
                    found = self._losses(model, batch, index, sigma)
                if counted:
                    sums[place] += found.diffusion.sum().double().cpu()
                    sums[-1] += found.reference.sum().double().cpu() / len(self._sigmas)
        if torch.distributed.is_initialized():
            sums = sums.to(self._null_text.device)
            torch.distributed.all_reduce(sums)
        *diffusion, reference = (sums / sum(len(b.places) for b in self._batches)).tolist()
        return HeldOut(dict(zip(self._sigmas, diffusion, strict=True)), reference)

    def _losses(
        self,
        model: ContextAnyoneTransformer3DModel,
        batch: LatentBatch,
        index: int,
        sigma: float,
    ) -> Losses:
        device = self._null_text.device
        batch = batch.to(device)
        rows = len(batch.places)
        source = generator_of(self._seed, "held-out", index, f"{sigma:g}")
        noising = Noising(
            sigma=torch.full((rows,), sigma, device=device),
            video_noise=torch.randn(batch.video.shape, generator=source).to(device),
            reference_noise=torch.randn(batch.reference.shape, generator=source).to(device),
            keep_text=(True,) * rows,
            keep_reference=(True,) * rows,
            keep_image=(True,) * rows,
        )
        return losses(model, batch, noising, self._null_text, self._flow)

    def videos(
        self,
        model: ContextAnyoneTransformer3DModel,
        codec: VideoCodec,
        sampling: SamplingConfig,
        show: Show,
        precision: AbstractContextManager,
        pause: Callable[[], None] = lambda: None,
    ) -> list[Path]:
        """Generate a video and a strip for the first samples; return the strips made here.

        Of two experts each shows its part: the high one the clean video that it sees where it
        ends, the low one what it makes of the real video under noise. `pause` is called after
        every sampling step, and may raise to end it on all.
        """
        strips, process = [], self._process
        for turn in range(-(-show.count // process.replicas)):
            index = turn * process.replicas + process.replica
            batch = self._batches[index % show.count].to(self._null_text.device)
            conditions = _conditions(batch, self._null_text)
            source = generator_of(self._seed, "video", index % show.count)
            with precision:
                _, channels, frames, rows, columns = batch.video.shape
                shape = (1, channels, frames, rows, columns)
                latents = sample(
                    *(model, conditions, shape, sampling),
                    generator=source,
                    on_step=lambda *_: pause(),
                    part=Part(self._levels, batch.video),
                )
            if index < show.count and process.leads:
                strips.append(_show(batch, latents, codec, show, index))
        return strips


def _conditions(batch: LatentBatch, null_text: torch.Tensor) -> Conditions:
    """Return what a batch of one sample is made of."""
    others = tuple(
        CharacterConditions(other.reference, other.name, other.image)
        for other in batch.characters
        if other.present[0]
    )
    if not others:
        return Conditions(batch.text, null_text, batch.reference, batch.image)
    mentions, boxes = (
        None if shares is None else shares[:, : 1 + len(others)]
        for shares in (batch.mentions, batch.boxes)
    )
    conditions = (batch.text, null_text, batch.reference, batch.image, batch.name, others)
    return Conditions(*conditions, mentions=mentions, boxes=boxes)


def _show(
    batch: LatentBatch, latents: torch.Tensor, codec: VideoCodec, show: Show, index: int
) -> Path:
    """Write the video, and its strip with the real clip below, both through the codec."""
    name = f"{index:02d}-{batch.sample_ids[0]}"
    frames = _pixels(codec.decode(latents))[0].numpy()
    there = [other.reference for other in batch.characters if other.present[0]]
    references = [
        _pixels(codec.decode(shown[:1, :, at : at + 1]))[0, 0].numpy()
        for shown in (batch.reference, *there)
        for at in range(shown.shape[2])
    ]
    write_video(show.folder / f"{name}.mp4", frames, show.fps)
    strip = show.folder / f"{name}.jpg"
    real = _pixels(codec.decode(batch.video[:1]))[0].numpy()
    picture_strip(references, frames, strip, truth=real)
    return strip


def _pixels(video: torch.Tensor) -> torch.Tensor:
    """(B, 3, F, H, W) in [-1, 1] to (B, F, H, W, 3) uint8 on the CPU."""
    scaled = ((video.float() + 1) * 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 4, 1).cpu()
