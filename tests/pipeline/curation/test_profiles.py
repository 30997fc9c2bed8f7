"""`curate --for MODEL` makes clips that the model's trainer takes whole."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from jobs.curate import main, parse
from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.profiles import PROFILES, profile_names
from pipeline.media.fit import buckets
from schemas.settings_parser import read_settings
from trainer.data.data_config import DataConfig
from trainer.data.index import RowIndex, assign_buckets
from trainer.train_config import preset_names

# model -> (frames a second, allowed numbers of frames, multiple of sides), from the trainers' pages
RULES = {
    "h3": (24, {17 * n + 5 for n in range(7, 21)}, 32),
    "ltx": (24, {8 * n + 1 for n in range(11, 16)}, 32),
    "wan2.1": (16, {81}, 16),
    "wan2.2": (16, {81}, 16),
    "wan2.2-5b": (24, {121}, 32),
    "hunyuan": (24, {121, 125, 129}, 16),
}


def clips_for(name: str, *words: str):
    parsed = parse(["--input", "a.mp4", "--output", "out", "--for", name, *words])
    return read_settings(parsed, CurationConfig).observe.clips


@pytest.mark.parametrize("name", RULES)
def test_every_length_and_size_of_a_profile_is_one_that_its_model_takes(name):
    fps, lengths, multiple = RULES[name]
    clips = clips_for(name)
    made = {clips.length_within(seen) for seen in range(1, clips.max_frames + 1)} - {0}
    assert clips.fps == fps
    assert made == lengths
    sides = itertools.chain(*(buckets(c, clips.side_multiple) for c in clips.size_classes))
    assert all(width % multiple == 0 and height % multiple == 0 for width, height in sides)
    assert clips_for(f"{name}-720p").size_classes == (720, 480)


def test_every_profile_has_a_test_and_a_page_that_its_figures_are_from():
    assert RULES.keys() == PROFILES.keys()
    assert all("docs/" in each.source or "configs/" in each.source for each in PROFILES.values())


def test_a_setting_goes_before_a_profile_wherever_it_stands():
    assert clips_for("h3", "--set", "observe.clips.max_s=6").max_frames == 141
    parsed = parse(
        ["--set", "observe.clips.fps=30", "--input", "a", "--output", "b", "--for", "wan2.1"]
    )
    assert parsed.observe.clips.fps == 30


def test_a_profile_that_does_not_exist_is_refused_with_those_that_do(capsys, monkeypatch):
    words = ["curate", "--input", "a", "--output", "b", "--for", "wan-1.3b-lore"]
    monkeypatch.setattr("sys.argv", words)
    assert main() == 2
    said = capsys.readouterr().err
    assert "did you mean wan-1.3b-lora?" in said
    assert all(name in said for name in (*profile_names(), *preset_names()))


@pytest.mark.parametrize("preset", ["wan-1.3b", "wan-1.3b-lora", "wan-14b"])
def test_every_clip_that_is_curated_for_a_preset_fits_one_of_its_buckets(preset):
    """Whatever the shape of the source and the length of its shot."""
    from trainer.train import parse as parse_training

    clips = clips_for(preset)
    data = parse_training(["--preset", preset, "--data", "d", "--output", "r"]).data
    assert isinstance(data, DataConfig)
    sizes = [size for one in clips.size_classes for size in buckets(one, clips.side_multiple)]
    lengths = range(clips.frames_from, clips.max_frames + 1)
    rows = [(*size, frames) for size in sizes for frames in lengths]
    columns = pa.table({
        "width": [row[0] for row in rows],
        "height": [row[1] for row in rows],
        "num_frames": [row[2] for row in rows],
        "fps": [float(clips.fps)] * len(rows),
    })  # fmt: skip
    zeros = np.zeros(len(rows), np.int32)
    index = RowIndex(("a",), zeros, zeros, zeros, columns)
    assigned = assign_buckets(index, np.arange(len(rows)), data)
    assert assigned.left_out == {}
    longest = max(bucket.frames for bucket in data.sizes)
    assert all(
        len(chosen) for bucket, chosen in assigned.buckets.items() if bucket.frames == longest
    )
