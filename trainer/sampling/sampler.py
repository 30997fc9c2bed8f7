"""Turn noise into the latents of a video. Validation and inference both sample here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from schemas.settings import check_settings, setting

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

NULL, REFERENCE, FULL = "null", "reference", "full"  # the branches of guidance
WITHOUT = "without "  # and a number: all but one of the characters
TIMESTEPS = 1000  # of the backbone: timestep = 1000 * sigma
Generators = torch.Generator | Sequence[torch.Generator]


@dataclass(frozen=True)
class SamplingConfig:
    """How a video is sampled; the solver is UniPC on flow sigmas.

    The default scales are those that Phantom uses with the same three passes. A pass with weight
    zero is not computed.

    Attributes:
        steps: solver steps; each costs up to three forward passes.
        guidance: separate scales for reference and text (three passes), one joint scale for both
            (two), or none (one).
        text_guidance: scale of what the prompt adds; the one scale of joint guidance.
        reference_guidance: scale of what the reference adds, in separate guidance.
        shift: resolution shift of the sigmas, as in training: 3 at 480p, 5 at 720p.
        step_cache: share by which the first block's residual may change from step to step for the
            other blocks not to be asked again; 0 asks all of them at every step.
    """

    steps: int = setting(50, low=1, high=TIMESTEPS)
    guidance: Literal["separate", "joint", "none"] = "separate"
    text_guidance: float = setting(7.5, low=0, high=1000)
    reference_guidance: float = setting(5.0, low=0, high=1000)
    shift: float = setting(3.0, above=0, below=1000)
    step_cache: float = setting(0.0, low=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "sampling")

    def weights(self, has_reference: bool, characters: Sequence[float] = ()) -> dict[str, float]:
        """Return how much each branch counts; they sum to 1, and those of weight 0 are left out.

        Separate guidance is v_null + r (v_reference - v_null) + t (v_full - v_reference), joint
        guidance v_null + t (v_full - v_null). Without a reference the first two branches are one.
        Each of several `characters` may have a scale c of its own, which adds
        c (v_full - v_without_it): what its references tell the one whom the prompt calls so.
        """
        text, reference = self.text_guidance, self.reference_guidance
        if self.guidance == "none":
            text = reference = 1.0
        elif self.guidance == "joint" or not has_reference:
            reference = text
        weights = {NULL: 1 - reference, REFERENCE: reference - text, FULL: text + sum(characters)}
        weights |= {f"{WITHOUT}{number}": -scale for number, scale in enumerate(characters)}
        return {branch: weight for branch, weight in weights.items() if weight}


@dataclass(frozen=True)
class CharacterConditions:
    """A further character of B videos."""

    reference: torch.Tensor  # (B, C, R, hr, wr) normalised latents
    name: torch.Tensor  # (B, L, text_dim), of the name alone
    image: torch.Tensor | None = None  # (B, R * T, image_dim)


@dataclass(frozen=True)
class Conditions:
    """What B videos are made of, on the model's device."""

    text: torch.Tensor  # (B, L, text_dim)
    null_text: torch.Tensor  # (1, L, text_dim), of the empty or the negative prompt
    reference: torch.Tensor | None = None  # (B, C, R, hr, wr) normalised latents
    image: torch.Tensor | None = None  # (B, R * T, image_dim)
    name: torch.Tensor | None = None  # (B, L, text_dim), of the first character's name alone
    others: tuple[CharacterConditions, ...] = ()
    guidance: tuple[float, ...] = ()  # of each character beside that of all; () is none
    mentions: torch.Tensor | None = None  # (B, P, L) 1 at tokens of the text that speak of each
    boxes: torch.Tensor | None = None  # (B, P, f, h, w) share of a latent cell inside each's box

    def __post_init__(self) -> None:
        batch = len(self.text)
        if self.null_text.shape != (1, *self.text.shape[1:]):
            raise ValueError(
                f"null_text must be (1, {self.text.shape[1]}, {self.text.shape[2]}) like the "
                f"text, got {tuple(self.null_text.shape)}"
            )
        for each in (self, *self.others):
            for name in ("reference", "image", "name"):
                condition = getattr(each, name)
                if condition is not None and len(condition) != batch:
                    raise ValueError(f"{name} is of {len(condition)} videos, the text of {batch}")
        if self.others and (self.reference is None or self.name is None):
            raise ValueError("several characters each need a reference and a name, got none")
        for name in ("mentions", "boxes"):
            shares = getattr(self, name)
            if shares is not None and shares.shape[:2] != (batch, 1 + len(self.others)):
                raise ValueError(
                    f"{name} are of {tuple(shares.shape[:2])} videos and characters, there are "
                    f"{(batch, 1 + len(self.others))}"
                )
        if self.guidance and len(self.guidance) != 1 + len(self.others):
            raise ValueError(
                f"guidance is of {len(self.guidance)} characters, there are {1 + len(self.others)}"
            )


