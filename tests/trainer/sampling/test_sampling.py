"""The sampler: its grid, its guidance, its cache, and that it finds what the velocity points to."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_model import tiny_model

from trainer.flow import shifted
from trainer.sampling.sampler import Conditions, SamplingConfig, draw_noise, make_scheduler, sample

SHAPE = (2, 16, 3, 4, 6)
ABLATIONS: dict[str, dict[str, Any]] = {
    "shared": {"reference_noise": "shared"},
    "symmetric": {"information_flow": "symmetric"},
    "prompt": {"reference_text": "prompt"},
    "diagonal": {"spatial_offset": "diagonal"},
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Known:
    """Stands for a model whose velocity at (latents, sigma) is a known function."""

    dtype = torch.float32
    config = SimpleNamespace(
        reference_noise="shared", information_flow="asymmetric", reference_text="none"
    )

    def __init__(self, velocity):
        self.velocity = velocity
        self.timesteps: list[float] = []

    def __call__(self, latents, timestep, text, **inputs):
        self.timesteps.append(timestep[0].item())
        sigma = (timestep / 1000).view(-1, 1, 1, 1, 1)
        return SimpleNamespace(sample=self.velocity(latents, sigma))


def text_only(batch: int = 1) -> Conditions:
    return Conditions(torch.zeros(batch, 2, 4), torch.zeros(1, 2, 4))


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_the_velocity_towards_one_video_is_followed_to_that_video(steps, shift):
    target = torch.randn(1, 16, 2, 4, 4, generator=seeded(1))
    model = Known(lambda x, sigma: (x - target) / sigma)  # eps - z, since x = (1-s) z + s eps
    config = SamplingConfig(steps=steps, shift=shift, guidance="none")
    found = sample(model, text_only(), (1, 16, 2, 4, 4), config, generator=seeded(0))
    torch.testing.assert_close(found, target, atol=1e-5, rtol=1e-5)


def test_noise_becomes_the_distribution_that_the_velocity_describes():
    """z ~ N(mean, std): the exact flow sends eps to mean + std * eps.

    The last step jumps to the expected video, an error of the order of its sigma squared: hence
    many steps.
    """
    mean, std = 0.7, 0.3

    def velocity(x, sigma):
        variance = (1 - sigma) ** 2 * std**2 + sigma**2
        apart = x - (1 - sigma) * mean
        return sigma / variance * apart - (mean + (1 - sigma) * std**2 / variance * apart)

    config = SamplingConfig(steps=400, guidance="none")
    shape = (1, 16, 2, 4, 4)
    found = sample(Known(velocity), text_only(), shape, config, generator=seeded(0))
    noise = draw_noise(shape, seeded(0))
    torch.testing.assert_close(found, mean + std * noise, atol=2e-3, rtol=0)


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("steps", [1, 7, 50, 1000])
def test_the_model_sees_the_shifted_sigmas_of_training_unrounded(steps, shift):
    model = Known(lambda x, sigma: torch.zeros_like(x))
    config = SamplingConfig(steps=steps, shift=shift, guidance="none")
    sample(model, text_only(), (1, 1, 1, 1, 1), config, generator=seeded(0))
    sigma = torch.linspace(1, 1 / 1000, steps + 1, dtype=torch.float64)[:-1]
    expected = (1000 * shifted(sigma, shift)).float()
    # the solver needs log(1 - sigma), so its first sigma is 1 - 1e-6
    torch.testing.assert_close(torch.tensor(model.timesteps), expected, atol=2e-3, rtol=1e-6)


def conditions(num_references: int = 1) -> Conditions:
    generator = seeded(5)
    return Conditions(
        text=torch.randn(2, 5, 32, generator=generator),
        null_text=torch.randn(1, 5, 32, generator=generator),
        reference=torch.randn(2, 16, num_references, 4, 4, generator=generator),
        image=torch.randn(2, 3 * num_references, 40, generator=generator),
    )


class Counting:
    """Passes calls on to a model, and remembers what they were given."""

    def __init__(self, model):
        self.model, self.config, self.dtype = model, model.config, model.dtype
        self.uncacheable_settings = model.uncacheable_settings
        self.calls: list[set[str]] = []
        self.cached = 0

    def __call__(self, *args, **inputs):
        self.calls.append({name for name, value in inputs.items() if value is not None})
        return self.model(*args, **inputs)

    def cache_reference(self, *args):
        self.cached += 1
        return self.model.cache_reference(*args)


GUIDANCES = {
    "separate": SamplingConfig(steps=3, text_guidance=3.0, reference_guidance=2.0),
    "separate, equal scales": SamplingConfig(steps=3, text_guidance=2.0, reference_guidance=2.0),
    "separate, reference 1": SamplingConfig(steps=3, text_guidance=3.0, reference_guidance=1.0),
    "separate, text 0": SamplingConfig(steps=3, text_guidance=0.0, reference_guidance=2.0),
    "joint": SamplingConfig(steps=3, guidance="joint", text_guidance=3.0),
    "none": SamplingConfig(steps=3, guidance="none"),
}
PASSES = dict(zip(GUIDANCES, (3, 2, 2, 2, 2, 1), strict=True))


@pytest.mark.parametrize("given", ["both", "reference", "image", "neither"])
@pytest.mark.parametrize("name", GUIDANCES)
def test_the_cached_reference_changes_nothing(name, given):
    model, full = tiny_model(), conditions(num_references=2)
    kept = replace(
        full,
        reference=full.reference if given in ("both", "reference") else None,
        image=full.image if given in ("both", "image") else None,
    )
    counting = Counting(model)
    cached = sample(counting, kept, SHAPE, GUIDANCES[name], generator=seeded(3))
    uncached = sample(model, kept, SHAPE, GUIDANCES[name], generator=seeded(3), use_cache=False)
    torch.testing.assert_close(cached, uncached, atol=1e-5, rtol=1e-5)
    assert counting.cached == (kept.reference is not None)
    assert all("reference" not in call for call in counting.calls)


def slow_guidance(model, given: Conditions, config: SamplingConfig, seed: int) -> torch.Tensor:
    """Sample with all three passes at every step, and the formulas as they are written."""
    scheduler = make_scheduler(config.shift)
    scheduler.set_timesteps(config.steps)
    scheduler.set_begin_index(0)
    latents = torch.randn(SHAPE, generator=seeded(seed))
    null = torch.cat([given.null_text] * 2)
    seen = {"reference": given.reference, "image_embeds": given.image}
    for sigma, timestep in zip(scheduler.sigmas[:-1], scheduler.timesteps, strict=True):
        at = 1000 * sigma.repeat(2)
        with torch.no_grad():
            nothing = model(latents, at, null).sample
            reference = model(latents, at, null, **seen).sample
            everything = model(latents, at, given.text, **seen).sample
        text_scale, reference_scale = config.text_guidance, config.reference_guidance
        if config.guidance == "separate":
            velocity = nothing + reference_scale * (reference - nothing)
            velocity = velocity + text_scale * (everything - reference)
        elif config.guidance == "joint":
            velocity = nothing + text_scale * (everything - nothing)
        else:
            velocity = everything
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
    return latents


@pytest.mark.parametrize("name", GUIDANCES)
def test_guidance_is_the_formula_and_computes_only_the_passes_that_count(name):
    model, given, config = tiny_model(), conditions(), GUIDANCES[name]
    counting = Counting(model)
    found = sample(counting, given, SHAPE, config, generator=seeded(7))
    torch.testing.assert_close(found, slow_guidance(model, given, config, 7), atol=2e-4, rtol=1e-4)
    assert len(counting.calls) == PASSES[name] * config.steps


def test_every_condition_and_scale_counts():
    model, given = tiny_model(), conditions()
    config = GUIDANCES["separate"]

    def run(given: Conditions, config: SamplingConfig) -> torch.Tensor:
        return sample(model, given, SHAPE, config, generator=seeded(7))

    base = run(given, config)
    assert given.reference is not None
    assert given.image is not None
    others = [
        run(replace(given, text=given.text.flip(-1)), config),
        run(replace(given, null_text=given.null_text.flip(-1)), config),
        run(replace(given, reference=given.reference.flip(-1)), config),
        run(replace(given, image=given.image.flip(-1)), config),
        *(run(given, other) for name, other in GUIDANCES.items() if name != "separate"),
        run(given, replace(config, shift=5.0)),
    ]
    assert all((base - other).abs().max() > 1e-3 for other in others)


def test_a_seed_is_a_video_whatever_its_batch():
    model, given = tiny_model(), conditions()
    config = GUIDANCES["separate"]
    both = sample(model, given, SHAPE, config, generator=[seeded(1), seeded(2)])
    again = sample(model, given, SHAPE, config, generator=[seeded(1), seeded(2)])
    assert torch.equal(both, again)
    assert given.reference is not None
    assert given.image is not None
    second = Conditions(given.text[1:], given.null_text, given.reference[1:], given.image[1:])
    alone = sample(model, second, (1, *SHAPE[1:]), config, generator=seeded(2))
    torch.testing.assert_close(both[1:], alone, atol=1e-4, rtol=1e-4)
    other = sample(model, second, (1, *SHAPE[1:]), config, generator=seeded(3))
    assert (alone - other).abs().mean() > 0.1


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_ablations_sample_without_the_cache(ablation):
    model = Counting(tiny_model(**ABLATIONS[ablation]))
    found = sample(model, conditions(2), SHAPE, GUIDANCES["separate"], generator=seeded(7))
    assert found.isfinite().all()
    assert model.cached == 0
    seeing = [call for call in model.calls if call]
    assert len(seeing) == 6
    timed = "reference_timestep" in seeing[0]
    assert timed == (ablation == "shared")


def test_a_shared_reference_is_noised_like_the_video_with_one_fixed_noise():
    seen: list[tuple[float, torch.Tensor]] = []

    class Remembering(Known):
        def __init__(self):
            super().__init__(lambda x, sigma: torch.zeros_like(x))

        def __call__(self, latents, timestep, text, **inputs):
            assert torch.equal(timestep, inputs["reference_timestep"])
            seen.append((timestep[0].item() / 1000, inputs["reference"]))
            return super().__call__(latents, timestep, text)

    given = conditions()
    assert given.reference is not None
    config = SamplingConfig(steps=4, guidance="none")
    sample(Remembering(), given, SHAPE, config, generator=seeded(7))
    generator = seeded(7)
    torch.randn(SHAPE, generator=generator)  # the video's noise comes first
    noise = torch.randn(given.reference.shape, generator=generator)
    assert len(seen) == 4
    for sigma, reference in seen:
        expected = (1 - sigma) * given.reference + sigma * noise
        torch.testing.assert_close(reference, expected, atol=1e-5, rtol=1e-5)


def test_steps_are_reported_and_a_half_precision_model_gives_float32():
    model = tiny_model()
    torch.nn.Module.to(model, torch.bfloat16)
    steps: list[tuple[int, float]] = []
    found = sample(
        model,
        conditions(),
        SHAPE,
        GUIDANCES["separate"],
        generator=seeded(7),
        on_step=lambda step, sigma, latents: steps.append((step, sigma)),
    )
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert [step for step, _ in steps] == [0, 1, 2]
    assert [sigma for _, sigma in steps] == sorted((s for _, s in steps), reverse=True)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 1001}, "steps"),
        ({"guidance": "both"}, "guidance"),
        ({"text_guidance": -1.0}, "text_guidance"),
        ({"reference_guidance": float("nan")}, "reference_guidance"),
        ({"shift": 0.0}, "shift"),
    ],
)
def test_wrong_settings_are_refused_by_name(wrong, named):
    with pytest.raises(ValueError, match=rf"sampling\.{named}.* got "):
        SamplingConfig(**wrong)


def test_conditions_of_other_sizes_are_refused():
    text = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="null_text"):
        Conditions(text, torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match="reference is of 1"):
        Conditions(text, torch.zeros(1, 3, 4), reference=torch.zeros(1, 16, 1, 2, 2))
    generators: Sequence[torch.Generator] = [seeded(1)]
    with pytest.raises(ValueError, match="generators"):
        draw_noise(SHAPE, generators)
