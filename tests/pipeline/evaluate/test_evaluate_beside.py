"""Any system's videos are measured beside ours, and identity is measured over cuts."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from evaluation_set import drawn_engines, write_set
from tiny_dataset import draw_figure, encode_clip

from jobs.evaluate import folders_of, parse
from pipeline.engines.identity.embedders import GmeEmbedder
from pipeline.evaluate.benchmark import list_videos
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.evaluate_command import run_evaluation
from pipeline.evaluate.protocols import PROTOCOLS, FrameSampling
from pipeline.evaluate.result import not_computed
from pipeline.evaluate.shots import over_distance
from pipeline.evaluate.votes_and_metrics import read_measures
from pipeline.media.images import decode_image

pytestmark = pytest.mark.slow

OURS, SHOTS = PROTOCOLS["contextanyone"], PROTOCOLS["multi-shot"]
_PLACES = ((150, 170, 200), (60, 50, 40), (120, 180, 120), (30, 40, 90))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("drawn"))


def _videos(folder, benchmark, shots: tuple[int, ...]):
    """Write a video for every item: a shot a number, of whoever has that number."""
    folder.mkdir()
    for item in benchmark.items:
        pictures = []
        for place, who in enumerate(shots):
            ground = np.full((96, 160, 3), _PLACES[place], np.uint8)
            for frame in range(16):
                picture = ground.copy()
                draw_figure(picture, who, 60 + 2 * frame, 88, 72, frame)
                pictures.append(picture)
        (folder / f"{item.item_id}.mp4").write_bytes(encode_clip(pictures))
    return list_videos(folder, benchmark)


@pytest.fixture(scope="module")
def told(drawn, tmp_path_factory):
    """The model keeps one person over three shots, the other system changes to a stranger."""
    root, output = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("result")
    folder, benchmark = drawn
    ours = _videos(root / "ours", benchmark, (0, 0, 0))
    theirs = {"theirs": _videos(root / "theirs", benchmark, (0, 1, 0, 1))}
    protocols = [OURS, SHOTS]
    run_evaluation(folder, benchmark, ours, protocols, drawn_engines(), output, beside=theirs)
    alone = evaluate(folder, benchmark, theirs["theirs"], protocols, drawn_engines())
    return output, alone


def _means(output, protocol: int) -> dict[str, dict[str, float]]:
    found = json.loads((output / "result.json").read_text())["protocols"][protocol]["systems"]
    return {
        each["system"]: {name: value["mean"] for name, value in each["metrics"].items()}
        for each in found
    }


def test_a_system_beside_the_model_has_the_numbers_that_it_has_alone(told):
    output, alone = told
    for place, evaluation in enumerate(alone):
        rows = json.loads((output / "result.json").read_text())["protocols"][place]["videos"]
        named = {row["item_id"]: row["measures"] for row in rows if row["system"] == "theirs"}
        model = {row.item_id: row.measures for row in evaluation.rows if row.system == "model"}
        assert named.keys() == model.keys()
        for item_id, measures in model.items():
            assert named[item_id] == pytest.approx(measures, abs=1e-5)


def test_all_systems_stand_in_one_table_and_on_the_page(told):
    output, _ = told
    order = list(_means(output, 0))
    assert order[:2] == ["model", "theirs"]
    page = (output / "report.html").read_text()
    assert "<th>theirs<small>" in page
    theirs = read_measures(output / "result.json", "theirs")
    assert theirs != read_measures(output / "result.json", "ours")


def test_a_person_who_stays_over_cuts_is_alike_at_every_distance(told):
    output, _ = told
    means = _means(output, 1)
    assert means["model"]["num_shots"] == 3
    assert means["model"]["protocol_value"] > 0.99
    assert means["model"]["shots_two_apart"] > 0.99
    assert "shots_far" not in means["model"]


def test_a_stranger_in_every_second_shot_shows_at_odd_distances(told):
    output, _ = told
    theirs = _means(output, 1)["theirs"]
    assert theirs["num_shots"] == 4
    assert theirs["shots_two_apart"] > 0.99
    assert max(theirs["shots_next"], theirs["shots_far"]) < 0.7
    assert theirs["protocol_value"] < _means(output, 1)["model"]["protocol_value"]


def test_a_video_of_one_shot_has_no_value_and_the_reason_is_told(told):
    output, alone = told
    assert "protocol_value" not in _means(output, 1)["ground_truth"]
    reasons = not_computed(alone[1], drawn_engines(), computed=set())
    assert reasons["protocol_value"] == reasons["shots_far"]
    assert "no video has so many shots" in reasons["shots_far"]


def test_videos_of_one_person_are_compared_with_each_other(told):
    truth, other = (_means(told[0], 0)[name] for name in ("ground_truth", "other_identity"))
    assert truth["face_across_videos"] > 0.95
    assert "face_across_videos" in other


def test_distances_agree_with_a_loop():
    rng = np.random.default_rng(0)
    faces = [None if n % 5 == 4 else rng.normal(size=8) for n in range(40)]
    starts = (0, 8, 16, 24, 32)
    found = over_distance(range(40), faces, starts)
    means = [
        np.mean([f for f in faces[start : start + 8] if f is not None], axis=0) for start in starts
    ]
    loop: dict[int, list[float]] = {}
    for i, j in itertools.combinations(range(5), 2):
        lengths = np.linalg.norm(means[i]) * np.linalg.norm(means[j])
        loop.setdefault(min(j - i, 3), []).append(float(means[i] @ means[j] / lengths))
    assert found == pytest.approx({apart: np.mean(values) for apart, values in loop.items()})


def test_folders_are_one_without_a_name_and_any_with_one(tmp_path):
    def folders(*words):
        return folders_of(parse(["--benchmark", "b", "--output", "o", *words]))

    ours = tmp_path / "ours=not"  # a folder whose name looks like one with a name
    ours.mkdir()
    assert folders("--videos", str(ours), "theirs=t", "third=u")[0] == ours
    assert list(folders("--videos", "theirs=t", "third=u")[1]) == ["theirs", "third"]
    for wrong in (
        ("--videos", "a", "b"), ("--model", "m", "--videos", "a"), ("--videos", "model=a"),
        ("--videos", "x=a", "x=b"), ("--videos", "still_reference=a"), ("--videos", "=a"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="--videos"):
            folders(*wrong)


def test_gme_of_a_folder_scores_frames_against_the_prompt(drawn, tmp_path):
    """A random model of GME's kind: vectors as its own code pools them, and no other kind."""
    from tiny_gme import save_tiny_gme
    from tiny_vision import save_tiny_vlm

    gme = GmeEmbedder(str(save_tiny_gme(tmp_path / "gme")))
    grey, red = np.full((64, 96, 3), 90, np.uint8), np.zeros((64, 96, 3), np.uint8)
    red[..., 0] = 200
    tokens = gme._processor(text=["<|image_pad|>"], images=[grey], size=gme._size)
    assert 256 <= len(tokens["input_ids"][0]) <= 1280  # small pictures are enlarged, as there
    vectors = gme.embed([grey, red])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert float(vectors[0] @ vectors[1]) < 0.9999
    assert not np.allclose(*gme.embed_texts(["a woman waves", "a man sits"]))
    folder, benchmark = drawn
    engines = replace(drawn_engines(), gme=gme)
    few = replace(PROTOCOLS["consisid"], frames=FrameSampling("uniform", 2))
    [found] = evaluate(folder, benchmark, {}, [few], engines)
    item = benchmark.items[0]
    [text] = gme.embed_texts([item.prompt])
    still = next(
        row for row in found.rows if (row.system, row.item_id) == ("still_reference", item.item_id)
    )
    picture = decode_image((folder / item.main.references[0].path).read_bytes())
    assert still.measures["gme_score"] == pytest.approx(
        float(gme.embed([picture])[0] @ text), abs=1e-5
    )
    with pytest.raises(ValueError, match="GME is a qwen2_vl"):
        GmeEmbedder(str(save_tiny_vlm(tmp_path / "other")))
