"""An evaluation from end to end: on drawn people the order of the systems is known."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from evaluation_set import drawn_engines, write_set
from present import there
from production import weights_root
from tiny_dataset import encode_clip, tiny_sample, write_samples
from tiny_model import WAN

from pipeline.dataset.store import open_store
from pipeline.evaluate.benchmark import (
    ItemsConfig,
    build_benchmark,
    choose_samples,
    list_videos,
    read_benchmark,
    same_person,
)
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.evaluate_command import run_evaluation
from pipeline.evaluate.evaluation_config import EvaluationConfig
from pipeline.evaluate.evaluation_engines import load_evaluation_engines
from pipeline.evaluate.features import extract_picture, extract_video
from pipeline.evaluate.protocols import PROTOCOLS, find_protocol
from pipeline.evaluate.video_metrics import Target, measure_video
from pipeline.media.images import decode_image
from schemas.benchmark import Benchmark

pytestmark = pytest.mark.slow

OURS = PROTOCOLS["contextanyone"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def videos(drawn, tmp_path_factory):
    """Videos of a model that is partly wrong: a stranger walks in the last third of each."""
    folder, benchmark = drawn
    made = tmp_path_factory.mktemp("videos")
    for number, item in enumerate(benchmark.items):
        own = _frames(folder / item.clip.path)
        stranger = next(o for o in benchmark.items if o.main.identity != item.main.identity)
        other = _frames(folder / stranger.clip.path)
        kept = 2 * len(own) // 3
        pictures = own[:kept] + other[kept:] if number != 1 else [own[0] * 0 + 90] * len(own)
        (made / f"{item.item_id}.mp4").write_bytes(encode_clip(pictures))
    return made


def _frames(path):
    from pipeline.media.clip_frames import read_clip

    return read_clip(path.read_bytes())[1]


@pytest.fixture(scope="module")
def result(drawn, videos, tmp_path_factory):
    folder, benchmark = drawn
    output = tmp_path_factory.mktemp("result")
    protocols = [find_protocol("contextanyone"), find_protocol("msrvtt-p")]
    found = list_videos(videos, benchmark)
    run_evaluation(folder, benchmark, found, protocols, drawn_engines(), output)
    return output


def systems(result, protocol=0):
    told = json.loads((result / "result.json").read_text())["protocols"][protocol]
    return {each["system"]: each for each in told["systems"]}


def mean(result, system, metric, protocol=0):
    return systems(result, protocol)[system]["metrics"][metric]["mean"]


def test_the_controls_bound_the_model(result):
    name = "face_mean_zero_if_missing"
    order = [mean(result, each, name) for each in
             ("still_reference", "ground_truth", "model", "other_identity")]  # fmt: skip
    assert order == sorted(order, reverse=True)
    assert order[0] > 0.99
    assert order[1] > 0.9
    assert mean(result, "shuffled_reference", name) < order[2]
    assert (
        mean(result, "model", "face_drift_per_s")
        < -0.3
        < mean(result, "ground_truth", "face_drift_per_s")
    )


def test_a_frozen_reference_gives_itself_away(result):
    assert mean(result, "still_reference", "copy_paste") > 0.9
    assert mean(result, "ground_truth", "copy_paste") < -0.9
    assert mean(result, "still_reference", "copy_correlation") == pytest.approx(1.0, abs=1e-3)
    assert mean(result, "still_reference", "pose_change") == pytest.approx(0.0, abs=1e-3)
    assert mean(result, "still_reference", "motion_length") == 0.0
    assert mean(result, "ground_truth", "motion_length") > 0.2


def test_the_place_behind_the_person_is_compared_where_a_reference_shows_it(drawn):
    folder, benchmark = drawn
    first, second = (str(folder / item.clip.path) for item in benchmark.items[:2])
    [reference] = extract_picture(_frames(Path(first))[0], [OURS], drawn_engines())
    likeness = [
        there(
            measure_video(extract_video(clip, [OURS], drawn_engines())[0], Target(reference), OURS)[
                "place_likeness"
            ]
        )
        for clip in (first, second)
    ]
    assert likeness[0] > 0.95
    assert likeness[1] < likeness[0] - 0.02  # drawn grounds have few colours
    [crop] = extract_picture(decode_image((folder / benchmark.items[0].main.references[0].path)
                                        .read_bytes()), [OURS], drawn_engines())  # fmt: skip
    assert crop.place is None  # nothing but the person


def test_kinds_of_clips_are_averaged_apart(result):
    told = json.loads((result / "result.json").read_text())["protocols"][0]
    apart = told["strata"]["shot_size"]
    assert apart.keys() == {"full", "wide"}  # all items show one person: no stratum of that
    name = "face_mean_zero_if_missing"
    for system in ("model", "ground_truth"):
        groups = [next(e for e in group if e["system"] == system) for group in apart.values()]
        sums = sum(each["metrics"][name]["mean"] * each["num_videos"] for each in groups)
        assert sums / 4 == pytest.approx(mean(result, system, name), abs=1e-5)
    assert told["strata"].keys() == {"shot_size"}
    assert "shot size: wide" in (result / "report.html").read_text()


def test_faceless_videos_count_as_the_rules_say(result):
    rate = mean(result, "model", "face_detection_rate")
    assert rate < 1  # one video shows nobody
    detected = systems(result)["model"]["metrics"]["face_mean_detected"]
    everything = systems(result)["model"]["metrics"]["face_mean_zero_if_missing"]
    assert (detected["num"], everything["num"]) == (3, 4)
    assert detected["mean"] > everything["mean"]
    assert mean(result, "model", "protocol_value", 0) == pytest.approx(detected["mean"])
    assert mean(result, "model", "protocol_value", 1) == pytest.approx(
        mean(result, "model", "face_mean_zero_if_missing", 1)
    )


def test_the_result_says_how_it_was_made_and_what_it_lacks(result, drawn):
    told = json.loads((result / "result.json").read_text())
    first = told["protocols"][0]
    assert told["benchmark"]["prompts_sha256"] == drawn[1].prompts_sha256
    assert [engine["id"] for engine in told["engines"]] == ["heads/1", "shirts/1"]
    assert first["departures"] == [
        "face_detection: the protocol has SCRFD-10G (det_10g), this run heads/1",
        "recognition: the protocol has ArcFace R50 (w600k_r50), this run shirts/1",
    ]
    assert first["not_computed"]["clip_text"] == "no model is named"
    assert first["not_computed"]["swap_rate"] == "no item has several characters with a face"
    assert "subj_s" in told["protocols"][1]["not_computed"]
    assert "model: 160x96, 25 frames, 16/s" in first["sizes"]
    computed = {name for system in first["systems"] for name in system["metrics"]}
    assert not computed & first["not_computed"].keys()
    assert "vector" not in (result / "result.json").read_text()  # nothing biometric


def test_the_report_needs_nothing_else(result):
    text = (result / "report.html").read_text()
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", text)
    assert text.count("<div class=item>") == 4
    assert "prefers-color-scheme: dark" in text
    assert "other identity" in text


def test_watching_repeats_frames_of_short_videos(drawn, tmp_path):
    folder, benchmark = drawn
    pictures = _frames(folder / benchmark.items[0].clip.path)
    (tmp_path / "one.mp4").write_bytes(encode_clip(pictures[:1]))
    [seen] = extract_video(str(tmp_path / "one.mp4"), [OURS], drawn_engines())
    assert (seen.num_frames, len(seen.frames), seen.motion.length) == (1, 32, 0.0)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"text\.mp4 cannot be measured: not_a_video"):
        extract_video(str(tmp_path / "text.mp4"), [OURS], drawn_engines())


def test_one_identity_has_no_stranger(tmp_path):
    folder, benchmark = write_set(tmp_path, num=2, characters=1)
    [found] = evaluate(folder, benchmark, {}, [OURS], drawn_engines())
    assert {row.system for row in found.rows} == {"ground_truth", "still_reference"}
    assert found.left_out["other_identity"] == "the evaluation set shows one identity only"
    assert found.left_out["model"] == "no model and no videos were given"


def test_nobody_of_training_is_in_the_set(tmp_path):
    from dataclasses import replace

    samples = [tiny_sample(number, num_characters=4) for number in range(8)]
    held = [replace(sample, split="test") for sample in samples[4:7]]  # 0..2 are trained on too
    fresh = replace(tiny_sample(50, num_characters=51), split="test")
    write_samples(tmp_path / "dataset", [*samples[:3], *held, fresh])
    built = build_benchmark(open_store(tmp_path / "dataset"), tmp_path / "set", ItemsConfig())
    assert [item.main.identity for item in built.items] == [fresh.character_id]
    assert read_benchmark(tmp_path / "set") == built
    for split in ("validation",):
        with pytest.raises(
            ValueError, match="no sample of validation can be used; the dataset has"
        ):
            build_benchmark(
                open_store(tmp_path / "dataset"), tmp_path / "x", ItemsConfig(splits=(split,))
            )
    with pytest.raises(ValueError, match="holds another evaluation set"):
        build_benchmark(open_store(tmp_path / "dataset"), tmp_path / "set", ItemsConfig(name="b"))


def test_references_from_trained_videos_keep_a_sample_out():
    light = [
        {"sample_id": "a", "clip_id": "1", "video_id": "v1", "character_id": "x", "split": "train",
         "references": 1, "videos": ["v1", "v9"], "identities": ["x"]},
        {"sample_id": "b", "clip_id": "2", "video_id": "v2", "character_id": "y", "split": "test",
         "references": 1, "videos": ["v2", "v9"], "identities": ["y"]},
        {"sample_id": "c", "clip_id": "3", "video_id": "v3", "character_id": "z", "split": "test",
         "references": 1, "videos": ["v3"], "identities": ["z"]},
    ]  # fmt: skip
    assert [row["sample_id"] for row in choose_samples(light, ItemsConfig())] == ["c"]


@pytest.mark.parametrize(
    ("caption", "prompt"),
    [
        ("A woman in a red coat walks.", "The same woman in a red coat walks."),
        ("A medium shot of one person, still.", "A medium shot of the same person, still."),
        ("Two people, one of them in red.", "Two people, one of them the same person in red."),
        ("A young man runs.", "The same young man runs."),
        ("The same person waves.", "The same person waves."),
        ("Rain on a street.", "The same man. Rain on a street."),
    ],
)
def test_prompts_name_the_same_person(caption, prompt):
    assert same_person(caption, "a man with a hat") == prompt


def test_changed_sets_are_refused(drawn, tmp_path):
    folder, _ = drawn
    shutil.copytree(folder, tmp_path / "set")
    path = tmp_path / "set" / "benchmark.json"
    text = path.read_text()
    path.write_text(text.replace("walks right", "flies"))
    with pytest.raises(ValueError, match=r"benchmark\.json: its prompts were changed"):
        read_benchmark(tmp_path / "set")
    path.write_text(text)
    victim = next((tmp_path / "set" / "clips").iterdir())
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(ValueError, match="has changed since it was built"):
        read_benchmark(tmp_path / "set")
    with pytest.raises(ValueError, match="it has no items"):
        Benchmark("empty", "", [], [])
    with pytest.raises(ValueError, match="stay inside their folder"):
        Benchmark.from_json(text.replace('"clips/', '"../clips/').encode())
    with pytest.raises(ValueError, match="no evaluation set at"):
        read_benchmark(tmp_path)


def test_videos_of_another_set_are_refused(drawn, tmp_path):
    (tmp_path / "videos.json").write_text('{"videos": {"strange": "a.mp4"}}')
    with pytest.raises(
        ValueError, match="names 1 items that are not in the evaluation set 'drawn'"
    ):
        list_videos(tmp_path, drawn[1])
    (tmp_path / "videos.json").write_text('{"videos": {"strange": "../a.mp4"}}')
    with pytest.raises(ValueError, match="stay inside"):
        list_videos(tmp_path, drawn[1])
    (tmp_path / "videos.json").unlink()
    with pytest.raises(ValueError, match="has no video of the 4 items"):
        list_videos(tmp_path, drawn[1])


def test_a_model_makes_each_video_once(drawn, tmp_path, capsys, monkeypatch):
    from jobs import evaluate as job
    from trainer.encoders import EncoderConfig, load_encoders
    from trainer.model import ContextAnyoneTransformer3DModel
    from trainer.sampling.model_folder import Published, VideoSize
    from trainer.sampling.pipeline import ContextAnyonePipeline
    from trainer.sampling.sampler import SamplingConfig

    torch.manual_seed(0)
    fields: dict[str, Any] = {**WAN, "text_dim": 64, "image_dim": 32}
    model = ContextAnyoneTransformer3DModel(**fields)
    encoders = EncoderConfig()
    published = Published(encoders, SamplingConfig(steps=2), VideoSize(96, 160, 5))
    pipeline = ContextAnyonePipeline(model, load_encoders(encoders), published)
    pipeline.save_pretrained(tmp_path / "model")
    words = ["--benchmark", str(drawn[0]), "--model", str(tmp_path / "model")]
    words += ["--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
    assert job.main() == 0
    assert capsys.readouterr().err.count(": made") == 4
    made = sorted((tmp_path / "out" / "videos").glob("*.mp4"))
    before = [path.read_bytes() for path in made]
    made[0].unlink()
    assert job.main() == 0
    said = capsys.readouterr()
    assert (said.err.count(": made"), said.err.count(": kept")) == (1, 3)
    assert [path.read_bytes() for path in made] == before
    assert "contextanyone: mean and 95 % interval" in said.out
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["made_by"]["sampling"]["steps"] == 2
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words[:3], str(tmp_path), *words[4:]])
    assert job.main() == 2
    assert "is no exported model" in capsys.readouterr().err


def test_clip_and_dino_of_a_folder_are_used(drawn, tmp_path):
    from tiny_clip import save_tiny_clip, save_tiny_dino

    folder, benchmark = drawn
    names = str(save_tiny_dino(tmp_path / "dino")), str(save_tiny_clip(tmp_path / "clip"))
    engines = load_evaluation_engines(EvaluationConfig(dino=names[0], clip=names[1]))
    assert [info.id for info in engines.infos][2:] == ["dino/1:dino", "clip/1:clip"]
    [seen] = extract_picture(
        np.full((64, 64, 3), 90, np.uint8), [PROTOCOLS["vbench-subject"]], engines
    )
    assert np.linalg.norm(there(seen.dino)) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(there(seen.clip)) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(there(engines.clip).embed_texts(["one", "two"]), axis=1) == pytest.approx(
        [1, 1]
    )
    [found] = evaluate(folder, benchmark, {}, [PROTOCOLS["vbench-subject"]], engines)
    still = [row for row in found.rows if row.system == "still_reference"]
    assert all(row.measures["protocol_value"] == pytest.approx(1, abs=1e-4) for row in still)
    assert all(row.measures["clip_text"] is not None for row in still)


@pytest.mark.media
def test_real_faces_and_real_weights(media, monkeypatch, tmp_path):
    root = weights_root()
    if root is None:
        pytest.skip("real weights absent: set CONTEXTANYONE_MODELS to their folder")
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(root))
    from production import image

    from pipeline.evaluate.identity import cosine
    from pipeline.evaluate.video_metrics import reference_face

    engines = load_evaluation_engines(EvaluationConfig(engines="production"))
    jack, rose = (image(media / "images" / f"movienet-portrait_{name}.jpg") for name in
                  ("jack", "rose"))  # fmt: skip
    cat = image(media / "images" / "lp-s40.jpg")
    dark = np.clip(jack * 0.6, 0, 255).astype(np.uint8)
    both = np.concatenate([cv2.resize(one, (640, 960)) for one in (jack, rose)], axis=1)
    seen = [extract_picture(one, [OURS], engines)[0] for one in (jack, dark, rose, cat, both)]
    one, again, other = (there(there(reference_face(frame)).vector) for frame in seen[:3])
    assert there(cosine(one, again)) > 0.9
    assert there(cosine(one, other)) < 0.2
    assert not any(face.known for face in seen[3].faces)
    assert len([face for face in seen[4].faces if face.known]) == 2
    departures = OURS.departures(engines.infos)
    assert any("arcface-mobilefacenet_128/1" in line for line in departures)
