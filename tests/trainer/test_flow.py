"""Noising, dropout and the two losses."""

import dataclasses

import pytest
import torch
from tiny_model import IMAGE_DIM, tiny_model

from trainer.data.batch import LatentBatch, LatentCharacter
from trainer.flow import DropoutConfig, FlowConfig, Noising, draw, losses, noised, shifted

NO_DROPOUT = DropoutConfig(text=0, reference=0, image=0, all=0)


def latent_batch(rows: int = 2, step: int = 3, first: int = 0) -> LatentBatch:
    source = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source)

    return LatentBatch(
        step=step,
        places=tuple(range(first, first + rows)),
        sample_ids=tuple(f"sample-{place}" for place in range(first, first + rows)),
        video=normal(rows, 16, 3, 8, 12),
        reference=normal(rows, 16, 1, 6, 8),
        text=normal(rows, 10, 32),
        image=normal(rows, 5, IMAGE_DIM),
        subject=torch.zeros(rows, 1, 3, 8, 12),
    )


def rows_of(batch: LatentBatch, rows: slice) -> LatentBatch:
    cut = {name: getattr(batch, name)[rows] for name in ("places", "sample_ids", "video")}
    cut |= {name: getattr(batch, name)[rows] for name in ("reference", "text", "image", "subject")}
    return dataclasses.replace(batch, **cut)


NULL_TEXT = torch.zeros(1, 10, 32)


def test_the_shift_moves_levels_towards_noise():
    sigma = torch.tensor([0.0, 0.25, 0.5, 1.0])
    torch.testing.assert_close(shifted(sigma, 3.0), torch.tensor([0.0, 0.5, 0.75, 1.0]))
    assert torch.equal(shifted(sigma, 1.0), sigma)


def test_noising_goes_from_the_clip_to_the_noise():
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    mixed = noised(clean, noise, torch.tensor([0.0, 1.0]))
    assert torch.equal(mixed[0], clean[0])
    assert torch.equal(mixed[1], noise[1])


def test_a_draw_depends_on_its_place_and_not_on_who_draws():
    batch, flow = latent_batch(4), FlowConfig()
    whole = draw(batch, flow, seed=9)
    for rows in (slice(0, 2), slice(2, 4)):
        part = draw(rows_of(batch, rows), flow, seed=9)
        assert torch.equal(part.sigma, whole.sigma[rows])
        assert torch.equal(part.video_noise, whole.video_noise[rows])
        assert part.keep_text == whole.keep_text[rows]
    other = draw(dataclasses.replace(batch, step=4), flow, seed=9)
    assert not torch.equal(other.sigma, whole.sigma)
    assert len(set(whole.sigma.tolist())) == 4


@pytest.mark.parametrize("sigmas", ["uniform", "logit_normal"])
def test_levels_cover_the_range(sigmas):
    flow = FlowConfig(sigmas=sigmas, shift=1.0)
    one = dataclasses.replace(latent_batch(1), video=torch.zeros(1, 1, 1, 1, 1))
    one = dataclasses.replace(one, reference=one.video)
    drawn = [draw(dataclasses.replace(one, step=step), flow, 0).sigma.item() for step in range(400)]
    assert 0 < min(drawn) < 0.1
    assert 0.9 < max(drawn) < 1
    assert abs(sum(drawn) / len(drawn) - 0.5) < 0.04


def test_conditions_are_dropped_as_often_as_asked():
    flow = FlowConfig(dropout=DropoutConfig(text=0.2, reference=0.3, image=0.0, all=0.1))
    one = dataclasses.replace(latent_batch(1), video=torch.zeros(1, 1, 1, 1, 1))
    one = dataclasses.replace(one, reference=one.video)
    drawn = [draw(dataclasses.replace(one, step=step), flow, 0) for step in range(2000)]
    text = sum(not each.keep_text[0] for each in drawn) / len(drawn)
    reference = sum(not each.keep_reference[0] for each in drawn) / len(drawn)
    image = sum(not each.keep_image[0] for each in drawn) / len(drawn)
    everything = sum(
        not (each.keep_text[0] or each.keep_reference[0] or each.keep_image[0]) for each in drawn
    )
    assert abs(text - (1 - 0.8 * 0.9)) < 0.03
    assert abs(reference - (1 - 0.7 * 0.9)) < 0.03
    assert abs(image - 0.1) < 0.03
    assert everything / len(drawn) > 0.08


