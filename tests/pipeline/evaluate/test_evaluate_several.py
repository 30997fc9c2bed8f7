"""An evaluation set of people who share a clip: whom a model is shown, and whether they swap."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_set import drawn_engines
from tiny_dataset import draw_figure, encode_clip, pair_sample, tiny_sample, write_samples
from tiny_model import tiny_pipeline

from pipeline.dataset.store import open_store
from pipeline.evaluate.benchmark import ItemsConfig, build_benchmark, read_benchmark
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.protocols import find_protocol
from schemas.benchmark import Benchmark
from trainer.data.cast import NAMES
from trainer.sampling.benchmark_videos import GenerationConfig, make_videos
from trainer.saving.complete import read_json


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Benchmark]:
    """Two clips of two people each, held out."""
    folder = tmp_path_factory.mktemp("several")
    samples = [replace(pair_sample(number), split="test") for number in (0, 2)]
    samples.append(replace(tiny_sample(99, num_characters=100), split="train"))
    write_samples(folder / "dataset", samples)
    return folder / "set", build_benchmark(
        open_store(folder / "dataset"), folder / "set", ItemsConfig(name="pairs")
    )


def test_an_item_has_everybody_of_its_clip(made):
    folder, benchmark = made
    assert read_benchmark(folder) == benchmark
    for item in benchmark.items:
        assert len({character.identity for character in item.characters}) == 2
        assert all(character.description for character in item.characters)


def test_somebody_who_is_trained_beside_another_is_in_no_item(tmp_path):
    trained = pair_sample(0)
    alone = replace(tiny_sample(1), split="test")  # the second of that clip
    write_samples(tmp_path / "dataset", [trained, alone, replace(tiny_sample(3), split="test")])
    built = build_benchmark(open_store(tmp_path / "dataset"), tmp_path / "set", ItemsConfig())
    assert [item.main.identity for item in built.items] == [tiny_sample(3).character_id]


def test_two_videos_of_one_person_in_both_places_count_as_swapped(made, tmp_path):
    folder, benchmark = made
    videos = {}
    for item in benchmark.items:
        who = next(n for n in (0, 2) if item.main.identity == tiny_sample(n).character_id)
        frames = []
        for frame in range(25):
            picture = np.full((96, 160, 3), 150, np.uint8)
            for x in (40, 120):  # twice the second, nowhere the first
                draw_figure(picture, who + 1, x, 86, 72, frame)
            frames.append(picture)
        videos[item.item_id] = tmp_path / f"{item.item_id}.mp4"
        videos[item.item_id].write_bytes(encode_clip(frames))
    protocol = find_protocol("contextanyone")
    [found] = evaluate(folder, benchmark, videos, [protocol], drawn_engines())
    swaps = {row.system: row.measures["swap_rate"] for row in found.rows}
    assert swaps["ground_truth"] == 0
    assert swaps["model"] == pytest.approx(0.5, abs=0.05)


def test_a_model_of_several_is_shown_all_of_them_by_name(made, tmp_path):
    folder, benchmark = made
    pipeline = tiny_pipeline()
    for most in (1, 2):
        pipeline.published = replace(pipeline.published, characters=most)
        pipeline.save_pretrained(tmp_path / f"model-{most}")
        output = tmp_path / f"videos-{most}"
        make_videos(
            tmp_path / f"model-{most}", folder, benchmark, output, GenerationConfig(steps=1)
        )
        for item in benchmark.items:
            record = read_json(output / f"{item.item_id}.json")
            shown = record.get("characters", {})
            assert len(shown) == (2 if most == 2 else 0)
            assert set(shown) <= set(NAMES)
            assert all(name in record["prompt"] for name in shown)
            assert most == 2 or record["prompt"] == item.prompt
