"""The properties of the method, each on tiny random weights."""

from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from tiny_model import IMAGE_DIM, WAN, tiny_inputs, tiny_model

from trainer.model import ContextAnyoneTransformer3DModel
from trainer.model.rope import GapRope, rotate

NEW = {"emphasize", "image_embedder", "add_k_proj", "add_v_proj", "norm_added_k"}
FORMS = ("full", "low_rank", "few_heads", True)  # of Emphasize-Attention; True is version 0.1's


def without(inputs: dict, *names: str) -> dict:
    return {name: value for name, value in inputs.items() if name not in names}


@pytest.fixture(scope="module")
def wan() -> WanTransformer3DModel:
    torch.manual_seed(7)
    return WanTransformer3DModel(**WAN).eval()


@torch.no_grad()
def test_without_a_reference_it_is_wan_bit_for_bit(wan):
    model = tiny_model()
    model.load_state_dict(wan.state_dict(), strict=False)
    inputs = without(tiny_inputs(), "reference", "image_embeds")
    assert torch.equal(model(**inputs).sample, wan(**inputs).sample)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_at_initialisation_the_new_modules_add_exactly_zero(form):
    model, inputs = tiny_model(awake=False, emphasize=form), tiny_inputs()
    emphasized = model(**inputs)
    for block in model.blocks:
        block.register_module("emphasize", None)
    assert torch.equal(model(**inputs).sample, emphasized.sample)
    assert torch.equal(model(**without(inputs, "image_embeds")).sample, emphasized.sample)


@pytest.mark.parametrize("form", ["full", "low_rank", "few_heads"])
def test_emphasis_opens_in_the_first_update(form):
    """Version 0.1 had to grow a scalar first: W_o got a gradient of zero."""
    model, inputs = tiny_model(awake=False, emphasize=form), tiny_inputs()
    model(**inputs).sample.square().mean().backward()
    blocks: Any = model.blocks
    for block in blocks:
        last = block.emphasize.to_out
        gradient = (last.up if form == "low_rank" else last).weight.grad
        assert gradient.abs().max() > 1e-5


def test_a_few_heads_start_as_the_first_of_the_block():
    block: Any = tiny_model(awake=False, emphasize="few_heads", emphasize_heads=1).blocks[0]
    for part in ("to_q", "to_k", "to_v"):
        own, whole = block.emphasize.get_submodule(part), block.attn1.get_submodule(part)
        assert torch.equal(own.weight, whole.weight[:24])
        assert torch.equal(own.bias, whole.bias[:24])


@torch.no_grad()
def test_low_rank_emphasis_starts_with_the_heads_of_the_block():
    model, inputs = tiny_model(awake=False, emphasize="low_rank"), tiny_inputs()
    seen = {}

    def listen(emphasis, given, _added):
        video, [(key, _value)], *_ = given
        seen["query"], seen["key"] = emphasis.queries_of(video), key
        seen["own"] = video.own

    block: Any = model.blocks[0]
    block.emphasize.register_forward_hook(listen)
    model(**inputs)
    assert torch.equal(seen["query"], seen["own"][0])
    assert inputs["reference"].shape[3:] == (6, 8)  # 12 patches
    assert seen["key"].shape == (2, 12, block.attn1.heads, 24)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_after_initialisation_they_matter(form):
    model, inputs = tiny_model(emphasize=form), tiny_inputs()
    whole = model(**inputs).sample
    assert not torch.equal(model(**without(inputs, "image_embeds")).sample, whole)
    for block in model.blocks:
        block.register_module("emphasize", None)
    assert not torch.equal(model(**inputs).sample, whole)


def test_nothing_of_the_video_reaches_the_reference():
    model, inputs = tiny_model(), tiny_inputs()
    inputs["hidden_states"].requires_grad_()
    first = model(**inputs)
    changed = {**inputs, "hidden_states": torch.randn(2, 16, 3, 8, 12), "timestep": torch.rand(2)}
    assert torch.equal(model(**changed).reference, first.reference)
    [gradient] = torch.autograd.grad(
        first.reference.sum(), inputs["hidden_states"], allow_unused=True
    )
    assert gradient is None


def test_the_video_reads_the_reference():
    model, inputs = tiny_model(), tiny_inputs()
    inputs["reference"].requires_grad_()
    [gradient] = torch.autograd.grad(model(**inputs).sample.sum(), inputs["reference"])
    assert gradient.abs().min() > 0


