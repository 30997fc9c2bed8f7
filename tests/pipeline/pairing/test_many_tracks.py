"""What is planned and captioned by many processes is what one does, in the same order."""

from functools import partial

import pytest
from rows import WINDOWS
from test_samples import three_videos

from pipeline.dataset.store import LocalStore
from pipeline.engines.captions.attributes import AttributeCaptioner
from pipeline.engines.interfaces import CaptionFacts
from pipeline.execution.budget import ClusterConfig
from pipeline.pairing import caption_pool, samples
from pipeline.pairing.caption_pool import caption_clips
from pipeline.pairing.captions import GIVEN, CaptionsConfig
from pipeline.pairing.pair_config import PairConfig
from pipeline.pairing.samples import find_cast, plan_cast


def planned(seen, workers):
    cast = find_cast(seen.clips, seen.tracks, seen.embeddings, WINDOWS)
    plans = plan_cast(
        cast, seen.candidates, seen.embeddings, PairConfig(), ClusterConfig(workers), workers
    )
    return list(map(repr, plans.samples)), list(plans.ledger.rejects), plans.refused


def captioned(seen, store, workers):
    facts = [
        CaptionFacts(clip, (track,), track)
        for clip, track in zip(seen.clips, seen.tracks, strict=True)
    ]
    given, units = ["", "given"] * 3, {clip.clip_id: "unit" for clip in seen.clips}
    write = partial(caption_clips, facts, given, units, store, "attributes", CaptionsConfig())
    return list(write(ClusterConfig(workers), workers))


@pytest.mark.ray
@pytest.mark.alone
def test_two_workers_plan_and_caption_as_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(samples, "_TRACKS", 2)
    monkeypatch.setattr(caption_pool, "_WORTH_WORKERS", 0)
    monkeypatch.setattr(caption_pool, "_MEASURED", 2)
    seen, store = three_videos(), LocalStore(str(tmp_path))
    assert planned(seen, 2) == planned(seen, 1)
    captions = captioned(seen, store, 2)
    assert captions == captioned(seen, store, 1)
    assert [caption.engine for caption in captions] == [AttributeCaptioner.info.id, GIVEN] * 3
