"""Candidates hold the whole person, say truthfully how good they are, and come out the same."""

import math
from dataclasses import replace

import cv2
import numpy as np
import portraits
import pytest
import rows

from pipeline.engines.identity.appearance import Appearance
from pipeline.engines.masks.grabcut import GrabCut
from pipeline.media.images import decode_image
from pipeline.observing.candidates import CandidatesConfig, ProposeReferences
from pipeline.pictures.image_measures import (
    Measured,
    combined_quality,
    exposure_of,
    occlusion_of,
    sharpness_of,
    truncation_of,
)
from schemas.tables import FaceBox

FIGURE = (100.0, 60.0, 200.0, 430.0)  # the standing figure's box at frame 0


def standing(left: int = 0, foot: int = 430) -> np.ndarray:
    """Return the wall with a figure in a red coat and blue trousers."""
    picture = portraits.ground()
    cv2.circle(picture, (150 + left, 90), 26, (215, 170, 145), -1)
    cv2.rectangle(picture, (108 + left, 118), (192 + left, 260), (185, 30, 40), -1)
    cv2.rectangle(picture, (118 + left, 260), (182 + left, foot), (40, 60, 170), -1)
    return picture


def row_of(frames, boxes, scale=2.0, **columns):
    """Return a row with one track at these boxes, with a face in every still."""
    row = portraits.clip_row(frames, "figure", scale)
    faces = [
        FaceBox(still.frame_index, _face(boxes[still.frame_index]), [], 0.8, 0.0)
        for still in row.stills
    ]
    track = rows.track("track", row.clip, boxes=boxes, faces=faces)
    return replace(row, tracks=(replace(track, **columns),))


def _face(box):
    x = (box[0] + box[2]) / 2
    return [x - 24, box[1] + 8, x + 24, box[1] + 56]


@pytest.fixture(scope="module")
def stage():
    return ProposeReferences(GrabCut(), Appearance())


@pytest.fixture(scope="module")
def walk():
    frames = [standing(5 * k) for k in range(48)]
    boxes = [[x + 5 * k * (i % 2 == 0) for i, x in enumerate(FIGURE)] for k in range(48)]
    return row_of(frames, boxes)


@pytest.fixture(scope="module")
def done(stage, walk):
    return stage.process(walk)


def test_the_crop_holds_the_whole_person_and_never_leaves_the_still(done):
    assert 1 <= len(done.candidates) <= 4
    for candidate in done.candidates:
        image = decode_image(candidate.image)
        assert image.shape == (candidate.height, candidate.width, 3)
        assert max(image.shape[:2]) <= 1024
        x0, y0, x1, y1 = candidate.box
        assert 0 <= x0 < x1 <= candidate.width
        assert 0 <= y0 < y1 <= candidate.height
        # 370 of 480 px high, in a still twice as large
        assert y1 - y0 == pytest.approx(740 * candidate.height / 888, rel=0.1)
        assert candidate.width / (x1 - x0) == pytest.approx(1.4, abs=0.05)


def test_head_and_feet_in_the_picture_are_a_whole_body(done):
    for candidate in done.candidates:
        assert candidate.whole_body
        assert candidate.truncation == 0
        assert candidate.occlusion == 0


def test_the_mask_is_the_person(done):
    for candidate in done.candidates:
        mask = decode_image(candidate.mask)[..., 0]
        image = decode_image(candidate.image).astype(int)
        assert mask.shape == image.shape[:2]
        coat = (image[..., 0] > 150) & (image[..., 1] < 80)
        trousers = (image[..., 2] > 140) & (image[..., 0] < 90)
        clothes = coat | trousers
        assert (mask[clothes] > 0).mean() > 0.95
        wall = (image[..., 1] > image[..., 0] + 8) & (image[..., 1] > image[..., 2] + 5)
        assert (mask[wall] > 0).mean() < 0.05
        assert 0.4 < candidate.mask_area < 0.95
        assert candidate.mask_engine == "opencv-grabcut/2"


def test_garments_are_named(done):
    [track] = done.tracks
    assert (track.top_colour, track.bottom_colour) == ("red", "blue")


