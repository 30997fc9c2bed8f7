"""Flow matching: noise levels, noising, what is dropped, and the dual-guidance loss.

    z_sigma = (1 - sigma) z + sigma eps        velocity = eps - z        sigma in [0, 1]

Source: ContextAnyone (arXiv 2512.07328) for the two losses; Wan 2.1 for the shift. How the
reference is noised, weighted and dropped is our decision; every choice is a field of `FlowConfig`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from schemas.settings import check_settings, setting
from trainer.data.batch import LatentBatch
from trainer.data.draws import generator_of, seed_of

Keep = tuple[bool, ...] | tuple[tuple[bool, ...], ...]  # by sample: all of it, or each character's
ALL_LEVELS = (0.0, 1.0)
_HELD_OUT = 9


@dataclass(frozen=True)
class DropoutConfig:
    """How often a sample does not see a condition, so that guidance has something to compare.

    1 trains without it: an ablation.

    Attributes:
        text: share of samples with the null prompt.
        reference: share whose video does not see the reference's latents.
        image: share without image tokens.
        all: share without any of them.
        character: share of the characters of a sample with several that it does not see, each by
            itself, neither latents nor image tokens.
        mark: share of samples with several whose characters are not marked at all.
        boxes: share of samples with several that are not told where each character is.
    """

    text: float = setting(0.1, low=0, high=1)
    reference: float = setting(0.1, low=0, high=1)
    image: float = setting(0.1, low=0, high=1)
    all: float = setting(0.05, low=0, high=1)
    character: float = setting(0.1, low=0, high=1)
    mark: float = setting(0.1, low=0, high=1)
    boxes: float = setting(0.5, low=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "flow.dropout")


@dataclass(frozen=True)
class FlowConfig:
    """Noise levels and loss.

    Attributes:
        sigmas: distribution of noise levels before the shift: uniform or logit_normal.
        shift: resolution shift s: sigma' = s sigma / (1 + (s - 1) sigma); 3 at 480p, 5 at 720p.
        reference_weight: lambda of the reconstruction loss; 0.3 in the presets that rebuild.
        subject_weight: extra weight of the diffusion loss inside the character's box; 0 is off.
        dropout: how often conditions are dropped.
    """

    sigmas: Literal["uniform", "logit_normal"] = "uniform"
    shift: float = setting(3.0, above=0, below=1000)
    reference_weight: float = setting(1.0, low=0, high=1000)
    subject_weight: float = setting(0.0, low=0, high=1000)
    dropout: DropoutConfig = DropoutConfig()

    def __post_init__(self) -> None:
        check_settings(self, "flow")


@dataclass(frozen=True)
class Noising:
    """The draws of one micro-batch: all that is random in a training step."""

    sigma: torch.Tensor  # (B,)
    video_noise: torch.Tensor  # like the video latents
    reference_noise: torch.Tensor  # like the reference latents; of a picture that is noised too
    keep_text: tuple[bool, ...]
    keep_reference: tuple[bool, ...]
    keep_image: tuple[bool, ...]
    keep_characters: tuple[tuple[bool, ...], ...] | None = None  # by sample, of each; None is all
    keep_marks: tuple[bool, ...] | None = None  # None is all
    keep_boxes: tuple[bool, ...] | None = None


@dataclass(frozen=True)
class Losses:
    """Per-sample losses, (B,) each; `total` is what is minimised."""

    diffusion: torch.Tensor
    reference: torch.Tensor
    total: torch.Tensor


def shifted(sigma: torch.Tensor, shift: float) -> torch.Tensor:
    """Move noise levels towards 1, as larger videos need."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def unshifted(sigma: float, shift: float) -> float:
    """Undo `shifted`."""
    return sigma / (shift - (shift - 1) * sigma)


def held_out_sigmas(levels: tuple[float, float] = ALL_LEVELS) -> tuple[float, ...]:
    """Return the noise levels at which held-out samples are measured, evenly between two."""
    low, high = levels
    steps = range(1, _HELD_OUT + 1)
    return tuple(low + (high - low) * step / (_HELD_OUT + 1) for step in steps)