class Oracle(torch.nn.Module):
    """Answers with given velocities, and remembers what it was shown."""

    def __init__(
        self,
        sample: torch.Tensor,
        reference: torch.Tensor,
        noise: str = "clean",
        reconstruction: str = "clean",
        rebuilt: torch.Tensor | None = None,
    ):
        super().__init__()
        self.answer = {"sample": sample, "reference": reference, "rebuilt": rebuilt}
        self.config = {"reference_noise": noise, "reconstruction": reconstruction}
        self.dtype = torch.float32

    def forward(self, **inputs):
        self.seen = inputs
        return type("Output", (), self.answer)


def fixed_noising(batch: LatentBatch, **changes) -> Noising:
    rows = len(batch.places)
    whole = Noising(
        sigma=torch.full((rows,), 0.5),
        video_noise=torch.randn_like(batch.video),
        reference_noise=torch.randn_like(batch.reference),
        keep_text=(True,) * rows,
        keep_reference=(True,) * rows,
        keep_image=(True,) * rows,
    )
    return dataclasses.replace(whole, **changes)


def test_the_right_velocities_lose_nothing():
    batch = latent_batch()
    noising = fixed_noising(batch)
    clean = losses(
        Oracle(noising.video_noise - batch.video, -batch.reference),
        batch,
        noising,
        NULL_TEXT,
        FlowConfig(),
    )
    assert clean.total.tolist() == [0, 0]
    shared = losses(
        Oracle(
            noising.video_noise - batch.video, noising.reference_noise - batch.reference, "shared"
        ),
        batch,
        noising,
        NULL_TEXT,
        FlowConfig(),
    )
    assert shared.total.tolist() == [0, 0]


@pytest.mark.parametrize("mode", ["self", "other"])
def test_a_picture_is_rebuilt_from_noise_at_the_video_sigma(mode):
    """Only who subtracts the right picture from the right noise loses nothing."""
    batch = dataclasses.replace(latent_batch(), other=torch.randn(2, 16, 1, 6, 8))
    noising = fixed_noising(batch)
    picture = batch.reference if mode == "self" else batch.other
    assert picture is not None
    oracle = Oracle(
        noising.video_noise - batch.video,
        torch.zeros_like(batch.reference),
        reconstruction=mode,
        rebuilt=noising.reference_noise - picture,
    )
    assert losses(oracle, batch, noising, NULL_TEXT, FlowConfig()).total.tolist() == [0, 0]
    noisy = noised(picture, noising.reference_noise, noising.sigma)
    assert torch.equal(oracle.seen["rebuilt"], noisy)
    assert torch.equal(oracle.seen["reference"], batch.reference)
    assert oracle.seen["reference_timestep"] is None


def test_one_of_several_references_is_rebuilt():
    batch = dataclasses.replace(latent_batch(), reference=torch.randn(2, 16, 3, 6, 8))
    noising = fixed_noising(batch)
    rebuilt = (noising.reference_noise - batch.reference)[:, :, :1]
    oracle = Oracle(batch.video, batch.reference, reconstruction="self", rebuilt=rebuilt)
    assert losses(oracle, batch, noising, NULL_TEXT, FlowConfig()).reference.tolist() == [0, 0]


def test_without_reconstruction_the_second_loss_is_zero():
    batch = latent_batch()
    oracle = Oracle(batch.video, batch.reference + 5, reconstruction="none")
    got = losses(oracle, batch, fixed_noising(batch), NULL_TEXT, FlowConfig())
    assert got.reference.tolist() == [0, 0]
    assert torch.equal(got.total, got.diffusion)
    assert oracle.seen["rebuilt"] is None


def test_a_reference_can_be_rebuilt_at_the_video_timestep():
    batch = latent_batch()
    noising = fixed_noising(batch)
    oracle = Oracle(batch.video, -batch.reference, reconstruction="video_timestep")
    got = losses(oracle, batch, noising, NULL_TEXT, FlowConfig())
    assert got.reference.tolist() == [0, 0]
    assert torch.equal(oracle.seen["reference"], batch.reference)
    assert torch.equal(oracle.seen["reference_timestep"], 1000 * noising.sigma)


def test_data_without_another_picture_cannot_rebuild_one():
    oracle = Oracle(torch.zeros(1), torch.zeros(1), reconstruction="other")
    with pytest.raises(ValueError, match=r"set model\.reconstruction=self"):
        losses(oracle, latent_batch(), fixed_noising(latent_batch()), NULL_TEXT, FlowConfig())


def two_characters(step: int = 3, present: tuple[bool, ...] = (True, False)) -> LatentBatch:
    source = torch.Generator().manual_seed(6)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source)

    name = normal(2, 4, 32)
    second = LatentCharacter(
        normal(2, 16, 1, 6, 8), normal(2, 5, IMAGE_DIM), normal(2, 4, 32), present
    )
    return dataclasses.replace(latent_batch(step=step), name=name, characters=(second,))


