"""What another threshold would keep: every gate with a column, its number, and what it dropped."""

from dataclasses import asdict
from typing import Any

import duckdb
import pytest
import rows

from pipeline.browse import reject_list
from pipeline.browse.light_tables import load_tables
from pipeline.dataset.commit import publish, read_manifest, stage_file, table_path
from pipeline.dataset.observed import Observed
from pipeline.dataset.parquet import encode_rows
from pipeline.dataset.store import open_store
from pipeline.observing.quality import QualityConfig
from pipeline.observing.scores import ScoresConfig
from pipeline.observing.tracks import PeopleConfig
from pipeline.pairing.duplicates import DuplicatesConfig
from pipeline.pairing.gates import Gates, Kept, LicencesConfig, apply_gates
from schemas.manifest import Manifest
from schemas.tables import Clip, FaceBox, Reject, Track
from schemas.thresholds import THRESHOLDS, Threshold

GATES = Gates(LicencesConfig(), QualityConfig(), DuplicatesConfig(), PeopleConfig(), ScoresConfig())
SECTIONS = {name: asdict(getattr(GATES, name)) for name in ("quality", "scores", "people")}
STORED = [threshold for threshold in THRESHOLDS if threshold.stored]
FACES = [FaceBox(0, [0, 0, 9, 9], [], 1.0, 0.0)] * 4


def beyond(threshold: Threshold) -> float:
    """Return a value that the threshold refuses."""
    bound = SECTIONS[threshold.section][threshold.field]
    if threshold.setting == "pair.people.max_people":
        bound = GATES.groups.max_people  # a group's main person passes up to here
    if isinstance(bound, int):
        return bound + 1
    return bound * 0.7 if threshold.side == "min" else bound * 1.3


def unknown_for_the_good(threshold: Threshold) -> bool:
    """Whether nobody measured it on the good clip and its track."""
    return threshold.section == "scores" or threshold.setting == "pair.people.min_motion"


def gated() -> tuple[Observed, Kept]:
    """Return a good clip, one that each threshold refuses, and what the gates make of them."""
    clips, tracks = [], []
    for name, threshold in [("good", None), *((t.setting, t) for t in STORED)]:
        columns: dict[str, dict[str, Any]] = {"clips": {}, "tracks": {}}
        if threshold:
            columns[threshold.table] = {threshold.measure: beyond(threshold)}
        clip = rows.clip(f"clip-{name}", **columns["clips"])
        person = {"detector": "opencv-hog/1", "faces": FACES} | columns["tracks"]
        clips.append(clip)
        tracks.append(rows.track(f"track-{name}", clip, **person))
    observed = Observed(videos=[rows.video()], clips=clips, tracks=tracks)
    return observed, apply_gates(observed, observed.videos, GATES)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """The tables of a published dataset with these clips, tracks and rejects."""
    observed, kept = gated()
    store = open_store(tmp_path_factory.mktemp("gated"))
    tables = {"clips": (Clip, observed.clips), "tracks": (Track, observed.tracks)}
    # Pairing refuses tracks that could be references alone, where nobody is seen for longer.
    alone = [kept.spare[t.track_id].entry("people", "track", t.track_id, t.video_id)
             for t in kept.tracks if t.track_id in kept.spare]  # fmt: skip
    tables["rejects"] = (Reject, [*kept.ledger.rejects, *alone])
    files = [
        stage_file(table_path(name, 1, 0), encode_rows(content, table), len(content), store)
        for name, (table, content) in tables.items()
    ]
    manifest = Manifest(
        version=1, parent="", inputs_digest="", observe_digest="", config_digest="",
        config={"pair": SECTIONS}, engines=[], libraries={}, funnel=[], splits={}, files=files,
    )  # fmt: skip
    publish(manifest, store)
    found = read_manifest(store)
    assert found is not None
    return load_tables(found[0], store)


@pytest.mark.parametrize("threshold", STORED, ids=lambda threshold: threshold.setting)
def test_what_a_gate_dropped_is_shown_at_that_gate_alone(
    threshold: Threshold, db: duckdb.DuckDBPyConnection
) -> None:
    name = f"{threshold.column}.{threshold.side}"
    told = {gate["gate"]: gate for gate in reject_list.gates(db, {"pair": SECTIONS})}
    gate = told[name]
    assert gate["setting"] == threshold.setting
    assert gate["threshold"] == SECTIONS[threshold.section][threshold.field]
    assert gate["dropped"] == 1
    fates = {row["id"]: row["fate"] for row in reject_list.what_if(db, name)["rows"]}
    own = f"{threshold.level}-{threshold.setting}"
    assert [id for id, fate in fates.items() if fate == "dropped"] == [own]
    good = fates.get(f"{threshold.level}-good")
    assert good == (None if unknown_for_the_good(threshold) else "kept")


def test_settings_of_an_older_version_are_read_too(db: duckdb.DuckDBPyConnection) -> None:
    flat = SECTIONS | {"quality": SECTIONS["quality"] | {"min_sharpness": 7.5}}
    old, new = reject_list.gates(db, flat), reject_list.gates(db, {"pair": flat})
    assert old == new
    assert next(g for g in old if g["gate"] == "clips.sharpness.min")["threshold"] == 7.5


def test_without_settings_the_ledger_says_what_was_in_force(db: duckdb.DuckDBPyConnection) -> None:
    told = {gate["gate"]: gate["threshold"] for gate in reject_list.gates(db, {})}
    assert told["clips.sharpness.min"] == 15.0