@torch.no_grad()
def test_two_attention_calls_equal_one_masked_call():
    model, inputs = tiny_model(emphasize=False), tiny_inputs()
    expected = model(**inputs)
    tokens_r, tokens_v = 3 * 4, 3 * 4 * 6
    mask = torch.ones(tokens_r + tokens_v, tokens_r + tokens_v, dtype=torch.bool)
    mask[:tokens_r, tokens_r:] = False
    for block in model.blocks:
        _mask_attention(block, mask)
    masked = model(**inputs)
    torch.testing.assert_close(masked.sample, expected.sample, rtol=0, atol=1e-5)
    torch.testing.assert_close(masked.reference, expected.reference, rtol=0, atol=1e-5)


def _mask_attention(block, mask: torch.Tensor) -> None:
    """Replace both calls by the obvious one: all tokens together, under a mask."""
    joint = {}

    def heads_of(reference, video, keep):
        parts = zip(reference[1:4], video[1:4], strict=True)
        query, key, value = (torch.cat(part, 1).transpose(1, 2) for part in parts)
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        scores = scores.masked_fill(~mask, -torch.inf)
        joint["heads"] = (scores.softmax(-1) @ value).transpose(1, 2)
        return joint["heads"][:, : reference.query.shape[1]]

    block._reference_heads = heads_of
    block._video_heads = lambda video, memory, keep: joint["heads"][:, -video.query.shape[1] :]


@torch.no_grad()
@pytest.mark.parametrize("form", ["none", *FORMS])
@pytest.mark.parametrize("references", [1, 3])
def test_a_cached_reference_gives_what_a_passed_one_does(references, form):
    model, inputs = tiny_model(emphasize=form), tiny_inputs(references=references)
    cache = model.cache_reference(inputs["reference"], inputs["image_embeds"])
    cached = model(**without(inputs, "reference"), reference_cache=cache)
    torch.testing.assert_close(cached.sample, model(**inputs).sample, rtol=0, atol=1e-5)
    assert cached.reference is None


@pytest.mark.parametrize(
    "field",
    [
        {"information_flow": "symmetric"},
        {"reference_noise": "shared"},
        {"reference_text": "prompt"},
        {"spatial_offset": "diagonal"},
        {"reconstruction": "video_timestep"},
    ],
)
def test_what_depends_on_more_than_the_reference_is_not_cached(field):
    model, inputs = tiny_model(**field), tiny_inputs()
    [(name, value)] = field.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        model.cache_reference(inputs["reference"], inputs["image_embeds"])


