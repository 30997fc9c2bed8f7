"""The editing phase on a drawn clip: real stages, the real relight editor, a dataset's files."""

import json
from collections.abc import Iterable
from dataclasses import replace

import portraits
import pytest
import rows

from pipeline.curation.curate import pair
from pipeline.curation.curation_config import CurationConfig
from pipeline.curation.shards import ShardsConfig, build_shard, plan_shards
from pipeline.dataset.edited import read_edits
from pipeline.dataset.inputs import InputVideo
from pipeline.dataset.observed import read_observed
from pipeline.dataset.parquet import read_rows
from pipeline.dataset.store import LocalStore
from pipeline.dataset.units import Unit, commit_unit, split_video
from pipeline.engines.editing.edit_gate import EditGateConfig
from pipeline.engines.engines_config import WritersConfig, engines_preset
from pipeline.engines.registry import load_engines
from pipeline.execution.stage import Ledger, VideoRow
from pipeline.observing.candidates import ProposeReferences
from pipeline.observing.faces import FindFaces
from pipeline.observing.observe_config import ObserveConfig
from pipeline.observing.quality import QualityConfig
from pipeline.observing.tracks import TrackPeople
from pipeline.pairing import edit_references
from pipeline.pairing.edit_choice import EditsConfig
from pipeline.pairing.pair_config import PairConfig

pytestmark = pytest.mark.slow

PAIR = PairConfig(
    engines=WritersConfig(editor="relight"),
    quality=QualityConfig(min_motion=0.0),
    edits=EditsConfig(sources=1, prompts=3),
)


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A store with one observed unit: a portrait that walks."""
    pytest.importorskip("skimage")
    store = LocalStore(str(tmp_path_factory.mktemp("dataset")))
    engines = load_engines(engines_preset("embedded").observing)
    row = portraits.clip_row(portraits.walking(2.0))
    row = replace(row, clip=replace(row.clip, contrast=0.3, text_area=0.0))
    for stage in (
        TrackPeople(engines.people),
        FindFaces(engines.faces, engines.recogniser),
        ProposeReferences(engines.masks, engines.recogniser, faces=engines.faces),
    ):
        row = stage.process(row)
    video = rows.video()
    unit = Unit(video.uri, video.video_id, video, split_video(video, 600.0)[0])
    ledger = Ledger()
    ledger.keep("probe", "video")
    receipt = commit_unit(unit, VideoRow(video, (row,), ledger), store)
    return store, receipt


@pytest.fixture
def serial(monkeypatch):
    """Workers in this process, one after the other; counts what they did."""
    calls = []

    def run(batches: Iterable, steps, cluster):
        [(_, make)] = steps
        work = make()
        for batch in batches:
            calls.append(len(batch.tasks))
            yield work(batch)

    monkeypatch.setattr(edit_references, "run", run)
    return calls


def paired(observed, config=PAIR):
    store, receipt = observed
    given = InputVideo("video.mp4")
    observe = ObserveConfig(engines=engines_preset("embedded").observing)
    whole = CurationConfig(observe=observe, pair=config)
    read = read_observed([receipt], store)
    return pair(read, [given], {"video.mp4": "video"}, set(), store, whole)


def by_level(result, level):
    return [row for row in result.ledger.rejects if (row.stage, row.level) == ("edits", level)]


def test_edits_become_references_and_other_thresholds_edit_nothing_again(observed, serial):
    first = paired(observed)
    assert serial == [3]
    count = first.ledger.counts["edits", "edit"]
    assert count.entered == 3
    assert count.rejected == len(by_level(first, "edit"))
    assert all(row.value is not None and row.reason for row in by_level(first, "edit"))
    [sample] = first.samples
    edited = [row for row in sample.plan.references if row.kind == "edited"]
    assert edited
    assert set(sample.edits) == {row.reference_id for row in edited}

    [plan] = plan_shards(first.samples, ShardsConfig(), 1)
    store = observed[0]
    with store.open(build_shard(plan, store).path) as file:
        [row] = read_rows(file)
    for reference in row["references"]:
        recipe = json.loads(reference["edit"])
        assert recipe["engine"] == "relight/1"
        assert recipe["prompt_id"].startswith("relit-")
        assert {"change", "similarity", "tint", "warmth"} <= set(recipe["checks"])
        assert reference["augmentation"]  # relit pictures of the clip itself are copies of it
        assert reference["source_reference_id"] in {r.reference_id for r in first_candidates(store)}

    gate = EditGateConfig(min_change=0.9)
    strict = paired(observed, replace(PAIR, edits=EditsConfig(1, 3, gate)))
    assert serial == [3]  # nothing was edited again
    assert strict.ledger.counts["edits", "edit"].rejected == 3
    assert {(row.reason, row.threshold) for row in by_level(strict, "edit")} == {("near_copy", 0.9)}
    [sample] = strict.samples
    assert {row.kind for row in sample.plan.references} == {"in_clip_augmented"}


def first_candidates(store):
    from pipeline.dataset.units import read_receipts

    return read_observed(read_receipts(store).values(), store).candidates


def test_a_run_that_was_killed_makes_only_what_is_missing(observed, serial):
    store = observed[0]
    before = read_edits(store)
    more = replace(PAIR, edits=EditsConfig(sources=1, prompts=4))
    paired(observed, more)
    assert sum(serial) == 4 - len(before)
    assert len(read_edits(store)) == 4


def test_without_an_editor_nothing_is_edited(observed, serial):
    result = paired(observed, replace(PAIR, engines=WritersConfig()))
    assert ("edits", "edit") not in result.ledger.counts
    assert serial == []
