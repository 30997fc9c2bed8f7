"""A worker that dies or hangs is reported, and none outlives its trainer."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import HANG_S
from places import ROOT
from tiny_dataset import write_dataset
from train_batches import config

from trainer.data.loader import make_loader
from trainer.data.open_source import open_source, training_buckets
from trainer.data.order import Order


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Eight samples of 25 frames in two files, two of them held out."""
    return write_dataset(tmp_path_factory.mktemp("tiny") / "dataset")


def test_a_worker_that_dies_is_reported(dataset):
    data = config(num_workers=1, prefetch=1)
    source = open_source(dataset, data)
    order = Order(training_buckets(source, data), 4, seed=0)
    loader = make_loader(
        source, order, data, rank=0, world_size=1, micro_batch=1, start_step=0, stop_step=400
    )
    next(loader)
    [worker] = _workers(os.getpid())
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"data\.num_workers"):
        list(loader)


def test_a_worker_that_hangs_is_reported(dataset, tmp_path):
    data = config(num_workers=1, prefetch=1, timeout_s=2)
    source = open_source(dataset, data)
    order = Order(training_buckets(source, data), 4, seed=0)
    loader = make_loader(
        source, order, data, rank=0, world_size=1, micro_batch=1, start_step=0, stop_step=400
    )
    next(loader)
    [worker] = _workers(os.getpid())
    os.kill(worker, signal.SIGSTOP)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"data\.timeout_s"):
        list(loader)
    assert time.monotonic() - started < 300  # two seconds of waiting, and not for ever
    assert not Path(f"/proc/{worker}").exists()


def _workers(trainer: int) -> list[int]:
    """Return the processes that make batches for a trainer: its children's children."""
    found = []
    for child in _children(trainer):
        found += _children(child)
    return found


def _children(parent: int) -> list[int]:
    pattern = re.compile(r"\) \S (\d+) ")
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            matched = pattern.search(path.read_text())
        except OSError:
            continue
        if matched and int(matched[1]) == parent:
            found.append(int(path.parent.name))
    return found


_TRAINER = """
import os, signal, sys, time
from trainer.data.data_config import DataConfig
from trainer.data.loader import make_loader
from trainer.data.order import Order
from trainer.data.open_source import open_source, training_buckets

if __name__ == "__main__":
    if sys.argv[2] == "term":
        signal.signal(signal.SIGTERM, lambda *_: None)
    data = DataConfig(buckets=("96x160x17",), num_workers=1)
    source = open_source(sys.argv[1], data)
    order = Order(training_buckets(source, data), 4, seed=0)
    loader = make_loader(source, order, data, rank=0, world_size=1, micro_batch=1, start_step=0,
                         stop_step=100000)
    next(loader)
    print("ready", flush=True)
    if sys.argv[2] == "term":
        time.sleep(1)
        for _ in range(40):
            next(loader)
        print("went on", flush=True)
        os._exit(0)
    for batch in loader:
        time.sleep(0.01)
"""


@pytest.mark.faults
@pytest.mark.parametrize("how", ["int", "kill", "term"])
def test_no_worker_outlives_its_trainer(dataset, tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(_TRAINER)
    trainer = subprocess.Popen(
        [sys.executable, str(script), str(dataset), how],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "ready\n"
    workers = _workers(trainer.pid)
    assert len(workers) == 1
    if how == "kill":
        trainer.kill()
    else:  # as a terminal or a scheduler does: to every process of the group
        os.killpg(trainer.pid, signal.SIGINT if how == "int" else signal.SIGTERM)
    output, _ = trainer.communicate(timeout=HANG_S)
    assert ("went on" in output) == (how == "term")
    deadline = time.monotonic() + HANG_S
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.1)