def noised(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Return (1 - sigma) clean + sigma noise, sigma (B,)."""
    sigma = sigma.view(-1, *[1] * (clean.ndim - 1))
    return (1 - sigma) * clean + sigma * noise


def draw(
    batch: LatentBatch, flow: FlowConfig, seed: int, levels: tuple[float, float] = ALL_LEVELS
) -> Noising:
    """Draw noise levels between two, noise, dropout; each by seed, step and place alone."""
    sigmas, videos, references, kept = [], [], [], []
    for row, place in enumerate(batch.places):
        source = generator_of(seed, batch.step, place, "flow")
        sigmas.append(_draw_level(flow, levels, source))
        kept.append(_draw_kept(flow.dropout, source))
        videos.append(_noise_like(batch.video[row], seed, batch.step, place, "video"))
        references.append(_noise_like(batch.reference[row], seed, batch.step, place, "reference"))
    text, reference, image = zip(*kept, strict=True)
    marks = _draw_marks(batch, flow.dropout, seed) if batch.characters else {}
    return Noising(
        sigma=torch.stack(sigmas).to(batch.video.device),
        video_noise=torch.stack(videos),
        reference_noise=torch.stack(references),
        keep_text=text,
        keep_reference=reference,
        keep_image=image,
        keep_characters=_draw_characters(batch, flow.dropout, seed) if batch.characters else None,
        **marks,
    )


def _draw_level(
    flow: FlowConfig, levels: tuple[float, float], source: torch.Generator
) -> torch.Tensor:
    """Draw from the distribution of `flow.sigmas`, or from the part of it between two levels."""
    level = torch.rand((), generator=source)
    low, high = (unshifted(edge, flow.shift) for edge in levels)
    if flow.sigmas == "uniform":
        level = low + (high - low) * level
    elif levels == ALL_LEVELS:
        level = torch.sigmoid(torch.randn((), generator=source))
    else:
        edges = torch.tensor([low, high], dtype=torch.float64).logit()
        below, until = torch.special.ndtr(edges)
        level = torch.special.ndtri(below + (until - below) * level).sigmoid().float()
    return shifted(level, flow.shift).clamp(*levels)


def _draw_characters(
    batch: LatentBatch, dropout: DropoutConfig, seed: int
) -> tuple[tuple[bool, ...], ...]:
    """Draw which of a sample's characters it sees; one who is alone is seen."""
    kept = []
    for place, several in zip(batch.places, batch.several, strict=True):
        source = generator_of(seed, batch.step, place, "characters")
        drawn = torch.rand(1 + len(batch.characters), generator=source).tolist()
        kept.append(tuple(not several or value >= dropout.character for value in drawn))
    return tuple(kept)


def _draw_marks(
    batch: LatentBatch, dropout: DropoutConfig, seed: int
) -> dict[str, tuple[bool, ...]]:
    """Draw in which samples characters are marked, and in which also inside their boxes."""
    marks, boxes = [], []
    for place in batch.places:
        source = generator_of(seed, batch.step, place, "marks")
        mark, box = torch.rand(2, generator=source).tolist()
        marks.append(mark >= dropout.mark)
        boxes.append(box >= dropout.boxes)
    return {"keep_marks": tuple(marks), "keep_boxes": tuple(boxes)}


def _draw_kept(dropout: DropoutConfig, source: torch.Generator) -> tuple[bool, bool, bool]:
    everything, text, reference, image = torch.rand(4, generator=source).tolist()
    kept = everything >= dropout.all
    return (
        kept and text >= dropout.text,
        kept and reference >= dropout.reference,
        kept and image >= dropout.image,
    )


def _noise_like(latents: torch.Tensor, *parts: int | str) -> torch.Tensor:
    """Draw on the latents' own device: a 480p clip has 2 million numbers."""
    source = torch.Generator(latents.device).manual_seed(seed_of(*parts))
    return torch.randn(latents.shape, generator=source, device=latents.device)


def losses(
    model: torch.nn.Module,
    batch: LatentBatch,
    noising: Noising,
    null_text: torch.Tensor,
    flow: FlowConfig,
) -> Losses:
    """Run the model once and return both losses, computed in fp32.

    What is rebuilt for the second one is `reconstruction` in the model's config; of several
    characters it is a picture of the first.

    Args:
        model: the transformer, or the engine that wraps it.
        batch: clean latents and conditions.
        noising: what `draw` returned for this batch.
        null_text: (1, L, text_dim) features of the empty prompt.
        flow: weights of the loss.
    """
    inner: Any = getattr(model, "module", model)
    dtype, timestep = inner.dtype, 1000 * noising.sigma
    rebuilding = _rebuilding(inner.config, batch, noising)
    keep_text = torch.tensor(noising.keep_text, device=batch.video.device).view(-1, 1, 1)
    output = model(
        hidden_states=noised(batch.video, noising.video_noise, noising.sigma).to(dtype),
        timestep=timestep,
        encoder_hidden_states=torch.where(keep_text, batch.text, null_text).to(dtype),
        reference=rebuilding.reference.to(dtype),
        reference_timestep=timestep if rebuilding.at_timestep else None,
        image_embeds=batch.image.to(dtype),
        keep_reference=_keep(noising.keep_reference, batch, noising),
        keep_image=_keep(noising.keep_image, batch, noising),
        rebuilt=None if rebuilding.picture is None else rebuilding.picture.to(dtype),
        **_several(batch, noising, dtype),
    )
    diffusion = (output.sample.float() - (noising.video_noise - batch.video)) ** 2
    if flow.subject_weight and batch.subject is not None:
        diffusion = diffusion * (1 + flow.subject_weight * batch.subject)
    diffusion, rebuilt = diffusion.flatten(1).mean(1), torch.zeros_like(noising.sigma)
    if rebuilding.target is not None:
        predicted = output.reference if rebuilding.picture is None else output.rebuilt
        rebuilt = ((predicted.float() - rebuilding.target) ** 2).flatten(1).mean(1)
    return Losses(diffusion, rebuilt, diffusion + flow.reference_weight * rebuilt)


def _keep(rows: tuple[bool, ...], batch: LatentBatch, noising: Noising) -> Keep:
    """Return which rows see a condition, or, with several characters, whose of it they see."""
    if not batch.characters:
        return rows
    there = [
        (True, *(other.present[row] for other in batch.characters)) for row in range(len(rows))
    ]
    drawn = noising.keep_characters or there
    return tuple(
        tuple(kept and has and sees for has, sees in zip(*flags, strict=True))
        for kept, *flags in zip(rows, there, drawn, strict=True)
    )


def _several(batch: LatentBatch, noising: Noising, dtype: torch.dtype) -> dict[str, Any]:
    """Return what the model is told of characters beside the first; nothing where there is one."""
    if not batch.characters:
        return {}
    from trainer.model import Character, Marks  # which loads diffusers: not for reading settings

    assert batch.name is not None, "several characters have names"
    others = [
        Character(each.reference.to(dtype), each.image.to(dtype), each.name.to(dtype))
        for each in batch.characters
    ]
    everywhere = (True,) * len(batch.places)
    marked = zip(batch.several, noising.keep_marks or everywhere, strict=True)
    marks = Marks(
        rows=tuple(several and kept for several, kept in marked),
        mentions=_in_rows(batch.mentions, noising.keep_text),
        boxes=_in_rows(batch.boxes, noising.keep_boxes or everywhere),
    )
    return {"name": batch.name.to(dtype), "others": others, "named": batch.several, "marks": marks}


def _in_rows(shares: torch.Tensor | None, rows: tuple[bool, ...]) -> torch.Tensor | None:
    """Return shares (B, P, …) that are 0 in all other rows."""
    if shares is None:
        return None
    return shares * torch.tensor(rows, device=shares.device).view(-1, *[1] * (shares.ndim - 1))


@dataclass(frozen=True)
class _Rebuilding:
    """What the model is given to rebuild, and the velocity that would be right."""

    reference: torch.Tensor  # (B, C, R, hr, wr) as the reference stream sees it
    at_timestep: bool = False  # whether that stream is at the video's timestep, or at 0
    picture: torch.Tensor | None = None  # (B, C, 1, hr, wr) noisy, in a stream of its own
    target: torch.Tensor | None = None  # like the picture, or else like the reference


def _rebuilding(config: Mapping[str, Any], batch: LatentBatch, noising: Noising) -> _Rebuilding:
    reference, noise, sigma = batch.reference, noising.reference_noise, noising.sigma
    mode, shared = config["reconstruction"], config["reference_noise"] == "shared"
    if mode in ("self", "other"):
        picture = reference[:, :, :1] if mode == "self" else batch.other
        if picture is None:
            raise ValueError(
                "model.reconstruction=other needs another picture of each character, and the data "
                "has none; set model.reconstruction=self"
            )
        noise = noise[:, :, :1]
        return _Rebuilding(reference, False, noised(picture, noise, sigma), noise - picture)
    # At sigma 0 the best velocity is E[noise] - clean = -clean: its negative is the rebuilt one.
    target = noise - reference if shared else -reference
    return _Rebuilding(
        reference=noised(reference, noise, sigma) if shared else reference,
        at_timestep=shared or mode == "video_timestep",
        target=None if mode == "none" else target,
    )