def test_the_model_is_told_of_each_character_and_does_not_see_one_who_is_not_there():
    batch = two_characters()
    [second] = batch.characters
    oracle = Oracle(batch.video, batch.reference, reconstruction="none")
    noising = fixed_noising(batch, keep_image=(True, False))
    losses(oracle, batch, noising, NULL_TEXT, FlowConfig())
    assert batch.name is not None
    assert torch.equal(oracle.seen["name"], batch.name)
    assert torch.equal(oracle.seen["others"][0].reference, second.reference)
    assert torch.equal(oracle.seen["others"][0].name, second.name)
    assert oracle.seen["named"] == (True, False)
    assert oracle.seen["keep_reference"] == ((True, True), (True, False))
    assert oracle.seen["keep_image"] == ((True, True), (False, False))


def test_characters_are_dropped_one_by_one_and_one_who_is_alone_is_not():
    flow = FlowConfig(dropout=DropoutConfig(text=0, reference=0, image=0, all=0, character=0.3))
    drawn = [draw(two_characters(step), flow, 0).keep_characters for step in range(1000)]
    first, second = zip(*(rows[0] for rows in drawn if rows), strict=True)
    assert abs(first.count(False) / 1000 - 0.3) < 0.04
    assert abs(second.count(False) / 1000 - 0.3) < 0.04
    both = sum(not (one or other) for one, other in zip(first, second, strict=True))
    assert abs(both / 1000 - 0.09) < 0.03
    assert all(rows[1] == (True, True) for rows in drawn if rows)


def test_other_draws_do_not_depend_on_how_many_characters_there_are():
    one, two = (draw(batch, FlowConfig(), 4) for batch in (latent_batch(), two_characters()))
    assert torch.equal(one.sigma, two.sigma)
    assert torch.equal(one.video_noise, two.video_noise)
    assert (one.keep_text, one.keep_reference) == (two.keep_text, two.keep_reference)
    assert one.keep_characters is None


def test_a_sample_alone_among_samples_with_several_loses_what_it_would_by_itself():
    model, batch, flow = tiny_model(reconstruction="self"), two_characters(), FlowConfig()
    noising = fixed_noising(batch)
    single = dataclasses.replace(batch, name=None, characters=())
    with torch.no_grad():
        several = losses(model, batch, noising, NULL_TEXT, flow).total
        alone = losses(model, single, noising, NULL_TEXT, flow).total
    torch.testing.assert_close(several[1], alone[1], rtol=0, atol=1e-5)
    assert not torch.isclose(several[0], alone[0], atol=1e-4)


def test_losses_are_means_of_squares_and_weighted():
    batch = latent_batch()
    noising = fixed_noising(batch)
    oracle = Oracle(noising.video_noise - batch.video + 2, -batch.reference + 3)
    got = losses(oracle, batch, noising, NULL_TEXT, FlowConfig(reference_weight=0.5))
    torch.testing.assert_close(got.diffusion, torch.full((2,), 4.0))
    torch.testing.assert_close(got.reference, torch.full((2,), 9.0))
    torch.testing.assert_close(got.total, torch.full((2,), 8.5))


def test_the_subject_weighs_more_where_it_is():
    batch = latent_batch()
    assert batch.subject is not None
    batch.subject[:, :, :, :4] = 1  # half the picture
    noising = fixed_noising(batch)
    oracle = Oracle(noising.video_noise - batch.video + 1, -batch.reference)
    got = losses(oracle, batch, noising, NULL_TEXT, FlowConfig(subject_weight=2.0))
    torch.testing.assert_close(got.diffusion, torch.full((2,), 2.0))


def test_a_dropped_prompt_becomes_the_null_prompt():
    batch = latent_batch()
    noising = fixed_noising(batch, keep_text=(True, False))
    oracle = Oracle(batch.video, batch.reference)
    losses(oracle, batch, noising, NULL_TEXT + 7, FlowConfig())
    assert torch.equal(oracle.seen["encoder_hidden_states"][0], batch.text[0])
    assert torch.equal(oracle.seen["encoder_hidden_states"][1], NULL_TEXT[0] + 7)


def test_a_clean_reference_is_shown_clean_and_a_shared_one_noised():
    batch = latent_batch()
    noising = fixed_noising(batch)
    for noise in ("clean", "shared"):
        oracle = Oracle(batch.video, batch.reference, noise)
        losses(oracle, batch, noising, NULL_TEXT, FlowConfig())
        is_clean = torch.equal(oracle.seen["reference"], batch.reference)
        assert is_clean == (noise == "clean")
        assert (oracle.seen["reference_timestep"] is None) == (noise == "clean")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["clean", "other"])