def test_what_is_beside_the_person_is_measured_for_the_clip(done, walk):
    assert math.isnan(walk.clip.background_detail)
    assert done.clip.background_detail < 0.02  # the wall's texture is soft
    assert 0.35 < done.clip.background_brightness < 0.55  # the wall's, without the figure's
    assert done.clip.chroma > 3


def test_every_candidate_has_its_vector_and_its_place_in_time(done, walk):
    ids = [candidate.reference_id for candidate in done.candidates]
    assert len(set(ids)) == len(ids)
    assert [embedding.reference_id for embedding in done.embeddings] == ids
    times = {still.time_s for still in walk.stills}
    assert {candidate.time_s for candidate in done.candidates} <= times
    for embedding in done.embeddings:
        assert np.linalg.norm(embedding.vector) == pytest.approx(1, abs=1e-5)


def test_candidates_of_one_track_are_spread_over_time(done):
    times = sorted(candidate.time_s for candidate in done.candidates)
    assert times[-1] - times[0] >= 1.5  # of 2.5 s between the first and the last still


def test_two_runs_give_equal_bytes(stage, walk, done):
    assert stage.process(walk) == done


def test_the_size_counts_source_pixels(done):
    # The clip is half as large as its source: 100 x 370 px are 200 x 740 there.
    for candidate in done.candidates:
        assert candidate.size_px == pytest.approx(math.sqrt(200 * 740), rel=0.01)


def test_a_person_cut_by_the_picture_is_no_whole_body(stage):
    frames = [standing(foot=480)] * 16
    boxes = [[100.0, 60.0, 200.0, 480.0]] * 16
    for candidate in stage.process(row_of(frames, boxes)).candidates:
        assert not candidate.whole_body
        assert candidate.truncation == pytest.approx(100 / 1040, abs=0.01)


def test_the_sharp_image_is_proposed_before_the_blurred(stage):
    sharp = standing()
    noise = np.random.default_rng(0).normal(0, 25, sharp.shape)
    sharp = np.clip(sharp + noise, 0, 255).astype(np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 6)
    frames = [soft] * 12 + [sharp] * 12
    done = stage.process(row_of(frames, [list(FIGURE)] * 24, scale=1.0))
    best = done.candidates[0]
    assert best.time_s >= 0.75
    worst = min(done.candidates, key=lambda candidate: candidate.quality)
    assert best.sharpness > 3 * worst.sharpness


class LostInTheLight(GrabCut):
    """A network that is not sure of bright pictures."""

    def __init__(self):
        super().__init__()
        self.looked = 0

    def cut_out(self, people):
        self.looked += len(people)
        sure = [1.0 if person.picture.mean() < 140 else 0.1 for person in people]
        cuts = super().cut_out(people)
        return [replace(cut, trust=trust) for cut, trust in zip(cuts, sure, strict=True)]


def test_where_a_mask_is_bad_another_moment_is_cut_out():
    frames = [np.minimum(standing() + 70 * (k < 32), 255).astype(np.uint8) for k in range(48)]
    row, small = (
        row_of(frames, [list(FIGURE)] * 48, scale=scale, faces=[]) for scale in (1.0, 0.5)
    )
    seen = {}
    for name, config in {
        "searched": CandidatesConfig(per_track=3, max_side=128),
        "not searched": CandidatesConfig(per_track=3, max_side=128, good_mask=0.0),
        "not found": CandidatesConfig(per_track=3, max_side=128, further_masks=1),
    }.items():
        segmenter = LostInTheLight()
        done = ProposeReferences(segmenter, Appearance(), config).process(row)
        good = sum(candidate.mask_quality >= 0.5 for candidate in done.candidates)
        seen[name] = (len(done.candidates), good, segmenter.looked)
    assert seen["searched"] == (3, 2, 6)  # the four bright stills, and both others
    assert seen["not searched"][2] == 3
    segmenter = LostInTheLight()
    ProposeReferences(segmenter, Appearance(), CandidatesConfig(per_track=3)).process(small)
    assert segmenter.looked == 3  # nobody so small is searched for
    assert seen["not found"][2] == 4


