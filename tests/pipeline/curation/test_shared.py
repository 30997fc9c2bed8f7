"""What one node sees and another does not is said before any video is looked at."""

import dataclasses
from pathlib import Path

import fast_engines
import pytest

from pipeline.curation import shared
from pipeline.curation.curation_config import CurationConfig, RunConfig
from pipeline.dataset.fetched import video_fetcher
from pipeline.dataset.inputs import describe_file
from pipeline.dataset.store import open_store
from pipeline.dataset.units import Identified, Unread, check_begun
from pipeline.engines.engines_config import EnginesConfig
from pipeline.execution.budget import ClusterConfig
from pipeline.media.limits import ProbeConfig
from pipeline.observing.observe import identify
from pipeline.observing.observe_config import ObserveConfig
from schemas.tombstones import Tombstones

ENGINES = EnginesConfig(
    people="fast_engines:FastPeople", faces="fast_engines:FastFaces",
    recogniser="fast_engines:FastRecogniser", masks="fast_engines:FastMasks",
)  # fmt: skip


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Check a run whose second node has what `change` leaves of the first node's view."""
    (tmp_path / "a.mp4").write_bytes(b"video")
    own = staticmethod(lambda: "fast 89ab")
    monkeypatch.setattr(fast_engines.FastFaces, "weights_identity", own, raising=False)

    def check(change):
        monkeypatch.setattr(shared, "on_other_nodes", lambda look, _: {"10.0.0.3": change(look())})
        videos = [describe_file(str(tmp_path / "a.mp4"))]
        config = CurationConfig(observe=ObserveConfig(engines=ENGINES))
        shared.check_shared(videos, open_store(tmp_path / "out"), config)

    return check


def test_nodes_that_see_the_same_may_work(look, tmp_path):
    look(lambda view: view)
    assert list((tmp_path / "out").iterdir()) == []  # the mark by which nodes were asked is gone


def test_a_video_on_the_drivers_disk_alone_is_named(look, tmp_path):
    def without_the_video(view):
        assert view.hidden_videos == ()
        (tmp_path / "a.mp4").unlink()
        return dataclasses.replace(view, hidden_videos=(str(tmp_path / "a.mp4"),))

    with pytest.raises(ValueError, match=r"node 10\.0\.0\.3 does not see .*a\.mp4"):
        look(without_the_video)


def test_other_weights_and_none_are_named(look):
    with pytest.raises(ValueError, match=r"node 10\.0\.0\.3: no weights for faces"):
        look(lambda view: dataclasses.replace(view, problem="no weights for faces"))
    with pytest.raises(ValueError, match="has other weights for faces: fast 0123, not fast 89ab"):
        look(lambda view: dataclasses.replace(view, weights={"faces": "fast 0123"}))


def test_a_worker_that_does_not_see_the_dataset_does_not_begin_one(tmp_path):
    store = open_store(tmp_path)
    with pytest.raises(ValueError, match="does not see the dataset in"):
        check_begun(store)
    store.write("units/inputs.parquet", b"")
    check_begun(store)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["units"]


def test_a_video_that_vanishes_is_left_to_the_next_run_and_a_lost_link_is_refused(tmp_path):
    gone, link = tmp_path / "gone.mp4", tmp_path / "link.mp4"
    gone.write_bytes(b"video")
    link.symlink_to(tmp_path / "nowhere.mp4")
    listed = [describe_file(str(path)) for path in (gone, link)]
    gone.unlink()
    run = RunConfig(cluster=ClusterConfig(workers=1))
    with video_fetcher(run.remote, 10**9) as fetcher:
        first, second = identify(listed, ProbeConfig(), run, 1, Tombstones(), fetcher)
    assert isinstance(first, Unread)
    assert "No such file" in first.detail
    assert isinstance(second, Identified)
    assert [reject.reason for reject in second.ledger.rejects] == ["unreadable"]