@dataclass(frozen=True)
class LowNoise:
    """The second of two experts: below the boundary it takes over, with scales of its own."""

    model: Any
    boundary: float  # the noise level from which on, downwards, it is asked
    scales: SamplingConfig


@dataclass(frozen=True)
class Part:
    """The noise levels that one of two experts knows, and a clean video to begin with below 1."""

    levels: tuple[float, float]
    clean: torch.Tensor  # (B, C, F, H, W)

    def steps(self, sigmas: Sequence[float]) -> range:
        """Return which of all steps belong to it: at least one."""
        low, high = self.levels
        first = sum(sigma >= high for sigma in sigmas) if high < 1 else 0
        end = sum(sigma >= low for sigma in sigmas)
        first = min(first, len(sigmas) - 1)
        return range(first, max(end, first + 1))


def make_scheduler(shift: float) -> "UniPCMultistepScheduler":
    """Return the solver, for velocities eps - z on sigmas s' = s sigma / (1 + (s - 1) sigma)."""
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    return UniPCMultistepScheduler(
        num_train_timesteps=TIMESTEPS,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
    )


def draw_noise(shape: tuple[int, ...], generator: Generators) -> torch.Tensor:
    """Draw on the CPU, so that a seed means the same video on every device.

    One generator draws the whole batch; one for each video makes a video independent of the
    others of its batch.
    """
    if isinstance(generator, torch.Generator):
        return torch.randn(shape, generator=generator)
    if len(generator) != shape[0]:
        raise ValueError(f"{shape[0]} videos need as many generators, got {len(generator)}")
    return torch.cat([torch.randn((1, *shape[1:]), generator=own) for own in generator])


def _begin(
    shape: tuple[int, ...], generator: Generators, noise: torch.Tensor | None
) -> torch.Tensor:
    """Return what a video begins with: noise that is drawn, or what a user has, in float32."""
    if noise is None:
        return draw_noise(shape, generator)
    if noise.shape != torch.Size(shape):
        raise ValueError(f"latents to begin with must be {shape}, got {tuple(noise.shape)}")
    return noise.float()


@torch.no_grad()
def sample(
    model: Any,
    conditions: Conditions,
    shape: tuple[int, int, int, int, int],
    config: SamplingConfig,
    *,
    generator: Generators,
    noise: torch.Tensor | None = None,
    on_step: Callable[[int, float, torch.Tensor], torch.Tensor | None] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    use_cache: bool = True,
    low_noise: LowNoise | None = None,
    part: Part | None = None,
) -> torch.Tensor:
    """Return latents of this shape (B, C, F, H, W), float32, on the device of the conditions.

    noise: what to begin with; None draws it from the generator.
    low_noise: with it, `model` and `config` are for noise levels from its boundary on.
    part: go through a part of the noise levels, and end with the clean video that is seen there.

    The model is called in its own dtype, under the caller's autocast; the solver works in
    float32. `on_step` gets the number of the finished step, its sigma and the latents after it;
    what it returns takes their place, unless that is None. `interrupted` is asked before every
    step, and ends the sampling with the latents as they are.
    """
    if shape[0] != len(conditions.text):
        raise ValueError(f"shape is of {shape[0]} videos, the conditions of {len(conditions.text)}")
    scheduler = make_scheduler(config.shift)
    scheduler.set_timesteps(config.steps)
    sigmas = scheduler.sigmas[:-1].tolist()
    steps = range(len(sigmas)) if part is None else part.steps(sigmas)
    # Rounded timesteps may repeat, so it must count, not look up.
    scheduler.set_begin_index(steps.start)
    latents = _begin(shape, generator, noise).to(conditions.text.device)
    if part is not None and steps.start > 0:
        latents = (1 - sigmas[steps.start]) * part.clean + sigmas[steps.start] * latents
    reference_noise = None
    if conditions.reference is not None and model.config.reference_noise == "shared":
        reference_noise = draw_noise(tuple(conditions.reference.shape), generator)
    experts = _Experts(model, config, low_noise, conditions, reference_noise, use_cache)
    for step in steps:
        if interrupted():
            break
        sigma = sigmas[step]
        velocity = experts.at(sigma).guided(latents, sigma)
        if step + 1 == steps.stop < len(sigmas):
            latents = latents - sigma * velocity
        else:
            timestep = scheduler.timesteps[step]
            latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        changed = None if on_step is None else on_step(step, sigma, latents)
        latents = latents if changed is None else changed
    return latents


