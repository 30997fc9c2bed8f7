"""A stop that reaches a launcher saves the training and leaves no process behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import HANG_S
from places import ROOT
from tiny_dataset import write_dataset

from trainer.distributed.launch import Processes, launch

BIN = Path(sys.executable).parent
SCRIPT = str(ROOT / "trainer" / "train.py")
SETTINGS = {
    "model.layers": 1,
    "model.heads": 2,
    "model.head_dim": 24,
    "model.ffn_dim": 64,
    "data.buckets": "[32x48x5]",
    "data.num_workers": 0,
    "train.steps": 100_000,
    "log.every": 1,
    "validation.videos": 0,
    "validation.samples": 2,
}
OURS = [sys.executable, SCRIPT, "--processes", "2"]
TORCHRUN = [str(BIN / "torchrun"), "--nproc-per-node", "2", "--master-port", "29745", SCRIPT]
DEEPSPEED = [str(BIN / "deepspeed"), "--num_gpus", "2", "--master_addr", "127.0.0.1"]
DEEPSPEED += ["--master_port", "29746", SCRIPT]


def pids_of(run: Path) -> dict[int, str]:
    """Return the processes that have a run in their command line, with that line."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                gone = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if str(run) in line and not gone:
                found[int(folder.name)] = line
    return found


def steps_of(run: Path) -> list[int]:
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["step"] for line in lines if "loss/total" in line]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert condition()


@pytest.mark.deepspeed
@pytest.mark.faults
@pytest.mark.parametrize(
    ("command", "target", "number", "code"),
    [
        pytest.param([sys.executable, SCRIPT], "", signal.SIGTERM, 0, id="alone"),
        pytest.param(OURS, "", signal.SIGTERM, 0, id="ours"),
        pytest.param(OURS, "", signal.SIGKILL, -9, id="ours killed"),
        pytest.param(TORCHRUN, "", signal.SIGTERM, 1, id="torchrun"),
        # What cannot be had: this process has no handler, so it ends with the signal, at once.
        pytest.param(DEEPSPEED, "", signal.SIGTERM, -15, id="deepspeed"),
        pytest.param(DEEPSPEED, "deepspeed.launcher.launch", signal.SIGKILL, 0, id="inner killed"),
    ],
)
def test_a_stop_saves_and_leaves_no_process(tmp_path, command, target, number, code):
    data, run = write_dataset(tmp_path / "data", size=(96, 64), frames=9), tmp_path / "run"
    words = ["--preset", "tiny", "--data", str(data), "--output", str(run)]
    words += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    if command is OURS:
        words += ["--set", "checkpoint.every=2", "--set", "checkpoint.background=true"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    started = subprocess.Popen([*command, *words], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(steps_of(run)) > 2 or started.poll() is not None)
        aimed = [pid for pid, line in pids_of(run).items() if target in line] if target else []
        os.kill(aimed[0] if aimed else started.pid, number)
        assert started.wait(HANG_S) == code
        wait_for(lambda: not pids_of(run))
    finally:
        for pid in pids_of(run):
            os.kill(pid, signal.SIGKILL)
    last = steps_of(run)[-1]
    assert last < SETTINGS["train.steps"]
    assert (run / "checkpoints" / f"step-{last:08d}" / "COMPLETE.json").exists()


@pytest.mark.deepspeed
@pytest.mark.faults
def test_two_nodes_train_together_stop_together_and_go_on_together(tmp_path):
    data, run = write_dataset(tmp_path / "data", size=(96, 64), frames=9), tmp_path / "run"
    nodes = [start_node(number, data, run) for number in range(2)]
    try:
        wait_for(lambda: len(steps_of(run)) > 2 or nodes[0].poll() is not None)
        nodes[1].send_signal(signal.SIGTERM)  # one machine is taken away; the other is told by it
        assert [node.wait(HANG_S) for node in nodes] == [0, 0]
        last = steps_of(run)[-1]
        [saved] = (run / "checkpoints").glob("step-*/COMPLETE.json")
        assert saved.parent.name == f"step-{last:08d}"
        again = ("--resume", "auto", "--set", f"train.steps={last + 2}")
        nodes = [start_node(number, data, run, *again) for number in range(2)]
        assert [node.wait(HANG_S) for node in nodes] == [0, 0]
    finally:
        for pid in pids_of(run):
            os.kill(pid, signal.SIGKILL)
    assert steps_of(run) == list(range(1, last + 3))


def start_node(number: int, data: Path, run: Path, *extra: str) -> subprocess.Popen:
    """Start the launcher of one of two nodes, with one process each."""
    place = ["--processes", "1", "--node", f"{number}/2", "--master", "127.0.0.1:29747"]
    words = ["--preset", "tiny", "--data", str(data), "--output", str(run)]
    words += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return subprocess.Popen([sys.executable, SCRIPT, *place, *words, *extra], env=environment)


def in_each(code: str, count: int = 2) -> int:
    """Run a piece of Python in processes that know their place."""
    return launch([sys.executable, "-c", f"import os, signal, sys, time\n{code}"], Processes(count))


def test_processes_know_their_place(tmp_path, monkeypatch):
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
    told = f"' '.join(os.environ[name] for name in {names})"
    assert in_each(f"open('{tmp_path}/' + os.environ['RANK'], 'w').write({told})") == 0
    assert [file.read_text() for file in sorted(tmp_path.iterdir())] == [
        f"{rank} {rank} 2 2 127.0.0.1" for rank in range(2)
    ]
    second = Processes.of_flags(4, "1/2", "10.0.0.1:29500").environment(3)
    assert [second[name] for name in names] == ["7", "3", "8", "4", "10.0.0.1"]
    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.setenv("SLURM_NNODES", "2")
    under_slurm = Processes.of_flags(4, "slurm", "10.0.0.1:29500")
    assert under_slurm.environment(3) == second


def test_a_process_that_fails_ends_the_others_with_its_code():
    code = "time.sleep(600) if os.environ['RANK'] == '1' else sys.exit(3)"
    assert in_each(code) == 3
    assert in_each("os.kill(os.getpid(), 9)") == 137


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ((0, "0/1", ""), "--processes must be at least 1"),
        ((1, "2/2", "a:1"), "--node K/N with K from 0 to N-1"),
        ((1, "first", ""), "--node must be K/N such as 0/4, or slurm under srun, got 'first'"),
        ((1, "0/2", "host"), "--master must be HOST:PORT"),
    ],
)
def test_places_that_cannot_be_are_refused(flags, named):
    with pytest.raises(ValueError, match=named):
        Processes.of_flags(*flags)
