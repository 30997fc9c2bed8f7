"""The scripts for Slurm do what they promise, with programs in place of Slurm, Ray and ours."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import HANG_S
from places import ROOT

# Each writes what it was told into a file of its name.
PROGRAMS = {
    "scontrol": """
        [ "$1" = requeue ] || exec seq -f node-%g 20000  # more than a pipe holds
        echo "$*" >> "$LOGS/scontrol"
    """,
    "getent": """
        echo "10.0.0.1 STREAM $2"
        echo "10.0.0.1 DGRAM"
    """,
    "openssl": "echo 5ecre7",
    "srun": """
        echo "cpus ${SRUN_CPUS_PER_TASK:-}, $*" >> "$LOGS/srun"
        while [ "${1#--}" != "$1" ]; do shift; done
        exec "$@"
    """,
    "ray": """
        [ "$1" = status ] && exec test -e "$LOGS/ray"
        [ -z "${RAY_ENDS:-}" ] || exit 1
        echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN $*" >> "$LOGS/ray"
        exec sleep 3600
    """,
    "contextanyone": """
        echo "${RAY_ADDRESS:-alone} $*" >> "$LOGS/contextanyone"
        while [ -n "${RAY_ADDRESS:-}" ] && [ "$(wc -l < "$LOGS/ray")" -lt 2 ]; do sleep 0.1; done
        [ -n "${WAITS:-}" ] || exit "${CODE:-0}"
        trap 'echo saved >> "$LOGS/contextanyone"; exit 0' TERM
        touch "$LOGS/waits"
        while true; do sleep 0.1; done
    """,
}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NODELIST": "node-[1-3]",
    "SLURM_NNODES": "3",
    "SLURM_CPUS_PER_TASK": "16",
    "SLURM_GPUS_ON_NODE": "8",
}
CURATE = ("curate", "/shared/videos", "/shared/dataset")
TRAIN = ("train", "--preset", "tiny")


@pytest.fixture
def logs(tmp_path) -> Path:
    (tmp_path / "bin").mkdir()
    for name, text in PROGRAMS.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)
    return tmp_path


@contextlib.contextmanager
def started(logs: Path, script: str, *arguments: str, **changed: str) -> Iterator[subprocess.Popen]:
    """Start a script as Slurm would, in a session of its own, of which nothing is left."""
    job = subprocess.Popen(
        ["bash", ROOT / "deploy" / "slurm" / f"{script}.sbatch", *arguments],
        env={"PATH": f"{logs / 'bin'}:{os.environ['PATH']}", "LOGS": str(logs), **SLURM, **changed},
        stdout=subprocess.DEVNULL,
        stderr=(logs / "errors").open("w"),
        start_new_session=True,
    )
    try:
        yield job
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def ends(logs: Path, script: str, *arguments: str, **changed: str) -> int:
    with started(logs, script, *arguments, **changed) as job:
        return job.wait(timeout=HANG_S)


def said(logs: Path, name: str) -> list[str]:
    path = logs / name
    return path.read_text().splitlines() if path.exists() else []


def test_a_cluster_of_all_nodes_curates_with_every_flag(logs):
    flags = ("--models", "/shared/a folder", "--set", "run.cluster.workers=4")
    assert ends(logs, *CURATE, *flags) == 0, said(logs, "errors")
    [told] = said(logs, "contextanyone")
    assert told.startswith("10.0.0.1:6379 curate --input /shared/videos --output /shared/dataset ")
    assert told.endswith("--models /shared/a folder --set run.cluster.workers=4")
    head, workers = sorted(said(logs, "ray"), key=lambda line: "--head" not in line)
    assert head.startswith("token 5ecre7 start --head --node-ip-address=10.0.0.1")
    assert "--num-cpus=0" in head
    assert workers.startswith("token 5ecre7 start --address=10.0.0.1:6379 --num-cpus=16")
    steps = said(logs, "srun")
    assert all(step.startswith("cpus 16, ") for step in steps), steps
    assert any("--nodes=2 --ntasks=2 --exclude=node-1 " in step for step in steps), steps
    assert not said(logs, "scontrol")


def test_training_runs_on_all_gpus_with_every_flag_and_its_exit_code(logs):
    assert ends(logs, *TRAIN, CODE="2") == 2
    [step] = said(logs, "srun")
    assert step.startswith("cpus 16, ")
    assert step.endswith("--processes 8 --node slurm --master node-1:29500 --preset tiny")
    assert not said(logs, "scontrol")


@pytest.mark.parametrize("job", [CURATE, TRAIN], ids=lambda job: job[0])
def test_before_the_time_is_up_a_job_is_stopped_and_queued_again(logs, job):
    with started(logs, *job, WAITS="1") as script:
        deadline = time.monotonic() + HANG_S
        while not (logs / "waits").exists() and time.monotonic() < deadline:
            assert script.poll() is None, said(logs, "errors")
            time.sleep(0.05)
        script.terminate()
        assert script.wait(timeout=HANG_S) == 0, said(logs, "errors")
    assert said(logs, "contextanyone")[-1] == "saved"
    assert said(logs, "scontrol") == ["requeue 7"]


@pytest.mark.parametrize(
    ("code", "before", "again"),
    [("3", "", True), ("3", "4", True), ("3", "5", False), ("2", "", False), ("1", "", False)],
)
def test_videos_that_could_not_be_read_are_tried_again_a_few_times(logs, code, before, again):
    restarts = {"SLURM_RESTART_COUNT": before} if before else {}
    assert ends(logs, *CURATE, CODE=code, **restarts) == int(code)
    assert said(logs, "scontrol") == ["requeue 7"] * again


@pytest.mark.parametrize(
    ("arguments", "changed", "message"),
    [
        (CURATE, {"SLURM_NNODES": "1"}, "give two or more"),
        (CURATE, {"RAY_ENDS": "1"}, "Ray's head has ended on node-1"),
        (CURATE[:2], {}, "then the dataset"),
    ],
)
def test_what_cannot_work_ends_at_once(logs, arguments, changed, message):
    assert ends(logs, *arguments, **changed) != 0
    assert message in said(logs, "errors")[-1]
    assert not said(logs, "contextanyone")