class _Experts:
    """A model for all noise levels, or two: the one whose turn it is, with its conditions."""

    def __init__(
        self,
        model: Any,
        scales: SamplingConfig,
        low_noise: LowNoise | None,
        conditions: Conditions,
        noise: torch.Tensor | None,
        use_cache: bool,
    ) -> None:
        self._high, self._low = (model, scales), low_noise
        self._given = (conditions, noise, use_cache)
        self._denoiser: _Denoiser | None = None

    def at(self, sigma: float) -> "_Denoiser":
        """Return the denoiser for a noise level; the other's cache is given up."""
        model, scales = self._high
        if self._low is not None and sigma < self._low.boundary:
            model, scales = self._low.model, self._low.scales
        if self._denoiser is None or self._denoiser.model is not model:
            self._denoiser = None
            self._denoiser = _Denoiser(model, scales, *self._given)
        return self._denoiser


class _Denoiser:
    """A model with its conditions: the velocity of every branch, and of all by guidance."""

    def __init__(
        self,
        model: Any,
        scales: SamplingConfig,
        conditions: Conditions,
        noise: torch.Tensor | None,
        use_cache: bool,
    ) -> None:
        self.model = model
        has_reference = conditions.reference is not None or conditions.image is not None
        self.weights = scales.weights(has_reference, conditions.guidance)
        self.step_caches: dict[str, Any] = {}
        if scales.step_cache:
            from trainer.model.step_cache import StepCache

            self.step_caches = {branch: StepCache(scales.step_cache) for branch in self.weights}
        self.dtype: torch.dtype = model.dtype
        self.text = conditions.text.to(self.dtype)
        self.null_text = conditions.null_text.expand_as(conditions.text).to(self.dtype)
        self.reference = conditions.reference
        self.image = None if conditions.image is None else conditions.image.to(self.dtype)
        self.several = self._several(conditions)
        self.marks = self._marks(conditions)
        self.count = 1 + len(conditions.others)
        # Of the reference, the same at every step.
        self.noise = None if noise is None else noise.to(conditions.text.device)
        self.cache: Any = None
        if self.reference is None or noise is not None:
            return
        if use_cache and not model.uncacheable_settings:
            pictures = self.reference.to(self.dtype)
            several = {**self.several, "marks": self.marks} if self.marks else self.several
            self.cache = model.cache_reference(pictures, self.image, **several)

    def _several(self, conditions: Conditions) -> dict[str, Any]:
        """Return names and further characters, as the model takes them; {} without a name."""
        if conditions.name is None:
            return {}
        from trainer.model import Character

        others = [
            Character(
                each.reference.to(self.dtype),
                None if each.image is None else each.image.to(self.dtype),
                each.name.to(self.dtype),
            )
            for each in conditions.others
        ]
        return {"name": conditions.name.to(self.dtype), "others": others}

    def _marks(self, conditions: Conditions) -> Any:
        """Return what marks several characters, where the model has marks."""
        if not conditions.others or not self.model.config["marks"]:
            return None
        from trainer.model import Marks

        rows = (True,) * len(conditions.text)
        return Marks(rows, conditions.mentions, conditions.boxes)

    def guided(self, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """Return the velocity (B, C, F, H, W) in float32 that guidance makes of the branches'."""
        velocity = torch.zeros_like(latents)
        for branch, weight in self.weights.items():
            velocity += weight * self.velocity(branch, latents, sigma)
        return velocity

    def velocity(self, branch: str, latents: torch.Tensor, sigma: float) -> torch.Tensor:
        """Return the velocity (B, C, F, H, W) in float32."""
        inputs: dict[str, Any] = {}
        timestep = torch.full((len(latents),), TIMESTEPS * sigma, device=latents.device)
        if branch != NULL:
            inputs = {"image_embeds": self.image, **self.several}
            inputs |= self._reference_at(sigma, timestep)
            inputs["marks"] = self.marks
        if branch.startswith(WITHOUT):
            gone = int(branch.removeprefix(WITHOUT))
            kept = [tuple(number != gone for number in range(self.count))] * len(latents)
            inputs |= {"keep_reference": kept, "keep_image": kept}
        text = self.null_text if branch in (NULL, REFERENCE) else self.text
        if branch == REFERENCE and self.marks is not None:
            inputs["marks"] = self.marks._replace(mentions=None)
        if branch in self.step_caches:
            inputs["step_cache"] = self.step_caches[branch]
        return self.model(latents.to(self.dtype), timestep, text, **inputs).sample.float()

    def _reference_at(self, sigma: float, timestep: torch.Tensor) -> dict[str, Any]:
        if self.cache is not None:
            return {"reference_cache": self.cache}
        if self.reference is None:
            return {}
        if self.noise is None:
            at = timestep if self.model.config.reconstruction == "video_timestep" else None
            return {"reference": self.reference.to(self.dtype), "reference_timestep": at}
        noisy = (1 - sigma) * self.reference + sigma * self.noise
        return {"reference": noisy.to(self.dtype), "reference_timestep": timestep}
