"""Small jobs of the script, which need no Ray: one worker, in the script's own process."""

import dataclasses

import pytest
from present import current_version
from runs import curate, rows

from pipeline.curation.curation_config import RunConfig
from pipeline.dataset.fetched import video_fetcher
from pipeline.dataset.inputs import describe_file
from pipeline.dataset.store import LocalStore
from pipeline.execution import cluster
from pipeline.execution.budget import ClusterConfig
from pipeline.media.limits import ProbeConfig
from pipeline.observing.observe import identify
from schemas.tombstones import Tombstones


@pytest.mark.slow
def test_a_few_videos_become_samples_where_ray_cannot_even_be_imported(
    videos, tmp_path, monkeypatch
):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("raise ImportError('there is no Ray here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    output = tmp_path / "dataset"
    done = curate(output, videos / "0.mp4", videos / "1.mp4", videos / "broken.mp4")
    assert "observe: 100%" in done.stderr
    manifest, _ = current_version(LocalStore(str(output)))
    probed = manifest.funnel[0]
    assert (probed.entered, probed.kept, probed.reasons) == (3, 2, {"not_a_video": 1})
    samples = rows(output, "samples")
    assert len(samples) == 4  # two shots a video
    assert all(row["references"] and row["caption"] for row in samples)


def test_nothing_kept_is_an_error(videos, tmp_path):
    done = curate(tmp_path, videos / "broken.mp4", code=1)
    assert "nothing was kept" in done.stdout


def test_a_dry_run_changes_nothing(videos, tmp_path):
    output = tmp_path / "dataset"
    done = curate(output, videos, extra=["--dry-run"])
    assert "8 videos, 8 of them to observe" in done.stdout
    assert "licences: unknown (8)" in done.stdout
    assert "fast-recognition/1" in done.stdout
    assert "workers: 1, in this process" in done.stdout
    assert not output.exists()


def test_a_few_small_videos_are_identified_before_workers_have_started(tmp_path, monkeypatch):
    def refuse(_):
        raise AssertionError("Ray was started")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "has_gpu", lambda: False)
    monkeypatch.setattr(cluster, "connect", refuse)
    for name in "ab":
        (tmp_path / name).write_bytes(b"this is no video")
    few = [describe_file(str(tmp_path / name)) for name in "ab"]
    large = [dataclasses.replace(video, size_bytes=2**30) for video in few]
    run = RunConfig(cluster=ClusterConfig(workers=4))
    with video_fetcher(run.remote, 10**9) as fetcher:
        inputs = (ProbeConfig(), run, 4, Tombstones(), fetcher)
        assert len(list(identify(few, *inputs))) == 2
        for many in (few * 17, large):
            with pytest.raises(AssertionError, match="Ray was started"):
                list(identify(many, *inputs))
