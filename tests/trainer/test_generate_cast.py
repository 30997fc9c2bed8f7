"""Videos of several characters, each called by a name in the prompt."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import tiny_pipeline

from trainer import generate
from trainer.sampling.model_folder import read_published
from trainer.sampling.pipeline import ContextAnyonePipeline

PROMPT = "Anna waves and bob sits."
QUICK = {"num_inference_steps": 2, "output_type": "latent"}


@pytest.fixture(scope="module")
def pipeline() -> ContextAnyonePipeline:
    """A model as if trained on two characters at once."""
    made = tiny_pipeline(marks=2)
    made.published = replace(made.published, characters=2)
    return made


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "two"
    pipeline.save_pretrained(path)
    return path


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with a.png, b.png and c.png."""
    for number, name in enumerate("abc"):
        small = np.random.default_rng(number).integers(0, 256, (4, 3, 3), dtype=np.uint8)
        Image.fromarray(small).resize((40, 60)).save(tmp_path / f"{name}.png")
    return tmp_path


def video(pipeline, characters, prompt=PROMPT, **given):
    return pipeline(prompt, characters=characters, **QUICK, **given).frames


def test_names_pictures_and_scales_make_the_video(pipeline, pictures):
    a, b, c = (pictures / f"{name}.png" for name in "abc")
    base = video(pipeline, {"anna": [a, b], "bob": c})
    assert np.array_equal(base, video(pipeline, {"Anna": [a, b], "BOB": [c]}))  # as the prompt says
    others = [
        video(pipeline, {"anna": [a], "bob": c}),
        video(pipeline, {"anna": c, "bob": [a, b]}),
        video(pipeline, {"anna": [a, b]}),
        video(pipeline, {"anna": [a, b], "bob": c}, character_guidance={"bob": 2.0}),
    ]
    assert all(abs(base - other).max() > 1e-5 for other in others)


def test_a_model_of_one_character_takes_one_with_a_name_as_its_reference(pictures):
    single = tiny_pipeline()
    named = video(single, {"anna": pictures / "a.png"})
    plain = single(PROMPT, pictures / "a.png", **QUICK).frames
    assert np.array_equal(named, plain)
    with pytest.raises(ValueError, match=r"2 characters were given.*trained on 1 at once"):
        video(single, {"anna": pictures / "a.png", "bob": pictures / "b.png"})


def test_a_folder_says_how_many_characters_it_was_trained_on(folder, tmp_path):
    assert read_published(folder).characters == 2
    tiny_pipeline().save_pretrained(tmp_path / "one")
    index = json.loads((tmp_path / "one" / "model_index.json").read_text())
    assert "characters" not in index
    assert read_published(tmp_path / "one").characters == 1


def run(monkeypatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["generate", *map(str, words)])
    return generate.main()


def test_the_script_makes_a_video_of_two_and_writes_down_who_is_who(folder, pictures, monkeypatch):
    a, b, c = (pictures / f"{name}.png" for name in "abc")
    output = pictures / "both.mp4"
    words = ["--model", folder, "--character", f"anna={a},{b}", "--character", f"bob={c}"]
    words += ["--prompt", PROMPT, "--output", output, "--steps", 2, "--strip"]
    assert run(monkeypatch, *words, "--character-guidance", "bob=1.5") == 0
    record = json.loads(output.with_suffix(".json").read_text())
    assert {name: list(files) for name, files in record["characters"].items()} == {
        "anna": ["a.png", "b.png"],
        "bob": ["c.png"],
    }
    assert record["character_guidance"] == {"bob": 1.5}
    assert record["boxes"] == {}
    assert output.stat().st_size > 0
    assert output.with_suffix(".jpg").is_file()