def test_both_losses_fall_by_nine_tenths_on_eight_samples(mode):
    torch.manual_seed(0)
    model = tiny_model(
        reconstruction=mode,
        num_attention_heads=2,
        attention_head_dim=48,
        ffn_dim=384,
        num_layers=3,
        freq_dim=64,
    ).train()
    source = torch.Generator().manual_seed(2)
    batch = latent_batch(8)
    # Smooth latents, as real ones are; each sample is one colour field with its own reference.
    colour = torch.randn(8, 16, 1, 1, 1, generator=source)
    batch = dataclasses.replace(
        batch,
        video=colour.expand(8, 16, 2, 4, 8).contiguous(),
        reference=colour.expand(8, 16, 1, 4, 4).contiguous(),
        other=colour.expand(8, 16, 1, 4, 4).contiguous(),
        subject=None,
    )
    flow = FlowConfig(dropout=NO_DROPOUT, shift=5.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0)
    history = []
    for step in range(300):
        current = dataclasses.replace(batch, step=step)
        loss = losses(model, current, draw(current, flow, 1), NULL_TEXT, flow)
        optimizer.zero_grad()
        loss.total.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        history.append((loss.diffusion.mean().item(), loss.reference.mean().item()))
    first, last = history[0], [sum(column) / 10 for column in zip(*history[-10:], strict=True)]
    assert last[0] < 0.1 * first[0], (first, last)
    assert last[1] < 0.1 * first[1], (first, last)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": 0}, "flow.shift must be > 0 and < 1000, got 0"),
        ({"sigmas": "cosine"}, "flow.sigmas must be one of uniform, logit_normal, got 'cosine'"),
        ({"reference_weight": -1}, "flow.reference_weight must be from 0 to 1000, got -1"),
    ],
)
def test_an_impossible_flow_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FlowConfig(**settings)


def test_an_impossible_dropout_is_refused():
    with pytest.raises(ValueError, match=r"dropout\.text must be from 0 to 1, got 1\.5"):
        DropoutConfig(text=1.5)


def marked_pair(step: int = 3) -> LatentBatch:
    """Two samples of two characters, whose words and boxes are known."""
    batch = two_characters(step, (True, True))
    length, (frames, rows, columns) = batch.text.shape[1], batch.video.shape[2:]
    mentions, boxes = torch.zeros(2, 2, length), torch.zeros(2, 2, frames, rows, columns)
    mentions[:, 0, 0] = mentions[:, 1, 1] = 1
    boxes[:, 0, ..., : columns // 2] = boxes[:, 1, ..., columns // 2 :] = 1
    return dataclasses.replace(batch, mentions=mentions, boxes=boxes)


def test_marks_and_boxes_are_dropped_as_often_as_it_says():
    flow = FlowConfig(dropout=DropoutConfig(mark=0.2, boxes=0.6))
    drawn = [draw(marked_pair(step), flow, 0) for step in range(1000)]
    marks = [kept for each in drawn for kept in each.keep_marks or ()]
    boxes = [kept for each in drawn for kept in each.keep_boxes or ()]
    assert sum(marks) / len(marks) == pytest.approx(0.8, abs=0.03)
    assert sum(boxes) / len(boxes) == pytest.approx(0.4, abs=0.03)


@torch.no_grad()
def test_words_and_boxes_count_unless_they_are_dropped():
    model, batch, flow = tiny_model(marks=2), marked_pair(), FlowConfig()
    whole = dataclasses.replace(
        draw(batch, flow, 0), keep_text=(True,) * 2, keep_reference=(True,) * 2,
        keep_characters=None, keep_marks=(True,) * 2, keep_boxes=(True,) * 2,
    )  # fmt: skip

    def lost(**changes: tuple[bool, bool]) -> torch.Tensor:
        noising = dataclasses.replace(whole, **changes)
        null = torch.zeros_like(batch.text[:1])
        return losses(model, batch, noising, null, flow).diffusion

    all_known, nobody = lost(), lost(keep_marks=(False, False))
    assert (all_known != lost(keep_boxes=(False, False))).all()
    assert (all_known != nobody).all()
    mixed = lost(keep_marks=(True, False))
    torch.testing.assert_close(mixed, torch.stack([all_known[0], nobody[1]]), rtol=1e-5, atol=1e-6)
    # Without its text and its boxes a sample marks references alone.
    bare = lost(keep_text=(False, False), keep_boxes=(False, False))
    unmarked = lost(keep_text=(False, False), keep_marks=(False, False))
    assert not torch.equal(bare, unmarked)