def test_a_moment_without_a_subtitle_over_the_person_is_preferred():
    frames = [standing() for _ in range(48)]
    for frame in frames[:32]:
        for line in (150, 180, 210, 240):
            cv2.putText(frame, "he said so HE SAID", (100, line), 0, 0.33, (255, 255, 255), 1)
    row = row_of(frames, [list(FIGURE)] * 48, scale=1.0, faces=[])
    done = ProposeReferences(GrabCut(), Appearance(), CandidatesConfig(per_track=2)).process(row)
    assert [candidate.lettering for candidate in done.candidates] == [0.0, 0.0]
    row = row_of(frames[:32], [list(FIGURE)] * 32, scale=1.0, faces=[])
    done = ProposeReferences(GrabCut(), Appearance(), CandidatesConfig(per_track=2)).process(row)
    assert min(candidate.lettering for candidate in done.candidates) > 0.03


def test_a_tiny_person_is_not_proposed(stage):
    frames = [portraits.ground()] * 16
    row = row_of(frames, [[100.0, 100.0, 120.0, 140.0]] * 16, scale=1.0)
    assert stage.process(row).candidates == ()


def test_other_people_in_the_box_count_as_occlusion(stage, walk):
    [track] = walk.tracks
    over = [[x0, y0, x0 + 50, y1] for x0, y0, x1, y1 in track.boxes]
    rival = replace(track, track_id="rival", boxes=over, faces=[])
    done = stage.process(replace(walk, tracks=(track, rival)))
    own = [candidate for candidate in done.candidates if candidate.track_id == "track"]
    assert all(candidate.occlusion == pytest.approx(0.5, abs=0.03) for candidate in own)


def test_senseless_settings_are_refused():
    with pytest.raises(ValueError, match=r"candidates\.margin must be from 1 .*got 0\.8"):
        CandidatesConfig(margin=0.8)
    with pytest.raises(ValueError, match=r"candidates\.per_track must be .*got 0"):
        CandidatesConfig(per_track=0)


# --- the measures ------------------------------------------------------------------------------

BEST = Measured(400, 300, 1.0, 1.0, True, 0.0, 0.0, 1.0)


def test_the_best_image_has_quality_one():
    assert combined_quality(BEST) == pytest.approx(1)


@pytest.mark.parametrize(
    "worse",
    [
        {"size_px": 64},
        {"sharpness": 10},
        {"exposure": 0.3},
        {"frontal": 0.3},
        {"face_seen": False},
        {"occlusion": 0.5},
        {"truncation": 0.5},
        {"mask_quality": 0.4},
        {"mask_reach": 0.4},
    ],
)
def test_everything_that_is_worse_lowers_the_quality(worse):
    assert 0 < combined_quality(replace(BEST, **worse)) < 0.97


def test_blur_lowers_sharpness():
    picture = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    box = np.array([0, 0, 224, 224])
    blurred = cv2.GaussianBlur(picture, (0, 0), 2)
    assert sharpness_of(picture, box) > 20 * sharpness_of(blurred, box)


@pytest.mark.parametrize(("luma", "least", "most"), [(0, 0, 0), (128, 1, 1), (255, 0, 0)])
def test_black_and_blown_out_pictures_are_badly_exposed(luma, least, most):
    picture = np.full((64, 64, 3), luma, np.uint8)
    assert least <= exposure_of(picture, np.array([0, 0, 64, 64])) <= most


def test_occlusion_agrees_with_areas():
    box = np.array([0, 0, 100, 100])
    others = [np.array([0, 0, 50, 100]), np.array([25, 50, 100, 100])]
    assert occlusion_of(box, others) == pytest.approx(0.75, abs=0.02)
    assert occlusion_of(box, []) == 0


def test_truncation_is_the_share_of_the_outline_on_the_edge():
    assert truncation_of(np.array([10, 10, 90, 90]), 100, 100, 0.01) == 0
    assert truncation_of(np.array([0, 10, 90, 100]), 100, 100, 0.01) == pytest.approx(0.5)
    assert truncation_of(np.array([0, 0, 100, 100]), 100, 100, 0.01) == 1