@torch.no_grad()
@pytest.mark.parametrize("form", ["none", *FORMS])
def test_a_row_that_dropped_its_conditions_is_text_to_video(form):
    model, inputs = tiny_model(emphasize=form), tiny_inputs()
    inputs["rebuilt"] = torch.randn(2, 16, 1, 6, 8)
    mixed = model(**inputs, keep_reference=[True, False], keep_image=[True, False]).sample
    whole = model(**inputs).sample
    plain = model(**without(inputs, "reference", "image_embeds", "rebuilt")).sample
    torch.testing.assert_close(mixed[0], whole[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed[1], plain[1], rtol=0, atol=1e-5)


def rebuilding_inputs() -> dict:
    """Inputs with a noisy picture to be rebuilt, on the grid of the reference."""
    source = torch.Generator().manual_seed(8)
    return {**tiny_inputs(), "rebuilt": torch.randn(2, 16, 1, 6, 8, generator=source)}


@torch.no_grad()
@pytest.mark.parametrize("flow", ["asymmetric", "symmetric"])
def test_a_rebuilt_picture_changes_nothing_of_the_video_and_the_reference(flow):
    model, inputs = tiny_model(information_flow=flow), rebuilding_inputs()
    alone, both = model(**without(inputs, "rebuilt")), model(**inputs)
    assert torch.equal(both.sample, alone.sample)
    assert torch.equal(both.reference, alone.reference)
    assert both.rebuilt.shape == inputs["rebuilt"].shape
    assert alone.rebuilt is None


@torch.no_grad()
def test_a_rebuilt_picture_reads_the_reference_as_a_video_of_one_frame_does():
    model, inputs = tiny_model(), rebuilding_inputs()
    rebuilt = model(**inputs, keep_reference=[True, False]).rebuilt
    as_video = {**without(inputs, "rebuilt"), "hidden_states": inputs["rebuilt"]}
    blocks: Any = model.blocks
    for block in blocks:  # the prompt is of another shot: only the video reads it
        block._cross_attend = _deaf(block._cross_attend)
    expected = model(**as_video, keep_reference=[True, False]).sample
    torch.testing.assert_close(rebuilt, expected, rtol=0, atol=1e-5)


def _deaf(cross_attend):
    return lambda tokens, stream, image, seen: cross_attend(
        tokens, stream._replace(text=None), image, seen
    )


def test_a_rebuilt_picture_teaches_through_the_reference_but_not_the_video():
    model, inputs = tiny_model(), rebuilding_inputs()
    inputs["hidden_states"].requires_grad_()
    inputs["reference"].requires_grad_()
    rebuilt = model(**inputs).rebuilt.sum()
    of_video, of_reference = torch.autograd.grad(
        rebuilt, (inputs["hidden_states"], inputs["reference"]), allow_unused=True
    )
    assert of_video is None
    assert of_reference.abs().min() > 0


@torch.no_grad()
@pytest.mark.parametrize("form", ["none", *FORMS])
@pytest.mark.parametrize("rebuilds", [False, True])
def test_dropping_keeps_every_parameter_in_the_graph(form, rebuilds):
    inputs = rebuilding_inputs() if rebuilds else tiny_inputs()
    with torch.enable_grad():
        model = tiny_model(emphasize=form)
        out = model(**inputs, keep_reference=[False] * 2, keep_image=[False] * 2)
        (out.sample.sum() + out.reference.sum()).backward()
    lonely = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert lonely == [], "ranks would gather different parameters under ZeRO-3"


def _logits(rope: GapRope, gap: int, shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return video-to-video and video-to-reference logits with all times moved by `shift`."""
    source = torch.Generator().manual_seed(3)
    video = rope.at(range(shift, shift + 3), range(4), range(6))
    reference = rope.at([shift - gap, shift - 2 * gap], range(3), range(4))
    query, key = (torch.randn(1, 72, 1, 24, generator=source) for _ in range(2))
    anchor = rotate(torch.randn(1, 24, 1, 24, generator=source), reference)
    query, key = rotate(query, video), rotate(key, video)
    to_video = torch.einsum("bqhd,bkhd->bqk", query, key)
    return to_video, torch.einsum("bqhd,bkhd->bqk", query, anchor)


def test_only_temporal_differences_matter():
    rope = GapRope(24, (1, 2, 2), 256)
    for moved, original in zip(_logits(rope, 30, 17), _logits(rope, 30, 0), strict=True):
        torch.testing.assert_close(moved, original, rtol=0, atol=1e-5)


def test_the_gap_changes_only_what_video_and_reference_see_of_each_other():
    rope = GapRope(24, (1, 2, 2), 256)
    (video, anchor), (video_1, anchor_1) = _logits(rope, 30, 0), _logits(rope, 1, 0)
    assert torch.equal(video, video_1)
    assert not torch.allclose(anchor, anchor_1, atol=1e-3)


def test_gap_rope_agrees_with_complex_rotation_at_negative_times():
    rope = GapRope(24, (1, 2, 2), 64)
    heads = torch.randn(1, 2, 1, 24)
    rotation = rope.references(2, 1, 1, gap=5)
    frequencies = 10000 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    for index, time in enumerate((-5, -10)):
        pairs = torch.view_as_complex(heads[0, index, 0, :8].double().view(4, 2))
        turned = torch.view_as_real(pairs * torch.exp(1j * time * frequencies)).flatten()
        got = rotate(heads, rotation)[0, index, 0, :8].double()
        torch.testing.assert_close(got, turned, rtol=0, atol=1e-5)


def test_a_position_outside_the_tables_is_refused():
    with pytest.raises(ValueError, match=r"position 300 .* end at 255"):
        GapRope(24, (1, 2, 2), 256).references(10, 2, 2, gap=30)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_loading_wan_fills_all_but_the_new_modules_and_names_them(form, wan, tmp_path, caplog):
    wan.save_pretrained(tmp_path)
    model = ContextAnyoneTransformer3DModel.from_pretrained(
        tmp_path, image_dim=IMAGE_DIM, emphasize=form, emphasize_heads=1
    )
    for name, value in wan.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    own = model.get_parameter
    for theirs in () if form == "low_rank" else ("to_k.weight", "to_q.bias", "norm_q.weight"):
        twin = own(f"blocks.1.emphasize.{theirs}")
        assert torch.equal(twin, own(f"blocks.1.attn1.{theirs}")[: len(twin)])
    silent = {"low_rank": "to_out.up.weight", True: "alpha"}.get(form, "to_out.weight")
    assert not own(f"blocks.1.emphasize.{silent}").any()
    assert not own("blocks.0.attn2.add_v_proj.weight").any()
    assert all(name in caplog.text for name in NEW)
    inputs = tiny_inputs()
    plain = wan(**without(inputs, "reference", "image_embeds")).sample
    seen = model(**inputs, keep_reference=[False] * 2).sample
    torch.testing.assert_close(seen, plain, rtol=0, atol=1e-5)


def test_loading_another_model_is_refused(wan, tmp_path):
    state = {name: value for name, value in wan.state_dict().items() if "proj_out" not in name}
    wan.save_pretrained(tmp_path, state_dict=state)
    from safetensors.torch import save_file

    save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ValueError, match="proj_out"):
        ContextAnyoneTransformer3DModel.from_pretrained(tmp_path, image_dim=IMAGE_DIM)


@torch.no_grad()
def test_saving_and_loading_is_exact(tmp_path):
    model, inputs = tiny_model(gap=7, emphasize_rope="gap"), tiny_inputs()
    model.save_pretrained(tmp_path)
    loaded = ContextAnyoneTransformer3DModel.from_pretrained(tmp_path)
    assert loaded.config["gap"] == 7
    assert torch.equal(loaded(**inputs).sample, model(**inputs).sample)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".json"] == [
        ".safetensors"
    ]


@pytest.mark.parametrize("keeps", ["nothing", "attention"])
@pytest.mark.parametrize("every", [1, 2])
def test_checkpointing_changes_no_gradient(every, keeps):
    inputs = tiny_inputs()

    def gradients(checkpointed: int) -> list[torch.Tensor]:
        model = tiny_model().train()
        model.enable_checkpointing(checkpointed, keeps)
        out = model(**inputs)
        (out.sample.square().mean() + out.reference.square().mean()).backward()
        grads = [parameter.grad for parameter in model.parameters()]
        return [grad for grad in grads if grad is not None]

    for plain, recomputed in zip(gradients(0), gradients(every), strict=True):
        assert torch.equal(plain, recomputed)


ABLATIONS = {
    "gap": (1, "sample"),
    "spatial_offset": ("diagonal", "sample"),
    "emphasize_rope": ("gap", "sample"),
    "emphasize": ("none", "sample"),
    "information_flow": ("symmetric", "both"),
    "reference_text": ("prompt", "both"),
}


@torch.no_grad()
@pytest.mark.parametrize("field", ABLATIONS)
def test_an_ablation_changes_what_it_names_and_nothing_else(field):
    value, reach = ABLATIONS[field]
    base, inputs = tiny_model(), tiny_inputs()
    other = tiny_model(**{field: value})
    other.load_state_dict(base.state_dict(), strict=field != "emphasize")
    expected, seen = base(**inputs), other(**inputs)
    assert not torch.allclose(seen.sample, expected.sample, atol=1e-5)
    same_reference = torch.allclose(seen.reference, expected.reference, rtol=0, atol=1e-5)
    assert same_reference == (reach == "sample")
    plain = without(inputs, "reference", "image_embeds")
    assert torch.equal(other(**plain).sample, base(**plain).sample)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gap", 0),
        ("information_flow", "both"),
        ("spatial_offset", "left"),
        ("emphasize", "loud"),
        ("emphasize_rank", 0),
        ("emphasize_heads", 3),
        ("reconstruction", "half"),
    ],
)
def test_an_impossible_choice_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"{field} must be .*{value}"):
        tiny_model(**{field: value})


def test_a_shared_noise_rebuilds_in_no_stream_of_its_own():
    with pytest.raises(ValueError, match="reconstruction must be none or clean with it, got other"):
        tiny_model(reference_noise="shared", reconstruction="other")


@pytest.mark.parametrize(("old", "name"), [(True, "alpha"), (False, None)])
def test_emphasis_of_version_0_1_is_what_it_was(old, name):
    parameters = dict(tiny_model(emphasize=old).named_parameters())
    assert (f"blocks.0.emphasize.{name}" in parameters) == (name is not None)
    assert any("emphasize" in each for each in parameters) == old


@torch.no_grad()
def test_a_tuple_is_returned_where_no_dict_is_wanted():
    model, inputs = tiny_model(), tiny_inputs()
    sample, reference = model(**inputs, return_dict=False)
    expected = model(**inputs)
    assert torch.equal(sample, expected.sample)
    assert torch.equal(reference, expected.reference)


PUBLISHED = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "text_dim": 4096}
LARGE = {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40, "text_dim": 4096}


@pytest.mark.parametrize(
    ("size", "form", "most"),
    [(PUBLISHED, "few_heads", 0.04), (PUBLISHED, "low_rank", 0.02), (LARGE, "few_heads", 0.02)],
)
def test_the_cheap_forms_stay_cheap(size, form, most):
    with torch.device("meta"):
        model = ContextAnyoneTransformer3DModel(**size, emphasize=form)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    own = sum(number for name, number in sizes.items() if "emphasize" in name)
    assert 0 < own / sum(sizes.values()) < most
