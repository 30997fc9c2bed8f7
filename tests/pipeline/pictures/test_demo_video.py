"""The sample videos: reproducible, with a face to find in every shot that has a person."""

import csv
import io
from hashlib import sha256
from itertools import accumulate

import numpy as np
import pytest

from pipeline.media.clip_frames import read_clip
from pipeline.pictures.demo_video import ASPECT, DEMO, FPS, write_demo_videos

pytest.importorskip("skimage")

pytestmark = pytest.mark.slow
HEIGHT = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("demo")
    write_demo_videos(place, HEIGHT)
    return place


@pytest.mark.parametrize("name", sorted(DEMO))
def test_videos_have_the_shots_that_they_claim(folder, name):
    indices, frames = read_clip((folder / name).read_bytes())
    lengths = [round(shot.seconds * FPS) for shot in DEMO[name]]
    assert len(indices) == sum(lengths)
    assert frames[0].shape[:2] == (HEIGHT, round(HEIGHT * ASPECT / 2) * 2)
    small = np.array([frame[::8, ::8].mean(axis=2) for frame in frames])
    change = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2))
    cuts = [end - 1 for end in accumulate(lengths)][:-1]  # the change into each next shot
    rest = np.delete(change, cuts)
    assert change[cuts].min() > 3 * np.percentile(rest, 99)
    for shot, end in zip(DEMO[name], accumulate(lengths), strict=True):
        if shot.fade:
            assert frames[end - 1].max() < 24


@pytest.mark.parametrize("name", sorted(DEMO))
def test_a_frontal_face_is_found_exactly_where_a_person_is(folder, name):
    from pipeline.engines.faces.opencv_faces import OpencvFaces

    _, frames = read_clip((folder / name).read_bytes())
    middles, start = [], 0
    for shot in DEMO[name]:
        length = round(shot.seconds * FPS)
        middles.append(frames[start + length // 2])
        start += length
    found = OpencvFaces().detect(middles)
    for shot, faces in zip(DEMO[name], found, strict=True):
        assert len(faces.boxes) == (1 if shot.size else 0), shot.picture


def test_the_manifest_names_licence_and_source(folder):
    rows = list(csv.DictReader(io.StringIO((folder / "videos.csv").read_text())))
    assert [row["uri"] for row in rows] == sorted(DEMO)
    assert all(row["licence"] and row["source"] for row in rows)


def test_same_settings_same_bytes(folder, tmp_path, monkeypatch):
    from pipeline.pictures import demo_video

    name = "coffee_break.mp4"
    monkeypatch.setattr(demo_video, "DEMO", {name: DEMO[name]})
    write_demo_videos(tmp_path, HEIGHT)
    digests = {sha256((place / name).read_bytes()).hexdigest() for place in (folder, tmp_path)}
    assert len(digests) == 1


def test_without_scikit_image_the_message_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[demo\]"'):
        write_demo_videos(tmp_path, HEIGHT)


def test_odd_heights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got 241"):
        write_demo_videos(tmp_path, 241)
