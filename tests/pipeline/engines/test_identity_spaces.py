"""Faces are compared with faces and bodies with bodies, each by their own windows."""

from dataclasses import replace

import numpy as np
import pytest
import rows

from pipeline.engines.identity.spaces import Space, join
from pipeline.engines.interfaces import SimilarityWindows
from pipeline.pairing.characters import find_in_spaces
from pipeline.pairing.samples import plan_samples

FACE = SimilarityWindows(same_video=0.4, cross_video=0.4, reference_floor=0.3, duplicate=0.98)
BODY = SimilarityWindows(same_video=0.85, cross_video=1.01, reference_floor=0.8, duplicate=0.995)
SPACES = (Space("face", 0, 16, FACE), Space("body", 16, 32, BODY))


def vector(face=None, body=None):
    """Return a row; each part a (direction, cosine to it, seed) or nothing."""
    parts = [np.zeros(16) if each is None else rows.looks_like(*each) for each in (face, body)]
    return join([part[None].astype(np.float32) for part in parts])[0]


def found(*people):
    """Find characters among (video, face, body), one track each."""
    clips, tracks, vectors = {}, [], []
    for index, (video, face, body) in enumerate(people):
        clip = rows.clip(f"clip{index}", video, f"shot{index}", start_s=10.0 * index)
        clips[clip.clip_id] = clip
        tracks.append(rows.track(f"track{index}", clip))
        vectors.append(rows.embedding(vector(face, body), f"track{index}"))
    result, windows = find_in_spaces(tracks, clips, vectors, SPACES)
    names = {track.track_id: track.character_id for track in result.tracks}
    return [names.get(f"track{index}") for index in range(len(people))], result, windows


ANNA, BEN = rows.person(0), rows.person(1)
COAT = rows.person(2)


def test_two_faces_decide_and_clothes_do_not_matter():
    names, _, _ = found(
        ("a", (ANNA, 0.9, 1), (COAT, 0.99, 1)),
        ("a", (ANNA, 0.9, 2), (BEN, 0.9, 2)),
        ("b", (ANNA, 0.9, 3), None),
        ("b", (BEN, 0.9, 4), (COAT, 0.99, 4)),
    )
    assert names[0] == names[1] == names[2] != names[3]


def test_the_same_clothes_join_one_video_and_never_two():
    names, _, windows = found(
        ("a", None, (COAT, 0.99, 1)),
        ("a", None, (COAT, 0.99, 2)),
        ("b", None, (COAT, 0.99, 3)),
        ("a", (ANNA, 0.9, 4), (COAT, 0.99, 4)),
    )
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert windows["track0"] == BODY
    assert windows["track3"] == FACE


def test_a_body_is_not_judged_by_the_windows_of_faces():
    names, _, _ = found(("a", None, (COAT, 0.8, 1)), ("a", None, (COAT, 0.8, 3)))
    assert names[0] != names[1]  # 0.6: two strangers by their bodies, one person by faces


def test_every_track_is_named_or_refused_once():
    names, result, _ = found(("a", (ANNA, 0.9, 1), None), ("a", None, None))
    assert names[1] is None
    assert set(result.rejected) == {"track1"}


@pytest.mark.parametrize("face", [(ANNA, 0.95, 2), None])
def test_a_picture_without_a_face_is_no_reference_of_a_face(face):
    clips = [rows.clip(f"clip{i}", "video", f"shot{i}", start_s=20.0 * i) for i in (0, 1)]
    tracks = [rows.track(f"track{i}", clip) for i, clip in enumerate(clips)]
    candidate = rows.candidate("reference", tracks[1], 21.0)
    vectors = [
        rows.embedding(vector((ANNA, 0.95, i), (COAT, 0.99, i)), f"track{i}") for i in (0, 1)
    ]
    shown = vector(face, (COAT, 0.99, 9))
    vectors.append(replace(rows.embedding(shown, "track1", "reference"), num_images=1))
    plans = plan_samples(clips, tracks, [candidate], vectors, SPACES)
    paired = {plan.track_id for plan in plans.samples}
    assert ("track0" in paired) == (face is not None)
