"""Several characters in the sampler: their cache, and a scale of guidance for each."""

from dataclasses import replace

import pytest
import torch
from tiny_model import tiny_model

from trainer.sampling.sampler import CharacterConditions, Conditions, SamplingConfig, sample

SHAPE = (2, 16, 3, 4, 6)
CONFIG = SamplingConfig(steps=3, text_guidance=3.0, reference_guidance=2.0, shift=3.0)


def two() -> Conditions:
    source = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source)

    second = CharacterConditions(normal(2, 16, 2, 4, 4), normal(2, 5, 32), normal(2, 6, 40))
    return Conditions(
        text=normal(2, 5, 32), null_text=normal(1, 5, 32), reference=normal(2, 16, 1, 4, 4),
        image=normal(2, 3, 40), name=normal(2, 5, 32), others=(second,),
    )  # fmt: skip


def video(model, given: Conditions, config: SamplingConfig = CONFIG, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return sample(model, given, SHAPE, config, generator=generator, **options)


@pytest.mark.parametrize("guidance", [(), (1.5, 0.0), (0.0, 2.0)])
def test_the_cache_of_several_characters_is_exact(guidance):
    model, given = tiny_model(), replace(two(), guidance=guidance)
    cached, passed = video(model, given), video(model, given, use_cache=False)
    torch.testing.assert_close(cached, passed, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_guidance_of_a_character_adds_what_its_references_tell():
    model, given = tiny_model(), two()
    config = replace(CONFIG, steps=1)
    scaled = replace(given, guidance=(0.0, 2.0))
    plain, more, twice = (
        video(model, each, config) for each in (given, scaled, replace(given, guidance=(0.0, 4.0)))
    )
    assert (more - plain).abs().max() > 1e-3
    # One step is linear in the velocity, and the weights are linear in the scale.
    torch.testing.assert_close(twice - plain, 2 * (more - plain), rtol=1e-3, atol=1e-4)
    weights = config.weights(True, scaled.guidance)
    assert weights == {"null": -1.0, "reference": -1.0, "full": 5.0, "without 1": -2.0}
    assert sum(weights.values()) == 1


def test_a_character_costs_a_pass_only_where_it_has_a_scale():
    assert len(CONFIG.weights(True)) == len(CONFIG.weights(True, (0.0, 0.0))) == 3
    assert len(CONFIG.weights(True, (1.0, 2.0))) == 5


def test_name_and_pictures_of_each_character_count():
    model, given = tiny_model(), two()
    [second] = given.others
    assert given.name is not None
    base = video(model, given)
    changed = [
        replace(given, name=given.name.flip(-1)),
        replace(given, others=(replace(second, reference=second.reference.flip(-1)),)),
        replace(given, others=(replace(second, name=second.name.flip(-1)),)),
        replace(given, others=()),
    ]
    assert all((video(model, each) - base).abs().max() > 1e-3 for each in changed)


def test_characters_that_do_not_fit_the_videos_are_refused():
    given = two()
    with pytest.raises(ValueError, match="name is of 1 videos"):
        replace(given, name=torch.zeros(1, 5, 32))
    with pytest.raises(ValueError, match="guidance is of 1 characters, there are 2"):
        replace(given, guidance=(1.0,))
    with pytest.raises(ValueError, match="need a reference and a name"):
        replace(given, name=None)


def marked() -> Conditions:
    mentions, boxes = torch.zeros(2, 2, 5), torch.zeros(2, 2, 3, 4, 6)
    mentions[:, 0, :2] = mentions[:, 1, 2:] = 1
    boxes[:, 0, ..., :3] = boxes[:, 1, ..., 3:] = 1
    return replace(two(), mentions=mentions, boxes=boxes)


def test_marks_of_words_and_of_boxes_count_and_are_cached_exactly():
    model, given = tiny_model(marks=2), marked()
    base = video(model, given)
    passed = video(model, given, use_cache=False)
    torch.testing.assert_close(base, passed, rtol=1e-4, atol=1e-4)
    assert given.mentions is not None
    assert given.boxes is not None
    by_words, by_nothing = replace(given, boxes=None), replace(given, boxes=None, mentions=None)
    turned = replace(by_words, mentions=given.mentions.flip(1))
    videos = [video(model, each) for each in (given, by_words, turned, by_nothing)]
    for number, one in enumerate(videos):
        assert all((one - other).abs().max() > 1e-4 for other in videos[:number])


def test_a_model_without_marks_reads_none():
    model = tiny_model()
    assert torch.equal(video(model, marked()), video(model, two()))


def test_marks_of_another_number_of_characters_are_refused():
    with pytest.raises(ValueError, match="mentions are of"):
        replace(marked(), mentions=torch.zeros(2, 3, 5))
