"""The drawn characters: the same seed the same film, truth that is true, measures that measure."""

import json
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.characters import rows, run, steps
from benchmarks.characters.cast import LIGHTS, TOPS, Film, caption_of, draw_films
from benchmarks.characters.draw import GROUND, SIDE, TOP, draw_frame
from benchmarks.characters.items import regions_of, through_codec
from benchmarks.characters.measures import (
    Seen,
    attributes,
    copied_light,
    drift,
    ground_of,
    motion,
    rank_of_own,
)
from benchmarks.characters.table import differences, read_lines, seeds_apart, write_table
from benchmarks.characters.truth import Truth, box_of, write_films
from pipeline.media.clip_frames import read_clip

FRAMES = [2, 3, 4]


def seen_of(film: Film, numbers: list[int]) -> Seen:
    small = [cv2.resize(draw_frame(film, number)[0], (64, 64), interpolation=cv2.INTER_AREA)
             for number in numbers]  # fmt: skip
    return Seen(np.stack(small), regions_of(film, numbers, 64))


def relit(film: Film, light: str) -> Film:
    return replace(film, shots=tuple(replace(shot, light=light, side=0.0) for shot in film.shots))


def dressed(film: Film, **changes: str) -> Film:
    return replace(film, identity=replace(film.identity, **changes))


@pytest.fixture(scope="module")
def film() -> Film:
    [first] = draw_films(1, seed=3)
    plain = {"top_pattern": "plain", "top": "red", "accessory": "none", "hair_style": "short"}
    return relit(dressed(first, **plain), "bright")


def test_a_film_depends_on_its_seed_and_number_alone():
    films, more = draw_films(3, seed=5), draw_films(40, seed=5)
    assert films == more[:3]
    assert films != draw_films(3, seed=6)
    assert len({film.identity for film in more}) == 40
    one, labels = draw_frame(films[1], 20)
    again, same = draw_frame(Film.from_json(json.loads(json.dumps(films[1].to_json()))), 20)
    assert (one == again).all()
    assert (labels == same).all()


def test_neighbouring_shots_differ_in_light_and_ground_and_not_in_the_person():
    for film in draw_films(20, seed=1):
        for one, other in zip(film.shots, film.shots[1:], strict=False):
            assert one.light != other.light
            assert one.ground != other.ground


def test_a_caption_tells_nothing_of_who_it_is():
    for film in draw_films(50, seed=2):
        words = set(caption_of(film.shots[0]).lower().replace(",", "").replace(".", "").split())
        told = {film.identity.hair, film.identity.top, film.identity.bottom, film.identity.accent}
        assert not words & told


def test_labels_cover_the_colour_that_they_name(film):
    picture, labels = draw_frame(film, 3)
    whole = cv2.resize((labels == TOP).astype(np.float32), (SIDE, SIDE)) == 1
    expected = np.clip(np.array(TOPS["red"]) * LIGHTS["bright"], 0, 255)
    assert np.abs(picture[whole].mean(axis=0) - expected).max() < 2
    left, top, right, bottom = (2 * box_of(labels)).astype(int)
    box = labels[top:bottom, left:right]
    assert (box != GROUND).sum() == (labels != GROUND).sum()
    assert all((edge != GROUND).any() for edge in (box[0], box[-1], box[:, 0], box[:, -1]))


def test_the_real_clip_has_every_attribute_and_no_drift(film):
    real = seen_of(film, FRAMES)
    found = attributes(real, real, film.identity, film.shots[0])
    assert found["correct"] == 1
    assert found["error"] == 0
    assert drift(real, real, film.identity) == 0
    assert copied_light(real, real, seen_of(relit(film, "dim"), FRAMES), film.identity) == 0


def test_other_clothes_are_wrong_where_they_differ_and_nowhere_else(film):
    real, other = seen_of(film, FRAMES), seen_of(dressed(film, top="blue"), FRAMES)
    found = attributes(other, real, film.identity, film.shots[0])
    assert (found["correct_top"], found["correct_bottom"], found["correct_hair"]) == (0, 1, 1)
    assert found["error_bottom"] == 0
    away = np.abs(np.subtract(TOPS["red"], TOPS["blue"])) * LIGHTS["bright"] / 255
    assert found["error_top"] == pytest.approx(away.mean(), abs=0.02)


def test_the_light_of_the_reference_is_named_as_copied(film):
    real, reference = seen_of(film, FRAMES), seen_of(relit(film, "dim"), FRAMES)
    assert copied_light(reference, real, reference, film.identity) == pytest.approx(1)
    halfway = (real.frames.astype(int) + reference.frames) // 2
    middle = Seen(halfway.astype(np.uint8), real.regions)
    assert copied_light(middle, real, reference, film.identity) == pytest.approx(0.5, abs=0.05)
    assert copied_light(real, real, real, film.identity) is None  # nothing to tell apart


def test_a_colour_that_changes_on_the_way_drifts(film):
    real = seen_of(film, FRAMES)
    frames = real.frames.copy()
    frames[-1] = seen_of(dressed(film, top="blue"), FRAMES).frames[-1]
    assert (drift(Seen(frames, real.regions), real, film.identity) or 0) > 0.05


