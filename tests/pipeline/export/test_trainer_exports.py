"""What is written for a trainer is read back by the rules of that trainer's own pages."""

import importlib.util
import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from tiny_dataset import tiny_sample, write_samples
from trainer_readers import READERS, read_diffsynth_vace, read_runs

from jobs.export import main
from pipeline.dataset.store import open_store
from pipeline.export.export_source import export
from pipeline.export.formats import TRAINERS, writer_of
from pipeline.export.mask_runs import mask_runs
from pipeline.export.options import NO_OPTIONS, ExportOptions
from pipeline.export.reference_pictures import reference_jpeg
from pipeline.media.sound import read_sound, with_sound
from schemas.clip_rules import ClipRules, best_length
from schemas.tables import CastMember

MOST = {"bernini": 12, "diffsynth": 9, "diffusion-pipe": 0, "ltx": 1, "musubi": 9, "videox-fun": 4}
MOST["opens2v"] = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Five clips of 37 frames: one held out, one with many references, one without, one empty."""
    rows = [tiny_sample(number, frames=37, references=3) for number in range(5)]
    rows[1] = replace(rows[1], references=tiny_sample(1, frames=37, references=7).references)
    rows[2] = replace(rows[2], references=[])
    rows[3] = replace(rows[3], split="validation", caption='Says "hi", and\nwaves.')
    rows[4] = replace(rows[4], video={"bytes": b"", "path": None})
    folder = tmp_path_factory.mktemp("dataset")
    write_samples(folder, rows)
    return open_store(folder), rows


def written(store, name: str, folder: Path, options: ExportOptions = NO_OPTIONS) -> Path:
    export(writer_of(name), store, folder, options=options)
    return folder


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_reads_clip_prompt_and_references(made, tmp_path, name):
    store, rows = made
    out = written(store, name, tmp_path / "out", ExportOptions(trigger="sks person"))
    train, held_out = (READERS[name](out, split) for split in ("train", "validation"))
    wants_references = name in ("bernini", "diffsynth", "ltx", "musubi")
    expected = [rows[0], rows[1]] + ([] if wants_references else [rows[2]])
    assert set(train) == {row.sample_id for row in expected}
    assert set(held_out) == {rows[3].sample_id}
    for row in (*expected, rows[3]):
        clip, prompt, pictures = (train | held_out)[row.sample_id]
        assert clip.read_bytes() == row.video["bytes"]
        assert prompt == (row.caption if name == "ltx" else f"sks person {row.caption}")
        assert len(pictures) == min(MOST[name], len(row.references))
        if name not in ("diffusion-pipe", "ltx", "opens2v"):
            for picture, reference in zip(pictures, row.references, strict=False):
                assert picture.read_bytes() == reference.image["bytes"]


@pytest.mark.parametrize("name", TRAINERS)
def test_what_a_format_cannot_say_stands_in_its_page(made, tmp_path, name):
    store, _ = made
    page = (written(store, name, tmp_path / "out") / "README.md").read_text()
    assert "## What this format cannot say" in page
    assert "samples without a clip, left out: 1" in page
    assert "https://github.com/" in page
    if name not in ("diffusion-pipe", "opens2v", "videox-fun"):
        assert "left out: 1\n" in page.replace("without a clip, left out: 1\n", "")


def test_ltx_rows_have_as_many_references_as_columns(made, tmp_path):
    store, _ = made
    out = written(store, "ltx", tmp_path / "out", ExportOptions(trigger="sks", references=3))
    assert [len(pictures) for _, _, pictures in READERS["ltx"](out, "train").values()] == [3, 3]
    page = (out / "README.md").read_text()
    assert '--lora-trigger "sks"' in page  # the trainer puts it in front of captions itself
    assert "160x96x33;160x96x1" in page


def test_vace_gets_one_reference_that_its_crop_does_not_cut(made, tmp_path):
    store, rows = made
    out = written(store, "diffsynth", tmp_path / "out")
    read = read_diffsynth_vace(out, "train")
    assert set(read) == {rows[0].sample_id, rows[1].sample_id}


def test_several_characters_of_a_clip_give_references_in_turn(tmp_path):
    row, other = tiny_sample(0, references=3), tiny_sample(1, references=3)
    guest = CastMember(
        other.track_id, other.character_id, other.description, "full", 1.0, 1.0, 0.1, 0.0, 0,
        other.boxes, other.references,
    )  # fmt: skip
    write_samples(tmp_path / "in", [replace(row, others=[guest])])
    store = open_store(tmp_path / "in")
    out = written(store, "musubi", tmp_path / "musubi", ExportOptions(references=3))
    [(_, _, pictures)] = READERS["musubi"](out, "train").values()
    kept = [*row.references[:2], other.references[0]]
    assert {path.read_bytes() for path in pictures} == {each.image["bytes"] for each in kept}
    assert pictures[1].read_bytes() == other.references[0].image["bytes"]
    out = written(store, "diffusion-pipe", tmp_path / "pipe")
    told = {path.read_text() for path in (out / "train_pictures").glob("*.txt")}
    assert told == {row.description, other.description}


def test_opens2v_cuts_the_person_out_of_another_moment(made, tmp_path):
    store, rows = made
    out = written(store, "opens2v", tmp_path / "out")
    entries = json.loads((out / "jsons" / "train.json").read_text())
    pairs = json.loads((out / "jsons" / "cross_video_pairs" / "train.json").read_text())
    mine = [pair for pair in pairs if pair["cur_id"] == rows[0].sample_id]
    assert [pair["kind"] for pair in mine] == [each.kind for each in rows[0].references]
    reference, entry = rows[0].references[0], entries[mine[0]["aft_id"]]
    with av.open(str(out / entry["metadata"]["path"])) as container:
        [frame] = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    picture, mask = opened(reference.image["bytes"]), opened(reference.mask["bytes"])[..., 0]
    height, width = frame.shape[:2]
    assert np.abs(frame.astype(int) - picture[:height, :width]).mean() < 4
    stored = entry["annotation"]["mask_annotation"]["0"]["1"]["counts"]
    assert np.array_equal(read_runs(stored, height, width), mask[:height, :width] > 127)
    left, top, right, bottom = entry["annotation"]["ann_frame_data"]["annotations"][0]["bbox"]
    assert mask[int(top) : int(bottom), int(left) : int(right)].sum() == mask.sum()


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_give_the_mask_back(seed):
    rng = np.random.default_rng(seed)
    mask = (cv2.GaussianBlur(rng.random((97, 61)), (9, 9), 4) > 0.5).astype(np.uint8)
    for each in (mask, 1 - mask, np.zeros_like(mask), np.ones_like(mask), mask[:1], mask[:, :1]):
        assert np.array_equal(read_runs(mask_runs(each), *each.shape), each)


SOUND = {  # format -> what its page says with sound, and without
    "diffsynth": ('"video,input_audio,references"', "`input_audio` is left out"),
    "ltx": ("dataset_train.json \\", "--skip-audio"),
    "musubi": ("For musubi-tuner", "silence is not learnt"),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_trainer_of_sound_gets_the_sound_of_the_clips(tmp_path, name):
    row = tiny_sample(0, frames=32)
    samples = np.random.default_rng(0).integers(-9000, 9000, (96_000, 2)).astype(np.int16)
    heard = replace(row, video={"bytes": with_sound(row.video["bytes"], samples), "path": None})
    told, untold = SOUND[name]
    for place, sample, shown, hidden in (("a", heard, told, untold), ("b", row, untold, told)):
        write_samples(tmp_path / place, [sample])
        out = written(open_store(tmp_path / place), name, tmp_path / f"out_{place}")
        page = (out / "README.md").read_text()
        assert shown in page
        assert hidden not in page or name == "musubi"
    [(clip, _, _)] = READERS[name](tmp_path / "out_a", "train").values()
    assert np.array_equal(read_sound(clip.read_bytes()), samples)
    if name == "diffsynth":
        [record] = json.loads((tmp_path / "out_a" / "metadata_train.json").read_text())
        assert record["input_audio"] == record["video"]


def test_a_white_background_takes_the_place_away_and_leaves_the_person():
    reference = tiny_sample(0).references[0]
    image, mask = reference.image["bytes"], reference.mask["bytes"]
    white, before = opened(reference_jpeg(image, mask, "white")), opened(image)
    person = cv2.erode(opened(mask)[..., 0], np.ones((5, 5)))
    around = cv2.dilate(opened(mask)[..., 0], np.ones((9, 9)))
    assert white[around == 0].min() > 240
    assert np.abs(white[person > 127].astype(int) - before[person > 127]).mean() < 6
    assert reference_jpeg(image, mask, "keep") == image
    without_mask = opened(reference_jpeg(image, b"", "white"))
    assert np.abs(without_mask.astype(int) - before).mean() < 2


def opened(content: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def test_frames_follow_the_model():
    h3 = ClipRules("h3", 17, 5, 32, fps=24.0, fewest=124, most=345)
    assert [h3.frames(n, 24.0) for n in (4, 5, 123, 124, 400)] == [0, 5, 107, 124, 345]
    assert h3.frames(85, 16.0) == 124
    wan = ClipRules("wan", 4, 1, 16)
    assert [wan.frames(n, 30.0) for n in (1, 4, 81, 84)] == [1, 1, 81, 81]
    assert wan.size(854, 480) == (848, 480)
    assert best_length([81, 81, 81, 161]) == 81  # 3 clips more, or 80 frames more of one
    assert best_length([17, 161, 161]) == 161
    assert best_length([0]) == 0


def test_clips_too_short_for_a_model_are_said(tmp_path):
    write_samples(tmp_path / "in", [tiny_sample(0, frames=25)])
    out = written(open_store(tmp_path / "in"), "musubi", tmp_path / "out")
    page = (out / "README.md").read_text()
    assert "no clip is as long as the model was made for** (124 frames at 24 fps)" in page
    assert "--allow_experimental_duration" in page
    assert "turned to 24 by showing frames twice" in page


def test_choices_that_cannot_be_followed_are_refused(made, tmp_path, capsys, monkeypatch):
    for trigger in ("a\nb", " a", "a" * 101):
        with pytest.raises(ValueError, match="--trigger"):
            ExportOptions(trigger=trigger)
    with pytest.raises(ValueError, match="--background must be one of keep, white, got 'grey'"):
        ExportOptions(background="grey")
    with pytest.raises(ValueError, match="--references must be 0 to 12, got -1"):
        ExportOptions(references=-1)
    monkeypatch.setattr(
        sys, "argv",
        ["export", made[0].url, "--format", "webdataset", "--output", f"{tmp_path}/o",
         "--trigger", "x"],
    )  # fmt: skip
    assert main() == 2
    assert "are for trainers' formats" in capsys.readouterr().err


def test_diffsynth_loads_it_with_its_own_loader(made, tmp_path):
    store, rows = made
    dataset = diffsynth_dataset()
    out = written(store, "diffsynth", tmp_path / "out", ExportOptions(trigger="sks"))
    operator = dataset.default_video_operator(
        base_path=str(out), height=96, width=160, num_frames=33
    )
    loaded = dataset(
        base_path=str(out), metadata_path=str(out / "metadata_vace_train.csv"),
        data_file_keys=["video", "vace_reference_image"], main_data_operator=operator,
    )  # fmt: skip
    assert len(loaded) == 2
    row = loaded[0]
    assert (len(row["video"]), row["video"][0].size) == (33, (160, 96))
    assert row["vace_reference_image"][0].size == (160, 96)
    assert row["prompt"] == f"sks {rows[0].caption}"
    by_references = dataset(
        base_path=str(out), metadata_path=str(out / "metadata_train.json"),
        data_file_keys=["video"],
        main_data_operator=dataset.default_video_operator(
            base_path=str(out), height=96, width=160, num_frames=124, frame_rate=24,
            time_division_factor=17, time_division_remainder=5, fix_frame_rate=True,
            height_division_factor=32, width_division_factor=32,
        ),
    )  # fmt: skip
    assert len(by_references[1]["video"]) == 39  # 37 frames at 16 are 55 at 24, cut to 17n+5


def diffsynth_dataset():
    """Return DiffSynth-Studio's dataset class without importing its models, which takes long."""
    spec = importlib.util.find_spec("diffsynth")
    if spec is None or spec.origin is None:
        pytest.skip("diffsynth is not installed")
    for name in ("diffsynth", "diffsynth.core", "diffsynth.core.data"):
        bare = types.ModuleType(name)
        bare.__path__ = [str(Path(spec.origin).parent.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = bare
    try:
        return importlib.import_module("diffsynth.core.data.unified_dataset").UnifiedDataset
    finally:
        for name in [each for each in sys.modules if each.split(".")[0] == "diffsynth"]:
            del sys.modules[name]
