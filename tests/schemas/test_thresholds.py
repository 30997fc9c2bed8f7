"""One table of thresholds: every late bound of the gates is in it, and applied by its gate."""

from dataclasses import fields, replace

import pytest
import rows

from pipeline.execution.stage import Rejected
from pipeline.observing.quality import QualityConfig
from pipeline.observing.scores import ScoresConfig
from pipeline.observing.tracks import PeopleConfig
from schemas.tables import FaceBox
from schemas.thresholds import THRESHOLDS, Threshold

CONFIGS = {"quality": QualityConfig, "scores": ScoresConfig, "people": PeopleConfig}
CLIP = rows.clip("clip", nsfw=0.1, watermark=0.1, text=0.0, aesthetic=6.0)
FACE = FaceBox(0, [0, 0, 9, 9], [], 1.0, 0.0)
TRACK = rows.track("track", CLIP, detector="opencv-hog/1", motion=3.0, faces=[FACE] * 4)
NOBODY = {"detector": "yolo/11", "face_rate": 0.0}  # only a body's box is believed without a face
# What makes a track fail where the measure is computed from several columns.
COMPUTED = {
    "seconds": {"boxes": TRACK.boxes[:8]},
    "size_px": {"area": 0.041},
    "num_faces": {"faces": [FACE]},
    "body_aspect": NOBODY | {"boxes": [[0.0, 0.0, 200.0, 100.0]] * len(TRACK.boxes)},
}
SMALL = replace(CLIP, width=320, height=180)  # there the least area is fewer pixels than allowed


def test_every_bound_of_the_gates_is_in_the_table_and_nothing_else() -> None:
    bounds = {
        f"pair.{section}.{field.name}"
        for section, config in CONFIGS.items()
        for field in fields(config)
        if field.name.startswith(("min_", "max_"))
    }
    assert {threshold.setting for threshold in THRESHOLDS} == bounds
    assert len(THRESHOLDS) == len(bounds)
    assert all(t.field.startswith(f"{t.side}_") for t in THRESHOLDS)


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold.setting)
def test_every_threshold_is_applied_and_says_what_the_ledger_keeps(threshold: Threshold) -> None:
    gate = CONFIGS[threshold.section]()
    bound = getattr(gate, threshold.field)
    assert apply(threshold, {}) is None
    beyond = bound * (0.5 if threshold.side == "min" else 1.5) + (threshold.side == "max")
    columns = COMPUTED.get(threshold.measure, {threshold.measure: beyond})
    rejected = apply(threshold, columns)
    assert rejected is not None
    assert (rejected.reason, rejected.threshold) == (threshold.reason, bound)
    assert rejected.value is not None
    assert threshold.refuses(rejected.value, bound)
    assert threshold.stored == (threshold.measure not in COMPUTED)


def apply(threshold: Threshold, columns: dict) -> Rejected | None:
    """Hold a good clip or track, with some columns changed, against the threshold's gate."""
    if threshold.section == "people":
        clip = SMALL if threshold.measure == "size_px" and columns else CLIP
        if threshold.table == "clips":
            return PeopleConfig().check(TRACK, replace(clip, **columns))
        return PeopleConfig().check(replace(TRACK, **columns), clip)
    gate = QualityConfig() if threshold.section == "quality" else ScoresConfig()
    return gate.check(replace(CLIP, **columns))


def test_a_value_on_the_bound_and_an_unknown_one_pass() -> None:
    for threshold in THRESHOLDS:
        assert not threshold.refuses(0.5, 0.5)
        assert not threshold.refuses(float("nan"), 0.5)
