"""What the method promises of one character holds for each of several."""

from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from tiny_model import IMAGE_DIM, WAN, tiny_inputs, tiny_model

from trainer.model import Character

FORMS = ("full", "low_rank", "few_heads", True)


def further(seed: int, references: int = 1, batch: int = 2) -> Character:
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source)

    return Character(
        normal(batch, 16, references, 6, 8), normal(batch, 5, IMAGE_DIM), normal(batch, 4, 32)
    )


def of_two(references: int = 1) -> dict[str, Any]:
    """Inputs with two characters and their names."""
    return {
        **tiny_inputs(references=references),
        "name": further(21).name,
        "others": [further(22, references)],
    }


def alone(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same without the second."""
    return {name: value for name, value in inputs.items() if name != "others"}


def cached(model: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the references' cache, and inputs that leave them out."""
    parts = ("reference", "image_embeds", "name", "others")
    cache = model.cache_reference(*(inputs[part] for part in parts))
    without = {name: value for name, value in inputs.items() if name not in ("reference", "name")}
    return cache, {**without, "reference_cache": cache}


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_rows_that_dropped_all_characters_are_wan_and_nothing_is_added_at_first(form):
    torch.manual_seed(7)
    wan = WanTransformer3DModel(**WAN).eval()
    model = tiny_model(awake=False, emphasize=form)
    model.load_state_dict(wan.state_dict(), strict=False)
    inputs = of_two()
    plain = wan(*(inputs[name] for name in ("hidden_states", "timestep", "encoder_hidden_states")))
    seen = model(**inputs, keep_reference=[(False, False)] * 2, keep_image=[(False, False)] * 2)
    assert torch.equal(seen.sample, plain.sample)


@torch.no_grad()
@pytest.mark.parametrize("form", ["none", *FORMS])
def test_a_dropped_character_leaves_the_sample_without_it(form):
    model, inputs = tiny_model(emphasize=form), of_two()
    inputs["rebuilt"] = torch.randn(2, 16, 1, 6, 8)
    seen = [(True, False), (True, True)]
    mixed = model(**inputs, keep_reference=seen, keep_image=seen)
    without, whole = model(**alone(inputs)), model(**inputs)
    for part in ("sample", "rebuilt"):
        torch.testing.assert_close(mixed[part][0], without[part][0], rtol=0, atol=1e-5)
        torch.testing.assert_close(mixed[part][1], whole[part][1], rtol=0, atol=1e-5)
        assert not torch.allclose(whole[part], without[part], atol=1e-3)


@torch.no_grad()
def test_the_second_keeps_its_place_when_the_first_is_dropped():
    model, inputs = tiny_model(emphasize_rope="gap"), of_two()
    cache, rest = cached(model, inputs)
    seen = [(False, True)] * 2
    dropped = model(**inputs, keep_reference=seen, keep_image=seen).sample
    # Only what the second left in the cache is read, and only its image tokens.
    rest["reference_cache"] = [block[1:] for block in cache]
    rest["image_embeds"] = rest.pop("others")[0].image
    torch.testing.assert_close(model(**rest).sample, dropped, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", ["none", *FORMS])
@pytest.mark.parametrize("references", [1, 3])
def test_a_cached_cast_gives_what_a_passed_one_does(form, references):
    model, inputs = tiny_model(emphasize=form), of_two(references)
    _, rest = cached(model, inputs)
    torch.testing.assert_close(model(**rest).sample, model(**inputs).sample, rtol=0, atol=1e-5)
    one = [(True, False)] * 2
    both = (model(**given, keep_reference=one, keep_image=one).sample for given in (rest, inputs))
    torch.testing.assert_close(*both, rtol=0, atol=1e-5)


@torch.no_grad()
def test_what_is_cached_of_a_character_does_not_depend_on_the_others():
    model, inputs = tiny_model(), of_two()
    other_cast = {**inputs, "others": [further(99)]}
    for ours, theirs in zip(cached(model, inputs)[0], cached(model, other_cast)[0], strict=True):
        assert torch.equal(ours[0].key, theirs[0].key)
        assert torch.equal(ours[0].value, theirs[0].value)
        assert not torch.equal(ours[1].key, theirs[1].key)


@torch.no_grad()
def test_the_order_of_characters_is_their_place_on_the_gap_axis_and_nothing_else():
    """Where no position tells them apart, any order gives the same video."""
    model, inputs = tiny_model(), of_two()
    [second] = inputs["others"]
    first = Character(inputs["reference"], inputs["image_embeds"], inputs["name"])
    turned = {
        **inputs, "reference": second.reference, "image_embeds": second.image,
        "name": second.name, "others": [first],
    }  # fmt: skip
    assert not torch.allclose(model(**turned).sample, model(**inputs).sample, atol=1e-4)
    rope: Any = model.rope
    rope.references = lambda number, rows, columns, gap, *_: rope.at(
        [-gap * (index + 1) for index in range(number)], range(rows), range(columns)
    )
    same = model(**turned).sample
    torch.testing.assert_close(same, model(**inputs).sample, rtol=0, atol=1e-5)


@torch.no_grad()
def test_references_of_the_second_stand_after_those_of_the_first():
    model = tiny_model()
    pictures = [further(1, 2).reference, further(2, 1).reference]
    nameless = model.embed_texts(None, [None, None], None, pictures[0].device)
    streams = model.open_references(pictures, None, nameless)
    rope: Any = model.rope
    whole = rope.references(3, 3, 4, model.gap)
    for part in range(2):
        joined = torch.cat([stream.rotation[part] for stream in streams], 1)
        assert torch.equal(joined, whole[part])


@torch.no_grad()
def test_a_name_tells_characters_apart_and_rows_without_one_do_not_read_it():
    model, inputs = tiny_model(), of_two()
    renamed = {**inputs, "name": further(77).name}
    assert not torch.allclose(model(**renamed).sample, model(**inputs).sample, atol=1e-4)
    unnamed = alone({**inputs, "name": None})
    seen = [(True, False)] * 2
    padded = model(**inputs, named=[False] * 2, keep_reference=seen, keep_image=seen).sample
    torch.testing.assert_close(padded, model(**unnamed).sample, rtol=0, atol=1e-5)


def test_nothing_of_the_video_or_of_a_character_reaches_another():
    model, inputs = tiny_model(), of_two()
    inputs["hidden_states"].requires_grad_()
    inputs["others"][0].reference.requires_grad_()
    of_first = model(**inputs).reference.sum()
    sources = (inputs["hidden_states"], inputs["others"][0].reference)
    assert torch.autograd.grad(of_first, sources, allow_unused=True) == (None, None)
    [read] = torch.autograd.grad(model(**inputs).sample.sum(), sources[1:])
    assert read.abs().min() > 0


@torch.no_grad()
@pytest.mark.parametrize("form", ["none", *FORMS])
def test_dropping_characters_keeps_every_parameter_in_the_graph(form):
    with torch.enable_grad():
        model, inputs = tiny_model(emphasize=form), of_two()
        nobody = [(False, False)] * 2
        out = model(**inputs, keep_reference=nobody, keep_image=nobody)
        (out.sample.sum() + out.reference.sum()).backward()
    lonely = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert lonely == [], "ranks would gather different parameters under ZeRO-3"


def test_image_tokens_of_one_character_alone_are_refused():
    model, inputs = tiny_model(), of_two()
    inputs["others"] = [inputs["others"][0]._replace(image=None)]
    with pytest.raises(ValueError, match="1 of 2 characters have image tokens"):
        model(**inputs)
