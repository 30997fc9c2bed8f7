"""Marks tie the references of each of several characters to its words and to its box."""

from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from tiny_model import IMAGE_DIM, WAN, tiny_inputs, tiny_model

from trainer.model import Character, ContextAnyoneTransformer3DModel, Marks


def of_two() -> dict[str, Any]:
    """Inputs with two characters: the first on the left, spoken of by the first words."""
    source = torch.Generator().manual_seed(22)
    reference = torch.randn(2, 16, 1, 6, 8, generator=source)
    image = torch.randn(2, 5, IMAGE_DIM, generator=source)
    mentions, boxes = torch.zeros(2, 2, 10), torch.zeros(2, 2, 3, 8, 12)
    mentions[:, 0, :3] = mentions[:, 1, 3:7] = 1
    boxes[:, 0, ..., :6] = boxes[:, 1, ..., 6:] = 1
    marks = Marks((True, True), mentions, boxes)
    return {**tiny_inputs(), "others": [Character(reference, image)], "marks": marks}


def without(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name not in names}


def test_one_character_is_what_it_was_without_marks_to_the_bit():
    marked, plain, inputs = tiny_model(marks=2), tiny_model(), tiny_inputs()
    plain.load_state_dict(marked.state_dict(), strict=False)
    with torch.no_grad():
        for given in (inputs, without(inputs, "reference", "image_embeds")):
            assert torch.equal(marked(**given).sample, plain(**given).sample)


@torch.no_grad()
def test_rows_that_dropped_all_characters_are_wan():
    torch.manual_seed(7)
    wan = WanTransformer3DModel(**WAN).eval()
    model, inputs = tiny_model(awake=False, marks=2), of_two()
    model.load_state_dict(wan.state_dict(), strict=False)
    plain = wan(*(inputs[name] for name in ("hidden_states", "timestep", "encoder_hidden_states")))
    dropped = [(False, False)] * 2
    seen = model(**inputs, keep_reference=dropped, keep_image=dropped)
    assert torch.equal(seen.sample, plain.sample)


@torch.no_grad()
@pytest.mark.parametrize("form", ["none", "full", "few_heads", "low_rank", True])
def test_a_token_reads_more_of_whom_its_box_or_its_words_name(form):
    model, inputs = tiny_model(marks=2, emphasize=form), of_two()
    for road in ("mentions", "boxes"):
        inputs["marks"] = of_two()["marks"]._replace(**{road: None})
        told = model(**inputs).sample
        other = "boxes" if road == "mentions" else "mentions"
        turned = inputs["marks"]._replace(**{other: getattr(inputs["marks"], other).flip(1)})
        assert not torch.allclose(model(**{**inputs, "marks": turned}).sample, told, atol=1e-4)
        unmarked = inputs["marks"]._replace(rows=(False, False))
        plain = model(**{**inputs, "marks": unmarked}).sample
        assert torch.equal(plain, model(**without(inputs, "marks")).sample)
        assert not torch.allclose(plain, told, atol=1e-4)


@torch.no_grad()
def test_a_box_comes_before_what_the_prompt_says():
    model, inputs = tiny_model(marks=2), of_two()
    marks = inputs["marks"]
    boxed = model(**inputs).sample
    turned = marks._replace(mentions=marks.mentions.flip(1))
    assert torch.equal(model(**{**inputs, "marks": turned}).sample, boxed)
    # In a row without boxes the prompt counts.
    boxes = marks.boxes.clone()
    boxes[1] = 0
    mixed = model(**{**inputs, "marks": marks._replace(boxes=boxes)}).sample
    by_text = model(**{**inputs, "marks": marks._replace(boxes=None)}).sample
    torch.testing.assert_close(mixed[0], boxed[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed[1], by_text[1], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", ["none", "full", "low_rank"])
def test_a_marked_cast_is_cached_exactly(form):
    model, inputs = tiny_model(marks=2, emphasize=form), of_two()
    parts = ("reference", "image_embeds")
    cache = model.cache_reference(
        *(inputs[part] for part in parts), others=inputs["others"], marks=inputs["marks"]
    )
    cached = model(**without(inputs, "reference"), reference_cache=cache).sample
    torch.testing.assert_close(cached, model(**inputs).sample, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_mark_is_all_the_same_wherever_its_picture_is_dropped():
    model, inputs = tiny_model(marks=2), of_two()
    seen = [(True, False), (True, True)]
    mixed = model(**inputs, keep_reference=seen, keep_image=seen).sample
    torch.testing.assert_close(mixed[1], model(**inputs).sample[1], rtol=0, atol=1e-5)


def test_marks_are_in_the_graph_of_every_batch():
    model = tiny_model(marks=2)
    dropped = {**tiny_inputs(), "keep_reference": [False] * 2}
    for inputs in (of_two(), tiny_inputs(), dropped):
        model.zero_grad()
        model(**inputs).sample.sum().backward()
        marks = [value for name, value in model.named_parameters() if ".marks." in name]
        assert len(marks) == 4
        assert all(value.grad is not None for value in marks)


@torch.no_grad()
def test_own_references_are_preferred_before_any_training():
    blocks: Any = tiny_model(marks=2).blocks
    for block in blocks:
        query, key = block.marks.query, block.marks.key
        logits = torch.einsum("phd,qhd->hpq", query, key) / query.shape[-1] ** 0.5
        torch.testing.assert_close(torch.diagonal(logits, dim1=1, dim2=2), torch.full((2, 2), 5.0))


def test_more_characters_than_marks_are_refused():
    model, inputs = tiny_model(marks=1), of_two()
    with pytest.raises(ValueError, match="a model of 1 marks cannot mark 2 characters"):
        model(**inputs)


def test_a_config_from_before_there_were_marks_has_none():
    config = {**tiny_model().config}
    config.pop("marks")
    model: Any = ContextAnyoneTransformer3DModel.from_config(config)
    assert not any("marks" in name for name, _ in model.named_parameters())
    assert "marks" not in tiny_model().named_config()