def test_a_still_has_no_motion_and_its_ground_is_recognised(film):
    still = seen_of(film, [2, 2, 2])
    assert motion(still.frames) == 0
    others = [ground_of(seen_of(other, FRAMES)) for other in draw_films(5, seed=9)]
    own = ground_of(still)
    assert rank_of_own(own, own, others) == 1
    assert rank_of_own(others[0], own, others) < 1
    assert rank_of_own(own, own, [own, own]) == 0.5


def test_the_codec_keeps_colours(film):
    numbers = list(range(9))
    real = seen_of(film, numbers)
    seen = Seen(through_codec(real.frames), real.regions)
    assert attributes(seen, real, film.identity, film.shots[0])["error"] < 0.05


def test_a_frame_of_the_file_is_found_again(tmp_path):
    films = draw_films(2, seed=4, num_frames=6)
    write_films(films, tmp_path)
    before = (tmp_path / "film00000.mp4").read_bytes()
    write_films(films, tmp_path)
    assert (tmp_path / "film00000.mp4").read_bytes() == before
    truth = Truth.read(tmp_path)
    _, pictures = read_clip((tmp_path / "film00001.mp4").read_bytes())
    moving = [number for number in range(24) if films[1].place(number)[0].action == "walks"]
    for number in moving:
        found, place = truth.place(truth.find(pictures[number]))
        assert (found.name, place) == ("film00001", number)
    told = json.loads((tmp_path / "film00001.json").read_text())
    assert len(told["frames"]) == 24
    assert Film.from_json({k: told[k] for k in ("name", "identity", "shots")}) == films[1]


def test_no_films_are_named_as_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"no drawn films at .*truth\.json is missing"):
        Truth.read(tmp_path)


def test_every_row_is_a_training_that_can_be_told():
    from trainer.train import parse

    preset = rows.PRESETS["small"]
    changes: dict[str, str] = {}
    for row in rows.ROWS[1:]:
        assert bool(row.settings) == (row.dataset == "cross_shot"), row.name
        assert row.dataset in rows.DATASETS
        changes |= dict(setting.split("=") for setting in row.settings)
    settings = tuple(f"{name}={value}" for name, value in changes.items())
    larger = rows.PRESETS["larger"]
    told = []
    for more in ((), settings, (*larger.settings, *larger.row_settings)):
        words = steps.set_words((*preset.settings, *preset.row_settings, *more))
        told.append(parse(["--preset", "tiny", "--data", "d", "--output", "o", *words]))
    assert told[0].model.emphasize == "full"
    assert told[0].flow.reference_weight > 0
    assert told[0].flow.dropout.image < 1
    assert (told[1].model.emphasize, told[1].model.information_flow) == (False, "symmetric")
    assert (told[1].flow.reference_weight, told[1].flow.dropout.image) == (0, 1)
    assert told[0].train == told[1].train


def test_the_base_is_plain_wan_to_which_all_that_is_ours_is_new(tmp_path):
    import torch

    from benchmarks.characters.base import write_base
    from trainer.build import build_model
    from trainer.distributed.zero import ZeroConfig
    from trainer.train_config import ModelConfig

    sizes: dict[str, Any] = {"layers": 1, "heads": 2, "head_dim": 12, "ffn_dim": 32}
    sizes |= {"freq_dim": 16, "text_dim": 8, "image_dim": 6}
    config = ModelConfig(**sizes, emphasize=False)
    trained = build_model(config, ZeroConfig(stage=0), seed=0)
    trained.save_pretrained(tmp_path / "model" / "transformer")
    write_base(tmp_path / "model", tmp_path / "base")
    row = replace(config, pretrained=str(tmp_path / "base"), emphasize="few_heads", gap=8)
    model = build_model(row, ZeroConfig(stage=0), seed=1)
    weights, theirs = model.state_dict(), trained.state_dict()
    assert torch.equal(weights["patch_embedding.weight"], theirs["patch_embedding.weight"])
    assert (weights["blocks.0.emphasize.to_out.weight"] == 0).all()
    assert model.config["gap"] == 8


def test_what_is_trained_is_not_trained_again(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(steps, "job", lambda *words, **_: ran.append(words[0]))
    places, preset = steps.Places(tmp_path), rows.PRESETS["small"]
    run.train(places, preset, rows.ROWS[0], seed=0)
    assert ran == ["trainer/train.py", "trainer/export.py"]
    places.model("full-0").mkdir()
    run.train(places, preset, rows.ROWS[0], seed=0)
    assert len(ran) == 2


def test_a_row_is_compared_with_the_full_one_person_by_person(tmp_path):
    for name, values in {"full-0": (0.5, 0.9), "full-1": (0.7, 0.9), "gap_1-0": (0.4, 0.7)}.items():
        items = [{"item": str(at), "identity": f"who{at}", "measures": {"correct": value}}
                 for at, value in enumerate(values)]  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps({"items": items}))
    full, gap = read_lines(tmp_path)
    assert full.seeds == ("0", "1")
    found = differences(gap, full, "correct")  # of seed 0 alone
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((-0.15, -0.2, -0.1))
    assert "**-0.150 [-0.200, -0.100]**" in write_table(tmp_path, tmp_path)
    other = seeds_apart(full, "correct")
    assert other is not None
    assert other.mean == pytest.approx(0.1)
