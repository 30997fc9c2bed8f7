"""Nodes of a cluster come and go while a job works; all of them must see the same files."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from encoding import encode
from patience import HANG_S
from places import script
from ray_nodes import Nodes, ray_nodes
from runs import command, content
from tiny_dataset import write_dataset

from trainer.data.data_config import DataConfig
from trainer.latents.encoding_plan import LatentsConfig

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.slow]
GPU = "--num-gpus=1"  # as Ray counts it; what wants one is on the CPU here


@pytest.fixture(scope="module")
def cluster():
    with ray_nodes() as nodes:
        yield nodes


@pytest.fixture
def nodes(cluster):
    """A cluster whose head is alone when the test begins, and when it ends."""
    yield cluster
    for address in cluster.living():
        cluster.kill(address)


class Job:
    """A job on the nodes that are there, with one worker per processor."""

    def __init__(self, nodes: Nodes, words: list[str], text: Path) -> None:
        self._text = text
        words = [*words, "--set", "run.cluster.workers=0"]
        with text.open("w") as output:
            self.process = subprocess.Popen(
                words, env=nodes.settings, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def said(self) -> str:
        return self._text.read_text()

    def wait_until(self, happened) -> None:
        deadline = time.monotonic() + HANG_S
        while not happened():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def end(self) -> int:
        return self.process.wait(HANG_S)


def curating(nodes: Nodes, output: Path, videos: Path) -> Job:
    return Job(nodes, command(output, videos), output.with_suffix(".txt"))


def encoding(nodes: Nodes, dataset: Path) -> Job:
    words = [sys.executable, script("encode"), str(dataset), "--preset", "tiny"]
    words += ["--set", "encoding.unit_samples=1"]
    return Job(nodes, words, dataset.with_suffix(".txt"))


def units(output: Path) -> int:
    return len(list(output.glob("units/*/*/receipt.json")))


def latents(dataset: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((dataset / "latents").glob("*"))}


def test_nodes_and_drivers_that_come_and_go_change_no_byte(nodes, videos, golden, tmp_path):
    output = tmp_path / "out"
    job = curating(nodes, output, videos)
    job.wait_until(lambda: "waiting up to 600 s for 1 CPU" in job.said)
    first = nodes.add()
    job.wait_until(lambda: units(output) >= 1)
    job.process.kill()
    job.end()
    again = curating(nodes, output, videos)
    again.wait_until(lambda: units(output) >= 2)
    nodes.kill(first)
    nodes.add()
    assert again.end() == 0, again.said
    assert content(output) == content(golden)


def test_encoding_on_gpus_goes_on_without_a_node_that_is_lost(nodes, tmp_path):
    dataset = write_dataset(tmp_path / "dataset", num_samples=16, num_validation=2)
    lost, _ = nodes.add(GPU), nodes.add(GPU)
    job = encoding(nodes, dataset)
    job.wait_until(lambda: len(latents(dataset)) >= 4)
    nodes.kill(lost)
    assert job.end() == 0, job.said
    assert "14 train, 2 validation; 0 unreadable" in job.said
    alone = write_dataset(tmp_path / "alone", num_samples=16, num_validation=2)
    encode(alone, DataConfig(buckets=("96x160x17",)), LatentsConfig(unit_samples=1))
    assert latents(dataset) == latents(alone)


def test_a_node_that_does_not_see_the_output_is_named(nodes, videos, tmp_path):
    output, dataset = tmp_path / "out", write_dataset(tmp_path / "dataset")
    output.mkdir()
    hide = 'mount -t tmpfs none "$0" && mount -t tmpfs none "$1" && shift && exec "$@"'
    apart = ("unshare", "--mount", "sh", "-c", hide, str(output), str(dataset))
    if subprocess.run([*apart, "true"], check=False).returncode != 0:
        pytest.skip("this user may not mount anything")
    address = nodes.add(within=apart)
    for job, place in (
        (curating(nodes, output, videos), output),
        (encoding(nodes, dataset), dataset),
    ):
        assert job.end() == 2, job.said
        assert f"node {address} does not see {place}" in job.said
    assert units(output) == 0
    assert not (dataset / "latents").exists()