def test_boxes_say_where_each_is(pipeline, pictures):
    cast = {"anna": pictures / "a.png", "bob": pictures / "b.png"}
    left, right = (0, 0, 0.5, 1), (0.5, 0, 1, 1)
    videos = [
        video(pipeline, cast, character_boxes=boxes)
        for boxes in (
            None,
            {"anna": [left], "bob": [right]},
            {"anna": [right], "bob": [left]},
            {"anna": [left, right], "bob": [right, left]},
        )
    ]
    for number, one in enumerate(videos):
        assert all(abs(one - other).max() > 1e-5 for other in videos[:number])
    with pytest.raises(ValueError, match="bob has none"):
        video(pipeline, cast, character_boxes={"anna": [left]})
    with pytest.raises(ValueError, match="boxes of carl"):
        video(pipeline, cast, character_boxes={"carl": [left]})


def test_the_script_takes_boxes_behind_a_picture_or_from_a_file(folder, pictures, monkeypatch):
    a, b = pictures / "a.png", pictures / "b.png"
    words = ["--model", folder, "--prompt", PROMPT, "--steps", 1, "--guidance", "none"]
    behind = [f"--character=anna={a}@0,0,.5,1", f"--character=bob={b}@0.5,0,1,1"]
    assert run(monkeypatch, *words, *behind, "--output", pictures / "one.mp4") == 0
    boxes = {"anna": [[0, 0, 0.5, 1]], "bob": [[0.5, 0, 1, 1]]}
    (pictures / "boxes.json").write_text(json.dumps(boxes))
    named = [f"--character=anna={a}", f"--character=bob={b}"]
    more = ["--boxes", pictures / "boxes.json", "--output", pictures / "two.mp4"]
    assert run(monkeypatch, *words, *named, *more) == 0
    assert json.loads((pictures / "one.json").read_text())["boxes"] == boxes
    assert (pictures / "one.mp4").read_bytes() == (pictures / "two.mp4").read_bytes()
    assert run(monkeypatch, *words, *behind, *more, "--force") == 2


def test_a_model_without_marks_may_exchange_them(tmp_path, pictures, monkeypatch, capsys):
    plain = tiny_pipeline()
    plain.published = replace(plain.published, characters=2)
    plain.save_pretrained(tmp_path / "plain")
    words = ["--prompt", PROMPT, "--steps", 1, "--guidance", "none"]
    words += [f"--character=anna={pictures / 'a.png'}", f"--character=bob={pictures / 'b.png'}"]
    given = ["--model", tmp_path / "plain", *words, "--output", tmp_path / "both.mp4"]
    assert run(monkeypatch, *given) == 0
    assert "trained without marks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["anna=A", "carl=B"], "the prompt does not say 'carl'"),
        (["anna=A", "ann=B"], "the prompt does not say 'ann'"),
        (["anna=A", "Anna=B"], "Anna and anna names two characters"),
        (["anna=A", "bob=none.png"], r"no picture at .*none\.png"),
        (["anna=A", "bob=B", "waves=A"], r"3 characters were given.*trained on 2 at once"),
        (["a b=A", "bob=B"], "must be one word of letters"),
        (["anna=A@0,0,1,1", "bob=B"], "boxes of all characters or of none: bob has none"),
        (["anna=A@0,0,3,1", "bob=B@0,0,1,1"], "as shares of the picture"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder, pictures, monkeypatch, capsys, words, message):
    monkeypatch.chdir(pictures)
    given = [
        word for each in words
        for word in ("--character", each.replace("=A", "=a.png").replace("=B", "=b.png"))
    ]  # fmt: skip
    output = pictures / "out.mp4"
    assert run(monkeypatch, "--model", folder, *given, "--prompt", PROMPT, "--output", output) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reference", "a.png", "--character", "anna=a.png"], "not allowed with argument"),
        (["--character", "anna"], "must be NAME=FILE"),
        (["--character", "anna=a.png", "--character-guidance", "anna=much"], "NAME=SCALE"),
        (["--reference", "a.png", "--boxes", "b.json"], "name them by --character"),
        ([], "one of the arguments --reference --character is required"),
    ],
)
def test_wrong_flags_are_refused(folder, words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        generate.parse(["--model", str(folder), *words, "--prompt", "a", "--output", "o.mp4"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_guidance_of_nobody_is_refused(pipeline, pictures):
    with pytest.raises(ValueError, match="given for 'carl', the characters are anna"):
        video(pipeline, {"anna": pictures / "a.png"}, character_guidance={"carl": 1.0})
