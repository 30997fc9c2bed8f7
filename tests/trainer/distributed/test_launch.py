"""A stop that reaches a launcher saves the training and leaves no process behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG_S
from tiny_dataset import write_dataset
from training_command import SCRIPT, pids_of, run_main, steps_of, wait_for

from trainer.distributed.launch import Processes, launch

BIN = Path(sys.executable).parent
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


def arguments(data: Path, run: Path, *extra: str) -> list[str]:
    words = ["--preset", "tiny", "--data", str(data), "--output", str(run)]
    words += [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    return [*words, *extra]


@pytest.mark.deepspeed
@pytest.mark.faults
@pytest.mark.parametrize(
    ("command", "target", "number", "code"),
    [
        pytest.param(OURS, "", signal.SIGTERM, 0, id="ours"),
        pytest.param(OURS, "", signal.SIGKILL, -9, id="ours killed"),
        pytest.param(TORCHRUN, "", signal.SIGTERM, 1, id="torchrun"),
        pytest.param(DEEPSPEED, "deepspeed.launcher.launch", signal.SIGKILL, 0, id="inner killed"),
    ],
)
def test_a_stop_saves_and_leaves_no_process(tmp_path, command, target, number, code):
    data, run = write_dataset(tmp_path / "data", size=(96, 64), frames=9), tmp_path / "run"
    words = arguments(data, run)
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
def test_two_nodes_go_on_together_and_stop_together(two, tmp_path):
    data, run = write_dataset(tmp_path / "data", size=(96, 64), frames=9), tmp_path / "run"
    before = two.run(run_main, arguments(data, run, "--set", "train.steps=2"))
    assert [outcome.code for outcome in before] == [0, 0], before
    nodes = [start_node(number, data, run) for number in range(2)]
    try:
        wait_for(lambda: len(steps_of(run)) > 4 or nodes[0].poll() is not None)
        nodes[1].send_signal(signal.SIGTERM)  # one machine is taken away; the other is told by it
        assert [node.wait(HANG_S) for node in nodes] == [0, 0]
    finally:
        for pid in pids_of(run):
            os.kill(pid, signal.SIGKILL)
    last = steps_of(run)[-1]
    assert steps_of(run) == list(range(1, last + 1))
    assert (run / "checkpoints" / f"step-{last:08d}" / "COMPLETE.json").exists()


def start_node(number: int, data: Path, run: Path) -> subprocess.Popen:
    """Start the launcher of one of two nodes, with one process each."""
    place = ["--processes", "1", "--node", f"{number}/2", "--master", "127.0.0.1:29747"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    words = arguments(data, run, "--resume", "auto")
    return subprocess.Popen([sys.executable, SCRIPT, *place, *words], env=environment)


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
