"""One worker needs no Ray: the same results, errors and surroundings, in this process."""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import victims

from pipeline.execution import cluster
from pipeline.execution import run as execution
from pipeline.execution.budget import Budget, ClusterConfig
from pipeline.execution.cluster import describe_workers
from pipeline.execution.device import DEVICE
from pipeline.execution.machine import has_gpu, usable_cpus
from pipeline.execution.run import run
from pipeline.execution.worker import Pool

ONE, TWO = ClusterConfig(workers=1), ClusterConfig(workers=2)
SURROUNDINGS = (DEVICE, "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")


@dataclass
class Row:
    number: int
    seen_by: list[str] = field(default_factory=list)


@dataclass
class Seen:
    row: Row
    process: int = field(default_factory=os.getpid)
    surroundings: list = field(default_factory=lambda: [os.environ.get(n) for n in SURROUNDINGS])


def make_first():
    return see_first


def see_first(row):
    row.seen_by.append("first")
    if row.number == 13:
        raise ValueError("thirteen brings bad luck")
    if row.number == 28:
        raise OSError(28, "No space left on device", "/full")
    return Seen(row)


def make_second():
    def see_second(seen):
        seen.row.seen_by.append("second")
        return seen

    return see_second


def make_sleeper():
    return lambda _: time.sleep(300)


def one_step(size=1):
    return [(Pool("first", size), make_first)]


def two_steps(size=1):
    return [*one_step(size), (Pool("second", size), make_second)]


@pytest.fixture
def no_ray(monkeypatch):
    """Fail where Ray would be started, whatever this machine has."""
    for name in ("RAY_ADDRESS", "RAY_OVERRIDE_RESOURCES", *SURROUNDINGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster, "has_gpu", lambda: False)
    monkeypatch.setattr(cluster, "connect", _refuse_to_connect)


def _refuse_to_connect(_):
    raise AssertionError("Ray was started")


def test_one_worker_works_here(no_ray):
    results = list(run([Row(1), Row(2)], one_step(), ONE))
    assert [seen.row for seen in results] == [Row(n, ["first"]) for n in (1, 2)]
    assert {seen.process for seen in results} == {os.getpid()}


def test_a_single_row_needs_no_second_worker(no_ray):
    [seen] = run([Row(1)], two_steps(4), ClusterConfig(workers=8))
    assert (seen.row, seen.process) == (Row(1, ["first", "second"]), os.getpid())


def test_rows_are_taken_one_at_a_time_and_those_of_the_caller_stay_as_they_are(no_ray):
    rows = [Row(1), Row(13)]
    results = run(rows, one_step(), ONE)
    assert next(results).row.seen_by == ["first"]  # the second row was not tried yet
    with pytest.raises(ValueError, match="thirteen"):
        next(results)
    assert rows == [Row(1), Row(13)]


def test_rows_of_many_are_not_all_in_memory_at_once(no_ray, monkeypatch):
    monkeypatch.setattr(execution, "_PORTION_BYTES", 10_000)
    taken = []

    def rows():
        for number in range(40):
            taken.append(number)
            yield Row(number + 100, ["x" * 1000])

    results = run(rows(), one_step(), ONE)
    first = next(results)
    assert 2 <= len(taken) <= 12
    seen = [first, *results]
    assert [each.row.number for each in seen] == list(range(100, 140))
    [larger_than_a_portion] = run([Row(1, ["x" * 20_000])], one_step(), ONE)
    assert larger_than_a_portion.row.number == 1


