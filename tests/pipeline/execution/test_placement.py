"""Where engines run: on GPUs in a pool of their own where there are some, else on the CPUs."""

import os

import fast_engines
import pytest

from pipeline.engines.engines_config import EnginesConfig, chosen
from pipeline.engines.interfaces import EngineInfo
from pipeline.engines.registry import engine_infos
from pipeline.execution.budget import Budget, ClusterConfig, Resources, shrunk
from pipeline.execution.device import DEVICE, choose_device
from pipeline.execution.placement import gpu_slots, place_captioner, place_observing
from pipeline.execution.worker import Pool

GPU = EngineInfo("big/1", "segmentation", "MIT", commercial=True, gpu=True)
CPU = EngineInfo("small/1", "captioning", "MIT", commercial=True)


def place(cpus=16.0, gpus=0.0, engines=(GPU, CPU), workers=None, **settings):
    have = Resources(cpus, gpus)
    return place_observing(
        ClusterConfig(**settings), have, [e.id for e in engines if e.gpu], workers or int(cpus)
    )


def sizes(placement):
    return [(pool.name, pool.size, pool.gpus) for pool in placement.pools]


def test_without_gpus_everything_runs_on_the_cpus_and_says_so():
    placement = place()
    assert sizes(placement) == [("observe", 16, 0)]
    assert placement.note == "the cluster has no GPU: big/1 run on the CPU"
    assert place(engines=[CPU]).note == ""
    assert "gpus_per_worker is 0" in place(gpus=4, gpus_per_worker=0).note


def test_engines_that_want_gpus_get_a_pool_of_their_own():
    assert sizes(place(gpus=1)) == [("clips", 12, 0), ("people", 4, 0.25)]
    assert sizes(place(gpus=8)) == [("clips", 8, 0), ("people", 8, 0.25)]
    assert sizes(place(gpus=2, gpus_per_worker=1)) == [("clips", 14, 0), ("people", 2, 1)]
    assert sizes(place(gpus=1, gpu_workers=2)) == [("clips", 14, 0), ("people", 2, 0.25)]
    assert sizes(place(gpus=1, engines=[CPU])) == [("observe", 16, 0)]
    assert sizes(place(cpus=1, gpus=1)) == [("observe", 1, 0.25)]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gpus": 1, "gpu_workers": 5}, "do not fit on 1 GPUs, which hold 4"),
        ({"gpus": 1, "gpus_per_worker": 2}, "which hold 0"),
        ({"gpus": 8, "gpu_workers": 4, "workers": 4}, "leave none of 4 workers to cut clips"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_start(settings, says):
    with pytest.raises(Budget, match=says):
        place(**settings)


def test_a_share_of_a_gpu_never_spans_two():
    assert gpu_slots(2, 0.4) == 4
    assert gpu_slots(4, 0.1) == 40
    assert gpu_slots(4, 2) == 2
    with pytest.raises(ValueError, match=r"0 to 1 or a whole number, got 1\.5"):
        ClusterConfig(gpus_per_worker=1.5)


def test_a_captioner_takes_whole_gpus_and_no_more_than_it_has_work_for():
    cluster = ClusterConfig()
    assert place_captioner(cluster, Resources(16, 8), False, 100) is None
    assert place_captioner(cluster, Resources(16, 0), True, 100) is None
    for batches, size in ((100, 8), (3, 3)):
        pool = place_captioner(cluster, Resources(16, 8), True, batches)
        assert pool
        assert (pool.size, pool.gpus) == (size, 1.0)


def test_engines_that_only_say_who_they_are_are_built_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.delenv(DEVICE, raising=False)
    monkeypatch.setenv("CONTEXTANYONE_MODELS", str(tmp_path))  # nobody asked for these there yet
    monkeypatch.setattr(fast_engines.FastMasks, "__init__", _note_device, raising=False)
    config = EnginesConfig(
        people="fast_engines:FastPeople", faces="fast_engines:FastFaces",
        recogniser="fast_engines:FastRecogniser", masks="fast_engines:FastMasks",
    )  # fmt: skip
    engine_infos(chosen(config))
    assert _DEVICES == ["cpu"]
    assert DEVICE not in os.environ


_DEVICES: list[str] = []


def _note_device(self):
    _DEVICES.append(choose_device())


def test_what_is_left_of_a_cluster_gets_smaller_pools_and_one_worker_each_at_least():
    pools = [Pool("clips", 12), Pool("people", 4, gpus=0.25)]
    assert [pool.size for pool in shrunk(pools, Resources(16, 1))] == [12, 4]
    assert [pool.size for pool in shrunk(pools, Resources(16, 0.5))] == [12, 2]
    assert [pool.size for pool in shrunk(pools, Resources(3, 1))] == [1, 2]
    assert [pool.size for pool in shrunk(pools, Resources(0, 0))] == [1, 1]
