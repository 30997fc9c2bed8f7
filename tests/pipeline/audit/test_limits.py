"""The audit holds a dataset against the settings that it was made with, old names or new."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audits import audited, counted
from drawn_dataset import write_drawn_dataset
from faults import Copy, plant

from pipeline.audit.checks.clips import CHECK_OF
from schemas.thresholds import QUALITY, SCORES

STRICT = {"min_sharpness": 9e4}
RECOGNISER = {"recogniser": "appearance"}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn_dataset(tmp_path_factory.mktemp("drawn") / "clean")


def with_settings(copy: Copy, settings: dict[str, Any]) -> Path:
    copy.write_manifest(replace(copy.manifest, config=settings))
    return copy.folder


@pytest.mark.parametrize(
    "settings",
    [
        {"engines": RECOGNISER, "quality": STRICT},
        {"observe": {"engines": RECOGNISER}, "pair": {"quality": STRICT}},
    ],
    ids=["flat", "sectioned"],
)
def test_own_settings_decide_under_their_old_and_new_names(
    settings: dict[str, Any], clean: Path, tmp_path: Path
) -> None:
    folder = with_settings(plant("clip_crowded", clean, tmp_path / "copy"), settings)
    with audited(folder) as done:
        rows = list(done.findings.all())
        assert counted(rows)["clip.blurry"] == done.index.count("samples")
        assert {row.threshold for row in rows if row.check == "clip.blurry"} == {9e4}
        assert done.limits.windows is not None  # of the recogniser that the settings name
        [drawn] = [h for h in done.facts.histograms if h.name == "sharpness"]
    assert drawn.limits == STRICT


@pytest.mark.parametrize("odd", [None, [], 3, {"quality": 3}, {"quality": {"min_sharpness": "x"}}])
def test_settings_that_make_no_sense_leave_the_defaults(
    odd: Any, clean: Path, tmp_path: Path
) -> None:
    folder = with_settings(plant("blur_in_the_column", clean, tmp_path / "copy"), {"pair": odd})
    with audited(folder) as done:
        assert counted(list(done.findings.all()))["clip.blurry"] == 1


def test_scores_without_a_scorer_or_a_threshold_are_said_to_be_unchecked(
    clean: Path, tmp_path: Path
) -> None:
    with audited(clean) as done:
        assert "observe.engines.scorers" in done.findings.coverage.not_checked["safety.nsfw"]
        assert not {h.name for h in done.facts.histograms} & {t.measure for t in SCORES}
    copy = plant("clip_not_safe", clean, tmp_path / "copy")
    with audited(with_settings(copy, {"pair": {"scores": {"max_nsfw": None}}})) as done:
        assert done.findings.coverage.not_checked["safety.nsfw"] == "pair.scores.max_nsfw is null"
        [drawn] = [h for h in done.facts.histograms if h.name == "nsfw"]
        assert (drawn.limits, sum(drawn.counts)) == ({}, 12)


def test_every_threshold_of_clips_has_a_check_that_names_its_setting() -> None:
    for threshold in (*QUALITY, *SCORES):
        assert "pair." in CHECK_OF[threshold.setting].remedy
