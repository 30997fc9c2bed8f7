"""Calibration: thresholds that hold, bounds that the pairs can carry, windows that curate takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from places import ROOT
from rows import WINDOWS, looks_like

from pipeline.engines.interfaces import EngineInfo
from pipeline.media.images import encode_jpeg
from pipeline.pairing.calibration import Calibration, describe, interval
from pipeline.pairing.known_people import calibrations, read_known, recognise

_COLOURS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.8, 0), (0, 0.6, 0.8), (0.8, 0, 0.6))


def drawn(same=2000, different=40_000, seed=0) -> Calibration:
    random = np.random.default_rng(seed)
    return Calibration(
        "", random.normal(0.7, 0.1, same).clip(-1, 1), random.normal(0, 0.1, different),
        random.normal(0.98, 0.005, 50),
    )  # fmt: skip


@pytest.mark.parametrize("rate", [1e-1, 1e-2, 1e-3, 1e-4])
def test_at_its_threshold_no_more_than_the_rate_match_falsely(rate):
    one = drawn()
    threshold = one.threshold_for(rate)
    assert (one.different >= threshold).mean() <= rate
    assert (one.different >= threshold - 0.01).mean() > rate
    point = one.at(threshold)
    assert point.false_low <= point.false_matches <= point.false_high
    assert point.true_matches == (one.same >= threshold).mean()


def test_no_mistake_in_n_pairs_means_no_more_than_three_in_n():
    assert interval(0, 1000)[1] == pytest.approx(3 / 1000, rel=0.01)
    low, high = interval(7, 1000)
    assert low < 0.007 < high
    few = drawn(different=500)
    assert few.supports(1e-2)
    assert not few.supports(1e-3)
    assert any("3000 are needed" in line for line in describe(few, WINDOWS))


def test_windows_rise_with_how_often_they_are_asked_and_keep_clothes_from_joining_videos():
    windows = drawn().windows(WINDOWS)
    assert windows.reference_floor <= windows.same_video <= windows.cross_video < windows.duplicate
    assert windows.reference_floor == pytest.approx(0.233, abs=0.01)  # 1 % of a normal at 0, 0.1
    clothes = type(WINDOWS)(0.8, 1.01, 0.8, 0.99)
    assert drawn().windows(clothes).cross_video == 1.01


def test_too_few_pairs_raise_a_window_and_never_lower_it():
    few = drawn(different=500)  # not enough for 0.1 % and 0.01 %
    windows = few.windows(WINDOWS)
    assert (windows.same_video, windows.cross_video) == (WINDOWS.same_video, WINDOWS.cross_video)
    low = type(WINDOWS)(0.1, 0.1, 0.1, 0.99)
    assert few.windows(low).cross_video > few.different.max()


def test_too_few_pairs_suggest_nothing():
    few = drawn(same=5)
    assert not few.tells
    assert any("no windows are suggested" in line for line in describe(few, WINDOWS))


class Painted:
    """Knows people by the colour of their picture."""

    info = EngineInfo("painted/1", "recognition", "", True)
    windows = WINDOWS

    def embed(self, people):
        means = np.array([each.picture.mean(axis=(0, 1)) for each in people], np.float32)
        return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)


def paint(folder: Path, people=3, pictures=4) -> Path:
    for who in range(people):
        (folder / f"person{who}").mkdir(parents=True)
        for number in range(pictures):
            seed = who * 10 + number
            direction = np.abs(looks_like(np.array(_COLOURS[who]), 0.999, seed))
            colour = (direction * 200).astype(np.uint8)
            picture = np.tile(colour, (64, 64, 1))
            (folder / f"person{who}" / f"{number}.jpg").write_bytes(encode_jpeg(picture, 95))
    return folder


def nobody(pictures):
    from pipeline.engines.interfaces import Faces

    none = np.zeros(0, np.float32)
    return [Faces(np.zeros((0, 4)), none, np.zeros((0, 5, 2)), none) for _ in pictures]


def test_a_folder_per_person_and_a_table_of_pairs_say_the_same(tmp_path):
    class NoFaces:
        info = EngineInfo("no-faces/1", "face_detection", "", True)
        detect = staticmethod(nobody)

    folder = paint(tmp_path / "people")
    known = read_known(folder)
    assert (len(known.same), len(known.different)) == (18, 48)
    rows = [
        f"people/{known.paths[a].relative_to(folder)},people/{known.paths[b].relative_to(folder)},{s}"
        for pairs, s in ((known.same, 1), (known.different, 0))
        for a, b in pairs
    ]
    table = tmp_path / "pairs.csv"
    table.write_text("path_a,path_b,same\n" + "\n".join(rows))
    engine = Painted()
    results = []
    for source in (known, read_known(table)):
        found = recognise(source.paths, NoFaces(), engine)
        (one,) = calibrations(source, found, engine)
        results.append(one)
        assert len(found.faceless) == len(source.paths)
    assert np.array_equal(np.sort(results[0].same), np.sort(results[1].same))
    assert results[0].same.min() > results[0].different.max()
    assert results[0].copies.min() > 0.999


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda at: at / "none", "neither a folder"),
        (lambda at: paint(at / "one", people=1), "pictures of 1 people"),
        (lambda at: paint(at / "single", pictures=1), "0 of them with two or more"),
    ],
)
def test_sources_that_say_too_little_are_refused_with_what_is_needed(tmp_path, make, said):
    with pytest.raises(ValueError, match=said):
        read_known(make(tmp_path))


@pytest.mark.slow
def test_the_job_writes_what_curate_takes_and_a_plot(tmp_path):
    pytest.importorskip("matplotlib")
    people = paint(tmp_path / "people", people=6, pictures=6)
    (people / "person0" / "broken.jpg").write_bytes(b"no picture")
    output = tmp_path / "out"
    job = [sys.executable, "jobs/calibrate.py", "--known", str(people), "--output", str(output)]
    job += ["--engines", "embedded"]
    done = subprocess.run(job, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 of 37 pictures cannot be read" in done.stderr
    assert "no face found in 36 of 37 pictures" in done.stderr
    (own,) = yaml.safe_load((output / "windows.yaml").read_text())["pair"]["windows"]
    assert own["recogniser"] == "opencv-appearance/1"
    assert (output / "windows.png").stat().st_size > 10_000

    from jobs.curate import parse

    settings = ["--config", str(output / "windows.yaml")]
    parsed = parse(["--input", "videos", "--output", "dataset", *settings])
    assert vars(parsed.pair.windows[0]) == own