def test_a_worker_sees_no_gpu_and_one_processor_and_the_driver_does_not_notice(no_ray, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    before = dict(os.environ)
    for seen in run([Row(1), Row(2)], one_step(), ONE):
        assert seen.surroundings == ["cpu", "", "1"]
        assert dict(os.environ) == before


def test_torch_has_the_threads_of_a_worker_and_then_those_of_before(no_ray):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        ask = (Pool("torch", 1), lambda: lambda _: torch.get_num_threads())
        assert list(run([""], [ask], ONE)) == [1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_surroundings_are_put_back_after_an_error(no_ray, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # which somebody chose, and a worker keeps
    before = dict(os.environ)
    with pytest.raises(ValueError, match="thirteen"):
        list(run([Row(13)], one_step(), ONE))
    [seen] = run([Row(1)], one_step(), ONE)
    assert seen.surroundings == ["cpu", "", "3"]
    assert dict(os.environ) == before


def test_an_interrupt_goes_through_and_leaves_the_surroundings_as_they_were(no_ray):
    def interrupt(_):
        raise KeyboardInterrupt

    before = dict(os.environ)
    with pytest.raises(KeyboardInterrupt):
        list(run([Row(1)], [(Pool("first", 1), lambda: interrupt)], ONE))
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("setting", "value"), [("RAY_ADDRESS", "auto"), ("RAY_OVERRIDE_RESOURCES", '{"GPU": 1}')]
)
def test_what_only_ray_knows_is_asked_of_ray(no_ray, monkeypatch, setting, value):
    monkeypatch.setenv(setting, value)
    with pytest.raises(AssertionError, match="Ray was started"):
        list(run([Row(1)], one_step(), ONE))


def test_a_machine_with_gpus_or_a_second_worker_uses_ray(no_ray, monkeypatch):
    with pytest.raises(AssertionError, match="Ray was started"):
        list(run([Row(1), Row(2)], one_step(2), TWO))
    monkeypatch.setattr(cluster, "has_gpu", lambda: True)
    with pytest.raises(AssertionError, match="Ray was started"):
        list(run([Row(1)], one_step(), ONE))


def test_the_number_of_workers_is_said_and_bound_without_ray(no_ray, monkeypatch):
    assert describe_workers(ONE) == "1, in this process"
    assert describe_workers(TWO) == "2 on this machine"
    monkeypatch.setattr(cluster, "usable_cpus", lambda: 1)
    assert describe_workers(ClusterConfig()) == "1, in this process"
    with pytest.raises(Budget, match=r"first\(2 x 1\) want 2 CPU, the cluster has 1"):
        list(run([Row(1), Row(2)], one_step(2), ONE))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert describe_workers(ClusterConfig()) == "one per CPU on the running cluster"


def results_of(rows, settings):
    seen = run(rows, two_steps(), settings)
    return sorted((each.row.number, each.row.seen_by, each.surroundings) for each in seen)


def error_of(rows, settings):
    """Return what the caller sees of an error, and the worker's trace."""
    with pytest.raises((ValueError, OSError)) as error:
        list(run(rows, two_steps(), settings))
    return repr(error.value), getattr(error.value, "filename", None), str(error.value.__cause__)


@pytest.mark.ray
@pytest.mark.alone
def test_workers_on_ray_return_and_raise_what_one_does_here(other_checkout):
    """A lone row stays here; its twin makes two, which go to Ray. Nobody else reaches its ports."""
    four = ClusterConfig(workers=4)
    here = [results_of([Row(1)], four), error_of([Row(13)], four), error_of([Row(28)], four)]
    assert "ray" not in sys.modules
    try:
        results = results_of([Row(1), Row(1)], four)
        errors = [error_of([Row(n), Row(n)], four) for n in (13, 28)]
        [lone] = run([Row(1)], two_steps(), four)
        impatient = ClusterConfig(workers=4, no_progress_s=3)
        with pytest.raises(TimeoutError, match="nothing moved in naps for 3 s"):
            list(run([1, 2], [(Pool("naps", 2), make_sleeper)], impatient))
        started = victims.job_processes(os.getpid())
        [server] = [pid for pid, kind in started.items() if kind == victims.SERVER]
        told = Path(f"/proc/{server}/environ").read_bytes().split(b"\0")
        assert b"RAY_health_check_timeout_ms=120000" in told  # a busy node is not a lost one
        ports = victims.listening(pid for pid, kind in started.items() if kind != victims.DRIVER)
        assert set(ports) == {"127.0.0.1"}, ports
        token = Path("~/.ray/auth_token").expanduser()
        assert not token.exists() or token.stat().st_mode & 0o077 == 0
    finally:
        import ray

        ray.shutdown()
    assert results == here[0] * 2
    assert lone.process == os.getpid()  # Ray that was started for others is nothing to it
    assert [error[:2] for error in errors] == [error[:2] for error in here[1:]]
    for bad_row, full_disk in (here[1:], errors):
        assert "in a worker:" in bad_row[2]
        assert "in see_first" in bad_row[2]
        assert full_disk[1:] == ("/full", "None")  # the message says it all


def test_processors_are_those_of_the_container(tmp_path):
    cores = len(os.sched_getaffinity(0))
    assert usable_cpus(tmp_path) == cores
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path) == cores
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert usable_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    for quota, expected in ((-1, cores), (50_000, 1), (10**9, cores)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        assert usable_cpus(tmp_path) == expected


def test_a_gpu_is_known_by_its_device(tmp_path):
    (tmp_path / "nvidiactl").touch()  # of a driver without a card
    assert not has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert has_gpu(tmp_path)
