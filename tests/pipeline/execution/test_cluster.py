"""The same job on a running cluster, through `ray job submit`; budgets that cannot work."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import fast_engines
import pytest
from patience import HANG_S
from places import ROOT
from runs import command, content, environment

from pipeline.execution import cluster as ray_cluster
from pipeline.execution.budget import ClusterConfig

RAY = str(Path(sys.executable).parent / "ray")
PORT, DASHBOARD, AGENT, CLIENT = 6479, 8365, 9552, 9801  # beside a cluster on Ray's own ports


@pytest.fixture(scope="module")
def cluster():
    """A head node on loopback; stopped by its own process, never by `ray stop`."""
    settings = {
        **environment(),
        "RAY_AUTH_MODE": "token",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{DASHBOARD}",
    }
    # Its sockets lie in this folder, and no socket's path may be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        head = start_head(Path(folder), settings)
        try:
            assert becomes_ready(head, settings), (Path(folder) / "head.log").read_text()
            yield settings
        finally:
            stop_head(head)


def start_head(folder: Path, settings: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *(RAY, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"),
            *("--dashboard-host=127.0.0.1", f"--port={PORT}", f"--dashboard-port={DASHBOARD}"),
            *(f"--dashboard-agent-listen-port={AGENT}", f"--ray-client-server-port={CLIENT}"),
            f"--temp-dir={folder}",
        ],
        env=settings,
        stdout=(folder / "head.log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def becomes_ready(head: subprocess.Popen, settings: dict[str, str]) -> bool:
    deadline = time.monotonic() + HANG_S
    while time.monotonic() < deadline and head.poll() is None:
        if not is_listening(DASHBOARD):  # asking costs seconds of a processor
            time.sleep(0.2)
            continue
        asked = subprocess.run([RAY, "job", "list"], env=settings, capture_output=True, check=False)
        if asked.returncode == 0:
            return True
        time.sleep(1)
    return False


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def stop_head(head: subprocess.Popen) -> None:
    head.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(timeout=15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)  # its own process group: nobody else's Ray
    head.wait()


def submit(cluster, *arguments) -> subprocess.CompletedProcess:
    carried = json.dumps({"env_vars": {"PYTHONPATH": "tests/helpers"}})
    return subprocess.run(
        [
            *(RAY, "job", "submit", "--working-dir", ".", "--runtime-env-json", carried),
            *("--", sys.executable, "jobs/curate.py", *arguments),
        ],
        env=cluster,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


@pytest.mark.ray
def test_a_submitted_job_makes_the_same_bytes_as_a_local_run(cluster, videos, golden, tmp_path):
    arguments = ["--input", str(videos), "--output", str(tmp_path), *fast_engines.SETTINGS]
    done = submit(cluster, *arguments, "--set", "run.cluster.workers=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "samples (" in done.stdout
    assert content(tmp_path) == content(golden)


@pytest.mark.ray
def test_a_submitted_job_that_fails_fails_for_the_client(cluster, tmp_path):
    done = submit(cluster, "--input", str(tmp_path / "none"), "--output", str(tmp_path / "out"))
    assert done.returncode != 0
    assert "no such file or folder" in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
def test_a_submitted_job_writes_nothing_into_what_goes_with_the_cluster(cluster, videos):
    done = submit(cluster, "--input", str(videos), "--output", "dataset", *fast_engines.SETTINGS)
    assert done.returncode == 1  # of every job that failed; its own code is in the text
    assert "exit code 2" in done.stdout + done.stderr
    assert "lies in Ray's copy of --working-dir" in done.stdout + done.stderr


@pytest.mark.ray
def test_a_job_without_the_token_is_not_run(cluster, tmp_path):
    bare = {name: value for name, value in cluster.items() if name != "RAY_AUTH_MODE"}
    bare |= {"RAY_AUTH_MODE": "disabled"}
    done = submit(bare, "--input", str(tmp_path), "--output", str(tmp_path / "out"))
    assert done.returncode != 0
    assert "401" in done.stdout + done.stderr or "uthenticat" in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
def test_a_driver_that_may_not_join_is_told_why_in_one_line(cluster, videos, tmp_path):
    stranger = {**cluster, "RAY_ADDRESS": f"127.0.0.1:{PORT}", "RAY_AUTH_TOKEN": "0" * 32}
    done = subprocess.run(
        command(tmp_path / "out", videos),
        env=stranger,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 2
    assert f"curate: cannot join the cluster at RAY_ADDRESS=127.0.0.1:{PORT}" in done.stderr
    assert "RAY_AUTH_MODE is token, RAY_AUTH_TOKEN set" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    """Yield an address at which somebody listens, who is not Ray."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        yield address


@pytest.mark.parametrize("kind", [RuntimeError, ConnectionError])
def test_whatever_ray_says_to_a_driver_becomes_one_line_with_the_remedy(monkeypatch, address, kind):
    import ray

    def refuse(**_):
        raise kind("No token was found. For more see:\nhttps://a.page")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConnectionError) as raised:
        ray_cluster.connect(ClusterConfig())
    said = str(raised.value)
    assert f"RAY_ADDRESS={address}: No token was found. RAY_AUTH_MODE is not set" in said
    assert f"ray start --address={address}" in said
    assert "\n" not in said


def test_a_head_that_is_gone_is_not_waited_for_as_long_as_ray_would(monkeypatch, address):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would try for minutes"))
    monkeypatch.setattr(ray_cluster, "_KNOCK_S", 0.1)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # nobody may listen there
    with pytest.raises(ConnectionError, match=r"at RAY_ADDRESS=127\.0\.0\.1:1: .*refused"):
        ray_cluster.connect(ClusterConfig())
